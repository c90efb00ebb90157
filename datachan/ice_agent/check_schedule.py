"""The order and pace of checks (RFC 8445, 6.1.4): which pair is checked next, and when; it knows no messages.

Triggered checks come before all others. First checks of pairs and repeated checks take turns, so that neither many new
candidates nor many unanswered pairs hold up the others.
"""

from __future__ import annotations

from collections import deque

from .candidates import Base
from .pairs import NEVER, CandidatePair, Checklist


class CheckSchedule:
    """Plans the checks of one checklist.

    Args:
        checklist: all pairs, each with the time of its next check.
        pace: Ta, the least time between two checks.
        now: the time.

    Attributes:
        next_at: the earliest time of the next check, because checks are paced.
    """

    def __init__(self, checklist: Checklist, pace: float, now: float) -> None:
        self._checklist = checklist
        self._pace = pace
        self._triggered: deque[CandidatePair] = deque()
        self._first_next = True
        self.next_at = now

    def trigger(self, pair: CandidatePair, now: float) -> None:
        """Check a pair before all others (RFC 8445, 6.1.4.1)."""
        if not self._triggered:
            self.next_at = max(self.next_at, now)
        if pair not in self._triggered:
            self._triggered.append(pair)

    def withdraw(self, pair: CandidatePair) -> None:
        """Trigger no check of a pair any longer."""
        if pair in self._triggered:
            self._triggered.remove(pair)

    def remove_base(self, base: Base) -> None:
        """Trigger no check on a link any longer."""
        self._triggered = deque(pair for pair in self._triggered if pair.base is not base)

    def hold(self, until: float) -> None:
        """Send no check before a time."""
        self.next_at = max(self.next_at, until)

    def release(self, now: float) -> None:
        """Hold no longer."""
        self.next_at = min(self.next_at, now)

    def next_time(self) -> float:
        """Return when the next check is due; infinity while none is planned."""
        due = -NEVER if self._triggered else min((pair.next_check for pair in self._checklist), default=NEVER)
        return NEVER if due == NEVER else max(due, self.next_at)

    def next_pair(self, now: float) -> CandidatePair | None:
        """Return the pair to check now: a triggered one, else first and repeated checks in turns."""
        if now < self.next_at:
            return None
        while self._triggered:
            pair = self._triggered.popleft()
            if self._checklist.get(pair.base, pair.destination) is pair:
                return pair
        due = [pair for pair in self._checklist if pair.next_check <= now]
        first = self._checklist.next_waiting() if any(pair.requests_sent == 0 for pair in due) else None
        repeated = min((pair for pair in due if pair.requests_sent), key=lambda pair: pair.next_check, default=None)
        if first is not None and (self._first_next or repeated is None):
            self._first_next = False
            return first
        self._first_next = True
        return repeated

    def note_sent(self, pair: CandidatePair, now: float) -> None:
        """Note that a pair is checked now: the next check follows after `pace`."""
        if pair.requests_sent == 0:
            self._checklist.take_turn(pair)
        self.next_at = now + self._pace
