"""The payload protocol identifiers of RFC 8831, section 8, and the encoding of user messages as SCTP messages."""

from __future__ import annotations

from typing import Final

from .control_messages import encode_text

DCEP: Final = 50
STRING: Final = 51
BINARY_PARTIAL: Final = 52
BINARY: Final = 53
STRING_PARTIAL: Final = 54
STRING_EMPTY: Final = 56
BINARY_EMPTY: Final = 57

USER_PPIDS: Final = frozenset((STRING, BINARY_PARTIAL, BINARY, STRING_PARTIAL, STRING_EMPTY, BINARY_EMPTY))

_ZERO_BYTE: Final = b"\0"


def encode_payload(data: object) -> tuple[int, bytes, int]:
    """Return the PPID, the SCTP user message, and how many of its bytes belong to the application.

    Raises:
        TypeError: the data is neither text nor bytes.
    """
    if data and type(data) is bytes:
        return BINARY, data, len(data)
    if isinstance(data, str):
        payload, ppid, empty = encode_text(data), STRING, STRING_EMPTY
    elif isinstance(data, (bytes, bytearray, memoryview)):
        payload, ppid, empty = bytes(data), BINARY, BINARY_EMPTY
    else:
        raise TypeError(f"a message is str or bytes, not {type(data).__name__}")
    if payload:
        return ppid, payload, len(payload)
    # RFC 8831, 6.6: "if an empty message has to be sent, the appropriate PPID (WebRTC
    # String Empty or WebRTC Binary Empty) is used, and the SCTP user
    # message of one zero byte is sent."
    return empty, _ZERO_BYTE, 0
