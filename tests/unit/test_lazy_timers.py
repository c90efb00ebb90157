"""Lazy timers: never too late by more than a step, shared, and nothing left behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from datachan.lazy_timers import LazyTimer
from tests.unit.timers import Timers

STEP = 0.005


class Owner:
    """The owner of a timer, which notes when it is called."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.deadline: float | None = None
        self.timer = LazyTimer(self.loop, lambda: self.deadline, self._called)
        self.calls: list[float] = []
        self.called = asyncio.Event()

    def _called(self, now: float) -> None:
        self.calls.append(now)
        self.called.set()

    def set(self, seconds: float) -> float:
        deadline = self.loop.time() + seconds
        self.set_at(deadline)
        return deadline

    def set_at(self, deadline: float) -> None:
        self.deadline = deadline
        self.timer.set(deadline)

    async def wait(self) -> float:
        async with asyncio.timeout(10):
            await self.called.wait()
        return self.calls[-1]


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.003, 0.049, 0.051, 0.12])
async def test_the_callback_is_called_once_and_not_before_the_deadline(seconds: float) -> None:
    owner, timers = Owner(), Timers()
    deadline = owner.set(seconds)
    assert [timer.when() <= deadline + STEP for timer in timers.pending()] in ([], [True])
    assert await owner.wait() >= deadline - 1e-6
    assert (len(owner.calls), owner.timer.running, timers.pending()) == (1, False, [])


async def test_a_later_deadline_sets_no_other_timer_and_an_earlier_one_does() -> None:
    owner, timers = Owner(), Timers()
    owner.set(10.0)
    owner.set(20.0)
    assert len(timers.pending()) == 1
    earlier = owner.set(5.0)
    assert min(timer.when() for timer in timers.pending()) == pytest.approx(earlier, abs=STEP + 0.001)
    owner.timer.close()


async def test_a_deadline_that_has_moved_or_gone_is_not_called_early() -> None:
    moved, gone = Owner(), Owner()
    for owner in (moved, gone):
        owner.set(0.01)
    moved.deadline, gone.deadline = moved.loop.time() + 0.2, None
    assert await moved.wait() >= moved.deadline
    assert len(moved.calls) == 1
    assert (gone.calls, gone.timer.running) == ([], False)


async def test_deadlines_of_one_step_share_a_timer_of_the_event_loop() -> None:
    owners, timers = [Owner() for _ in range(100)], Timers()
    deadline = owners[0].loop.time() + 0.06
    for owner in owners:
        owner.set_at(deadline)
    assert len(timers.pending()) == 1
    for owner in owners:
        await owner.wait()
    assert [len(owner.calls) for owner in owners] == [1] * 100


async def test_deadlines_that_move_ever_earlier_leave_few_timers() -> None:
    owner, timers = Owner(), Timers()
    for seconds in range(1000, 0, -1):
        owner.set(seconds)
    assert len(timers.pending()) == 4
    owner.timer.close()
    assert timers.pending() == []


async def test_none_stops_the_timer_and_leaves_it_usable() -> None:
    owner, timers = Owner(), Timers()
    owner.set(10.0)
    owner.timer.set(None)
    assert (owner.timer.running, timers.pending()) == (False, [])
    owner.set(0.0)
    await owner.wait()


async def test_a_closed_timer_neither_fires_nor_is_set_and_the_others_of_its_moment_fire() -> None:
    closed, other, timers = Owner(), Owner(), Timers()
    deadline = closed.loop.time() + 0.06
    for owner in (closed, other):
        owner.set_at(deadline)
    closed.timer.close()
    closed.set(0.0)
    await other.wait()
    assert (closed.calls, closed.timer.running, timers.pending()) == ([], False, [])


async def test_a_callback_may_close_the_timer_that_fires_next() -> None:
    first, second = Owner(), Owner()
    deadline = first.loop.time() + 0.06
    closing = LazyTimer(first.loop, lambda: deadline, lambda _: second.timer.close())
    closing.set(deadline)
    for owner in (second, first):
        owner.set_at(deadline)
    await first.wait()
    assert second.calls == []


async def test_a_callback_that_raises_is_reported_and_keeps_no_other_from_being_called() -> None:
    reported: list[dict[str, Any]] = []
    owner = Owner()
    owner.loop.set_exception_handler(lambda _, context: reported.append(context))

    def fail(now: float) -> None:
        raise ValueError("callback")

    deadline = owner.loop.time() + 0.06
    LazyTimer(owner.loop, lambda: deadline, fail).set(deadline)
    owner.set_at(deadline)
    await owner.wait()
    assert [type(context["exception"]) for context in reported] == [ValueError]
