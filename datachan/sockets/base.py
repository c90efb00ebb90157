"""What one-to-one and one-to-many sockets have in common: addresses, receiving, sending with ancillary data.

A socket owns its inbox and its settings; the binding may be shared with others.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from datachan.sctp.addresses import WILDCARDS, TransportAddress, normalize
from datachan.sctp.errors import InvalidState
from datachan.sctp.options import AssociationOptions
from datachan.sctp.stats import AssociationStats

from . import sockopts
from .ancillary import Address, Ancillary, AuthInfo, DstAddr, InitMsg, Message, NxtInfo, PrInfo, RcvInfo, SndInfo
from .association import SocketAssociation
from .binding import Binding
from .constants import (
    UDP_ENCAPSULATION_PORT,
    AssocId,
    BindxAction,
    MessageFlag,
    NextFlag,
    PrPolicy,
    SendFlag,
)
from .inbox import Inbox, Item
from .notifications import Notification
from .options import SocketOption, UdpEncaps
from .ports import Ports
from .pysctp import PySctpNames
from .settings import Settings, default_options, with_init

MSG_DONTWAIT: Final = 0x10000
"""A flag of `SndInfo` and `sctp_send`: raise BlockingIOError rather than wait for room in the send buffer."""


class How:
    """How a message is sent: what came with it, and the settings for where that says nothing."""

    __slots__ = ("further", "info", "key", "prinfo", "settings", "to")

    def __init__(self, ancillary: Iterable[Ancillary], settings: Settings, to: Address | None) -> None:
        self.to = to
        self.info: SndInfo | None = None
        self.prinfo: PrInfo | None = None
        self.key: int | None = None
        self.further: list[str] = []
        self.settings = settings
        for item in ancillary:
            if isinstance(item, SndInfo):
                self.info = item
            elif isinstance(item, PrInfo):
                self.prinfo = item
            elif isinstance(item, InitMsg):
                self.settings = replace(settings, options=with_init(settings.options, item))
            elif isinstance(item, DstAddr):
                self.further.append(item.host)
            elif isinstance(item, AuthInfo):
                self.key = item.keynumber


class SctpSocket(PySctpNames, ABC):
    """The base of both kinds of sockets.

    Args:
        family: `socket.AF_INET` or `socket.AF_INET6`; the latter reaches IPv4 peers as well where the system lets it.
        udp_port: the local UDP port. None is 9899 when the socket is bound to an SCTP port, and one shared by all that
            only connect when it is not; 0 has the system choose one.
        remote_udp_port: the UDP port of peers to connect to.
        options: the protocol parameters to begin with, those of `default_options` if not given.
        trace: a pcapng file, or a folder for one, to capture every packet in. None leaves it to the environment
            variable DATACHAN_TRACE.
    """

    _single: ClassVar[bool]

    def __init__(
        self,
        family: int = socket.AF_INET,
        *,
        udp_port: int | None = None,
        remote_udp_port: int = UDP_ENCAPSULATION_PORT,
        options: AssociationOptions | None = None,
        trace: str | os.PathLike[str] | None = None,
    ) -> None:
        if family not in (socket.AF_INET, socket.AF_INET6):
            raise OSError(errno.EAFNOSUPPORT, f"there is no SCTP for address family {family}")
        self.family = family
        self.linger: float | None = 30.0
        self.recvrcvinfo = True
        self.recvnxtinfo = False
        self._settings = Settings(options=options or default_options(), remote_udp_port=remote_udp_port)
        self._udp_port = udp_port
        self._trace = trace
        self._binding: Binding | None = None
        self._inbox = Inbox(self._stop_notifications, single=self._single)
        self._closed = False

    # -- addresses --------------------------------------------------------------------------------------------

    def bind(self, address: Address) -> None:
        """Bind to one address of this host, or with "" to all.

        Args:
            address: (host, SCTP port); port 0 has a free one chosen.

        Raises:
            OSError: it is bound already, the port is taken, or the address is not one of this host's.
        """
        self.bindx([address])

    def bindx(self, addresses: Sequence[Address], action: int = BindxAction.SCTP_BINDX_ADD_ADDR) -> None:
        """Bind to several addresses of this host, which must have the same port (RFC 6458, section 9.1).

        Called again it adds addresses, or removes them. Associations that live learn of it where both sides have
        SCTP_ASCONF_SUPPORTED on.

        Raises:
            OSError: as `bind`; or the ports differ.
        """
        self._check_open()
        hosts = [self._own_host(host) for host, _ in addresses]
        ports = {port for _, port in addresses if port}
        if not addresses or len(ports) > 1:
            raise OSError(errno.EINVAL, "bindx takes addresses with one and the same port")
        port = ports.pop() if ports else 0
        if action != BindxAction.SCTP_BINDX_ADD_ADDR:
            self._unbind(hosts)
        elif self._binding is None:
            self._bind(hosts, port, UDP_ENCAPSULATION_PORT if self._udp_port is None else self._udp_port)
        elif port not in (0, self._binding.ports.port):
            raise OSError(errno.EINVAL, f"the socket is bound to port {self._binding.ports.port}")
        else:
            self._bind_too(hosts)

    def _bind(self, hosts: Sequence[str], port: int, udp_port: int | None) -> Binding:
        ports = Ports.bind(hosts, port, udp_port, self._trace)
        self._binding = Binding(ports, self._settings.options)
        self._apply_addresses(self._binding)
        return self._binding

    def _bind_too(self, hosts: Sequence[str]) -> None:
        binding = self._bound()
        binding.add_addresses(hosts)
        self._apply_addresses(binding)

    def _unbind(self, hosts: Sequence[str]) -> None:
        binding = self._bound()
        if not set(hosts) < set(binding.ports.hosts):
            raise OSError(errno.EINVAL, "one address at least must stay, and only those that are there can go")
        binding.remove_addresses(hosts)
        self._apply_addresses(binding, gone=hosts)

    def _apply_addresses(self, binding: Binding, gone: Sequence[str] = ()) -> None:
        """Have INIT and INIT ACK list our addresses, if there are several or may be."""
        hosts = [host for host in binding.ports.hosts if host not in gone]
        several = len(hosts) > 1 or (self._settings.options.dynamic_addresses and hosts[0] not in WILDCARDS)
        listed = tuple(hosts) if several else ()
        options = replace(self._settings.options, local_port=binding.ports.port, local_addresses=listed)
        self._settings = replace(self._settings, options=options)
        binding.endpoint.options = options

    def _bound(self) -> Binding:
        """The binding; an ephemeral one is made if there is none."""
        if self._binding is None:
            wildcard = "::" if self.family == socket.AF_INET6 else "0.0.0.0"
            return self._bind([wildcard], 0, self._udp_port)
        return self._binding

    def _own_host(self, host: str) -> str:
        """An address of ours as the system takes it: numeric, or nothing, or localhost."""
        six = self.family == socket.AF_INET6
        if host == "":
            return "::" if six else "0.0.0.0"
        if host == "localhost":
            return "::1" if six else "127.0.0.1"
        try:
            own = normalize(host)
        except ValueError:
            raise OSError(errno.EADDRNOTAVAIL, f"{host!r} is no IP address to bind to") from None
        return self._of_family(own)

    def _of_family(self, host: str) -> str:
        """An IP address that the socket can reach, or have.

        Raises:
            OSError: it is IPv6, which IPv4 sockets cannot.
        """
        if ":" in host and self.family == socket.AF_INET:
            raise OSError(
                errno.EAFNOSUPPORT, f"{host} is IPv6: a socket with family=AF_INET6 takes it, and IPv4 as well"
            )
        return host

    async def _resolve(self, address: Address) -> list[str]:
        """The IP addresses of a host."""
        host, port = address
        if not 0 < port < 65536:
            raise OSError(errno.EINVAL, f"{port} is no SCTP port")
        try:
            numeric = normalize(host)
        except ValueError:
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(host or "localhost", None, family=self.family, type=socket.SOCK_DGRAM)
            return list(dict.fromkeys(normalize(str(entry[4][0])) for entry in found))
        return [self._of_family(numeric)]

    async def _connect(
        self, addresses: Sequence[Address], settings: Settings, further: Iterable[str] = ()
    ) -> SocketAssociation:
        """Begin an association with a peer that has these addresses."""
        if not addresses or len({port for _, port in addresses}) > 1:
            raise OSError(errno.EINVAL, "connectx takes addresses with one and the same port")
        hosts: list[str] = []
        for address in addresses:
            hosts += (await self._resolve(address))[: None if len(addresses) == 1 else 1]
        hosts += [self._of_family(normalize(host)) for host in further]
        self._check_open()
        binding = self._bound()
        # The binding's own port and addresses came after the settings.
        options = replace(
            settings.options,
            local_port=binding.ports.port,
            local_addresses=self._settings.options.local_addresses,
        )
        settings = replace(settings, options=options)
        targets: list[TransportAddress] = [(host, settings.remote_udp_port) for host in dict.fromkeys(hosts)]
        try:
            return binding.connect(targets, addresses[0][1], self._inbox, settings)
        except InvalidState as error:
            raise OSError(errno.EISCONN, str(error)) from None

    @property
    def udp_port(self) -> int:
        """The local UDP port; 0 while it is not bound."""
        return 0 if self._binding is None else self._binding.ports.udp_port

    @property
    def remote_udp_port(self) -> int:
        """The UDP port of peers to connect to; may be set."""
        return self._settings.remote_udp_port

    @remote_udp_port.setter
    def remote_udp_port(self, port: int) -> None:
        self.setsockopt(SocketOption.SCTP_REMOTE_UDP_ENCAPS_PORT, UdpEncaps(None, port))

    def getsockname(self) -> Address:
        """The (host, SCTP port) the socket is bound to."""
        if self._binding is None:
            return (self._own_host(""), 0)
        return (self._binding.ports.hosts[0], self._binding.ports.port)

    # -- receiving --------------------------------------------------------------------------------------------

    async def recvmsg(self, maxlen: int = 65536) -> Message:
        """The next message, or part of one, or notification.

        Args:
            maxlen: bytes of data at most; what is left of a message comes with the next call.

        Raises:
            OSError: the socket is closed; or, on a one-to-one socket, the association was lost.
        """
        if maxlen < 1:
            raise ValueError(f"maxlen is {maxlen}; it must be 1 at least")
        while True:
            self._check_open()
            item = self._inbox.peek()
            if item is not None:
                return self._read(item, maxlen)
            if self._inbox.ended:
                return self._read_at_end()
            await self._inbox.wait()

    async def recv(self, maxlen: int) -> bytes:
        """The next message, or as much of it as `maxlen`; the rest comes next.

        Notifications are passed over. On a one-to-one socket b"" means that the peer has closed.
        """
        while True:
            message = await self.recvmsg(maxlen)
            if message.notification is None:
                return message.data

    async def recvfrom(self, maxlen: int) -> tuple[bytes, Address]:
        """As `recv`, with the (host, SCTP port) of the peer."""
        while True:
            message = await self.recvmsg(maxlen)
            if message.notification is None:
                return message.data, message.address

    async def sctp_recv(self, maxlen: int) -> tuple[Address, MessageFlag, bytes, RcvInfo | Notification | None]:
        """As in PySCTP: (address, flags, data, what is known of it or what happened)."""
        message = await self.recvmsg(maxlen)
        return message.address, message.flags, message.data, message.notification or message.rcvinfo

    def __aiter__(self) -> AsyncIterator[Message]:
        return self._messages()

    async def _messages(self) -> AsyncIterator[Message]:
        """Messages until the end, or until the socket is closed."""
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

    def _read(self, item: Item, maxlen: int) -> Message:
        association, event = item.association, item.message
        if event is None:
            self._inbox.take(item)
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
            self._inbox.take(item)
            association.consumed(len(data))
            if event.last:
                flags = MessageFlag.MSG_EOR
        rcvinfo = None
        if self.recvrcvinfo:
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
        if not self.recvnxtinfo:
            return None
        item = self._inbox.peek()
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

    def _stop_notifications(self) -> None:
        """Nobody reads them: nothing is subscribed any more."""
        self._settings = replace(self._settings, subscribed=frozenset())
        for association in self._associations():
            association.settings = replace(association.settings, subscribed=frozenset())

    # -- sending ----------------------------------------------------------------------------------------------

    async def sendmsg(self, data: bytes, ancillary: Iterable[Ancillary] = (), to: Address | None = None) -> int:
        """Send a message, or with the flags of an `SndInfo` end an association.

        Args:
            data: the message; may be empty only with SCTP_EOF and SCTP_ABORT.
            ancillary: how; what is not said is as the socket's defaults are.
            to: the peer's (host, SCTP port).

        Returns:
            The length of the message.

        Raises:
            OSError: it cannot be sent.
        """
        self._check_open()
        await self._send(bytes(data), How(ancillary, self._settings, to))
        return len(data)

    async def send(self, data: bytes) -> int:
        """Send one message as the socket's defaults are; returns its length."""
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
        """Send a message, as in PySCTP.

        Args:
            msg: the message.
            to: the peer's (host, SCTP port); needed only on a one-to-many socket.
            ppid: payload protocol identifier.
            flags: any of `SendFlag`, or `MSG_DONTWAIT`.
            stream: the stream.
            timetolive: milliseconds after which it is given up; 0 for never.
            context: comes back in `SendFailed`.
            assoc_id: the association, instead of its address.
        """
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
        """RFC 6458, section 9.12: as `sendmsg`; of several addresses of one peer the first is sent to."""
        further = [DstAddr(host) for host, _ in addresses[1:]]
        return await self.sendmsg(data, [*ancillary, *further], addresses[0] if addresses else None)

    async def sctp_recvv(self, maxlen: int = 65536) -> Message:
        """RFC 6458, section 9.13: as `recvmsg`."""
        return await self.recvmsg(maxlen)

    @abstractmethod
    async def _send(self, data: bytes, how: How) -> None:
        """Find the association, or set one up, and send."""

    async def _send_on(self, association: SocketAssociation, data: bytes, how: How) -> None:
        """Send on one association, or end it."""
        info = association.settings.sndinfo if how.info is None else how.info
        prinfo = association.settings.prinfo if how.prinfo is None else how.prinfo
        over = None
        if info.flags & SendFlag.SCTP_ADDR_OVER and how.to is not None and association.established:
            over = association.transport_address(how.to)
        if info.flags & SendFlag.SCTP_ABORT:
            association.abort(data.decode("utf-8", "replace"))
            return
        if data or not info.flags & SendFlag.SCTP_EOF:
            if info.flags & MSG_DONTWAIT:
                if not association.try_send(data, info, prinfo, how.key, over):
                    raise BlockingIOError(errno.EAGAIN, "the send buffer is full")
            else:
                await association.send(data, info, prinfo, how.key, over)
        if info.flags & SendFlag.SCTP_EOF:
            association.shutdown()

    # -- options ----------------------------------------------------------------------------------------------

    def setsockopt(self, option: SocketOption, value: object, assoc_id: int = 0) -> None:
        """Set an option (RFC 6458, section 8).

        Args:
            option: one of `SocketOption`.
            value: of the class that `options` has for it; a number or flag where there is none.
            assoc_id: on a one-to-many socket: an association, or SCTP_FUTURE_ASSOC for those to come,
                SCTP_CURRENT_ASSOC for those there are, SCTP_ALL_ASSOC for both. On a one-to-one socket it is ignored.

        Raises:
            OSError: there is no such option or association, or the value has no sense.
        """
        self._check_open()
        sockopts.set_value(self, option, value, assoc_id)

    def getsockopt(self, option: SocketOption, assoc_id: int = 0, address: Address | None = None) -> Any:
        """The value of an option.

        Args:
            option: one of `SocketOption`.
            assoc_id: on a one-to-many socket the association; 0 for what those to come begin with.
            address: of the peer, for options that are about one.

        Raises:
            OSError: there is no such option or association.
        """
        self._check_open()
        return sockopts.get(self, option, assoc_id, address)

    def _settings_changed(self) -> None:
        """Associations to come are to be like that."""
        if self._binding is not None and self._listens:
            options = self._binding.endpoint.options
            wanted = self._settings.options
            self._binding.endpoint.options = replace(
                wanted, local_port=options.local_port, local_addresses=options.local_addresses
            )

    def _targets(self, assoc_id: int) -> tuple[bool, list[SocketAssociation]]:
        """Whether an option is for associations to come, and for which of those there are."""
        if self._single or assoc_id == AssocId.SCTP_ALL_ASSOC:
            return True, self._associations()
        if assoc_id == AssocId.SCTP_FUTURE_ASSOC:
            return True, []
        if assoc_id == AssocId.SCTP_CURRENT_ASSOC:
            return False, self._associations()
        chosen = self._chosen(assoc_id)
        return False, [] if chosen is None else [chosen]

    def _change_options(self, assoc_id: int, changes: dict[str, Any]) -> None:
        future, present = self._targets(assoc_id)
        options = replace(self._settings.options, **changes)  # refuses what has no sense before anything changes
        if future:
            self._change_future_options(options)
        for association in present:
            association.change_options(changes)

    def _change_future_options(self, options: AssociationOptions) -> None:
        """For associations to come."""
        self._settings = replace(self._settings, options=options)
        self._settings_changed()

    def _change_settings(self, assoc_id: int, changes: dict[str, Any]) -> None:
        future, present = self._targets(assoc_id)
        if future:
            self._settings = replace(self._settings, **changes)
        for association in present:
            association.settings = replace(association.settings, **changes)

    def _change_subscriptions(
        self, assoc_id: int, changed: Callable[[frozenset[type]], frozenset[type]]
    ) -> list[SocketAssociation]:
        """Subscribe and unsubscribe; the associations it is for."""
        future, present = self._targets(assoc_id)
        if future:
            self._settings = replace(self._settings, subscribed=changed(self._settings.subscribed))
        for association in present:
            association.settings = replace(association.settings, subscribed=changed(association.settings.subscribed))
        return present

    @abstractmethod
    def _chosen(self, assoc_id: int) -> SocketAssociation | None:
        """The association an option is about, None for those to come."""

    @abstractmethod
    def _at(self, address: Address) -> SocketAssociation | None:
        """The association with the peer at an address."""

    @property
    @abstractmethod
    def _listens(self) -> bool:
        """Whether associations that peers set up come to this socket."""

    def _get_autoclose(self) -> float:
        return 0.0 if self._binding is None else self._binding.endpoint.autoclose

    @abstractmethod
    def _set_autoclose(self, seconds: float) -> None:
        """Shut associations down that are idle for so long."""

    def stats(self, assoc_id: int = 0) -> AssociationStats:
        """Counters and sizes of an association, times in seconds; more than SCTP_STATUS tells.

        Raises:
            OSError: there is no such association.
        """
        association = self._chosen(assoc_id)
        live = None if association is None else association.look()
        if live is None:
            raise OSError(errno.EINVAL, "there is no association to ask about")
        return live.stats()

    def getladdrs(self, assoc_id: int = 0) -> list[Address]:
        """Our own addresses (RFC 6458, section 9.5); of a socket bound to all of them, the wildcard."""
        self._check_open()
        if self._binding is None:
            return []
        return [(host, self._binding.ports.port) for host in self._binding.ports.hosts]

    def getpaddrs(self, assoc_id: int = 0) -> list[Address]:
        """The addresses of the peer (RFC 6458, section 9.3).

        Raises:
            OSError: there is no such association.
        """
        association = self._chosen(assoc_id)
        live = None if association is None else association.look()
        if association is None or live is None:
            return []
        return [(host, association.address[1]) for host, _ in live.peer_addresses()]

    # -- the end ----------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Close the socket: what was sent is delivered first, within `linger` seconds; 0 aborts.

        Cancelled, it aborts what is left.
        """
        if self._closed:
            return
        self._closed = True
        self._stop_listening()
        self._inbox.end()
        for item in self._inbox.clear():
            if item.message is not None:
                item.association.consumed(len(item.message.data))
        associations = self._associations()
        try:
            for association in associations:
                association.inbox = None
                if self.linger == 0:
                    association.abort("")
                else:
                    association.shutdown()
            async with asyncio.timeout(self.linger):
                for association in associations:
                    await association.until_ended()
        except TimeoutError:
            pass
        finally:
            for association in associations:
                association.abort("the socket was closed")
            if self._binding is not None:
                self._binding.flush()
                self._binding.release()

    @abstractmethod
    def _stop_listening(self) -> None:
        """New associations are refused from now on."""

    @abstractmethod
    def _associations(self) -> list[SocketAssociation]:
        """Those that belong to this socket."""

    def _check_open(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "the socket is closed")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
