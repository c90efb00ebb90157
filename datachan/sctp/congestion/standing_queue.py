"""The queue that never empties on a short path; it measures the excess and changes no window.

Between two processes of one host, or of two hosts of a fast network, a window takes longer to process than to travel.
What is in flight beyond the few batches that keep both sides at work only delays the messages behind it: on loopback, a
window of 5 MB waits 15 ms. The shortest wait of many rounds is what the window is too large by. A single round may be
late with all its packets because one of the processes was.
"""

from __future__ import annotations

from typing import Final

from .path_model import INFINITE, PathModel

TARGET: Final = 0.0015
"""Seconds of queue that keep both sides at work: batches of 125 kB that one side seals while the other opens one."""
PERIOD: Final = 0.05
PERIOD_ROUNDS: Final = 3
"""The seconds, and the rounds, in which the queue was never shorter than the excess and the target together."""


class StandingQueue:
    """The shortest wait of the packets of the last rounds."""

    __slots__ = ("_ends_at", "_rounds", "_shortest")

    def __init__(self) -> None:
        self._shortest = INFINITE
        self._rounds = 0
        self._ends_at = -1.0

    def excess(self, path: PathModel, now: float) -> float:
        """Return, at the end of a round, the seconds by which the queue of a complete period exceeded the target."""
        if not path.is_short:
            return 0.0
        if self._ends_at < 0:
            self._restart(now)
        self._rounds += 1
        self._shortest = min(self._shortest, path.round_queue)
        if now < self._ends_at or self._rounds < PERIOD_ROUNDS:
            return 0.0
        excess = self._shortest - TARGET
        self._restart(now)
        return max(excess, 0.0)

    def _restart(self, now: float) -> None:
        """Start a new period."""
        self._shortest = INFINITE
        self._rounds = 0
        self._ends_at = now + PERIOD
