"""What stands in for a callback that is not set, or whose owner must be freed without the garbage collector."""

from __future__ import annotations


def ignore(*_: object) -> None:
    """Ignore a call."""
