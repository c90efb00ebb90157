"""One-to-many sockets: any number of associations, identified by their ids (RFC 6458, section 3)."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from .ancillary import Address, PeerAddress, SndInfo
from .constants import SCTP_ALL_ASSOC, AssocId, SendFlag
from .host_addresses import numeric_host
from .one_to_one import sctpsocket_tcp
from .sctp_socket import SctpSocket, SendRequest
from .socket_association import SocketAssociation
from .validation import check_arguments

UNLIMITED_BACKLOG: Final = 1 << 30
"""Associations; the backlog of a one-to-many socket, which accepts them at once."""

MAX_UNREAD: Final = 64 << 20
"""Bytes of unread messages, of all associations together, from which on new associations are refused."""


class sctpsocket_udp(SctpSocket):  # noqa: N801 - PySCTP's name
    """A one-to-many socket; for the arguments see `SctpSocket`."""

    _single = False

    def listen(self, backlog: int = 1) -> None:
        """Let peers set up associations, without a limit of their number; with backlog 0 refuse further ones."""
        self._check_open()
        check_arguments(backlog=backlog)
        binding = self._bound()
        binding.on_incoming = self._handle_incoming
        binding.endpoint.backlog = UNLIMITED_BACKLOG if backlog else 0

    def _handle_incoming(self, assoc_id: int, peer: PeerAddress) -> SocketAssociation:
        """Take an association that a peer has set up; refuse it while too much is unread."""
        binding = self._bound()
        binding.endpoint.accept(assoc_id)
        if self._queue.size < MAX_UNREAD:
            return SocketAssociation(assoc_id, binding.driver, self._queue, self._settings, peer)
        # Unread messages of an association close its receiver window, but those of an ended one close none.
        refused = SocketAssociation(assoc_id, binding.driver, None, self._settings, peer)
        refused.abort("too much is waiting to be read")
        return refused

    async def connect(self, address: Address) -> int:
        """Set up an association with a peer in advance, and return its id.

        Args:
            address: the peer's (host, SCTP port).

        Raises:
            OSError: the peer refuses (`ConnectionRefusedError`) or does not answer (`TimeoutError`), or there is an
                association with it.
        """
        return await self.connectx([address])

    async def connectx(self, addresses: Sequence[Address]) -> int:
        """Set up an association with a peer with several addresses (RFC 6458, section 9.9), and return its id.

        Args:
            addresses: the addresses of the peer, with the same port.

        Raises:
            OSError: as `connect`; or the ports differ.
        """
        self._check_open()
        association = await self._connect(addresses, self._settings)
        try:
            await association.wait_until_established()
        except BaseException:
            association.drop()
            raise
        return association.id

    def associations(self) -> list[int]:
        """Return the ids of the current associations (SCTP_GET_ASSOC_ID_LIST), the oldest first."""
        return [association.id for association in self._associations()]

    def getpeername(self, assoc_id: int) -> PeerAddress:
        """Return the (host, SCTP port) of the peer of an association.

        Raises:
            OSError: there is no such association.
        """
        check_arguments(assoc_id=assoc_id)
        return self._by_id(assoc_id).address

    def abort(self, assoc_id: int, reason: str = "") -> None:
        """End an association at once, and send the peer the reason.

        Args:
            assoc_id: the association; SCTP_ALL_ASSOC ends all of them.
            reason: one sentence for the peer.

        Raises:
            OSError: there is no such association.
        """
        check_arguments(assoc_id=assoc_id, reason=reason)
        for association in self._associations() if assoc_id == SCTP_ALL_ASSOC else [self._by_id(assoc_id)]:
            association.abort(reason)

    async def peeloff(self, assoc_id: int) -> sctpsocket_tcp:
        """Move an association to a new one-to-one socket, with its unread messages (RFC 6458, section 9.2).

        Raises:
            OSError: there is no such association.
        """
        check_arguments(assoc_id=assoc_id)
        association = self._by_id(assoc_id)
        peeled = sctpsocket_tcp._on_binding(self._bound(), self.family, association.settings)
        peeled._copy_attributes(self)
        peeled._queue.adopt(self._queue.remove(association))
        peeled._adopt(association)
        return peeled

    # -- sending -------------------------------------------------------------------------------------------------------

    async def _send(self, data: bytes, request: SendRequest) -> None:
        chosen = request.settings.sndinfo if request.info is None else request.info
        if chosen.flags & SendFlag.SCTP_SENDALL or chosen.assoc_id == SCTP_ALL_ASSOC:
            request.info = replace(chosen, flags=chosen.flags & ~SendFlag.SCTP_SENDALL)
            await self._send_to_all(data, request)
        elif chosen.assoc_id:
            await self._send_on(self._by_id(chosen.assoc_id), data, request)
        elif request.to is not None:
            await self._send_to(request.to, data, chosen, request)
        else:
            raise OSError(errno.EDESTADDRREQ, "a message needs an address or the id of an association")

    async def _send_to(self, to: Address, data: bytes, info: SndInfo, request: SendRequest) -> None:
        """Send to the association with a peer; set it up if there is none (RFC 6458, section 7.5)."""
        hosts = await self._resolve(to)
        binding = self._bound()
        for host in hosts:
            assoc_id = binding.endpoint.id_of(host, to[1])
            association = None if assoc_id is None else binding.associations.get(assoc_id)
            if association is not None and association.queue is self._queue:
                await self._send_on(association, data, request)
                return
        if info.flags & (SendFlag.SCTP_EOF | SendFlag.SCTP_ABORT):
            raise OSError(errno.ENOTCONN, f"there is no association with {to[0]} port {to[1]}")
        association = await self._connect([to], request.settings, request.more_hosts)
        try:
            await self._send_on(association, data, request)
        except OSError:  # the message is refused, so the association is not needed
            association.drop()
            raise

    async def _send_to_all(self, data: bytes, request: SendRequest) -> None:
        """Send to all established associations; with MSG_DONTWAIT skip those whose send buffer is full."""
        for association in self._associations():
            if not association.established:
                continue
            try:
                await self._send_on(association, data, request)
            except BlockingIOError:
                continue
            except OSError:
                if not association.ended and not association.closing:
                    raise

    # -- state ---------------------------------------------------------------------------------------------------------

    def _associations(self) -> list[SocketAssociation]:
        if self._binding is None:
            return []
        return [entry for entry in self._binding.associations.values() if entry.queue is self._queue]

    def _by_id(self, assoc_id: int) -> SocketAssociation:
        """Return the association with an id.

        Raises:
            OSError: there is none.
        """
        self._check_open()
        binding = self._binding
        association = None if binding is None else binding.associations.get(assoc_id)
        if association is None or association.queue is not self._queue:
            raise OSError(errno.EINVAL, f"there is no association {assoc_id}")
        return association

    def _chosen(self, assoc_id: int) -> SocketAssociation | None:
        return None if assoc_id == AssocId.SCTP_FUTURE_ASSOC else self._by_id(assoc_id)

    def _at(self, address: Address) -> SocketAssociation | None:
        binding = self._bound()
        assoc_id = binding.endpoint.id_of(numeric_host(address), address[1])
        return None if assoc_id is None else binding.associations.get(assoc_id)

    @property
    def _takes_incoming(self) -> bool:
        return True

    def _set_autoclose(self, seconds: float) -> None:
        self._bound().endpoint.set_autoclose(seconds)

    def _stop_listening(self) -> None:
        if self._binding is not None and self._binding.on_incoming == self._handle_incoming:
            self._binding.endpoint.backlog = 0
            self._binding.on_incoming = None
