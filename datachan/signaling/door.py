"""Bounds the TCP connections of the server, and closes those that keep it waiting; knows nothing of their requests.

A TCP connection costs its sender nothing and the server a file descriptor. The door keeps the number of descriptors
below what the system allows, gives each address a share of them, and gives each connection a deadline for its next
request. When there is no room, the connection that has waited longest without a request gives way to the new one.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Final, Self, TypeAlias, cast

from aiohttp import web

from datachan.signaling.client_address import Network, belongs_to, share_key
from datachan.signaling.origins import is_loopback

if sys.platform != "win32":
    import resource

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_RESERVED_DESCRIPTORS: Final = 256
"""Descriptors kept for everything else: the connections just accepted, the sockets of calls, and files."""


@dataclass(frozen=True, slots=True)
class DoorOptions:
    """The bounds of the door.

    Attributes:
        max_connections: TCP connections at the same time; fewer if the system allows fewer file descriptors.
        max_per_address: TCP connections of one address (IPv6: of one /64).
        request_timeout: Seconds in which the header of a request must be complete: from the beginning of the
            connection, or from the end of the request before it.
    """

    max_connections: int = 2048
    max_per_address: int = 128
    request_timeout: float = 15.0


class Door:
    """Counts the connections of one server.

    Args:
        options: The bounds.
        is_exempt: Returns whether an address is exempt from the share of one address, as a trusted proxy is.

    Attributes:
        refused: Connections for which there was no room, since the door was made.
    """

    def __init__(self, options: DoorOptions, is_exempt: Callable[[str], bool] = lambda address: False) -> None:
        self._options = options
        self._is_exempt = is_exempt
        self._capacity = min(options.max_connections, available_descriptors())
        self.refused = 0
        self._guests: dict[asyncio.BaseTransport, _Guest] = {}
        self._by_key: Counter[str] = Counter()
        # Connections without a request, the one that has waited longest first: a dict keeps the order of insertion.
        self._waiting: dict[_Guest, None] = {}

    @classmethod
    def behind(cls, proxies: Collection[Network], options: DoorOptions) -> Self:
        """Return a door in which this machine and trusted proxies are exempt from the share of one address."""
        return cls(options, lambda address: is_loopback(address) or belongs_to(address, proxies))

    @property
    def request_timeout(self) -> float:
        """The seconds in which the header of a request must be complete."""
        return self._options.request_timeout

    def __len__(self) -> int:
        """Return the number of connections."""
        return len(self._guests)

    def guard(self, make_protocol: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """Return a protocol factory that limits the connections of the given factory."""
        return lambda: _Guest(self, make_protocol())

    def request_started(self, transport: asyncio.BaseTransport | None) -> None:
        """Stop the deadline of a connection: the header of its request is complete."""
        guest = None if transport is None else self._guests.get(transport)
        if guest is not None:
            self._waiting.pop(guest, None)
            guest.stop_deadline()

    def request_finished(self, transport: asyncio.BaseTransport | None) -> None:
        """Start the deadline of a connection for its next request."""
        guest = None if transport is None else self._guests.get(transport)
        if guest is not None:
            self._wait_for_request(guest)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Report the beginning and the end of each request of an aiohttp application. It must be the outermost one."""
        transport = request.transport
        self.request_started(transport)
        try:
            return await handler(request)
        finally:
            self.request_finished(transport)

    def admit(self, guest: _Guest) -> bool:
        """Count a new connection and return True, or return False if there is no room for it."""
        key = guest.key
        if not self._is_exempt(guest.address) and self._by_key[key] >= self._options.max_per_address:
            full_for: str | None = key
        elif len(self._guests) >= self._capacity:
            full_for = None
        else:
            return self._let_in(guest)
        if not self._make_room(full_for):
            self.refused += 1
            return False
        return self._let_in(guest)

    def _let_in(self, guest: _Guest) -> bool:
        self._guests[guest.transport] = guest
        self._by_key[guest.key] += 1
        self._wait_for_request(guest)
        return True

    def remove(self, guest: _Guest) -> None:
        """Forget a connection that has ended. Does nothing if it was not admitted."""
        if self._guests.pop(guest.transport, None) is None:
            return
        guest.stop_deadline()
        self._waiting.pop(guest, None)
        self._by_key[guest.key] -= 1
        if not self._by_key[guest.key]:
            del self._by_key[guest.key]

    def _wait_for_request(self, guest: _Guest) -> None:
        self._waiting.pop(guest, None)
        self._waiting[guest] = None
        guest.start_deadline(self._options.request_timeout)

    def _make_room(self, key: str | None = None) -> bool:
        """End the connection that has waited longest for a request; with a share key, the longest one of that key."""
        for guest in self._waiting:
            if key is None or guest.key == key:
                self.remove(guest)
                guest.transport.abort()
                return True
        return False


class _Guest(asyncio.Protocol):
    """One connection: forwards everything to the server's protocol once it is admitted."""

    transport: asyncio.Transport

    def __init__(self, door: Door, protocol: asyncio.Protocol) -> None:
        self._door = door
        self._protocol = protocol
        self._admitted = False
        self._deadline: asyncio.TimerHandle | None = None
        self.address = ""
        self.key = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the connection, or end it before the server's protocol sees it."""
        self.transport = cast(asyncio.Transport, transport)  # those of uvloop are no instances of it
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        self.key = share_key(self.address)
        self._admitted = self._door.admit(self)
        if self._admitted:
            self._protocol.connection_made(transport)
        else:
            self.transport.abort()

    def connection_lost(self, exception: Exception | None) -> None:
        """Forget the connection and forward the event."""
        self._door.remove(self)
        if self._admitted:
            self._protocol.connection_lost(exception)

    def data_received(self, data: bytes) -> None:
        """Forward received bytes."""
        if self._admitted:
            self._protocol.data_received(data)

    def eof_received(self) -> bool | None:
        """Forward the end of the client's bytes."""
        return self._protocol.eof_received() if self._admitted else None

    def pause_writing(self) -> None:
        """Forward that the send buffer is full."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Forward that the send buffer has room again."""
        self._protocol.resume_writing()

    def start_deadline(self, seconds: float) -> None:
        """End the connection after this many seconds unless the deadline is stopped before."""
        self.stop_deadline()
        self._deadline = asyncio.get_running_loop().call_later(seconds, self.transport.abort)

    def stop_deadline(self) -> None:
        """Cancel the deadline, if there is one."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def available_descriptors() -> int:
    """Return how many connections the limit on file descriptors leaves room for, at least 64."""
    if sys.platform == "win32":
        return 1 << 16  # no limit of this kind
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 16 if soft == resource.RLIM_INFINITY else max(64, soft - _RESERVED_DESCRIPTORS)
