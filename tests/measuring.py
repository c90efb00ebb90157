"""Bound the cost of measuring coverage: each test is traced for its first seconds of CPU time only.

Tracing makes the engine more than three times slower. A long simulation executes the same branches over and over, so
tracing the beginning of each test keeps the suite within its time, and loses next to nothing.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from coverage import Coverage

TRACED_SECONDS: Final = 1.0
"""Seconds of CPU time in user mode."""
TRACED_SECONDS_OF_A_SIMULATION: Final = 0.1
"""The same for a test of a folder in `SIMULATIONS`: hundreds of tests execute the same branches of the engine."""
SIMULATIONS: Final = frozenset({"compliance", "network", "property"})


def measurement() -> Coverage | None:
    """Return the measurement that runs in this process (`coverage run`, or a worker of it), if any."""
    if "coverage" not in sys.modules or not hasattr(signal, "setitimer"):
        return None
    from coverage import Coverage  # noqa: PLC0415 - not imported in a run without coverage

    return Coverage.current()


@contextmanager
def traced_at_first(test: Path) -> Iterator[None]:
    """Stop tracing when the body, a test of the file `test`, has used its seconds; go on tracing after it."""
    running = measurement()
    if running is None:
        yield
        return
    before = signal.signal(signal.SIGVTALRM, lambda *_: running.stop())
    simulation = test.parent.name in SIMULATIONS
    signal.setitimer(signal.ITIMER_VIRTUAL, TRACED_SECONDS_OF_A_SIMULATION if simulation else TRACED_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
        if measurement() is not running:
            running.start()


def save() -> None:
    """Write what a worker has measured: pytest-xdist may end its process without running exit handlers."""
    if (running := measurement()) is not None:
        running.stop()
        running.save()
