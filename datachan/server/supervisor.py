"""Starts the workers of a server and replaces those that end; knows nothing of what they serve.

The supervisor has no event loop and no thread: it waits for signals. Each worker is forked from it, so that a worker is
replaced within milliseconds and runs the same program.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias

from datachan.collector import collect_rarely
from datachan.ice.mux_neighbors import MAX_NEIGHBORS
from datachan.log_rate import get_limited_logger
from datachan.server.worker import Worker

logger = get_limited_logger("datachan.server")

Main: TypeAlias = Callable[[Worker], Coroutine[Any, Any, None]]
"""What a worker runs: a coroutine function, in an event loop of its own."""

_SIGNALS: Final = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)
_SETTLED: Final = 5.0
"""Seconds after which a worker counts as well started."""

_MAX_FAILURES: Final = 5
"""Workers in a row that may end before they have settled; the program cannot run if there are more."""

_PAUSE: Final = 0.3
"""Seconds before a worker that has ended before it has settled is replaced; a settled one is replaced at once."""


def run_workers(main: Main, count: int) -> int:
    """Run a server in several processes, until SIGTERM or Ctrl+C. Call it before there is an event loop or a thread.

        async def main(worker):
            async with serve(handler, "0.0.0.0", 8080, udp_port=3478, worker=worker) as server:
                await server.until_stopped()

        run_workers(main, 4)

    A worker that ends is replaced. SIGTERM and Ctrl+C are passed on as SIGTERM, so that each worker drains; a second
    one ends the workers at once. Each worker collects garbage rarely, see `collect_rarely`.

    Args:
        main: What each worker runs. It is called with the `Worker` to pass to `serve`.
        count: The number of workers, at most 64. One for each processor serves the most.

    Returns:
        The exit status for the program: 0 after a signal, 1 if the workers could not run.

    Raises:
        OSError: The system cannot fork, as on Windows.
        RuntimeError: The process has other threads, which a fork would lose.
        ValueError: There are too many workers, or none.
    """
    if not 1 <= count <= MAX_NEIGHBORS:
        raise ValueError(f"a server has from 1 to {MAX_NEIGHBORS} workers, not {count}")
    if not hasattr(os, "fork") or not hasattr(signal, "sigtimedwait"):
        raise OSError("workers need a system that can fork and wait for signals, such as Linux")
    if threading.active_count() > 1:
        raise RuntimeError("workers are forked from a process without other threads")
    with tempfile.TemporaryDirectory(prefix="datachan-workers-", ignore_cleanup_errors=True) as folder:
        return _Supervisor(main, count, Path(folder)).run()


class _Supervisor:
    """The workers, by process id."""

    def __init__(self, main: Main, count: int, folder: Path) -> None:
        self._main = main
        self._count = count
        self._folder = folder
        self._running: dict[int, tuple[int, float]] = {}
        self._waiting: dict[int, float] = {}
        self._failures = 0
        self._stopping = False
        # The workers hold the other end. It closes with this process, whatever ends it.
        self._alive, self._kept = os.pipe()

    def run(self) -> int:
        """Run until all workers have ended; return the exit status."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            for index in range(self._count):
                self._start(index)
            while self._running or self._waiting:
                self._start_due()
                received = signal.sigtimedwait(_SIGNALS, self._patience())
                if received is None:
                    continue
                if received.si_signo == signal.SIGCHLD:
                    self._reap()
                else:
                    self._stop()
        finally:
            self._end(signal.SIGKILL)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(self._kept)
            os.close(self._alive)
        return 1 if self._failures > _MAX_FAILURES else 0

    def _patience(self) -> float:
        now = time.monotonic()
        return max(0.0, min((due - now for due in self._waiting.values()), default=3600.0))

    def _start_due(self) -> None:
        now = time.monotonic()
        for index in [index for index, due in self._waiting.items() if due <= now]:
            del self._waiting[index]
            self._start(index)

    def _start(self, index: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        process = os.fork()
        if process == 0:
            os.close(self._kept)
            _become_worker(self._main, Worker(index, self._count, self._folder), self._alive)
        self._running[process] = index, time.monotonic()

    def _reap(self) -> None:
        """Take notice of the workers that have ended, and have them replaced."""
        while self._running:
            process, status = os.waitpid(-1, os.WNOHANG)
            if not process:
                return
            if process not in self._running:
                continue
            index, started = self._running.pop(process)
            if self._stopping:
                continue
            now = time.monotonic()
            settled = now - started >= _SETTLED
            self._failures = 0 if settled else self._failures + 1
            code = os.waitstatus_to_exitcode(status)
            if self._failures > _MAX_FAILURES:
                logger.error("server: worker %d ended with status %d, like those before it", index, code)
                self._stop()
                continue
            logger.warning("server: worker %d ended with status %d and is replaced", index, code)
            self._waiting[index] = now if settled else now + _PAUSE

    def _stop(self) -> None:
        self._waiting.clear()
        self._end(signal.SIGKILL if self._stopping else signal.SIGTERM)
        self._stopping = True

    def _end(self, number: signal.Signals) -> None:
        for process in self._running:
            os.kill(process, number)


def _become_worker(main: Main, worker: Worker, alive: int) -> NoReturn:
    """Run a worker in this process, and end the process."""
    status = 1
    try:
        # Ctrl+C in a terminal goes to the supervisor only, which passes it on.
        os.setpgrp()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        collect_rarely()
        asyncio.run(_watched(main, worker, alive))
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


async def _watched(main: Main, worker: Worker, alive: int) -> None:
    """Run a worker, and have it drain when the supervisor has ended."""
    loop = asyncio.get_running_loop()

    def orphaned() -> None:
        loop.remove_reader(alive)
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(alive, orphaned)
    try:
        await main(worker)
    finally:
        loop.remove_reader(alive)
