"""An application sends less than the path takes: an unused window does not grow, and models keep their estimates."""

from __future__ import annotations

import pytest

from tests.sim.associations import consume
from tests.sim.links import channel_association
from tests.sim.network import Conditions, Network
from tests.sim.pair import Pair

RATE = 1.25e6
WAY = Conditions(latency=0.02, rate=RATE, queue=60_000)


def connected(control: str) -> Pair:
    """Return an established pair over 10 Mbit/s and 40 ms."""
    pair = Pair(channel_association(1, control), channel_association(2, control), Network(3, WAY, WAY))
    consume(pair.z)
    pair.a.machine.connect(0.0)
    pair.run(0.2)
    return pair


def trickle(pair: Pair, seconds: float, rate: float) -> None:
    """Send a message of a kilobyte at a time, `rate` bytes per second in all."""
    for _ in range(int(seconds * rate / 1000)):
        pair.a.machine.send(1, bytes(1000), ppid=53, now=pair.now)
        pair.run(1000 / rate)


def rush(pair: Pair, seconds: float) -> float:
    """Send as much as the path takes; return the share of the link that is used."""
    before = pair.z.machine.stats().bytes_received
    end = pair.now + seconds
    while pair.now < end:
        while pair.a.machine.buffered_amount(1) < 500_000:
            pair.a.machine.send(1, bytes(50_000), ppid=53, now=pair.now)
        pair.run(0.05)
    return (pair.z.machine.stats().bytes_received - before) / seconds / RATE


@pytest.mark.parametrize("control", ["newreno", "cubic", "adaptive"])
def test_a_window_that_is_not_used_does_not_grow(control: str) -> None:
    # RFC 9260, 7.2.1: "the current congestion window is being fully utilized".
    pair = connected(control)
    trickle(pair, 5.0, 100_000)
    early = pair.a.machine.stats().cwnd
    trickle(pair, 20.0, 100_000)
    # Four kilobytes are in flight at a time.
    assert pair.a.machine.stats().cwnd == early < 40_000


@pytest.mark.parametrize("control", ["cubic", "adaptive"])
def test_after_a_trickle_the_path_is_filled_as_before(control: str) -> None:
    pair = connected(control)
    rush(pair, 3.0)
    assert rush(pair, 2.0) > 0.9
    pair.run_until(lambda: pair.a.machine.buffered_amount(1) == 0)
    trickle(pair, 5.0, 50_000)
    rush(pair, 0.5)
    assert rush(pair, 2.0) > 0.9


def test_a_trickle_does_not_lower_the_bandwidth_the_model_measured() -> None:
    pair = connected("adaptive")
    rush(pair, 3.0)
    pair.run_until(lambda: pair.a.machine.buffered_amount(1) == 0)
    knew = pair.a.machine.stats().paths[0].bandwidth
    assert knew == pytest.approx(RATE, rel=0.15)
    trickle(pair, 3.0, 50_000)
    assert pair.a.machine.stats().paths[0].bandwidth > 0.7 * knew
