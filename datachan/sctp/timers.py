"""A timer as a value: it knows when it expires and how often it has, but not its purpose."""

from __future__ import annotations


class Timer:
    """One retransmission timer with exponential backoff (RFC 9260, section 6.3).

    Attributes:
        expires_at: the moment it expires (monotonic seconds), or None when stopped.
        expirations: expirations since the last `stop`.
        hastened: whether what waits for the timer was sent early since the last expiration.
    """

    __slots__ = ("expirations", "expires_at", "hastened")

    def __init__(self) -> None:
        self.expires_at: float | None = None
        self.expirations: int = 0
        self.hastened = False

    @property
    def running(self) -> bool:
        """Whether the timer is running."""
        return self.expires_at is not None

    def start(self, now: float, duration: float) -> None:
        """Start or restart the timer; the count of expirations is kept."""
        self.expires_at = now + duration

    def bring_forward(self, now: float, duration: float) -> None:
        """Have the timer expire after `duration` at the latest; start it if it is not running."""
        moment = now + duration
        if self.expires_at is None or self.expires_at > moment:
            self.expires_at = moment

    def hasten(self) -> bool:
        """Return whether what waits for the timer is to be sent now: once after each expiration while it runs."""
        if self.expires_at is None or self.expirations == 0 or self.hastened:
            return False
        self.hastened = True
        return True

    def postpone(self, seconds: float) -> None:
        """Delay the expiration by `seconds`, if the timer is running."""
        if self.expires_at is not None:
            self.expires_at += seconds

    def stop(self) -> None:
        """Stop the timer and reset its count of expirations."""
        self.expires_at = None
        self.expirations = 0

    def expire(self, now: float) -> bool:
        """Return whether the timer has expired by `now`; if so, stop it and count the expiration."""
        if self.expires_at is None or now < self.expires_at:
            return False
        self.expires_at = None
        self.expirations += 1
        self.hastened = False
        return True


def earliest(first: float | None, second: float | None) -> float | None:
    """Return the earlier of two moments, where None means never."""
    if first is None:
        return second
    if second is None or first < second:
        return first
    return second
