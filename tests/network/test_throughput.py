"""Throughput of an association on different networks, as a fraction of the bottleneck's rate."""

from __future__ import annotations

import random
from dataclasses import asdict

import pytest

from datachan.sctp.options import data_channel_options
from tests.sim.associations import Traffic, consume, established
from tests.sim.network import Conditions, Network
from tests.sim.pair import Pair

MEGABYTE = 1_000_000
OPTIONS = asdict(data_channel_options())


def seconds_for(pair: Pair, size: int, message: int = 65_536) -> float:
    """Return how long, in virtual seconds, this many bytes take from A to Z."""
    consume(pair.z)
    traffic = Traffic(pair.a, pair.z, random.Random(1))
    start = pair.now
    for _ in range(max(1, size // message)):
        traffic.send(pair.now, message)
    pair.run_until(lambda: len(pair.z.events) > len(traffic.sent) and traffic.has_arrived())
    traffic.check_finished()
    return pair.now - start


@pytest.mark.parametrize(
    ("rate", "latency", "queue", "loss", "fraction"),
    [
        pytest.param(1.25e6, 0.02, 60_000, 0.0, 0.80, id="10 Mbit/s, 40 ms, a queue of one BDP"),
        pytest.param(1.25e6, 0.02, 15_000, 0.0, 0.55, id="10 Mbit/s, 40 ms, a short queue"),
        pytest.param(1.25e6, 0.15, 400_000, 0.0, 0.45, id="10 Mbit/s, 300 ms"),
        pytest.param(12.5e6, 0.001, 100_000, 0.0, 0.80, id="100 Mbit/s, 2 ms"),
        pytest.param(1.25e6, 0.02, 60_000, 0.001, 0.50, id="10 Mbit/s, 40 ms, a loss in a thousand"),
        pytest.param(125e3, 0.05, 20_000, 0.0, 0.80, id="1 Mbit/s, 100 ms"),
    ],
)
def test_fills_the_bottleneck(rate: float, latency: float, queue: int, loss: float, fraction: float) -> None:
    conditions = Conditions(latency=latency, rate=rate, queue=queue, loss=loss)
    pair = established(Network(7, conditions, Conditions(latency=latency)), **OPTIONS)
    size = int(min(8 * MEGABYTE, rate * 12))
    achieved = size / seconds_for(pair, size)
    assert achieved > fraction * rate, f"{achieved / rate:.0%} of the bottleneck"


@pytest.mark.parametrize("latency", [0.001, 0.15])
def test_without_a_bottleneck_only_the_window_limits(latency: float) -> None:
    # The window has 4 MiB from the start; other tests cover one that grows. Slow start doubles from 4380 bytes up to
    # the window in ten round trips; then come two windows more.
    options = {**OPTIONS, "receive_window": 4 * 1024 * 1024}
    pair = established(Network(7, Conditions(latency=latency)), **options)
    round_trips = seconds_for(pair, 8 * MEGABYTE) / (2 * latency)
    # Slow start doubles from 4380 bytes up to the window in ten round trips; then two windows more.
    assert round_trips < 20


def test_a_small_message_takes_half_a_round_trip() -> None:
    pair = established(Network(0, Conditions(latency=0.05)))
    assert seconds_for(pair, 100, message=100) == pytest.approx(0.05, abs=0.001)


def test_the_last_packet_lost_costs_one_timeout_at_most() -> None:
    pair = established(Network(0, Conditions(latency=0.05)), rto_min=0.2)
    pair.run(1.0)
    pair.network.to_z.drop(count=1)
    assert seconds_for(pair, 100, message=100) < 1.2


def test_a_drained_window_is_filled_within_a_round_trip() -> None:
    # 100 Mbit/s and 100 ms hold 1.25 MB, far more than Max.Burst packets per round trip.
    conditions = Conditions(latency=0.05, rate=12.5e6, queue=1_250_000)
    pair = established(Network(7, conditions, Conditions(latency=0.05)), **OPTIONS)
    consume(pair.z)
    a = pair.a.machine
    for _ in range(400):
        a.send(1, bytes(65_536), ppid=53, now=pair.now)
    pair.run_until(lambda: a.buffered_amount(1) == 0 and a.stats().flight_size == 0)
    window = min(a.stats().cwnd, 1_250_000)
    assert window > 500_000
    pair.run(0.05)
    for _ in range(100):
        a.send(1, bytes(65_536), ppid=53, now=pair.now)
    pair.run(0.11)
    assert a.stats().flight_size > 0.7 * window
