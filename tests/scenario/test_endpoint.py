"""An endpoint and its associations: where packets go, which peers are accepted, how unknown peers are answered."""

from __future__ import annotations

import pytest

from datachan.sctp.errors import InvalidState
from datachan.sctp.events import (
    AssociationClosed,
    AssociationEstablished,
    AssociationLost,
    AssociationRestarted,
    MessageReceived,
)
from datachan.sctp.options import EndpointOptions
from datachan.sctp.wire import causes
from datachan.sctp.wire.chunks import AbortChunk, HeartbeatChunk, InitAckChunk, ShutdownAckChunk, ShutdownCompleteChunk

from .endpoint_net import SERVER, SERVER_PORT, Net, client_at
from .sctp_pair import chunks, packet, read

CLIENT = client_at(0)


def send(net: Net, endpoint, assoc_id: int, data: bytes) -> None:
    endpoint.association(assoc_id).send(0, data, ppid=1, now=net.now)


def connected(**options: object) -> tuple[Net, object, object, int]:
    """Return a network, a server, a client and the client's association."""
    net = Net()
    server, client = net.server(**options), net.client()
    assoc_id = net.connect(client)
    net.settle()
    return net, server, client, assoc_id


def test_a_peer_sets_up_an_association_and_messages_go_both_ways() -> None:
    net, server, client, assoc_id = connected()
    (incoming,) = server.ids()
    assert len(net.events_at(SERVER, AssociationEstablished)) == 1
    send(net, client, assoc_id, b"to the server")
    send(net, server, incoming, b"to the client")
    net.settle()
    assert net.messages_at(SERVER) == [b"to the server"]
    assert net.messages_at(CLIENT) == [b"to the client"]


def test_every_peer_has_an_association_of_its_own() -> None:
    net = Net()
    server = net.server()
    clients = [net.client(number) for number in range(20)]
    ids = [net.connect(client) for client in clients]
    net.settle()
    assert len(server) == 20
    for number, (client, assoc_id) in enumerate(zip(clients, ids, strict=True)):
        send(net, client, assoc_id, b"from %d" % number)
    net.settle()
    senders = {event.data: assoc_id for at, assoc_id, event in net.reported if isinstance(event, MessageReceived)}
    assert senders.keys() == {b"from %d" % number for number in range(20)}
    assert len(set(senders.values())) == 20
    for assoc_id in server.ids():
        send(net, server, assoc_id, b"%d" % assoc_id)
    net.settle()
    assert [net.messages_at(client_at(number)) for number in range(20)] == [[b"%d" % i] for i in server.ids()]


def test_one_endpoint_connects_to_many() -> None:
    net = Net()
    servers = [net.client(number) for number in range(5)]
    for server in servers:
        server.backlog = 1
    middle = net.server()
    for number in range(5):
        middle.connect([client_at(number)], net.now, remote_port=5000 + number)
    net.settle()
    assert len(net.events_at(SERVER, AssociationEstablished)) == 5
    assert [len(server) for server in servers] == [1] * 5


def test_an_association_is_found_by_the_address_of_its_peer() -> None:
    _, server, client, assoc_id = connected()
    assert client.id_of(SERVER[0], SERVER_PORT) == assoc_id
    assert server.id_of(CLIENT[0], 5000) == server.ids()[0]
    assert server.id_of(CLIENT[0], 5001) is None


def test_a_second_association_with_the_same_peer_is_refused_locally() -> None:
    net, _, client, _ = connected()
    with pytest.raises(InvalidState, match="already"):
        net.connect(client)


def test_both_sides_connecting_at_once_make_one_association() -> None:
    # A INIT ->
    #        <- INIT Z
    net = Net()
    server, client = net.server(), net.client()
    net.connect(client)
    server.connect([CLIENT], net.now, remote_port=5000)
    net.settle()
    assert len(server) == len(client) == 1
    assert len(net.events_at(SERVER, AssociationEstablished)) == len(net.events_at(CLIENT, AssociationEstablished)) == 1


def test_aborts_an_init_without_a_backlog() -> None:
    net, server, client, _ = connected(backlog=0)
    assert len(server) == len(client) == 0
    (lost,) = net.events_at(CLIENT, AssociationLost)
    assert lost.by_peer


def test_a_full_backlog_refuses_further_peers_until_an_association_is_accepted() -> None:
    net = Net()
    server = net.server(backlog=3)
    clients = [net.client(number) for number in range(5)]
    for client in clients:
        net.connect(client)
        net.settle()
    assert len(server) == 3
    refused = [net.events_at(client_at(number), AssociationLost) for number in range(5)]
    assert [len(events) for events in refused] == [0, 0, 0, 1, 1]
    assert all(event.by_peer and event.cause_code == causes.OUT_OF_RESOURCE for events in refused for event in events)
    for assoc_id in server.ids():
        server.accept(assoc_id)
    for client in clients[3:]:  # the refused peers try again
        net.connect(client)
    net.settle()
    assert len(server) == 5


def test_an_unaccepted_association_that_ends_leaves_the_backlog() -> None:
    net, server, client, assoc_id = connected(backlog=1)
    client.association(assoc_id).abort(net.now, "changed my mind")
    net.settle()
    assert len(server) == 0
    net.connect(client)
    net.settle()
    assert len(server) == 1


def test_limits_the_number_of_associations() -> None:
    limits = EndpointOptions(max_associations=2)
    net = Net()
    server = net.server(limits=limits)
    for number in range(4):
        net.connect(net.client(number))
    net.settle()
    assert len(server) == 2
    with pytest.raises(InvalidState, match="may not be more"):
        server.connect([client_at(9)], net.now, remote_port=5009)


def test_reports_a_graceful_end_and_keeps_nothing() -> None:
    net, server, client, assoc_id = connected()
    client.association(assoc_id).shutdown(net.now)
    net.settle()
    assert len(net.events_at(SERVER, AssociationClosed)) == len(net.events_at(CLIENT, AssociationClosed)) == 1
    assert len(server) == len(client) == 0
    assert server.association(3) is None
    assert server.next_timeout() is None


def test_an_abort_reaches_the_peer_before_the_association_is_forgotten() -> None:
    net, server, client, assoc_id = connected()
    client.association(assoc_id).abort(net.now, "enough")
    net.collect()  # the event comes before the packet
    net.settle()
    (lost,) = net.events_at(SERVER, AssociationLost)
    assert "enough" in lost.reason
    assert len(server) == len(client) == 0


def test_a_peer_that_restarts_keeps_its_association() -> None:
    net, server, _, _ = connected()
    (incoming,) = server.ids()
    reborn = net.client()  # at the same address, with no memory
    assoc_id = net.connect(reborn)
    net.settle()
    assert server.ids() == [incoming]
    assert len(net.events_at(SERVER, AssociationRestarted)) == 1
    send(net, reborn, assoc_id, b"again")
    send(net, server, incoming, b"welcome back")
    net.settle()
    assert net.messages_at(SERVER) == [b"again"]
    assert net.messages_at(CLIENT) == [b"welcome back"]


def test_a_peer_that_restarts_repeatedly_gets_one_window_at_most() -> None:
    net = Net()
    net.server(receive_window=50_000)
    held = 0
    for _ in range(10):
        client = net.client()
        assoc_id = net.connect(client)
        for _ in range(40):
            send(net, client, assoc_id, bytes(1000))
        net.consume = False
        net.settle()
        held = sum(len(event.data) for event in net.events_at(SERVER, MessageReceived))
    assert len(net.events_at(SERVER, AssociationRestarted)) == 9
    assert held <= 50_000 + 10 * 1000


def test_aborts_a_peer_of_an_unknown_association() -> None:
    net, server, _, _ = connected()
    net.client()
    send(net, server, server.ids()[0], b"are you there?")
    net.settle()
    (lost,) = net.events_at(SERVER, AssociationLost)
    assert lost.by_peer
    assert len(server) == 0


@pytest.mark.parametrize("direction", ["to the server", "to the client"])
def test_follows_a_peer_whose_udp_port_changes(direction: str) -> None:
    net, server, client, assoc_id = connected()
    outside = (CLIENT[0], 61000)
    net.source_of = lambda source: outside if source == CLIENT else source
    net.target_of = lambda target: CLIENT if target == outside else target
    send(net, client, assoc_id, b"from another port")
    net.settle()
    send(net, server, server.ids()[0], b"found you")
    net.sent.clear()
    net.settle()
    assert net.messages_at(SERVER) == [b"from another port"]
    assert net.messages_at(CLIENT) == [b"found you"]
    assert len(server) == 1


def test_a_packet_with_a_wrong_tag_does_not_change_the_udp_port() -> None:
    net, server, _, _ = connected()
    stranger = (CLIENT[0], 61000)
    guessed = packet(0x12345678, HeartbeatChunk(b"1"), source_port=5000, destination_port=SERVER_PORT)
    server.receive_datagrams([guessed], net.now, stranger)
    broken = bytearray(net.sent_by(CLIENT)[-1])
    broken[-1] ^= 1  # the right tag, a wrong checksum
    server.receive_datagrams([bytes(broken)], net.now, stranger)
    net.sent.clear()
    send(net, server, server.ids()[0], b"still there")
    net.settle()
    assert net.messages_at(CLIENT) == [b"still there"]
    assert {to for source, to, sent in net.sent if source == SERVER and b"still there" in sent} == {CLIENT}


def test_guessed_tags_at_the_address_of_a_peer_are_discarded_in_silence() -> None:
    net, server, client, assoc_id = connected()
    net.sent.clear()
    for tag in range(1, 2000):
        for chunk in (AbortChunk([]), AbortChunk([], tag_reflected=True), ShutdownCompleteChunk(tag_reflected=True)):
            forged = packet(tag, chunk, source_port=5000, destination_port=SERVER_PORT)
            server.receive_datagrams([forged], net.now, CLIENT)
    net.settle()
    assert net.sent == []
    assert len(server) == 1
    send(net, client, assoc_id, b"unharmed")
    net.settle()
    assert net.messages_at(SERVER) == [b"unharmed"]


def test_the_peers_own_tag_with_the_t_bit_ends_its_association() -> None:
    net, server, _, _ = connected()
    peer_tag = read(net.sent_by(SERVER)[-1]).verification_tag
    gone = packet(peer_tag, AbortChunk([], tag_reflected=True), source_port=5000, destination_port=SERVER_PORT)
    server.receive_datagrams([gone], net.now, CLIENT)
    net.settle()
    assert len(server) == 0


# -- out of the blue ---------------------------------------------------------------------------------------------------


def test_a_shutdown_ack_out_of_the_blue_gets_shutdown_complete() -> None:
    net = Net()
    server = net.server()
    late = packet(77, ShutdownAckChunk(), source_port=5000, destination_port=SERVER_PORT)
    server.receive_datagrams([late], net.now, CLIENT)
    ((target, (answer,)),) = server.packets_to_send(net.now)
    assert target == CLIENT
    assert read(answer).verification_tag == 77
    assert chunks([answer], ShutdownCompleteChunk)[0].tag_reflected


def test_a_shutdown_ack_while_connecting_counts_as_out_of_the_blue() -> None:
    net = Net()
    client = net.client()
    net.connect(client)
    client.packets_to_send(net.now)
    late = packet(77, ShutdownAckChunk(), source_port=SERVER_PORT, destination_port=5000)
    client.receive_datagrams([late], net.now, SERVER)
    ((_, (answer,)),) = client.packets_to_send(net.now)
    assert chunks([answer], ShutdownCompleteChunk)[0].tag_reflected


def test_data_out_of_the_blue_gets_an_abort() -> None:
    net = Net()
    server = net.server()
    lone = packet(77, HeartbeatChunk(b"x"), source_port=5000, destination_port=SERVER_PORT)
    server.receive_datagrams([lone], net.now, CLIENT)
    ((_, (answer,)),) = server.packets_to_send(net.now)
    assert chunks([answer], AbortChunk)[0].tag_reflected


@pytest.mark.parametrize(
    "datagram",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0" * 11, id="too short"),
        pytest.param(packet(77, AbortChunk([]), destination_port=SERVER_PORT), id="abort"),
        pytest.param(packet(77, HeartbeatChunk(b"x"), destination_port=9), id="another port"),
        pytest.param(packet(0, HeartbeatChunk(b"x"), destination_port=SERVER_PORT), id="no tag"),
        pytest.param(packet(77, HeartbeatChunk(b"x"), destination_port=SERVER_PORT)[:-1] + b"!", id="broken"),
    ],
)
def test_sends_no_answer_where_the_rfc_forbids_one(datagram: bytes) -> None:
    net = Net()
    server = net.server()
    server.receive_datagrams([datagram], net.now, CLIENT)
    assert server.packets_to_send(net.now) == []
    assert server.events() == []
    assert server.packets_discarded == 1


def test_sends_no_answer_to_a_multicast_source() -> None:
    net = Net()
    server = net.server()
    lone = packet(77, HeartbeatChunk(b"x"), source_port=5000, destination_port=SERVER_PORT)
    server.receive_datagrams([lone], net.now, ("224.0.0.1", 9899))
    assert server.packets_to_send(net.now) == []


def test_sends_init_ack_to_the_source_of_the_init() -> None:
    net = Net()
    net.server()
    client = net.client()
    net.connect(client)
    net.source_of = lambda source: ("203.0.113.5", 33333) if source == CLIENT else source
    net.step()
    net.step()
    assert [to for _, to, sent in net.sent if chunks([sent], InitAckChunk)] == [("203.0.113.5", 33333)]


# -- autoclose ---------------------------------------------------------------------------------------------------------


def test_an_idle_association_is_closed_and_a_busy_one_is_not() -> None:
    net = Net()
    server = net.server()
    server.autoclose = 10.0
    busy, idle = net.client(0), net.client(1)
    busy_id = net.connect(busy)
    net.connect(idle)
    net.settle()
    for _ in range(5):
        send(net, busy, busy_id, b"still here")
        net.advance(5)
    assert len(server) == len(busy) == 1
    assert len(idle) == 0
    assert len(net.events_at(client_at(1), AssociationClosed)) == 1
    net.advance(11)
    assert len(server) == 0


OVERHEAD = 28
LINK = 2000 - OVERHEAD


def test_packets_grow_to_the_mtu_of_the_first_link() -> None:
    net = Net()
    refused: list[int] = []

    def passes(source: tuple[str, int], to: tuple[str, int], datagram: bytes) -> bool:
        if len(datagram) <= LINK:
            return True
        assert net.endpoints[source].dont_fragment(to, datagram)
        refused.append(len(datagram))
        net.endpoints[source].packet_too_long(to, datagram, net.now, LINK)
        return False

    net.passes = passes
    options = {"path_mtu_discovery": True, "max_packet_size": 9000, "packet_overhead": OVERHEAD}
    both = [net.client(**options), net.server(**options)]
    net.connect(both[0])
    net.settle()
    for _ in range(10):
        for endpoint in both:
            send(net, endpoint, endpoint.ids()[0], bytes(50_000))
        net.advance(1.0)
    for endpoint in both:
        assert endpoint.association(endpoint.ids()[0]).stats().mtu == LINK
    assert len(refused) == len(both)  # one probe each, and never again


def test_ignores_packet_too_long_for_an_unknown_destination() -> None:
    net, server, _, _ = connected()
    stranger = packet(1, ShutdownCompleteChunk())
    assert not server.dont_fragment(client_at(3), stranger)
    server.packet_too_long(client_at(3), stranger, net.now, LINK)
    net.settle()
