"""ICE over TCP (RFC 6544): links that connect to the peer, and one port that accepts connections for all transports.

An active link opens a connection to each passive candidate of the peer, from a port of its own. A `TcpMux` listens on
one port. The first frame of an accepted connection has to be a connectivity check, whose USERNAME names the transport
and whose MESSAGE-INTEGRITY proves that it is the peer's; the connection then belongs to that transport.

What a stranger can cause. At most `MAX_UNPROVEN` connections wait for their first frame, each for a few seconds and
with a few bytes. A peer's candidates make an active link open at most `MAX_ACTIVE` connections.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Container, Sequence
from types import TracebackType
from typing import Final, Self, cast

from datachan.ice.link import SharedLink, TransportAddress
from datachan.ice_agent import BadPacket
from datachan.ice_agent.framing import FrameReader, framed
from datachan.ice_agent.stun import BINDING, REQUEST, parse_untrusted
from datachan.udp import Address, PathLimits, Receiver

# Connections of a `TcpMux` that have not sent a check yet, and for how long they may wait, in seconds.
MAX_UNPROVEN: Final = 256
UNPROVEN_TIMEOUT: Final = 10.0
# The first check: the 548 bytes that RFC 8489, 6.1 allows for IPv4, and a margin for longer user names.
_MAX_FIRST_FRAME: Final = 1024
# Connections of one transport on a `TcpMux`; a client needs one, and another one after its address has changed.
MAX_ACCEPTED: Final = 8
# Connections that the candidates of one peer make us open, and for how long each may take, in seconds.
MAX_ACTIVE: Final = 8
CONNECT_TIMEOUT: Final = 10.0
# Datagrams that wait for a connection: checks, which are repeated.
_MAX_WAITING: Final = 16
_HIGH_WATER: Final = 1 << 20
_BACKLOG: Final = 256


class _Stream(asyncio.Protocol):
    """A TCP connection that carries frames."""

    def __init__(self, on_frames: Callable[[_Stream, list[bytes]], None], on_end: Callable[[_Stream], None]) -> None:
        self._on_frames = on_frames
        self._on_end = on_end
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self.link: _StreamsLink | None = None
        self.remote: TransportAddress = ("", 0)
        self.local: TransportAddress = ("", 0)
        self.full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start using asyncio's transport."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.remote = _plain(transport.get_extra_info("peername"))
        self.local = _plain(transport.get_extra_info("sockname"))

    def data_received(self, data: bytes) -> None:
        """Hand up the frames that are complete."""
        frames = self._reader.feed(data)
        if frames:
            self._on_frames(self, frames)
        elif self.link is None and self._reader.waiting > _MAX_FIRST_FRAME:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end."""
        self._on_end(self)

    def pause_writing(self) -> None:
        """Stop being writable."""
        self.full = True

    def resume_writing(self) -> None:
        """Become writable again."""
        self.full = False
        if self.link is not None:
            self.link.became_writable()

    def send(self, datagrams: Sequence[bytes]) -> bool:
        """Send datagrams; return False if they are lost."""
        if self._transport is None or self._transport.is_closing():
            return False
        if self._transport.get_write_buffer_size() > 4 * _HIGH_WATER:
            raise BufferError("the TCP connection to the peer takes no more")
        self._transport.write(framed(list(datagrams)))
        return True

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()


class _StreamsLink:
    """TCP connections to peers as a `DatagramLink`: a datagram goes over the connection to its address."""

    on_writable: Callable[[], None] | None = None
    on_error: Callable[[OSError], None] | None = None
    on_too_long: Callable[[bytes, Address | None], None] | None = None

    def __init__(self, local_address: Address) -> None:
        self.local_address = local_address
        self.discarded = 0
        self.discarded_bytes = 0
        self._streams: dict[TransportAddress, _Stream] = {}
        self._receiver: Receiver | None = None
        self._closed = False

    def became_writable(self) -> None:
        """Report that a connection accepts datagrams again."""
        if self.on_writable is not None:
            self.on_writable()

    def deliver(self, stream: _Stream, datagrams: list[bytes]) -> None:
        """Hand up what a connection has received; it is lost while there is no receiver."""
        if self._receiver is not None:
            self._receiver(datagrams, stream.remote)

    @property
    def writable(self) -> bool:
        """Whether all connections accept datagrams now."""
        return not self._closed and not any(stream.full for stream in self._streams.values())

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def connections(self) -> int:
        """The number of connections, including those being opened."""
        return len(self._streams)

    def set_receiver(self, receiver: Receiver | None) -> None:
        """Set the callback for each batch of datagrams and the address they come from."""
        self._receiver = receiver

    def discard(self, datagrams: Sequence[bytes]) -> None:
        """Count datagrams that could not be sent."""
        self.discarded += len(datagrams)
        self.discarded_bytes += sum(map(len, datagrams))

    def limits(self, address: Address) -> PathLimits | None:
        """Return None: a stream has no longest datagram."""
        return None

    def allow_fragmentation(self, allowed: bool) -> None:
        """Do nothing: a stream has no datagrams."""

    def close(self) -> None:
        """Close all connections."""
        self._closed = True
        self._receiver = None
        for stream in list(self._streams.values()):
            stream.abort()
        self._streams.clear()


class ActiveTcpLink(_StreamsLink):
    """Connects to the passive candidates of a peer, as a `DatagramLink`.

    Args:
        local: the local address that connections are opened from.
    """

    def __init__(self, local: str) -> None:
        super().__init__((local, 9))
        self._local = local
        self._opening: dict[TransportAddress, tuple[asyncio.Task[None], list[bytes]]] = {}

    def send(self, datagrams: Sequence[bytes], address: Address | None = None) -> None:
        """Send datagrams to a peer, in order; the first ones open the connection, and some may wait for it.

        Raises:
            BufferError: too much waits although the link is not `writable`.
        """
        if address is None:
            raise ValueError("ICE-TCP needs the address of the peer")
        target = (address[0], address[1])
        stream = self._streams.get(target)
        if stream is not None:
            if not stream.send(datagrams):
                self.discard(datagrams)
            return
        if target not in self._opening:
            if self._closed or len(self._opening) + len(self._streams) >= MAX_ACTIVE:
                self.discard(datagrams)
                self._refuse("too many TCP connections")
                return
            self._opening[target] = (asyncio.get_running_loop().create_task(self._open(target)), [])
        waiting = self._opening[target][1]
        room = _MAX_WAITING - len(waiting)
        waiting += datagrams[:room]
        self.discard(datagrams[room:])

    def _refuse(self, reason: str) -> None:
        if self.on_error is not None:
            self.on_error(OSError(reason))

    async def _open(self, target: TransportAddress) -> None:
        loop = asyncio.get_running_loop()
        waiting = self._opening[target][1]
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, stream = await loop.create_connection(
                    lambda: _Stream(self.deliver, self._ended), *target, local_addr=(self._local, 0)
                )
        except (OSError, TimeoutError):
            self.discard(waiting)
        else:
            stream.link = self
            stream.remote = target
            self._streams[target] = stream
            stream.send(waiting)
        finally:
            self._opening.pop(target, None)

    def _ended(self, stream: _Stream) -> None:
        if self._streams.get(stream.remote) is stream:
            del self._streams[stream.remote]
            self.became_writable()

    def close(self) -> None:
        """Close all connections, and open none any longer."""
        super().close()
        for task, waiting in self._opening.values():
            task.cancel()
            self.discard(waiting)

    async def wait_closed(self) -> None:
        """Wait until `close` has ended the attempts to connect."""
        await asyncio.gather(*(task for task, _ in self._opening.values()), return_exceptions=True)


class PassiveTcpLink(_StreamsLink):
    """The connections of one transport on a `TcpMux`, as a `DatagramLink`.

    Attributes:
        passwords: the username fragments of the transport, and their passwords; several during an ICE restart.
    """

    def __init__(self, mux: TcpMux, local_address: Address, fragment: str, password: bytes) -> None:
        super().__init__(local_address)
        self._mux = mux
        self.passwords = {fragment: password}

    def add_fragment(self, username_fragment: str, password: str) -> None:
        """Be found by new credentials, too, for an ICE restart. Raises OSError if the fragment is in use."""
        if not self._closed:
            self._mux.add_fragment(self, username_fragment)
            self.passwords[username_fragment] = password.encode()

    def keep_fragments(self, fragments: Container[str]) -> None:
        """Be found by these of the fragments only."""
        for fragment in [one for one in self.passwords if one not in fragments]:
            self._mux.remove_fragment(self, fragment)
            del self.passwords[fragment]

    def accept(self, stream: _Stream) -> None:
        """Take a connection that belongs to this transport; the oldest goes when there are too many."""
        stream.link = self
        self._streams[stream.remote] = stream
        if len(self._streams) > MAX_ACCEPTED:
            self._streams.pop(next(iter(self._streams))).abort()

    def forget(self, stream: _Stream) -> None:
        """Remove a connection that has ended."""
        if self._streams.get(stream.remote) is stream:
            del self._streams[stream.remote]
            self.became_writable()

    def send(self, datagrams: Sequence[bytes], address: Address | None = None) -> None:
        """Send datagrams to a peer that has connected; without its connection they are lost.

        Raises:
            BufferError: too much waits although the link is not `writable`.
        """
        stream = None if address is None else self._streams.get((address[0], address[1]))
        if stream is None or not stream.send(datagrams):
            self.discard(datagrams)
            if self.on_error is not None:
                self.on_error(ConnectionError("the peer has no TCP connection to us"))

    def close(self) -> None:
        """Close the connections, and leave the port."""
        if not self._closed:
            super().close()
            self._mux.detach(self)


class TcpMux:
    """A TCP port on which peers connect (ICE-TCP): pass it to each connection as `RTCConfiguration(tcpMux=...)`.

    Clients whose network blocks UDP reach a server that has one, without TURN::

        async with TcpMux(port=443) as mux:
            pc = RTCPeerConnection(RTCConfiguration(tcpMux=mux, announcedAddresses=["203.0.113.7"]))

    The mux belongs to the event loop in which it is opened, and has to be closed after its connections.

    Args:
        port: the port; 0 lets the system choose.
        addresses: the local addresses to listen on. By default all of the host's, of IPv4 and IPv6.
    """

    def __init__(self, port: int = 0, *, addresses: Sequence[str] = ("0.0.0.0", "::")) -> None:
        if not 0 <= port <= 65535:
            raise ValueError(f"a port is a number from 0 to 65535, not {port}")
        self._port = port
        self._addresses = tuple(addresses)
        self._servers: list[asyncio.Server] = []
        self._local: list[Address] = []
        self._by_fragment: dict[str, list[PassiveTcpLink]] = {}
        self._unproven: dict[_Stream, asyncio.TimerHandle] = {}
        self._closed = False

    async def open(self) -> None:
        """Listen. Called by `async with`; a second call does nothing.

        Raises:
            OSError: the port is in use, or an address does not belong to this host. An IPv6 wildcard address is skipped
                on hosts without IPv6.
        """
        if self._servers or self._closed:
            return
        try:
            for address in self._addresses:
                await self._listen(address)
        except BaseException:
            self.close()
            raise

    async def _listen(self, address: str) -> None:
        loop = asyncio.get_running_loop()
        port = self._port or next((one[1] for one in self._local), 0)
        try:
            server = await loop.create_server(self._accept, address, port, backlog=_BACKLOG)
        except OSError:
            if address == "::" and self._servers:
                return
            raise
        self._servers.append(server)
        self._local.append(server.sockets[0].getsockname())

    def _accept(self) -> _Stream:
        return _Accepted(self._first_frames, self._ended, self._made)

    def _made(self, stream: _Stream) -> None:
        if self._closed or len(self._unproven) >= MAX_UNPROVEN:
            stream.abort()
            return
        self._unproven[stream] = asyncio.get_running_loop().call_later(UNPROVEN_TIMEOUT, stream.abort)

    @property
    def port(self) -> int:
        """The port; raises RuntimeError before it is open."""
        if not self._local:
            raise RuntimeError("the TcpMux is not open: use `async with`, or call `open`")
        port: int = self._local[0][1]
        return port

    @property
    def unproven(self) -> int:
        """The number of connections that have not sent a check yet."""
        return len(self._unproven)

    def attach(self, username_fragment: str, password: str) -> list[SharedLink]:
        """Return a link for each address, on which a transport sees its own connections only.

        Raises:
            OSError: the port is not open, or the fragment is in use.
        """
        if self._closed or not self._servers:
            raise OSError("the TcpMux is not open: use `async with`, or call `open`")
        if username_fragment in self._by_fragment:
            raise OSError("a connection with this username fragment uses the port already")
        links = [PassiveTcpLink(self, local, username_fragment, password.encode()) for local in self._local]
        self._by_fragment[username_fragment] = links
        return list(links)

    def detach(self, link: PassiveTcpLink) -> None:
        """Remove a link that is closed."""
        for fragment in link.passwords:
            self.remove_fragment(link, fragment)

    def add_fragment(self, link: PassiveTcpLink, fragment: str) -> None:
        """Have a transport found by another fragment, too. Raises OSError if another transport has the fragment."""
        links = self._by_fragment.setdefault(fragment, [])
        if any(one.passwords.keys().isdisjoint(link.passwords) for one in links):
            raise OSError("a connection with this username fragment uses the port already")
        links.append(link)

    def remove_fragment(self, link: PassiveTcpLink, fragment: str) -> None:
        """Find a transport by a fragment no longer."""
        links = self._by_fragment.get(fragment, [])
        if link in links:
            links.remove(link)
            if not links:
                del self._by_fragment[fragment]

    def _first_frames(self, stream: _Stream, frames: list[bytes]) -> None:
        """Give a connection to the transport that its first frame names, and hand up what has arrived."""
        if stream.link is None:
            link = self._link_of(frames[0], six=":" in stream.local[0])
            if link is None:
                stream.abort()
                return
            if (timer := self._unproven.pop(stream, None)) is not None:
                timer.cancel()
            link.accept(stream)
        if stream.link is not None:
            stream.link.deliver(stream, frames)

    def _link_of(self, frame: bytes, *, six: bool) -> PassiveTcpLink | None:
        try:
            message = parse_untrusted(frame)
        except BadPacket:
            return None
        for link in self._by_fragment.get(message.recipient, ()):
            if (":" in link.local_address[0]) == six:
                proven = message.type == BINDING + REQUEST and message.is_signed_with(link.passwords[message.recipient])
                return link if proven else None
        return None

    def _ended(self, stream: _Stream) -> None:
        if (timer := self._unproven.pop(stream, None)) is not None:
            timer.cancel()
        if isinstance(stream.link, PassiveTcpLink):
            stream.link.forget(stream)

    def close(self) -> None:
        """Close the port and all its connections."""
        self._closed = True
        for server in self._servers:
            server.close()
        for links in list(self._by_fragment.values()):
            for link in links[:]:
                link.close()
        for stream, timer in list(self._unproven.items()):
            timer.cancel()
            stream.abort()
        self._unproven.clear()
        self._servers.clear()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Accepted(_Stream):
    """An accepted connection, which reports that it exists."""

    def __init__(
        self,
        on_frames: Callable[[_Stream, list[bytes]], None],
        on_end: Callable[[_Stream], None],
        on_made: Callable[[_Stream], None],
    ) -> None:
        super().__init__(on_frames, on_end)
        self._on_made = on_made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start using asyncio's transport."""
        super().connection_made(transport)
        self._on_made(self)


def _plain(address: Address | None) -> TransportAddress:
    return (address[0], address[1]) if address else ("", 0)
