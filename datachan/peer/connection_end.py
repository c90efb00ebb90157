"""What `close` waits for: the end of a handshake, and the delivery of what is queued; it closes nothing itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

_POLL: Final = 0.25
# Seconds after `begin` in which the peer's first check may arrive, and seconds that the rest of a handshake may take,
# before `close` gives up to tell the peer.
_FIRST_CONTACT: Final = 0.25
_HANDSHAKE_END: Final = 1.0


class ConnectionEnd:
    """Notes how far a connection has come, and waits for its end."""

    def __init__(self) -> None:
        self._closed = asyncio.Event()
        self._connected_or_over = asyncio.Event()
        self._began_at = 0.0

    @property
    def closed(self) -> bool:
        """Whether the association has ended."""
        return self._closed.is_set()

    def begin(self) -> None:
        """Note that the connection is being set up from now on."""
        self._began_at = _now()

    def note_handshake(self, *, over: bool) -> None:
        """Note that a handshake begins, or is complete or has failed."""
        if over:
            self._connected_or_over.set()
        else:
            self._connected_or_over.clear()

    def note_closed(self) -> None:
        """Note that the association has ended, and with it a handshake."""
        self._closed.set()
        self._connected_or_over.set()

    async def handshake_over(self, has_heard_peer: Callable[[], bool], hurry: asyncio.Event) -> None:
        """Wait for the end of a handshake with a peer that is there, because only then can the peer be told of the end.

        Without that, the peer would notice when consent ends, 30 seconds later.
        """
        now = _now()
        for deadline in (self._began_at + _FIRST_CONTACT, now + _HANDSHAKE_END):
            await _any_set((self._connected_or_over, hurry), deadline - _now())
            if not has_heard_peer():
                return

    async def delivered(self, undelivered: Callable[[], int], hurry: asyncio.Event, patience: float) -> bool:
        """Wait for the graceful end; return False if there is none in time.

        Args:
            undelivered: returns the bytes that the peer has not acknowledged.
            hurry: an event that ends the wait.
            patience: the seconds without progress after which the wait ends.
        """
        least, deadline = undelivered(), _now() + patience
        while not self.closed and not hurry.is_set():
            await _any_set((self._closed, hurry), _POLL)
            if (left := undelivered()) < least:
                least, deadline = left, _now() + patience
            elif _now() >= deadline:
                break
        return self.closed


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _any_set(events: Sequence[asyncio.Event], seconds: float) -> None:
    """Wait until one of the events is set, or the time is over."""
    if seconds <= 0 or any(event.is_set() for event in events):
        return
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
