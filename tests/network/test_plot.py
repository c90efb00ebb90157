"""The plots for people are drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="matplotlib draws the plots: pip install matplotlib")

from tests.sim import plot


def test_a_transfer_is_drawn_over_time(tmp_path: Path) -> None:
    picture = tmp_path / "run.png"
    assert plot.main(["shallow", "cubic", str(picture), "0.5"]) is None
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_samples_are_taken_of_window_flight_round_trip_and_goodput() -> None:
    samples = plot.record("shallow", "newreno", 1.0)
    assert len(samples.time) > 90
    for values in (samples.cwnd, samples.flight, samples.rtt, samples.goodput):
        assert len(values) == len(samples.time)
        assert max(values) > 0
    assert max(samples.rtt) == pytest.approx(43, abs=6)
    assert 30 < max(plot.smoothed(samples.goodput)) < 55


def test_wrong_arguments_are_reported() -> None:
    assert "rows are" in (plot.main(["nowhere", "cubic", "x.png"]) or "")
