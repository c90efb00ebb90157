"""The byte layout that chunks, parameters and error causes share: a header with a length, a value, and padding."""

from __future__ import annotations

import struct
from typing import Final

HEADER_LENGTH: Final = 4
"""Bytes of the header of a chunk (type, flags, length) and of a parameter or error cause (type, length)."""

CHUNK_HEADER: Final = struct.Struct("!BBH")
CHUNK_HEADER_U32: Final = struct.Struct("!BBHI")
"""A chunk header and the 32-bit number that follows it in several chunks."""

TLV_HEADER: Final = struct.Struct("!HH")
U32: Final = struct.Struct("!I")

PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")
"""The padding behind a value, by the two low bits of its length (RFC 9260, 3.2)."""


def serialize_tlv(parameter_type: int, value: bytes) -> bytes:
    """Return a parameter or error cause, padded to a multiple of 4 bytes (RFC 9260, 3.2.1)."""
    # RFC 9260, 3.2.1: "The Parameter Length does not include any padding bytes."
    return TLV_HEADER.pack(parameter_type, HEADER_LENGTH + len(value)) + value + PADDING[len(value) & 3]


def serialize_chunk(chunk_type: int, flags: int, value: bytes) -> bytes:
    """Return a chunk with this value, padded to a multiple of 4 bytes (RFC 9260, 3.2)."""
    # RFC 9260, 3.2: "The Chunk Length field does not count any chunk padding."
    return CHUNK_HEADER.pack(chunk_type, flags, HEADER_LENGTH + len(value)) + value + PADDING[len(value) & 3]


def serialize_chunk_of_parts(chunk_type: int, flags: int, parts: list[bytes], last_value_length: int) -> bytes:
    """Return a chunk of padded parameters or error causes.

    The Chunk Length does not count the padding of the last part, whose value has `last_value_length` bytes.
    """
    value = b"".join(parts)
    return CHUNK_HEADER.pack(chunk_type, flags, HEADER_LENGTH + len(value) - (-last_value_length & 3)) + value
