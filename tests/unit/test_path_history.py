"""What paths carried before is bounded in number and in age, and only one association takes it."""

from __future__ import annotations

import pytest

from datachan.sctp import PathHistory

HERE = "192.0.2.1"


def test_returns_what_was_recorded_last() -> None:
    history = PathHistory()
    history.record((HERE, "192.0.2.2"), 100_000, 0.04, 1.0)
    history.record((HERE, "192.0.2.2"), 50_000, 0.05, 2.0)
    saved = history.get((HERE, "192.0.2.2"), 3.0)
    assert saved is not None
    assert (saved.cwnd, saved.round_trip, saved.saved_at) == (50_000, 0.05, 2.0)


def test_tells_paths_apart_by_both_addresses() -> None:
    history = PathHistory()
    history.record((HERE, "192.0.2.2"), 100_000, 0.04, 1.0)
    assert history.get((HERE, "192.0.2.3"), 1.0) is None
    assert history.get(("192.0.2.9", "192.0.2.2"), 1.0) is None


def test_only_one_association_takes_an_observation() -> None:
    history = PathHistory()
    history.record((HERE, "192.0.2.2"), 100_000, 0.04, 1.0)
    assert history.take((HERE, "192.0.2.2"), 1.0) is not None
    assert history.take((HERE, "192.0.2.2"), 1.0) is None


@pytest.mark.parametrize(("age", "known"), [(60.0, True), (60.1, False)])
def test_forgets_what_is_too_old(age: float, known: bool) -> None:
    history = PathHistory(life=60.0)
    history.record((HERE, "192.0.2.2"), 100_000, 0.04, 1.0)
    assert (history.take((HERE, "192.0.2.2"), 1.0 + age) is not None) is known
    assert len(history) == 0


def test_forgets_the_path_that_was_observed_the_longest_time_ago() -> None:
    history = PathHistory(most=3)
    for host in (1, 2, 3, 1, 4):
        history.record((HERE, f"192.0.2.{host}"), 100_000, 0.04, float(host))
    assert len(history) == 3
    assert [host for host in (1, 2, 3, 4) if history.get((HERE, f"192.0.2.{host}"), 4.0)] == [1, 3, 4]


def test_memory_stays_bounded_however_many_peers_come() -> None:
    history = PathHistory()
    for host in range(100_000):
        history.record((HERE, str(host)), 100_000, 0.04, 1.0)
    assert len(history) == 1024
