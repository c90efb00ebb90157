"""UDP sockets on asyncio, in batches; the only file that touches sockets, and it never looks into a datagram.

On Linux a run of equal-sized datagrams is sent with one system call (UDP_SEGMENT, "GSO") and received with one
(UDP_GRO). Where the system cannot do that, the same datagrams go one by one, which is slower.

Datagrams that the system does not take now (EAGAIN, ENOBUFS) wait in a bounded queue. Datagrams that it refuses (no
route) are counted in `discarded` and reported through `on_error`. A datagram that is too long for the first link is no
error but a result of path MTU discovery: it is reported through `on_too_long`.

A socket bound to the wildcard address replies from the address the peer's datagram was sent to (IP_PKTINFO), because
NATs and firewalls drop replies from any other. The system's routes choose the source address towards peers that have
sent nothing yet, and on other systems than Linux.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

if sys.platform == "linux":
    import fcntl

Address = tuple[Any, ...]
Receiver = Callable[[list[bytes], Address], None]

# linux/sockios.h, linux/if.h: the flags of an interface; it is RUNNING while it has a carrier.
_SIOCGIFFLAGS: Final = 0x8913
_IFF_RUNNING: Final = 0x40
# linux/udp.h; the socket module has no names for them.
_SOL_UDP: Final = 17
_UDP_SEGMENT: Final = 103
_UDP_GRO: Final = 104
# UDP_MAX_SEGMENTS is 64 in older kernels. An IPv6 datagram has at most 65,487 bytes of payload.
_MAX_SEGMENTS: Final = 64
_MAX_RUN_BYTES: Final = 65_000
_MAX_DATAGRAM: Final = 65_535
# The largest Total Length of IPv4; the MTU of loopback is larger.
_MAX_PACKET: Final = 65_535
_IPV4_HEADER: Final = 20
_IPV6_HEADER: Final = 40
_UDP_HEADER: Final = 8
_ANCILLARY_BYTES: Final = 128

# linux/in.h and linux/in6.h, for which the socket module has no names either. PROBE sends with DF and ignores every MTU
# except the interface's. RFC 8899, 4.5: "A PL implementing this specification MUST suspend network layer processing of
# outgoing packets that enforces a PMTU [RFC1191][RFC8201] for each flow utilizing DPLPMTUD". DONT sends without DF.
_IP_MTU_DISCOVER: Final = 10
_IP_MTU: Final = 14
_IPV6_MTU_DISCOVER: Final = 23
_IPV6_MTU: Final = 24
_PMTUDISC_DONT: Final = 0
_PMTUDISC_PROBE: Final = 3
# struct in_pktinfo: interface, local address, destination in the header; in6_pktinfo: address, interface.
_IP_PKTINFO: Final = 8
_IPV6_RECVPKTINFO: Final = 49
_IPV6_PKTINFO: Final = 50
_MAX_LEARNED: Final = 65_536
_SOURCE_REFUSED: Final = (errno.EINVAL, errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EHOSTUNREACH)
# Every IPv6 link takes 1280 bytes (RFC 8200, section 5). IPv6 routers do not fragment, so our fragments have to fit.
_IPV6_LEAST_MTU: Final = 1280

# The limits of one wake-up, after which other callbacks get their turn.
_READS_PER_WAKE_UP: Final = 2048
_BYTES_PER_WAKE_UP: Final = 1 << 20
# The largest batch handed to the receiver at once: the peer can go on with its answer while the rest is read.
_BYTES_PER_BATCH: Final = 120_000

_NO_BUFFERS_DELAY: Final = 0.001
_SEGMENT_REFUSED: Final = (errno.EINVAL, errno.EMSGSIZE)
_OFFLOAD_REFUSED: Final = (errno.EIO, errno.EOPNOTSUPP, errno.ENOPROTOOPT)


@dataclass(frozen=True, slots=True)
class PathLimits:
    """How long datagrams may be on a path, as far as this end of it knows.

    Attributes:
        max_datagram: bytes the first link carries in one piece.
        overhead: bytes of all headers around a datagram, IP's included.
    """

    max_datagram: int
    overhead: int


def has_reader_support(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether this event loop can watch a socket (Windows' proactor loop cannot)."""
    return type(loop).add_reader is not asyncio.AbstractEventLoop.add_reader and not (
        sys.platform == "win32" and "Proactor" in type(loop).__name__
    )


def has_carrier(interface: str) -> bool:
    """Return whether a network interface has a carrier; True if the system does not report it."""
    if sys.platform != "linux":
        return True
    request = struct.pack("16sh22x", interface.encode()[:15], 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            answer = fcntl.ioctl(sock, _SIOCGIFFLAGS, request)
        except OSError:
            return True
    return bool(struct.unpack_from("16xh", answer)[0] & _IFF_RUNNING)


def source_of_default_route(family: int) -> str | None:
    """Return the local address from which packets to the Internet leave; None without a default route.

    Connecting a UDP socket only asks the system for the route; no packet is sent.
    """
    somewhere = "2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1"
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((somewhere, 9))
            return str(sock.getsockname()[0])
    except OSError:
        return None


def header_length(host: str) -> int:
    """Return the bytes of IP and UDP headers in a packet to or from an address."""
    return (_IPV6_HEADER if ":" in host else _IPV4_HEADER) + _UDP_HEADER


def with_scope_id(address: Address) -> Address:
    """Return an address in the form of the system: the interface of "fe80::1%eth0" is a number beside the host."""
    host, _, zone = address[0].partition("%")
    if not zone or len(address) != 2:
        return address
    try:
        return host, address[1], 0, int(zone) if zone.isdecimal() else socket.if_nametoindex(zone)
    except OSError:  # the interface no longer exists: the system refuses the address
        return host, address[1], 0, 0


def route_mtu(local: str, remote: Address) -> int | None:
    """Return the MTU of the route from a local address to a remote one, as far as this host knows it.

    It is the MTU of the interface, or a smaller one that a router has reported. None where the system does not know it,
    or fragments datagrams anyway.
    """
    six = ":" in local
    with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        if not _set_discovery(sock, _PMTUDISC_PROBE):
            return None
        try:
            sock.bind(with_scope_id((local, 0)))
            sock.connect(with_scope_id(remote))
            return sock.getsockopt(*((socket.IPPROTO_IPV6, _IPV6_MTU) if six else (socket.IPPROTO_IP, _IP_MTU)))
        except OSError:
            return None


class UdpSocket:
    """A bound UDP socket that reads and writes batches.

    Args:
        sock: a bound datagram socket; it belongs to this object from now on and becomes non-blocking.
        offload: whether GSO and GRO may be used where the system has them.
        max_queued: the limit of datagrams that wait for the system to take them; see `send`.

    Attributes:
        local_address: the address the socket is bound to.
        gso, gro: whether runs of datagrams are sent, received with one system call.
        sent, received: the numbers of datagrams.
        discarded: the number of datagrams that the system refused, or that were still queued at `close`.
        on_writable: called each time the queue has become empty.
        discarded_bytes: the number of bytes in them.
        on_error: called with the OSError for which datagrams were discarded.
        on_too_long: called with a datagram that is too long for the first link and was not sent, and its address.
    """

    def __init__(self, sock: socket.socket, *, offload: bool = True, max_queued: int = 4096) -> None:
        sock.setblocking(False)
        self._sock = sock
        self.local_address: Address = sock.getsockname()
        self._loop = asyncio.get_running_loop()
        self._max_queued = max_queued
        self._queue: deque[tuple[Sequence[bytes], Address | None, bool | None]] = deque()
        self._queued = 0
        self._retry: asyncio.TimerHandle | None = None
        self._watching_writes = False
        self._closed = False
        self._receiver: Receiver | None = None
        self._ancillary: dict[int, list[tuple[int, int, bytes]]] = {}
        linux = sys.platform == "linux"
        self.gso = offload and linux and _has_option(sock, _UDP_SEGMENT)
        self.gro = offload and linux and _switch_on(sock, _SOL_UDP, _UDP_GRO)
        self._largest_segment = 0xFFFF
        self.sent = 0
        self.received = 0
        self.discarded = 0
        self.discarded_bytes = 0
        self.on_writable: Callable[[], None] | None = None
        self.on_error: Callable[[OSError], None] | None = None
        self.on_too_long: Callable[[bytes, Address | None], None] | None = None
        self._fragments: bool | None = None  # whether datagrams may be fragmented; None leaves it to the system
        self._learns_sources = False
        # For each peer (host, port), the control message that sets the source address of our datagrams to the address
        # the peer has sent to. None for a peer that has sent nothing before we did.
        self._answer_from: dict[Address, tuple[int, int, bytes] | None] = {}

    @classmethod
    def bind(
        cls,
        host: str,
        port: int = 0,
        *,
        offload: bool = True,
        receive_buffer: int = 0,
        send_buffer: int = 0,
        six_only: bool = False,
        shared: bool = False,
    ) -> UdpSocket:
        """Bind to an address of this host.

        Args:
            host: an IPv4 or IPv6 address; 0.0.0.0 or :: for all present and future ones.
            port: the port; 0 lets the system choose.
            offload: as in the constructor.
            receive_buffer: bytes for SO_RCVBUF; the system may give less; 0 leaves its default.
            send_buffer: the same for SO_SNDBUF.
            six_only: whether a socket on :: leaves IPv4 to another one on the same port.
            shared: whether other processes of this user may bind to the same port. The system gives each datagram to
                one of them (SO_REUSEPORT).

        Raises:
            OSError: the address does not belong to this host, or the port is in use.
        """
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            _set_buffers(sock, receive_buffer, send_buffer)
            if six_only:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if shared:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(with_scope_id((host, port)))
            bound = cls(sock, offload=offload)
        except BaseException:
            sock.close()
            raise
        bound._learns_sources = ipaddress.ip_address(bound.local_address[0]).is_unspecified and _request_destinations(
            sock
        )
        return bound

    @classmethod
    def connect(cls, address: Address, *, offload: bool = True, receive_buffer: int = 0) -> UdpSocket:
        """Connect to one numeric address; `send` then needs no address. Raises OSError when there is no route."""
        sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            _set_buffers(sock, receive_buffer, 0)
            sock.connect(address)
            return cls(sock, offload=offload)
        except BaseException:
            sock.close()
            raise

    @property
    def remote_address(self) -> Address | None:
        """The address the socket is connected to, if it is."""
        try:
            address: Address = self._sock.getpeername()
        except OSError:
            return None
        return address

    def limits(self, address: Address) -> PathLimits | None:
        """Return the longest datagram of a route and the length of its headers; None if the MTU is unknown."""
        local = self.local_address[0]
        mtu = route_mtu(local, address)
        headers = header_length(local)
        return None if mtu is None else PathLimits(min(mtu, _MAX_PACKET) - headers, headers)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def allow_fragmentation(self, allowed: bool) -> None:
        """Choose whether datagrams sent from now on may be fragmented; until the first call, the system decides."""
        if allowed is self._fragments or self._closed:
            return
        self._fragments = allowed
        self._largest_segment = 0xFFFF
        _set_discovery(self._sock, _PMTUDISC_DONT if allowed else _PMTUDISC_PROBE)

    # receiving

    def set_receiver(self, receiver: Receiver | None) -> None:
        """Set the callback for each batch of datagrams and its source address, and start reading; None stops reading.

        Datagrams that arrive while there is no receiver stay in the system's buffer.
        """
        if self._closed:
            return
        if receiver is not None and self._receiver is None:
            self._loop.add_reader(self._sock.fileno(), self._readable)
        elif receiver is None and self._receiver is not None:
            self._loop.remove_reader(self._sock.fileno())
        self._receiver = receiver

    def _readable(self) -> None:
        """Read what has arrived, and deliver the datagrams of each source together.

        A busy server has more datagrams waiting, and then several of each peer among them. Together they cost one
        acknowledgment, one pass through the layers above and one packet of answers, so that the server catches up.
        """
        batches: dict[Address, list[bytes]] = {}
        lengths: dict[Address, int] = {}
        taken = 0
        receive = self._sock.recvmsg
        for _ in range(_READS_PER_WAKE_UP):
            try:
                data, ancillary, _, address = receive(_MAX_DATAGRAM, _ANCILLARY_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                # A connected socket reports each ICMP error once; the datagrams behind it are still to be read.
                if not self._survives(error):
                    break
                continue
            if self._learns_sources:
                self._learn_source(address, ancillary)
            batch = batches.get(address)
            if batch is None:
                batch = batches[address] = []
            size = _segment_size(ancillary) if ancillary else 0
            if 0 < size < len(data):
                batch += [data[start : start + size] for start in range(0, len(data), size)]
            else:
                batch.append(data)
            taken += len(data)
            length = lengths[address] = lengths.get(address, 0) + len(data)
            if length >= _BYTES_PER_BATCH:
                self._deliver(batches.pop(address), address)
                lengths[address] = 0
            if taken >= _BYTES_PER_WAKE_UP or self._receiver is None:
                break
        for address, batch in batches.items():
            self._deliver(batch, address)

    def source_of(self, address: Address) -> str | None:
        """Return the source address of datagrams to a peer; None if the system's routes choose it."""
        control = self._answer_from.get(address[:2])
        if control is None:
            return None
        level, _, value = control
        if level == socket.IPPROTO_IP:
            return socket.inet_ntop(socket.AF_INET, value[4:8])
        return socket.inet_ntop(socket.AF_INET6, value[:16])

    def answer_from(self, address: Address, local: str) -> None:
        """Send to a peer from this local address, because it has sent to it: another process has received that."""
        if self._learns_sources and self._answer_from.get(address[:2], ()) is not None:
            self._remember_source(address, _source_control(local))

    def _learn_source(self, address: Address, ancillary: Sequence[tuple[int, int, bytes]]) -> None:
        control = _destination(ancillary)
        if control is not None and self._answer_from.get(address[:2], ()) not in (None, control):
            self._remember_source(address, control)

    def _source(self, address: Address) -> tuple[int, int, bytes] | None:
        """Return the control message that sets the source address towards a peer; None lets the routes choose it."""
        if address[:2] not in self._answer_from:
            self._remember_source(address, None)
        return self._answer_from[address[:2]]

    def _remember_source(self, address: Address, control: tuple[int, int, bytes] | None) -> None:
        if len(self._answer_from) >= _MAX_LEARNED:  # peers that go on sending are learned again
            self._answer_from.clear()
        self._answer_from[address[:2]] = control

    def _deliver(self, batch: list[bytes], source: Address) -> None:
        if self._receiver is not None:  # the receiver may have closed this socket, or have stopped reading
            self.received += len(batch)
            self._receiver(batch, source)

    def _survives(self, error: OSError) -> bool:
        if self.on_error is not None:
            self.on_error(error)
        return not self._closed and error.errno in (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH)

    # sending

    @property
    def writable(self) -> bool:
        """Whether no datagram waits for the system to take it."""
        return not self._queue and not self._closed

    @property
    def queued(self) -> int:
        """The number of datagrams that wait."""
        return self._queued

    def send(self, datagrams: Sequence[bytes], address: Address | None = None) -> None:
        """Send datagrams, in order, to an address (None on a connected socket).

        Datagrams that the system does not accept at once are queued. While `writable`, a whole batch is accepted.

        Raises:
            BufferError: the socket is not `writable`, and `max_queued` datagrams are queued already.
        """
        if self._closed or not datagrams:
            self._count_discarded(datagrams)
            return
        if self._queue:
            if self._queued + len(datagrams) > self._max_queued:
                raise BufferError(f"{self._queued} datagrams wait for the system to take them")
            self._enqueue(datagrams, address)
            return
        done = self._transmit(datagrams, address)
        if done < len(datagrams):
            self._enqueue(datagrams[done:], address)

    def _enqueue(self, datagrams: Sequence[bytes], address: Address | None) -> None:
        self._queue.append((datagrams, address, self._fragments))
        self._queued += len(datagrams)
        if self._retry is None and not self._watching_writes:
            self._watching_writes = True
            self._loop.add_writer(self._sock.fileno(), self._flush)

    def _transmit(self, datagrams: Sequence[bytes], address: Address | None) -> int:
        """Hand datagrams to the system until it takes no more; return how many were sent or discarded."""
        done = 0
        total = len(datagrams)
        reported = -1
        source = self._source(address) if self._learns_sources and address is not None else None
        while done < total:
            end = self._run_end(datagrams, done)
            run = datagrams[done:end]
            control = self._segmenting(len(run[0])) if end - done > 1 else ()
            try:
                self._sock.sendmsg(run, control if source is None else [*control, source], 0, address)
            except (BlockingIOError, InterruptedError):
                return done
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    self._wait_for_buffers()
                    return done
                if source is not None and address is not None and error.errno in _SOURCE_REFUSED:
                    source = None  # the host may no longer have that address
                    self._remember_source(address, None)
                elif error.errno == errno.ECONNREFUSED and reported != done:
                    reported = done  # the error is about an earlier datagram: send this run again
                elif len(run) < 2 or not self._offload_refused(error, len(run[0])):
                    self._discard(run, address, error)
                    done = end
                continue
            self.sent += end - done
            done = end
        return done

    def _run_end(self, datagrams: Sequence[bytes], start: int) -> int:
        """Return the end of the run that starts here: datagrams of equal size, and one shorter one may follow."""
        size = len(datagrams[start])
        end = start + 1
        if not self.gso or not 0 < size <= self._largest_segment:
            return end
        limit = min(len(datagrams), start + min(_MAX_SEGMENTS, max(1, _MAX_RUN_BYTES // size)))
        while end < limit:
            length = len(datagrams[end])
            if length != size:
                return end + 1 if 0 < length < size else end
            end += 1
        return end

    def _segmenting(self, size: int) -> list[tuple[int, int, bytes]]:
        ancillary = self._ancillary.get(size)
        if ancillary is None:
            if len(self._ancillary) > 256:
                self._ancillary.clear()
            ancillary = self._ancillary[size] = [(_SOL_UDP, _UDP_SEGMENT, struct.pack("=H", size))]
        return ancillary

    def _offload_refused(self, error: OSError, size: int) -> bool:
        """Return whether a run was refused because it was sent in one piece; then its datagrams go one by one."""
        if error.errno in _SEGMENT_REFUSED:  # a segment must fit the path's MTU; smaller ones may do
            self._largest_segment = size - 1
            return True
        if error.errno in _OFFLOAD_REFUSED:
            self.gso = False
            return True
        return False

    def _count_discarded(self, datagrams: Sequence[bytes]) -> None:
        self.discarded += len(datagrams)
        self.discarded_bytes += sum(map(len, datagrams))

    def _discard(self, run: Sequence[bytes], address: Address | None, error: OSError) -> None:
        self._count_discarded(run)
        if error.errno == errno.EMSGSIZE and self.on_too_long is not None:
            self.on_too_long(run[0], address)
        elif self.on_error is not None:
            self.on_error(error)

    def _wait_for_buffers(self) -> None:
        # ENOBUFS comes from the interface's queue. The socket stays writable, so only a timer can tell when to retry.
        self._stop_watching_writes()
        if self._retry is None:
            self._retry = self._loop.call_later(_NO_BUFFERS_DELAY, self._retry_now)

    def _retry_now(self) -> None:
        self._retry = None
        self._flush()

    def _flush(self) -> None:
        while self._queue:
            datagrams, address, fragments = self._queue.popleft()
            self._queued -= len(datagrams)
            if fragments is not None:
                self.allow_fragmentation(fragments)
            done = self._transmit(datagrams, address)
            if done < len(datagrams):
                self._queue.appendleft((datagrams[done:], address, fragments))
                self._queued += len(datagrams) - done
                if self._retry is None and not self._watching_writes and not self._closed:
                    self._watching_writes = True
                    self._loop.add_writer(self._sock.fileno(), self._flush)
                return
        self._stop_watching_writes()
        if self.on_writable is not None and not self._closed:
            self.on_writable()

    def _stop_watching_writes(self) -> None:
        if self._watching_writes:
            self._watching_writes = False
            self._loop.remove_writer(self._sock.fileno())

    def close(self) -> None:
        """Try to send the queued datagrams again, count the rest as discarded, and close the socket."""
        if self._closed:
            return
        self._closed = True
        self._flush()
        for datagrams, *_ in self._queue:
            self._count_discarded(datagrams)
        self._queue.clear()
        self._queued = 0
        self._stop_watching_writes()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._receiver is not None:
            self._loop.remove_reader(self._sock.fileno())
            self._receiver = None
        self._sock.close()


class MulticastSocket(UdpSocket):
    """A socket that sends to a multicast group on the local links.

    Attributes:
        shares_port: whether it is bound to the group's port, and so receives datagrams sent to the group.
    """

    def __init__(self, sock: socket.socket, group: Address, members: Sequence[bytes], *, shares_port: bool) -> None:
        super().__init__(sock, offload=False)
        self._group = group
        self._members = members
        self.shares_port = shares_port

    @classmethod
    def join(cls, group: str, port: int, interfaces: Sequence[str]) -> MulticastSocket:
        """Join a group, and share its port with other programs.

        Args:
            group: an IPv4 or IPv6 group address.
            port: the group's port.
            interfaces: for an IPv4 group, the local addresses of the interfaces to join on; an IPv6 group is joined on
                all interfaces.

        Raises:
            OSError: no interface can join the group.
        """
        six = ":" in group
        sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            shares_port = _bind_shared(sock, port)
            members = _join_six(sock, group) if six else _join_four(sock, group, interfaces)
            return cls(sock, (group, port), members, shares_port=shares_port)
        except BaseException:
            sock.close()
            raise

    def send_to_group(self, datagram: bytes) -> None:
        """Send to the group on each interface, and skip interfaces that refuse it."""
        if self._closed:
            return
        for member in self._members:
            try:
                if self._sock.family == socket.AF_INET6:
                    self._sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, member)
                else:
                    self._sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, member)
                self._sock.sendto(datagram, self._group)
                self.sent += 1
            except OSError as error:
                self._discard([datagram], self._group, error)


def source_address(address: Address) -> str | None:
    """Return the source address that the system's routes choose towards a numeric address; None without a route."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(with_scope_id(address))  # sends nothing
            found: str = probe.getsockname()[0]
        except OSError:
            return None
        return found


def _bind_shared(sock: socket.socket, port: int) -> bool:
    """Bind to a shared port, or to any port if that fails; return whether it is the shared port."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "SO_REUSEPORT"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        sock.bind(("", port))
    except OSError:
        sock.bind(("", 0))
        return False
    return True


def _join_four(sock: socket.socket, group: str, interfaces: Sequence[str]) -> list[bytes]:
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
    members: list[bytes] = []
    problem: OSError | None = None
    for address in interfaces:
        try:
            packed = socket.inet_aton(address)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + packed)
            members.append(packed)
        except OSError as error:
            problem = error
    if not members:
        raise problem or OSError("no interface can join the group")
    return members


def _join_six(sock: socket.socket, group: str) -> list[bytes]:
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    members: list[bytes] = []
    problem: OSError | None = None
    for index, _ in socket.if_nameindex():
        packed = struct.pack("@I", index)
        try:
            sock.setsockopt(
                socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, group) + packed
            )
            members.append(packed)
        except OSError as error:
            problem = error
    if not members:
        raise problem or OSError("no interface can join the group")
    return members


def _has_option(sock: socket.socket, option: int) -> bool:
    try:
        sock.getsockopt(_SOL_UDP, option)
    except OSError:
        return False
    return True


def _switch_on(sock: socket.socket, level: int, option: int) -> bool:
    try:
        sock.setsockopt(level, option, 1)
    except OSError:
        return False
    return True


def _set_discovery(sock: socket.socket, mode: int) -> bool:
    """Set how the system treats packets that are too long for a path; return whether it can."""
    if sys.platform != "linux":
        return False
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, mode)
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU, _IPV6_LEAST_MTU if mode == _PMTUDISC_DONT else 0)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, mode)
    except OSError:
        return False
    return True


def _request_destinations(sock: socket.socket) -> bool:
    """Have the system report the destination address of each datagram; return whether it can."""
    if sys.platform != "linux":
        return False
    if sock.family == socket.AF_INET6:
        return _switch_on(sock, socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO)
    return _switch_on(sock, socket.IPPROTO_IP, _IP_PKTINFO)


def _destination(ancillary: Sequence[tuple[int, int, bytes]]) -> tuple[int, int, bytes] | None:
    """Return the control message that makes replies come from a datagram's destination; None if that was a group.

    The routes choose the interface, except for link-local addresses, which mean nothing without one.
    """
    for level, kind, value in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            return level, kind, bytes(4) + value[4:8] + bytes(4)
        if level == socket.IPPROTO_IPV6 and kind == _IPV6_PKTINFO and value[0] != 0xFF:
            linked = value[0] == 0xFE and value[1] & 0xC0 == 0x80
            return level, kind, value if linked else value[:16] + bytes(4)
    return None


def _source_control(local: str) -> tuple[int, int, bytes]:
    """Return the control message that makes datagrams come from a local address."""
    if ":" in local:
        return socket.IPPROTO_IPV6, _IPV6_PKTINFO, socket.inet_pton(socket.AF_INET6, local) + bytes(4)
    return socket.IPPROTO_IP, _IP_PKTINFO, bytes(4) + socket.inet_pton(socket.AF_INET, local) + bytes(4)


def _set_buffers(sock: socket.socket, receive: int, send: int) -> None:
    if receive:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    if send:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send)


def _segment_size(ancillary: Sequence[tuple[int, int, bytes]]) -> int:
    for level, kind, value in ancillary:
        if level == _SOL_UDP and kind == _UDP_GRO:
            return int.from_bytes(value[:4], sys.byteorder)
    return 0
