"""The repetition of the first flight of DTLS, until the peer has sent anything; it knows no link.

A peer that sets up DTLS when ICE has found a path (libdatachannel) drops a ClientHello that arrives first. DTLS itself
repeats it after one second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

# Seconds until the flight is first repeated, and the longest interval.
_FIRST: Final = 0.02
_LAST: Final = 0.4


class HelloRepetition:
    """Sends a flight again at intervals that double, from construction until `stop`.

    Args:
        flight: the datagrams.
        repeat: sends them again if the peer has sent nothing yet; returns whether it has sent them.
    """

    def __init__(self, flight: list[bytes], repeat: Callable[[list[bytes]], bool]) -> None:
        self._flight = flight
        self._repeat = repeat
        self._timer = self._later(_FIRST)

    def _later(self, wait: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(wait, self._due, wait)

    def _due(self, waited: float) -> None:
        if self._repeat(self._flight) and 2 * waited <= _LAST:
            self._timer = self._later(2 * waited)

    def stop(self) -> None:
        """Send nothing any longer."""
        self._timer.cancel()
