"""Whose queue is it: ours, which is too long above a limit, or that of other flows, which would only take our share?

Two experiments tell. After the window was reduced because of a long queue, that queue is gone if it was ours, and then
the limit is right. If it still stands and we deliver as much as before, the path itself carries less than it did, and
the window is reduced again. If we deliver less, other flows fill the queue. The old window is then restored, and no
limit holds. Every ten seconds without an empty queue the window is reduced for a round, to see the shortest round trip
again.
"""

from __future__ import annotations

from typing import Final

from .base import AckSample
from .path_model import INFINITE, PathModel

QUEUE_LIMIT: Final = 1.1
"""A queue of more than this number of shortest round trips is too long. TCP needs one round trip to fill the path."""
LEAST_LIMIT: Final = 0.010
"""Seconds of queue that are never too long: late processes look like it on short paths."""
JUDGE_ROUNDS: Final = 3
"""Rounds after a reduction in which the queue should have gone."""
STILL_THERE: Final = 0.75
"""Part of the limit above which the queue has not gone."""
SAME_RATE: Final = 0.85
"""The part of the delivery rate that is left after a reduction if the queue is ours alone: then it is never empty, and
the path still carries its rate. A flow that is half of two falls to 0.65 of its rate or less."""
SHRUNK: Final = 0.5
"""Our own window is the same each time when its queue is too long. If it is less than this part, others have grown."""
FORGET: Final = 0.95
"""The part of the highest such window that is remembered the next time."""
GONE: Final = 0.6
"""The queue of other flows has gone when the round trip falls below this part of what it was."""
DRAIN_AFTER: Final = 10.0
"""Seconds without an empty queue after which the path is drained."""
DRAINED: Final = 0.75
"""The window while it is drained, as a part of what the path holds."""
DRAINED_ROUNDS: Final = 2


class QueueOwner:
    """The owner of the path's queue.

    Attributes:
        foreign: whether other flows keep the queue long, so that no limit holds.
        restore: the window to return to after an experiment.
        draining: whether the path is being drained.
    """

    __slots__ = (
        "_drained_min",
        "_foreign_rtt",
        "_highest",
        "_judge_round",
        "_judged_rate",
        "_measure_until",
        "draining",
        "foreign",
        "restore",
    )

    def __init__(self) -> None:
        self.foreign = False
        self.restore = 0
        self._highest = 0
        self.draining = False
        self._foreign_rtt = 0.0
        self._judge_round = 0
        self._judged_rate = 0.0  # bytes per second of the data sent before the reduction
        self._measure_until = -1
        self._drained_min = INFINITE

    def is_too_long(self, cwnd: int, path: PathModel) -> bool:
        """Return, at the end of a round, whether the queue is ours and exceeds the limit."""
        if self.foreign:
            self.foreign = path.round_min_rtt >= GONE * self._foreign_rtt
            return False
        if path.round < self._judge_round:
            if path.round == self._judge_round - JUDGE_ROUNDS + 1:
                self._judged_rate = path.round_rate
            return False
        queue, limit = path.round_queue, max(QUEUE_LIMIT * path.min_rtt, LEAST_LIMIT)
        if self._judge_round and queue > STILL_THERE * limit:
            self._judge_round = 0
            # On a short path, processes wait for each other, and a hundred connections of one process reduce at once:
            # the rate shows nothing. `StandingQueue` bounds the queue there.
            if path.is_short or path.round_rate < SAME_RATE * self._judged_rate:
                self._blame_others(path.round_min_rtt)
                return False
            self._highest = cwnd
        self._judge_round = 0
        if queue <= limit:
            return False
        self._highest = max(cwnd, int(FORGET * self._highest))
        if cwnd < SHRUNK * self._highest:
            self.restore = self._highest
            self._highest = 0
            self._blame_others(path.round_min_rtt)
            return False
        self.restore = cwnd
        self._judge_round = path.round + JUDGE_ROUNDS
        return True

    def _blame_others(self, round_trip: float) -> None:
        self.foreign = True
        self._foreign_rtt = round_trip

    # -- draining ------------------------------------------------------------------------------------------------------

    def start_draining(self, cwnd: int, path: PathModel) -> int:
        """Start to drain the path; return the window for it."""
        self.restore = cwnd
        self.draining = True
        self._measure_until = -1
        self._drained_min = INFINITE
        return int(DRAINED * min(path.bdp, cwnd))

    def cancel(self) -> None:
        """End the experiment without a result."""
        self.draining = False
        self._judge_round = 0

    def drain(self, cwnd: int, sample: AckSample, path: PathModel) -> None:
        """Measure the round trip while the path is drained, and draw the conclusions at the end."""
        if self._measure_until < 0:
            if sample.flight_after <= cwnd:
                self._measure_until = path.round + DRAINED_ROUNDS
            return
        if sample.round_trip is not None:
            self._drained_min = min(self._drained_min, sample.round_trip)
        if path.round < self._measure_until:
            return
        self.cancel()
        measured = self._drained_min
        if measured == INFINITE:
            return
        if measured > (1 + QUEUE_LIMIT) * path.min_rtt:
            self._blame_others(measured)
        elif measured < GONE * self._foreign_rtt:
            self.foreign = False
        path.replace_min_rtt(measured, sample.now)
