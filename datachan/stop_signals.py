"""SIGINT and SIGTERM as events of the running event loop; knows nothing of what they end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import Self


class StopSignals:
    """Notes the signals that ask a program to end, while the `with` block runs. On Windows it notes none.

    Attributes:
        stopped: Set by the first signal.
        hurried: Set by the second signal: the program should end without waiting for anything.
        terminated: Whether the first signal was SIGTERM, as from a process manager, and not Ctrl+C.
    """

    def __init__(self) -> None:
        self.stopped = asyncio.Event()
        self.hurried = asyncio.Event()
        self.terminated = False

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl+C raises KeyboardInterrupt instead
            loop.add_signal_handler(signal.SIGINT, self._note, signal.SIGINT)
            loop.add_signal_handler(signal.SIGTERM, self._note, signal.SIGTERM)
        return self

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(NotImplementedError):
            loop.remove_signal_handler(signal.SIGINT)
            loop.remove_signal_handler(signal.SIGTERM)

    def _note(self, number: signal.Signals) -> None:
        if self.stopped.is_set():
            self.hurried.set()
        else:
            self.terminated = number == signal.SIGTERM
            self.stopped.set()
