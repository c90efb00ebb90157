"""Many associations of one endpoint over a network that loses, duplicates and reorders packets, with NATs."""

from __future__ import annotations

from collections import Counter

import pytest

from datachan.sctp.addresses import TransportAddress
from datachan.sctp.events import AssociationClosed, AssociationLost, MessageReceived
from tests.scenario.endpoint_net import SERVER, Net, client_at
from tests.sim.seeds import seeds

CLIENTS = 12
MESSAGES = 25


class RoughNet(Net):
    """A network that loses packets at random; half of the clients are behind NATs that change ports."""

    def __init__(self, seed: int, loss: float) -> None:
        super().__init__(seed)
        self.loss = loss
        self.ports = Counter[TransportAddress]()
        self.passes = lambda source, to, packet: self.random.random() >= self.loss
        self.source_of = self.outside
        self.target_of = self.inside

    def outside(self, source: TransportAddress) -> TransportAddress:
        return source if source == SERVER else (source[0], source[1] + self.ports[source])

    def inside(self, target: TransportAddress) -> TransportAddress:
        if target == SERVER:
            return target
        home = (target[0], 9899)
        # A packet to a port that the NAT has released is dropped.
        return home if target[1] == 9899 + self.ports[home] else target

    def move(self) -> None:
        for number in range(0, CLIENTS, 2):
            if self.random.random() < 0.3:
                self.ports[client_at(number)] += 1


@seeds(3)
@pytest.mark.parametrize("loss", [0.0, 0.1], ids=["no loss", "10 % loss"])
def test_every_message_arrives_once_and_in_order(seed: int, loss: float) -> None:
    net = RoughNet(seed, loss)
    server = net.server(rto_initial=0.5, rto_min=0.2, heartbeat_interval=5.0)
    clients = [net.client(n, rto_initial=0.5, rto_min=0.2, heartbeat_interval=2.0) for n in range(CLIENTS)]
    ids = [net.connect(client) for client in clients]
    for number in range(MESSAGES):
        for client, (index, assoc_id) in zip(clients, enumerate(ids), strict=True):
            association = client.association(assoc_id)
            if association is not None:
                association.send(0, b"%d:%d" % (index, number), ppid=1, now=net.now)
        net.advance(net.random.random())
        net.move()
    net.advance(120)
    assert not net.events_at(SERVER, AssociationLost)
    received: dict[bytes, list[int]] = {}
    for event in net.events_at(SERVER, MessageReceived):
        client_number, number = event.data.split(b":")
        received.setdefault(client_number, []).append(int(number))
    assert received == {b"%d" % index: list(range(MESSAGES)) for index in range(CLIENTS)}
    for client, assoc_id in zip(clients, ids, strict=True):
        client.association(assoc_id).shutdown(net.now)
    net.advance(120)
    assert len(server) == 0
    assert len(net.events_at(SERVER, AssociationClosed)) + len(net.events_at(SERVER, AssociationLost)) == CLIENTS
