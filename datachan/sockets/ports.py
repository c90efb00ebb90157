"""UDP sockets of this program and the SCTP ports behind them: who gets which packet, and which socket one leaves by.

Sockets of one event loop share a UDP socket when they are bound to the same address and UDP port, each with an SCTP
port of its own, as all of a host share the one encapsulation port of a kernel.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from datachan.sctp.addresses import WILDCARDS, TransportAddress, normalize
from datachan.sctp.out_of_the_blue import refuse_untrusted
from datachan.trace import Tap, open_tap
from datachan.udp import Address, UdpSocket, header_length, route_mtu, source_address

Run = tuple[TransportAddress, list[bytes]]
Receiver = Callable[[list[Run]], None]
TooLong = Callable[[TransportAddress, bytes], None]

EPHEMERAL_PORTS: Final = range(49152, 65536)
RECEIVE_BUFFER: Final = 4 << 20
SEND_BUFFER: Final = 1 << 20

_MOST_ROUTED: Final = 1024


class User(NamedTuple):
    """Who has an SCTP port of a UDP socket.

    Attributes:
        receiver: gets the packets for it.
        writable: called when the socket has become writable.
        too_long: called with a packet from it that was longer than the first link takes, and where it was to go.
    """

    receiver: Receiver
    writable: Callable[[], None]
    too_long: TooLong


class SharedSocket:
    """One UDP socket, and the users of the SCTP ports behind it."""

    def __init__(self, registry: Registry, host: str, socket: UdpSocket) -> None:
        self.socket = socket
        self.host = host
        self.udp_port: int = socket.local_address[1]
        self._registry = registry
        self._users: dict[int, User] = {}
        self._six = ":" in host
        self._sources: dict[Address, TransportAddress] = {}
        socket.set_receiver(self._received)
        socket.on_too_long = self._was_too_long
        socket.set_writable_callback(self._writable)

    def has(self, port: int) -> bool:
        """Whether this SCTP port is in use."""
        return port in self._users

    def open(self, port: int, user: User) -> None:
        """Take an SCTP port.

        Raises:
            OSError: it is taken.
        """
        if port in self._users:
            raise OSError(errno.EADDRINUSE, f"SCTP port {port} is in use: {os.strerror(errno.EADDRINUSE)}")
        self._users[port] = user

    def release(self, port: int) -> None:
        """Give an SCTP port back; the last one closes the socket."""
        self._users.pop(port, None)
        self.close_unused()

    def close_unused(self) -> None:
        """Close the socket if no SCTP port of it is in use."""
        if not self._users:
            self._registry.forget(self)
            self.socket.close()

    def send(self, packets: Sequence[bytes], target: TransportAddress, *, whole: bool = False) -> None:
        """Send packets, if so wanted whole or not at all; what the system has no room for is lost, as on a network."""
        self.socket.allow_fragmentation(not whole)
        try:
            self.socket.send(packets, self._address(target))
        except BufferError:
            self.socket.discarded += len(packets)

    def source_for(self, target: TransportAddress) -> str:
        """The address of ours that packets to a peer come from, a wildcard if only the routes know."""
        source = self.socket.source_of(self._address(target))
        return self.host if source is None else normalize(source)

    def _address(self, peer: TransportAddress) -> Address:
        """A peer's address as the system takes it."""
        return (f"::ffff:{peer[0]}", peer[1]) if self._six and ":" not in peer[0] else peer

    def _was_too_long(self, packet: bytes, address: Address | None) -> None:
        user = self._users.get(int.from_bytes(packet[:2], "big"))
        if user is not None and address is not None:
            user.too_long(self._peer(address), packet)

    def _peer(self, address: Address) -> TransportAddress:
        """An address as the system has it, as the engine has it."""
        source = self._sources.get(address)
        if source is None:
            if len(self._sources) >= 1024:
                self._sources.clear()
            source = self._sources[address] = (normalize(address[0]), address[1])
        return source

    def _received(self, datagrams: list[bytes], address: Address) -> None:
        source = self._peer(address)
        first = datagrams[0][2:4]
        if all(datagram[2:4] == first for datagram in datagrams):
            self._hand_over(int.from_bytes(first, "big"), source, datagrams)
            return
        for datagram in datagrams:
            self._hand_over(int.from_bytes(datagram[2:4], "big"), source, [datagram])

    def _hand_over(self, port: int, source: TransportAddress, datagrams: list[bytes]) -> None:
        user = self._users.get(port)
        if user is not None:
            user.receiver([(source, datagrams)])
            return
        # Nobody has this port; to say so to the first packet of a batch is enough.
        answer = refuse_untrusted(datagrams[0])
        if answer is not None:
            self.send([answer], source)

    def _writable(self) -> None:
        for user in list(self._users.values()):
            user.writable()


class Registry:
    """The UDP sockets of one event loop."""

    def __init__(self) -> None:
        self._sockets: dict[tuple[str, int], SharedSocket] = {}

    def get(self, host: str, udp_port: int) -> SharedSocket:
        """The socket bound to this address, a new one if there is none yet.

        Args:
            host: an IP address of this host, or a wildcard.
            udp_port: 0 has the system choose one.

        Raises:
            OSError: the address is not one of this host's, or another program has the port.
        """
        if udp_port:
            wildcard = "::" if ":" in host else "0.0.0.0"
            for key in ((host, udp_port), (wildcard, udp_port)):
                if key in self._sockets:
                    return self._sockets[key]
        socket = UdpSocket.bind(host, udp_port, receive_buffer=RECEIVE_BUFFER, send_buffer=SEND_BUFFER)
        shared = SharedSocket(self, host, socket)
        self._sockets[(host, shared.udp_port)] = shared
        return shared

    def ephemeral(self, host: str) -> SharedSocket:
        """The socket, on a port the system chose, of those who only connect from this address."""
        shared = self._sockets.get((host, 0))
        if shared is None:
            shared = self._sockets[(host, 0)] = self.get(host, 0)
        return shared

    def forget(self, shared: SharedSocket) -> None:
        """A socket is closed."""
        for key in ((shared.host, shared.udp_port), (shared.host, 0)):
            if self._sockets.get(key) is shared:
                del self._sockets[key]


_registries: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Registry] = weakref.WeakKeyDictionary()


def registry() -> Registry:
    """That of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _registries.get(loop)
    if found is None:
        found = _registries[loop] = Registry()
    return found


class Ports:
    """One SCTP port on one or several addresses of this host, all with the same UDP port: an endpoint's transport.

    Attributes:
        port: the SCTP port.
        sockets: one for each address.
        sources_for: says which of them packets to an address may come from; any if it lists none.
        dont_fragment: says whether a packet to an address must arrive in one piece or not at all.
        on_too_long: called with the address and the packet that was not sent because the first link takes none so long.
        tap: sees every packet; None when nobody looks.
    """

    def __init__(self, port: int, sockets: list[SharedSocket], tap: Tap | None = None) -> None:
        self.port = port
        self.tap = tap
        self.sockets: list[SharedSocket] = []
        self._receiver: Receiver | None = None
        self._writable_callback: Callable[[], None] | None = None
        self.sources_for: Callable[[TransportAddress], Sequence[str]] | None = None
        self.dont_fragment: Callable[[TransportAddress, bytes], bool] | None = None
        self.on_too_long: TooLong | None = None
        self._chosen: dict[
            TransportAddress, SharedSocket
        ] = {}  # of each peer's address, the socket it was heard at or goes by
        self._turn = 0
        self._routed: dict[str, str] = {}  # of each peer's address, ours in the capture
        try:
            for shared in sockets:
                self.add(shared)
        except OSError:
            self.close()
            raise

    @classmethod
    def bind(
        cls, hosts: Sequence[str], port: int, udp_port: int | None, trace: str | os.PathLike[str] | None = None
    ) -> Ports:
        """Take an SCTP port.

        Args:
            hosts: IP addresses of this host, at least one.
            port: the SCTP port; 0 has a free one chosen.
            udp_port: the UDP port; 0 has the system choose one, None is one shared by all that only connect.
            trace: where to capture packets, as `open_tap` takes it.

        Raises:
            OSError: a port is taken, an address is not one of this host's, or no capture can be written.
        """
        known = registry()
        sockets: list[SharedSocket] = []
        try:
            for host in hosts:
                if udp_port is None:
                    sockets.append(known.ephemeral(host))
                else:
                    sockets.append(known.get(host, udp_port))
                    udp_port = sockets[-1].udp_port
            port = port or free_port(sockets)
            return cls(port, sockets, open_tap(trace, f"SCTP port {port}"))
        finally:
            for shared in sockets:  # what was opened for this and is not used
                shared.close_unused()

    @property
    def hosts(self) -> list[str]:
        """The addresses it is bound to."""
        return [shared.host for shared in self.sockets]

    @property
    def udp_port(self) -> int:
        """The UDP port."""
        return self.sockets[0].udp_port

    def add(self, shared: SharedSocket) -> None:
        """Use one more address."""
        receiver = self._received if self.tap is None else partial(self._tap_received, self.tap, shared)
        shared.open(self.port, User(receiver, self._writable, self._was_too_long))
        self.sockets.append(shared)

    def bind_too(self, hosts: Sequence[str]) -> None:
        """Use more addresses, with the same UDP port; all of them or none.

        Raises:
            OSError: the port is taken there, or an address is not one of this host's.
        """
        added: list[str] = []
        try:
            for host in hosts:
                if host not in self.hosts:
                    shared = registry().get(host, self.udp_port)
                    try:
                        self.add(shared)
                    finally:
                        shared.close_unused()
                    added.append(host)
        except OSError:
            for host in added:
                self.remove(host)
            raise
        self._chosen.clear()

    def remove(self, host: str) -> None:
        """Use an address no more."""
        for shared in self.sockets:
            if shared.host == host:
                self.sockets.remove(shared)
                shared.release(self.port)
                self._chosen.clear()
                return

    def choose_anew(self) -> None:
        """What packets may come from has changed."""
        self._chosen.clear()
        self._routed.clear()

    def close(self) -> None:
        """Give everything back."""
        for shared in self.sockets:
            shared.release(self.port)
        self.sockets.clear()
        if self.tap is not None:
            self.tap.close()

    # -- what a driver wants of a transport -------------------------------------------------------------------

    def set_receiver(self, receiver: Receiver | None) -> None:
        """Name who gets each batch."""
        self._receiver = receiver

    @property
    def writable(self) -> bool:
        """Whether datagrams are taken now."""
        return all(shared.socket.writable for shared in self.sockets)

    def set_writable_callback(self, callback: Callable[[], None] | None) -> None:
        """Name who is told that `writable` has become True."""
        self._writable_callback = callback

    def send_datagrams(self, datagrams: Sequence[Run]) -> None:
        """Send each run to its address."""
        if self.tap is not None:
            for target, packets in datagrams:
                self.tap.sent(packets, self._local_address(self._choose(target), target), target)
        only = self.sockets[0] if len(self.sockets) == 1 else None
        for target, packets in datagrams:
            shared = only or self._choose(target)
            shared.send(packets, target, whole=self._whole(target, packets))

    def _whole(self, target: TransportAddress, packets: list[bytes]) -> bool:
        return self.dont_fragment is not None and self.dont_fragment(target, packets[0])

    def _was_too_long(self, target: TransportAddress, packet: bytes) -> None:
        if self.on_too_long is not None:
            self.on_too_long(target, packet)

    def source_for(self, target: TransportAddress) -> str:
        """The address of ours that a peer is sent to from."""
        host = self._choose(target).source_for(target)
        return source_address(target) or host if host in WILDCARDS else host

    def longest_packet(self, target: TransportAddress) -> int:
        """Bytes of the longest packet that the first link on the way to a peer takes, 0 if the system does not tell."""
        mtu = route_mtu(self._choose(target).host, target)
        return 0 if mtu is None else mtu - header_length(target[0])

    def _tap_received(self, tap: Tap, shared: SharedSocket, runs: list[Run]) -> None:
        for source, packets in runs:
            tap.received(packets, self._local_address(shared, source), source)
        self._received(runs)

    def _local_address(self, shared: SharedSocket, peer: TransportAddress) -> TransportAddress:
        """Where packets of a peer come to; where nobody knows which of all addresses that is, the one routed to it."""
        own = shared.source_for(peer)
        if own not in WILDCARDS:
            return own, shared.udp_port
        host = self._routed.get(peer[0])
        if host is None:
            if len(self._routed) >= _MOST_ROUTED:
                self._routed.clear()
            host = self._routed[peer[0]] = source_address(peer) or shared.host
        return host, shared.udp_port

    def _received(self, runs: list[Run]) -> None:
        if self._receiver is not None:
            self._receiver(runs)

    def _choose(self, target: TransportAddress) -> SharedSocket:
        """The socket to send by: the one the system's routes name; else those of the family in turn."""
        chosen = self._chosen.get(target)
        if chosen is None:
            six = ":" in target[0]
            allowed = self.sources_for(target) if self.sources_for is not None else ()
            fitting = [shared for shared in self.sockets if (":" in shared.host) == six] or self.sockets
            fitting = [shared for shared in fitting if shared.host in allowed] or fitting
            preferred = source_address(target)
            chosen = next((shared for shared in fitting if shared.host == preferred), None)
            if chosen is None:
                chosen = fitting[self._turn % len(fitting)]
                self._turn += 1
            if len(self._chosen) >= 65536:
                self._chosen.clear()
            self._chosen[target] = chosen
        return chosen

    def _writable(self) -> None:
        if self._writable_callback is not None and self.writable:
            self._writable_callback()


def free_port(sockets: Sequence[SharedSocket]) -> int:
    """An SCTP port nobody has on any of these."""
    start = random.randrange(len(EPHEMERAL_PORTS))
    for step in range(len(EPHEMERAL_PORTS)):
        port = EPHEMERAL_PORTS[(start + step) % len(EPHEMERAL_PORTS)]
        if not any(shared.has(port) for shared in sockets):
            return port
    raise OSError(errno.EADDRINUSE, "every ephemeral SCTP port is in use")
