"""Test the heap of deadlines: earliest first, removal, and a heap that stays short."""

from __future__ import annotations

from datachan.sctp.deadlines import Deadlines


def test_returns_due_keys_in_the_order_of_their_deadlines() -> None:
    deadlines = Deadlines()
    for key, moment in ((1, 3.0), (2, 1.0), (3, 2.0)):
        deadlines.set_earlier(key, moment)
    assert deadlines.earliest() == 1.0
    assert deadlines.due(2.0) == [2, 3]
    assert deadlines.due(2.0) == []
    assert deadlines.earliest() == 3.0


def test_keeps_the_earlier_of_two_deadlines() -> None:
    deadlines = Deadlines()
    deadlines.set_earlier(1, 2.0)
    deadlines.set_earlier(1, 5.0)
    deadlines.set_earlier(1, None)
    assert deadlines.earliest() == 2.0
    deadlines.set_earlier(1, 1.0)
    assert deadlines.due(10.0) == [1]


def test_a_removed_key_is_never_due() -> None:
    deadlines = Deadlines()
    deadlines.set_earlier(1, 1.0)
    deadlines.remove(1)
    deadlines.remove(2)
    assert deadlines.earliest() is None
    assert deadlines.due(9.0) == []


def test_deadlines_that_move_earlier_many_times_stay_due_once() -> None:
    deadlines = Deadlines()
    for moment in range(1000, 0, -1):
        deadlines.set_earlier(1, float(moment))
    deadlines.set_earlier(2, 0.5)
    assert deadlines.due(1000.0) == [2, 1]
    assert deadlines.earliest() is None
