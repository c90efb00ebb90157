"""One-to-one sockets: one association each, as with TCP (RFC 6458, section 4)."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import Self

from datachan.sctp.options import AssociationOptions

from .ancillary import Address, Message
from .association import SocketAssociation
from .base import How, SctpSocket
from .binding import Binding
from .constants import UDP_ENCAPSULATION_PORT, MessageFlag
from .settings import Settings


class sctpsocket_tcp(SctpSocket):  # noqa: N801 - PySCTP's name
    """A one-to-one socket; for the arguments see `SctpSocket`.

    A socket that listens has no association itself: `accept` gives a socket for each.
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
        self._accepted: deque[sctpsocket_tcp] | None = None  # while it listens
        self._acceptors: deque[asyncio.Future[None]] = deque()

    @classmethod
    def _of(cls, binding: Binding, family: int, settings: Settings) -> Self:
        """A socket for an association that is there already, on a binding shared with others."""
        made = cls(family)
        made._settings = settings
        made._binding = binding.share()
        return made

    def _adopt(self, association: SocketAssociation) -> None:
        self._association = association
        association.inbox = self._inbox

    # -- server -----------------------------------------------------------------------------------------------

    def listen(self, backlog: int = 5) -> None:
        """Let peers set up associations.

        Args:
            backlog: how many of them may wait for `accept`; 0 lets nobody in any more.

        Raises:
            OSError: the socket has an association.
        """
        self._check_open()
        if self._association is not None or self._connecting:
            raise OSError(errno.EISCONN, "the socket has an association")
        binding = self._bound()
        if self._accepted is None:
            self._accepted = deque()
            binding.incoming = self._incoming
        binding.endpoint.backlog = backlog

    def _incoming(self, assoc_id: int, address: Address) -> SocketAssociation:
        binding = self._bound()
        arrived = sctpsocket_tcp._of(binding, self.family, self._settings)
        arrived._take_over(self)
        association = SocketAssociation(assoc_id, binding, arrived._inbox, self._settings, address)
        arrived._association = association
        if self._accepted is not None:
            self._accepted.append(arrived)
        self._wake_acceptor()
        return association

    def _take_over(self, listener: SctpSocket) -> None:
        """Be as the socket it comes from."""
        self.linger = listener.linger
        self.recvrcvinfo = listener.recvrcvinfo
        self.recvnxtinfo = listener.recvnxtinfo
        self._inbox.interleave = listener._inbox.interleave

    def _wake_acceptor(self) -> None:
        while self._acceptors:
            acceptor = self._acceptors.popleft()
            if not acceptor.done():
                acceptor.set_result(None)
                return

    async def accept(self) -> tuple[sctpsocket_tcp, Address]:
        """Wait for a peer: the socket for its association, and its (host, SCTP port).

        Raises:
            OSError: the socket does not listen, or is closed.
        """
        while True:
            self._check_open()
            if self._accepted is None:
                raise OSError(errno.EINVAL, "the socket does not listen")
            if self._accepted:
                arrived = self._accepted.popleft()
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
                elif self._accepted:  # cancelled when it was its turn: then it is the next one's
                    self._wake_acceptor()

    # -- client -----------------------------------------------------------------------------------------------

    async def connect(self, address: Address) -> None:
        """Connect to a peer.

        Args:
            address: its (host, SCTP port); of a name with several IP addresses, all are tried.

        Raises:
            OSError: it refuses (`ConnectionRefusedError`), does not answer (`TimeoutError`), the socket is connected.
        """
        await self.connectx([address])

    async def connectx(self, addresses: Sequence[Address]) -> int:
        """Connect to a peer that has several addresses (RFC 6458, section 9.9); the id of the association.

        Raises:
            OSError: as `connect`; or the ports differ.
        """
        self._check_open()
        if self._association is not None or self._connecting or self._accepted is not None:
            raise OSError(errno.EISCONN, os.strerror(errno.EISCONN))
        self._connecting = True
        association: SocketAssociation | None = None
        try:
            association = await self._connect(addresses, self._settings)
            self._association = association
            await association.until_established()
        except BaseException:
            if association is not None:
                association.inbox = None
                association.abort("")
                self._association = None
            raise
        finally:
            self._connecting = False
        return association.id

    # -- both -------------------------------------------------------------------------------------------------

    def getpeername(self) -> Address:
        """The peer's (host, SCTP port).

        Raises:
            OSError: there is no association.
        """
        return self._connected().address

    def shutdown(self, how: int = socket.SHUT_WR) -> None:
        """Begin the graceful end (RFC 6458, section 4.1.7): nothing more is sent; what the peer still has comes.

        SHUT_RD has no effect on the network: what comes is thrown away.
        """
        association = self._connected()
        if how in (socket.SHUT_RD, socket.SHUT_RDWR):
            association.inbox = None
            for item in self._inbox.clear():
                if item.message is not None:
                    association.consumed(len(item.message.data))
            self._inbox.end()
        if how in (socket.SHUT_WR, socket.SHUT_RDWR):
            association.shutdown()

    def abort(self, reason: str = "") -> None:
        """End the association at once; the peer is told the reason."""
        self._connected().abort(reason)

    def _connected(self) -> SocketAssociation:
        self._check_open()
        if self._association is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return self._association

    async def _send(self, data: bytes, how: How) -> None:
        await self._send_on(self._connected(), data, how)

    async def recvmsg(self, maxlen: int = 65536) -> Message:
        """See `SctpSocket.recvmsg`. At the end of the association a message without data.

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

    def _chosen(self, assoc_id: int) -> SocketAssociation | None:
        return self._association

    def _at(self, address: Address) -> SocketAssociation | None:
        return self._association

    @property
    def _listens(self) -> bool:
        return self._accepted is not None or self._association is None

    def _set_autoclose(self, seconds: float) -> None:
        raise OSError(errno.EOPNOTSUPP, "SCTP_AUTOCLOSE is for one-to-many sockets")

    def _associations(self) -> list[SocketAssociation]:
        return [] if self._association is None else [self._association]

    def _stop_listening(self) -> None:
        if self._accepted is None:
            return
        binding = self._bound()
        binding.endpoint.backlog = 0
        binding.incoming = None
        for arrived in self._accepted:
            arrived._refuse()
        self._accepted.clear()
        self._wake_acceptors()

    def _wake_acceptors(self) -> None:
        while self._acceptors:
            self._wake_acceptor()

    def _refuse(self) -> None:
        """Nobody will accept it."""
        self._closed = True
        for association in self._associations():
            association.inbox = None
            association.abort("nobody accepted the association")
        if self._binding is not None:
            self._binding.flush()
            self._binding.release()
