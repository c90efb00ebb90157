"""Which stream identifier a channel of ours gets: even or odd by role, fresh ones first; it knows no channel."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

# Stream identifiers are 16 bits, but an association has 65,535 streams at most (RFC 9260, 3.3.2: OS is 16 bits too).
MAX_STREAMS: Final = 65535


class IdPool:
    """The identifiers of one role in one association.

    An identifier that was never used is taken before one that was: a peer may still be busy with the last round trip
    of its reset when we know ours to be done. Of those given back, the one longest free is taken.

    Args:
        parity: 0 for the DTLS client, 1 for the server (RFC 8832, section 6).
        limit: how many streams there are.
    """

    def __init__(self, parity: int, limit: int) -> None:
        self._limit = min(limit, MAX_STREAMS)
        self._fresh = parity
        self._parity = parity
        self._returned: dict[int, None] = {}  # in the order they came back

    def take(self, used: Container[int]) -> int | None:
        """Give an identifier that is not among the used ones; None when there is none."""
        while self._fresh < self._limit:
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
        """Take an identifier back, of either role; only one we gave or passed over will come out again."""
        if identifier % 2 == self._parity and identifier < self._fresh:
            self._returned[identifier] = None
