"""Flows through one bottleneck share it: equal flows equally, and the default controller leaves a Reno flow its part.

The link has 10 Mbit/s and 40 ms. The second flow starts three seconds after the first, which has the path for itself
until then.
"""

from __future__ import annotations

import pytest

from tests.sim.crowd import jain
from tests.sim.links import compete
from tests.sim.network import Conditions

RATE = 10e6 / 8
ROUND_TRIP = 0.04


def shares(
    controls: list[str], queue: float, *, stagger: float = 3.0, warm_up: float = 8.0, codel: bool = False
) -> list[float]:
    """Return the shares of the link, with a queue of `queue` bandwidth-delay products."""
    way = Conditions(latency=ROUND_TRIP / 2, rate=RATE, queue=int(queue * RATE * ROUND_TRIP), codel=codel)
    return compete(controls, way, stagger=stagger, warm_up=warm_up, seconds=10.0)


@pytest.mark.parametrize("queue", [1.0, 2.0])
@pytest.mark.parametrize("control", ["newreno", "cubic", "adaptive"])
def test_equal_flows_share_a_bottleneck_equally(control: str, queue: float) -> None:
    # The share of an adaptive flow depends on the phase the other one is in at its start, so several starts are judged
    # together.
    staggers = (3.0, 3.1, 3.2) if control == "adaptive" else (3.0,)
    achieved = [shares([control, control], queue, stagger=stagger) for stagger in staggers]
    assert sum(map(jain, achieved)) / len(achieved) >= 0.9, achieved
    assert min(map(sum, achieved)) > 0.9


@pytest.mark.parametrize("controls", [["newreno", "cubic"], ["cubic", "newreno"]], ids=" then ".join)
def test_the_default_does_not_starve_a_reno_flow(controls: list[str]) -> None:
    # CUBIC reduces its window by less than half on a loss, and so gets more than half of the link. RFC 9438, 4.3, aims
    # at Reno's share on paths as short as this one. A flow counts as starved below a quarter of the link, half of
    # Reno's equal share.
    achieved = shares(controls, 2.0)
    assert achieved[controls.index("newreno")] >= 0.25, achieved
    assert sum(achieved) > 0.9


def test_codel_keeps_equal_flows_equal_too() -> None:
    achieved = shares(["cubic", "cubic"], 20.0, codel=True)
    assert jain(achieved) >= 0.9, achieved
    assert sum(achieved) > 0.8
