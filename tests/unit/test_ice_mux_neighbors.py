"""Two processes that share a UDP port, here two muxes of one loop: who gets what, and what strangers cannot do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from datachan.ice import udp_mux
from datachan.ice.mux_neighbors import MAX_NEIGHBORS, MuxNeighbors, Passed
from datachan.ice.udp_mux import UdpMux
from datachan.ice_agent import stun
from tests.ports import free_port

from .test_ice_udp_mux import DATA, HOST, Connection, Remote

REMOTES = 16
A, B = "Aaaa", "Bbbb"  # their first characters are the marks of the processes


def check(fragment: str, password: str | None = None) -> bytes:
    message = stun.Message(stun.BINDING + stun.REQUEST, b"transaction!", {stun.USERNAME: f"{fragment}:zzzz".encode()})
    return stun.serialize(message, ("any" if password is None else password).encode())


ANSWER = stun.serialize(stun.Message(stun.BINDING + stun.SUCCESS, b"transaction!"))


@pytest.fixture
async def muxes(tmp_path: Path) -> AsyncIterator[list[UdpMux]]:
    port = free_port()
    made = [UdpMux(port, addresses=[HOST], neighbors=MuxNeighbors(index, 2, tmp_path)) for index in range(2)]
    for one in made:
        one.open()
    yield made
    for one in made:
        one.close()


@pytest.fixture
async def remotes(muxes: list[UdpMux]) -> AsyncIterator[list[Remote]]:
    """Return enough peers for each process to get the datagrams of some."""
    made = [Remote(muxes[0]) for _ in range(REMOTES)]
    yield made
    for one in made:
        one.socket.close()


async def test_checks_and_data_reach_their_connection_whichever_process_gets_them(
    muxes: list[UdpMux], remotes: list[Remote]
) -> None:
    a, b = Connection(muxes[0], A), Connection(muxes[1], B)
    for number, remote in enumerate(remotes):
        remote.send(check(A if number % 2 else B), DATA)  # the data does not wait for an answer
    expected = [check(A), DATA] * (REMOTES // 2)
    assert sorted(await a.until(REMOTES)) == sorted(expected)
    assert len(await b.until(REMOTES)) == REMOTES
    assert {source[:2] for _, source in a.received} == {remote.address for remote in remotes[1::2]}
    assert sum(one.passed_on for one in muxes) > 0
    assert sum(one.lost_passed_on for one in muxes) == 0
    for remote in remotes:  # by now each process knows by proof
        remote.send(DATA)
    assert len(await a.until(REMOTES + REMOTES // 2)) == REMOTES + REMOTES // 2


async def test_answers_reach_the_connection_that_asked(muxes: list[UdpMux], remotes: list[Remote]) -> None:
    a = Connection(muxes[0], A)
    for remote in remotes:
        a.link.send([b"question"], remote.address)
        await remote.until(1)
        remote.send(ANSWER)
    assert await a.until(REMOTES) == [ANSWER] * REMOTES


async def test_an_address_follows_the_latest_proof(muxes: list[UdpMux], remotes: list[Remote]) -> None:
    a, b = Connection(muxes[0], A), Connection(muxes[1], B)
    for remote in remotes:
        remote.send(check(A), DATA)
    await a.until(2 * REMOTES)
    for remote in remotes:
        remote.send(check(B))
    await b.until(REMOTES)
    addresses = {remote.address for remote in remotes}
    async with asyncio.timeout(10):
        while {source[:2] for one, source in b.received if one == DATA} != addresses:
            for remote in remotes:  # until the other process has heard of the last proof
                remote.send(DATA)
            await asyncio.sleep(0)
    others = len(a.received)
    for remote in remotes:
        remote.send(check(B))
    async with asyncio.timeout(10):
        while sum(one == check(B) for one, _ in b.received) < 2 * REMOTES:
            await asyncio.sleep(0)
    assert len(a.received) == others


async def test_a_check_without_the_password_moves_no_address(muxes: list[UdpMux], remotes: list[Remote]) -> None:
    a, b = Connection(muxes[0], A), Connection(muxes[1], B)
    for remote in remotes:
        remote.send(check(A), DATA)
    await a.until(2 * REMOTES)
    forged = check(B, "wrong")
    for remote in remotes:
        remote.send(forged)
    assert await b.until(REMOTES) == [forged] * REMOTES  # the connection answers it with an error
    for remote in remotes:
        remote.send(DATA)
    assert len(await a.until(3 * REMOTES)) == 3 * REMOTES


async def test_what_belongs_to_no_connection_goes_nowhere(
    muxes: list[UdpMux], remotes: list[Remote], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(udp_mux, "MAX_PRESUMED", 4)
    a = Connection(muxes[0], A)
    for remote in remotes:
        remote.send(check("Axxx"), check("Bxxx"), check("zxxx"), DATA)
    last = Remote(muxes[0])
    last.send(check(A))
    assert await a.until(1) == [check(A)]
    async with asyncio.timeout(10):
        while sum(one.dropped for one in muxes) < 4 * REMOTES:  # all arrive; a presumed owner drops what it has not
            await asyncio.sleep(0)
    assert [one for one, _ in a.received] == [check(A)]
    last.socket.close()


async def test_a_process_that_is_replaced_is_reached_again(tmp_path: Path) -> None:
    first, second = (MuxNeighbors(index, 2, tmp_path) for index in range(2))
    got: asyncio.Queue[Passed] = asyncio.Queue()
    peer = ("192.0.2.1", 5000)
    second.pass_on(0, 0, peer, "", [b"for an absent process"])
    assert second.lost == 1
    for round_ in range(2):
        first.open(got.put_nowait)
        second.pass_on(0, 1, peer, "192.0.2.7", [b"one", b""])
        assert await got.get() == Passed(1, 1, peer, "192.0.2.7", (b"one", b"")), round_
        first.close()
        first = MuxNeighbors(0, 2, tmp_path)
    second.close()


async def test_a_process_that_does_not_read_costs_no_memory(tmp_path: Path) -> None:
    first, second = (MuxNeighbors(index, 2, tmp_path) for index in range(2))
    first.open(lambda _: None)
    count = 0
    while not second.lost:
        second.pass_on(0, 0, ("192.0.2.1", 5000), "", [bytes(1200)])
        count += 1
        assert count < 100_000
    first.close()
    second.close()


def test_there_is_a_mark_for_each_process(tmp_path: Path) -> None:
    neighbors = [MuxNeighbors(index, MAX_NEIGHBORS, tmp_path) for index in range(MAX_NEIGHBORS)]
    assert len({one.mark for one in neighbors}) == MAX_NEIGHBORS
    assert neighbors[0].owner_of(neighbors[5].mark + "abc") == 5
    assert neighbors[5].owner_of(neighbors[5].mark + "abc") is None
    assert neighbors[0].owner_of("") is None
    assert MuxNeighbors(0, 2, tmp_path).owner_of("zzz") is None
    with pytest.raises(ValueError, match="at most 64"):
        MuxNeighbors(64, 65, tmp_path)
    with pytest.raises(ValueError, match="cannot be 0"):
        UdpMux(0, neighbors=neighbors[0])
