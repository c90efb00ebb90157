"""The policies by which messages are abandoned (RFC 3758, RFC 7496), and the number abandoned by each.

This module decides nothing.
"""

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
    """The numbers of abandoned messages (RFC 7496, sections 4.3 and 4.4).

    For each policy, `..._unsent` counts messages of which no part was sent, `..._sent` those of which a part was sent.
    """

    lifetime_unsent: int = 0
    lifetime_sent: int = 0
    retransmissions_unsent: int = 0
    retransmissions_sent: int = 0
    priority_unsent: int = 0
    priority_sent: int = 0

    @property
    def unsent(self) -> int:
        """The number of unsent messages abandoned, by all policies."""
        return self.lifetime_unsent + self.retransmissions_unsent + self.priority_unsent

    @property
    def sent(self) -> int:
        """The number of partly sent messages abandoned, by all policies."""
        return self.lifetime_sent + self.retransmissions_sent + self.priority_sent


class AbandonmentCounter:
    """A counter of abandoned messages."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = [0] * (2 * len(REASONS))

    def count(self, policy: int, *, sent: bool) -> None:
        """Count one more message abandoned by this policy."""
        self._counts[2 * policy + sent] += 1

    def total(self) -> AbandonedMessages:
        """Return the numbers counted so far."""
        return AbandonedMessages(*self._counts)
