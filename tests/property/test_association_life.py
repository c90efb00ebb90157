"""Events in the middle of an association's life, on random networks: stream resets and a restart of the peer."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from datachan.sctp.association import Association
from datachan.sctp.events import (
    AssociationClosed,
    AssociationEstablished,
    AssociationLost,
    AssociationRestarted,
    IncomingStreamsReset,
    MessageReceived,
    OutgoingStreamsReset,
    SendFailed,
    StreamResetFailed,
)
from datachan.sctp.options import AssociationOptions
from datachan.sctp.wire.chunks import CookieEchoChunk, DataChunk, InitAckChunk, InitChunk
from tests.sim.associations import (
    PATIENT,
    Traffic,
    associations,
    both_reported,
    check_books,
    consume,
    established,
    is_closed,
    rough_conditions,
)
from tests.sim.network import Conditions, Network
from tests.sim.pair import Pair
from tests.sim.seeds import entropy, entropy_near_the_wrap, seeds

STREAMS = [0, 1, 2]
KINDS = ["reset outgoing", "reset incoming", "add outgoing", "add incoming"]


def rough_pair(seed: int, chance: random.Random, **options: Any) -> Pair:
    network = Network(seed, rough_conditions(chance), rough_conditions(chance))
    source = chance.choice([entropy, entropy_near_the_wrap])
    interleaving = chance.random() < 0.6
    pair = established(network, seed=seed, source=source, interleaving=interleaving, **PATIENT, **options)
    consume(pair.a)
    consume(pair.z)
    return pair


@seeds(60)
def test_streams_can_be_reset_and_used_again_and_no_message_is_lost(seed: int) -> None:
    chance = random.Random(seed)
    pair = rough_pair(seed, chance)
    traffics = Traffic(pair.a, pair.z, chance), Traffic(pair.z, pair.a, chance)
    # For each direction, the number of messages sent on a stream at each of its resets.
    resets: list[dict[int, list[int]]] = [{stream: [] for stream in STREAMS} for _ in traffics]
    for _ in range(chance.randrange(2, 7)):
        for direction, traffic in enumerate(traffics):
            for _ in range(chance.randrange(6)):
                traffic.send(pair.now, int(2 ** chance.uniform(2, 13)), chance.choice(STREAMS))
            chosen = chance.sample(STREAMS, chance.randrange(3))
            asked = len(traffic.sender.of(OutgoingStreamsReset))
            if chosen:
                traffic.sender.machine.reset_streams(chosen, pair.now)
                for stream in chosen:
                    resets[direction][stream].append(sum(sent.stream_id == stream for sent in traffic.sent))
                pair.run_until(lambda traffic=traffic, asked=asked, chosen=chosen: done(traffic, asked, chosen))  # type: ignore[misc]
        pair.run(chance.choice([0.0, 0.1, 2.0]))
        check_books(pair)
    pair.a.machine.shutdown(pair.now)
    pair.run_until_idle()
    for direction, traffic in enumerate(traffics):
        assert not traffic.sender.of(AssociationLost)
        assert not traffic.sender.of(StreamResetFailed)
        traffic.check_finished()
        assert seen_resets(traffic) == resets[direction]


def done(traffic: Traffic, asked: int, chosen: list[int]) -> bool:
    """Return whether all chosen streams have been reset since."""
    reset = [stream for event in traffic.sender.of(OutgoingStreamsReset)[asked:] for stream in event.stream_ids]
    return sorted(reset) == sorted(chosen)


def seen_resets(traffic: Traffic) -> dict[int, list[int]]:
    """Return how many messages of each stream had arrived when its reset was reported to the receiver."""
    seen: dict[int, list[int]] = {stream: [] for stream in STREAMS}
    arrived = dict.fromkeys(STREAMS, 0)
    for event in traffic.receiver.events:
        if isinstance(event, MessageReceived):
            arrived[event.stream_id] += 1
        elif isinstance(event, IncomingStreamsReset):
            for stream in event.stream_ids:
                seen[stream].append(arrived[stream])
    return seen


@seeds(30)
def test_simultaneous_resets_are_all_performed(seed: int) -> None:
    chance = random.Random(seed)
    pair = rough_pair(seed, chance)
    traffic = Traffic(pair.a, pair.z, chance)
    streams = chance.sample(range(1000), chance.choice([1, 10, 600]))
    for stream in streams[:20]:
        traffic.send(pair.now, int(2 ** chance.uniform(2, 13)), stream)
    for stream in streams:
        pair.a.machine.reset_streams([stream], pair.now)
    pair.run_until(lambda: done(traffic, 0, streams))
    reported = [stream for event in pair.z.of(IncomingStreamsReset) for stream in event.stream_ids]
    assert sorted(reported) == sorted(streams)
    for stream in streams[:20]:
        traffic.send(pair.now, 10, stream)
    pair.run_until(traffic.has_arrived)
    traffic.check_finished()


@seeds(30)
def test_a_restarted_peer_can_connect_again(seed: int) -> None:
    chance = random.Random(seed)
    pair = rough_pair(seed, chance)
    before = Traffic(pair.a, pair.z, chance)
    for _ in range(chance.randrange(10)):
        before.send(pair.now, 5000, chance.randrange(3))
    pair.run(chance.choice([0.0, 0.05, 3.0]))
    options: AssociationOptions = pair.z.machine.options
    pair.z.machine = Association(replace(options), entropy(100_000 + seed))
    forgotten = len(pair.z.events)
    pair.z.machine.connect(pair.now)
    pair.run_until(lambda: bool(pair.a.of(AssociationRestarted)))
    pair.run_until(lambda: any(isinstance(event, AssociationEstablished) for event in pair.z.events[forgotten:]))
    check_books(pair)
    # Each outstanding message is either reported as failed or arrives in the new association, never both.
    pair.a.machine.shutdown(pair.now)
    pair.run_until_idle()
    assert not pair.a.of(AssociationLost)
    assert pair.a.of(AssociationClosed)
    failed = {event.context for event in pair.a.of(SendFailed)}
    arrived = [
        int.from_bytes(event.data[:4], "big")
        for event in pair.z.events[forgotten:]
        if isinstance(event, MessageReceived)
    ]
    earlier = {
        int.from_bytes(event.data[:4], "big")
        for event in pair.z.events[:forgotten]
        if isinstance(event, MessageReceived)
    }
    assert len(set(arrived)) == len(arrived)
    assert not failed.intersection(arrived)
    assert failed.union(arrived, earlier) == {sent.number for sent in before.sent}


@seeds(30)
def test_simultaneous_handshakes_make_one_association(seed: int) -> None:
    chance = random.Random(seed)
    network = Network(seed, rough_conditions(chance), rough_conditions(chance))
    pair = associations(network, seed=seed, **PATIENT)
    consume(pair.a)
    consume(pair.z)
    traffics = Traffic(pair.a, pair.z, chance), Traffic(pair.z, pair.a, chance)
    for traffic in traffics:
        if is_closed(traffic.sender):
            traffic.sender.machine.connect(pair.now)
        for _ in range(5):
            traffic.send(pair.now, 3000, chance.randrange(3))
        pair.run(chance.choice([0.0, 0.001, 0.02, 0.2]))
    pair.run_until(lambda: both_reported(pair, AssociationEstablished) and all(one.has_arrived() for one in traffics))
    pair.run(10.0)
    for traffic in traffics:
        traffic.check_finished()
        assert len(traffic.sender.of(AssociationEstablished)) == 1
        assert not traffic.sender.of(AssociationRestarted)


@seeds(30)
def test_zero_checksums_are_used_once_both_agreed_and_never_before(seed: int) -> None:
    chance = random.Random(seed)
    # Unlike with DTLS, nothing protects a packet with a zero checksum from corruption here.
    conditions = replace(rough_conditions(chance), corruption=0.0), replace(rough_conditions(chance), corruption=0.0)
    agreed = chance.random() < 0.7
    pair = established(
        Network(seed, *conditions), seed=seed, zero_checksum=True, z_options={"zero_checksum": agreed}, **PATIENT
    )
    consume(pair.z)
    traffic = Traffic(pair.a, pair.z, chance)
    for _ in range(20):
        traffic.send(pair.now, int(2 ** chance.uniform(2, 14)), chance.randrange(3))
    pair.run_until(traffic.has_arrived)
    traffic.check_finished()
    for passage in pair.network.to_z.passages:
        zero = passage.datagram[8:12] == bytes(4)
        packet = passage.packet
        assert packet is not None
        first = packet.chunks[0]
        assert zero == (agreed and not isinstance(first, InitChunk | InitAckChunk | CookieEchoChunk)), packet


def test_a_late_cookie_echo_from_before_a_collision_does_not_bring_the_association_back() -> None:
    pair = associations(Network(0, Conditions(latency=0.02)))
    pair.a.machine.connect(pair.now)
    pair.run(0.03)
    # Z has answered the INIT of A and now starts a handshake as well, with another tag.
    pair.z.machine.connect(pair.now)
    pair.network.to_z.drop(lambda packet: isinstance(packet.chunks[0], CookieEchoChunk), count=1)
    pair.run_until(lambda: both_reported(pair, AssociationEstablished))
    [late] = [passage.datagram for passage in pair.network.to_z.passages if passage.fate == "filtered"]
    pair.a.machine.shutdown(pair.now)
    pair.run_until_idle()
    pair.network.to_z.inject(late, pair.now + 1.0)
    pair.run_until_idle()
    assert len(pair.z.of(AssociationEstablished)) == 1
    assert not pair.z.of(AssociationLost)


def test_a_message_that_waited_behind_a_lost_one_is_reported_when_the_peer_restarts() -> None:
    pair = established(Network(0, Conditions(latency=0.02)), interleaving=False)
    traffic = Traffic(pair.a, pair.z, random.Random(0))
    pair.network.to_z.drop(
        lambda packet: any(isinstance(chunk, DataChunk) and chunk.ssn == 0 for chunk in packet.chunks)
    )
    traffic.send(pair.now, 1172)
    traffic.send(pair.now, 1172)
    pair.run(0.3)
    assert not pair.z.of(MessageReceived)
    pair.z.machine = Association(AssociationOptions(), entropy(4711))
    pair.z.machine.connect(pair.now)
    pair.run_until(lambda: bool(pair.a.of(AssociationRestarted)))
    assert sorted(event.context for event in pair.a.of(SendFailed)) == [0, 1]


def reconfigure(machine: Association, chance: random.Random, now: float) -> None:
    """Make one re-configuration request of any kind."""
    kind = chance.choice(KINDS)
    if kind == "reset outgoing":
        machine.reset_streams(chance.sample(STREAMS, chance.randrange(1, 3)), now)
    elif kind == "reset incoming":
        machine.request_stream_resets(chance.sample(STREAMS, chance.randrange(3)), now)
    elif kind == "add outgoing":
        machine.add_streams(now, outgoing=chance.randrange(3))
    else:
        machine.add_streams(now, incoming=chance.randrange(3))


def is_reconfiguring(machine: Association) -> bool:
    return machine.stats().reconfiguring


@seeds(80)
def test_reconfigurations_of_all_kinds_from_both_sides_at_once_lose_nothing(seed: int) -> None:
    chance = random.Random(seed)
    pair = rough_pair(seed, chance, outbound_streams=10, inbound_streams=10)
    traffics = Traffic(pair.a, pair.z, chance), Traffic(pair.z, pair.a, chance)
    for _ in range(chance.randrange(2, 8)):
        for traffic in traffics:
            for _ in range(chance.randrange(5)):
                traffic.send(pair.now, int(2 ** chance.uniform(2, 13)), chance.choice(STREAMS))
            machine = traffic.sender.machine
            for _ in range(chance.randrange(3)):
                reconfigure(machine, chance, pair.now)
        pair.run(chance.choice([0.0, 0.001, 0.1, 2.0]))
        check_books(pair)
    pair.run_until(lambda: all(traffic.has_arrived() for traffic in traffics))
    # A request whose responses are lost one after the other is in the end repeated once a minute.
    pair.run_until(lambda: not any(is_reconfiguring(peer.machine) for peer in (pair.a, pair.z)))
    assert pair.a.machine.outbound_streams == pair.z.machine.inbound_streams
    assert pair.z.machine.outbound_streams == pair.a.machine.inbound_streams
    for traffic in traffics:
        traffic.send(pair.now, 10, traffic.sender.machine.outbound_streams - 1)
    for peer in chance.choice([[pair.a], [pair.z], [pair.a, pair.z]]):
        peer.machine.shutdown(pair.now)
    pair.run_until_idle()
    for traffic in traffics:
        assert not traffic.sender.of(AssociationLost), traffic.sender.of(AssociationLost)
        traffic.check_finished()


@seeds(60)
def test_resets_of_all_tsns_from_both_sides_leave_an_association_that_works(seed: int) -> None:
    chance = random.Random(seed)
    # RFC 6525, 5.1.4: "Only one SSN/TSN Reset Request SHOULD be sent within 30 seconds, which is considered a maximum
    # segment lifetime": what a network holds back can be of the wrong time, and this one therefore keeps the order.
    pair = rough_pair(seed, chance)
    for link in (pair.network.to_a, pair.network.to_z):
        link.conditions = replace(link.conditions, reordering=0.0, duplication=0.0)
    traffics = Traffic(pair.a, pair.z, chance), Traffic(pair.z, pair.a, chance)
    for _ in range(chance.randrange(1, 5)):
        for traffic in traffics:
            for _ in range(chance.randrange(4)):
                traffic.send(pair.now, int(2 ** chance.uniform(2, 13)), chance.choice(STREAMS))
            if chance.random() < 0.5:
                traffic.sender.machine.reset_tsns(pair.now)
        pair.run(31.0)
        check_books(pair)
    pair.run(300.0)
    # RFC 6525, 5.2.4, G3: outstanding data counts as acknowledged and may be lost. Data sent from now on is not.
    fresh = [(traffic, len(traffic.sent)) for traffic in traffics]
    for traffic, _ in fresh:
        for stream in STREAMS:
            traffic.send(pair.now, 3000, stream)
    pair.run(120.0)
    for traffic, first in fresh:
        assert not traffic.sender.of(AssociationLost), traffic.sender.of(AssociationLost)
        assert {sent.number for sent in traffic.received() if sent.number >= first} == {first, first + 1, first + 2}
        traffic.check()
