"""Frames of ICE-TCP: each datagram on a stream has its length before it (RFC 4571, RFC 6544, 10.1)."""

from __future__ import annotations

from typing import Final

HEADER: Final = 2


def framed(datagrams: list[bytes]) -> bytes:
    """Return datagrams as a stream carries them. Each has at most 65,535 bytes."""
    return b"".join(len(one).to_bytes(HEADER, "big") + one for one in datagrams)


class FrameReader:
    """Cuts the bytes of a stream into datagrams; keeps at most one unfinished datagram."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Add bytes, and return the datagrams that are complete now, without empty ones."""
        self._buffer += data
        datagrams: list[bytes] = []
        position = 0
        while len(self._buffer) - position >= HEADER:
            start = position + HEADER
            end = start + int.from_bytes(self._buffer[position:start], "big")
            if len(self._buffer) < end:
                break
            if end > start:
                datagrams.append(bytes(self._buffer[start:end]))
            position = end
        del self._buffer[:position]
        return datagrams

    @property
    def waiting(self) -> int:
        """The number of bytes of an unfinished datagram."""
        return len(self._buffer)
