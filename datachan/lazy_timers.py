"""Timers of an event loop whose deadlines move with every datagram; it does not know what they are for.

Nearly every deadline of a connection moves to a later time before it comes: each acknowledgment moves the next
retransmission. So a timer is set for an earlier moment only, and is not canceled for a later one. It then fires too
early, which costs less than to cancel it each time.

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
    """One timer, whose callback finds out itself whether anything is due.

    Args:
        loop: the event loop.
        callback: called when a deadline has come, or one that has moved since. It sets the timer again.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback: Callable[[], None] | None = callback
        self._shared = _moments_of(loop)
        self._moments: list[_Moment] = []  # the earliest last

    @property
    def running(self) -> bool:
        """Whether the callback will be called."""
        return bool(self._moments)

    def set(self, deadline: float | None) -> None:
        """Have the callback called at `deadline`, and perhaps before; None stops the timer."""
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
        self._callback = None
        self._stop()

    def _stop(self) -> None:
        for moment in self._moments:
            moment.remove(self)
        self._moments.clear()

    def fire(self, moment: _Moment) -> None:
        """Call the callback, unless the timer was stopped since."""
        if moment in self._moments and self._callback is not None:
            self._moments.remove(moment)
            self._callback()


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
