"""The links every other data-channel stack collapses on are filled: shares of the bottleneck, on a virtual clock.

The same links with real sockets are measured by `make bench-links`.
"""

from __future__ import annotations

import pytest

from tests.sim.links import share_of_link


@pytest.mark.parametrize(
    ("row", "control", "warm_up", "seconds", "goal"),
    [
        pytest.param("wan", "cubic", 1.0, 2.0, 0.95, id="wan"),
        pytest.param("shallow", "cubic", 2.0, 2.0, 0.85, id="shallow"),
        # A gigabit is a hundred thousand packets per virtual second.
        pytest.param("lan", "cubic", 0.1, 0.1, 0.60, id="lan"),
        pytest.param("lossy", "bbr", 1.0, 2.0, 0.80, id="lossy"),
        pytest.param("radio", "bbr", 1.0, 2.0, 0.70, id="radio"),
        pytest.param("far", "bbr", 5.0, 2.0, 0.90, id="far"),
    ],
)
def test_a_transfer_fills_the_link(row: str, control: str, warm_up: float, seconds: float, goal: float) -> None:
    share = share_of_link(row, control, warm_up, seconds)
    assert goal <= share < 1.1, f"{share:.2f} of the link"
