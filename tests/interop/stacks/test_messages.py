"""Messages of every kind go to each stack and come back intact, on channels of every kind."""

from __future__ import annotations

import asyncio
import hashlib
import random

import pytest

from datachan import RTCDataChannel
from tests.interop.stacks.conftest import HOST
from tests.interop.stacks.installed import Stack
from tests.interop.stacks.partner import PATIENCE, Partner, echoed, linked, receive
from tests.interop.stacks.relay import relaying

pytestmark = pytest.mark.asyncio(loop_scope="module")

BULK = 20_000_000
# A partner queues what it sends back without limit: this many bytes are on the way at most.
WINDOW = 1 << 20
CHANNELS = 50
# The share of datagrams lost, as one in this many, in the tests with loss.
LOST_ONE_IN = 6
UNRELIABLE = 200


@pytest.mark.case("text")
async def test_carries_text(partner: Partner, we_offer: bool) -> None:
    async with linked(partner, HOST, we_offer=we_offer) as link:
        (channel,) = await link.connect({"label": "text"})
        await echoed(channel, "a", "Grüße, 世界 \N{ROCKET}", "x" * 5000)


@pytest.mark.case("binary")
async def test_carries_binary(partner: Partner, we_offer: bool) -> None:
    async with linked(partner, HOST, we_offer=we_offer) as link:
        (channel,) = await link.connect({"label": "binary"})
        await echoed(channel, b"\0", bytes(range(256)) * 100)


@pytest.mark.case("empty")
async def test_carries_empty_messages(partner: Partner, we_offer: bool) -> None:
    async with linked(partner, HOST, we_offer=we_offer) as link:
        (channel,) = await link.connect({"label": "empty"})
        await echoed(channel, "", b"", "not empty")


@pytest.mark.case("largest message")
async def test_carries_the_largest_message(partner: Partner, stack: Stack, seed: int, we_offer: bool) -> None:
    async with linked(partner, HOST, we_offer=we_offer) as link:
        (channel,) = await link.connect({"label": "large"})
        assert link.ours.sctp is not None
        assert link.ours.sctp.maxMessageSize >= stack.largest
        await echoed(channel, random.Random(seed).randbytes(stack.largest))


async def exchange_bulk(channel: RTCDataChannel, seed: int) -> None:
    """Send `BULK` bytes and compare what comes back with them."""
    chance = random.Random(seed)
    sent, received = hashlib.sha256(), hashlib.sha256()
    length, on_the_way = 0, 0

    async def take() -> int:
        (message,) = await receive(channel)
        assert isinstance(message, bytes)
        received.update(message)
        return len(message)

    while length < BULK:
        message = chance.randbytes(min(16_384, BULK - length))
        sent.update(message)
        length += len(message)
        on_the_way += len(message)
        channel.send(message)
        while on_the_way > WINDOW:
            on_the_way -= await take()
    while on_the_way:
        on_the_way -= await take()
    assert received.digest() == sent.digest()


@pytest.mark.case("20 MB each way")
async def test_carries_20_megabytes_each_way(partner: Partner, seed: int, we_offer: bool) -> None:
    async with linked(partner, HOST, we_offer=we_offer) as link:
        (channel,) = await link.connect({"label": "bulk"})
        await exchange_bulk(channel, seed)


@pytest.mark.case("50 channels")
async def test_carries_messages_on_50_channels(partner: Partner, we_offer: bool) -> None:
    async with linked(partner, HOST, we_offer=we_offer) as link:
        channels = await link.connect(*({"label": f"channel {number}"} for number in range(CHANNELS)))
        assert len({channel.id for channel in channels}) == CHANNELS
        await asyncio.gather(*(echoed(channel, f"on {channel.label}") for channel in channels))


@pytest.mark.case("unordered")
async def test_carries_unordered_messages(partner: Partner, we_offer: bool) -> None:
    parameters = {"label": "unordered", "ordered": False, "protocol": "example"}
    async with linked(partner, HOST, we_offer=we_offer) as link:
        (channel,) = await link.connect(parameters)
        event = await partner.event(link.name, "open", "unordered")
        for name, value in parameters.items():
            assert getattr(channel, name) == value
            assert event.get(name, value) == value
        messages = [f"message {number}" for number in range(100)]
        for message in messages:
            channel.send(message)
        assert sorted(await receive(channel, len(messages))) == sorted(messages)  # type: ignore[type-var]


class Losses:
    """Lose one datagram in `LOST_ONE_IN`, while `on`."""

    def __init__(self) -> None:
        self.on = False

    def loses(self, kind: str, number: int, _length: int) -> bool:
        return self.on and kind == "dtls" and number % LOST_ONE_IN == 0


async def send_over_loss(partner: Partner, *, we_offer: bool, limit: dict[str, int]) -> None:
    """Send unreliable messages over a relay that loses datagrams, then a reliable message on another channel."""
    (name, value), *_ = limit.items()
    losses = Losses()
    async with (
        relaying(HOST, losses.loses, losses.loses) as relay,
        linked(partner, HOST, we_offer=we_offer, relay=relay) as link,
    ):
        unreliable, reliable = await link.connect({"label": "unreliable", **limit}, {"label": "reliable"})
        event = await partner.event(link.name, "open", "unreliable")
        assert getattr(unreliable, name) == value
        assert event.get(name, value) == value
        arrived: list[str | bytes] = []
        unreliable.on("message", arrived.append)
        losses.on = True
        for number in range(UNRELIABLE):
            unreliable.send(number.to_bytes(1000))
            await asyncio.sleep(0.001)
        losses.on = False
        await echoed(reliable, "all is decided")
        async with asyncio.timeout(PATIENCE):
            while not arrived or relay.lost == 0:
                await asyncio.sleep(0.01)
        numbers = [int.from_bytes(message) for message in arrived if isinstance(message, bytes)]
        assert numbers == sorted(set(numbers))
        assert len(numbers) < UNRELIABLE


@pytest.mark.case("maxRetransmits")
async def test_gives_up_messages_after_max_retransmits(partner: Partner, we_offer: bool) -> None:
    await send_over_loss(partner, we_offer=we_offer, limit={"maxRetransmits": 0})


@pytest.mark.case("maxPacketLifeTime")
async def test_gives_up_messages_after_max_packet_life_time(partner: Partner, we_offer: bool) -> None:
    await send_over_loss(partner, we_offer=we_offer, limit={"maxPacketLifeTime": 1})
