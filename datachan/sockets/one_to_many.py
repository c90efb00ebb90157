"""One-to-many sockets: any number of associations, told apart by their ids (RFC 6458, section 3)."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from datachan.sctp.addresses import normalize

from .ancillary import Address, SndInfo
from .association import SocketAssociation
from .base import How, SctpSocket
from .constants import SCTP_ALL_ASSOC, AssocId, SendFlag
from .one_to_one import sctpsocket_tcp

EVERYBODY: Final = 1 << 30

MAX_UNREAD: Final = 64 << 20
"""Bytes of unread messages, of all associations together, from which on no new one is let in."""


class sctpsocket_udp(SctpSocket):  # noqa: N801 - PySCTP's name
    """A one-to-many socket; for the arguments see `SctpSocket`."""

    _single = False

    def listen(self, backlog: int = 1) -> None:
        """Let peers set up associations: as many as they want, or with 0 none any more."""
        self._check_open()
        binding = self._bound()
        binding.incoming = self._incoming
        binding.endpoint.backlog = EVERYBODY if backlog else 0

    def _incoming(self, assoc_id: int, address: Address) -> SocketAssociation:
        binding = self._bound()
        binding.endpoint.accept(assoc_id)
        if self._inbox.size < MAX_UNREAD:
            return SocketAssociation(assoc_id, binding, self._inbox, self._settings, address)
        # Each association has a window for what is not read; what those that ended have left is in nobody's.
        refused = SocketAssociation(assoc_id, binding, None, self._settings, address)
        refused.abort("too much is waiting to be read")
        return refused

    async def connect(self, address: Address) -> int:
        """Set up an association with a peer in advance.

        Args:
            address: its (host, SCTP port).

        Returns:
            The id of the association.

        Raises:
            OSError: it refuses (`ConnectionRefusedError`), does not answer (`TimeoutError`), or there is one already.
        """
        return await self.connectx([address])

    async def connectx(self, addresses: Sequence[Address]) -> int:
        """The same with a peer that has several addresses (RFC 6458, section 9.9)."""
        self._check_open()
        association = await self._connect(addresses, self._settings)
        try:
            await association.until_established()
        except BaseException:
            association.abort("")
            raise
        return association.id

    def associations(self) -> list[int]:
        """The ids of the associations there are (SCTP_GET_ASSOC_ID_LIST), the oldest first."""
        return [association.id for association in self._associations()]

    def getpeername(self, assoc_id: int) -> Address:
        """The (host, SCTP port) of an association's peer.

        Raises:
            OSError: there is no such association.
        """
        return self._by_id(assoc_id).address

    def abort(self, assoc_id: int, reason: str = "") -> None:
        """End an association at once; the peer is told the reason.

        Raises:
            OSError: there is no such association.
        """
        for association in self._named(assoc_id):
            association.abort(reason)

    async def peeloff(self, assoc_id: int) -> sctpsocket_tcp:
        """Branch an association off into a one-to-one socket (RFC 6458, section 9.2); the others go on.

        What was received and is not read goes with it.

        Raises:
            OSError: there is no such association.
        """
        association = self._by_id(assoc_id)
        peeled = sctpsocket_tcp._of(association.binding, self.family, association.settings)
        peeled._take_over(self)
        peeled._inbox.adopt(self._inbox.remove(association))
        peeled._adopt(association)
        return peeled

    async def _send(self, data: bytes, how: How) -> None:
        chosen = how.settings.sndinfo if how.info is None else how.info
        if chosen.flags & SendFlag.SCTP_SENDALL or chosen.assoc_id == SCTP_ALL_ASSOC:
            how.info = replace(chosen, flags=chosen.flags & ~SendFlag.SCTP_SENDALL)
            await self._send_to_all(data, how)
            return
        if chosen.assoc_id:
            association = self._by_id(chosen.assoc_id)
        elif how.to is not None:
            association = await self._with(how.to, chosen, how)
        else:
            raise OSError(errno.EDESTADDRREQ, "a message needs an address or the id of an association")
        await self._send_on(association, data, how)

    async def _with(self, to: Address, info: SndInfo, how: How) -> SocketAssociation:
        """The association with this peer; without one it is set up (RFC 6458, section 7.5)."""
        hosts = await self._resolve(to)
        binding = self._bound()
        for host in hosts:
            assoc_id = binding.endpoint.id_of(host, to[1])
            association = None if assoc_id is None else binding.associations.get(assoc_id)
            if association is not None and association.inbox is self._inbox:
                return association
        if info.flags & (SendFlag.SCTP_EOF | SendFlag.SCTP_ABORT):
            raise OSError(errno.ENOTCONN, f"there is no association with {to[0]} port {to[1]}")
        return await self._connect([to], how.settings, how.further)

    async def _send_to_all(self, data: bytes, how: How) -> None:
        """Send to all that are established; with MSG_DONTWAIT those whose send buffer is full are left out."""
        for association in self._associations():
            if not association.established:
                continue
            try:
                await self._send_on(association, data, how)
            except BlockingIOError:
                continue
            except OSError:
                if not association.ended and not association.closing:
                    raise

    def _by_id(self, assoc_id: int) -> SocketAssociation:
        self._check_open()
        binding = self._binding
        association = None if binding is None else binding.associations.get(assoc_id)
        if association is None or association.inbox is not self._inbox:
            raise OSError(errno.EINVAL, f"there is no association {assoc_id}")
        return association

    def _named(self, assoc_id: int) -> list[SocketAssociation]:
        return self._associations() if assoc_id == SCTP_ALL_ASSOC else [self._by_id(assoc_id)]

    def _chosen(self, assoc_id: int) -> SocketAssociation | None:
        return None if assoc_id == AssocId.SCTP_FUTURE_ASSOC else self._by_id(assoc_id)

    def _at(self, address: Address) -> SocketAssociation | None:
        binding = self._bound()
        assoc_id = binding.endpoint.id_of(normalize(address[0]), address[1])
        return None if assoc_id is None else binding.associations.get(assoc_id)

    @property
    def _listens(self) -> bool:
        return True

    def _set_autoclose(self, seconds: float) -> None:
        self._bound().endpoint.set_autoclose(seconds)

    def _associations(self) -> list[SocketAssociation]:
        if self._binding is None:
            return []
        return [entry for entry in self._binding.associations.values() if entry.inbox is self._inbox]

    def _stop_listening(self) -> None:
        if self._binding is not None and self._binding.incoming == self._incoming:
            self._binding.endpoint.backlog = 0
            self._binding.incoming = None
