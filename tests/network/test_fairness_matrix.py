"""The default controller shares bottlenecks with itself, newreno and cubic, over a matrix of links and queues.

The share of each flow is given as a multiple of an equal share. The second flow starts after the first one has had the
path to itself. Without FAIRNESS_MATRIX=long in the environment only a part of the matrix runs (`make fairness` runs
all of it).
"""

from __future__ import annotations

import os
from itertools import product

import pytest

from datachan.sctp.options import data_channel_options
from tests.sim.links import compete
from tests.sim.network import Conditions

DEFAULT = data_channel_options().congestion_control
LONG = os.environ.get("FAIRNESS_MATRIX") == "long"
LEAST, MOST = 0.4, 2.5
LINKS = {
    "10 Mbit/s, 40 ms": (10e6 / 8, 0.04),
    "5 Mbit/s, 100 ms": (5e6 / 8, 0.1),
    "20 Mbit/s, 20 ms": (20e6 / 8, 0.02),
}
QUEUES = (0.25, 1.0, 4.0)
PAIRS = ((DEFAULT, DEFAULT), (DEFAULT, "newreno"), ("newreno", DEFAULT), (DEFAULT, "cubic"), ("cubic", DEFAULT))


def shares(controls: tuple[str, str], rate: float, round_trip: float, queue: float) -> list[float]:
    """Return the share of each flow as a multiple of an equal share."""
    way = Conditions(latency=round_trip / 2, rate=rate, queue=int(queue * rate * round_trip))
    achieved = compete(list(controls), way, stagger=3.0, warm_up=6.0, seconds=10.0)
    return [share * len(controls) for share in achieved]


CASES = [*product(LINKS, QUEUES, PAIRS)]
SHORT = [case for case in CASES if case[0] == "10 Mbit/s, 40 ms" and case[1] != 1.0]


@pytest.mark.parametrize(("link", "queue", "pair"), CASES if LONG else SHORT)
def test_no_flow_is_starved(link: str, queue: float, pair: tuple[str, str]) -> None:
    rate, round_trip = LINKS[link]
    achieved = shares(pair, rate, round_trip, queue)
    assert LEAST <= min(achieved) <= max(achieved) <= MOST, achieved
    assert sum(achieved) > 0.9 * len(pair)
