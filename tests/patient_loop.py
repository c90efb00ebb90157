"""An event loop whose clock stands still while there is anything to do, for tests that run in one process.

On a busy machine, a real clock goes on while the test waits for its turn on the processor, and a deadline of 0.3 s
passes without any fault of the code under test. Here time passes only when nothing else happens: when no socket is
readable, the clock jumps to the next timer. Sockets are real, so both ends have to run in this loop, without threads.

    @in_patient_loop
    async def test_consent_expires_after_30_seconds() -> None: ...
"""

from __future__ import annotations

import asyncio
import functools
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec

P = ParamSpec("P")

# The real seconds in which a datagram arrives that another socket of this process has sent over loopback. Linux mostly
# delivers it before `sendmsg` returns, and sometimes leaves it to a kernel thread.
GRACE: Final = 0.005


class _IdleSelector(selectors.DefaultSelector):
    """A selector that, instead of waiting for a timer, moves its clock to that timer."""

    def __init__(self) -> None:
        super().__init__()
        self.now = time.monotonic()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        found = super().select(min(timeout, GRACE))
        if not found:
            self.now += timeout
        return found


class PatientLoop(asyncio.SelectorEventLoop):
    """An event loop with such a clock."""

    def __init__(self) -> None:
        self._idle = _IdleSelector()
        super().__init__(self._idle)

    def time(self) -> float:
        return self._idle.now


async def _leaving_no_task(test: Coroutine[Any, Any, None]) -> None:
    await test
    await asyncio.sleep(0)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left


def in_patient_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an asynchronous test in a `PatientLoop`. Its fixtures have to be synchronous."""

    @functools.wraps(test)
    def run(*arguments: P.args, **named: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=PatientLoop) as runner:
            runner.run(_leaving_no_task(test(*arguments, **named)))

    return run
