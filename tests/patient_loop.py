"""An event loop whose clock stands still while there is anything to do, for tests that run in one process.

On a busy machine, a real clock goes on while the test waits for its turn on the processor, and a deadline of 0.3 s
passes without any fault of the code under test. Here time passes only when nothing else happens: when no socket is
readable, the clock jumps to the next timer. Sockets are real, so both ends have to run in this loop, without threads
and other processes. tests/conftest.py gives such a loop to the tests with `@pytest.mark.patient_loop`.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from typing import Final

# The real seconds in which a datagram arrives that another socket of this process has sent over loopback. Linux mostly
# delivers it before `sendmsg` returns, and sometimes leaves it to a kernel thread.
GRACE: Final = 0.005


class _IdleSelector(selectors.DefaultSelector):
    """A selector that moves its clock to the next timer instead of waiting for it."""

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
