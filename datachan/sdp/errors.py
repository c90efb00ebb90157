"""The one error reading SDP may raise."""

from __future__ import annotations


class SdpError(ValueError):
    """A session description or candidate that cannot be understood.

    Attributes:
        line: the number of the offending line, counted from 1, or None when it is not about one line.
    """

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message if line is None else f"line {line}: {message}")
        self.line = line
