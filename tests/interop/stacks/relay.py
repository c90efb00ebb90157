"""A UDP relay with one port facing each peer, which loses the datagrams a test names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

Address = tuple[str, int]
# Whether to lose a datagram: its kind ("stun" or "dtls"), its number among those of its direction, its length.
Loses = Callable[[str, int, int], bool]
# By RFC 7983 the first byte of STUN is at most 3, and that of DTLS 20 to 63.
_FIRST_OF_DTLS: Final = 20


class Port(asyncio.DatagramProtocol):
    """The port that one peer takes for the other.

    Attributes:
        count: datagrams of each kind that came from the peer.
        lost: how many of them were lost.
    """

    def __init__(self, loses: Loses) -> None:
        self._loses = loses
        self.transport: asyncio.DatagramTransport | None = None
        self.other: Port | None = None
        self.peer: Any = None
        self.count = {"stun": 0, "dtls": 0}
        self.lost = 0

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.peer = addr
        kind = "dtls" if data[:1] >= bytes([_FIRST_OF_DTLS]) else "stun"
        self.count[kind] += 1
        if self._loses(kind, self.count[kind], len(data)):
            self.lost += 1
        elif self.other is not None and self.other.peer is not None and self.other.transport is not None:
            self.other.transport.sendto(data, self.other.peer)

    @property
    def address(self) -> Address:
        assert self.transport is not None
        host, port = self.transport.get_extra_info("sockname")[:2]
        return host, port


class Relay:
    """Two ports; `facing_a` takes the place of Z in what A is told, `facing_z` that of A."""

    def __init__(self, a: Port, z: Port) -> None:
        self.a, self.z = a, z
        a.other, z.other = z, a

    @property
    def facing_a(self) -> Address:
        return self.a.address

    @property
    def facing_z(self) -> Address:
        return self.z.address

    @property
    def lost(self) -> int:
        return self.a.lost + self.z.lost


def nothing(_kind: str, _number: int, _length: int) -> bool:
    """Lose no datagram."""
    return False


@asynccontextmanager
async def relaying(host: str, from_a: Loses = nothing, from_z: Loses = nothing) -> AsyncIterator[Relay]:
    """Yield a relay.

    Args:
        host: an address of this machine, for both ports.
        from_a: whether to lose a datagram that A sends.
        from_z: the same for Z.
    """
    loop = asyncio.get_running_loop()
    ports: list[Port] = []
    try:
        for loses in (from_a, from_z):
            _, port = await loop.create_datagram_endpoint(lambda loses=loses: Port(loses), local_addr=(host, 0))
            ports.append(port)
        yield Relay(*ports)
    finally:
        for port in ports:
            assert port.transport is not None
            port.transport.close()
