"""Copies of datagrams for a second path while the first one is in doubt; it knows neither the paths nor why.

A path that has died is noticed when an answer is late. What was sent meanwhile is lost, and so is all that follows
until another path is chosen. Copies arrive half a round trip after the doubt. DTLS discards those of datagrams that
have arrived after all (RFC 6347, 4.1.2.6), so SCTP sees no duplicate and reduces no window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

# Nothing is known about the second path. RFC 6928, 2 has a sender begin with ten segments then.
_MOST_KEPT: Final = 10
# Copies in one doubt, which ends within a few round trips unless nothing answers at all.
_MOST_COPIES: Final = 40


class Copies:
    """Keeps the latest datagrams, and sends copies while it is told to."""

    def __init__(self) -> None:
        self._latest: deque[tuple[float, Sequence[bytes]]] = deque(maxlen=_MOST_KEPT)
        self._send: Callable[[Sequence[bytes]], None] | None = None
        self._left = 0

    def note(self, datagrams: Sequence[bytes], now: float) -> None:
        """Keep datagrams that were sent, and send copies of them if wanted."""
        if len(datagrams) > _MOST_KEPT:
            datagrams = datagrams[-_MOST_KEPT:]
        self._latest.append((now, datagrams))
        if self._send is not None:
            self._copy(datagrams)

    def start(self, send: Callable[[Sequence[bytes]], None], since: float) -> None:
        """Send copies of what was sent since a time, and of what follows until `stop`."""
        self._send, self._left = send, _MOST_COPIES
        kept = [one for sent_at, datagrams in self._latest if sent_at >= since for one in datagrams]
        if kept:
            self._copy(kept[-_MOST_KEPT:])

    def stop(self) -> None:
        """Send no copies any longer."""
        self._send = None

    def _copy(self, datagrams: Sequence[bytes]) -> None:
        datagrams = datagrams[: self._left]
        self._left -= len(datagrams)
        if datagrams and self._send is not None:
            self._send(datagrams)
