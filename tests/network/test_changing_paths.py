"""The default controller follows paths that change or mistreat packets: rates, round trips, reordering, policers.

The shares are those of the rate the path has at the time, between two instants that leave the controller some seconds
to follow.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.sim.host import Host, Load
from tests.sim.links import Bulk, channel_association
from tests.sim.network import Conditions, Network
from tests.sim.pair import Pair

RATE = 10e6 / 8
ROUND_TRIP = 0.04
WAY = Conditions(latency=ROUND_TRIP / 2, rate=RATE, queue=int(2 * RATE * ROUND_TRIP))


class Transfer:
    """An endless transfer with the default controller over one path, whose conditions a test may change."""

    def __init__(self, way: Conditions = WAY, load: Load | None = None) -> None:
        hosts = (None, None) if load is None else (Host(load, 1), Host(load, 2))
        a, z = (channel_association(number) for number in (1, 2))
        self.pair = Pair(a, z, Network(5, way, way), hosts=hosts)
        self._bulk = Bulk(self.pair)

    def change(self, **conditions: object) -> None:
        """Change these conditions of both directions."""
        for link in (self.pair.network.to_z, self.pair.network.to_a):
            link.conditions = replace(link.conditions, **conditions)  # type: ignore[arg-type]

    def goodput(self, warm_up: float, seconds: float) -> float:
        """Return bytes per second over `seconds`, after `warm_up`."""
        self.pair.run(warm_up)
        before = self._bulk.received
        self.pair.run(seconds)
        return (self._bulk.received - before) / seconds

    def standing_queue(self, seconds: float) -> float:
        """Return the mean time that packets wait in the queue during `seconds`, in minimum round trips."""
        link = self.pair.network.to_z
        first = len(link.passages)
        self.pair.run(seconds)
        waits = [
            passage.arrival - passage.time - link.conditions.latency
            for passage in link.passages[first:]
            if passage.arrival is not None
        ]
        return sum(waits) / len(waits) / (2 * link.conditions.latency)


@pytest.mark.parametrize("queue", [0.25, 1.0, 4.0, 20.0])
def test_a_lone_flow_fills_the_path_and_leaves_a_queue_of_less_than_a_round_trip(queue: float) -> None:
    transfer = Transfer(replace(WAY, queue=int(queue * RATE * ROUND_TRIP)))
    assert transfer.goodput(1.0, 6.0) > 0.93 * RATE
    assert transfer.standing_queue(6.0) < 1.0


@pytest.mark.parametrize("moment", [5.0, 5.3])
@pytest.mark.parametrize("part", [0.5, 0.35, 0.25])
def test_a_lower_rate_is_followed_without_a_standing_queue(part: float, moment: float) -> None:
    # A reduction leaves a third of the window at least. The queue that still stands then is not that of other flows.
    transfer = Transfer(replace(WAY, queue=int(8 * RATE * ROUND_TRIP)))
    transfer.goodput(moment - 1.0, 1.0)
    transfer.change(rate=part * RATE)
    assert transfer.goodput(1.0, 3.0) > 0.9 * part * RATE
    transfer.pair.run(6.0)
    assert transfer.standing_queue(3.0) < 1.5


def test_doubling_the_rate_is_followed() -> None:
    transfer = Transfer()
    transfer.goodput(4.0, 1.0)
    transfer.change(rate=2 * RATE)
    assert transfer.goodput(4.0, 3.0) > 0.9 * 2 * RATE


def test_doubling_the_round_trip_is_followed() -> None:
    transfer = Transfer()
    transfer.goodput(4.0, 1.0)
    transfer.change(latency=ROUND_TRIP)
    assert transfer.goodput(0.5, 3.0) > 0.8 * RATE
    assert transfer.goodput(8.0, 3.0) > 0.9 * RATE


def test_reordering_of_a_tenth_of_the_packets_slows_nothing_down() -> None:
    transfer = Transfer(replace(WAY, reordering=0.1, reordering_delay=0.02))
    assert transfer.goodput(3.0, 4.0) > 0.85 * RATE


def test_a_policer_is_used_and_not_overrun() -> None:
    transfer = Transfer(replace(WAY, rate=10 * RATE, policer=(RATE, 50_000)))
    transfer.pair.run(5.0)
    passages = transfer.pair.network.to_z.passages
    first = len(passages)
    assert transfer.goodput(0.0, 6.0) > 0.8 * RATE
    policed = sum(passage.fate == "policed" for passage in passages[first:])
    assert policed < 0.1 * (len(passages) - first)


def test_processes_that_acknowledge_in_batches_fill_the_path() -> None:
    transfer = Transfer(load=Load(stall_every=0.02, stall=0.008))
    assert transfer.goodput(2.0, 4.0) > 0.85 * RATE


def test_probing_the_minimum_round_trip_costs_less_than_two_percent() -> None:
    # Headers take 0.023 of the rate.
    transfer = Transfer()
    assert transfer.goodput(5.0, 10.0) > 0.957 * RATE
