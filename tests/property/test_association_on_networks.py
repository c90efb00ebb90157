"""Two associations over random networks: reliable messages arrive once and in order, and both sides close.

A failure names its seed; `DATACHAN_SEEDS=<seed>` replays it, `DATACHAN_SEEDS=1000-2000` runs others.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from datachan.sctp.events import AssociationClosed, AssociationEstablished, AssociationLost, MessageReceived
from datachan.sctp.wire.chunks import AbortChunk, CookieEchoChunk, ShutdownChunk, ShutdownCompleteChunk
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


def random_pair(seed: int, chance: random.Random, **options: Any) -> Pair:
    network = Network(seed, rough_conditions(chance), rough_conditions(chance))
    pair = associations(
        network,
        seed=seed,
        source=chance.choice([entropy, entropy_near_the_wrap]),
        receive_window=chance.choice([20_000, 100_000, 4_000_000]),
        max_packet_size=chance.choice([576, 1200, 1452]),
        interleaving=chance.random() < 0.6,
        **PATIENT,
        **options,
    )
    consume(pair.a)
    consume(pair.z)
    return pair


def random_size(chance: random.Random) -> int:
    return int(2 ** chance.uniform(2, chance.choice([8, 12, 15])))


def send_randomly(traffic: Traffic, chance: random.Random, now: float, *, partially: bool) -> None:
    lifetime = max_retransmissions = None
    if partially and chance.random() < 0.6:
        if chance.random() < 0.5:
            lifetime = chance.choice([0.0, 0.05, 0.5, 5.0])
        else:
            max_retransmissions = chance.choice([0, 1, 3])
    traffic.send(
        now,
        random_size(chance),
        chance.choice([0, 1, 2, 65534]),
        unordered=chance.random() < 0.3,
        lifetime=lifetime,
        max_retransmissions=max_retransmissions,
    )


def converse(pair: Pair, chance: random.Random, *, partially: bool) -> tuple[Traffic, Traffic]:
    """Run a handshake started by either side or both, messages in both directions at random times, then a shutdown."""
    traffics = Traffic(pair.a, pair.z, chance), Traffic(pair.z, pair.a, chance)
    beginners = chance.choice([[pair.a], [pair.z], [pair.a, pair.z]])
    for peer in beginners:
        peer.machine.connect(pair.now)
        if chance.random() < 0.5:
            pair.step()
    pair.run_until(lambda: both_reported(pair, AssociationEstablished))
    for _ in range(chance.randrange(1, 8)):
        for _ in range(chance.randrange(12)):
            send_randomly(chance.choice(traffics), chance, pair.now, partially=partially)
        pair.run(chance.choice([0.0, 0.001, 0.1, 2.0]))
        check_books(pair)
    for peer in chance.choice([[pair.a], [pair.z], [pair.a, pair.z]]):
        peer.machine.shutdown(pair.now)
    pair.run_until_idle()
    return traffics


def check_end(pair: Pair, traffics: tuple[Traffic, Traffic]) -> None:
    for peer in (pair.a, pair.z):
        assert not peer.of(AssociationLost), peer.of(AssociationLost)
        assert len(peer.of(AssociationClosed)) == 1
        assert is_closed(peer)
    for traffic in traffics:
        traffic.check_finished()


@seeds(120)
def test_everything_reliable_arrives_once_and_in_order_and_both_sides_close(seed: int) -> None:
    chance = random.Random(seed)
    pair = random_pair(seed, chance)
    check_end(pair, converse(pair, chance, partially=False))


@seeds(120)
def test_partially_reliable_messages_arrive_as_a_subsequence_and_the_rest_is_reported(seed: int) -> None:
    chance = random.Random(seed)
    pair = random_pair(seed, chance)
    check_end(pair, converse(pair, chance, partially=True))


@seeds(20)
def test_without_partial_reliability_at_the_peer_everything_is_reliable(seed: int) -> None:
    chance = random.Random(seed)
    pair = random_pair(seed, chance, z_options={"partial_reliability": False})
    traffics = converse(pair, chance, partially=True)
    check_end(pair, traffics)


@seeds(20)
def test_messages_sent_before_the_handshake_is_done_arrive(seed: int) -> None:
    chance = random.Random(seed)
    pair = random_pair(seed, chance)
    traffic = Traffic(pair.a, pair.z, chance)
    pair.a.machine.connect(pair.now)
    for _ in range(20):
        traffic.send(pair.now, random_size(chance), chance.randrange(3))
    pair.a.machine.shutdown(pair.now)
    pair.run_until_idle()
    traffic.check_finished()
    assert pair.z.of(AssociationClosed)


def test_a_late_packet_after_the_end_does_not_turn_a_graceful_end_into_a_loss() -> None:
    pair = established(Network(0, Conditions(latency=0.02)))
    pair.network.to_z.drop(lambda packet: isinstance(packet.chunks[0], ShutdownChunk), count=1)
    pair.network.to_a.drop(lambda packet: isinstance(packet.chunks[0], ShutdownCompleteChunk), count=1)
    pair.a.machine.shutdown(pair.now)
    pair.z.machine.shutdown(pair.now)
    pair.run_until(lambda: bool(pair.z.of(AssociationClosed)))
    assert not is_closed(pair.a)
    # The network delayed the SHUTDOWN of A. Z, which has no association any more, answers it with an ABORT.
    [late] = [passage.datagram for passage in pair.network.to_z.passages if passage.fate == "filtered"]
    pair.network.to_z.inject(late, pair.now + 0.001)
    pair.run_until(lambda: is_closed(pair.a))
    assert isinstance(pair.network.to_a.passages[-1].packet.chunks[0], AbortChunk)  # type: ignore[union-attr]
    assert not pair.a.of(AssociationLost)
    assert pair.a.of(AssociationClosed)


def test_a_late_copy_of_the_cookie_echo_does_not_bring_an_ended_association_back() -> None:
    pair = associations(Network(0, Conditions(latency=0.02)))
    consume(pair.z)
    pair.a.machine.connect(pair.now)
    pair.a.machine.send(0, b"once", ppid=51, now=pair.now)
    pair.run_until(lambda: bool(pair.a.of(AssociationEstablished)))
    pair.a.machine.shutdown(pair.now)
    pair.run_until_idle()
    [echo] = [
        passage.datagram
        for passage in pair.network.to_z.passages
        if passage.packet and isinstance(passage.packet.chunks[0], CookieEchoChunk)
    ]
    pair.network.to_z.inject(echo, pair.now + 1.0)
    pair.run_until_idle()
    assert is_closed(pair.z)
    assert len(pair.z.of(AssociationEstablished)) == 1
    assert [event.data for event in pair.z.of(MessageReceived)] == [b"once"]


def test_stream_sequence_numbers_wrap() -> None:
    pair = established(Network(1, Conditions(latency=0.001, loss=0.002)), receive_window=1 << 22)
    consume(pair.z)
    traffic = Traffic(pair.a, pair.z, random.Random(1))
    for _ in range(68):
        for _ in range(1000):
            traffic.send(pair.now, 4, 7)
        pair.run(0.05)
    pair.run_until(lambda: len(pair.z.of(MessageReceived)) == 68_000)
    traffic.check_finished()


@pytest.mark.parametrize("first_tsn", [1, 0xFFFFFFFF, 0xFFFFFFF0, 0x7FFFFFFF, 0x80000000])
def test_the_initial_tsn_changes_nothing(first_tsn: int) -> None:
    def shape(number: int) -> list[tuple[float, float | None, int]]:
        def source(seed: int):  # type: ignore[no-untyped-def]
            draw = entropy(seed)
            return lambda size: (draw(size), number.to_bytes(4, "big"))[1] if size == 4 else draw(size)

        network = Network(3, Conditions(latency=0.02, loss=0.1, reordering=0.1), Conditions(latency=0.03, loss=0.1))
        pair = established(network, source=source, heartbeat_interval=0.0, **PATIENT)
        consume(pair.z)
        traffic = Traffic(pair.a, pair.z, random.Random(3))
        for index in range(60):
            traffic.send(pair.now, 3000, index % 3, unordered=index % 4 == 0, lifetime=0.5 if index % 5 == 0 else None)
        pair.a.machine.shutdown(pair.now)
        pair.run_until_idle()
        traffic.check_finished()
        return [
            (passage.time, passage.arrival, len(passage.datagram))
            for link in (network.to_z, network.to_a)
            for passage in link.passages
        ]

    assert shape(first_tsn) == shape(1000)


@pytest.mark.parametrize("start", [-(2.0**20), 2.0**20, 2.0**30])
def test_the_start_of_the_clock_changes_nothing(start: float) -> None:
    # All times set here are binary fractions, so that adding the start loses no precision.
    binary = {"rto_initial": 1.0, "rto_min": 0.25, "rto_max": 4.0, "sack_delay": 0.125, "heartbeat_interval": 0.0}

    def shape(now: float) -> tuple[list[float], list[int]]:
        network = Network(3, Conditions(latency=2.0**-5, loss=0.1), Conditions(latency=2.0**-6, loss=0.1))
        pair = established(network, now=now, max_init_retransmits=40, association_max_retrans=60, **binary)
        consume(pair.z)
        traffic = Traffic(pair.a, pair.z, random.Random(3))
        for index in range(60):
            traffic.send(pair.now, 3000, index % 3, lifetime=0.5 if index % 5 == 0 else None)
        pair.a.machine.shutdown(pair.now)
        pair.run_until_idle()
        traffic.check_finished()
        passages = [passage for link in (network.to_z, network.to_a) for passage in link.passages]
        return [passage.time - now for passage in passages], [len(passage.datagram) for passage in passages]

    times, sizes = shape(start)
    expected_times, expected_sizes = shape(0.0)
    assert sizes == expected_sizes
    # The pacing rate is no binary fraction: 2**30 seconds after the start, a time is exact to a quarter of a
    # microsecond.
    assert times == pytest.approx(expected_times, abs=1e-4)


def test_the_same_seed_gives_the_same_bytes() -> None:
    def packets(seed: int) -> list[bytes]:
        chance = random.Random(seed)
        pair = random_pair(seed, chance)
        converse(pair, chance, partially=True)
        return [passage.datagram for link in (pair.network.to_z, pair.network.to_a) for passage in link.passages]

    assert packets(5) == packets(5)
    assert packets(5) != packets(6)


@seeds(12)
def test_an_outage_is_survived(seed: int) -> None:
    chance = random.Random(seed)
    start, length = chance.uniform(0.0, 3.0), chance.uniform(0.1, 40.0)
    conditions = Conditions(latency=0.02, rate=200e3, outages=((start, start + length),))
    pair = established(Network(seed, conditions), seed=seed, **PATIENT)
    consume(pair.z)
    traffic = Traffic(pair.a, pair.z, chance)
    for _ in range(20):
        traffic.send(pair.now, 20_000, chance.randrange(3))
    pair.run_until(traffic.has_arrived, limit=length + 60.0)
    traffic.check_finished()


@seeds(6)
def test_a_vanished_peer_is_detected_and_every_message_reported(seed: int) -> None:
    chance = random.Random(seed)
    pair = established(Network(seed, Conditions(latency=0.02)), seed=seed)
    consume(pair.z)
    traffic = Traffic(pair.a, pair.z, chance)
    for _ in range(chance.randrange(1, 30)):
        traffic.send(pair.now, random_size(chance), chance.randrange(3))
    pair.run(chance.uniform(0.0, 0.05))
    pair.network.to_a.drop()
    pair.network.to_z.drop()
    pair.run_until(lambda: is_closed(pair.a), limit=1200.0)
    assert len(pair.a.of(AssociationLost)) == 1
    assert not pair.a.of(AssociationLost)[0].by_peer
    traffic.check()


def test_heartbeats_detect_a_vanished_idle_peer() -> None:
    pair = established(Network(0, Conditions(latency=0.02)))
    pair.run(100.0)
    assert not pair.a.of(AssociationLost)
    pair.network.to_a.drop()
    pair.run_until(lambda: is_closed(pair.a), limit=3600.0)
    assert pair.a.of(AssociationLost)
