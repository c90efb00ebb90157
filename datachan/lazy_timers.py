"""Timers of an event loop whose deadlines move with every datagram; it does not know what they are for.

Nearly every deadline of a connection moves to a later time before it comes: each acknowledgment moves the next
retransmission. So a timer is set for an earlier moment only, and is not canceled for a later one. When it fires too
early, it asks for the deadline and waits on. That costs less than to cancel it each time.

Deadlines that are not near are rounded up, and all connections share one timer of the event loop for a moment. With a
thousand connections, that spares most of the timers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import ceil
from typing import Final
from weakref import WeakKeyDictionary

# Deadlines at least this many seconds away may be late by a step, in seconds: by a tenth of the time at most.
_NEAR: Final = 0.05
_STEP: Final = 0.005
# Moments that one timer waits for. Each is earlier than the one before, so there are seldom more than two.
_MAX_MOMENTS: Final = 4


class LazyTimer:
    """One timer for one deadline.

    Args:
        loop: the event loop.
        deadline: returns the deadline as it is now; None while there is none.
        callback: called with the time when the deadline has come. It sets the timer again.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deadline: Callable[[], float | None],
        callback: Callable[[float], None],
    ) -> None:
        self._loop = loop
        self._deadline = deadline
        self._callback: Callable[[float], None] | None = callback
        self._shared = _moments_of(loop)
        self._moments: list[_Moment] = []  # the earliest last

    @property
    def running(self) -> bool:
        """Whether the deadline will be looked at."""
        return bool(self._moments)

    def set(self, deadline: float | None) -> None:
        """Wait for this deadline, or one that has been set before and is earlier; None stops the timer."""
        moments = self._moments
        if deadline is None:
            self._stop()
            return
        if self._callback is None or (moments and moments[-1].time <= deadline):
            return
        if deadline - self._loop.time() < _NEAR:
            moment = _Moment(self._loop, deadline, self._shared, -1)
        else:
            step = ceil(deadline / _STEP)
            if moments and moments[-1].time <= step * _STEP:
                return
            found = self._shared.get(step)
            moment = _Moment(self._loop, step * _STEP, self._shared, step) if found is None else found
        moment.timers[self] = None
        moments.append(moment)
        if len(moments) > _MAX_MOMENTS:
            moments.pop(0).remove(self)

    def close(self) -> None:
        """Stop, and never call the callback again."""
        self._callback, self._deadline = None, _none
        self._stop()

    def _stop(self) -> None:
        for moment in self._moments:
            moment.remove(self)
        self._moments.clear()

    def fire(self, moment: _Moment) -> None:
        """Call the callback if the deadline has come, unless the timer was stopped since."""
        if moment not in self._moments or self._callback is None:
            return
        self._moments.remove(moment)
        deadline, now = self._deadline(), self._loop.time()
        if deadline is None or deadline > now:  # it has moved since the timer was set
            self.set(deadline)
        elif self._callback is not None:
            self._callback(now)


def _none() -> None:
    return None


class _Moment:
    """A timer of the event loop, for all that wait for this time.

    Attributes:
        time: when it fires.
        timers: those that wait, in order.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, time: float, shared: dict[int, _Moment], step: int) -> None:
        self.time = time
        self.timers: dict[LazyTimer, None] = {}
        self._loop = loop
        self._shared = shared
        self._step = step
        self._handle: asyncio.TimerHandle | None = loop.call_at(time, self._fire)
        if step >= 0:
            shared[step] = self

    def remove(self, timer: LazyTimer) -> None:
        """Wake a timer no longer; without any, the timer of the event loop is canceled."""
        self.timers.pop(timer, None)
        if not self.timers and self._handle is not None:
            self._handle.cancel()
            self._end()

    def _end(self) -> None:
        self._handle = None
        if self._step >= 0:
            self._shared.pop(self._step, None)

    def _fire(self) -> None:
        self._end()
        for timer in tuple(self.timers):
            try:
                timer.fire(self)
            except Exception as error:  # the others have to be woken, too
                self._loop.call_exception_handler({"message": "a timer raised", "exception": error})
        self.timers.clear()


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, _Moment]] = WeakKeyDictionary()


def _moments_of(loop: asyncio.AbstractEventLoop) -> dict[int, _Moment]:
    """Return the moments that the timers of an event loop share, by their number of steps."""
    moments = _of_loops.get(loop)
    if moments is None:
        moments = _of_loops[loop] = {}
    return moments
