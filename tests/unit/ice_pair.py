"""Two ICE transports for tests, and a wire between them that can be cut."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from datachan.ice import IceState, IceTransport, SelectedLink
from datachan.sdp import IceCandidate
from datachan.udp import UdpSocket

# The first byte of a DTLS record with application data. ICE drops what is neither STUN nor DTLS (RFC 7983).
DTLS = b"\x17"


class Watched:
    """A transport, its states, and the datagrams it received."""

    def __init__(self, **options: Any) -> None:
        self.ice = IceTransport(**options)
        self.states: list[IceState] = []
        self.received: list[bytes] = []
        self._changed = asyncio.Event()
        self.ice.on_state_change = self._state_changed

    def listen(self) -> None:
        self.ice.set_receiver(self._data)

    @property
    def link(self) -> SelectedLink:
        link = self.ice.link
        assert link is not None
        return link

    def send(self, *datagrams: bytes) -> None:
        self.link.send_datagrams(datagrams)

    def _state_changed(self, state: IceState) -> None:
        self.states.append(state)
        self._changed.set()

    def _data(self, datagrams: list[bytes]) -> None:
        self.received += datagrams
        self._changed.set()

    async def until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class Pair:
    """A is controlling, Z is controlled; both have the same `options`."""

    def __init__(self, **options: Any) -> None:
        self.a = Watched(controlling=True, **options)
        self.z = Watched(controlling=False, **options)

    def exchange_credentials(self) -> None:
        self.a.ice.set_remote(self.z.ice.username_fragment, self.z.ice.password)
        self.z.ice.set_remote(self.a.ice.username_fragment, self.a.ice.password)

    async def gather(self) -> None:
        await asyncio.gather(self.a.ice.gather(), self.z.ice.gather())

    def exchange_candidates(self) -> None:
        for one, other in ((self.a.ice, self.z.ice), (self.z.ice, self.a.ice)):
            for candidate in one.local_candidates:
                other.add_remote_candidate(candidate)
            other.add_remote_candidate(None)

    async def start(self) -> None:
        self.a.listen()
        self.z.listen()
        async with asyncio.timeout(30):
            await asyncio.gather(self.a.ice.start(), self.z.ice.start())

    async def connect(self) -> None:
        await self.gather()
        self.exchange_credentials()
        self.exchange_candidates()
        await self.start()

    async def close(self) -> None:
        await asyncio.gather(self.a.ice.close(), self.z.ice.close())


class Wire:
    """Two ports, one facing A and one facing Z, that forward to each other until the wire is cut."""

    def __init__(self, a: tuple[str, int], z: tuple[str, int]) -> None:
        self.cut = False
        self.passed = 0
        self._a, self._z = a, z
        self._facing_a = UdpSocket.bind(a[0])
        self._facing_z = UdpSocket.bind(z[0])
        self._connect()

    def _connect(self) -> None:
        self._facing_a.set_receiver(lambda datagrams, _: self._pass(self._facing_z, datagrams, self._z))
        self._facing_z.set_receiver(lambda datagrams, _: self._pass(self._facing_a, datagrams, self._a))

    def rebind(self, side: str) -> None:
        """Give A ("a") or Z ("z") a new address as the other side sees it, as a NAT that restarts does."""
        if side == "a":
            self._facing_z.close()
            self._facing_z = UdpSocket.bind(self._z[0])
        else:
            self._facing_a.close()
            self._facing_a = UdpSocket.bind(self._a[0])
        self._connect()

    def _pass(self, onward: UdpSocket, datagrams: Sequence[bytes], address: tuple[str, int]) -> None:
        if not self.cut:
            self.passed += len(datagrams)
            onward.send(datagrams, address)

    @property
    def facing_a(self) -> tuple[str, int]:
        return self._facing_a.local_address[:2]

    @property
    def facing_z(self) -> tuple[str, int]:
        return self._facing_z.local_address[:2]

    def close(self) -> None:
        self._facing_a.close()
        self._facing_z.close()


def at(candidate: IceCandidate, address: tuple[str, int]) -> IceCandidate:
    """Return the candidate with another address."""
    return replace(candidate, address=address[0], port=address[1])


async def wired(pair: Pair) -> Wire:
    """Connect both by a wire instead of their own addresses; each has one candidate."""
    await pair.gather()
    pair.exchange_credentials()
    [of_a], [of_z] = pair.a.ice.local_candidates, pair.z.ice.local_candidates
    wire = Wire((of_a.address, of_a.port), (of_z.address, of_z.port))
    pair.a.ice.add_remote_candidate(at(of_z, wire.facing_a))
    pair.z.ice.add_remote_candidate(at(of_a, wire.facing_z))
    return wire
