"""Whole transfers with the default controller, from the opening to the last byte: the start finds the path quickly."""

from __future__ import annotations

import pytest

from tests.sim.links import DEFAULT, share_of_transfer


@pytest.mark.parametrize(
    ("row", "size", "goal"),
    [
        pytest.param("wan", 20_000_000, 0.90, id="wan"),
        pytest.param("shallow", 20_000_000, 0.90, id="shallow"),
        pytest.param("lossy", 10_000_000, 0.83, id="lossy"),
        pytest.param("radio", 4_000_000, 0.85, id="radio"),
        pytest.param("far", 20_000_000, 0.80, id="far"),
    ],
)
def test_a_whole_transfer_loses_little_time_at_its_beginning(row: str, size: int, goal: float) -> None:
    # The way of the first packet, half a round trip, and the repair of the last losses are in the time, too.
    share = share_of_transfer(row, DEFAULT, size)
    assert goal <= share < 1.0, f"{share:.2f} of the link"
