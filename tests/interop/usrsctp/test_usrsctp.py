"""Test the engine with usrsctp as the peer, over UDP, as server and as client."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from datachan.sctp.events import (
    AssociationClosed,
    AssociationEstablished,
    AssociationLost,
    AssociationRestarted,
    IncomingStreamsReset,
    OutgoingStreamsReset,
    ReconfigurationFailed,
    SendFailed,
    StreamResetFailed,
    StreamsAdded,
)
from datachan.sctp.options import AssociationOptions
from tests.interop.engine import Engine
from tests.interop.usrsctp.process import PORT, Usrsctp, build, crc, pattern, usrsctp

ROLES = ["server", "client"]
SIZES = [1, 2, 3, 4, 1171, 1172, 1173, 1200, 1400, 5000, 65535, 65536, 200_000]
RTX = 3  # the policy of usrsctp that limits retransmissions


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("usrsctp"))


@contextlib.asynccontextmanager
async def association(
    program: Path, role: str, ours: dict[str, Any] | None = None, **theirs: Any
) -> AsyncIterator[tuple[Engine, Usrsctp, AssociationEstablished]]:
    """Set up an association; `role` is that of usrsctp."""
    options = {"outbound_streams": 64, "inbound_streams": 64, "rto_min": 0.1, "rto_initial": 0.3, **(ours or {})}
    engine = Engine(AssociationOptions(local_port=PORT, remote_port=PORT, **options))
    try:
        async with usrsctp(program, role, engine.port, **theirs) as peer:
            if role == "server":
                engine.connect([("127.0.0.1", peer.port)], PORT)
            up = await engine.established()
            await peer.tells("connected")
            yield engine, peer, up
    finally:
        engine.close()


@pytest.mark.parametrize("role", ROLES)
async def test_messages_of_many_sizes_cross_both_ways_on_many_streams(program: Path, role: str) -> None:
    async with association(program, role) as (engine, peer, up):
        assert (up.inbound_streams, up.outbound_streams, up.partial_reliability) == (64, 64, True)
        for index, size in enumerate(SIZES):
            unordered = index % 2
            data = pattern(index, index, size)
            engine.send(index, data, 1000 + index, unordered=bool(unordered))
            engine.wake()
            await peer.tells(f"message {index} {1000 + index} {size} {unordered} {crc(data)}")
            peer.order(f"send {63 - index} {2000 + index} {size} 1 {unordered} 0 0")
            [message] = await engine.receive(1)
            assert message.data == pattern(0, 63 - index, size)
            assert (message.stream_id, message.ppid, message.unordered) == (63 - index, 2000 + index, bool(unordered))


@pytest.mark.parametrize("role", ROLES)
async def test_100_megabytes_arrive_unchanged(program: Path, role: str) -> None:
    """Send to usrsctp as server, and receive from it as client."""
    size, count, streams = 65_536, 1600, 8
    async with association(program, role) as (engine, peer, _):
        peer.order("quiet")
        if role == "server":
            sent: list[list[bytes]] = [[] for _ in range(streams)]
            for index in range(count):
                data = pattern(index, index % streams, size)
                sent[index % streams].append(data)
                engine.send(index % streams, data)
                if index % 16 == 15:
                    await engine.until(lambda: engine.association.stats().buffered < 2_000_000)
            engine.association.shutdown(engine.now)
            await engine.event(AssociationClosed)
            await peer.tells("end eof")
            for stream in range(streams):
                assert (await peer.ask(f"crc {stream}", "crc (.*)"))[1] == crc(*sent[stream])
            assert (await peer.ask("total", "total .*"))[0] == f"total {count} {count * size}"
        else:
            arrived = 0

            def check(message: Any) -> None:
                nonlocal arrived
                assert message.data == pattern(arrived, 7, size)
                arrived += 1

            engine.on_message = check
            peer.order(f"send 7 53 {size} {count} 0 0 0")
            peer.order("shutdown")
            await engine.until(lambda: bool(engine.of(AssociationClosed)), 60.0)
            assert arrived == count


@pytest.mark.parametrize("role", ROLES)
async def test_no_message_is_lost_when_every_twentieth_packet_is(program: Path, role: str, seed: int) -> None:
    async with association(program, role, rto_max=200) as (engine, peer, _):
        chance = random.Random(seed)
        engine.lose = lambda datagram: chance.random() < 0.05
        peer.order("quiet")
        count, size = 80, 8000
        peer.order(f"send 2 53 {size} {count} 0 0 0")
        for index in range(count):
            engine.send(1, pattern(index, 1, size))
        received = await engine.receive(count)
        assert [message.data for message in received] == [pattern(index, 2, size) for index in range(count)]
        engine.association.shutdown(engine.now)
        await engine.event(AssociationClosed)
        engine.lose = None
        await peer.tells("end eof")
        assert (await peer.ask("crc 1", "crc (.*)"))[1] == crc(*[pattern(index, 1, size) for index in range(count)])


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("unordered", [False, True], ids=["ordered", "unordered"])
async def test_usrsctp_skips_messages_that_we_abandon(program: Path, role: str, unordered: bool, seed: int) -> None:
    async with association(program, role) as (engine, peer, up):
        assert up.partial_reliability
        chance = random.Random(seed)
        engine.lose = lambda datagram: chance.random() < 0.2
        count = 200
        for index in range(count):
            engine.send(1, pattern(index, 1, 3000), unordered=unordered, max_retransmissions=0)
        engine.send(2, b"the last", 99)
        await engine.until(lambda: engine.all_decided)
        await peer.tells(rf"message 2 99 8 0 {crc(b'the last')}")
        engine.send(1, b"after", 100, unordered=unordered)
        engine.wake()
        await peer.tells(rf"message 1 100 5 {int(unordered)} {crc(b'after')}")
        failed = len(engine.of(SendFailed))
        whole = [line for line in peer.lines if line.startswith("message 1 0 3000")]
        order = [crc(pattern(index, 1, 3000)) for index in range(count)]
        assert 0 < failed < count
        assert count - failed <= len(whole) < count  # an abandoned message may have arrived
        known = [line.split()[-1] for line in whole]
        assert set(known) <= set(order)
        assert unordered or [place for place in order if place in known] == known


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("unordered", [False, True], ids=["ordered", "unordered"])
async def test_we_skip_messages_that_usrsctp_abandons(program: Path, role: str, unordered: bool, seed: int) -> None:
    async with association(program, role, rto_max=200) as (engine, peer, _):
        chance = random.Random(seed)
        engine.lose = lambda datagram: chance.random() < 0.08
        count = 200
        peer.order(f"send 3 5 3000 {count} {int(unordered)} {RTX} 0")
        peer.order("send 3 6 10 1 0 0 0")
        await engine.until(lambda: any(message.ppid == 6 for message in engine.messages))
        places = {pattern(index, 3, 3000): index for index in range(count)}
        came = [places[message.data] for message in engine.messages if message.ppid == 5]
        assert 0 < len(came) < count
        assert unordered or came == sorted(came)


@pytest.mark.parametrize("role", ROLES)
async def test_streams_are_reset_by_either_side(program: Path, role: str) -> None:
    async with association(program, role) as (engine, peer, _):
        for stream in (3, 4):
            engine.send(stream, b"before")
        engine.wake()
        await peer.tells(rf"message 4 0 6 0 {crc(b'before')}")

        engine.association.reset_streams([3], engine.now)
        engine.wake()
        await peer.tells("reset incoming 3")
        assert await engine.event(OutgoingStreamsReset) == OutgoingStreamsReset((3,))
        engine.send(3, b"after")
        engine.send(4, b"after")
        engine.wake()
        await peer.tells(rf"message 3 0 5 0 {crc(b'after')}")
        await peer.tells(rf"message 4 0 5 0 {crc(b'after')}")

        peer.order("send 5 0 10 1 0 0 0")
        await engine.receive(1)
        peer.order("reset-outgoing 5")
        assert await engine.event(IncomingStreamsReset) == IncomingStreamsReset((5,))
        await peer.tells("reset outgoing 5")
        peer.order("send 5 0 10 1 0 0 0")
        await engine.receive(1)


@pytest.mark.parametrize("role", ROLES)
async def test_either_side_requests_a_stream_reset_from_the_other(program: Path, role: str) -> None:
    async with association(program, role) as (engine, peer, _):
        peer.order("send 6 0 10 1 0 0 0")
        await engine.receive(1)
        engine.association.request_stream_resets([6], engine.now)
        assert (await engine.event(IncomingStreamsReset)).stream_ids == (6,)
        assert not engine.of(ReconfigurationFailed)
        await peer.tells("reset outgoing 6")  # before that, it refuses to send on the stream
        peer.order("send 6 0 10 1 0 0 0")
        await engine.receive(1)

        engine.send(7, b"before")
        engine.wake()
        await peer.tells("message 7 .*")
        peer.order("reset-incoming 7")
        assert (await engine.event(OutgoingStreamsReset)).stream_ids == (7,)
        await peer.tells("reset incoming 7")
        engine.send(7, b"after")
        engine.wake()
        await peer.tells("message 7 .*")
        assert not engine.of(StreamResetFailed)


@pytest.mark.parametrize("role", ROLES)
async def test_streams_are_added_by_either_side(program: Path, role: str) -> None:
    async with association(program, role, streams=200) as (engine, peer, _):
        engine.association.add_streams(engine.now, outgoing=6)
        engine.wake()
        await peer.tells("streams 70 64 0")
        await engine.until(lambda: engine.association.outbound_streams == 70)
        engine.send(69, b"new")
        engine.wake()
        await peer.tells("message 69 .*")
        peer.order("streams 0 10")
        await engine.until(lambda: engine.association.inbound_streams == 74)
        await peer.tells("streams 70 74 0")
        peer.order("send 73 0 10 1 0 0 0")
        [message] = await engine.receive(1)
        assert message.stream_id == 73
        assert len(engine.of(StreamsAdded)) == 2


@pytest.mark.parametrize("role", ROLES)
async def test_either_side_resets_tsns_and_ssns(program: Path, role: str) -> None:
    async with association(program, role) as (engine, peer, _):
        engine.send(1, b"before")
        engine.wake()
        await peer.tells("message 1 .*")
        engine.association.reset_tsns(engine.now)
        engine.wake()
        await peer.tells("tsn-reset 0")
        for _ in range(3):
            engine.send(1, b"after")
            engine.wake()
            await peer.tells(f"message 1 0 5 0 {crc(b'after')}")
        peer.order("send 2 0 4000 3 0 0 0")
        assert [message.data for message in await engine.receive(3)] == [pattern(i, 2, 4000) for i in range(3)]


@pytest.mark.parametrize("role", ROLES)
async def test_long_messages_are_interleaved(program: Path, role: str) -> None:
    async with association(program, role, idata=1) as (engine, peer, _):
        await peer.tells("up 64 64.* interleaving.*")
        long, short = pattern(0, 1, 1_000_000), b"in between"
        engine.send(1, long)
        engine.send(2, short)
        engine.wake()
        await peer.tells(f"message 2 0 10 0 {crc(short)}")
        await peer.tells(f"message 1 0 1000000 0 {crc(long)}")
        peer.order("send 3 0 300000 4 0 0 0")
        peer.order("send 4 0 300000 4 1 0 0")
        received = await engine.receive(8)
        for stream in (3, 4):
            mine = [message.data for message in received if message.stream_id == stream]
            assert sorted(mine) == sorted(pattern(index, stream, 300_000) for index in range(4))
        engine.association.reset_streams([1], engine.now)
        engine.wake()
        await peer.tells("reset incoming 1")
        engine.send(1, b"after")
        engine.wake()
        await peer.tells(f"message 1 0 5 0 {crc(b'after')}")


async def test_abandons_interleaved_messages(program: Path, seed: int) -> None:
    """Use each stream either ordered or unordered, because of a defect in usrsctp.

    It treats skipped unordered messages of a stream as ordered ones, too, and aborts when the first ordered message of
    the stream arrives (sctp_handle_forward_tsn sets last_mid_delivered for both).
    """
    async with association(program, "server", idata=1) as (engine, peer, _):
        await peer.tells("up 64 64.* interleaving.*")
        chance = random.Random(seed)
        engine.lose = lambda datagram: chance.random() < 0.2
        for index in range(100):
            engine.send(index % 4, pattern(index, 1, 5000), unordered=index % 2 == 1, max_retransmissions=0)
        await engine.until(lambda: engine.all_decided)
        engine.lose = None
        for stream in range(4):
            engine.send(stream, b"the last", 99, unordered=stream % 2 == 1)
            engine.wake()
            await peer.tells(f"message {stream} 99 8 {stream % 2} {crc(b'the last')}")
        assert engine.of(SendFailed)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("who", ["we", "they"])
async def test_shutdown_delivers_every_message_first(program: Path, role: str, who: str) -> None:
    async with association(program, role) as (engine, peer, _):
        for index in range(20):
            engine.send(index, pattern(index, index, 20_000))
        peer.order("quiet")
        peer.order("send 5 0 20000 20 0 0 0")
        engine.wake()
        if who == "we":
            await peer.tells("sent 20")
            engine.association.shutdown(engine.now)
        else:
            await engine.until(lambda: engine.association.stats().buffered == 0)
            peer.order("shutdown")
        await engine.event(AssociationClosed)
        assert len(engine.messages) == 20
        await peer.tells("end eof")
        assert (await peer.ask("total", "total .*"))[0] == f"total 20 {20 * 20_000}"


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("who", ["we", "they"])
async def test_the_other_side_is_notified_of_an_abort(program: Path, role: str, who: str) -> None:
    async with association(program, role) as (engine, peer, _):
        if who == "we":
            engine.association.abort(engine.now, "enough")
            engine.wake()
            await peer.tells("lost .*")
        else:
            peer.order("abort")
            lost = await engine.event(AssociationLost)
            assert lost.by_peer
            assert lost.cause_code == 12
            assert "bye" in lost.reason


@pytest.mark.parametrize("role", ROLES)
async def test_extensions_of_one_side_only_are_not_used(program: Path, role: str) -> None:
    async with association(program, role, reconfig=0, pr=0, auth=0) as (engine, peer, up):
        assert not up.partial_reliability
        engine.association.reset_streams([1], engine.now)
        await engine.event(StreamResetFailed)
        engine.send(1, b"reliable", max_retransmissions=0)
        engine.wake()
        await peer.tells(f"message 1 0 8 0 {crc(b'reliable')}")


async def test_recognizes_the_restart_of_a_client(program: Path) -> None:
    async with association(program, "client") as (engine, peer, _):
        engine.send(1, b"before")
        engine.wake()
        await peer.tells("message 1 .*")
        await peer.end()
        async with usrsctp(program, "client", engine.port, port=peer.port) as again:
            await again.tells("connected")
            await engine.event(AssociationRestarted)
            engine.send(1, b"after")
            engine.wake()
            await again.tells(f"message 1 0 5 0 {crc(b'after')}")
        assert engine.endpoint.ids() == [engine.id]
