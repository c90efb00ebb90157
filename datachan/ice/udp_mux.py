"""One UDP port for any number of connections: finds the connection of each datagram; it does not know what they do.

A connectivity check names its connection by the username fragment in USERNAME (RFC 8445, 7.2.2). If its
MESSAGE-INTEGRITY proves that it is the peer's, its source address belongs to the connection from then on, and data from
there goes to it. Answers to our own checks come from addresses that the connection has sent to.

What a stranger can cause. Without a connection's password it cannot own an address, and addresses that are not owned
are not remembered. A peer owns at most `MAX_OWNED` addresses, and its candidates make us remember at most `MAX_ASKED`.
An address that a connection owns is taken over only by a check that proves to be of another connection.

With `MuxNeighbors`, other processes share the port. A check for a connection of theirs is passed on, and its owner
tells us once the check has proved the address: data and answers from there are passed on from then on. The owner of a
check that is not proved yet is presumed, for at most `MAX_PRESUMED` addresses that are not known otherwise: data may
come before the owner's word. The owner drops what it has not proved itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Sequence
from types import TracebackType
from typing import Final, Self

from datachan.ice.link import SharedLink, TransportAddress
from datachan.ice.mux_neighbors import MuxNeighbors, Passed
from datachan.ice_agent import BadPacket
from datachan.ice_agent.stun import BINDING, REQUEST, parse_untrusted
from datachan.token_bucket import TokenBucket
from datachan.udp import Address, PathLimits, Receiver, UdpSocket, has_reader_support

# Addresses that a peer has proved to be its own; NATs that restart give new ones. The oldest is forgotten first.
MAX_OWNED: Final = 32
# Addresses that a connection has sent checks to; as many as it makes pairs (RFC 8445, 6.1.2.5).
MAX_ASKED: Final = 100
# Connections that wait for an answer of the same address; only peers that share a port, too, have several.
MAX_ASKING: Final = 8
# Addresses that are known to belong to connections of other processes; the oldest is forgotten first, and known again
# with the next check from there.
MAX_ELSEWHERE: Final = 65_536
MAX_PRESUMED: Final = 1024
# Answers per second from addresses that are not known yet, which every other process gets to see.
_STRAY_ANSWERS: Final = 200.0
_RECEIVE_BUFFER: Final = 16 << 20
_SEND_BUFFER: Final = 4 << 20
_WILDCARDS: Final = ("0.0.0.0", "::")


class UdpMux:
    """A UDP port that connections share: pass it to each as `RTCConfiguration(udpMux=...)`.

    A firewall has to open this one port only, however many peers there are. Usually that is a server's::

        async with UdpMux(port=3478) as mux:
            pc = RTCPeerConnection(RTCConfiguration(udpMux=mux, announcedAddresses=["203.0.113.7"], iceLite=True))

    The mux belongs to the event loop in which it is opened, and has to be closed after its connections.

    Args:
        port: the port; 0 lets the system choose one for each address.
        addresses: the local addresses to bind to. By default all of the host's, of IPv4 and IPv6.
        neighbors: the other processes that bind to the same port; None for a port of this process only.
    """

    def __init__(
        self, port: int = 0, *, addresses: Sequence[str] = _WILDCARDS, neighbors: MuxNeighbors | None = None
    ) -> None:
        if not 0 <= port <= 65535:
            raise ValueError(f"a port is a number from 0 to 65535, not {port}")
        if neighbors is not None and not port:
            raise ValueError("processes that share a port have to name it: it cannot be 0")
        self._port = port
        self._addresses = tuple(addresses)
        self._neighbors = neighbors
        self._ports: list[_SharedPort] = []
        self._closed = False

    def open(self) -> None:
        """Bind the port. Called by `async with`; a second call does nothing.

        Raises:
            OSError: the port is in use, or an address does not belong to this host. An IPv6 wildcard address is skipped
                on hosts without IPv6.
        """
        if self._ports or self._closed:
            return
        if not has_reader_support(asyncio.get_running_loop()):
            raise OSError("a UdpMux needs an event loop that can watch sockets (on Windows, the selector loop)")
        try:
            for address in self._addresses:
                self._bind(address)
            if self._neighbors is not None:
                self._neighbors.open(self._received_elsewhere)
        except BaseException:
            self.close()
            raise

    def _bind(self, address: str) -> None:
        port = self._port or next((one.port for one in self._ports), 0)
        try:
            bound = _bind_only(address, port, shared=self._neighbors is not None)
        except OSError:
            if address == "::" and self._ports:  # a host without IPv6
                return
            raise
        self._ports.append(_SharedPort(bound, len(self._ports), self._neighbors))

    def _received_elsewhere(self, passed: Passed) -> None:
        if passed.bound < len(self._ports):
            self._ports[passed.bound].receive_elsewhere(passed)

    @property
    def port(self) -> int:
        """The port; raises RuntimeError before it is bound."""
        if not self._ports:
            raise RuntimeError("the UdpMux is not open: use `async with`, or call `open`")
        return self._ports[0].port

    @property
    def mark(self) -> str:
        """What the username fragments of this process begin with; "" if it shares the port with no other one."""
        return "" if self._neighbors is None else self._neighbors.mark

    @property
    def connections(self) -> int:
        """The number of connections that use the port."""
        return max((len(set(one.by_fragment.values())) for one in self._ports), default=0)

    @property
    def fragments(self) -> list[str]:
        """The username fragments by which connections are found; a connection has several during an ICE restart."""
        return list(self._ports[0].by_fragment) if self._ports else []

    @property
    def dropped(self) -> int:
        """The number of datagrams that belong to no connection, since the port was opened."""
        return sum(one.dropped for one in self._ports)

    @property
    def passed_on(self) -> int:
        """The number of batches of datagrams for connections of other processes."""
        return 0 if self._neighbors is None else self._neighbors.passed_on

    @property
    def lost_passed_on(self) -> int:
        """The number of messages that other processes did not take."""
        return 0 if self._neighbors is None else self._neighbors.lost

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def attach(self, username_fragment: str, password: str) -> list[SharedLink]:
        """Return a link for each bound address, on which a connection sees its own datagrams only.

        Args:
            username_fragment: the connection's own.
            password: the connection's own.

        Raises:
            OSError: the port is not open, or the fragment is in use.
        """
        if self._closed or not self._ports:
            raise OSError("the UdpMux is not open: use `async with`, or call `open`")
        return [one.attach(username_fragment, password) for one in self._ports]

    def close(self) -> None:
        """Close the port. Connections that still use it lose their paths over it."""
        if self._neighbors is not None and not self._closed:
            self._neighbors.close()
        self._closed = True
        for one in self._ports:
            one.close()
        self._ports.clear()

    async def __aenter__(self) -> Self:
        self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _bind_only(address: str, port: int, *, shared: bool) -> UdpSocket:
    """Bind a socket; the IPv6 wildcard address leaves IPv4 to a socket of its own."""
    return UdpSocket.bind(
        address,
        port,
        receive_buffer=_RECEIVE_BUFFER,
        send_buffer=_SEND_BUFFER,
        six_only=address == "::",
        shared=shared,
    )


def _remember(owners: dict[TransportAddress, int], address: TransportAddress, owner: int, most: int) -> None:
    """Remember the process of an address as the newest, and forget the oldest beyond `most`."""
    owners.pop(address, None)
    owners[address] = owner
    if len(owners) > most:
        del owners[next(iter(owners))]


class _SharedPort:
    """One socket, and the connections that share it."""

    def __init__(self, sock: UdpSocket, number: int, neighbors: MuxNeighbors | None) -> None:
        self.socket = sock
        self._number = number
        self._neighbors = neighbors
        self._elsewhere: dict[TransportAddress, int] = {}
        self._presumed: dict[TransportAddress, int] = {}
        self._stray = TokenBucket(_STRAY_ANSWERS, _STRAY_ANSWERS)
        self.by_fragment: dict[str, MuxLink] = {}
        self._owners: dict[TransportAddress, MuxLink] = {}
        self._askers: dict[TransportAddress, list[MuxLink]] = {}
        self.dropped = 0
        sock.set_receiver(self._received)
        sock.on_writable = self._writable
        sock.on_too_long = self._too_long
        sock.on_error = self._failed
        self._sending: MuxLink | None = None
        self._waiting: dict[MuxLink, None] = {}

    @property
    def port(self) -> int:
        """The port."""
        port: int = self.socket.local_address[1]
        return port

    def attach(self, fragment: str, password: str) -> MuxLink:
        """Add a connection. Raises OSError if another one has its fragment."""
        link = MuxLink(self)
        self.add_fragment(link, fragment, password)
        return link

    def add_fragment(self, link: MuxLink, fragment: str, password: str) -> None:
        """Have a connection found by another fragment, too. Raises OSError if the fragment is in use."""
        if fragment in self.by_fragment:
            raise OSError("a connection with this username fragment uses the port already")
        self.by_fragment[fragment] = link
        link.passwords[fragment] = password.encode()

    def remove_fragment(self, link: MuxLink, fragment: str) -> None:
        """Find a connection by a fragment no longer."""
        if self.by_fragment.get(fragment) is link:
            del self.by_fragment[fragment]
        link.passwords.pop(fragment, None)

    def detach(self, link: MuxLink) -> None:
        """Remove a connection and its addresses."""
        for fragment in list(link.passwords):
            self.remove_fragment(link, fragment)
        for address in link.owned:
            if self._owners.get(address) is link:
                del self._owners[address]
        for address in list(link.asked):
            self._forget_asker(link, address)
        self._waiting.pop(link, None)

    # datagrams in

    def _received(self, datagrams: list[bytes], source: Address) -> None:
        self._take(datagrams, source, None)

    def receive_elsewhere(self, passed: Passed) -> None:
        """Process what another process has received on the port, or its news that it owns an address."""
        address = (passed.peer[0], passed.peer[1])
        if passed.datagrams:
            if passed.local:
                self.socket.answer_from(passed.peer, passed.local)
            self._take(list(passed.datagrams), passed.peer, passed.sender)
            return
        # News that arrives after the address was proved here is older than that: no check was passed on since.
        if self._presumed.pop(address, None) != passed.sender:
            return
        self._owners.pop(address, None)
        _remember(self._elsewhere, address, passed.sender, MAX_ELSEWHERE)

    def _elsewhere_at(self, address: TransportAddress) -> int | None:
        """Return the process that has the connection of an address."""
        known = self._elsewhere.get(address)
        return self._presumed.get(address) if known is None else known

    def _take(self, datagrams: list[bytes], source: Address, sender: int | None) -> None:
        """Find the connection of each datagram. Those that `sender` has passed on are not passed on again."""
        address = (source[0], source[1])
        owner = self._owners.get(address)
        if all(one[:1] > b"\3" for one in datagrams):
            self._deliver_data(datagrams, source, owner, sender)
            return
        for one in datagrams:
            if one[:1] > b"\3":
                self._deliver_data([one], source, self._owners.get(address), sender)
            else:
                self._deliver_stun(one, source, address, sender)

    def _deliver_data(self, datagrams: list[bytes], source: Address, owner: MuxLink | None, sender: int | None) -> None:
        if owner is not None:
            owner.deliver(datagrams, source)
            return
        address = (source[0], source[1])
        if sender is None and (elsewhere := self._elsewhere_at(address)) is not None:
            self._pass_on(elsewhere, source, datagrams)
            return
        # A lite peer sends no checks. Each connection drops what does not come from an address it has checked.
        askers = self._askers.get(address, ())
        for link in list(askers):
            link.deliver(datagrams, source)
        if not askers:
            self.dropped += len(datagrams)

    def _deliver_stun(self, datagram: bytes, source: Address, address: TransportAddress, sender: int | None) -> None:
        try:
            message = parse_untrusted(datagram)
        except BadPacket:
            self.dropped += 1
            return
        if message.type != BINDING + REQUEST:
            self._deliver_answer(datagram, source, address, sender)
            return
        named = self.by_fragment.get(message.recipient)
        if named is None:
            elsewhere = None if self._neighbors is None else self._neighbors.owner_of(message.recipient)
            if elsewhere is None or sender is not None:
                self.dropped += 1
            else:
                _remember(self._presumed, address, elsewhere, MAX_PRESUMED)
                self._pass_on(elsewhere, source, [datagram])
            return
        if self._owners.get(address) is not named and message.is_signed_with(named.passwords[message.recipient]):
            self._own(named, address)
        if sender is not None and self._neighbors is not None and self._owners.get(address) is named:
            self._neighbors.tell_owned(sender, self._number, source)
        named.deliver([datagram], source)

    def _deliver_answer(self, datagram: bytes, source: Address, address: TransportAddress, sender: int | None) -> None:
        """Deliver an answer to the connections that may have asked; each knows its own by the transaction id."""
        links = list(self._askers.get(address, ()))
        owner = self._owners.get(address)
        for link in links if owner is None or owner in links else [owner, *links]:
            link.deliver([datagram], source)
        if self._neighbors is None or sender is not None or owner is not None:
            return
        elsewhere = self._elsewhere_at(address)
        if elsewhere is not None:
            self._pass_on(elsewhere, source, [datagram])
        elif not links and self._stray.take(asyncio.get_running_loop().time()):
            # A STUN server, or a peer whose first check has not arrived yet.
            for other in range(self._neighbors.count):
                if other != self._neighbors.index:
                    self._pass_on(other, source, [datagram])

    def _pass_on(self, owner: int, source: Address, datagrams: list[bytes]) -> None:
        if self._neighbors is not None:
            local = self.socket.source_of(source) or ""
            self._neighbors.pass_on(owner, self._number, source, local, datagrams)

    def _own(self, link: MuxLink, address: TransportAddress) -> None:
        """Give an address to a connection whose peer has proved to be there."""
        self._owners[address] = link
        self._elsewhere.pop(address, None)
        self._presumed.pop(address, None)
        link.owned[address] = None
        if len(link.owned) > MAX_OWNED:
            oldest = next(iter(link.owned))
            del link.owned[oldest]
            if self._owners.get(oldest) is link:
                del self._owners[oldest]

    # datagrams out

    def send(self, link: MuxLink, datagrams: Sequence[bytes], address: Address) -> None:
        """Send for a connection, and remember that it expects answers from there."""
        target = (address[0], address[1])
        if target not in link.owned and target not in link.asked:
            self._remember_asker(link, target)
        if link.fragments is not None:
            self.socket.allow_fragmentation(link.fragments)
        self._sending = link
        try:
            self.socket.send(datagrams, address)
        finally:
            self._sending = None

    def _remember_asker(self, link: MuxLink, address: TransportAddress) -> None:
        askers = self._askers.setdefault(address, [])
        if len(askers) >= MAX_ASKING:
            return
        askers.append(link)
        link.asked[address] = None
        if len(link.asked) > MAX_ASKED:
            self._forget_asker(link, next(iter(link.asked)))

    def _forget_asker(self, link: MuxLink, address: TransportAddress) -> None:
        link.asked.pop(address, None)
        askers = self._askers.get(address, [])
        if link in askers:
            askers.remove(link)
        if not askers:
            self._askers.pop(address, None)

    # callbacks of the socket

    def tell_when_writable(self, link: MuxLink) -> None:
        """Call `on_writable` of a connection once when the socket accepts datagrams again."""
        self._waiting[link] = None

    def _writable(self) -> None:
        """Tell those that wait, in the order in which they have asked, as long as the socket accepts datagrams."""
        for link in tuple(self._waiting):
            if not self.socket.writable:
                return
            self._waiting.pop(link, None)
            callback = link.on_writable  # mypyc would call the property, and not what it returns
            if callback is not None:
                callback()

    def _too_long(self, datagram: bytes, address: Address | None) -> None:
        """Tell the connection whose datagram it was. It may have waited in the queue: then the address tells."""
        link = self._sending
        if link is None and address is not None:
            link = self._owners.get((address[0], address[1]))
        if link is not None and link.on_too_long is not None:
            link.on_too_long(datagram, address)

    def _failed(self, error: OSError) -> None:
        if self._sending is not None and self._sending.on_error is not None:
            self._sending.on_error(error)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
        for link in list(self.by_fragment.values()):
            link.close()


class MuxLink:
    """The share of one connection in a port, as a `DatagramLink`; `UdpMux.attach` makes them.

    Attributes:
        passwords: the username fragments of the connection, and their passwords; several during an ICE restart.
        owned: the addresses that its peer has proved to be its own, the oldest first.
        asked: the addresses that it has sent to, the oldest first.
        fragments: whether its datagrams may be fragmented; None leaves it to the system.
    """

    on_error: Callable[[OSError], None] | None = None
    on_too_long: Callable[[bytes, Address | None], None] | None = None
    _on_writable: Callable[[], None] | None = None

    def __init__(self, port: _SharedPort) -> None:
        self._port = port
        self.passwords: dict[str, bytes] = {}
        self.owned: dict[TransportAddress, None] = {}
        self.asked: dict[TransportAddress, None] = {}
        self.fragments: bool | None = None
        self.local_address: Address = port.socket.local_address
        self.discarded = 0
        self.discarded_bytes = 0
        self._receiver: Receiver | None = None
        self._closed = False

    def add_fragment(self, username_fragment: str, password: str) -> None:
        """Be found by new credentials, too, for an ICE restart. Raises OSError if the fragment is in use."""
        if not self._closed:
            self._port.add_fragment(self, username_fragment, password)

    def keep_fragments(self, fragments: Container[str]) -> None:
        """Be found by these of the fragments only."""
        for fragment in [one for one in self.passwords if one not in fragments]:
            self._port.remove_fragment(self, fragment)

    def deliver(self, datagrams: list[bytes], source: Address) -> None:
        """Hand up datagrams of the connection; they are lost while there is no receiver."""
        if self._receiver is not None:
            self._receiver(datagrams, source)

    @property
    def writable(self) -> bool:
        """Whether the port accepts datagrams now."""
        return not self._closed and self._port.socket.writable

    @property
    def on_writable(self) -> Callable[[], None] | None:
        """Called once when the port accepts datagrams again."""
        return self._on_writable

    @on_writable.setter
    def on_writable(self, callback: Callable[[], None] | None) -> None:
        self._on_writable = callback
        if callback is not None and not self._closed:
            self._port.tell_when_writable(self)

    @property
    def closed(self) -> bool:
        """Whether `close` was called, here or for the port."""
        return self._closed or self._port.socket.closed

    def set_receiver(self, receiver: Receiver | None) -> None:
        """Set the callback for each batch of datagrams and its source address."""
        self._receiver = receiver

    def send(self, datagrams: Sequence[bytes], address: Address | None = None) -> None:
        """Send datagrams, in order.

        Raises:
            BufferError: the connections have queued too much although the port is not `writable`.
        """
        if address is None:
            raise ValueError("a shared port needs the address of the peer")
        if self.closed:
            self.discarded += len(datagrams)
            self.discarded_bytes += sum(map(len, datagrams))
            return
        before, before_bytes = self._port.socket.discarded, self._port.socket.discarded_bytes
        self._port.send(self, datagrams, address)
        self.discarded += self._port.socket.discarded - before
        self.discarded_bytes += self._port.socket.discarded_bytes - before_bytes

    def limits(self, address: Address) -> PathLimits | None:
        """Return the longest datagram of a route and the length of its headers; None if the MTU is unknown."""
        return self._port.socket.limits(address)

    def allow_fragmentation(self, allowed: bool) -> None:
        """Choose whether datagrams of this connection may be fragmented from now on."""
        self.fragments = allowed

    def close(self) -> None:
        """Leave the port, which stays open for the other connections."""
        if not self._closed:
            self._closed = True
            self._receiver = None
            self._port.detach(self)
