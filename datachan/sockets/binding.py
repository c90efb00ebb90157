"""One SCTP port in use: its associations, and the sockets that share it.

A listening socket, the sockets it accepted and those peeled off from it share one binding; the last one closes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from datachan.sctp import (
    AddressChange,
    AssociationEstablished,
    AssociationLost,
    AssociationOptions,
    Event,
    InvalidState,
    LocalAddressChanged,
)
from datachan.sctp.addresses import TransportAddress
from datachan.sctp.wire.causes import USER_INITIATED_ABORT

from .ancillary import PeerAddress
from .endpoint_driver import EndpointDriver, EndpointEvent
from .ports import PortTransport
from .receive_queue import ReceiveQueue
from .settings import Settings
from .socket_association import SocketAssociation


class Binding:
    """One SCTP port of this host in use.

    Args:
        ports: the port and its addresses; they belong to the binding from now on.
        options: the protocol parameters of future associations.

    Attributes:
        ports: the transport of the endpoint.
        driver: the driver of the endpoint.
        endpoint: the engine's endpoint.
        associations: the current associations by id.
        on_incoming: called with the id and the peer of each association that a peer has set up; None refuses them.
    """

    def __init__(self, ports: PortTransport, options: AssociationOptions) -> None:
        self.ports = ports
        self._failure = ""
        self.driver = EndpointDriver(ports, options, self._handle_event, self._handle_failure)
        self.endpoint = self.driver.endpoint
        self.associations: dict[int, SocketAssociation] = {}
        self.on_incoming: Callable[[int, PeerAddress], SocketAssociation] | None = None
        self._users = 1
        # Our addresses that are being removed, and the associations whose peers have not agreed yet.
        self._leaving: dict[str, set[int]] = {}

    def connect(
        self,
        addresses: Sequence[TransportAddress],
        port: int,
        queue: ReceiveQueue[SocketAssociation],
        settings: Settings,
    ) -> SocketAssociation:
        """Start the handshake of an association and return it.

        Args:
            addresses: the addresses the peer may have, at least one.
            port: its SCTP port.
            queue: the receive queue of the association.
            settings: its settings.

        Raises:
            InvalidState: an association with this peer exists, there are too many associations, or the endpoint
                has failed.
        """
        if self._failure:
            raise InvalidState(self._failure)
        driver = self.driver
        assoc_id = self.endpoint.connect(addresses, driver.now, remote_port=port, options=settings.options)
        association = SocketAssociation(assoc_id, driver, queue, settings, (addresses[0][0], port))
        self.associations[assoc_id] = association
        association.probe(addresses)
        driver.wake()
        return association

    # -- changes of our own addresses (RFC 5061) -----------------------------------------------------------------------

    def add_addresses(self, hosts: Sequence[str]) -> None:
        """Use more addresses, and announce them to the peers that support it.

        Raises:
            OSError: as `PortTransport.bind_more`.
        """
        self.ports.bind_more(hosts)
        for assoc_id in self._with_dynamic_addresses():
            live = self.driver.association(assoc_id)
            for host in hosts:
                if live is not None:
                    live.add_address(host)

    def remove_addresses(self, hosts: Sequence[str]) -> None:
        """Stop using addresses: at once, or when the peers that know them have agreed."""
        for host in hosts:
            waiting = set()
            for assoc_id in self._with_dynamic_addresses():
                live = self.driver.association(assoc_id)
                if live is not None and host in live.source_addresses():
                    live.delete_address(host)
                    waiting.add(assoc_id)
            if waiting:
                self._leaving[host] = waiting
            else:
                self.ports.remove(host)
        self.ports.forget_choices()

    def _with_dynamic_addresses(self) -> list[int]:
        """Return the associations whose peers support changes of addresses."""
        found = []
        for assoc_id, association in self.associations.items():
            extensions = association.extensions
            if extensions is not None and extensions.dynamic_addresses:
                found.append(assoc_id)
        return found

    def _agree_to_removal(self, host: str, assoc_id: int) -> None:
        """Record that a peer no longer uses one of our addresses; unbind the address after the last peer."""
        waiting = self._leaving.get(host)
        if waiting is None:
            return
        waiting.discard(assoc_id)
        if not waiting:
            del self._leaving[host]
            self.ports.remove(host)

    # -- sharing -------------------------------------------------------------------------------------------------------

    def share(self) -> Binding:
        """Count one more socket that uses the binding, and return the binding."""
        self._users += 1
        return self

    def release(self) -> None:
        """Count one socket less; after the last one abort the remaining associations and close the port."""
        self._users -= 1
        if self._users:
            return
        for association in list(self.associations.values()):
            association.queue = None
            association.abort("the socket was closed")
        self.driver.close()

    # -- events --------------------------------------------------------------------------------------------------------

    def _handle_event(self, event: EndpointEvent) -> None:
        assoc_id, happened = event
        association = self.associations.get(assoc_id)
        if association is None:
            found = self.driver.association_to_read(assoc_id)
            if self.on_incoming is None or found is None or not isinstance(happened, AssociationEstablished):
                return
            addresses = found.peer_addresses()
            host = addresses[0][0] if addresses else ""
            association = self.on_incoming(assoc_id, (host, found.options.remote_port))
            self.associations[assoc_id] = association
        if isinstance(happened, LocalAddressChanged):
            self.ports.forget_choices()
            if happened.change is AddressChange.REMOVED:
                self._agree_to_removal(happened.address, assoc_id)
            return
        self._handle(association, happened)

    def _handle_failure(self, failed: int | None, error: Exception) -> None:
        """End the association whose code raised an exception; end all of them if none did."""
        lost = AssociationLost(f"internal error: {error!r}", by_peer=False, cause_code=USER_INITIATED_ABORT)
        if failed is None:
            self._failure = lost.reason
        for assoc_id, association in list(self.associations.items()):
            if failed in (None, assoc_id):
                self._handle(association, lost)

    def _handle(self, association: SocketAssociation, event: Event) -> None:
        association.handle(event)
        if association.ended:
            self.associations.pop(association.id, None)
            for host in list(self._leaving):
                self._agree_to_removal(host, association.id)
