"""A timer is a value: it knows when it expires and how often it has, never what for."""

from __future__ import annotations


class Timer:
    """One retransmission timer with exponential backoff (RFC 9260, section 6.3).

    Attributes:
        expires_at: the moment it expires (monotonic seconds), or None when stopped.
        expirations: how often it expired since it was last started afresh.
    """

    __slots__ = ("expirations", "expires_at")

    def __init__(self) -> None:
        self.expires_at: float | None = None
        self.expirations: int = 0

    @property
    def running(self) -> bool:
        """Whether the timer is running."""
        return self.expires_at is not None

    def start(self, now: float, duration: float) -> None:
        """(Re)start the timer; the count of expirations stays."""
        self.expires_at = now + duration

    def postpone(self, seconds: float) -> None:
        """Let it expire so much later, if it runs."""
        if self.expires_at is not None:
            self.expires_at += seconds

    def stop(self) -> None:
        """Stop the timer and forget its expirations."""
        self.expires_at = None
        self.expirations = 0

    def expire(self, now: float) -> bool:
        """Whether the timer has expired by `now`; if so it is stopped and the expiration counted."""
        if self.expires_at is None or now < self.expires_at:
            return False
        self.expires_at = None
        self.expirations += 1
        return True


def earliest(first: float | None, second: float | None) -> float | None:
    """The earlier of two moments, where None means never."""
    if first is None:
        return second
    if second is None or first < second:
        return first
    return second
