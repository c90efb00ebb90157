"""A TURN allocation as a link: runs the sans-IO client of `datachan.ice_agent.turn` over a connection to the server.

    link = await open_turn_link(server, addresses)     # there is an allocation, or TurnError
    base = Base(*link.relayed_address, relayed=True)
    link.permit("192.0.2.7")                           # for each candidate of the peer, at once
    link.set_receiver(lambda datagrams, peer: ...)
    link.send([datagram], ("192.0.2.7", 4444))
    link.close(); await link.wait_closed()

When the server has lost the allocation, the client requests another one: `on_relayed` is called with its address, and
the old address is dead. When that fails, too, `on_ended` is called and the link is closed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Final

from datachan.driver import Driver
from datachan.ice.link import DatagramLink, TransportAddress
from datachan.ice.server_errors import ServerError
from datachan.ice.servers import ServerAddress
from datachan.ice.turn_connection import HttpProxy, StreamLink, connect_stream, connect_udp
from datachan.ice_agent.turn import TurnClient
from datachan.ice_agent.turn_events import (
    Allocated,
    AllocationLost,
    DataReceived,
    PeerRefused,
    Redirected,
    TurnEvent,
    TurnFailed,
)
from datachan.ice_agent.turn_messages import CHANNEL_HEADER, IPV4, UNREACHABLE
from datachan.log_rate import get_limited_logger
from datachan.udp import Address, PathLimits, Receiver

_log = get_limited_logger("datachan.ice")

# A server that does not answer must not hold up `close`; it frees the allocation when that expires.
_RELEASE_TIMEOUT: Final = 1.0
# A server may name another one (300, ALTERNATE-SERVER), and that one a third.
MAX_REDIRECTIONS: Final = 3
# RFC 8656, 7.4: after 437 (Allocation Mismatch) the client uses another port of its own. Once is enough.
_MISMATCH: Final = 437


class TurnError(ServerError):
    """There is no allocation; the code and text are those of the TURN server."""


class _Redirected(Exception):
    def __init__(self, server: TransportAddress) -> None:
        super().__init__(server)
        self.server = server


class _ServerSide:
    """The connection to the server in the form that a driver sends to."""

    def __init__(self, link: DatagramLink) -> None:
        self._link = link
        self._for_driver: Callable[[], None] | None = None
        self.for_user: Callable[[], None] | None = None
        self.for_other_user: Callable[[], None] | None = None
        link.on_writable = self._writable

    def _writable(self) -> None:
        for callback in (self._for_driver, self.for_user, self.for_other_user):
            if callback is not None:
                callback()

    @property
    def writable(self) -> bool:
        """Whether the connection accepts messages now."""
        return self._link.writable

    @property
    def on_writable(self) -> Callable[[], None] | None:
        """Called each time `writable` becomes True."""
        return self._for_driver

    @on_writable.setter
    def on_writable(self, callback: Callable[[], None] | None) -> None:
        self._for_driver = callback

    def send_datagrams(self, datagrams: Sequence[bytes]) -> None:
        """Send messages to the server."""
        self._link.send(datagrams)


class OtherFamily:
    """The address of an allocation's other family as a `DatagramLink`; it ends with the allocation.

    Args:
        link: the allocation.
        address: the relayed address.
    """

    on_writable: Callable[[], None] | None = None
    on_error: Callable[[OSError], None] | None = None
    on_too_long: Callable[[bytes, Address | None], None] | None = None
    discarded = discarded_bytes = 0  # the allocation counts them

    def __init__(self, link: TurnLink, address: TransportAddress) -> None:
        self._link = link
        self._receiver: Receiver | None = None
        self._closed = False
        self.local_address: Address = address

    @property
    def source_address(self) -> str:
        """Our IP address on the connection to the server; "" if it is unknown."""
        return self._link.source_address

    @property
    def writable(self) -> bool:
        """Whether the connection to the server accepts more."""
        return self._link.writable

    @property
    def closed(self) -> bool:
        """Whether `close` was called, or the allocation is lost."""
        return self._closed or self._link.closed

    def set_receiver(self, receiver: Receiver | None) -> None:
        """Set the callback for each batch of datagrams and the address of the peer they come from."""
        self._receiver = receiver

    def receive(self, datagrams: list[bytes], peer: TransportAddress) -> None:
        """Take datagrams of a peer from the allocation."""
        if self._receiver is not None:
            self._receiver(datagrams, peer)

    def send(self, datagrams: Sequence[bytes], address: Address | None = None) -> None:
        """Send datagrams to a peer of the allocation."""
        if not self._closed:
            self._link.send(datagrams, address)

    def limits(self, address: Address) -> PathLimits | None:
        """Return the limits of the route to the server."""
        return self._link.limits(address)

    def allow_fragmentation(self, allowed: bool) -> None:
        """Choose whether datagrams may be fragmented on the way to the server."""
        self._link.allow_fragmentation(allowed)

    def close(self) -> None:
        """Send and receive nothing any longer; the allocation goes on."""
        self._closed = True
        self._receiver = None


class TurnLink:
    """A TURN allocation as a `DatagramLink`; `open_turn_link` makes them.

    Args:
        server: the connection to the server, which belongs to this object from now on.
        client: the client, which has not been started.
        address: the address of the server.

    Attributes:
        other_family: the address of the other family as a link, if the server gives both.
        on_relayed: called with the address of another allocation that replaces the first.
        on_ended: called once with the code and the reason when the allocation is lost for good.
    """

    on_error: Callable[[OSError], None] | None = None
    on_too_long: Callable[[bytes, Address | None], None] | None = None
    on_relayed: Callable[[TransportAddress], None] | None = None
    on_ended: Callable[[int, str], None] | None = None

    def __init__(self, server: DatagramLink, client: TurnClient, address: TransportAddress) -> None:
        self._server = server
        self._server_address = address
        self._client = client
        self._receiver: Receiver | None = None
        self._relayed: TransportAddress | None = None
        self.other_family: OtherFamily | None = None
        self._closing = False
        self._released = asyncio.Event()
        self._allocated: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._release_timer: asyncio.TimerHandle | None = None
        self.local_address: Address = ()
        self.mapped_address: TransportAddress | None = None
        side = _ServerSide(server)
        self._side = side
        self._driver: Driver[bytes, TurnEvent] = Driver(client, side, self._happened, self._defect)
        side.for_other_user = self._other_writable
        server.on_error = self._server_error
        server.on_too_long = self._too_long
        if isinstance(server, StreamLink):
            server.on_closed = self._server_closed
        server.set_receiver(lambda messages, _: self._driver.receive(messages))

    async def allocate(self) -> None:
        """Request the allocation. If it raises, the connection is closed.

        Raises:
            TurnError: the server refuses, or does not answer.
        """
        self._client.start(self._driver.now)
        self._driver.wake()
        try:
            await self._allocated
        except BaseException:  # also when the caller is canceled
            self._shut()
            raise

    @property
    def relayed_address(self) -> TransportAddress:
        """The address of the allocation; raises RuntimeError while there is none."""
        if self._relayed is None:
            raise RuntimeError("there is no allocation")
        return self._relayed

    @property
    def source_address(self) -> str:
        """Our IP address on the connection to the server; "" if it is unknown."""
        address = self._server.local_address
        return str(address[0]) if address else ""

    def permit(self, host: str) -> None:
        """Request that the server relays datagrams from an address, if it is of the allocation's family."""
        if not self._closing:
            self._client.permit(host, self._driver.now)
            self._driver.wake()

    # DatagramLink

    @property
    def on_writable(self) -> Callable[[], None] | None:
        """Called each time `writable` becomes True."""
        return self._side.for_user

    @on_writable.setter
    def on_writable(self, callback: Callable[[], None] | None) -> None:
        self._side.for_user = callback

    @property
    def writable(self) -> bool:
        """Whether the connection to the server accepts more."""
        return self._server.writable

    @property
    def closed(self) -> bool:
        """Whether `close` was called, or the allocation is lost for good."""
        return self._closing or self._server.closed

    @property
    def discarded(self) -> int:
        """The number of datagrams without room, without permission, or without an allocation."""
        return self._client.discarded + self._server.discarded

    @property
    def discarded_bytes(self) -> int:
        """The number of bytes in them."""
        return self._client.discarded_bytes + self._server.discarded_bytes

    def set_receiver(self, receiver: Receiver | None) -> None:
        """Set the callback for each batch of datagrams and the address of the peer they come from."""
        self._receiver = receiver

    def send(self, datagrams: Sequence[bytes], address: Address | None = None) -> None:
        """Send datagrams to a peer of the allocation; a limited number waits for the server's permission."""
        if address is None:
            raise ValueError("a relay needs the address of the peer")
        self._client.send(datagrams, (address[0], address[1]), self._driver.now)
        self._driver.send_now()

    def limits(self, address: Address) -> PathLimits | None:
        """Return the limits of the route to the server; only probes can find those of the path behind it."""
        limits = self._server.limits(self._server_address)
        if limits is None:
            return None
        return PathLimits(limits.max_datagram - CHANNEL_HEADER, limits.overhead + CHANNEL_HEADER)

    def allow_fragmentation(self, allowed: bool) -> None:
        """Choose whether datagrams may be fragmented on the way to the server."""
        self._server.allow_fragmentation(allowed)

    def close(self) -> None:
        """Release the allocation, which takes a second at most; see `wait_closed`."""
        if self._closing:
            return
        self._closing = True
        if self._server.closed:
            self._shut()
            return
        self._client.close(self._driver.now)
        self._release_timer = asyncio.get_running_loop().call_later(_RELEASE_TIMEOUT, self._shut)
        self._driver.flush()

    async def wait_closed(self) -> None:
        """Wait until `close` has released the allocation, or the server has had its second."""
        await self._released.wait()

    # callbacks

    def _happened(self, event: TurnEvent) -> None:
        if isinstance(event, DataReceived):
            other = self.other_family
            if other is not None and (":" in event.peer[0]) == (":" in other.local_address[0]):
                other.receive(event.datagrams, event.peer)
            elif self._receiver is not None:
                self._receiver(event.datagrams, event.peer)
        elif isinstance(event, Allocated):
            self._has_allocation(event)
        elif isinstance(event, AllocationLost):
            words = "the TURN server has lost the allocation (%d %s); another one is requested"
            _log.info(words, event.code, event.reason)
        elif isinstance(event, PeerRefused):
            if self.on_error is not None:
                self.on_error(TurnError(event.code, f"the TURN server refuses {event.host}: {event.reason}"))
        elif isinstance(event, Redirected):
            self._fail(_Redirected(event.server), TurnFailed(UNREACHABLE, "redirected"))
        elif isinstance(event, TurnFailed):
            self._fail(TurnError(event.code, event.reason), event)
        else:
            self._shut()

    def _other_writable(self) -> None:
        if self.other_family is not None and self.other_family.on_writable is not None:
            self.other_family.on_writable()

    def _has_allocation(self, event: Allocated) -> None:
        again = self._relayed is not None
        self._relayed = event.relayed
        self.local_address = event.relayed
        self.other_family = None if event.additional is None else OtherFamily(self, event.additional)
        self.mapped_address = event.mapped
        if not self._allocated.done():
            self._allocated.set_result(None)
        elif again and self.on_relayed is not None:
            self.on_relayed(event.relayed)

    def _fail(self, error: Exception, event: TurnFailed) -> None:
        self._shut()
        if not self._allocated.done():
            self._allocated.set_exception(error)
        elif self.on_ended is not None:
            self.on_ended(event.code, event.reason)

    def _defect(self, error: Exception) -> None:
        self._fail(TurnError(UNREACHABLE, f"an error of our own ({error!r})"), TurnFailed(UNREACHABLE, repr(error)))

    def _server_error(self, error: OSError) -> None:
        """End the request for an allocation when the system reports that the server cannot be reached.

        Once there is an allocation, such an error may pass, and each request has its own timeout.
        """
        if self._relayed is None:
            # After the call that sends has returned: the system reports errors out of it, too.
            asyncio.get_running_loop().call_soon(self._server_closed, error.strerror or str(error))
        elif self.on_error is not None:
            self.on_error(error)

    def _server_closed(self, reason: str) -> None:
        self._client.connection_failed(reason)
        self._driver.flush()

    def _too_long(self, message: bytes, _: Address | None) -> None:
        for link in (self, self.other_family):
            if link is not None and link.on_too_long is not None:
                link.on_too_long(message[CHANNEL_HEADER:], None)

    def _shut(self) -> None:
        self._closing = True
        if self._release_timer is not None:
            self._release_timer.cancel()
        self._driver.close()
        self._server.close()
        self._receiver = None
        self._released.set()


async def open_turn_link(
    server: ServerAddress,
    addresses: Sequence[TransportAddress],
    *,
    family: int = IPV4,
    fast_path: bool = True,
    proxy: HttpProxy | None = None,
) -> TurnLink:
    """Connect to a TURN server and request an allocation.

    Args:
        server: the server, with its credentials.
        addresses: its addresses, which are tried in turn over TCP and TLS; over UDP the first is used.
        family: the family of the relayed address, `IPV4` or `IPV6`.
        fast_path: whether to use `datachan.udp` rather than asyncio's own datagram endpoints.
        proxy: the HTTP proxy for TCP and TLS.

    Raises:
        TurnError: the server refuses, does not answer, or cannot be reached.
    """
    mismatched = False
    through = proxy if server.transport == "tcp" else None
    targets = list(addresses) if through is None else [(server.host, server.port)]
    for _ in range(1 + MAX_REDIRECTIONS):
        try:
            link = await _connect(server, targets, fast_path, through)
        except OSError as error:
            raise TurnError(UNREACHABLE, error.strerror or str(error) or type(error).__name__) from error
        client = TurnClient(
            username=server.username or "",
            password=server.credential or "",
            entropy=os.urandom,
            family=family,
            reliable=server.transport == "tcp",
        )
        turn_link = TurnLink(link, client, targets[0])
        try:
            await turn_link.allocate()
        except _Redirected as redirection:
            targets = [redirection.server]
        except TurnError as error:
            if error.code != _MISMATCH or mismatched:
                raise
            mismatched = True  # another connection has another port
        else:
            return turn_link
    raise TurnError(UNREACHABLE, f"redirected more than {MAX_REDIRECTIONS} times")


async def _connect(
    server: ServerAddress, addresses: Sequence[TransportAddress], fast_path: bool, proxy: HttpProxy | None
) -> DatagramLink:
    if server.transport == "tcp":
        tls_name = server.host if server.secure else None
        return await connect_stream(addresses, tls_name=tls_name, proxy=proxy)
    if not addresses:
        raise OSError("the name has no address")
    return await connect_udp(addresses[0], fast_path=fast_path)
