"""Path MTU discovery on simulated paths: the size it finds, and a path that shrinks under a transfer."""

from __future__ import annotations

import dataclasses
import random
from itertools import pairwise
from typing import Any

import pytest

from datachan.sctp.events import AssociationLost, PathMtuChanged
from datachan.sctp.options import AssociationOptions
from datachan.sctp.records.pmtu import MAX_PROBES
from datachan.sctp.wire.chunks import HeartbeatAckChunk
from datachan.sctp.wire.extensions import PadChunk
from datachan.sctp.wire.packet import serialize_packet
from tests.sim.associations import Traffic, check_books, consume, established
from tests.sim.network import RECORD_LIMIT, Conditions, Network, as_packet
from tests.sim.pair import Pair
from tests.sim.seeds import seeds

OVERHEAD = 28 + 37
DISCOVERING: dict[str, Any] = {
    "path_mtu_discovery": True,
    "max_packet_size": 16384,
    "packet_overhead": OVERHEAD,
    "rto_min": 0.4,
    "max_burst": 64,
    "slow_start_limit": 64,
}
BASE = AssociationOptions(**DISCOVERING).base_packet_size


def path(mtu: int, **more: Any) -> Conditions:
    """Return a path of 20 ms that takes IP packets up to `mtu`, below it a DTLS record."""
    return Conditions(**{"latency": 0.01, "mtu": mtu - OVERHEAD, "limit": RECORD_LIMIT, **more})


def pair_on(way: Conditions, back: Conditions | None = None, *, seed: int = 1, **options: Any) -> Pair:
    pair = established(Network(seed, way, back), seed=seed, **{**DISCOVERING, **options})
    consume(pair.a)
    consume(pair.z)
    return pair


def traffic_on(pair: Pair) -> Traffic:
    return Traffic(pair.a, pair.z, random.Random(pair.network.seed))


def transfer(pair: Pair, size: int, traffic: Traffic | None = None, *, limit: float = 120.0) -> Traffic:
    traffic = traffic or traffic_on(pair)
    for _ in range(size // 65536):
        traffic.send(pair.now, 65536)
    pair.run_until(traffic.has_arrived, limit)
    traffic.check_finished()
    check_books(pair)
    return traffic


def mtus(pair: Pair) -> list[int]:
    return [event.mtu for event in pair.a.of(PathMtuChanged)]


@pytest.mark.parametrize("mtu", [1280, 1420, 1500, 9000, 16384 + OVERHEAD])
def test_a_transfer_finds_and_reports_the_path_mtu(mtu: int) -> None:
    pair = pair_on(path(mtu))
    traffic = transfer(pair, 4_000_000)
    pair.run(10.0)
    transfer(pair, 1_000_000, traffic)
    found = mtu - OVERHEAD
    assert pair.a.machine.stats().mtu == found & ~3
    assert mtus(pair)[-1] == found & ~3
    data = [passage for passage in pair.network.to_z.passages if passage.arrival is not None]
    assert max(len(passage.datagram) for passage in data[-20:]) > found - 32


@pytest.mark.parametrize("mtu", [1280, 1500])
def test_only_probes_are_lost_during_the_search(mtu: int) -> None:
    pair = pair_on(path(mtu))
    transfer(pair, 2_000_000)
    pair.run(10.0)
    assert pair.a.machine.stats().retransmissions == 0
    too_big = [passage for passage in pair.network.to_z.passages if passage.fate == "too big"]
    assert all(len(passage.datagram) > BASE for passage in too_big)
    assert len(too_big) <= 6
    assert all("PadChunk" in str(passage.packet) for passage in too_big)


def test_lost_probes_are_no_congestion() -> None:
    pair = pair_on(path(1280))
    transfer(pair, 2_000_000)
    cwnd = pair.a.machine.stats().cwnd
    assert [passage for passage in pair.network.to_z.passages if passage.fate == "too big"]
    assert pair.a.machine.stats().ssthresh > cwnd  # never left slow start


def test_larger_packets_do_not_widen_the_window() -> None:
    pair = pair_on(path(9000))
    pair.a.machine.send(1, bytes(65536), ppid=53, now=pair.now)
    seen: list[tuple[int, int]] = []
    for _ in range(400):
        before = pair.a.machine.stats()
        packets = pair.a.machine.datagrams_to_send(pair.now)
        after = pair.a.machine.stats()
        pair.a.out.send(packets, pair.now, dont_fragment=pair.a.machine.dont_fragment)
        if after.mtu != before.mtu:
            seen.append((before.cwnd, after.cwnd))
        if not pair.step():
            break
    assert all(after <= before for before, after in seen)


def test_an_idle_association_probes_nothing() -> None:
    pair = pair_on(path(1500))
    before = len(pair.network.to_z.passages)
    for _ in range(20):
        pair.a.machine.send(1, b"short", ppid=51, now=pair.now)
        pair.run(1.0)
    sizes = [len(passage.datagram) for passage in pair.network.to_z.passages[before:]]
    assert max(sizes) < 100
    assert not mtus(pair)


def test_without_discovery_nothing_is_probed_and_packets_have_the_configured_size() -> None:
    pair = pair_on(path(9000), path_mtu_discovery=False, max_packet_size=1400)
    transfer(pair, 500_000)
    assert max(len(passage.datagram) for passage in pair.network.to_z.passages) == 1400
    assert not any("PadChunk" in str(passage.packet) for passage in pair.network.to_z.passages)
    assert not pair.a.machine.dont_fragment


def test_a_peer_without_path_mtu_discovery_gets_packets_that_fit_ethernet() -> None:
    pair = pair_on(path(65535), z_options={"path_mtu_discovery": False, "max_packet_size": 1200})
    transfer(pair, 2_000_000)
    assert pair.a.machine.stats().mtu == 1500 - OVERHEAD & ~3
    assert max(len(passage.datagram) for passage in pair.network.to_z.passages) <= 1500 - OVERHEAD


def test_a_peer_that_drops_packets_with_pad_chunks_costs_a_few_probes_and_nothing_else() -> None:
    """Drop PAD chunks as pion does with every chunk type it does not know."""
    pair = pair_on(path(1500))
    pair.network.to_z.drop(lambda packet: "PadChunk" in str(packet))
    traffic = transfer(pair, 2_000_000)
    pair.run(60.0)
    transfer(pair, 500_000, traffic)
    filtered = [passage for passage in pair.network.to_z.passages if passage.fate == "filtered"]
    assert len(filtered) == MAX_PROBES
    assert pair.a.machine.stats().retransmissions == 0
    assert not pair.a.of(AssociationLost)


def test_packets_stay_small_compared_with_a_small_window() -> None:
    pair = pair_on(path(65535), z_options={"receive_window": 32768})
    transfer(pair, 2_000_000)
    assert 1200 < pair.a.machine.stats().mtu <= 32768 // 8


@seeds(4)
def test_probes_and_data_lost_by_chance_hold_nothing_up(seed: int) -> None:
    pair = pair_on(path(9000, loss=0.05), seed=seed)
    traffic = transfer(pair, 8_000_000, limit=300.0)
    for _ in range(3):
        pair.run(5.0)
        transfer(pair, 500_000, traffic, limit=300.0)
    assert pair.a.machine.stats().mtu == 9000 - OVERHEAD & ~3
    assert len(traffic.received()) == len(traffic.sent)


@pytest.mark.parametrize("small", [1280, 1500])
def test_a_path_that_shrinks_under_a_transfer_is_survived_within_seconds(small: int) -> None:
    """Let routers report nothing and fragment the packets that may be fragmented."""
    shrink_at = 1.0
    way = path(9000, fragments=True, rate=4e6, queue=200_000, shrinks=(shrink_at, small - OVERHEAD))
    pair = pair_on(way, path(9000), max_packet_size=9000 - OVERHEAD)
    traffic = transfer(pair, 8_000_000)
    assert not pair.a.of(AssociationLost)
    assert 9000 - OVERHEAD & ~3 in mtus(pair)
    # T3-rtx expires after 0.4 s and again after 0.8 s; then the outstanding data is retransmitted in fragments.
    assert longest_silence(pair, shrink_at - 0.1) < 2.0
    pair.run(10.0)
    transfer(pair, 1_000_000, traffic)
    assert pair.a.machine.stats().mtu == small - OVERHEAD & ~3


def test_after_a_black_hole_every_new_packet_fits() -> None:
    way = path(9000, fragments=True, rate=4e6, queue=200_000, shrinks=(1.0, 1280 - OVERHEAD))
    pair = pair_on(way, path(9000), max_packet_size=9000 - OVERHEAD)
    transfer(pair, 8_000_000)
    fell = next(passage.time for passage in pair.network.to_z.passages if passage.time > 1.0 and passage.arrival)
    first: dict[int, tuple[float, int]] = {}
    for passage in pair.network.to_z.passages:
        for chunk in passage.packet.chunks if passage.packet else []:
            tsn = getattr(chunk, "tsn", None)
            if tsn is not None:
                first.setdefault(tsn, (passage.time, len(passage.datagram)))
    assert all(size <= 1280 - OVERHEAD for time, size in first.values() if time > fell)


def test_a_black_hole_for_large_packets_is_found_while_small_ones_pass() -> None:
    """Test a black hole in which T3-rtx may never expire: short messages are acknowledged all the time."""
    way = path(9000, fragments=True, shrinks=(5.0, 1280 - OVERHEAD))
    pair = pair_on(way, path(9000), max_packet_size=9000 - OVERHEAD)
    traffic = transfer(pair, 4_000_000)
    assert pair.a.machine.stats().mtu == 9000 - OVERHEAD & ~3
    pair.run(5.0)
    for _ in range(8):
        traffic.send(pair.now, 40_000, 1)
    for _ in range(1500):
        traffic.send(pair.now, 100, 2, unordered=True)
        pair.run(0.02)
    pair.run_until(traffic.has_arrived, 60.0)
    assert pair.a.machine.stats().mtu < 9000 - OVERHEAD & ~3
    assert not pair.a.of(AssociationLost)


def test_a_new_path_starts_at_the_base_size_and_outstanding_data_arrives() -> None:
    way = path(9000, fragments=True, rate=4e6, queue=200_000, shrinks=(1.0, 1280 - OVERHEAD))
    pair = pair_on(way, path(9000), max_packet_size=9000 - OVERHEAD)
    traffic = Traffic(pair.a, pair.z, random.Random(1))
    for _ in range(100):
        traffic.send(pair.now, 65536)
    pair.run(1.0 - pair.now)
    pair.a.machine.path_changed(pair.now, 1400, OVERHEAD)
    pair.run_until(traffic.has_arrived, 60.0)
    assert pair.a.machine.stats().mtu <= 1280 - OVERHEAD
    assert longest_silence(pair, 0.9) < 1.0


def test_a_peer_cannot_trigger_repeated_searches() -> None:
    """Count a flood of PAD chunks, and answers to probes that were never sent, as one search."""
    pair = pair_on(path(1500))
    tag = pair.a.machine.local_tag
    chunks = [HeartbeatAckChunk(bytes(8)).serialize(), PadChunk(100).serialize()]
    packet = serialize_packet(5000, 5000, tag, chunks)
    before = len(pair.network.to_z.passages)
    for _ in range(500):
        pair.a.machine.receive_datagrams([packet], pair.now)
        pair.run(0.05)
    assert len(pair.network.to_z.passages) - before < 40
    assert pair.a.machine.stats().mtu <= 1500 - OVERHEAD


def longest_silence(pair: Pair, since: float) -> float:
    """Return the seconds of the longest gap in which no new data arrived at Z."""
    times = [since]
    seen: set[int] = set()
    arrivals = sorted((p.arrival, i) for i, p in enumerate(pair.network.to_z.passages) if p.arrival is not None)
    for arrival, index in arrivals:
        packet = pair.network.to_z.passages[index].packet
        tsns = {chunk.tsn for chunk in packet.chunks if hasattr(chunk, "tsn")} if packet else set()
        if tsns - seen and arrival > since:
            times.append(arrival)
        seen |= tsns
    return max(later - earlier for earlier, later in pairwise(times))


def test_no_shorter_datagram_follows_a_probe_in_the_same_batch() -> None:
    """Expect no shorter datagram behind a longer one: with UDP_SEGMENT both would leave in one piece."""
    pair = pair_on(path(9000))
    seen = 0
    send = pair.a.out.send

    def watch(datagrams: list[bytes], now: float, **options: Any) -> None:
        nonlocal seen
        for index, datagram in enumerate(datagrams):
            if "PadChunk" in str(as_packet(datagram)):
                seen += 1
                assert index == len(datagrams) - 1
        send(datagrams, now, **options)

    pair.a.out.send = watch  # type: ignore[method-assign, assignment]
    traffic = transfer(pair, 2_000_000)
    pair.run(10.0)
    transfer(pair, 2_000_000, traffic)
    assert seen > 2


@pytest.mark.parametrize("mtu", [1280, 1500, 9000, 16384 + OVERHEAD])
@pytest.mark.parametrize("seconds", [0.5, 3.0])
@seeds(3)
def test_a_bulk_transfer_goes_on_after_an_outage_at_every_packet_size(mtu: int, seconds: float, seed: int) -> None:
    way = path(mtu, latency=0.0005, fragments=True)
    pair = pair_on(way, seed=seed)
    traffic = transfer(pair, 4_000_000)
    pair.run(10.0)
    both_ways = Traffic(pair.z, pair.a, random.Random(seed))
    outage = (pair.now + 0.002, pair.now + 0.002 + seconds)
    for link in (pair.network.to_z, pair.network.to_a):
        link.conditions = dataclasses.replace(link.conditions, outages=(outage,))
    for _ in range(40):
        traffic.send(pair.now, 65536)
        both_ways.send(pair.now, 65536)
    pair.run_until(lambda: traffic.has_arrived() and both_ways.has_arrived(), seconds + 8.0)
    traffic.check_finished()
    both_ways.check_finished()
