"""The UDP sockets of this program and the SCTP ports behind them: which port gets a packet, and which socket sends one.

Sockets of one event loop share a UDP socket when they are bound to the same address and UDP port. Each has its own SCTP
port, as all SCTP sockets of a host share the one encapsulation port of its kernel.
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

from datachan.fair_budget import FairBudget
from datachan.sctp.addresses import WILDCARDS, TransportAddress, normalize
from datachan.sctp.admission import refuse_untrusted
from datachan.trace import Tap, open_tap
from datachan.udp import Address, UdpSocket, header_length, route_mtu, source_address

from .host_addresses import to_engine, to_system

PacketRun = tuple[TransportAddress, list[bytes]]
"""Packets with the address of the peer that they come from or go to."""

Receiver = Callable[[list[PacketRun]], None]
TooLong = Callable[[TransportAddress, bytes], None]

EPHEMERAL_PORTS: Final = range(49152, 65536)
RECEIVE_BUFFER: Final = 4 << 20
SEND_BUFFER: Final = 1 << 20

REFUSALS: Final = 5000.0
"""Answers per second, and at once, to packets for SCTP ports of a UDP socket that are not in use."""

_MAX_CACHED: Final = 1024


class PortUser(NamedTuple):
    """The callbacks of the transport that has an SCTP port of a UDP socket.

    Attributes:
        on_packets: called with the packets for the port.
        on_writable: called when the socket has become writable.
        on_too_long: called with the destination and the packet when a packet is too long for the first link.
    """

    on_packets: Receiver
    on_writable: Callable[[], None]
    on_too_long: TooLong


class SharedSocket:
    """One UDP socket, and the users of the SCTP ports behind it."""

    def __init__(self, owner: SharedSockets, host: str, socket: UdpSocket) -> None:
        self.socket = socket
        self.host = host
        self.udp_port: int = socket.local_address[1]
        self._owner = owner
        self._users: dict[int, PortUser] = {}
        self._refusals = FairBudget(REFUSALS, REFUSALS, os.urandom(32))
        self._six = ":" in host
        self._sources: dict[Address, TransportAddress] = {}
        self._addresses: dict[TransportAddress, Address] = {}
        socket.set_receiver(self._receive)
        socket.on_too_long = self._handle_too_long
        socket.on_writable = self._handle_writable

    def has(self, port: int) -> bool:
        """Return whether this SCTP port is in use."""
        return port in self._users

    def open(self, port: int, user: PortUser) -> None:
        """Give an SCTP port to a user.

        Raises:
            OSError: the port is in use.
        """
        if port in self._users:
            raise OSError(errno.EADDRINUSE, f"SCTP port {port} is in use: {os.strerror(errno.EADDRINUSE)}")
        self._users[port] = user

    def release(self, port: int) -> None:
        """Release an SCTP port, and close the socket after the last one."""
        self._users.pop(port, None)
        self.close_unused()

    def close_unused(self) -> None:
        """Close the socket if no SCTP port of it is in use."""
        if not self._users:
            self._owner.remove(self)
            self.socket.close()

    def send(self, packets: Sequence[bytes], target: TransportAddress, *, whole: bool = False) -> None:
        """Send packets to a peer; discard them when the system has no room, as a network does.

        Args:
            packets: the packets.
            target: the address of the peer.
            whole: whether the packets must not be fragmented on their way.
        """
        self.socket.allow_fragmentation(not whole)
        try:
            self.socket.send(packets, self._address(target))
        except BufferError:
            self.socket.discarded += len(packets)

    def source_for(self, target: TransportAddress) -> str:
        """Return our source address for packets to a peer; a wildcard if the system's routes choose it."""
        source = self.socket.source_of(self._address(target))
        return self.host if source is None else normalize(source)

    def _address(self, peer: TransportAddress) -> Address:
        """Return a peer's address in the form of the system."""
        address = self._addresses.get(peer)
        if address is None:
            if len(self._addresses) >= _MAX_CACHED:
                self._addresses.clear()
            address = self._addresses[peer] = to_system(peer, six=self._six)
        return address

    def _handle_too_long(self, packet: bytes, address: Address | None) -> None:
        user = self._users.get(int.from_bytes(packet[:2], "big"))
        if user is not None and address is not None:
            user.on_too_long(self._peer(address), packet)

    def _peer(self, address: Address) -> TransportAddress:
        """Return an address of the system in the form of the engine."""
        source = self._sources.get(address)
        if source is None:
            if len(self._sources) >= _MAX_CACHED:
                self._sources.clear()
            source = self._sources[address] = to_engine(address)
        return source

    def _receive(self, datagrams: list[bytes], address: Address) -> None:
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
            user.on_packets([(source, datagrams)])
            return
        # The port is not in use: one answer for the batch is enough.
        answer = refuse_untrusted(datagrams[0])
        if answer is not None and self._refusals.take(source[0], asyncio.get_running_loop().time()):
            self.send([answer], source)

    def _handle_writable(self) -> None:
        for user in list(self._users.values()):
            user.on_writable()


class SharedSockets:
    """The UDP sockets of one event loop."""

    def __init__(self) -> None:
        self._sockets: dict[tuple[str, int], SharedSocket] = {}

    def get(self, host: str, udp_port: int) -> SharedSocket:
        """Return the socket bound to an address; bind a new one if there is none yet.

        Args:
            host: an IP address of this host, or a wildcard.
            udp_port: the UDP port; 0 lets the system choose one.

        Raises:
            OSError: this host does not have the address, or another program has the port.
        """
        if udp_port:
            wildcard = "::" if ":" in host else "0.0.0.0"
            for key in ((host, udp_port), (wildcard, udp_port)):
                if key in self._sockets:
                    return self._sockets[key]
        try:
            socket = UdpSocket.bind(host, udp_port, receive_buffer=RECEIVE_BUFFER, send_buffer=SEND_BUFFER)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise OSError(
                errno.EADDRINUSE,
                f"UDP port {udp_port} at {host} is in use by another program: give one of the two another udp_port, "
                "and its peers the same remote_udp_port",
            ) from None
        shared = SharedSocket(self, host, socket)
        self._sockets[(host, shared.udp_port)] = shared
        return shared

    def ephemeral(self, host: str) -> SharedSocket:
        """Return the socket of all users that only connect from an address; the system chooses its port."""
        shared = self._sockets.get((host, 0))
        if shared is None:
            shared = self._sockets[(host, 0)] = self.get(host, 0)
        return shared

    def remove(self, shared: SharedSocket) -> None:
        """Remove a socket that is closed."""
        for key in ((shared.host, shared.udp_port), (shared.host, 0)):
            if self._sockets.get(key) is shared:
                del self._sockets[key]


_of_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, SharedSockets] = weakref.WeakKeyDictionary()


def shared_sockets() -> SharedSockets:
    """Return the UDP sockets of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _of_loops.get(loop)
    if found is None:
        found = _of_loops[loop] = SharedSockets()
    return found


class PortTransport:
    """The transport of an endpoint: one SCTP port on one or several addresses of this host, with one UDP port.

    Args:
        port: the SCTP port.
        sockets: the UDP sockets, one for each address.
        tap: records every packet; None records none.

    Attributes:
        port: the SCTP port.
        sockets: the UDP sockets, one for each address.
        tap: records every packet, or None.
        sources_for: returns our addresses that packets to an address may be sent from; an empty list allows all.
        dont_fragment: returns whether a packet to an address must not be fragmented.
        on_too_long: called with the destination and the packet when a packet is too long for the first link.
    """

    def __init__(self, port: int, sockets: list[SharedSocket], tap: Tap | None = None) -> None:
        self.port = port
        self.tap = tap
        self.sockets: list[SharedSocket] = []
        self._receiver: Receiver | None = None
        self.on_writable: Callable[[], None] | None = None
        self.sources_for: Callable[[TransportAddress], Sequence[str]] | None = None
        self.dont_fragment: Callable[[TransportAddress, bytes], bool] | None = None
        self.on_too_long: TooLong | None = None
        self._chosen: dict[TransportAddress, SharedSocket] = {}  # by the peer's address, the socket that sends to it
        self._turn = 0
        self._routed: dict[str, str] = {}  # by the peer's address, our address in the capture
        try:
            for shared in sockets:
                self.add(shared)
        except OSError:
            self.close()
            raise

    @classmethod
    def bind(
        cls, hosts: Sequence[str], port: int, udp_port: int | None, trace: str | os.PathLike[str] | None = None
    ) -> PortTransport:
        """Bind to an SCTP port.

        Args:
            hosts: IP addresses of this host, at least one.
            port: the SCTP port; 0 chooses a free one.
            udp_port: the UDP port. 0 lets the system choose one. None is the one shared by all sockets that only
                connect.
            trace: the capture file or folder, as for `open_tap`.

        Raises:
            OSError: a port is in use, this host does not have an address, or the capture cannot be written.
        """
        known = shared_sockets()
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
            for shared in sockets:  # close what was opened and is not used
                shared.close_unused()

    @property
    def hosts(self) -> list[str]:
        """The addresses of this host that the port is bound to."""
        return [shared.host for shared in self.sockets]

    @property
    def udp_port(self) -> int:
        """The UDP port."""
        return self.sockets[0].udp_port

    def add(self, shared: SharedSocket) -> None:
        """Use one more address."""
        receiver = self._receive if self.tap is None else partial(self._record_and_receive, self.tap, shared)
        shared.open(self.port, PortUser(receiver, self._handle_writable, self._handle_too_long))
        self.sockets.append(shared)

    def bind_more(self, hosts: Sequence[str]) -> None:
        """Use more addresses with the same UDP port: all of them or, after an error, none.

        Raises:
            OSError: the port is in use there, or this host does not have an address.
        """
        added: list[str] = []
        try:
            for host in hosts:
                if host not in self.hosts:
                    shared = shared_sockets().get(host, self.udp_port)
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
        """Stop using an address."""
        for shared in self.sockets:
            if shared.host == host:
                self.sockets.remove(shared)
                shared.release(self.port)
                self._chosen.clear()
                return

    def forget_choices(self) -> None:
        """Forget which socket sends to which peer, because our addresses have changed."""
        self._chosen.clear()
        self._routed.clear()

    def close(self) -> None:
        """Release the SCTP port at all addresses, and close the capture."""
        for shared in self.sockets:
            shared.release(self.port)
        self.sockets.clear()
        if self.tap is not None:
            self.tap.close()

    # -- the transport of a driver -------------------------------------------------------------------------------------

    def set_receiver(self, receiver: Receiver | None) -> None:
        """Set the callback for received packets."""
        self._receiver = receiver

    @property
    def writable(self) -> bool:
        """Whether all UDP sockets accept packets now."""
        return all(shared.socket.writable for shared in self.sockets)

    def send_datagrams(self, datagrams: Sequence[PacketRun]) -> None:
        """Send each run of packets to its address."""
        if self.tap is not None:
            for target, packets in datagrams:
                self.tap.sent(packets, self._local_address(self._choose(target), target), target)
        only = self.sockets[0] if len(self.sockets) == 1 else None
        for target, packets in datagrams:
            shared = only or self._choose(target)
            shared.send(packets, target, whole=self._whole(target, packets))

    def _whole(self, target: TransportAddress, packets: list[bytes]) -> bool:
        return self.dont_fragment is not None and self.dont_fragment(target, packets[0])

    def _handle_too_long(self, target: TransportAddress, packet: bytes) -> None:
        if self.on_too_long is not None:
            self.on_too_long(target, packet)

    def source_for(self, target: TransportAddress) -> str:
        """Return our source address for packets to a peer."""
        host = self._choose(target).source_for(target)
        return source_address(target) or host if host in WILDCARDS else host

    def longest_packet(self, target: TransportAddress) -> int:
        """Return the longest packet, in bytes, that the first link to a peer carries; 0 if the system does not know."""
        mtu = route_mtu(self._choose(target).host, target)
        return 0 if mtu is None else mtu - header_length(target[0])

    def _record_and_receive(self, tap: Tap, shared: SharedSocket, runs: list[PacketRun]) -> None:
        for source, packets in runs:
            tap.received(packets, self._local_address(shared, source), source)
        self._receive(runs)

    def _local_address(self, shared: SharedSocket, peer: TransportAddress) -> TransportAddress:
        """Return our address of a packet for the capture; for a wildcard, the choice of the system's routes."""
        own = shared.source_for(peer)
        if own not in WILDCARDS:
            return own, shared.udp_port
        host = self._routed.get(peer[0])
        if host is None:
            if len(self._routed) >= _MAX_CACHED:
                self._routed.clear()
            host = self._routed[peer[0]] = source_address(peer) or shared.host
        return host, shared.udp_port

    def _receive(self, runs: list[PacketRun]) -> None:
        if self._receiver is not None:
            self._receiver(runs)

    def _choose(self, target: TransportAddress) -> SharedSocket:
        """Return the socket that sends to a peer: the routes' choice, else each socket of the family in turn."""
        chosen = self._chosen.get(target)
        if chosen is None:
            six = ":" in target[0]
            allowed = self.sources_for(target) if self.sources_for is not None else ()
            fitting = [shared for shared in self.sockets if (":" in shared.host) == six] or self.sockets
            fitting = [shared for shared in fitting if shared.host in allowed] or fitting
            preferred = source_address(target)
            chosen = next((shared for shared in fitting if shared.host.partition("%")[0] == preferred), None)
            if chosen is None:
                chosen = fitting[self._turn % len(fitting)]
                self._turn += 1
            if len(self._chosen) >= 65536:
                self._chosen.clear()
            self._chosen[target] = chosen
        return chosen

    def _handle_writable(self) -> None:
        if self.on_writable is not None and self.writable:
            self.on_writable()


def free_port(sockets: Sequence[SharedSocket]) -> int:
    """Return an ephemeral SCTP port that is not in use on any of the sockets.

    Raises:
        OSError: all of them are in use.
    """
    start = random.randrange(len(EPHEMERAL_PORTS))
    for step in range(len(EPHEMERAL_PORTS)):
        port = EPHEMERAL_PORTS[(start + step) % len(EPHEMERAL_PORTS)]
        if not any(shared.has(port) for shared in sockets):
            return port
    raise OSError(errno.EADDRINUSE, "every ephemeral SCTP port is in use")
