"""An endpoint at work on asyncio: one SCTP port on UDP, its associations, and the sockets that share it.

A listening socket, the sockets it accepted and those peeled off from it live on one binding; the last to go closes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from datachan.driver import Driver
from datachan.sctp.addresses import TransportAddress
from datachan.sctp.association import Association
from datachan.sctp.endpoint import Endpoint
from datachan.sctp.errors import InvalidState
from datachan.sctp.events import AddressChange, AssociationEstablished, AssociationLost, Event, LocalAddressChanged
from datachan.sctp.options import AssociationOptions
from datachan.sctp.wire.causes import USER_INITIATED_ABORT

from .ancillary import Address
from .association import SocketAssociation
from .inbox import Inbox
from .ports import Ports, Run
from .settings import Settings

Told = tuple[int, Event]


class EndpointMachine:
    """An endpoint in the one shape the driver runs."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.handle_timeout = endpoint.handle_timeout
        self.next_timeout = endpoint.next_timeout
        self.events: Callable[[], Sequence[Told]] = endpoint.events
        self.datagrams_to_send: Callable[[float], Sequence[Run]] = endpoint.packets_to_send

    def receive_datagrams(self, datagrams: Sequence[Run], now: float) -> None:
        """Take in what came, each run with its source."""
        for source, packets in datagrams:
            self._endpoint.receive_datagrams(packets, now, source)


class Binding:
    """One SCTP port of this host in use.

    Args:
        ports: the port and its addresses; they belong to the binding from now on.
        options: the parameters of associations to come.

    Attributes:
        endpoint: the machine.
        ports: its transport.
        associations: those there are, by id.
        incoming: makes something of an association a peer has set up.
    """

    def __init__(self, ports: Ports, options: AssociationOptions) -> None:
        self.ports = ports
        self.endpoint = Endpoint(options, os.urandom)
        self.associations: dict[int, SocketAssociation] = {}
        self.incoming: Callable[[int, Address], SocketAssociation] | None = None
        self._users = 1
        self._leaving: dict[str, set[int]] = {}  # addresses given up, and the associations whose peers still have them
        ports.sources_for = self.endpoint.sources_for
        ports.dont_fragment = self.endpoint.dont_fragment
        ports.on_too_long = self._too_long
        self._failure = ""
        self._driver = self._drive()

    def _drive(self) -> Driver[Run, Told]:
        return Driver(EndpointMachine(self.endpoint), self.ports, self._told, self._failed)

    @property
    def now(self) -> float:
        """The time to call the machine with."""
        return self._driver.now

    def call(self, assoc_id: int) -> Association | None:
        """The engine's association, to call it; None when it is over."""
        found = self.endpoint.association(assoc_id)
        if found is not None:
            self._driver.wake()
        return found

    def call_to_send(self, assoc_id: int) -> Association | None:
        """The same, to give it a message; `send_now` has to follow."""
        return self.endpoint.association(assoc_id)

    def send_now(self) -> None:
        """Have leave at once what was given to send, if nothing else was in this turn of the loop."""
        self._driver.send_now()

    def connect(
        self, addresses: Sequence[TransportAddress], port: int, inbox: Inbox, settings: Settings
    ) -> SocketAssociation:
        """Begin to set up an association.

        Raises:
            InvalidState: there is one with this peer already, or the endpoint has failed.
        """
        if self._failure:
            raise InvalidState(self._failure)
        assoc_id = self.endpoint.connect(addresses, self.now, remote_port=port, options=settings.options)
        association = SocketAssociation(assoc_id, self, inbox, settings, (addresses[0][0], port))
        self.associations[assoc_id] = association
        self._driver.wake()
        return association

    def association_ended(self, association: SocketAssociation) -> None:
        """It is over; nobody finds it by its id any more."""
        self.associations.pop(association.id, None)
        for host in list(self._leaving):
            self._left(host, association.id)

    # -- addresses of ours that come and go (RFC 5061) --------------------------------------------------------

    def add_addresses(self, hosts: Sequence[str]) -> None:
        """Use more addresses; peers that can do with them are told.

        Raises:
            OSError: as `Ports.bind_too`.
        """
        self.ports.bind_too(hosts)
        for assoc_id in self._changeable():
            live = self.call(assoc_id)
            for host in hosts:
                if live is not None:
                    live.add_address(host)

    def remove_addresses(self, hosts: Sequence[str]) -> None:
        """Use addresses no more: at once, or when the peers that know them have agreed."""
        for host in hosts:
            waiting = set()
            for assoc_id in self._changeable():
                live = self.call(assoc_id)
                if live is not None and host in live.source_addresses():
                    live.delete_address(host)
                    waiting.add(assoc_id)
            if waiting:
                self._leaving[host] = waiting
            else:
                self.ports.remove(host)
        self.ports.choose_anew()

    def _changeable(self) -> list[int]:
        """The associations whose peers can take part."""
        found = []
        for assoc_id in self.associations:
            live = self.endpoint.look(assoc_id)
            extensions = None if live is None else live.extensions
            if extensions is not None and extensions.dynamic_addresses:
                found.append(assoc_id)
        return found

    def _left(self, host: str, assoc_id: int) -> None:
        """A peer sends to an address of ours no more."""
        waiting = self._leaving.get(host)
        if waiting is None:
            return
        waiting.discard(assoc_id)
        if not waiting:
            del self._leaving[host]
            self.ports.remove(host)

    def share(self) -> Binding:
        """One more socket uses it."""
        self._users += 1
        return self

    def release(self) -> None:
        """A socket uses it no more. The last one's associations are aborted, if there still are any."""
        self._users -= 1
        if self._users:
            return
        for association in list(self.associations.values()):
            association.inbox = None
            association.abort("the socket was closed")
        self._driver.flush()
        self._driver.close()
        self.ports.close()

    def flush(self) -> None:
        """Send what there is at once."""
        self._driver.flush()

    def _too_long(self, target: TransportAddress, packet: bytes) -> None:
        self.endpoint.packet_too_long(target, packet, self.now, self.ports.longest_packet(target))
        self._driver.wake()

    def _failed(self, error: Exception) -> None:
        """End the association whose code raised an exception and go on with the others; end all if none did."""
        lost = AssociationLost(f"internal error: {error!r}", by_peer=False, cause_code=USER_INITIATED_ABORT)
        failed = self.endpoint.remove_failed()
        if failed is None:
            self._failure = lost.reason
            for association in list(self.associations.values()):
                association.handle(lost)
            return
        if failed in self.associations:
            self.associations[failed].handle(lost)
        self._driver = self._drive()

    def _told(self, told: Told) -> None:
        assoc_id, event = told
        association = self.associations.get(assoc_id)
        if association is None:
            found = self.endpoint.look(assoc_id)
            if self.incoming is None or found is None or not isinstance(event, AssociationEstablished):
                return
            addresses = found.peer_addresses()
            host = addresses[0][0] if addresses else ""
            association = self.incoming(assoc_id, (host, found.options.remote_port))
            self.associations[assoc_id] = association
        if isinstance(event, LocalAddressChanged):
            self.ports.choose_anew()
            if event.change is AddressChange.REMOVED:
                self._left(event.address, assoc_id)
            return
        association.handle(event)
