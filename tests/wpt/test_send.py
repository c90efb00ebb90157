"""RTCDataChannel-send.html, -send-receive.html, -send-receive-stress.html and -send-blob-order.html."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from datachan import InvalidStateError, RTCPeerConnection, RTCSessionDescription
from tests.pairs import Pair, channel_pair, configuration, pair, soon

KINDS = [{}, {"negotiated": True, "id": 42}]


@pytest.fixture(params=KINDS, ids=["in-band", "negotiated"])
async def p(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    async with pair("╯°□°）╯︵ ┻━┻", **request.param) as connected:
        yield connected


@pytest.mark.parametrize("kind", KINDS)
async def test_sending_while_connecting_raises_invalid_state(kind: dict[str, Any]) -> None:
    async with RTCPeerConnection(configuration()) as pc:
        channel = pc.createDataChannel("test", **kind)

        assert channel.readyState == "connecting"
        with pytest.raises(InvalidStateError):
            channel.send("hello")


@pytest.mark.parametrize("message", ["hello", "世界你好", b"hello", "", b""])
async def test_a_message_arrives_as_it_was_sent_in_both_directions(p: Pair, message: str | bytes) -> None:
    p.a_channel.send(message)
    p.z_channel.send(message)

    for received in (await soon(anext(p.z_channel)), await soon(anext(p.a_channel))):
        assert received == message
        assert type(received) is type(message)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
async def test_bytes_like_objects_arrive_as_bytes(p: Pair, kind: Any) -> None:
    p.a_channel.send(kind(b"hello"))

    assert await soon(anext(p.z_channel)) == b"hello"


async def test_messages_of_different_kinds_keep_their_order(p: Pair) -> None:
    for message in (b"hello", "世界你好", b"hello", bytes(8)):
        p.a_channel.send(message)

    assert [await soon(anext(p.z_channel)) for _ in range(4)] == [b"hello", "世界你好", b"hello", bytes(8)]


@pytest.mark.parametrize("length", [1024, 16384, 65536, 131072, 262144, 524288, 1048576, 16777216, 33554432])
async def test_long_messages_arrive_whole(length: int) -> None:
    message = b"\xfe" * length
    async with pair() as p:
        p.a_channel.send(message)

        assert await soon(anext(p.z_channel)) == message
        assert (p.a_channel.readyState, p.z_channel.readyState) == ("open", "open")


@pytest.mark.parametrize("limit", [1024, 65536, 1048576])
async def test_a_message_above_the_peers_limit_raises_type_error_and_the_channel_stays(limit: int) -> None:
    async with RTCPeerConnection(configuration()) as a, RTCPeerConnection(configuration()) as z:
        a_channel = a.createDataChannel("test", negotiated=True, id=42)
        z_channel = z.createDataChannel("test", negotiated=True, id=42)
        await a.setLocalDescription()
        await z.setRemoteDescription(a.localDescription)
        await z.setLocalDescription()
        answer = z.localDescription.sdp.replace("size:67108864", f"size:{limit}")
        await a.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await soon(asyncio.gather(a_channel.opened(), z_channel.opened()))

        with pytest.raises(TypeError):
            a_channel.send(b"\xfe" * (limit + 1))
        a_channel.send(b"\xfe" * limit)

        assert len(await soon(anext(z_channel))) == limit
        assert (a_channel.readyState, z_channel.readyState) == ("open", "open")


async def test_sizes_doubling_up_to_the_limit_arrive() -> None:
    small = configuration(maxMessageSize=1 << 20)
    async with pair(a_configuration=small, z_configuration=small) as p:
        message = "hello888"
        while len(message) <= p.a.sctp.maxMessageSize:
            p.a_channel.send(message)
            assert len(await soon(anext(p.z_channel))) == len(message)
            message += message

        with pytest.raises(TypeError):
            p.a_channel.send(message)


async def test_closing_delivers_queued_messages_first(p: Pair) -> None:
    message = b"\xfe" * 65536
    received: list[str | bytes] = []
    p.z_channel.on("message", received.append)
    for _ in range(16):
        p.a_channel.send(message)

    p.a_channel.close()

    await soon(p.z_channel.closed())
    assert received == [message] * 16


async def test_many_channels_of_all_kinds_at_once() -> None:
    """Run a short form of the stress test: 15 channels, 30 messages each, in both directions."""
    sizes = [((index + 1) * 2307) % 65536 for index in range(30)]
    messages = [f"{i};" + "a" * n if i % 3 == 0 else i.to_bytes(2, "big") + b"\xf4" * n for i, n in enumerate(sizes)]
    async with pair() as p:
        channels = []
        for number in range(15):
            options = [{}, {"negotiated": True, "id": 100 + number}, {"ordered": False}][number % 3]
            channels.extend(await channel_pair(p.a, p.z, str(number), **options))

        async def receive(channel: Any) -> list[Any]:
            return sorted([await soon(anext(channel)) for _ in messages], key=repr)

        receiving = [asyncio.ensure_future(receive(channel)) for channel in channels]
        for channel in channels:
            for message in messages:
                channel.send(message)

        for received in await asyncio.gather(*receiving):
            assert received == sorted(messages, key=repr)
