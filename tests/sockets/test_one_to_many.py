"""One-to-many sockets on loopback: one socket, many peers."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from datachan.sctp.association import Association
from datachan.sockets import (
    MSG_ABORT,
    MSG_DONTWAIT,
    MSG_EOF,
    MSG_SENDALL,
    SCTP_ALL_ASSOC,
    SCTP_PR_SCTP_RTX,
    SCTP_PR_SCTP_TTL,
    InitMsg,
    PrInfo,
    SndInfo,
    one_to_many,
)
from tests.defects import raise_in_one

from .conftest import HOST


async def test_the_first_send_sets_up_the_association(opened) -> None:
    server = await opened.many()
    caller = await opened.caller(server)
    await caller.sctp_send(b"hello", to=server.getsockname(), ppid=7, stream=1)
    message = await server.recvmsg()
    assert (message.data, message.rcvinfo.ppid, message.rcvinfo.sid) == (b"hello", 7, 1)
    assert message.assoc_id in server.associations()
    await server.sendmsg(b"and hello", [SndInfo(assoc_id=message.assoc_id)])
    assert await caller.recv(100) == b"and hello"


async def test_later_sends_use_the_same_association(opened) -> None:
    server = await opened.many()
    caller = await opened.caller(server)
    for number in range(10):
        await caller.sctp_send(b"%d" % number, to=server.getsockname())
    assert [await server.recv(10) for _ in range(10)] == [b"%d" % number for number in range(10)]
    assert len(server.associations()) == len(caller.associations()) == 1


async def test_a_server_answers_by_address_or_by_id(opened) -> None:
    server = await opened.many()
    clients = [await opened.client(server) for _ in range(3)]
    for client in clients:
        await client.send(b"from %d" % client.getsockname()[1])
    for _ in clients:
        message = await server.recvmsg()
        await server.sctp_send(message.data + b" by address", to=message.address)
        await server.sctp_send(message.data + b" by id", assoc_id=message.assoc_id)
    for client in clients:
        name = b"from %d" % client.getsockname()[1]
        assert [await client.recv(100), await client.recv(100)] == [name + b" by address", name + b" by id"]


@pytest.mark.parametrize("info", [SndInfo(flags=MSG_SENDALL), SndInfo(assoc_id=SCTP_ALL_ASSOC)], ids=["flag", "id"])
async def test_sendall_reaches_all_associations(opened, info: SndInfo) -> None:
    server = await opened.many()
    clients = [await opened.client(server) for _ in range(5)]
    for client in clients:
        await client.send(b"here")
        await server.recv(10)
    await server.sendmsg(b"to all", [info])
    assert [await client.recv(10) for client in clients] == [b"to all"] * 5


async def test_sendall_with_dontwait_skips_an_association_with_a_full_send_buffer(opened) -> None:
    server = await opened.many()
    slow, quick = await opened.client(server), await opened.client(server)
    for client in (slow, quick):
        await client.send(b"here")
    ids = {(message := await server.recvmsg()).address: message.assoc_id for _ in range(2)}
    blob = bytes(500_000)

    async def fill() -> None:
        while True:
            await server.sctp_send(blob, assoc_id=ids[(HOST, slow.getsockname()[1])], flags=MSG_DONTWAIT)

    with pytest.raises(BlockingIOError):
        await fill()
    await server.sendmsg(blob, [SndInfo(flags=MSG_SENDALL | MSG_DONTWAIT)])
    assert await quick.recv(1 << 20) == blob


async def test_eof_ends_one_association_gracefully_and_no_other(opened) -> None:
    server = await opened.many()
    clients = [await opened.client(server) for _ in range(2)]
    for client in clients:
        await client.send(b"here")
    first, second = [await server.recvmsg() for _ in range(2)]
    await server.sendmsg(b"goodbye", [SndInfo(flags=MSG_EOF, assoc_id=first.assoc_id)])
    ended = next(client for client in clients if client.getsockname()[1] == first.address[1])
    other = next(client for client in clients if client is not ended)
    assert [await ended.recv(10), await ended.recv(10)] == [b"goodbye", b""]
    await server.sctp_send(b"you stay", assoc_id=second.assoc_id)
    assert await other.recv(10) == b"you stay"
    assert server.associations() == [second.assoc_id]


async def test_abort_sends_its_reason(opened) -> None:
    server = await opened.many()
    client = await opened.client(server)
    await client.send(b"here")
    message = await server.recvmsg()
    await server.sendmsg(b"out with you", [SndInfo(flags=MSG_ABORT, assoc_id=message.assoc_id)])
    with pytest.raises(ConnectionResetError, match="out with you"):
        await client.recv(10)


async def test_peeloff_moves_one_association_and_the_others_continue(opened) -> None:
    server = await opened.many()
    clients = [await opened.client(server) for _ in range(3)]
    for client in clients:
        await client.send(b"first")
        await client.send(b"second")
    messages = [await server.recvmsg() for _ in range(3)]
    chosen = messages[0]
    peeled = await opened.add(await server.peeloff(chosen.assoc_id))
    favorite = next(client for client in clients if client.getsockname()[1] == chosen.address[1])
    await favorite.send(b"third")
    unread = [message for message in messages if message.assoc_id == chosen.assoc_id]
    expected = [b"second", b"third"][len(unread) - 1 :]
    assert [await peeled.recv(10) for _ in expected] == expected
    assert peeled.getpeername() == chosen.address
    assert len(server.associations()) == 2
    await peeled.send(b"in private")
    assert await favorite.recv(10) == b"in private"
    await server.sendmsg(b"to the rest", [SndInfo(flags=MSG_SENDALL)])
    for client in clients:
        if client is not favorite:
            assert await client.recv(20) == b"to the rest"
    with pytest.raises(OSError, match="no association"):
        await server.sctp_send(b"x", assoc_id=chosen.assoc_id)
    await server.close()
    await peeled.send(b"still here")
    assert await favorite.recv(20) == b"still here"


async def test_connect_returns_the_association_id(opened) -> None:
    server = await opened.many()
    caller = await opened.caller(server)
    assoc_id = await caller.connect(server.getsockname())
    assert caller.associations() == [assoc_id]
    await caller.sctp_send(b"x", assoc_id=assoc_id)
    assert await server.recv(10) == b"x"
    with pytest.raises(OSError, match="already"):
        await caller.connect(server.getsockname())


async def test_initmsg_applies_to_the_association_that_the_send_sets_up(opened) -> None:
    server = await opened.many()
    caller = await opened.caller(server)
    await caller.sendmsg(b"x", [InitMsg(num_ostreams=3), SndInfo(sid=2)], to=server.getsockname())
    await server.recvmsg()
    with pytest.raises(OSError, match="stream 3"):
        await caller.sendmsg(b"x", [SndInfo(sid=3)], to=server.getsockname())


@pytest.mark.parametrize("prinfo", [PrInfo(SCTP_PR_SCTP_TTL, 1), PrInfo(SCTP_PR_SCTP_RTX, 0)], ids=["ttl", "rtx"])
async def test_partially_reliable_messages_arrive_when_nothing_is_lost(opened, prinfo: PrInfo) -> None:
    server = await opened.many()
    caller = await opened.caller(server)
    await caller.connect(server.getsockname())
    await caller.sendmsg(b"in time", [prinfo], to=server.getsockname())
    assert await server.recv(10) == b"in time"


async def test_a_send_without_a_destination_is_refused(opened) -> None:
    sock = await opened.many()
    with pytest.raises(OSError, match="needs an address"):
        await sock.send(b"x")
    with pytest.raises(OSError, match="no association 99"):
        await sock.sctp_send(b"x", assoc_id=99)
    with pytest.raises(OSError, match="there is no association with"):
        await sock.sctp_send(b"", to=(HOST, 9), flags=MSG_EOF)


async def test_closing_ends_every_association_gracefully(opened) -> None:
    server = await opened.many()
    clients = [await opened.client(server) for _ in range(3)]
    for client in clients:
        await client.send(b"here")
        await server.recv(10)
    await server.sendmsg(b"closing time", [SndInfo(flags=MSG_SENDALL)])
    await server.close()
    for client in clients:
        assert [await client.recv(20), await client.recv(20)] == [b"closing time", b""]


async def test_a_hundred_peers_at_once(opened) -> None:
    server = await opened.many()

    async def talk(number: int) -> bytes:
        client = await opened.client(server)
        await client.send(b"%d" % number)
        return await client.recv(10)

    async def serve() -> None:
        async for message in server:
            await server.sctp_send(message.data, assoc_id=message.assoc_id)

    serving = asyncio.create_task(serve())
    assert await asyncio.gather(*[talk(number) for number in range(100)]) == [b"%d" % number for number in range(100)]
    await server.close()
    await serving


async def test_refuses_new_associations_while_too_much_is_unread(opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_to_many, "MAX_UNREAD", 100_000)
    server = await opened.many()
    for _ in range(2):
        client = await opened.client(server)
        await client.send(bytes(60_000))
        await client.close()  # its message stays in the queue

    async def come_late() -> None:
        late = await opened.client(server)
        await late.recv(1)

    with pytest.raises(ConnectionResetError, match="waiting to be read"):
        await come_late()
    assert len(await server.recv(1 << 20)) == 60_000
    welcome = await opened.client(server)
    await welcome.send(b"there is room again")
    assert [len(await server.recv(1 << 20)) for _ in range(2)] == [60_000, 19]


@pytest.mark.parametrize("call", ["receive_datagrams", "handle_timeout", "next_timeout", "packets_to_send", "events"])
async def test_an_internal_error_of_one_association_ends_it_and_no_other(
    opened, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    server = await opened.many()
    first, second = [await opened.client(server) for _ in range(2)]
    broken = raise_in_one(monkeypatch, Association, call)
    async with asyncio.timeout(10):
        while not broken:
            await first.send(b"provoke the error")
            await asyncio.sleep(0.3)  # time for a delayed SACK
    monkeypatch.undo()

    async def arrives(message: bytes) -> None:
        async with asyncio.timeout(10):
            while await server.recv(100) != message:
                pass

    for client in (first, second):
        with contextlib.suppress(OSError):  # one of them may have ended
            await client.send(b"still here")
    await arrives(b"still here")
    late = await opened.client(server)
    await late.send(b"new associations work")
    await arrives(b"new associations work")
