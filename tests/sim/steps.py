"""A count of the steps a call takes, so that tests can bound work without a clock.

A step is a line of datachan.sctp that the interpreter executes; each iteration of a comprehension is one, too. The
compiled engine executes no such lines, so the count is meaningful for the interpreted engine only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import datachan.sctp

_ENGINE = str(Path(datachan.sctp.__file__).parent)


def count_steps(call: Callable[[], object]) -> int:
    """Call `call`; return the number of lines of the engine that it executes."""
    steps = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal steps
        if not frame.f_code.co_filename.startswith(_ENGINE):
            return None
        steps += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return steps
