"""How late the event loop runs what is due: the delay that every packet and timer of the process has, too."""

from __future__ import annotations

import asyncio
from typing import Final

from datachan.metrics import Metrics

_INTERVAL: Final = 0.25
"""Seconds between two measurements."""


class LoopLag:
    """Measures the running event loop four times a second until it is stopped.

    Args:
        metrics: Where the figures are registered.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._lag = metrics.histogram("datachan_event_loop_lag_seconds", "How late the event loop ran a timer.")
        self._loop = asyncio.get_running_loop()
        self._due = 0.0
        self._schedule()

    def stop(self) -> None:
        """Measure no more."""
        self._timer.cancel()

    def _schedule(self) -> None:
        self._due = self._loop.time() + _INTERVAL
        self._timer = self._loop.call_at(self._due, self._measure)

    def _measure(self) -> None:
        self._lag.observe(max(0.0, self._loop.time() - self._due))
        self._schedule()
