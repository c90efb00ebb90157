"""The order and pace of checks, without an agent."""

from __future__ import annotations

from datachan.ice_agent import HOST, Base, CandidatePair, make_candidate
from datachan.ice_agent.check_schedule import CheckSchedule
from datachan.ice_agent.pairs import NEVER, Checklist

PACE = 0.005


class Planned:
    """A schedule over new pairs of as many links, all of which may be checked from time 1."""

    def __init__(self, links: int) -> None:
        self.checklist = Checklist(100)
        self.schedule = CheckSchedule(self.checklist, PACE, 1.0)
        theirs = make_candidate(HOST, ("198.51.100.9", 5000), Base("198.51.100.9", 5000)).candidate
        self.pairs: list[CandidatePair] = []
        for rank in range(links):
            base = Base(f"198.51.100.{rank + 1}", 5000)
            pair = CandidatePair(
                make_candidate(HOST, (base.address, 5000), base, rank=rank), theirs, ("198.51.100.9", 5000)
            )
            pair.next_check = 1.0
            self.checklist.add(pair, controlling=True, keep=None)
            self.pairs.append(pair)

    def check(self, now: float, again: float = NEVER) -> CandidatePair | None:
        """Check the next pair as a session does, and plan its next check."""
        pair = self.schedule.next_pair(now)
        if pair is not None:
            self.schedule.note_sent(pair, now)
            pair.requests_sent += 1
            pair.next_check = again
        return pair


def test_first_checks_go_by_priority_and_keep_their_distance() -> None:
    plan = Planned(3)
    assert plan.schedule.next_time() == 1.0
    assert plan.check(1.0) is plan.pairs[0]
    assert plan.check(1.004) is None
    assert plan.schedule.next_time() == 1.0 + PACE
    assert plan.check(1.01) is plan.pairs[1]
    assert plan.check(1.02) is plan.pairs[2]
    assert plan.schedule.next_time() == NEVER


def test_first_and_repeated_checks_take_turns() -> None:
    plan = Planned(4)
    order = [plan.check(1.0 + 0.01 * number, again=1.0) for number in range(4)]
    assert order == [plan.pairs[0], plan.pairs[0], plan.pairs[1], plan.pairs[0]]


def test_triggered_checks_come_first_and_once() -> None:
    plan = Planned(3)
    plan.schedule.trigger(plan.pairs[2], 1.0)
    plan.schedule.trigger(plan.pairs[2], 1.0)
    plan.schedule.trigger(plan.pairs[1], 1.0)
    assert [plan.check(1.0 + 0.01 * number) for number in range(3)] == plan.pairs[::-1]


def test_no_check_is_triggered_of_a_pair_that_was_withdrawn_or_is_gone() -> None:
    plan = Planned(4)
    for pair in plan.pairs:
        pair.next_check = NEVER
        plan.schedule.trigger(pair, 1.0)
    plan.schedule.withdraw(plan.pairs[0])
    plan.schedule.remove_base(plan.pairs[1].base)
    plan.checklist.remove_base(plan.pairs[2].base)
    assert plan.check(1.0) is plan.pairs[3]
    assert plan.check(2.0) is None


def test_checks_can_be_held_and_released() -> None:
    plan = Planned(1)
    plan.schedule.hold(3.0)
    assert plan.schedule.next_time() == 3.0
    assert plan.check(2.0) is None
    plan.schedule.release(2.0)
    assert plan.check(2.0) is plan.pairs[0]
