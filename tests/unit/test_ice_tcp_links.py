"""ICE over TCP: connections find their transport by the first check, and strangers find nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from datachan.ice import tcp_links
from datachan.ice.link import DatagramLink
from datachan.ice.tcp_links import MAX_ACCEPTED, MAX_ACTIVE, ActiveTcpLink, TcpMux
from datachan.ice_agent import stun
from datachan.ice_agent.framing import FrameReader, framed
from datachan.udp import Address

HOST = "127.0.0.1"
PASSWORD = "the password of the server's side"
DATA = b"\x17data"


def check(fragment: str = "aaaa", password: str = PASSWORD) -> bytes:
    message = stun.Message(stun.BINDING + stun.REQUEST, b"transaction!", {stun.USERNAME: f"{fragment}:zzzz".encode()})
    return stun.serialize(message, password.encode())


class Collected:
    """What a link has received."""

    def __init__(self, link: DatagramLink) -> None:
        self.link = link
        self.received: list[bytes] = []
        self.sources: list[Address] = []
        self._changed = asyncio.Event()
        link.set_receiver(self._received)

    def _received(self, datagrams: list[bytes], source: Address) -> None:
        self.received += datagrams
        self.sources.append(source)
        self._changed.set()

    async def until(self, count: int) -> list[bytes]:
        async with asyncio.timeout(10):
            while len(self.received) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.received


@pytest.fixture
async def mux() -> AsyncIterator[TcpMux]:
    async with TcpMux(addresses=[HOST]) as opened:
        yield opened


@pytest.fixture
async def client() -> AsyncIterator[ActiveTcpLink]:
    link = ActiveTcpLink(HOST)
    yield link
    link.close()
    await link.wait_closed()


async def closed_by_server(mux: TcpMux, *data: bytes) -> bool:
    """Connect, send bytes, and return whether the server closes the connection without an answer."""
    reader, writer = await asyncio.open_connection(HOST, mux.port)
    for one in data:
        writer.write(one)
    try:
        return await asyncio.wait_for(reader.read(1), 10) == b""
    except ConnectionError:
        return True
    finally:
        writer.close()


async def test_a_check_opens_a_connection_that_carries_datagrams_both_ways(mux: TcpMux, client: ActiveTcpLink) -> None:
    [passive] = (Collected(link) for link in mux.attach("aaaa", PASSWORD))
    active = Collected(client)
    client.send([check()], (HOST, mux.port))
    client.send([DATA, b"\x17" * 60_000], (HOST, mux.port))
    assert await passive.until(3) == [check(), DATA, b"\x17" * 60_000]
    assert mux.unproven == 0
    passive.link.send([DATA] * 3, passive.sources[0])
    assert await active.until(3) == [DATA] * 3
    assert active.sources[0] == (HOST, mux.port)


async def test_each_connection_finds_its_transport(mux: TcpMux, client: ActiveTcpLink) -> None:
    [first], [second] = mux.attach("aaaa", PASSWORD), mux.attach("bbbb", "another")
    a, b = Collected(first), Collected(second)
    client.send([check("bbbb", "another")], (HOST, mux.port))
    assert await b.until(1) == [check("bbbb", "another")]
    assert a.received == []


@pytest.mark.parametrize(
    "data",
    [
        framed([check("zzzz")]),
        framed([check(password="guess")]),
        framed([DATA]),
        b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n" * 200,
        framed([stun.serialize(stun.Message(stun.BINDING + stun.SUCCESS, b"transaction!"))]),
    ],
)
async def test_a_stranger_is_disconnected(mux: TcpMux, data: bytes) -> None:
    mux.attach("aaaa", PASSWORD)
    assert await closed_by_server(mux, data)
    assert mux.unproven == 0


async def test_a_stranger_who_says_nothing_is_disconnected_after_a_while(
    mux: TcpMux, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp_links, "UNPROVEN_TIMEOUT", 0.05)
    assert await closed_by_server(mux, b"\0")


async def test_a_limited_number_of_strangers_waits(mux: TcpMux, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_links, "MAX_UNPROVEN", 2)
    waiting = [await asyncio.open_connection(HOST, mux.port) for _ in range(2)]
    assert await closed_by_server(mux)
    assert mux.unproven <= 2
    for _, writer in waiting:
        writer.close()


async def test_a_peer_has_a_limited_number_of_connections(mux: TcpMux) -> None:
    [link] = mux.attach("aaaa", PASSWORD)
    collected = Collected(link)
    connections = []
    for number in range(MAX_ACCEPTED + 3):
        connections.append(await asyncio.open_connection(HOST, mux.port))
        connections[-1][1].write(framed([check()]))
        await collected.until(number + 1)
    assert link.connections == MAX_ACCEPTED  # type: ignore[attr-defined]
    assert await asyncio.wait_for(connections[0][0].read(1), 10) == b""
    for _, writer in connections:
        writer.close()


async def test_candidates_of_a_peer_open_a_limited_number_of_connections(client: ActiveTcpLink) -> None:
    errors: list[OSError] = []
    client.on_error = errors.append
    for port in range(1, MAX_ACTIVE + 4):
        client.send([check()], (HOST, port))
    assert len(errors) == 3
    assert client.discarded == 3


async def test_datagrams_to_a_port_that_refuses_are_discarded(client: ActiveTcpLink) -> None:
    client.send([check(), check()], (HOST, 1))
    async with asyncio.timeout(10):
        while client.discarded < 2:
            await asyncio.sleep(0)
    assert client.discarded_bytes == 2 * len(check())


async def test_the_end_of_a_connection_is_noticed_on_both_sides(mux: TcpMux, client: ActiveTcpLink) -> None:
    [link] = mux.attach("aaaa", PASSWORD)
    passive = Collected(link)
    client.send([check()], (HOST, mux.port))
    await passive.until(1)
    link.close()
    async with asyncio.timeout(10):
        while client.connections:
            await asyncio.sleep(0)
    errors: list[OSError] = []
    link.on_error = errors.append
    link.send([DATA], passive.sources[0])
    assert "no TCP connection" in str(errors[0])
    with pytest.raises(OSError, match="not open"):
        TcpMux().attach("x", "y")


async def test_a_full_connection_is_not_writable_until_the_peer_reads(
    mux: TcpMux, monkeypatch: pytest.MonkeyPatch
) -> None:
    [link] = mux.attach("aaaa", PASSWORD)
    collected = Collected(link)
    reader, writer = await asyncio.open_connection(HOST, mux.port)
    writer.write(framed([check()]))
    await collected.until(1)
    source = collected.sources[0]
    writable = asyncio.Event()
    link.on_writable = writable.set
    sent = 0
    while link.writable:
        link.send([b"\x17" * 60_000], source)
        sent += 60_002
    await asyncio.wait_for(reader.readexactly(sent), 20)
    await asyncio.wait_for(writable.wait(), 10)
    assert link.writable
    writer.close()


def test_frames_are_found_wherever_the_stream_is_torn() -> None:
    stream = framed([b"one", b"", b"three" * 100])
    for size in range(1, len(stream)):
        reader, found = FrameReader(), []
        for start in range(0, len(stream), size):
            found += reader.feed(stream[start : start + size])
        assert (found, reader.waiting) == ([b"one", b"three" * 100], 0)
