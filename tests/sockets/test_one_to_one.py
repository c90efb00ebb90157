"""One-to-one sockets on loopback."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from datachan.sockets import (
    MSG_ABORT,
    MSG_DONTWAIT,
    MSG_EOF,
    MSG_EOR,
    MSG_UNORDERED,
    SCTP_CANT_STR_ASSOC,
    RtoInfo,
    SndInfo,
    sctpsocket_tcp,
    sctpsocket_udp,
)
from datachan.sockets.port_probe import MAX_SOCKETS, PortProbe

from .conftest import HOST


async def test_answers_each_of_five_messages(opened) -> None:
    listener = await opened.listener()

    async def serve() -> int:
        connection, _ = await listener.accept()
        async with connection:
            count = 0
            while await connection.recv(1024):
                await connection.send(b"OK")
                count += 1
            return count

    serving = asyncio.create_task(serve())
    async with await opened.client(listener) as client:
        for number in range(5):
            await client.send(b"message %d" % number)
            assert await client.recv(1024) == b"OK"
    assert await serving == 5


async def test_each_end_knows_the_name_of_the_other(opened) -> None:
    listener = await opened.listener()
    client = await opened.client(listener)
    accepted, address = await listener.accept()
    async with accepted:
        assert client.getpeername() == listener.getsockname()
        assert address == accepted.getpeername() == (HOST, client.getsockname()[1])
        assert accepted.getsockname() == listener.getsockname()


async def test_messages_keep_their_boundaries_stream_and_number(opened) -> None:
    client, server = await opened.pair()
    for stream in (0, 3, 3):
        await client.sctp_send(b"on stream %d" % stream, stream=stream, ppid=51)
    received = [await server.recvmsg() for _ in range(3)]
    assert [message.data for message in received] == [b"on stream 0", b"on stream 3", b"on stream 3"]
    assert [(m.rcvinfo.sid, m.rcvinfo.ssn, m.rcvinfo.ppid) for m in received] == [(0, 0, 51), (3, 0, 51), (3, 1, 51)]
    assert all(message.flags == MSG_EOR for message in received)
    tsns = [message.rcvinfo.tsn for message in received]
    assert tsns[1] == (tsns[0] + 1) & 0xFFFFFFFF
    assert received[2].rcvinfo.cumtsn == tsns[2]


async def test_the_receiver_sees_that_a_message_was_unordered(opened) -> None:
    client, server = await opened.pair()
    await client.sctp_send(b"whenever", flags=MSG_UNORDERED)
    assert (await server.recvmsg()).rcvinfo.flags == MSG_UNORDERED


async def test_reads_a_message_in_pieces_of_maxlen_bytes(opened) -> None:
    client, server = await opened.pair()
    await client.send(bytes(range(100)))
    await client.send(b"next")
    pieces = [await server.recvmsg(40) for _ in range(3)]
    assert b"".join(piece.data for piece in pieces) == bytes(range(100))
    assert [bool(piece.flags & MSG_EOR) for piece in pieces] == [False, False, True]
    assert await server.recv(40) == b"next"


async def test_sctp_recv_returns_what_pysctp_returns(opened) -> None:
    client, server = await opened.pair()
    await client.sctp_send(b"hello", stream=2)
    address, flags, data, info = await server.sctp_recv(100)
    assert (address, flags, data, info.sid) == (server.getpeername(), MSG_EOR, b"hello", 2)


async def test_a_large_message_arrives_whole(opened) -> None:
    client, server = await opened.pair()
    data = bytes(range(256)) * 4096
    sending = asyncio.create_task(client.send(data))
    assert await server.recv(1 << 21) == data
    assert await sending == len(data)


async def test_iteration_ends_with_the_association(opened) -> None:
    client, server = await opened.pair()
    for number in range(3):
        await client.send(b"%d" % number)
    closing = asyncio.create_task(client.close())
    assert [message.data async for message in server] == [b"0", b"1", b"2"]
    await closing
    assert await server.recv(10) == b""


async def test_messages_sent_before_close_arrive(opened) -> None:
    client, server = await opened.pair()
    data = [b"%d" % number * 5000 for number in range(100)]
    for message in data:
        await client.send(message)
    closing = asyncio.create_task(client.close())
    assert [message.data async for message in server] == data
    await closing


async def test_shutdown_lets_the_peer_finish(opened) -> None:
    client, server = await opened.pair()
    await server.send(b"already under way")
    client.shutdown(socket.SHUT_WR)
    assert await client.recv(100) == b"already under way"
    assert await server.recv(100) == b""
    assert await client.recv(100) == b""
    with pytest.raises(BrokenPipeError):
        await server.send(b"too late")


async def test_an_abort_is_a_connection_reset_with_its_reason(opened) -> None:
    client, server = await opened.pair()
    client.abort("no more of this")
    with pytest.raises(ConnectionResetError, match="no more of this"):
        await server.recv(100)
    with pytest.raises(ConnectionResetError):
        await server.send(b"?")


async def test_eof_and_abort_flags_end_an_association(opened) -> None:
    client, server = await opened.pair()
    await client.sctp_send(b"the last", flags=MSG_EOF)
    assert await server.recv(100) == b"the last"
    assert await server.recv(100) == b""
    client, server = await opened.pair()
    await client.sctp_send(b"because", flags=MSG_ABORT)
    with pytest.raises(ConnectionResetError, match="because"):
        await server.recv(100)


async def test_without_linger_close_aborts(opened) -> None:
    client, server = await opened.pair()
    client.linger = 0
    await client.close()
    with pytest.raises(ConnectionResetError):
        await server.recv(100)


async def test_an_sctp_port_that_is_not_open_refuses(opened) -> None:
    listener = await opened.listener()
    sock = await opened.add(sctpsocket_tcp(remote_udp_port=listener.udp_port))
    with pytest.raises(ConnectionRefusedError):
        await sock.connect((HOST, 1))
    await sock.connect(listener.getsockname())  # a further attempt succeeds


@pytest.mark.parametrize("host", [HOST, "::1"])
async def test_a_closed_udp_port_refuses_at_once(opened, host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as other:
        other.bind((host, 0))
        closed = other.getsockname()[1]
    sock = await opened.add(sctpsocket_tcp(family, remote_udp_port=closed))
    sock.set_rtoinfo(RtoInfo(initial=60_000))  # only one INIT is sent during the test
    async with asyncio.timeout(5):
        with pytest.raises(ConnectionRefusedError, match=f"no program has UDP port {closed} at {host}"):
            await sock.connect((host, 4444))
    many = await opened.add(sctpsocket_udp(family, remote_udp_port=closed))
    many.events.association = True
    await many.sctp_send(b"x", to=(host, 4444))
    async with asyncio.timeout(5):
        change = (await many.recvmsg()).notification
    assert (change.state, change.info) == (SCTP_CANT_STR_ASSOC, f"no program has UDP port {closed} at {host}")


async def test_the_sockets_of_probes_are_bounded_and_closed(opened) -> None:
    silent = opened.silent_port()
    before = PortProbe.sockets_in_use
    many = await opened.add(sctpsocket_udp(remote_udp_port=silent))
    connecting = [asyncio.create_task(many.connect((HOST, port))) for port in range(1, 101)]
    await asyncio.sleep(0)
    assert PortProbe.sockets_in_use == MAX_SOCKETS
    for task in connecting:
        task.cancel()
    await asyncio.gather(*connecting, return_exceptions=True)
    assert PortProbe.sockets_in_use == before


async def test_one_closed_address_of_several_does_not_end_the_setup(opened) -> None:
    listener = await opened.add(sctpsocket_tcp(udp_port=0))
    listener.bind(("127.0.0.2", 0))
    listener.listen()
    sock = await opened.add(sctpsocket_tcp(remote_udp_port=listener.udp_port))
    sock.set_rtoinfo(RtoInfo(initial=50, min=50))
    port = listener.getsockname()[1]
    await sock.connectx([("127.0.0.3", port), ("127.0.0.2", port)])
    assert sock.getpeername() == ("127.0.0.3", port)


async def test_a_socket_that_does_not_listen_refuses(opened) -> None:
    deaf = await opened.add(sctpsocket_tcp(udp_port=0))
    deaf.bind((HOST, 0))
    sock = await opened.add(sctpsocket_tcp(remote_udp_port=deaf.udp_port))
    with pytest.raises(ConnectionRefusedError):
        await sock.connect(deaf.getsockname())


async def test_connecting_can_be_cancelled_and_leaves_nothing(opened) -> None:
    sock = await opened.add(sctpsocket_tcp(remote_udp_port=opened.silent_port()))
    connecting = asyncio.create_task(sock.connect((HOST, 9)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    with pytest.raises(OSError, match="not connected"):
        sock.getpeername()


async def test_ipv6(opened) -> None:
    listener = await opened.add(sctpsocket_tcp(socket.AF_INET6, udp_port=0))
    listener.bind(("::1", 0))
    listener.listen()
    client = await opened.add(sctpsocket_tcp(socket.AF_INET6, remote_udp_port=listener.udp_port))
    await client.connect(listener.getsockname())
    accepted, address = await listener.accept()
    async with accepted:
        assert address[0] == "::1"
        await client.send(b"six")
        assert await accepted.recv(10) == b"six"


async def test_an_ipv6_socket_reaches_an_ipv4_peer(opened) -> None:
    listener = await opened.listener()
    client = await opened.add(sctpsocket_tcp(socket.AF_INET6, remote_udp_port=listener.udp_port))
    await client.connect(listener.getsockname())
    await client.send(b"four")
    accepted, _ = await listener.accept()
    async with accepted:
        assert await accepted.recv(10) == b"four"


async def test_an_ipv4_socket_refuses_ipv6_addresses_at_once(opened) -> None:
    sock = await opened.add(sctpsocket_tcp(udp_port=0))
    with pytest.raises(OSError, match="AF_INET6") as caught:
        await sock.connect(("::1", 4444))
    assert caught.value.errno == errno.EAFNOSUPPORT
    with pytest.raises(OSError, match="AF_INET6"):
        sock.bind(("::1", 4444))


async def test_a_port_in_use_is_refused(opened) -> None:
    listener = await opened.listener()
    other = await opened.add(sctpsocket_tcp(udp_port=listener.udp_port))
    with pytest.raises(OSError, match="in use") as caught:
        other.bind(listener.getsockname())
    assert caught.value.errno == errno.EADDRINUSE


async def test_sockets_of_one_program_share_a_udp_port(opened) -> None:
    first = await opened.listener()
    second = await opened.add(sctpsocket_tcp(udp_port=first.udp_port))
    second.bind((HOST, 0))
    second.listen()
    assert second.udp_port == first.udp_port
    for listener in (first, second):
        client = await opened.client(listener)
        await client.send(b"to %d" % listener.getsockname()[1])
        accepted, _ = await listener.accept()
        async with accepted:
            assert await accepted.recv(100) == b"to %d" % listener.getsockname()[1]


async def test_accepted_sockets_outlive_the_listener(opened) -> None:
    listener = await opened.listener()
    client = await opened.client(listener)
    waiting = await opened.client(listener)
    accepted, _ = await listener.accept()
    async with accepted:
        await listener.close()
        await client.send(b"still there")
        assert await accepted.recv(100) == b"still there"
        with pytest.raises(ConnectionResetError, match="before it accepted"):
            await waiting.recv(100)


async def test_waiting_calls_end_with_close(opened) -> None:
    listener = await opened.listener()
    client, server = await opened.pair()
    accepting = asyncio.create_task(listener.accept())
    reading = asyncio.create_task(server.recv(10))
    await asyncio.sleep(0)
    await listener.close()
    await server.close()
    for waiting in (accepting, reading):
        with pytest.raises(OSError, match="closed"):
            await waiting
    assert await client.recv(10) == b""


async def test_send_waits_while_the_send_buffer_is_full(opened) -> None:
    client, server = await opened.pair()
    message = bytes(100_000)
    sent = 0

    async def pour() -> None:
        nonlocal sent
        while sent < 100:
            await client.send(message)
            sent += 1

    pouring = asyncio.create_task(pour())
    await asyncio.wait([pouring], timeout=0.3)
    stuck_at = sent
    assert stuck_at < 60  # the send buffer, and the receiver window
    with pytest.raises(BlockingIOError):
        await client.sctp_send(message, flags=MSG_DONTWAIT)
    for _ in range(100):
        assert await server.recv(1 << 20) == message
    await pouring


async def test_a_message_longer_than_the_send_buffer_is_refused(opened) -> None:
    client, _ = await opened.pair()
    with pytest.raises(OSError, match="send buffer") as caught:
        await client.send(bytes(3 << 20))
    assert caught.value.errno == errno.EMSGSIZE


async def test_senders_wait_in_order_and_a_cancelled_one_leaves_the_queue(opened) -> None:
    client, server = await opened.pair()
    tasks = [asyncio.create_task(client.send(b"%03d" % n + bytes(200_000))) for n in range(40)]
    await asyncio.wait(tasks, timeout=0.2)
    victim = next(number for number, task in enumerate(tasks) if not task.done())
    tasks[victim].cancel()
    expected = [b"%03d" % n for n in range(40) if n != victim]
    assert [(await server.recv(1 << 20))[:3] for _ in expected] == expected
    await asyncio.gather(*[task for task in tasks if not task.cancelled()])


async def test_a_send_on_an_unknown_stream_is_refused(opened) -> None:
    client, _ = await opened.pair()
    with pytest.raises(OSError, match="stream 10") as caught:
        await client.sendmsg(b"x", [SndInfo(sid=10)])
    assert caught.value.errno == errno.EINVAL


async def test_calls_without_an_association_raise(opened) -> None:
    sock = await opened.add(sctpsocket_tcp())
    for call in (sock.send(b"x"), sock.recv(1)):
        with pytest.raises(OSError, match="not connected"):
            await call
    with pytest.raises(OSError, match="does not listen"):
        await sock.accept()


async def test_calls_on_a_closed_socket_raise(opened) -> None:
    client, _ = await opened.pair()
    await client.close()
    await client.close()
    for call in (client.send(b"x"), client.recv(1), client.connect((HOST, 1))):
        with pytest.raises(OSError, match="closed"):
            await call
