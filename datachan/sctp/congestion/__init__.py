"""Congestion controllers behind one base class: how many bytes may be in flight, and how fast they are sent.

A controller knows bytes, sizes and times only (RFC 9260, section 7.2); it never sees chunks, timers or packets. The
data sender reports what was acknowledged or lost, and reads `cwnd` and the pacing rate. A new algorithm is a new
subclass and a line in `make_controller`.
"""

from __future__ import annotations

from typing import Final

from .adaptive import Adaptive
from .base import AckSample, CongestionController
from .careful_resume import CarefulResume
from .cubic import Cubic
from .newreno import NewReno

__all__ = [
    "ALGORITHMS",
    "AckSample",
    "Adaptive",
    "CarefulResume",
    "CongestionController",
    "Cubic",
    "NewReno",
    "make_controller",
]

ALGORITHMS: Final = ("newreno", "cubic", "adaptive")


def make_controller(
    algorithm: str, max_payload: int, initial_cwnd: int = 0, slow_start_limit: int = 1
) -> CongestionController:
    """Return a new congestion controller for one path.

    Args:
        algorithm: one of `ALGORITHMS`.
        max_payload: bytes of the largest DATA chunk that fits a packet (PMDCS).
        initial_cwnd: bytes; 0 for RFC 9260's value.
        slow_start_limit: full packets by which cwnd may grow per SACK in slow start (L of section 7.2.1).

    Returns:
        The controller.

    Raises:
        ValueError: there is no such algorithm.
    """
    if algorithm == "newreno":
        return NewReno(max_payload, initial_cwnd, slow_start_limit)
    if algorithm == "cubic":
        return Cubic(max_payload, initial_cwnd, slow_start_limit)
    if algorithm == "adaptive":
        return Adaptive(max_payload, initial_cwnd, slow_start_limit)
    raise ValueError(f"unknown congestion control {algorithm!r}; choose one of {', '.join(ALGORITHMS)}")
