"""One-to-one sockets: one association each, as with TCP (RFC 6458, section 4)."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import Self

from datachan.sctp import AssociationOptions

from .ancillary import Address, PeerAddress
from .binding import Binding
from .constants import UDP_ENCAPSULATION_PORT, MessageFlag
from .received import Message
from .sctp_socket import SctpSocket, SendRequest
from .settings import Settings
from .socket_association import SocketAssociation
from .validation import check_addresses, check_arguments


class sctpsocket_tcp(SctpSocket):  # noqa: N801 - PySCTP's name
    """A one-to-one socket; for the arguments see `SctpSocket`.

    A listening socket has no association itself: `accept` returns a socket for each.
    """

    _single = True

    def __init__(
        self,
        family: int = socket.AF_INET,
        *,
        udp_port: int | None = None,
        remote_udp_port: int = UDP_ENCAPSULATION_PORT,
        options: AssociationOptions | None = None,
        trace: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(family, udp_port=udp_port, remote_udp_port=remote_udp_port, options=options, trace=trace)
        self._association: SocketAssociation | None = None
        self._connecting = False
        self._waiting: deque[sctpsocket_tcp] | None = None  # sockets to be accepted, while this one listens
        self._acceptors: deque[asyncio.Future[None]] = deque()

    @classmethod
    def _on_binding(cls, binding: Binding, family: int, settings: Settings) -> Self:
        """Return a new socket for an association of a binding that other sockets use, too."""
        made = cls(family)
        made._settings = settings
        made._binding = binding.share()
        return made

    def _adopt(self, association: SocketAssociation) -> None:
        """Attach an association to this socket."""
        self._association = association
        association.queue = self._queue

    def _copy_attributes(self, source: SctpSocket) -> None:
        """Copy the attributes of the socket that created this one."""
        self._linger = source._linger
        self._recvrcvinfo = source._recvrcvinfo
        self._recvnxtinfo = source._recvnxtinfo
        self._queue.interleave = source._queue.interleave

    # -- server --------------------------------------------------------------------------------------------------------

    def listen(self, backlog: int = 5) -> None:
        """Let peers set up associations.

        Args:
            backlog: the maximum number of associations that wait for `accept`; 0 refuses further ones.

        Raises:
            OSError: the socket has an association.
        """
        self._check_open()
        check_arguments(backlog=backlog)
        if self._association is not None or self._connecting:
            raise OSError(errno.EISCONN, "the socket has an association")
        binding = self._bound()
        if self._waiting is None:
            self._waiting = deque()
            binding.on_incoming = self._handle_incoming
        binding.endpoint.backlog = backlog

    def _handle_incoming(self, assoc_id: int, peer: PeerAddress) -> SocketAssociation:
        """Create a socket for an association that a peer has set up, and queue it for `accept`."""
        binding = self._bound()
        arrived = sctpsocket_tcp._on_binding(binding, self.family, self._settings)
        arrived._copy_attributes(self)
        association = SocketAssociation(assoc_id, binding.driver, arrived._queue, self._settings, peer)
        arrived._association = association
        if self._waiting is not None:
            self._waiting.append(arrived)
        self._wake_acceptor()
        return association

    def _wake_acceptor(self) -> None:
        while self._acceptors:
            acceptor = self._acceptors.popleft()
            if not acceptor.done():
                acceptor.set_result(None)
                return

    async def accept(self) -> tuple[sctpsocket_tcp, PeerAddress]:
        """Wait for a peer; return a socket for its association, and its (host, SCTP port).

        Raises:
            OSError: the socket does not listen, or is closed.
        """
        while True:
            self._check_open()
            if self._waiting is None:
                raise OSError(errno.EINVAL, "the socket does not listen")
            if self._waiting:
                arrived = self._waiting.popleft()
                association = arrived._association
                if association is not None:
                    self._bound().endpoint.accept(association.id)
                    return arrived, association.address
            acceptor = asyncio.get_running_loop().create_future()
            self._acceptors.append(acceptor)
            try:
                await acceptor
            finally:
                if acceptor in self._acceptors:
                    self._acceptors.remove(acceptor)
                elif self._waiting:  # woken and canceled at once: wake the next acceptor instead
                    self._wake_acceptor()

    # -- client --------------------------------------------------------------------------------------------------------

    async def connect(self, address: Address) -> None:
        """Connect to a peer.

        Args:
            address: its (host, SCTP port). If the host is a name with several IP addresses, all of them are tried.

        Raises:
            OSError: the peer refuses (`ConnectionRefusedError`) or does not answer (`TimeoutError`), or the socket is
                connected.
        """
        await self.connectx([address])

    async def connectx(self, addresses: Sequence[Address]) -> int:
        """Connect to a peer with several addresses (RFC 6458, section 9.9), and return the id of the association.

        Args:
            addresses: the addresses of the peer, with the same port.

        Raises:
            OSError: as `connect`; or the ports differ.
        """
        self._check_open()
        check_addresses(addresses)
        if self._association is not None or self._connecting or self._waiting is not None:
            raise OSError(errno.EISCONN, os.strerror(errno.EISCONN))
        self._connecting = True
        association: SocketAssociation | None = None
        try:
            association = await self._connect(addresses, self._settings)
            self._association = association
            await association.wait_until_established()
        except BaseException:
            if association is not None:
                association.drop()
                self._association = None
            raise
        finally:
            self._connecting = False
        return association.id

    # -- both ----------------------------------------------------------------------------------------------------------

    def getpeername(self) -> PeerAddress:
        """Return the peer's (host, SCTP port).

        Raises:
            OSError: there is no association.
        """
        return self._connected().address

    def shutdown(self, how: int = socket.SHUT_WR) -> None:
        """Start the graceful end (RFC 6458, section 4.1.7): nothing more is sent, the peer's messages still arrive.

        Args:
            how: SHUT_WR, SHUT_RD or SHUT_RDWR. SHUT_RD sends nothing; received messages are discarded.

        Raises:
            OSError: there is no association.
        """
        check_arguments(how=how)
        association = self._connected()
        if how in (socket.SHUT_RD, socket.SHUT_RDWR):
            association.queue = None
            for item in self._queue.clear():
                if item.message is not None:
                    association.consume(len(item.message.data))
            self._queue.end()
        if how in (socket.SHUT_WR, socket.SHUT_RDWR):
            association.shutdown()

    def abort(self, reason: str = "") -> None:
        """End the association at once, and send the peer the reason.

        Raises:
            OSError: there is no association.
        """
        check_arguments(reason=reason)
        self._connected().abort(reason)

    def _connected(self) -> SocketAssociation:
        """Return the association.

        Raises:
            OSError: there is none.
        """
        self._check_open()
        if self._association is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return self._association

    async def _send(self, data: bytes, request: SendRequest) -> None:
        await self._send_on(self._connected(), data, request)

    async def recvmsg(self, maxlen: int = 65536) -> Message:
        """Return the next message, as `SctpSocket.recvmsg`; at the end of the association a message without data.

        Raises:
            OSError: the association was lost, there is none, or the socket is closed.
        """
        self._connected()
        return await super().recvmsg(maxlen)

    def _read_at_end(self) -> Message:
        association = self._connected()
        if association.failure is not None:
            raise association.failure
        return Message(b"", MessageFlag(0), association.address, association.id)

    # -- state ---------------------------------------------------------------------------------------------------------

    def _associations(self) -> list[SocketAssociation]:
        return [] if self._association is None else [self._association]

    def _chosen(self, assoc_id: int) -> SocketAssociation | None:
        return self._association

    def _at(self, address: Address) -> SocketAssociation | None:
        return self._association

    @property
    def _takes_incoming(self) -> bool:
        return self._waiting is not None or self._association is None

    def _set_autoclose(self, seconds: float) -> None:
        raise OSError(errno.EOPNOTSUPP, "SCTP_AUTOCLOSE is for one-to-many sockets")

    def _stop_listening(self) -> None:
        if self._waiting is None:
            return
        binding = self._bound()
        binding.endpoint.backlog = 0
        binding.on_incoming = None
        for arrived in self._waiting:
            arrived._refuse()
        self._waiting.clear()
        while self._acceptors:
            self._wake_acceptor()

    def _refuse(self) -> None:
        """Abort the association of a socket that will not be accepted, and close the socket."""
        self._closed = True
        for association in self._associations():
            association.queue = None
            association.abort("the listening socket was closed before it accepted the association")
        if self._binding is not None:
            self._binding.driver.flush()
            self._binding.release()
