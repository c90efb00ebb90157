"""Messages received in parts (SCTP_PARTIAL_DELIVERY_POINT), and the order of parts and other messages."""

from __future__ import annotations

import asyncio

import pytest

from datachan.sctp.events import MessageReceived
from datachan.sockets import (
    MSG_EOR,
    SCTP_FRAGMENT_INTERLEAVE,
    SCTP_INTERLEAVING_SUPPORTED,
    SCTP_PARTIAL_DELIVERY_ABORTED,
    SCTP_PARTIAL_DELIVERY_POINT,
    SCTP_REMOTE_UDP_ENCAPS_PORT,
    PartialDeliveryEvent,
    UdpEncaps,
)
from datachan.sockets.notifications import ShutdownEvent
from datachan.sockets.receive_queue import ReceiveQueue


async def whole(sock) -> bytes:
    """Receive all parts of a message, and return the message."""
    parts = []
    while True:
        message = await sock.recvmsg(1 << 20)
        parts.append(message.data)
        if message.flags & MSG_EOR:
            return b"".join(parts)


async def test_a_long_message_arrives_in_parts_and_ends_with_eor(opened) -> None:
    client, server = await opened.pair()
    server.setsockopt(SCTP_PARTIAL_DELIVERY_POINT, 20_000)
    data = bytes(range(256)) * 4000
    sending = asyncio.create_task(client.send(data))
    first = await server.recvmsg(1 << 20)
    assert 20_000 <= len(first.data) < 100_000
    assert not first.flags & MSG_EOR
    assert first.data + await whole(server) == data
    await sending


async def test_a_message_above_the_size_limit_arrives_in_parts(opened) -> None:
    listener = await opened.listener()
    listener.setsockopt(SCTP_PARTIAL_DELIVERY_POINT, 50_000)
    client = await opened.client(listener)
    client.sndbuf = 40 << 20
    server, _ = await listener.accept()
    async with server:
        sending = asyncio.create_task(client.send(bytes(20 << 20)))
        assert len(await whole(server)) == 20 << 20
        await sending


async def test_parts_of_different_streams_interleave_at_level_two(opened) -> None:
    sockets = [await opened.listener(), await opened.client()]
    for sock in sockets:
        sock.setsockopt(SCTP_FRAGMENT_INTERLEAVE, 2)
        sock.setsockopt(SCTP_INTERLEAVING_SUPPORTED, True)
        sock.setsockopt(SCTP_PARTIAL_DELIVERY_POINT, 5000)
    listener, client = sockets
    client.setsockopt(SCTP_REMOTE_UDP_ENCAPS_PORT, UdpEncaps(None, listener.udp_port))
    await client.connect(listener.getsockname())
    server, _ = await listener.accept()
    async with server:
        await asyncio.gather(*[client.sctp_send(bytes([stream]) * 100_000, stream=stream) for stream in (1, 2)])
        received: dict[int, bytes] = {1: b"", 2: b""}
        order = []
        while any(len(data) < 100_000 for data in received.values()):
            message = await server.recvmsg(1 << 20)
            received[message.rcvinfo.sid] += message.data
            order.append(message.rcvinfo.sid)
        assert received == {stream: bytes([stream]) * 100_000 for stream in (1, 2)}
        assert order != sorted(order)
        assert order != sorted(order, reverse=True)


async def test_reports_a_message_whose_rest_will_not_arrive(opened) -> None:
    client, server = await opened.pair()
    server.setsockopt(SCTP_PARTIAL_DELIVERY_POINT, 5000)
    server.events.partial_delivery = True
    await client.sctp_send(bytes(1 << 20), stream=3)
    await server.recvmsg(1 << 20)
    client.abort()
    while (message := await server.recvmsg(1 << 20)).notification is None:
        assert not message.flags & MSG_EOR
    assert message.notification == PartialDeliveryEvent(SCTP_PARTIAL_DELIVERY_ABORTED, 3, 0, message.assoc_id)
    with pytest.raises(ConnectionResetError):
        await server.recvmsg()


class Peer:
    """The part of an association that a receive queue uses."""

    def __init__(self, number: int) -> None:
        self.id = number


A, B = Peer(1), Peer(2)


def part(stream: int, data: bytes, *, last: bool = False, ssn: int = 0) -> MessageReceived:
    return MessageReceived(stream, 0, data, False, ssn, 0, last)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        # Order of arrival: a part of A1, one of A2, a message of B, a notification, the rests of A1 and A2.
        (0, [b"A1", b"1", b"A2", b"2", b"B", b"!"]),
        (1, [b"A1", b"B", b"!", b"1", b"A2", b"2"]),
        (2, [b"A1", b"A2", b"B", b"!", b"1", b"2"]),
    ],
)
def test_the_order_of_items_at_each_level_of_interleaving(level: int, expected: list[bytes]) -> None:
    queue = ReceiveQueue(lambda: None, single=False)
    queue.interleave = level
    queue.put_message(A, part(1, b"A1"))
    queue.put_message(A, part(2, b"A2"))
    queue.put_message(B, part(1, b"B", last=True))
    queue.put_notification(B, ShutdownEvent(2))
    queue.put_message(A, part(1, b"1", last=True))
    queue.put_message(A, part(2, b"2", last=True))
    seen = []
    while (item := queue.peek()) is not None:
        queue.take(item)
        seen.append(b"!" if item.message is None else item.message.data)
    assert seen == expected


def test_the_next_message_of_a_stream_waits_for_the_end_of_the_current_one() -> None:
    queue = ReceiveQueue(lambda: None, single=True)
    queue.interleave = 2
    queue.put_message(A, part(1, b"begun"))
    queue.take(queue.peek())
    queue.put_message(A, part(1, b"another", last=True, ssn=1))
    assert queue.peek() is None
    queue.put_message(A, part(1, b"end", last=True))
    queue.take(queue.peek())
    assert queue.peek().message.data == b"another"


@pytest.mark.parametrize("subscribed", [True, False])
def test_an_aborted_partial_delivery_releases_the_other_messages(subscribed: bool) -> None:
    queue = ReceiveQueue(lambda: None, single=True)
    queue.put_message(A, part(1, b"begun"))
    queue.take(queue.peek())
    queue.put_message(A, part(2, b"other", last=True))
    assert queue.peek() is None
    aborted = PartialDeliveryEvent(SCTP_PARTIAL_DELIVERY_ABORTED, 1, 0, 1)
    queue.put_broken(A, 1, aborted if subscribed else None)
    if subscribed:
        assert queue.peek().notification == aborted
        queue.take(queue.peek())
    assert queue.peek().message.data == b"other"
