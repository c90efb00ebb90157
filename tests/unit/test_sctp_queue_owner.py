"""Whose queue it is that still stands after a reduction: by our delivery rate, but not on a path within a host."""

from __future__ import annotations

import pytest

from datachan.sctp.congestion.path_model import PathModel
from datachan.sctp.congestion.queue_owner import JUDGE_ROUNDS, QueueOwner

RATE = 1e6


def judged(min_rtt: float, rate_after: float) -> tuple[QueueOwner, bool]:
    """Reduce the window for a long queue, and judge a queue that still stands; return whether to reduce again."""
    path, owner = PathModel(), QueueOwner()
    path.min_rtt, path.round_min_rtt, path.round_rate = min_rtt, 5 * min_rtt + 0.05, RATE
    assert owner.is_too_long(100_000, path)
    for _ in range(JUDGE_ROUNDS - 1):
        path.round += 1
        assert not owner.is_too_long(65_000, path)
    path.round += 1
    path.round_rate = rate_after
    return owner, owner.is_too_long(65_000, path)


def test_a_path_that_carries_less_than_before_has_the_window_reduced_again() -> None:
    owner, too_long = judged(0.04, RATE)
    assert too_long
    assert not owner.foreign


@pytest.mark.parametrize(("min_rtt", "rate_after"), [(0.04, 0.65 * RATE), (0.0002, RATE), (0.0002, 0.65 * RATE)])
def test_the_queue_is_that_of_others_if_we_deliver_less_or_on_a_short_path(min_rtt: float, rate_after: float) -> None:
    """A hundred connections of one process reduce at once, each by itself: with ever smaller windows they fell from 142
    to 63 MB/s."""
    owner, too_long = judged(min_rtt, rate_after)
    assert not too_long
    assert owner.foreign
    assert owner.restore == 100_000
