"""The simulated network does what its conditions say, and repeats it with the same seed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from datachan.sctp.wire.chunks import CookieAckChunk, SackChunk, ShutdownAckChunk
from datachan.sctp.wire.packet import Packet, parse_packet_untrusted, serialize_packet
from tests.sim.network import PERFECT, Conditions, Network, earliest
from tests.sim.seeds import chosen, entropy, entropy_near_the_wrap

LOTS = 4000


def numbered(count: int, size: int = 100) -> list[bytes]:
    return [number.to_bytes(4, "big") + bytes(size - 4) for number in range(count)]


def through(conditions: Conditions, datagrams: list[bytes], seed: int = 1, interval: float = 0.0) -> list[bytes]:
    link = Network(seed, conditions).to_z
    for index, datagram in enumerate(datagrams):
        link.send([datagram], index * interval)
    return link.arrived(float("inf"))


def test_a_perfect_network_delivers_everything_in_order_after_its_latency() -> None:
    link = Network(0, Conditions(latency=0.5)).to_z
    link.send([b"one", b"two"], 10.0)
    assert link.next_arrival() == 10.5
    assert link.arrived(10.49) == []
    assert link.arrived(10.5) == [b"one", b"two"]
    assert link.next_arrival() is None


def test_the_two_directions_are_apart() -> None:
    network = Network(0, Conditions(latency=1.0), Conditions(latency=3.0))
    network.to_a.send([b"x"], 0.0)
    assert network.next_arrival() == 3.0
    network.to_z.send([b"y"], 0.0)
    assert network.next_arrival() == 1.0
    assert network.to_z.arrived(5.0) == [b"y"]
    assert network.to_a.arrived(5.0) == [b"x"]


def test_loss_takes_its_share() -> None:
    arrived = through(replace(PERFECT, loss=0.3), numbered(LOTS))
    assert 0.65 * LOTS < len(arrived) < 0.75 * LOTS
    assert arrived == sorted(arrived)


def test_duplication_adds_its_share() -> None:
    arrived = through(replace(PERFECT, duplication=0.1), numbered(LOTS))
    assert set(arrived) == set(numbered(LOTS))
    assert 1.07 * LOTS < len(arrived) < 1.15 * LOTS


def test_reordering_lets_later_datagrams_overtake() -> None:
    arrived = through(replace(PERFECT, reordering=0.1, reordering_delay=0.02), numbered(LOTS), interval=0.001)
    assert sorted(arrived) == numbered(LOTS)
    assert arrived != sorted(arrived)


def test_jitter_alone_never_reorders() -> None:
    arrived = through(replace(PERFECT, jitter=0.5), numbered(LOTS), interval=0.001)
    assert arrived == numbered(LOTS)


def test_corruption_flips_one_bit() -> None:
    sent = numbered(LOTS)
    arrived = through(replace(PERFECT, corruption=0.1), sent)
    changed = [(one, other) for one, other in zip(sent, arrived, strict=True) if one != other]
    assert 0.07 * LOTS < len(changed) < 0.13 * LOTS
    for one, other in changed:
        difference = int.from_bytes(one, "big") ^ int.from_bytes(other, "big")
        assert difference.bit_count() == 1


def test_a_bottleneck_spaces_datagrams_by_their_size() -> None:
    link = Network(0, Conditions(latency=0.1, rate=1000.0)).to_z
    link.send(numbered(3, 500), 0.0)
    arrivals = []
    while (arrival := link.next_arrival()) is not None:
        arrivals.append(arrival)
        link.arrived(arrival)
    assert arrivals == pytest.approx([0.6, 1.1, 1.6])


def test_a_full_queue_drops_at_its_tail() -> None:
    link = Network(0, Conditions(rate=1000.0, queue=1000)).to_z
    link.send(numbered(10, 100), 0.0)
    link.send(numbered(1, 100), 0.0)
    link.send([b"later"], 0.5)
    arrived = link.arrived(10.0)
    assert arrived == [*numbered(10, 100), b"later"]
    assert link.passages[10].fate == "queue full"


def test_datagrams_longer_than_the_mtu_are_dropped() -> None:
    assert through(replace(PERFECT, mtu=100), [bytes(101), bytes(100)]) == [bytes(100)]


def test_nothing_passes_during_an_outage() -> None:
    arrived = through(replace(PERFECT, outages=((2.0, 4.0), (5.0, 6.0))), numbered(8), interval=1.0)
    assert arrived == [numbered(8)[index] for index in (0, 1, 4, 6, 7)]


def test_the_same_seed_gives_the_same_network_and_another_one_another() -> None:
    rough = Conditions(jitter=0.1, loss=0.1, duplication=0.1, reordering=0.2, corruption=0.1)
    assert through(rough, numbered(200), seed=5) == through(rough, numbered(200), seed=5)
    assert through(rough, numbered(200), seed=5) != through(rough, numbered(200), seed=6)


def test_packets_can_be_dropped_by_what_is_in_them() -> None:
    ack = serialize_packet(1, 2, 3, [CookieAckChunk().serialize(), SackChunk(1, 2, [], []).serialize()])
    other = serialize_packet(1, 2, 3, [ShutdownAckChunk().serialize()], zero_checksum=True)

    def has_sack(packet: Packet) -> bool:
        return any(isinstance(chunk, SackChunk) for chunk in packet.chunks)

    link = Network().to_z
    link.drop(has_sack, count=2)
    link.send([ack, other, b"no packet", ack, ack], 0.0)
    assert link.arrived(1.0) == [other, b"no packet", ack]
    link.drop()
    link.send([other, b"no packet"], 1.0)
    assert link.arrived(2.0) == [b"no packet"]
    link.stop_dropping()
    link.send([other], 2.0)
    assert link.arrived(3.0) == [other]


def test_a_packet_can_be_replaced_on_its_way() -> None:
    ack = serialize_packet(1, 2, 3, [CookieAckChunk().serialize()])
    other = serialize_packet(1, 2, 3, [ShutdownAckChunk().serialize()])
    link = Network().to_z
    link.replace(lambda packet: isinstance(packet.chunks[0], CookieAckChunk), lambda datagram: datagram[:5])
    link.send([other, b"no packet", ack, ack], 0.0)
    assert link.arrived(1.0) == [other, b"no packet", ack[:5], ack]


def test_the_trace_shows_each_datagram_and_its_fate() -> None:
    network = Network(0, Conditions(mtu=20))
    network.to_z.send([serialize_packet(1, 2, 3, [CookieAckChunk().serialize()])], 0.0)
    network.to_a.send([bytes(21)], 1.0)
    first, second = network.trace().splitlines()
    assert "A -> Z" in first
    assert "CookieAckChunk" in first
    assert "A <- Z" in second
    assert second.endswith("too big")


def test_a_datagram_can_be_put_on_the_line_from_outside() -> None:
    link = Network(0, Conditions(loss=1.0)).to_z
    link.inject(b"forged", 2.0)
    assert link.next_arrival() == 2.0
    assert link.arrived(2.0) == [b"forged"]


def test_passages_contain_the_packet() -> None:
    network = Network()
    data = serialize_packet(1, 2, 3, [CookieAckChunk().serialize()])
    network.to_z.send([data, b"junk"], 0.0)
    packet, junk = [passage.packet for passage in network.to_z.passages]
    assert packet is not None
    assert packet.chunks == parse_packet_untrusted(data).chunks
    assert junk is None


def test_earliest_without_times_is_none() -> None:
    assert earliest([None, None]) is None
    assert earliest([None, 2.0, 1.0]) == 1.0


def test_seeds_come_from_the_environment_when_it_has_them() -> None:
    assert list(chosen(3, "")) == [0, 1, 2]
    assert list(chosen(3, "17")) == [17]
    assert list(chosen(3, "17-19")) == [17, 18, 19]


def test_entropy_replays() -> None:
    assert entropy(3)(16) == entropy(3)(16)
    assert entropy(3)(16) != entropy(4)(16)
    draw = entropy_near_the_wrap(3)
    assert all(int.from_bytes(draw(4), "big") > 0xFFFFFFFF - 64 for _ in range(50))
    assert draw(16) != draw(16)
