"""A link over asyncio's own datagram endpoint, for event loops that cannot watch a socket (Windows' proactor loop)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from datachan.ice.link import TransportAddress
from datachan.udp import Address, PathLimits, Receiver

_RECEIVE_BUFFER: Final = 262_144


class AsyncioLink(asyncio.DatagramProtocol):
    """A UDP socket of asyncio as a `DatagramLink`. It sends and receives datagrams one by one."""

    on_writable: Callable[[], None] | None = None
    on_error: Callable[[OSError], None] | None = None
    on_too_long: Callable[[bytes, Address | None], None] | None = None
    discarded: Final = 0
    discarded_bytes: Final = 0

    def __init__(self) -> None:
        self._transport: asyncio.DatagramTransport | None = None
        self._receiver: Receiver | None = None
        self._full = False
        self.local_address: Address = ()

    @classmethod
    async def bind(cls, host: str, port: int) -> AsyncioLink:
        """Bind a port of a local address; 0 lets the system choose. Raises OSError."""
        return await cls._open(local=(host, port))

    @classmethod
    async def connect(cls, address: TransportAddress) -> AsyncioLink:
        """Connect to one remote address. Raises OSError."""
        return await cls._open(remote=address)

    @classmethod
    async def _open(cls, local: TransportAddress | None = None, remote: TransportAddress | None = None) -> AsyncioLink:
        loop = asyncio.get_running_loop()
        transport, link = await loop.create_datagram_endpoint(cls, local_addr=local, remote_addr=remote)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        return link

    # callbacks of asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start using asyncio's transport."""
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.local_address = transport.get_extra_info("sockname")

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """Deliver one datagram; it is lost if there is no receiver yet."""
        if self._receiver is not None:
            self._receiver([data], addr)

    def error_received(self, exc: Exception) -> None:
        """Report an error of the system."""
        if self.on_error is not None:
            self.on_error(cast(OSError, exc))

    def pause_writing(self) -> None:
        """Stop being writable."""
        self._full = True

    def resume_writing(self) -> None:
        """Become writable again."""
        self._full = False
        if self.on_writable is not None:
            self.on_writable()

    # DatagramLink

    @property
    def writable(self) -> bool:
        """Whether asyncio's buffer accepts datagrams now."""
        return not self._full and not self.closed

    @property
    def closed(self) -> bool:
        """Whether the socket is closed."""
        return self._transport is None or self._transport.is_closing()

    def set_receiver(self, receiver: Receiver | None) -> None:
        """Set the callback for each datagram and its source address."""
        self._receiver = receiver

    def send(self, datagrams: Sequence[bytes], address: Address | None = None) -> None:
        """Send datagrams, in order."""
        if self._transport is not None:
            for datagram in datagrams:
                self._transport.sendto(datagram, address)

    def limits(self, address: Address) -> PathLimits | None:
        """Return None: datagrams cannot be kept whole here."""
        return None

    def allow_fragmentation(self, allowed: bool) -> None:
        """Do nothing: the system decides."""

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.close()
