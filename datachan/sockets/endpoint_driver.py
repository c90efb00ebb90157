"""An SCTP endpoint run on asyncio over the UDP sockets of its port; it knows nothing of the program's sockets."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final

from datachan.driver import Driver
from datachan.sctp import Association, AssociationOptions, Endpoint, Event
from datachan.sctp.addresses import TransportAddress

from .ports import PacketRun, PortTransport

EndpointEvent = tuple[int, Event]
"""The association, and what happened to it."""


class EndpointMachine:
    """An endpoint in the shape of a machine that `Driver` runs."""

    has_more: Final = True
    bundles: Final = False

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.handle_timeout = endpoint.handle_timeout
        self.next_timeout = endpoint.next_timeout
        self.events: Callable[[], Sequence[EndpointEvent]] = endpoint.events
        self.datagrams_to_send: Callable[[float], Sequence[PacketRun]] = endpoint.packets_to_send

    def receive_datagrams(self, datagrams: Sequence[PacketRun], now: float) -> None:
        """Pass received packets to the endpoint, each run with its source."""
        for source, packets in datagrams:
            self._endpoint.receive_datagrams(packets, now, source)


class EndpointDriver:
    """Runs an endpoint from construction until `close`.

    Args:
        ports: the transport; it belongs to the driver from now on.
        options: the protocol parameters of future associations.
        on_event: called with each event of the endpoint.
        on_failed: called with the id of the association whose code raised an exception, and the exception. The id is
            None if it was the code of the endpoint itself, which then stops.

    Attributes:
        endpoint: the endpoint.
        ports: its transport.
    """

    def __init__(
        self,
        ports: PortTransport,
        options: AssociationOptions,
        on_event: Callable[[EndpointEvent], None],
        on_failed: Callable[[int | None, Exception], None],
    ) -> None:
        self.ports = ports
        self._on_event = on_event
        self._on_failed = on_failed
        self.endpoint = Endpoint(options, os.urandom)
        ports.sources_for = self.endpoint.sources_for
        ports.dont_fragment = self.endpoint.dont_fragment
        ports.on_too_long = self._handle_too_long
        self._driver = self._start()

    def _start(self) -> Driver[PacketRun, EndpointEvent]:
        driver = Driver(EndpointMachine(self.endpoint), self.ports, self._on_event, self._handle_failure)
        self.ports.set_receiver(driver.receive)
        return driver

    @property
    def now(self) -> float:
        """The time to call the engine with, in monotonic seconds."""
        return self._driver.now

    def association(self, assoc_id: int) -> Association | None:
        """Return an association to call; its packets and events are handled in this turn of the loop."""
        found = self.endpoint.association(assoc_id)
        if found is not None:
            self._driver.wake()
        return found

    def association_to_send(self, assoc_id: int) -> Association | None:
        """Return an association to queue a message on; `send_now` must follow."""
        return self.endpoint.association(assoc_id)

    def association_to_read(self, assoc_id: int) -> Association | None:
        """Return an association to read from only; None when it has ended."""
        return self.endpoint.peek(assoc_id)

    def wake(self) -> None:
        """Handle the endpoint's packets and events in this turn of the loop."""
        self._driver.wake()

    def send_now(self) -> None:
        """Send the endpoint's packets at once if this is the first call in this turn of the loop."""
        self._driver.send_now()

    def flush(self) -> None:
        """Send the endpoint's packets and handle its events before returning."""
        self._driver.flush()

    def close(self) -> None:
        """Send the last packets, and close the transport."""
        self._driver.flush()
        self._driver.close()
        self.ports.close()

    def _handle_failure(self, error: Exception) -> None:
        """Remove the association whose code raised an exception; the others continue."""
        failed = self.endpoint.remove_failed()
        self._on_failed(failed, error)
        if failed is not None:
            self._driver = self._start()

    def _handle_too_long(self, target: TransportAddress, packet: bytes) -> None:
        self.endpoint.packet_too_long(target, packet, self.now, self.ports.longest_packet(target))
        self._driver.wake()
