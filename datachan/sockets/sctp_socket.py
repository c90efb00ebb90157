"""The calls that one-to-one and one-to-many sockets share: addresses, receiving, sending, options and closing."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self

from datachan.name_lookup import look_up
from datachan.sctp import AssociationOptions, AssociationStats, InvalidState
from datachan.sctp.addresses import TransportAddress

from . import option_handlers
from .ancillary import Address, Ancillary, AuthInfo, DstAddr, InitMsg, PeerAddress, PrInfo, SndInfo
from .constants import UDP_ENCAPSULATION_PORT, BindxAction, MessageFlag, NextFlag, PrPolicy, SendFlag
from .host_addresses import numeric_host, to_engine, with_scope
from .notifications import Notification
from .option_values import SocketOption, UdpEncaps
from .pysctp import PySctpNames
from .receive_queue import Item
from .received import Message, NxtInfo, RcvInfo
from .settings import Settings, default_options, with_init
from .socket_association import SocketAssociation
from .socket_state import SocketState
from .validation import check_addresses, check_ancillary, check_arguments, check_data

INTERRUPTED_LINGER: Final = 0.3
"""Seconds; the longest linger of a socket whose `async with` block is left by Ctrl+C or another cancellation."""


class SendRequest:
    """How one message is sent: its ancillary data, and the settings where it has none.

    Attributes:
        info: its `SndInfo`, or None.
        prinfo: its `PrInfo`, or None.
        key: the shared key of its `AuthInfo`, or None.
        more_hosts: the hosts of its `DstAddr` items.
        settings: the settings of an association that the send sets up.
        to: the peer's address, or None.
    """

    __slots__ = ("info", "key", "more_hosts", "prinfo", "settings", "to")

    def __init__(self, ancillary: Iterable[Ancillary], settings: Settings, to: Address | None) -> None:
        self.to = to
        self.info: SndInfo | None = None
        self.prinfo: PrInfo | None = None
        self.key: int | None = None
        self.more_hosts: list[str] = []
        self.settings = settings
        for item in ancillary:
            if isinstance(item, SndInfo):
                self.info = item
            elif isinstance(item, PrInfo):
                self.prinfo = item
            elif isinstance(item, InitMsg):
                self.settings = replace(settings, options=with_init(settings.options, item))
            elif isinstance(item, DstAddr):
                self.more_hosts.append(item.host)
            elif isinstance(item, AuthInfo):
                self.key = item.keynumber


class SctpSocket(PySctpNames, SocketState):
    """The base of both kinds of sockets.

    Every call checks its arguments first. A value of the wrong type or out of range raises OSError (EINVAL) before
    anything has changed.

    Args:
        family: `socket.AF_INET` or `socket.AF_INET6`. An IPv6 socket reaches IPv4 peers, too, where the system allows.
        udp_port: the local UDP port; 0 lets the system choose one. None is 9899 for a socket that is bound to an SCTP
            port; a socket that only connects then shares one UDP port with all others of the program.
        remote_udp_port: the UDP port of peers to connect to.
        options: the initial protocol parameters; those of `default_options` by default.
        trace: a pcapng file, or a folder for one, that records every packet. None leaves it to the environment variable
            DATACHAN_TRACE.
    """

    def __init__(
        self,
        family: int = socket.AF_INET,
        *,
        udp_port: int | None = None,
        remote_udp_port: int = UDP_ENCAPSULATION_PORT,
        options: AssociationOptions | None = None,
        trace: str | os.PathLike[str] | None = None,
    ) -> None:
        check_arguments(family=family, udp_port=udp_port, remote_udp_port=remote_udp_port, options=options, trace=trace)
        settings = Settings(options=options or default_options(), remote_udp_port=remote_udp_port)
        super().__init__(family, settings, udp_port, trace)

    # -- addresses -----------------------------------------------------------------------------------------------------

    def bind(self, address: Address) -> None:
        """Bind to one address of this host, or with host "" to all of them.

        Args:
            address: (host, SCTP port), or four values as getaddrinfo returns them; port 0 chooses a free one.

        Raises:
            OSError: the socket is bound, the port is in use, or this host does not have the address.
        """
        self.bindx([address])

    def bindx(self, addresses: Sequence[Address], action: int = BindxAction.SCTP_BINDX_ADD_ADDR) -> None:
        """Bind to several addresses of this host with the same port (RFC 6458, section 9.1).

        A further call adds addresses, or removes them. Peers of current associations are informed if both sides have
        SCTP_ASCONF_SUPPORTED on.

        Args:
            addresses: the addresses, as for `bind`.
            action: SCTP_BINDX_ADD_ADDR or SCTP_BINDX_REM_ADDR.

        Raises:
            OSError: as `bind`; or the ports differ.
        """
        self._check_open()
        check_arguments(action=action)
        port = check_addresses(addresses, own=True)
        hosts = list(dict.fromkeys([self._own_host(address) for address in addresses]))
        if action != BindxAction.SCTP_BINDX_ADD_ADDR:
            self._unbind(hosts)
        elif self._binding is None:
            self._bind(hosts, port, UDP_ENCAPSULATION_PORT if self._udp_port is None else self._udp_port)
        elif port not in (0, self._binding.ports.port):
            raise OSError(errno.EINVAL, f"the socket is bound to port {self._binding.ports.port}")
        else:
            self._binding.add_addresses(hosts)
            self._announce_addresses(self._binding)

    def _unbind(self, hosts: Sequence[str]) -> None:
        binding = self._bound()
        if not set(hosts) < set(binding.ports.hosts):
            raise OSError(errno.EINVAL, "one address must stay, and only bound addresses can be removed")
        binding.remove_addresses(hosts)
        self._announce_addresses(binding, without=hosts)

    def _own_host(self, address: Address) -> str:
        """Return an address of ours in the form of the engine."""
        six = self.family == socket.AF_INET6
        host = address[0]
        if host == "":
            return "::" if six else "0.0.0.0"
        if host == "localhost":
            return "::1" if six else "127.0.0.1"
        try:
            own = with_scope(host, address[3] if len(address) > 3 else 0)
        except ValueError:
            raise OSError(errno.EADDRNOTAVAIL, f"{host!r} is no IP address to bind to") from None
        return self._check_family(own)

    def _check_family(self, host: str) -> str:
        """Return an IP address that the socket can use.

        Raises:
            OSError: the address is IPv6, and the socket is an IPv4 socket.
        """
        if ":" in host and self.family == socket.AF_INET:
            raise OSError(
                errno.EAFNOSUPPORT, f"{host} is IPv6: a socket with family=AF_INET6 reaches it, and IPv4 as well"
            )
        return host

    async def _resolve(self, address: Address) -> list[str]:
        """Return the IP addresses of a host that the socket can reach.

        Raises:
            OSError: the name has none, or the address is of the other family.
        """
        host = address[0]
        try:
            return [self._check_family(with_scope(host, address[3] if len(address) > 3 else 0))]
        except ValueError:
            pass
        # A name that has only IPv4 addresses is reachable from an IPv6 socket, too.
        family = socket.AF_INET if self.family == socket.AF_INET else socket.AF_UNSPEC
        try:
            found = await look_up(host or "localhost", family)
        except UnicodeError as error:
            raise OSError(errno.EINVAL, f"{host!r} is no host name: {error}") from None
        return list(dict.fromkeys(to_engine(entry)[0] for entry in found))

    async def _connect(
        self, addresses: Sequence[Address], settings: Settings, more_hosts: Iterable[str] = ()
    ) -> SocketAssociation:
        """Start the handshake with a peer and return the association.

        Args:
            addresses: the peer's addresses.
            settings: the settings of the association.
            more_hosts: further hosts of the peer, as IP addresses.
        """
        port = check_addresses(addresses)
        hosts: list[str] = []
        for address in addresses:
            hosts += (await self._resolve(address))[: None if len(addresses) == 1 else 1]
        hosts += [self._check_family(numeric_host((host, port))) for host in more_hosts]
        self._check_open()
        binding = self._bound()
        # The binding has chosen the port and the addresses after the settings were made.
        options = replace(
            settings.options,
            local_port=binding.ports.port,
            local_addresses=self._settings.options.local_addresses,
        )
        settings = replace(settings, options=options)
        targets: list[TransportAddress] = [(host, settings.remote_udp_port) for host in dict.fromkeys(hosts)]
        try:
            return binding.connect(targets, port, self._queue, settings)
        except InvalidState as error:
            raise OSError(errno.EISCONN, str(error)) from None

    @property
    def udp_port(self) -> int:
        """The local UDP port; 0 while the socket is not bound."""
        return 0 if self._binding is None else self._binding.ports.udp_port

    @property
    def remote_udp_port(self) -> int:
        """The UDP port of peers to connect to; it can be set."""
        return self._settings.remote_udp_port

    @remote_udp_port.setter
    def remote_udp_port(self, port: int) -> None:
        self.setsockopt(SocketOption.SCTP_REMOTE_UDP_ENCAPS_PORT, UdpEncaps(None, port))

    def getsockname(self) -> PeerAddress:
        """Return the (host, SCTP port) that the socket is bound to."""
        if self._binding is None:
            return (self._own_host(("", 0)), 0)
        return (self._binding.ports.hosts[0], self._binding.ports.port)

    def getladdrs(self, assoc_id: int = 0) -> list[PeerAddress]:
        """Return our own addresses (RFC 6458, section 9.5); for a socket bound to all of them, the wildcard."""
        self._check_open()
        check_arguments(assoc_id=assoc_id)
        if self._binding is None:
            return []
        return [(host, self._binding.ports.port) for host in self._binding.ports.hosts]

    def getpaddrs(self, assoc_id: int = 0) -> list[PeerAddress]:
        """Return the addresses of the peer (RFC 6458, section 9.3).

        Raises:
            OSError: there is no such association.
        """
        check_arguments(assoc_id=assoc_id)
        association = self._chosen(assoc_id)
        live = None if association is None else association.to_read()
        if association is None or live is None:
            return []
        return [(host, association.address[1]) for host, _ in live.peer_addresses()]

    # -- receiving -----------------------------------------------------------------------------------------------------

    async def recvmsg(self, maxlen: int = 65536) -> Message:
        """Wait for the next message, part of a message, or notification, and return it.

        Args:
            maxlen: the maximum number of bytes; the next call returns the rest of a longer message.

        Raises:
            OSError: the socket is closed; or, on a one-to-one socket, the association was lost.
        """
        check_arguments(maxlen=maxlen)
        while True:
            self._check_open()
            item = self._queue.peek()
            if item is not None:
                return self._read(item, maxlen)
            if self._queue.ended:
                return self._read_at_end()
            await self._queue.wait()

    async def recv(self, maxlen: int) -> bytes:
        """Wait for the next message and return it, or its first `maxlen` bytes; the rest comes next.

        Notifications are skipped. On a one-to-one socket b"" means that the peer has closed.
        """
        while True:
            message = await self.recvmsg(maxlen)
            if message.notification is None:
                return message.data

    async def recvfrom(self, maxlen: int) -> tuple[bytes, PeerAddress]:
        """Return the next message, as `recv`, with the (host, SCTP port) of the peer."""
        while True:
            message = await self.recvmsg(maxlen)
            if message.notification is None:
                return message.data, message.address

    async def sctp_recv(self, maxlen: int) -> tuple[PeerAddress, MessageFlag, bytes, RcvInfo | Notification | None]:
        """Return (address, flags, data, `RcvInfo` or notification), as in PySCTP."""
        message = await self.recvmsg(maxlen)
        return message.address, message.flags, message.data, message.notification or message.rcvinfo

    async def sctp_recvv(self, maxlen: int = 65536) -> Message:
        """Return the next message, as `recvmsg` (RFC 6458, section 9.13)."""
        return await self.recvmsg(maxlen)

    def __aiter__(self) -> AsyncIterator[Message]:
        return self._messages()

    async def _messages(self) -> AsyncIterator[Message]:
        """Yield messages until the association ends or the socket is closed."""
        while True:
            try:
                message = await self.recvmsg()
            except OSError as error:
                if error.errno == errno.EBADF:
                    return
                raise
            if not message.data and message.notification is None:
                return
            yield message

    def _read(self, item: Item[SocketAssociation], maxlen: int) -> Message:
        association, event = item.association, item.message
        if event is None:
            self._queue.take(item)
            flags = MessageFlag.MSG_NOTIFICATION | MessageFlag.MSG_EOR
            return Message(
                b"", flags, association.address, association.id, nxtinfo=self._next(), notification=item.notification
            )
        data, offset = event.data, item.offset
        end = offset + maxlen
        flags = MessageFlag(0)
        if end < len(data):
            item.offset = end
        else:
            self._queue.take(item)
            association.consume(len(data))
            if event.last:
                flags = MessageFlag.MSG_EOR
        rcvinfo = None
        if self._recvrcvinfo:
            rcvinfo = RcvInfo(
                event.stream_id,
                event.ssn & 0xFFFF,
                SendFlag.SCTP_UNORDERED if event.unordered else SendFlag(0),
                event.ppid,
                event.tsn,
                association.cumulative_tsn(),
                association.settings.context,
                association.id,
            )
        piece = data if offset == 0 and end >= len(data) else data[offset:end]
        return Message(piece, flags, association.address, association.id, rcvinfo, self._next())

    def _next(self) -> NxtInfo | None:
        """Return the available information about the next message, if SCTP_RECVNXTINFO is on and there is one."""
        if not self._recvnxtinfo:
            return None
        item = self._queue.peek()
        if item is None:
            return None
        event = item.message
        if event is None:
            return NxtInfo(0, NextFlag.SCTP_NOTIFICATION | NextFlag.SCTP_COMPLETE, 0, 0, item.association.id)
        flags = NextFlag.SCTP_COMPLETE if event.last else NextFlag(0)
        if event.unordered:
            flags |= NextFlag.SCTP_UNORDERED
        return NxtInfo(event.stream_id, flags, event.ppid, len(event.data) - item.offset, item.association.id)

    def _read_at_end(self) -> Message:
        raise OSError(errno.EBADF, "the socket is closed")

    # -- sending -------------------------------------------------------------------------------------------------------

    async def sendmsg(self, data: bytes, ancillary: Iterable[Ancillary] = (), to: Address | None = None) -> int:
        """Send a message, or with the flags of an `SndInfo` end an association.

        Args:
            data: the message, bytes or an object like bytes; it may be empty only with SCTP_EOF and SCTP_ABORT.
            ancillary: how the message is sent; for an item that is missing the defaults of the socket apply.
            to: the peer's (host, SCTP port).

        Returns:
            The length of the message.

        Raises:
            OSError: the message cannot be sent.
        """
        self._check_open()
        message = check_data(data)
        check_arguments(to=to)
        request = SendRequest(check_ancillary(ancillary), self._settings, to)
        await self._send(message, request)
        return len(message)

    async def send(self, data: bytes) -> int:
        """Send one message with the defaults of the socket, and return its length."""
        return await self.sendmsg(data)

    async def sendall(self, data: bytes) -> None:
        """Send one message; for programs written for TCP."""
        await self.sendmsg(data)

    async def sctp_send(
        self,
        msg: bytes,
        to: Address | None = None,
        ppid: int | None = None,
        flags: int = 0,
        stream: int | None = None,
        timetolive: int | None = None,
        context: object = None,
        assoc_id: int = 0,
    ) -> int:
        """Send a message, as in PySCTP, and return its length.

        Args:
            msg: the message.
            to: the peer's (host, SCTP port); needed only on a one-to-many socket.
            ppid: payload protocol identifier.
            flags: any of `SendFlag`, MSG_DONTWAIT among them.
            stream: the stream.
            timetolive: the lifetime in milliseconds, after which the message is abandoned; 0 for no limit.
            context: any object; it comes back in `SendFailedEvent`.
            assoc_id: the association, instead of the address.

        Raises:
            OSError: the message cannot be sent.
        """
        check_arguments(to=to, ppid=ppid, flags=flags, stream=stream, timetolive=timetolive, assoc_id=assoc_id)
        default = self._settings.sndinfo
        info = SndInfo(
            default.sid if stream is None else stream,
            default.flags | flags,
            default.ppid if ppid is None else ppid,
            default.context if context is None else context,
            assoc_id,
        )
        ancillary: list[Ancillary] = [info]
        if timetolive is not None:
            policy = PrPolicy.SCTP_PR_SCTP_TTL if timetolive else PrPolicy.SCTP_PR_SCTP_NONE
            ancillary.append(PrInfo(policy, timetolive))
        return await self.sendmsg(msg, ancillary, to)

    async def sctp_sendv(self, data: bytes, addresses: Sequence[Address] = (), *ancillary: Ancillary) -> int:
        """Send a message, as `sendmsg`, to a peer with several addresses (RFC 6458, section 9.12).

        Args:
            data: the message.
            addresses: the addresses of the peer; the message goes to the first one.
            ancillary: how the message is sent.

        Returns:
            The length of the message.
        """
        if isinstance(addresses, tuple | list) and not addresses:
            return await self.sendmsg(data, ancillary)
        check_addresses(addresses)
        more = [DstAddr(numeric_host(address)) for address in addresses[1:]]
        return await self.sendmsg(data, [*ancillary, *more], addresses[0])

    @abstractmethod
    async def _send(self, data: bytes, request: SendRequest) -> None:
        """Send on the association that a request selects; set it up if there is none."""

    async def _send_on(self, association: SocketAssociation, data: bytes, request: SendRequest) -> None:
        """Send on one association, or end it, according to the flags."""
        info = association.settings.sndinfo if request.info is None else request.info
        prinfo = association.settings.prinfo if request.prinfo is None else request.prinfo
        destination = None
        if info.flags & SendFlag.SCTP_ADDR_OVER and request.to is not None and association.established:
            destination = association.transport_address(request.to)
        if info.flags & SendFlag.SCTP_ABORT:
            association.abort(data.decode("utf-8", "replace"))
            return
        if data or not info.flags & SendFlag.SCTP_EOF:
            if info.flags & SendFlag.MSG_DONTWAIT:
                if not association.try_send(data, info, prinfo, request.key, destination):
                    raise BlockingIOError(errno.EAGAIN, "the send buffer is full")
            else:
                await association.send(data, info, prinfo, request.key, destination)
        if info.flags & SendFlag.SCTP_EOF:
            association.shutdown()

    # -- options -------------------------------------------------------------------------------------------------------

    def setsockopt(self, option: SocketOption, value: object, assoc_id: int = 0) -> None:
        """Set an option (RFC 6458, section 8).

        Args:
            option: one of `SocketOption`.
            value: an object of the option's class in `option_values`, or a number or a boolean.
            assoc_id: on a one-to-many socket: an association, SCTP_FUTURE_ASSOC, SCTP_CURRENT_ASSOC for all current
                ones, or SCTP_ALL_ASSOC for both. A one-to-one socket ignores it.

        Raises:
            OSError: there is no such option or association, or the value is not acceptable.
        """
        self._check_open()
        option_handlers.set_value(self, option, value, assoc_id)

    def getsockopt(self, option: SocketOption, assoc_id: int = 0, address: Address | None = None) -> Any:
        """Return the value of an option.

        Args:
            option: one of `SocketOption`.
            assoc_id: on a one-to-many socket the association; 0 means future associations.
            address: the address of the peer, for options about one address.

        Raises:
            OSError: there is no such option or association.
        """
        self._check_open()
        return option_handlers.get_value(self, option, assoc_id, address)

    @property
    def linger(self) -> float | None:
        """Seconds that `close` waits for the graceful end (SO_LINGER); 0 aborts, None waits without limit."""
        return self._linger

    @linger.setter
    def linger(self, seconds: float | None) -> None:
        self.setsockopt(SocketOption.SO_LINGER, seconds)

    @property
    def recvrcvinfo(self) -> bool:
        """Whether messages have a `RcvInfo` (SCTP_RECVRCVINFO)."""
        return self._recvrcvinfo

    @recvrcvinfo.setter
    def recvrcvinfo(self, on: bool) -> None:
        self.setsockopt(SocketOption.SCTP_RECVRCVINFO, on)

    @property
    def recvnxtinfo(self) -> bool:
        """Whether messages have a `NxtInfo` (SCTP_RECVNXTINFO)."""
        return self._recvnxtinfo

    @recvnxtinfo.setter
    def recvnxtinfo(self, on: bool) -> None:
        self.setsockopt(SocketOption.SCTP_RECVNXTINFO, on)

    def stats(self, assoc_id: int = 0) -> AssociationStats:
        """Return counters, sizes and times (in seconds) of an association; it holds more than SCTP_STATUS.

        Raises:
            OSError: there is no such association.
        """
        check_arguments(assoc_id=assoc_id)
        association = self._chosen(assoc_id)
        live = None if association is None else association.to_read()
        if live is None:
            raise OSError(errno.EINVAL, "there is no association")
        return live.stats()

    # -- closing -------------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Close the socket: deliver sent messages for at most `linger` seconds, then abort the rest.

        Cancellation aborts what remains, too.
        """
        await self._close(self._linger)

    async def _close(self, linger: float | None) -> None:
        if self._closed:
            return
        self._closed = True
        self._stop_listening()
        self._queue.end()
        for item in self._queue.clear():
            if item.message is not None:
                item.association.consume(len(item.message.data))
        associations = self._associations()
        try:
            for association in associations:
                association.queue = None
                if linger == 0:
                    association.abort("")
                else:
                    association.shutdown()
            async with asyncio.timeout(linger):
                for association in associations:
                    await association.wait_until_ended()
        except TimeoutError:
            pass
        finally:
            for association in associations:
                association.abort("the socket was closed")
            if self._binding is not None:
                self._binding.driver.flush()
                self._binding.release()

    @abstractmethod
    def _stop_listening(self) -> None:
        """Refuse new associations from now on."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = kind is not None and issubclass(kind, asyncio.CancelledError | KeyboardInterrupt)
        if interrupted and (self._linger is None or self._linger > INTERRUPTED_LINGER):
            await self._close(INTERRUPTED_LINGER)
        else:
            await self._close(self._linger)
