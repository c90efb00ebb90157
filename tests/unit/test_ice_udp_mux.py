"""One port for many connections: who gets which datagram, and what a stranger cannot do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from datachan.ice import udp_mux
from datachan.ice.link import DatagramLink
from datachan.ice.udp_mux import MAX_ASKED, MAX_OWNED, UdpMux
from datachan.ice_agent import stun
from datachan.udp import Address, UdpSocket
from tests.interpreted import only_interpreted

HOST = "127.0.0.1"
DATA = b"\x17data"
PASSWORDS = {"aaaa": "password of a", "bbbb": "password of b"}


def check(fragment: str, password: str | None = None) -> bytes:
    message = stun.Message(stun.BINDING + stun.REQUEST, b"transaction!", {stun.USERNAME: f"{fragment}:zzzz".encode()})
    return stun.serialize(message, (PASSWORDS[fragment] if password is None else password).encode())


class Connection:
    """The side of a connection that shares the port."""

    def __init__(self, mux: UdpMux, fragment: str) -> None:
        [self.link] = mux.attach(fragment, PASSWORDS.get(fragment, "any"))
        self.received: list[tuple[bytes, Address]] = []
        self._changed = asyncio.Event()
        self.link.set_receiver(self._received)

    def _received(self, datagrams: list[bytes], source: Address) -> None:
        self.received += [(one, source) for one in datagrams]
        self._changed.set()

    async def until(self, count: int) -> list[bytes]:
        async with asyncio.timeout(10):
            while len(self.received) < count:
                self._changed.clear()
                await self._changed.wait()
        return [one for one, _ in self.received]


class Remote:
    """A peer, or a stranger."""

    def __init__(self, mux: UdpMux) -> None:
        self.socket = UdpSocket.bind(HOST)
        self.address: tuple[str, int] = self.socket.local_address[:2]
        self._mux = (HOST, mux.port)
        self.received: list[bytes] = []
        self._changed = asyncio.Event()
        self.socket.set_receiver(self._received)

    def _received(self, datagrams: list[bytes], _: Address) -> None:
        self.received += datagrams
        self._changed.set()

    def send(self, *datagrams: bytes) -> None:
        for one in datagrams:
            self.socket.send([one], self._mux)

    async def until(self, count: int) -> list[bytes]:
        async with asyncio.timeout(10):
            while len(self.received) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.received


@pytest.fixture
async def mux() -> AsyncIterator[UdpMux]:
    async with UdpMux(addresses=[HOST]) as opened:
        yield opened


@pytest.fixture
async def remotes(mux: UdpMux) -> AsyncIterator[list[Remote]]:
    made = [Remote(mux) for _ in range(3)]
    yield made
    for one in made:
        one.socket.close()


async def test_a_check_finds_its_connection_by_fragment_and_data_by_address(mux: UdpMux, remotes: list[Remote]) -> None:
    a, b = Connection(mux, "aaaa"), Connection(mux, "bbbb")
    remotes[0].send(check("aaaa"), DATA + b"1")
    remotes[1].send(check("bbbb"), DATA + b"2")
    assert await a.until(2) == [check("aaaa"), DATA + b"1"]
    assert await b.until(2) == [check("bbbb"), DATA + b"2"]
    assert {source for _, source in a.received} == {remotes[0].address}


async def test_answers_come_back_from_the_port_to_the_connection_that_asked(mux: UdpMux, remotes: list[Remote]) -> None:
    a, b = Connection(mux, "aaaa"), Connection(mux, "bbbb")
    answer = stun.serialize(stun.Message(stun.BINDING + stun.SUCCESS, b"transaction!"))
    a.link.send([b"question"], remotes[0].address)
    assert await remotes[0].until(1) == [b"question"]
    remotes[0].send(answer, DATA)  # data of a lite peer, which sends no checks
    assert await a.until(2) == [answer, DATA]
    assert b.received == []


async def test_datagrams_of_strangers_are_dropped_and_leave_nothing_behind(mux: UdpMux, remotes: list[Remote]) -> None:
    a = Connection(mux, "aaaa")
    stranger, peer, _ = remotes
    response = stun.serialize(stun.Message(stun.BINDING + stun.SUCCESS, b"transaction!"))
    stranger.send(DATA, b"", b"\0" * 20, response, check("zzzz", "guess"), check("aaaa", "guess"), DATA)
    peer.send(check("aaaa"))
    # The agent rejects the check with the wrong password itself.
    assert await a.until(2) == [check("aaaa", "guess"), check("aaaa")]
    assert list(a.link.owned) == [peer.address]  # type: ignore[attr-defined]


async def test_an_owned_address_is_taken_over_only_with_the_password_of_the_other(
    mux: UdpMux, remotes: list[Remote]
) -> None:
    a, b = Connection(mux, "aaaa"), Connection(mux, "bbbb")
    remotes[0].send(check("aaaa"), check("bbbb", "guess"), DATA + b"1", check("bbbb"), DATA + b"2")
    assert await a.until(2) == [check("aaaa"), DATA + b"1"]
    assert await b.until(3) == [check("bbbb", "guess"), check("bbbb"), DATA + b"2"]


async def test_the_addresses_of_a_connection_are_given_up_with_it(mux: UdpMux, remotes: list[Remote]) -> None:
    a = Connection(mux, "aaaa")
    remotes[0].send(check("aaaa"))
    await a.until(1)
    a.link.send([b"x"], remotes[1].address)
    a.link.close()
    a.link.close()
    assert mux.connections == 0
    again = Connection(mux, "aaaa")
    remotes[0].send(DATA)
    remotes[1].send(DATA)
    remotes[2].send(check("aaaa"))
    assert await again.until(1) == [check("aaaa")]
    a.link.send([b"lost"], remotes[1].address)
    assert a.link.discarded == 1


async def test_a_connection_owns_and_asks_a_limited_number_of_addresses(mux: UdpMux) -> None:
    a = Connection(mux, "aaaa")
    [port] = mux._ports
    for number in range(2 * MAX_ASKED):
        address = (f"127.0.1.{number % 200}", 1 + number)
        port._received([check("aaaa")], address)
        a.link.send([b"x"], (f"127.0.2.{number % 200}", 1 + number))
    assert len(port._owners) == MAX_OWNED
    assert len(port._askers) <= MAX_ASKED


@only_interpreted(udp_mux)
async def test_connections_that_ask_one_address_are_limited(mux: UdpMux, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp_mux, "MAX_ASKING", 2)
    for number in range(5):
        Connection(mux, f"c{number}").link.send([b"x"], ("127.0.0.9", 9))
    [port] = mux._ports
    assert len(port._askers["127.0.0.9", 9]) == 2


async def test_two_connections_cannot_have_one_fragment(mux: UdpMux) -> None:
    Connection(mux, "aaaa")
    with pytest.raises(OSError, match="uses the port already"):
        Connection(mux, "aaaa")


async def test_closing_the_mux_closes_the_links() -> None:
    async with UdpMux(addresses=[HOST]) as mux:
        a = Connection(mux, "aaaa")
        assert a.link.writable
    assert a.link.closed
    assert not a.link.writable
    with pytest.raises(OSError, match="not open"):
        mux.attach("bbbb", "x")


async def test_only_connections_that_wait_are_told_when_the_port_is_writable_again(mux: UdpMux) -> None:
    waiting, busy, closed = (Connection(mux, name) for name in ("aaaa", "bbbb", "cccc"))
    told: list[str] = []
    [port] = mux._ports

    async def fill_and_drain() -> None:
        port.socket._enqueue([b"late"], ("127.0.0.9", 9))
        assert not any(one.link.writable for one in (waiting, busy, closed))
        for name, one in (("waiting", waiting), ("closed", closed)):
            if name not in told:
                one.link.on_writable = partial(told.append, name)
        closed.link.close()
        while not port.socket.writable:
            await asyncio.sleep(0)

    await fill_and_drain()
    assert told == ["waiting"]
    assert waiting.link.writable
    await fill_and_drain()
    assert told == ["waiting"], "it has not asked again"


async def test_binds_one_port_of_both_families() -> None:
    async with UdpMux() as mux:
        links: list[DatagramLink] = mux.attach("aaaa", "x")
        assert {link.local_address[1] for link in links} == {mux.port}
        assert links[0].local_address[0] == "0.0.0.0"


async def test_a_port_in_use_is_an_error() -> None:
    taken = UdpSocket.bind(HOST)
    with pytest.raises(OSError, match="in use"):
        UdpMux(taken.local_address[1], addresses=[HOST]).open()
    taken.close()


def test_a_mux_that_is_not_open_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        _ = UdpMux().port
    with pytest.raises(ValueError, match="from 0 to 65535"):
        UdpMux(70_000)
