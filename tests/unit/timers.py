"""Records the timers that are set on an event loop, so that a test can check which ones are left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class Timers:
    """All timers set on the running loop since this was made, by `call_at` or `call_later`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._set: list[asyncio.TimerHandle] = []
        self._call_at = self._loop.call_at
        self._loop.call_at = self._watch  # type: ignore[assignment]

    def _watch(self, when: float, callback: Callable[..., object], *arguments: Any, **options: Any) -> Any:
        timer = self._call_at(when, callback, *arguments, **options)
        self._set.append(timer)
        return timer

    def pending(self) -> list[asyncio.TimerHandle]:
        """Return the timers that are neither canceled nor due."""
        now = self._loop.time()
        return [timer for timer in self._set if not timer.cancelled() and timer.when() > now]
