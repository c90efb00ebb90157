"""The stream identifiers for our channels: even or odd by role, unused ones first; it knows no channel."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

# Stream identifiers are 16 bits, but an association has 65,535 streams at most (RFC 9260, 3.3.2: OS is 16 bits too).
MAX_STREAMS: Final = 65535


MAX_RESTING: Final = 1024
"""The most returned identifiers that are kept unused as long as there are others. It bounds the streams for which
either side has state, however many channels open and close."""


class IdPool:
    """The identifiers of one role in one association.

    Identifiers that were never used come first, because the peer may still be completing its own reset when ours is
    complete. Once `MAX_RESTING` identifiers were returned, the one that has been free for the longest time comes first.

    Args:
        parity: 0 for the DTLS client, 1 for the server (RFC 8832, section 6).
        limit: the number of streams.
    """

    def __init__(self, parity: int, limit: int) -> None:
        self._limit = min(limit, MAX_STREAMS)
        self._fresh = parity
        self._parity = parity
        self._returned: dict[int, None] = {}  # in the order they came back

    def take(self, used: Container[int]) -> int | None:
        """Return an identifier that is not among the used ones, or None when none is left."""
        while self._fresh < self._limit and len(self._returned) < MAX_RESTING:
            candidate = self._fresh
            self._fresh += 2
            if candidate not in used:
                return candidate
        while self._returned:
            candidate = next(iter(self._returned))
            del self._returned[candidate]
            if candidate not in used:
                return candidate
        return None

    def give_back(self, identifier: int) -> None:
        """Return an identifier to the pool. One of the other role, or one that is not in use, is ignored."""
        if identifier % 2 == self._parity and identifier < self._fresh:
            self._returned[identifier] = None
