"""Why messages are given up: the policies of RFC 3758 and RFC 7496, and how many each has cost. It decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LIFETIME: Final = 0
RETRANSMISSIONS: Final = 1
PRIORITY: Final = 2

REASONS: Final = (
    "its lifetime ended",
    "its retransmissions ran out",
    "a message of a higher priority needed its place in the send buffer",
)
"""Each policy in words, as the reason of a `SendFailed`."""


@dataclass(frozen=True, slots=True)
class AbandonedMessages:
    """How many messages were given up (RFC 7496, sections 4.3 and 4.4).

    Of each policy: unsent, before any part of the message was sent, and sent, after.
    """

    lifetime_unsent: int = 0
    lifetime_sent: int = 0
    retransmissions_unsent: int = 0
    retransmissions_sent: int = 0
    priority_unsent: int = 0
    priority_sent: int = 0

    @property
    def unsent(self) -> int:
        """Of all policies."""
        return self.lifetime_unsent + self.retransmissions_unsent + self.priority_unsent

    @property
    def sent(self) -> int:
        """Of all policies."""
        return self.lifetime_sent + self.retransmissions_sent + self.priority_sent


class AbandonmentCounter:
    """Counts as messages are given up."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = [0] * (2 * len(REASONS))

    def count(self, policy: int, *, sent: bool) -> None:
        """One more message was given up by this policy."""
        self._counts[2 * policy + sent] += 1

    def total(self) -> AbandonedMessages:
        """What was counted so far."""
        return AbandonedMessages(*self._counts)
