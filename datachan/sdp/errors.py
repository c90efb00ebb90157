"""The only exception that reading SDP raises."""

from __future__ import annotations


class SdpError(ValueError):
    """A session description or candidate is malformed or misses something required.

    Attributes:
        line: the number of the offending line, counted from 1; None when no single line is to blame.
        errorDetail: W3C's RTCErrorDetailType, "sdp-syntax-error".
        sdpLineNumber: the same as `line`, by its W3C name.
    """

    errorDetail = "sdp-syntax-error"  # noqa: N815 (W3C's name)

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message if line is None else f"line {line}: {message}")
        self.line = self.sdpLineNumber = line
