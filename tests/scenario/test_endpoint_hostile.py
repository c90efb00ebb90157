"""An endpoint under attack: floods of INITs, forged, replayed and stale cookies; and an endpoint with many peers."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from random import Random

import pytest

from datachan.sctp.checksum import crc32c
from datachan.sctp.endpoint import COOKIE_SECRET_LIFE
from datachan.sctp.events import AssociationEstablished
from datachan.sctp.options import EndpointOptions
from datachan.sctp.wire.chunks import (
    AbortChunk,
    CookieEchoChunk,
    ErrorChunk,
    HeartbeatAckChunk,
    InitAckChunk,
    InitChunk,
    ShutdownAckChunk,
)
from tests.sim.seeds import seeds

from .endpoint_net import SERVER, SERVER_PORT, Net, client_at
from .sctp_pair import chunks, packet, read

CLIENT = client_at(0)


def made_up(random: Random) -> tuple[tuple[str, int], bytes]:
    """Return an INIT of a peer that does not exist."""
    init = InitChunk(random.getrandbits(32) | 1, 100_000, 10, 10, random.getrandbits(32), [])
    address = (".".join(str(random.randrange(1, 224)) for _ in range(4)), random.randrange(1, 65536))
    return address, packet(0, init, source_port=random.randrange(1, 65536), destination_port=SERVER_PORT)


def cookie_echo(net: Net) -> bytes:
    """Return the packet with the COOKIE ECHO that a client sent to the server."""
    (found,) = [sent for _, to, sent in net.sent if to == SERVER and chunks([sent], CookieEchoChunk)]
    return found


def with_checksum(datagram: bytes) -> bytes:
    """Return the packet with a correct checksum, so that it is not refused because of the checksum."""
    if len(datagram) < 12:
        return datagram
    checksum = crc32c(datagram[:8] + bytes(4) + datagram[12:])
    return datagram[:8] + checksum.to_bytes(4, "little") + datagram[12:]


def held_back(**options: object) -> tuple[Net, object, bytes]:
    """Return a server, and a valid COOKIE ECHO for it that did not arrive."""
    net = Net()
    server, client = net.server(**options), net.client()
    net.passes = lambda source, to, sent: not chunks([sent], CookieEchoChunk)
    net.connect(client)
    net.settle()
    del net.endpoints[CLIENT]
    net.passes = lambda source, to, sent: True
    return net, server, cookie_echo(net)


@seeds(1)
def test_a_flood_of_inits_leaves_nothing_behind_and_service_continues(seed: int) -> None:
    net = Net(seed)
    limits = EndpointOptions(init_rate=1000, init_burst=100)
    server, old, new = net.server(limits=limits), net.client(0), net.client(1)
    old_id = net.connect(old)
    net.settle()
    random = Random(seed)
    flood = [made_up(random) for _ in range(500)]
    answers = 0
    new_id = 0
    for second in range(10):
        if second == 5:
            new_id = net.connect(new)
        for address, init in flood:
            server.receive_datagrams([init], net.now, address)
        answers += sum(len(packets) for _, packets in server.packets_to_send(net.now))
        old.association(old_id).send(0, b"%d" % second, ppid=1, now=net.now)
        net.advance(1)
    net.advance(5)
    assert answers <= 10 * limits.init_burst
    assert server.unanswered >= 5000 - 10 * limits.init_burst
    assert net.messages_at(SERVER) == [b"%d" % second for second in range(10)]
    assert new.peek(new_id) is not None
    assert len(net.events_at(client_at(1), AssociationEstablished)) == 1
    assert len(server) == 2


def test_answering_inits_keeps_no_memory() -> None:
    net = Net()
    server = net.server(limits=EndpointOptions(init_rate=1e9, init_burst=1e9))
    random = Random(1)
    flood = [made_up(random) for _ in range(500)]

    def pour() -> None:
        for address, init in flood:
            server.receive_datagrams([init], net.now, address)
        assert sum(len(packets) for _, packets in server.packets_to_send(net.now)) == len(flood)
        assert server.events() == []

    pour()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(20):
        pour()
    gc.collect()
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert kept < 20 * len(flood)  # less than a byte for each INIT
    assert len(server) == 0
    assert server.next_timeout() is None


def test_packets_out_of_the_blue_do_not_use_the_budget_of_inits() -> None:
    net = Net()
    server, client = net.server(), net.client()
    random = Random(3)
    address, init = made_up(random)
    # A SHUTDOWN ACK with an invented tag: section 8.4 answers it with SHUTDOWN COMPLETE.
    stray = packet(99, ShutdownAckChunk(), source_port=7, destination_port=SERVER_PORT)
    seconds, flood = 7, 20_000
    for second in range(seconds):
        now = net.now + second
        server.receive_datagrams([stray] * flood, now, address)
        server.receive_datagrams([init], now, address)
        server.receive_datagrams([stray] * flood, now, address)
        answers = [chunk for _, packets in server.packets_to_send(now) for chunk in chunks(packets, InitAckChunk)]
        assert len(answers) == 1
    # One address may use a quarter of the budget.
    answered = (server.limits.stray_burst + (seconds - 1) * server.limits.stray_rate) / 4
    assert server.unanswered == seconds * 2 * flood - answered
    net.advance(seconds - 1)
    server.receive_datagrams([stray] * flood, net.now, address)
    net.connect(client)
    net.settle()
    assert len(net.events_at(CLIENT, AssociationEstablished)) == 1


def test_cookies_replayed_at_an_endpoint_that_does_not_listen_share_the_budget_for_strays() -> None:
    net, server, echo = held_back()
    server.backlog = 0
    server.receive_datagrams([echo] * 20_000, net.now, CLIENT)
    answers = [chunk for _, packets in server.packets_to_send(net.now) for chunk in chunks(packets, AbortChunk)]
    assert len(answers) == server.limits.stray_burst / 4


def test_a_flood_from_one_address_delays_no_other() -> None:
    net = Net()
    server = net.server()
    address, init = made_up(Random(4))
    for number in range(3):
        for _ in range(10):  # more in each tenth of a second than the whole budget of a second
            server.receive_datagrams([init] * 1000, net.now, address)
            assert sum(len(packets) for _, packets in server.packets_to_send(net.now)) <= server.limits.init_burst / 4
            net.advance(0.1)
        net.connect(net.client(number))
        server.receive_datagrams([init] * 10_000, net.now, address)
        net.settle()  # without a timer: the INIT is not sent again
        assert len(net.events_at(client_at(number), AssociationEstablished)) == 1


def test_a_hundred_thousand_inits_at_once_and_the_next_peer_is_served() -> None:
    net = Net()
    server, client = net.server(), net.client()
    random = Random(2)
    flood = [made_up(random) for _ in range(1000)]
    for _ in range(100):
        for address, init in flood:
            server.receive_datagrams([init], net.now, address)
    assert sum(len(packets) for _, packets in server.packets_to_send(net.now)) == server.limits.init_burst
    assert server.unanswered == 100_000 - server.limits.init_burst
    assert (len(server), server.events(), server.next_timeout()) == (0, [], None)
    net.connect(client)
    net.advance(2)
    assert len(net.events_at(CLIENT, AssociationEstablished)) == 1


@pytest.mark.parametrize("position", [0, 20, 60, 75, -1])
def test_a_forged_cookie_gets_no_answer(position: int) -> None:
    net, server, good = held_back()
    echo = read(good).chunks[0]
    forged = bytearray(echo.cookie)
    forged[position] ^= 1
    sent = packet(
        read(good).verification_tag,
        CookieEchoChunk(bytes(forged)),
        source_port=5000,
        destination_port=SERVER_PORT,
    )
    server.receive_datagrams([sent], net.now, CLIENT)
    assert (server.packets_to_send(net.now), server.events(), len(server)) == ([], [], 0)


@pytest.mark.parametrize("cookie", [b"", b"\0" * 40, b"\xff" * 1000])
def test_ignores_cookies_that_were_not_issued_here(cookie: bytes) -> None:
    net = Net()
    server = net.server()
    sent = packet(5, CookieEchoChunk(cookie), source_port=5000, destination_port=SERVER_PORT)
    server.receive_datagrams([sent], net.now, CLIENT)
    assert (server.packets_to_send(net.now), server.events(), len(server)) == ([], [], 0)


def test_a_cookie_with_another_tag_or_port_gets_no_answer() -> None:
    net, server, good = held_back()
    echo, tag = read(good).chunks[0], read(good).verification_tag
    for wrong in (
        packet(tag ^ 1, echo, source_port=5000, destination_port=SERVER_PORT),
        packet(tag, echo, source_port=5001, destination_port=SERVER_PORT),
    ):
        server.receive_datagrams([wrong], net.now, CLIENT)
    assert (server.packets_to_send(net.now), server.events(), len(server)) == ([], [], 0)
    server.receive_datagrams([good], net.now, CLIENT)
    assert len(server) == 1


def test_an_expired_cookie_is_answered_with_a_stale_cookie_error() -> None:
    net, server, good = held_back()
    net.now += 60.5
    server.receive_datagrams([good], net.now, CLIENT)
    ((_, (answer,)),) = server.packets_to_send(net.now)
    assert [cause.code for error in chunks([answer], ErrorChunk) for cause in error.causes] == [3]
    assert (server.events(), len(server)) == ([], 0)


def test_a_cookie_replayed_after_the_end_sets_up_nothing() -> None:
    net = Net()
    server, client = net.server(), net.client()
    assoc_id = net.connect(client)
    net.settle()
    client.association(assoc_id).abort(net.now)
    net.settle()
    server.receive_datagrams([cookie_echo(net)], net.now + 30, CLIENT)
    assert (server.packets_to_send(net.now), len(server)) == ([], 0)


def test_a_cookie_replayed_from_elsewhere_while_the_association_lives_changes_nothing() -> None:
    net = Net()
    server, client = net.server(), net.client()
    assoc_id = net.connect(client)
    net.settle()
    net.reported.clear()
    server.receive_datagrams([cookie_echo(net)], net.now, ("203.0.113.66", 666))
    net.settle()
    assert len(server) == 1
    client.association(assoc_id).send(0, b"mine", ppid=1, now=net.now)
    net.settle()
    assert net.messages_at(SERVER) == [b"mine"]
    assert not net.events_at(SERVER, AssociationEstablished)


@pytest.mark.parametrize(("changes", "alive"), [(1, True), (2, False)])
def test_a_cookie_outlives_one_change_of_the_secret_but_not_two(changes: int, alive: bool) -> None:
    net, server, good = held_back(valid_cookie_life=10_000.0)
    for number in range(1, changes + 1):
        net.now += COOKIE_SECRET_LIFE
        net.connect(net.client(number))
        net.step()
        net.step()
    server.receive_datagrams([good], net.now, CLIENT)
    assert (server.id_of(CLIENT[0], 5000) is not None) == alive


@seeds(3)
def test_damaged_packets_raise_nothing_and_end_no_association(seed: int) -> None:
    net = Net(seed)
    server, client = net.server(), net.client()
    assoc_id = net.connect(client)
    for number in range(20):
        client.association(assoc_id).send(0, b"message %d" % number, ppid=1, now=net.now)
    net.settle()
    seen = net.sent_by(CLIENT)
    random = Random(seed)
    net.reported.clear()
    for _ in range(1500):
        damaged = bytearray(random.choice(seen))
        for _ in range(random.randrange(1, 4)):
            damaged[random.randrange(len(damaged))] = random.randrange(256)
        parsed = bytes(damaged[: random.randrange(len(damaged) + 1)])
        source = random.choice([CLIENT, ("203.0.113.9", 99), (CLIENT[0], 40000)])
        server.receive_datagrams([with_checksum(parsed)], net.now, source)
        server.packets_to_send(net.now)
        server.handle_timeout(net.now)
        server.events()
    assert len(server) <= 1


@pytest.mark.parametrize("count", [300])
def test_many_associations_live_at_once(count: int) -> None:
    net = Net()
    server = net.server(backlog=count)
    clients = [net.client(number) for number in range(count)]
    ids = [net.connect(client) for client in clients]
    net.settle()
    assert len(server) == count
    # A heartbeat of each, and its answer.
    net.sent.clear()
    net.advance(35)
    assert len(chunks(net.sent_by(SERVER), HeartbeatAckChunk)) >= count
    for client, assoc_id in zip(clients, ids, strict=True):
        client.association(assoc_id).shutdown(net.now)
    net.settle()
    assert len(server) == 0
    assert server.next_timeout() is None


def test_a_packet_costs_the_same_among_many_associations() -> None:
    """Check that the cost of a packet does not grow with the number of associations."""

    def calls(count: int) -> int:
        net = Net()
        server = net.server(backlog=count)
        clients = [net.client(number) for number in range(count)]
        ids = [net.connect(client) for client in clients]
        net.settle()
        clients[0].association(ids[0]).send(0, b"one message", ppid=1, now=net.now)
        ((_, packets),) = clients[0].packets_to_send(net.now)
        counted = 0

        def count_call(frame: object, event: str, argument: object) -> None:
            nonlocal counted
            counted += event in ("call", "c_call")

        sys.setprofile(count_call)
        try:
            server.receive_datagrams(packets, net.now, CLIENT)
            server.packets_to_send(net.now)
            server.events()
            server.next_timeout()
        finally:
            sys.setprofile(None)
        return counted

    assert calls(200) <= calls(2) + 2


def test_an_idle_association_is_small() -> None:
    net = Net()
    count = 100
    server = net.server(backlog=count + 1)
    net.connect(net.client(count))
    net.settle()
    net.sent.clear()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(count):
        net.connect(net.client(number))
    net.settle()
    assert len(server) == count + 1
    for number in range(count):
        del net.endpoints[client_at(number)]
    net.reported.clear()
    net.sent.clear()
    gc.collect()
    each = (tracemalloc.get_traced_memory()[0] - before) / count
    tracemalloc.stop()
    assert each < 14_000
