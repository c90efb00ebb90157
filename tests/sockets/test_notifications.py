"""Notifications arrive at the sockets that subscribed them, in line with the data."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace

import pytest

from datachan.sockets import (
    MSG_ABORT,
    MSG_EOF,
    MSG_NOTIFICATION,
    SCTP_ADD_STREAMS,
    SCTP_CANT_STR_ASSOC,
    SCTP_COMM_LOST,
    SCTP_COMM_UP,
    SCTP_DATA_SENT,
    SCTP_DATA_UNSENT,
    SCTP_DELAYED_SACK,
    SCTP_EVENT,
    SCTP_FUTURE_ASSOC,
    SCTP_NOTIFICATION,
    SCTP_PR_SCTP_TTL,
    SCTP_REMOTE_UDP_ENCAPS_PORT,
    SCTP_RESET_ASSOC,
    SCTP_RESET_STREAMS,
    SCTP_RESTART,
    SCTP_SHUTDOWN_COMP,
    SCTP_STREAM_CHANGE_DENIED,
    SCTP_STREAM_RESET_DENIED,
    SCTP_STREAM_RESET_INCOMING,
    SCTP_STREAM_RESET_INCOMING_SSN,
    SCTP_STREAM_RESET_OUTGOING,
    SCTP_STREAM_RESET_OUTGOING_SSN,
    AdaptationEvent,
    AddStreams,
    AssocChange,
    AssocResetEvent,
    NotificationsStoppedEvent,
    PrInfo,
    ResetStreams,
    SackInfo,
    SenderDryEvent,
    SendFailedEvent,
    ShutdownEvent,
    SndInfo,
    StreamChangeEvent,
    StreamResetEvent,
    Subscription,
    UdpEncaps,
    default_options,
    sctpsocket_tcp,
    sctpsocket_udp,
)

from .conftest import HOST


def permissive(**changes: object):
    """Return options that let the peer reset and add streams."""
    allowed = {"allow_stream_reset": True, "allow_tsn_reset": True, "allow_added_streams": True, **changes}
    return replace(default_options(), **allowed)


async def notification(sock, kind: type):
    """Return the next notification of a class; skip everything else."""
    while True:
        message = await sock.recvmsg()
        if isinstance(message.notification, kind):
            return message.notification


async def test_notifications_that_are_not_subscribed_do_not_arrive(opened) -> None:
    server = await opened.many()
    client = await opened.client(server)
    await client.sctp_send(b"data", flags=MSG_EOF)
    assert (await server.recvmsg()).data == b"data"
    assert await client.recv(10) == b""
    await asyncio.sleep(0)
    reading = asyncio.create_task(server.recvmsg())
    await asyncio.wait([reading], timeout=0.05)
    assert not reading.done()
    reading.cancel()


async def test_comm_up_precedes_the_data_and_shutdown_comp_follows_it(opened) -> None:
    server = await opened.many()
    server.events.association = True
    server.events.shutdown = True
    client = await opened.client(server)
    await client.sctp_send(b"data", flags=MSG_EOF)
    up, data, shutdown, down = [await server.recvmsg() for _ in range(4)]
    assert up.flags & MSG_NOTIFICATION
    assert up.notification == AssocChange(SCTP_COMM_UP, 0, 10, 10, up.assoc_id)
    assert data.data == b"data"
    assert shutdown.notification == ShutdownEvent(up.assoc_id)
    assert down.notification == AssocChange(SCTP_SHUTDOWN_COMP, 0, 10, 10, up.assoc_id)
    assert up.address == data.address == down.address == (HOST, client.getsockname()[1])


async def test_an_accepted_socket_first_receives_comm_up(opened) -> None:
    listener = await opened.listener()
    listener.events.association = True
    await opened.client(listener)
    accepted, _ = await listener.accept()
    async with accepted:
        assert (await accepted.recvmsg()).notification.state == SCTP_COMM_UP


async def test_comm_lost_says_why(opened) -> None:
    server = await opened.many()
    server.events.association = True
    client = await opened.client(server)
    await client.sctp_send(b"I have had enough", flags=MSG_ABORT)
    assert (await notification(server, AssocChange)).state == SCTP_COMM_UP
    lost = await notification(server, AssocChange)
    assert (lost.state, lost.error) == (SCTP_COMM_LOST, 12)
    assert "I have had enough" in lost.info


async def test_a_refused_setup_reports_the_message_and_the_association(opened) -> None:
    refusing = await opened.many()
    refusing.listen(0)
    caller = await opened.caller(refusing)
    caller.events.association = True
    caller.events.send_failure = True
    await caller.sendmsg(b"hello?", [SndInfo(context="the first", ppid=5)], to=refusing.getsockname())
    failed = await notification(caller, SendFailedEvent)
    assert (failed.data, failed.info.context, failed.info.ppid, failed.flags) == (
        b"hello?",
        "the first",
        5,
        SCTP_DATA_UNSENT,
    )
    assert (await notification(caller, AssocChange)).state == SCTP_CANT_STR_ASSOC


CONNECT_AND_WAIT = """
import asyncio, sys
from datachan.sockets import sctpsocket_tcp

async def main(udp_port, remote_udp_port, port):
    sock = sctpsocket_tcp(udp_port=udp_port, remote_udp_port=remote_udp_port)
    sock.bind(("127.0.0.1", 7000))
    await sock.connect(("127.0.0.1", port))
    print(sock.udp_port, flush=True)
    await sock.recv(1)

asyncio.run(main(*map(int, sys.argv[1:])))
"""


async def test_a_restarted_peer_is_reported_and_connected(opened) -> None:
    server = await opened.many()
    server.events.association = True
    arguments = ["0", str(server.udp_port), str(server.getsockname()[1])]
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CONNECT_AND_WAIT, *arguments, stdout=asyncio.subprocess.PIPE
    )
    udp_port = int(await program.stdout.readline())
    program.kill()  # it ends without an ABORT
    await program.wait()
    again = await opened.add(sctpsocket_tcp(udp_port=udp_port, remote_udp_port=server.udp_port))
    again.bind((HOST, 7000))
    await again.connect(server.getsockname())
    assert [(await notification(server, AssocChange)).state for _ in range(2)] == [SCTP_COMM_UP, SCTP_RESTART]
    await again.send(b"back again")
    assert await server.recv(20) == b"back again"


async def test_abandoned_messages_come_back_with_their_context(opened) -> None:
    client, server = await opened.pair()
    client.events.send_failure = True
    for number in range(40):  # more than the receiver window
        await client.sendmsg(
            bytes([number]) * 50_000,
            [SndInfo(context=number), PrInfo(SCTP_PR_SCTP_TTL, 30) if number >= 20 else PrInfo()],
        )
    failed = await notification(client, SendFailedEvent)
    assert failed.data == bytes([failed.info.context]) * 50_000
    assert failed.flags in (SCTP_DATA_SENT, SCTP_DATA_UNSENT)
    assert failed.info.context >= 20
    assert "lifetime" in failed.reason
    assert await server.recv(1 << 20) == bytes(50_000)


async def test_data_of_failed_messages_is_kept_only_if_subscribed(opened) -> None:
    client, server = await opened.pair()
    # It fails, too, if the server aborts before the SACK for its last packet, which may be delayed.
    await client.sendmsg(bytes(100_000), [SndInfo(context=20)])
    await server.recv(1 << 20)
    for number in range(20):
        await client.sendmsg(bytes(50_000), [SndInfo(context=number)])
    client.events.send_failure = True
    server.abort()
    failed = await notification(client, SendFailedEvent)
    assert failed.data == b""
    assert isinstance(failed.info.context, int)


async def test_sender_dry_arrives_when_all_is_acknowledged_and_at_once_on_subscription(opened) -> None:
    client, server = await opened.pair()
    client.events.sender_dry = True
    assert (await client.recvmsg()).notification == SenderDryEvent(client.get_status().assoc_id)
    await client.send(b"x")
    assert await server.recv(1) == b"x"
    assert isinstance((await client.recvmsg()).notification, SenderDryEvent)


async def test_each_side_learns_the_others_adaptation(opened) -> None:
    listener = await opened.listener()
    listener.adaptation = 0xCAFE
    listener.events.adaptation_layer = True
    client = await opened.add(await opened.client())
    client.adaptation = 0xBEEF
    client.events.adaptation_layer = True
    client.setsockopt(SCTP_REMOTE_UDP_ENCAPS_PORT, UdpEncaps(None, listener.udp_port))
    await client.connect(listener.getsockname())
    accepted, _ = await listener.accept()
    async with accepted:
        assert (await notification(accepted, AdaptationEvent)).adaptation_ind == 0xBEEF
        assert (await notification(client, AdaptationEvent)).adaptation_ind == 0xCAFE


async def test_streams_are_reset_in_both_directions(opened) -> None:
    client, server = await opened.pair(options=permissive())
    for sock in (client, server):
        sock.events.stream_reset = True
    for _ in range(3):
        await client.sctp_send(b"x", stream=2)
        await server.sctp_send(b"x", stream=4)
    assert [(await server.recvmsg()).rcvinfo.ssn for _ in range(3)] == [0, 1, 2]
    assert [(await client.recvmsg()).rcvinfo.ssn for _ in range(3)] == [0, 1, 2]
    client.setsockopt(SCTP_RESET_STREAMS, ResetStreams(SCTP_STREAM_RESET_OUTGOING, (2,)))
    outgoing = await notification(client, StreamResetEvent)
    assert (outgoing.flags, outgoing.streams) == (SCTP_STREAM_RESET_OUTGOING_SSN, (2,))
    incoming = await notification(server, StreamResetEvent)
    assert (incoming.flags, incoming.streams) == (SCTP_STREAM_RESET_INCOMING_SSN, (2,))
    await client.sctp_send(b"again", stream=2)
    assert (await server.recvmsg()).rcvinfo.ssn == 0
    client.setsockopt(SCTP_RESET_STREAMS, ResetStreams(SCTP_STREAM_RESET_INCOMING, (4,)))
    incoming = await notification(client, StreamResetEvent)
    assert (incoming.flags, incoming.streams) == (SCTP_STREAM_RESET_INCOMING_SSN, (4,))


async def test_a_peer_may_refuse_to_reset_and_add_streams(opened) -> None:
    client, _ = await opened.pair()
    client.events.stream_reset = client.events.stream_change = client.events.assoc_reset = True
    client.setsockopt(SCTP_RESET_STREAMS, ResetStreams(SCTP_STREAM_RESET_OUTGOING, (1,)))
    assert (await notification(client, StreamResetEvent)).flags & SCTP_STREAM_RESET_DENIED
    client.setsockopt(SCTP_ADD_STREAMS, AddStreams(outstrms=3))
    assert (await notification(client, StreamChangeEvent)).flags == SCTP_STREAM_CHANGE_DENIED
    client.setsockopt(SCTP_RESET_ASSOC, True)
    assert (await notification(client, AssocResetEvent)).flags


async def test_requested_incoming_streams_are_added_although_the_peer_may_not_add_any(opened) -> None:
    listener = await opened.listener(options=permissive())
    client = await opened.client(listener)
    client.events.stream_change = client.events.stream_reset = True
    accepted, _ = await listener.accept()
    async with accepted:
        accepted.events.stream_change = True
        client.setsockopt(SCTP_ADD_STREAMS, AddStreams(instrms=5))
        change = await notification(client, StreamChangeEvent)
        assert (change.flags, change.instrms, change.outstrms) == (0, 15, 10)
        assert (await notification(accepted, StreamChangeEvent)).outstrms == 15
        await accepted.sctp_send(b"x", stream=14)
        assert (await client.recvmsg()).rcvinfo.sid == 14
        client.setsockopt(SCTP_RESET_STREAMS, ResetStreams(SCTP_STREAM_RESET_INCOMING, (14,)))
        assert (await notification(client, StreamResetEvent)).flags == SCTP_STREAM_RESET_INCOMING_SSN


async def test_reset_assoc_resets_the_tsns_of_both_sides(opened) -> None:
    client, server = await opened.pair(options=permissive())
    for sock in (client, server):
        sock.events.assoc_reset = True
    await client.send(b"x")
    await server.recvmsg()
    client.setsockopt(SCTP_RESET_ASSOC, True)
    ours, theirs = await notification(client, AssocResetEvent), await notification(server, AssocResetEvent)
    assert (ours.local_tsn, ours.remote_tsn) == (theirs.remote_tsn, theirs.local_tsn)
    await client.send(b"y")
    assert (await server.recvmsg()).rcvinfo.tsn == ours.local_tsn


async def test_a_subscription_may_be_for_one_association(opened) -> None:
    server = await opened.many()
    clients = [await opened.client(server) for _ in range(2)]
    for client in clients:
        await client.send(b"x")
    ids = [(await server.recvmsg()).assoc_id for _ in clients]
    server.setsockopt(SCTP_EVENT, Subscription(AssocChange), ids[1])
    for assoc_id in ids:
        server.abort(assoc_id)
    assert (await server.recvmsg()).notification.assoc_id == ids[1]
    server.setsockopt(SCTP_EVENT, Subscription(AssocChange), SCTP_FUTURE_ASSOC)
    await opened.client(server)
    assert (await server.recvmsg()).notification.state == SCTP_COMM_UP


async def test_the_next_message_is_announced(opened) -> None:
    client, server = await opened.pair()
    server.recvnxtinfo = True
    server.events.shutdown = True
    await client.sctp_send(b"first", stream=1)
    await client.sctp_send(b"second", stream=2, ppid=9, flags=MSG_EOF)
    await asyncio.sleep(0.05)
    first, second = await server.recvmsg(), await server.recvmsg()
    assert (first.nxtinfo.sid, first.nxtinfo.ppid, first.nxtinfo.length) == (2, 9, 6)
    assert second.nxtinfo.flags & SCTP_NOTIFICATION


async def test_after_1000_unread_notifications_all_are_unsubscribed(opened) -> None:
    client, server = await opened.pair()
    client.events.sender_dry = True
    client.events.association = True
    server.setsockopt(SCTP_DELAYED_SACK, SackInfo(freq=1))
    for _ in range(1100):
        await client.send(b"x")
        await server.recv(1)
        while client.get_status().unackdata:
            await asyncio.sleep(0)
    count = 0
    while True:
        message = await client.recvmsg()
        count += 1
        if isinstance(message.notification, NotificationsStoppedEvent):
            break
    assert count == 1000
    assert not client.events.association
    client.events.association = True
    await server.close()
    assert (await notification(client, AssocChange)).state == SCTP_SHUTDOWN_COMP


def test_only_notifications_can_be_subscribed() -> None:
    sock = sctpsocket_udp()
    with pytest.raises(AttributeError, match="no notification 'color'"):
        sock.events.color = True
    with pytest.raises(OSError, match="it must be one of AssocChange"):
        sock.setsockopt(SCTP_EVENT, Subscription(int))
    sock.events.peer_error = True
    sock.events.clear()
    assert not sock.events.peer_error
