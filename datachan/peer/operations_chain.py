"""The operations chain of a connection, and the moment of `negotiationneeded` (W3C WebRTC, 4.4.1.2 and 4.7.3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

CALLER_TURNS: Final = 4
"""The turns of the event loop after which the caller of an operation has gone on.

It may have awaited the operation through a task, as asyncio.wait_for does.
"""


class OperationsChain:
    """Runs the operations of a connection one at a time, and emits `negotiationneeded` when none is left.

    Args:
        needs_negotiation: returns whether the state is stable and the descriptions no longer fit the connection.
        emit: emits `negotiationneeded`.
    """

    def __init__(self, needs_negotiation: Callable[[], bool], emit: Callable[[], object]) -> None:
        self._needs_negotiation = needs_negotiation
        self._emit = emit
        self._lock = asyncio.Lock()
        self._running = 0
        self._update_when_idle = False
        self._negotiation_needed = False
        self._waits: set[asyncio.Future[None]] = set()

    @asynccontextmanager
    async def operation(self) -> AsyncIterator[None]:
        """Run the body when the operations before it are complete."""
        with self.call():
            async with self._lock:
                yield

    @contextmanager
    def call(self) -> Iterator[None]:
        """Count a call as an operation that is not complete, without delaying other operations."""
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            if not self._running and self._update_when_idle:
                self._update_when_idle = False
                self._schedule(CALLER_TURNS)

    async def wait_unless_superseded(self, work: Awaitable[None]) -> None:
        """Wait for work that follows an operation, or until `release_callers` ends the wait and cancels the work."""
        superseded = asyncio.get_running_loop().create_future()
        self._waits.add(superseded)
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task, superseded}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waits.discard(superseded)
            task.cancel()

    async def release_callers(self) -> None:
        """Let earlier calls return, before the description that they have set is replaced.

        Their callers read `localDescription` next, to send it to the peer.
        """
        if not self._waits:
            return
        for superseded in self._waits:
            if not superseded.done():
                superseded.set_result(None)
        for _ in range(CALLER_TURNS):
            await asyncio.sleep(0)

    def clear_negotiation_needed(self) -> None:
        """Allow another `negotiationneeded` event, because the state has become stable."""
        self._negotiation_needed = False

    def update_negotiation_needed(self) -> None:
        """Emit `negotiationneeded` if negotiation is needed, once no operation is left (W3C WebRTC, 4.7.3)."""
        if self._running:
            self._update_when_idle = True
        else:
            self._schedule(1)

    def end(self) -> None:
        """Emit nothing any longer, and release the callbacks, which refer to the connection."""
        self._needs_negotiation = self._emit = _never

    def _schedule(self, turns: int) -> None:
        try:
            asyncio.get_running_loop().call_soon(self._check, turns - 1)
        except RuntimeError:  # no event loop runs yet, so no callback can wait for the event
            return

    def _check(self, turns: int) -> None:
        if self._running:
            self._update_when_idle = True
        elif turns:
            self._schedule(turns)
        elif not self._needs_negotiation():
            self._negotiation_needed = False
        elif not self._negotiation_needed:
            self._negotiation_needed = True
            self._emit()


def _never() -> bool:
    return False
