"""Knows where a received offer may go besides a folder: to the screen as text, or to a pipe; knows no message."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import BinaryIO, Protocol

from datachan.transfer.digests import Hash
from datachan.transfer.storage import Damaged


class Target(Protocol):
    """What a receiver does with files. The calls block, and run in threads as those of `Storage` do."""

    def free_bytes(self) -> int | None:
        """Return the bytes that may be written; None if that is not known."""

    def beginning_of(self, file: int) -> list[bytes]:
        """Return the digests of the pieces of a file that are here already."""

    def start(self, file: int, offset: int) -> None:
        """Begin a file, or go on with it at `offset`."""

    def resume(self, file: int, pieces: Sequence[bytes]) -> None:
        """Take over the digests of the pieces that are here already."""

    def write(self, file: int, offset: int, data: bytes, digest: bytes) -> None:
        """Check a piece and write it."""

    def give_up(self, file: int) -> None:
        """Remove what was received of a file."""

    def flush(self, file: int) -> None:
        """Make what was written of a file durable."""

    def finish(self, files: Sequence[int], sizes: Sequence[int]) -> None:
        """Make files durable and move them into place."""

    def close(self) -> None:
        """Release everything."""


class StreamTarget:
    """Writes the bytes of the only file to a stream, such as standard output, or keeps a text in memory.

    Args:
        hash_function: The agreed hash.
        stream: Where to write; None keeps the bytes in `data`.
    """

    def __init__(self, hash_function: Hash, stream: BinaryIO | None = None) -> None:
        self._hash = hash_function
        self._stream = stream
        self.data = bytearray()

    def free_bytes(self) -> None:
        """Return None: the room of a pipe is not known."""

    def beginning_of(self, file: int) -> list[bytes]:
        """Return nothing: a stream does not go back."""
        return []

    def start(self, file: int, offset: int) -> None:
        """Do nothing."""

    def resume(self, file: int, pieces: Sequence[bytes]) -> None:
        """Do nothing."""

    def write(self, file: int, offset: int, data: bytes, digest: bytes) -> None:
        """Check a piece and write it.

        Raises:
            Damaged: The digest differs.
            OSError: The reader of the pipe has gone.
        """
        if self._hash(data) != digest:
            raise Damaged
        if self._stream is None:
            self.data += data
        else:
            self._stream.write(data)

    def give_up(self, file: int) -> None:
        """Do nothing: what was written stays written."""

    def flush(self, file: int) -> None:
        """Flush the stream."""
        if self._stream is not None:
            self._stream.flush()
            with contextlib.suppress(OSError, ValueError):  # a pipe or a terminal cannot be synchronized
                os.fsync(self._stream.fileno())

    def finish(self, files: Sequence[int], sizes: Sequence[int]) -> None:
        """Flush the stream."""
        self.flush(0)

    def close(self) -> None:
        """Do nothing: the stream belongs to the caller."""
