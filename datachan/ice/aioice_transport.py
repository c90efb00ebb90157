"""Shows a link to aioice as an asyncio transport, which its protocols are written for."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from datachan.ice.link import DatagramLink
from datachan.udp import Address


class LinkUser(Protocol):
    """An asyncio protocol of aioice that also receives batches."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start using a transport."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop using the transport, which is closed."""

    def error_received(self, exc: Exception) -> None:
        """Record an error of the system."""

    def datagrams_received(self, datagrams: list[bytes], address: Address) -> None:
        """Receive datagrams from one address, in order."""


class LinkTransport(asyncio.DatagramTransport):
    """An asyncio transport over a link; it serves its protocol from construction on."""

    def __init__(self, link: DatagramLink, protocol: LinkUser) -> None:
        super().__init__()
        self._link = link
        self._protocol = protocol
        link.on_error = protocol.error_received
        protocol.connection_made(self)
        link.set_receiver(protocol.datagrams_received)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return `sockname`."""
        return self._link.local_address if name == "sockname" else default

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Send one datagram; without room it is lost, as STUN expects of a network."""
        if self._link.closed:
            return
        try:
            self._link.send([bytes(data)], addr)
        except BufferError as error:
            self._protocol.error_received(OSError(str(error)))

    def is_closing(self) -> bool:
        """Return whether `close` was called, or the link has failed."""
        return self._link.closed

    def close(self) -> None:
        """Close the link; `connection_lost` follows in the next turn of the event loop."""
        if not self._link.closed:
            self._link.close()
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        """Do as `close`."""
        self.close()
