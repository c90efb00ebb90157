"""Knows how a receiver keeps files on the disk: partial ones with journals, then in place; knows no message.

The calls block, so they run in threads: `write` in one, `finish` and `flush` in another. A piece is written at its
offset in a partial file; a file is flushed, then moved to its place. So no reader ever sees half of a file under its
name.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final

from datachan.transfer.digests import Hash
from datachan.transfer.folder_handle import FolderHandle
from datachan.transfer.journal import PARTIAL_FOLDER, JournalHead, digest_lines, partial_name, read_journal
from datachan.transfer.messages import Entry, Kind

PARTIAL_DAYS: Final = 14
"""Days after which the partial file of a transfer that was not resumed is removed."""

_FLUSHING_THREADS: Final = 4

CACHED_BYTES: Final = 64 * 1024 * 1024
"""Bytes of the largest file that stays in the system's cache; of a larger one, flushed bytes leave it.

Otherwise 50 GB would push everything else out of the cache. Pages that were in use a moment ago are also cheaper to
write to than those that a virtual machine has to get first (docs/performance.md, "Files").
"""


class Damaged(Exception):
    """The bytes of a piece do not have the digest that the sender computed."""


class Conflict(Enum):
    """What to do when a name is taken."""

    RENAME = "rename"
    OVERWRITE = "overwrite"
    SKIP = "skip"


@dataclass(slots=True)
class _Open:
    """A file that is being received."""

    descriptor: int
    head: JournalHead | None
    written: int = 0
    pieces: list[bytes] = field(default_factory=list)
    journaled: int = 0
    uncached: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Storage:
    """The files of one offer.

    Args:
        folder: Where they are stored.
        entries: The manifest.
        places: The place of each entry below the folder.
        piece: Bytes of a piece.
        hash_name: The name of the agreed hash.
        hash_function: The agreed hash.

    Attributes:
        conflicts: What to do with the entries whose names are taken; RENAME for all others.
        places: The place of each entry below the folder.
        stored_at: The places of the files that are complete.
    """

    def __init__(
        self,
        folder: Path,
        entries: Sequence[Entry],
        places: Sequence[tuple[str, ...]],
        piece: int,
        hash_name: str,
        hash_function: Hash,
    ) -> None:
        self._handle = FolderHandle(folder)
        self._finishing_handle = FolderHandle(folder)  # for the thread that finishes files
        self._entries = entries
        self.places = places
        self.piece = piece
        self._hash_name = hash_name
        self._hash = hash_function
        self.conflicts: dict[int, Conflict] = {}
        self._open: dict[int, _Open] = {}
        self._umask = _umask()
        self._has_partials = self._handle.status((PARTIAL_FOLDER,)) is not None
        self._zero_piece = hash_function(bytes(piece))
        self.stored_at: dict[int, tuple[str, ...]] = {}

    # -- before the transfer -------------------------------------------------------------------------------------------

    def free_bytes(self) -> int:
        """Return the bytes that may still be written to the folder."""
        return self._handle.free_bytes()

    def beginning_of(self, file: int) -> list[bytes]:
        """Return the digests of the pieces of this file that are here, in a partial file or in place.

        Every byte is read and compared with the journal, so what a power failure has damaged does not count.
        """
        entry = self._entries[file]
        if entry.kind is not Kind.FILE or not entry.size:
            return []
        if self._is_in_place(file, entry.size):
            return self._hash_file(self.places[file], entry.size)
        head = self._head(file)
        if head is None or not self._has_partials:
            return []
        try:
            descriptor = self._handle.open_file(self._partial(file, ".journal"), os.O_RDONLY)
            with os.fdopen(descriptor, "rb") as journal:
                known = read_journal(journal.read(), head)
        except OSError:
            return []
        found = self._hash_file(self._partial(file, ".part"), min(entry.size, len(known) * self.piece))
        agreeing = next((n for n, (a, b) in enumerate(zip(known, found, strict=False)) if a != b), len(found))
        return found[: min(agreeing, len(known))]

    def taken(self) -> list[int]:
        """Return the files whose place is taken by a file of another size, or by something that is not a file."""
        found = []
        for file, entry in enumerate(self._entries):
            if entry.kind is Kind.FOLDER:
                continue
            try:
                status = self._handle.status(self.places[file])
            except OSError:  # a component of the path is a link, or a file
                found.append(file)
                continue
            if status is not None and not (stat.S_ISREG(status.st_mode) and status.st_size == entry.size):
                found.append(file)
        return found

    def beginnings(self, files: Iterable[int]) -> Iterator[tuple[int, list[bytes]]]:
        """Return the files of which something is here, with the digests of their pieces."""
        for file in files:
            pieces = self.beginning_of(file)
            if pieces:
                yield file, pieces

    def _is_in_place(self, file: int, size: int) -> bool:
        with contextlib.suppress(OSError):
            status = self._handle.status(self.places[file])
            return status is not None and stat.S_ISREG(status.st_mode) and status.st_size == size
        return False

    def _hash_file(self, parts: Sequence[str], size: int) -> list[bytes]:
        pieces: list[bytes] = []
        try:
            with os.fdopen(self._handle.open_file(parts, os.O_RDONLY), "rb") as file:
                for start in range(0, size, self.piece):
                    data = file.read(min(self.piece, size - start))
                    if len(data) < min(self.piece, size - start):
                        break
                    pieces.append(self._hash(data))
        except OSError:
            return []
        return pieces

    # -- writing, in one thread ----------------------------------------------------------------------------------------

    def start(self, file: int, offset: int) -> None:
        """Begin a file, or go on with it at `offset`.

        Raises:
            OSError: The system's error; EBUSY if another process is receiving the same file here.
        """
        entry, size = self._entries[file], self._entries[file].size
        if entry.kind is Kind.FOLDER:
            self._handle.folder(self.places[file])
            return
        if offset and offset == size and self._is_in_place(file, offset):
            self._open[file] = _Open(-1, None, offset)
            return
        parts = self._partial(file, ".part")
        descriptor = self._handle.open_file(parts, os.O_RDWR | os.O_CREAT, 0o600)
        _lock(descriptor, parts[-1])
        os.ftruncate(descriptor, offset)
        opened = self._open[file] = _Open(descriptor, self._head(file), offset)
        if opened.head is not None and not offset:
            self._append(file, opened.head.line(), fresh=True)

    def resume(self, file: int, pieces: Sequence[bytes]) -> None:
        """Take over the digests of the pieces that are here already, after `start`."""
        opened = self._open[file]
        opened.pieces = list(pieces)
        opened.journaled = len(pieces)
        if opened.head is not None and opened.descriptor >= 0:
            self._append(file, opened.head.line() + digest_lines(pieces), fresh=True)

    def write(self, file: int, offset: int, data: bytes, digest: bytes) -> None:
        """Check a piece and write it at its offset.

        Raises:
            Damaged: The digest differs.
            OSError: The system's error.
        """
        if self._hash(data) != digest:
            raise Damaged
        opened = self._open[file]
        if digest == self._zero_piece:
            os.ftruncate(opened.descriptor, offset + len(data))  # a hole reads as zeros and takes no room
        else:
            view = memoryview(data)
            at = offset
            while view:
                count = os.pwrite(opened.descriptor, view, at)
                view, at = view[count:], at + count
        with opened.lock:
            opened.written = offset + len(data)
            opened.pieces.append(digest)

    def give_up(self, file: int) -> None:
        """Remove what was received of a file that the sender cannot send."""
        opened = self._open.pop(file, None)
        if opened is not None and opened.descriptor >= 0:
            os.close(opened.descriptor)
            self._remove_partial(file)

    # -- flushing and finishing, in another thread ---------------------------------------------------------------------

    def flush(self, file: int) -> None:
        """Make what was written of a file durable, and note it in the journal.

        Raises:
            OSError: The system's error.
        """
        opened = self._open.get(file)
        if opened is None or opened.descriptor < 0:
            return
        with opened.lock:
            durable = len(opened.pieces)
        _data_sync(opened.descriptor)
        self._leave_cache(opened, file, durable)
        if opened.head is not None and durable > opened.journaled:
            self._append(file, digest_lines(opened.pieces[opened.journaled : durable]))
            opened.journaled = durable

    def _leave_cache(self, opened: _Open, file: int, durable: int) -> None:
        """Remove the durable pieces of a large file from the system's cache, where it has a call for that."""
        end = durable * self.piece
        large = end > CACHED_BYTES or (self._entries[file].size or 0) > CACHED_BYTES
        if large and end > opened.uncached and hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):
                os.posix_fadvise(opened.descriptor, opened.uncached, end - opened.uncached, os.POSIX_FADV_DONTNEED)
            opened.uncached = end

    def finish(self, files: Sequence[int], sizes: Sequence[int]) -> None:
        """Flush complete files together, and move them to their places.

        Raises:
            OSError: The system's error.
        """
        pairs = [(f, n) for f, n in zip(files, sizes, strict=True) if self._entries[f].kind is not Kind.FOLDER]
        with ThreadPoolExecutor(_FLUSHING_THREADS) as pool:
            list(pool.map(self._complete, pairs))
        folders: set[tuple[str, ...]] = set()
        for file, _ in pairs:
            opened = self._open[file]
            if opened.descriptor >= 0:
                overwrite = self.conflicts.get(file) is Conflict.OVERWRITE
                place = self._finishing_handle.move(
                    self._partial(file, ".part"), self.places[file], overwrite=overwrite
                )
                if opened.head is not None:
                    self._finishing_handle.remove(self._partial(file, ".journal"))
                os.close(opened.descriptor)
                folders.add(place[:-1])
                self.stored_at[file] = place
            else:
                self.stored_at[file] = self.places[file]
            del self._open[file]
        for folder in folders:
            with contextlib.suppress(OSError):
                os.fsync(self._finishing_handle.folder(folder))

    def _complete(self, item: tuple[int, int]) -> None:
        file, size = item
        opened, entry = self._open[file], self._entries[file]
        if opened.descriptor < 0:
            return
        os.ftruncate(opened.descriptor, size)
        os.fchmod(opened.descriptor, (0o777 if entry.executable else 0o666) & ~self._umask)
        if entry.mtime is not None:
            with contextlib.suppress(OSError, OverflowError, ValueError):
                os.utime(opened.descriptor, ns=(time.time_ns(), entry.mtime * 1_000_000))
        os.fsync(opened.descriptor)

    # -- the end -------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close everything. Partial files with durable bytes stay, so that the transfer can go on later."""
        for file, opened in self._open.items():
            if opened.descriptor >= 0:
                os.close(opened.descriptor)
                if opened.head is None or not opened.journaled:
                    self._remove_partial(file)
        self._open.clear()
        self._remove_old()
        with contextlib.suppress(OSError):
            os.rmdir(PARTIAL_FOLDER, dir_fd=self._handle.folder(()))
        self._handle.close()
        self._finishing_handle.close()

    def _remove_old(self) -> None:
        limit = time.time() - PARTIAL_DAYS * 86_400
        with contextlib.suppress(OSError):
            folder = self._handle.folder((PARTIAL_FOLDER,))
            for name in os.listdir(folder):
                if os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime < limit:
                    os.unlink(name, dir_fd=folder)

    def _remove_partial(self, file: int) -> None:
        self._handle.remove(self._partial(file, ".part"))
        self._handle.remove(self._partial(file, ".journal"))

    def _partial(self, file: int, suffix: str) -> tuple[str, str]:
        return (PARTIAL_FOLDER, partial_name(self.places[file], self._entries[file].size) + suffix)

    def _head(self, file: int) -> JournalHead | None:
        """Return the head of the journal; None for a file that is not worth one: a single piece, or an unknown size."""
        size = self._entries[file].size
        if size is None or size <= self.piece:
            return None
        return JournalHead("/".join(self.places[file]), size, self.piece, self._hash_name)

    def _append(self, file: int, data: bytes, *, fresh: bool = False) -> None:
        handle = self._handle if fresh else self._finishing_handle
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if fresh else os.O_APPEND)
        descriptor = handle.open_file(self._partial(file, ".journal"), flags, 0o600)
        with os.fdopen(descriptor, "wb") as journal:
            journal.write(data)


def _umask() -> int:
    try:  # asking by os.umask would change it for other threads for a moment
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            return next(int(line.split()[1], 8) for line in status if line.startswith("Umask:"))
    except (OSError, StopIteration, ValueError):
        return 0o022


def _lock(descriptor: int, name: str) -> None:
    try:
        import fcntl  # noqa: PLC0415 - not on every system

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        return
    except OSError as error:
        os.close(descriptor)
        raise OSError(errno.EBUSY, "another process is receiving this file into this folder", name) from error


_data_sync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)
