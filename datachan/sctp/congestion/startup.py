"""The start of a transfer: it finds out what the path carries in a few round trips, without overflowing its queue.

The window leaves in an eighth of a round trip. If the acknowledgments come back as fast, the path carries at least that
rate, and the next window may be eight times as large: slow start needs three round trips for that. If they come back
more slowly, their spacing is the rate of the path. The window then goes to what the path holds at that rate, and does
not have to overflow a queue to find it. Without such trains the window doubles per round trip, as in slow start.
"""

from __future__ import annotations

from typing import Final

from .base import UNLIMITED, AckSample
from .hystart import rtt_threshold
from .path_model import INFINITE, PathModel
from .train import Train

GROWTH: Final = 8.0
"""Factor by which the window may grow per round trip, and windows per round trip at which packets are paced."""
SLOWER: Final = 0.7
"""A train that comes back at less than this part of the rate at which it was sent shows the rate of the path."""
PATH_PACE: Final = 2.0
"""The pace after such a train, as a multiple of its rate."""
RESERVE: Final = 1.25
"""The window may exceed by this factor what trains have shown, once their rate grows no more."""
SHORT_PATH: Final = 0.005
"""Seconds that a window lasts at least after the start: both processes may be late by milliseconds."""
FULL_GROWTH: Final = 1.25
"""Growth of the shown rate per round below which the path counts as full."""
FULL_ROUNDS: Final = 2
"""Rounds without such growth after which the path is full although no queue stands."""
LEAST_LOST_PACKETS: Final = 6
PLAIN_LOSS: Final = 0.12
QUEUE_LOSS: Final = 0.02
"""Shares of a round whose loss ends the start, without and with a queue."""


class Startup:
    """The search for what a path carries.

    Attributes:
        shown: bytes per second that trains have shown the path to carry.
    """

    __slots__ = (
        "_carried",
        "_full_rate",
        "_full_rounds",
        "_grows",
        "_path_pace",
        "_round_cwnd",
        "_sends_at",
        "_sent_at",
        "_shown_before",
        "_train",
        "shown",
    )

    def __init__(self, cwnd: int) -> None:
        self.shown = 0.0
        self._train = Train()
        self._full_rate = 0.0
        self._full_rounds = 0
        self._grows = True
        self._carried = UNLIMITED  # the window that the path has carried before, if that is known
        self._path_pace = INFINITE
        self._round_cwnd = cwnd
        self._shown_before = 0.0  # what trains had shown when the round began
        self._sent_at = 0.0  # the pace at which the data being acknowledged was sent
        self._sends_at = 0.0  # the pace of this round

    def grow(self, cwnd: int, sample: AckSample, path: PathModel, *, new_round: bool, used: bool) -> int:
        """Return the window after a SACK; `used` is whether what was sent has used it."""
        new_train = self._train.add(sample, path.min_rtt, new_round=new_round)
        if new_round:
            self._round_cwnd = cwnd
            self._shown_before = self.shown
            self._sent_at = self._sends_at
            self._sends_at = self.pacing_rate(cwnd, path.min_rtt)
        if new_train:
            rate = self._train.rate
            self.shown = max(self.shown, rate)
            self._grows = self.shown > FULL_GROWTH * self._shown_before
            self._path_pace = PATH_PACE * rate if rate < SLOWER * self._sent_at else INFINITE
        if sample.app_limited:
            return cwnd
        shown = self._shown_window(path)
        if used and ((self._grows and cwnd < self._carried) or cwnd < RESERVE * shown):
            cwnd += sample.bytes_acked
        if new_train:
            cwnd = max(cwnd, int(min(shown, GROWTH * self._round_cwnd)))
        return cwnd

    def resume(self, carried: int, rate: float) -> None:
        """Grow on to a window that the path has carried before; see `CongestionController.resume`.

        The data of this round is paced, so that its train cannot show more than `rate`. The window would double twice
        until another train does, and overflow the queue.
        """
        self._carried = carried
        self._sends_at = rate

    def is_over(self, cwnd: int, path: PathModel, max_payload: int) -> bool:
        """Return whether the round that has just ended shows that the path is full."""
        if self.shown >= FULL_GROWTH * self._full_rate or cwnd < self._shown_window(path):
            self._full_rate = self.shown
            self._full_rounds = 0
        else:
            self._full_rounds += 1
        stands = rtt_threshold(path.min_rtt) < path.round_min_rtt - path.min_rtt < INFINITE
        if path.round_lost > PLAIN_LOSS * path.round_bytes and path.round_lost > LEAST_LOST_PACKETS * max_payload:
            return True
        if stands and path.round_lost > QUEUE_LOSS * path.round_bytes:
            return True
        return self._full_rounds > (0 if stands else FULL_ROUNDS)

    def result(self, cwnd: int, path: PathModel) -> int:
        """Return the window that the path holds without a queue, at most `cwnd`."""
        return int(min(cwnd, max(path.bdp, self._shown_window(path))))

    def _shown_window(self, path: PathModel) -> float:
        return self.shown * max(path.min_rtt, SHORT_PATH)

    def pacing_rate(self, cwnd: int, srtt: float) -> float:
        """Return the bytes per second at which packets are sent."""
        return min(GROWTH * cwnd / srtt, self._path_pace)
