"""The default controller shares bottlenecks with itself, NewReno and CUBIC, over a matrix of links and queues.

The share of each flow is a multiple of an equal share. The second flow starts three seconds after the first one, which
has the path for itself until then, and finds its queue. `python -m tests.sim.fairness_plot` plots it.
"""

from __future__ import annotations

import pytest

from tests.sim.fairness import CASES, Case, shares
from tests.sim.links import DEFAULT, compete
from tests.sim.network import Conditions

LEAST, MOST = 0.4, 2.5


@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_flow_is_starved(case: Case) -> None:
    achieved = shares(case)
    assert LEAST <= min(achieved) <= max(achieved) <= MOST, achieved
    assert sum(achieved) > 0.9 * len(achieved)


@pytest.mark.parametrize("others", ["newreno", "cubic", DEFAULT])
def test_two_flows_of_each_kind_share_a_bottleneck(others: str) -> None:
    way = Conditions(latency=0.02, rate=10e6 / 8, queue=int(10e6 / 8 * 0.04))
    achieved = compete([DEFAULT, others, DEFAULT, others], way, stagger=1.0, warm_up=10.0, seconds=20.0)
    multiples = [len(achieved) * share for share in achieved]
    assert LEAST <= min(multiples) <= max(multiples) <= MOST, multiples
    assert sum(achieved) > 0.9
