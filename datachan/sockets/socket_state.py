"""The state of a socket: its settings, its binding and its receive queue, and which associations an option is about.

Option handlers act on it; the calls of a socket are in `sctp_socket`.
"""

from __future__ import annotations

import errno
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from datachan.sctp import AssociationOptions
from datachan.sctp.addresses import WILDCARDS

from .ancillary import Address
from .binding import Binding
from .constants import AssocId
from .ports import PortTransport
from .receive_queue import ReceiveQueue
from .settings import Settings
from .socket_association import SocketAssociation


class SocketState(ABC):
    """The state of a socket, of either kind."""

    _single: ClassVar[bool]
    """Whether the socket has one association."""

    family: int

    def __init__(
        self, family: int, settings: Settings, udp_port: int | None, trace: str | os.PathLike[str] | None
    ) -> None:
        self.family = family
        self._settings = settings
        self._udp_port = udp_port
        self._trace = trace
        self._linger: float | None = 30.0
        self._recvrcvinfo = True
        self._recvnxtinfo = False
        self._binding: Binding | None = None
        self._queue: ReceiveQueue[SocketAssociation] = ReceiveQueue(self._unsubscribe_all, single=self._single)
        self._closed = False

    # -- which associations --------------------------------------------------------------------------------------------

    @abstractmethod
    def _associations(self) -> list[SocketAssociation]:
        """Return the current associations of the socket, the oldest first."""

    @abstractmethod
    def _chosen(self, assoc_id: int) -> SocketAssociation | None:
        """Return the association with an id; None for future ones.

        Raises:
            OSError: there is no such association.
        """

    @abstractmethod
    def _at(self, address: Address) -> SocketAssociation | None:
        """Return the association with the peer at an address, or None."""

    @property
    @abstractmethod
    def _takes_incoming(self) -> bool:
        """Whether associations that peers set up belong to this socket."""

    def _targets(self, assoc_id: int) -> tuple[bool, list[SocketAssociation]]:
        """Return whether an association id includes future associations, and which current ones it includes."""
        if self._single or assoc_id == AssocId.SCTP_ALL_ASSOC:
            return True, self._associations()
        if assoc_id == AssocId.SCTP_FUTURE_ASSOC:
            return True, []
        if assoc_id == AssocId.SCTP_CURRENT_ASSOC:
            return False, self._associations()
        chosen = self._chosen(assoc_id)
        return False, [] if chosen is None else [chosen]

    # -- settings ------------------------------------------------------------------------------------------------------

    def _change_options(self, assoc_id: int, changes: dict[str, Any]) -> None:
        """Change protocol parameters of the associations that an id selects.

        Raises:
            ValueError: a parameter is out of range; nothing has changed.
        """
        future, present = self._targets(assoc_id)
        options = replace(self._settings.options, **changes)
        for association in present:
            replace(association.settings.options, **changes)
        if future:
            self._change_future_options(options)
        for association in present:
            association.change_options(changes)

    def _change_future_options(self, options: AssociationOptions) -> None:
        """Set the protocol parameters of future associations."""
        self._settings = replace(self._settings, options=options)
        if self._binding is not None and self._takes_incoming:
            present = self._binding.endpoint.options
            self._binding.endpoint.options = replace(
                options, local_port=present.local_port, local_addresses=present.local_addresses
            )

    def _change_settings(self, assoc_id: int, changes: dict[str, Any]) -> None:
        """Change settings that the engine does not know."""
        future, present = self._targets(assoc_id)
        if future:
            self._settings = replace(self._settings, **changes)
        for association in present:
            association.settings = replace(association.settings, **changes)

    def _change_subscriptions(
        self, assoc_id: int, changed: Callable[[frozenset[type]], frozenset[type]]
    ) -> list[SocketAssociation]:
        """Change subscriptions by a function, and return the current associations that they apply to."""
        future, present = self._targets(assoc_id)
        if future:
            self._settings = replace(self._settings, subscribed=changed(self._settings.subscribed))
        for association in present:
            association.settings = replace(association.settings, subscribed=changed(association.settings.subscribed))
        return present

    def _unsubscribe_all(self) -> None:
        """Unsubscribe all notifications, because the program does not read them."""
        self._settings = replace(self._settings, subscribed=frozenset())
        for association in self._associations():
            association.settings = replace(association.settings, subscribed=frozenset())

    # -- binding -------------------------------------------------------------------------------------------------------

    def _bound(self) -> Binding:
        """Return the binding; bind to the wildcard address and a free port if there is none."""
        if self._binding is None:
            wildcard = "::" if self.family == socket.AF_INET6 else "0.0.0.0"
            return self._bind([wildcard], 0, self._udp_port)
        return self._binding

    def _bind(self, hosts: Sequence[str], port: int, udp_port: int | None) -> Binding:
        ports = PortTransport.bind(hosts, port, udp_port, self._trace)
        self._binding = Binding(ports, self._settings.options)
        self._announce_addresses(self._binding)
        return self._binding

    def _announce_addresses(self, binding: Binding, without: Sequence[str] = ()) -> None:
        """List our addresses in INIT and INIT ACK if there are several, or may be.

        Args:
            binding: the binding.
            without: addresses that are being removed.
        """
        hosts = [host for host in binding.ports.hosts if host not in without]
        several = len(hosts) > 1 or (self._settings.options.dynamic_addresses and hosts[0] not in WILDCARDS)
        listed = tuple(hosts) if several else ()
        options = replace(self._settings.options, local_port=binding.ports.port, local_addresses=listed)
        self._settings = replace(self._settings, options=options)
        binding.endpoint.options = options

    def _get_autoclose(self) -> float:
        return 0.0 if self._binding is None else self._binding.endpoint.autoclose

    @abstractmethod
    def _set_autoclose(self, seconds: float) -> None:
        """Shut down associations that have been idle for this time.

        Raises:
            OSError: the socket is a one-to-one socket.
        """

    def _check_open(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "the socket is closed")
