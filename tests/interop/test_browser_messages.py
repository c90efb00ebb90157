"""Test messages between Python and a browser: every kind and size, in both directions, with either as the offerer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from datachan import RTCDataChannel
from datachan.sdp import parse_description_untrusted
from tests.interop.link import Ends, Link, describe

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENOUGH = 5_000_000
# Sizes around limits of implementations: a DTLS record, a packet, a UDP datagram, the buffer of a stream.
EDGES = [1, 2, 3, 4, 5, 1023, 1024, 1171, 1172, 1173, 1200, 1400, 16383, 16384, 65535, 65536, 65537, 131072]
KINDS: dict[str, dict[str, Any]] = {
    "ordered": {},
    "unordered": {"ordered": False},
    "maxRetransmits": {"maxRetransmits": 3},
    "maxPacketLifeTime": {"maxPacketLifeTime": 5000},
    "unordered-maxRetransmits": {"ordered": False, "maxRetransmits": 3},
}


def announced_limit(sdp: str) -> float:
    data = parse_description_untrusted(sdp).data
    assert data is not None
    return data.max_message_size or float("inf")


def python_limit(link: Link) -> float:
    """Return the longest message that Python will send."""
    assert link.pc.sctp is not None
    assert link.pc.sctp.maxMessageSize is not None
    return link.pc.sctp.maxMessageSize


def smaller_limit(link: Link) -> int:
    """Return the smaller of the two max-message-sizes, or what a test has time for."""
    return int(min(announced_limit(link.offer["sdp"]), announced_limit(link.answer["sdp"]), ENOUGH))


async def test_text_binary_and_empty_messages_cross_both_ways(link: Link) -> None:
    ends = await link.connect()
    texts = ["hello", "", "žluťoučký kůň ☃ 😀", "x", "\0 and after"]
    binaries = [b"\x00\xff", b"", b"x", bytes(range(256))]
    await link.page.call("sendTexts", ends.index, texts)
    await link.page.call("sendBytes", ends.index, [list(data) for data in binaries])
    assert await ends.receive(9) == [*texts, *binaries]
    messages: list[str | bytes] = [*binaries, *texts]
    for message in messages:
        ends.channel.send(message)
    assert await ends.browser_received(9) == [describe(message) for message in messages]


async def test_every_size_up_to_the_smaller_of_the_two_limits_crosses_both_ways(link: Link, seed: int) -> None:
    ends = await link.connect()
    limit = smaller_limit(link)
    sizes = [*(size for size in EDGES if size < limit), limit - 1, limit]
    sent = await link.page.call("sendRandom", ends.index, sizes)
    assert [describe(message) for message in await ends.receive(len(sizes))] == sent
    messages = [random.Random(seed).randbytes(size) for size in sizes]
    for message in messages:
        ends.channel.send(message)
    assert await ends.browser_received(len(sizes)) == [describe(message) for message in messages]


async def test_send_refuses_one_byte_more_than_the_browser_accepts_and_the_channel_stays_open(link: Link) -> None:
    ends = await link.connect()
    limit = python_limit(link)
    # The browser's limit, or Python's own (RTCConfiguration) where that is smaller: Firefox accepts a gigabyte.
    assert 262144 <= limit <= announced_limit(link.offer["sdp"] if link.offerer == "browser" else link.answer["sdp"])
    with pytest.raises(TypeError, match="accepts at most"):
        ends.channel.send(bytes(int(limit) + 1))
    assert ends.channel.bufferedAmount == 0
    ends.channel.send("still here")
    assert await ends.browser_received(1) == [describe("still here")]


async def test_the_browser_refuses_one_byte_more_than_python_accepts(link: Link) -> None:
    ends = await link.connect()
    limit = announced_limit(link.answer["sdp"] if link.offerer == "browser" else link.offer["sdp"])
    believed = await link.page.evaluate("pc.sctp.maxMessageSize")
    assert believed <= limit
    assert await link.page.call("refusal", ends.index, believed + 1) == "TypeError"
    await link.page.call("sendTexts", ends.index, ["still here"])
    assert await ends.receive(1) == ["still here"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_thousand_messages_cross_both_ways_at_once(link: Link, kind: str) -> None:
    await link.connect()
    ends = await link.both_open(kind, 40, **KINDS[kind])
    texts = [str(number) for number in range(1000)]
    await link.page.call("sendTexts", ends.index, texts)
    for text in texts:
        ends.channel.send(text)
    received = await ends.receive(1000)
    described = await ends.browser_received(1000)
    expected = [describe(text) for text in texts]
    if KINDS[kind].get("ordered", True):
        assert received == texts
        assert described == expected
    else:
        assert sorted(received) == sorted(texts)
        assert sorted(map(str, described)) == sorted(map(str, expected))


async def test_large_messages_on_two_channels_cross_both_ways_at_once(link: Link, seed: int) -> None:
    first = await link.connect()
    second = await link.python_opens("second", ordered=False)
    size = min(smaller_limit(link), 200_000)

    async def from_browser(ends: Ends) -> None:
        sent = await link.page.call("sendRandom", ends.index, [size] * 10)
        received = [describe(message) for message in await ends.receive(10)]
        assert sorted(map(str, received)) == sorted(map(str, sent))

    async def from_python(ends: Ends, source: random.Random) -> None:
        messages = [source.randbytes(size) for _ in range(10)]
        for message in messages:
            ends.channel.send(message)
            await ends.channel.drain()
        described = await ends.browser_received(10)
        assert sorted(map(str, described)) == sorted(str(describe(message)) for message in messages)

    async with asyncio.TaskGroup() as group:
        for number, ends in enumerate((first, second)):
            group.create_task(from_browser(ends))
            group.create_task(from_python(ends, random.Random(seed + number)))


async def test_a_paused_reader_makes_the_browser_wait_and_receives_everything_later(link: Link) -> None:
    await link.connect()
    announced: asyncio.Future[RTCDataChannel] = asyncio.get_running_loop().create_future()
    link.pc.remove_all_listeners("datachannel")
    link.pc.on("datachannel", announced.set_result)
    index = await link.page.call("createChannel", "slow", {})
    channel = await asyncio.wait_for(announced, 20)
    await link.page.call("channelState", index, "open")
    size, count = 100_000, 250
    sending = asyncio.create_task(link.page.call("sendRandom", index, [size] * count))
    assert await link.page.call("stalled", index) > 0
    assert channel.bytes_received < size * count / 2
    received = [describe(message) async for message in _first(channel, count)]
    assert received == await sending


async def test_packets_to_the_browser_grow_to_what_ethernet_carries(link: Link) -> None:
    # Both browsers list no PAD in Supported Extensions, and Chromium answers no HEARTBEAT longer than its own packets.
    ends = await link.connect()
    async with asyncio.timeout(60):
        while link.pc.sctp is None or (link.pc.sctp.mtu or 0) < 1400:
            ends.channel.send(bytes(60_000))
            await ends.channel.drain()


async def _first(channel: RTCDataChannel, count: int) -> AsyncIterator[str | bytes]:
    for _ in range(count):
        yield await anext(channel)
