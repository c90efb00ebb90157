"""Endpoints with addresses on a virtual clock: packets reach their destination unless a test drops them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from datachan.sctp.addresses import TransportAddress
from datachan.sctp.endpoint import Endpoint
from datachan.sctp.events import Event, MessageReceived
from datachan.sctp.options import AssociationOptions, EndpointOptions

SERVER: TransportAddress = ("192.0.2.1", 9899)
SERVER_PORT = 4444


def client_at(number: int) -> TransportAddress:
    """Return the address of a client; each has its own."""
    return (f"198.51.{100 + number // 200}.{1 + number % 200}", 9899)


class Net:
    """Endpoints by address; `now` changes only when a test advances it.

    Attributes:
        endpoints: the endpoint at each address.
        reported: (endpoint's address, association id, event), in order.
        sent: (source, destination, packet), in order.
        passes: whether a packet is delivered.
        consume: whether messages are consumed, which opens the window again.
        source_of: the source address that the receiver of a packet sees; a NAT changes it.
        target_of: the address that a packet sent to this address reaches.
    """

    def __init__(self, seed: int = 1) -> None:
        self.now = 1000.0
        self.endpoints: dict[TransportAddress, Endpoint] = {}
        self.reported: list[tuple[TransportAddress, int, Event]] = []
        self.sent: list[tuple[TransportAddress, TransportAddress, bytes]] = []
        self.passes: Callable[[TransportAddress, TransportAddress, bytes], bool] = lambda source, to, packet: True
        self.source_of: Callable[[TransportAddress], TransportAddress] = lambda source: source
        self.target_of: Callable[[TransportAddress], TransportAddress] = lambda target: target
        self.consume = True
        self.random = Random(seed)

    def add(
        self, address: TransportAddress, port: int, limits: EndpointOptions | None = None, **options: object
    ) -> Endpoint:
        endpoint = Endpoint(AssociationOptions(local_port=port, **options), self.random.randbytes, limits)
        self.endpoints[address] = endpoint
        return endpoint

    def server(self, backlog: int = 100, limits: EndpointOptions | None = None, **options: object) -> Endpoint:
        endpoint = self.add(SERVER, SERVER_PORT, limits, **options)
        endpoint.backlog = backlog
        return endpoint

    def client(self, number: int = 0, **options: object) -> Endpoint:
        return self.add(client_at(number), 5000 + number, **options)

    def connect(self, client: Endpoint) -> int:
        return client.connect([SERVER], self.now, remote_port=SERVER_PORT)

    def step(self) -> bool:
        """Deliver the packets that all endpoints send now; return whether there were any."""
        moved = False
        for address, endpoint in list(self.endpoints.items()):
            for target, packets in endpoint.packets_to_send(self.now):
                moved = True
                target = self.target_of(target)
                for packet in packets:
                    self.sent.append((address, target, packet))
                delivered = [packet for packet in packets if self.passes(address, target, packet)]
                if target in self.endpoints and delivered:
                    self.endpoints[target].receive_datagrams(delivered, self.now, self.source_of(address))
        self.collect()
        return moved

    def settle(self) -> None:
        """Deliver until no endpoint has anything to send."""
        for _ in range(200):
            if not self.step():
                return
        raise AssertionError("the endpoints do not stop sending")

    def advance(self, seconds: float) -> None:
        """Advance the clock, and handle every timer that expires meanwhile."""
        end = self.now + seconds
        self.settle()
        while True:
            moments = [
                moment for endpoint in self.endpoints.values() if (moment := endpoint.next_timeout()) is not None
            ]
            if not moments or min(moments) > end:
                break
            self.now = max(self.now, min(moments))
            for endpoint in self.endpoints.values():
                endpoint.handle_timeout(self.now)
            self.settle()
        self.now = end

    def collect(self) -> None:
        for address, endpoint in self.endpoints.items():
            for assoc_id, event in endpoint.events():
                self.reported.append((address, assoc_id, event))
                if self.consume and isinstance(event, MessageReceived):
                    association = endpoint.association(assoc_id)
                    if association is not None:
                        association.message_consumed(len(event.data), self.now)

    def events_at(self, address: TransportAddress, kind: type) -> list:
        """Return the events of one class that an endpoint reported."""
        return [event for at, _, event in self.reported if at == address and isinstance(event, kind)]

    def messages_at(self, address: TransportAddress) -> list[bytes]:
        return [event.data for event in self.events_at(address, MessageReceived)]

    def sent_by(self, address: TransportAddress) -> list[bytes]:
        return [packet for source, _, packet in self.sent if source == address]
