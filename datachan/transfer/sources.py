"""Knows what a sender offers (files, folders, a stream, text) and how its bytes are read; knows no message.

The calls block, so they run in threads. Each piece opens its file again and compares it with the manifest: a source
that has changed is noticed, and no descriptor is kept for a receiver that is slow.
"""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from datachan.transfer.digests import Hash
from datachan.transfer.errors import TransferMisuse
from datachan.transfer.messages import MAX_ENTRIES, MAX_TEXT_BYTES, Entry, Kind

STDIN_NAME: Final = "stdin"


class SourceChanged(Exception):
    """A file is not the one that was offered any more: its size or its time of modification differs."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the bytes of one entry come from: a path, an open stream, or bytes in memory. A folder has none."""

    path: str | None = None
    stream: BinaryIO | None = None
    data: bytes | None = None
    mtime_ns: int = 0


@dataclass(slots=True)
class Gathered:
    """The entries of an offer with their sources.

    Attributes:
        entries: The manifest.
        sources: The source of each entry.
        links_left_out: Symbolic links that are not sent.
        others_left_out: Devices, sockets and pipes that are not sent.
        unreadable: Paths that cannot be read.
    """

    entries: list[Entry] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    links_left_out: int = 0
    others_left_out: int = 0
    unreadable: list[str] = field(default_factory=list)

    def add(self, entry: Entry, source: Source) -> None:
        """Add an entry.

        Raises:
            TransferMisuse: There are too many.
        """
        if len(self.entries) >= MAX_ENTRIES:
            raise TransferMisuse(
                f"an offer has at most {MAX_ENTRIES} files: send the folder in parts, or as an archive"
            )
        self.entries.append(entry)
        self.sources.append(source)


def gather(paths: Sequence[str | os.PathLike[str]], *, exclude: Sequence[str] = ()) -> Gathered:
    """Return the entries for files and folders.

    A named path may be a link. Inside a folder, a link to a regular file within the same folder is sent as that file;
    other links are left out. Entries are in the order of the names.

    Args:
        paths: Files and folders.
        exclude: Patterns such as `*.tmp`: a file or folder is left out if its name, or its path within the offer,
            matches one.

    Raises:
        OSError: A path does not exist or cannot be read.
        TransferMisuse: There are too many files, or none.
    """
    gathered = Gathered()
    for path in paths:
        resolved = Path(path)
        status = resolved.stat()
        name = resolved.name if resolved.name not in {"", ".."} else resolved.resolve().name or "files"
        if stat.S_ISDIR(status.st_mode):
            _gather_folder(gathered, str(resolved), _utf8(name), exclude)
        elif stat.S_ISREG(status.st_mode):
            with open(resolved, "rb"):
                pass
            _add_file(gathered, str(resolved), _utf8(name), status)
        else:
            raise TransferMisuse(f"{resolved} is neither a file nor a folder")
    if not gathered.entries:
        raise TransferMisuse("there is nothing to send")
    return gathered


def gather_text(text: str) -> Gathered:
    """Return the entry for a text.

    Raises:
        TransferMisuse: The text is too long.
    """
    data = text.encode("utf-8", "replace")
    if len(data) > MAX_TEXT_BYTES:
        raise TransferMisuse(f"a text has at most {MAX_TEXT_BYTES // 1024} KiB: send it as a file")
    gathered = Gathered()
    gathered.add(Entry("text", Kind.TEXT, len(data)), Source(data=data))
    return gathered


def gather_stream(stream: BinaryIO, name: str = STDIN_NAME) -> Gathered:
    """Return the entry for a stream whose size is not known."""
    gathered = Gathered()
    gathered.add(Entry(name, size=None), Source(stream=stream))
    return gathered


def _gather_folder(gathered: Gathered, folder: str, name: str, exclude: Sequence[str]) -> None:
    root = os.path.realpath(folder)
    pending = [(folder, name)]
    while pending:
        current, offered = pending.pop()
        try:
            with os.scandir(current) as listing:
                children = sorted(listing, key=lambda child: child.name)
        except OSError:
            gathered.unreadable.append(offered)
            continue
        kept = [child for child in children if not _excluded(f"{offered}/{child.name}", exclude)]
        if not kept:
            gathered.add(Entry(offered, Kind.FOLDER), Source())
        folders = []
        for child in kept:
            path = f"{offered}/{_utf8(child.name)}"
            if child.is_dir(follow_symlinks=False):
                folders.append((child.path, path))
            else:
                _gather_child(gathered, child, path, root)
        pending.extend(reversed(folders))


def _gather_child(gathered: Gathered, child: os.DirEntry[str], path: str, root: str) -> None:
    if child.is_symlink():
        target = os.path.realpath(child.path)
        if not os.path.isfile(target) or os.path.commonpath([root, target]) != root:
            gathered.links_left_out += 1
            return
    try:
        status = os.stat(child.path)
    except OSError:
        gathered.unreadable.append(path)
        return
    if not stat.S_ISREG(status.st_mode):
        gathered.others_left_out += 1
    elif not os.access(child.path, os.R_OK):
        gathered.unreadable.append(path)
    else:
        _add_file(gathered, child.path, path, status)


def _add_file(gathered: Gathered, path: str, offered: str, status: os.stat_result) -> None:
    executable = bool(status.st_mode & stat.S_IXUSR)
    entry = Entry(offered, Kind.FILE, status.st_size, status.st_mtime_ns // 1_000_000, executable)
    gathered.add(entry, Source(path, mtime_ns=status.st_mtime_ns))


def _excluded(path: str, patterns: Sequence[str]) -> bool:
    name = path.rpartition("/")[2]
    return any(fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def _utf8(name: str) -> str:
    """Return a file name whose bytes are not UTF-8 as text that can be sent."""
    return os.fsencode(name).decode("utf-8", "replace")


# Reading -------------------------------------------------------------------------------------------------------------


def read_piece(entry: Entry, source: Source, offset: int, length: int) -> bytes:
    """Return `length` bytes at `offset`; fewer at the end of a stream.

    Raises:
        SourceChanged: The file has another size or time of modification than offered.
        OSError: The system's error.
    """
    if source.data is not None:
        return source.data[offset : offset + length]
    if source.stream is not None:
        return _read_fully(source.stream, length)
    with _opened(entry, source) as file:
        data = os.pread(file.fileno(), length, offset)
        while len(data) < length and (more := os.pread(file.fileno(), length - len(data), offset + len(data))):
            data += more
        _require_unchanged(entry, source, file)
    return data


def prefix_pieces(entry: Entry, source: Source, offset: int, piece: int, hash_function: Hash) -> Iterator[bytes]:
    """Return the digests of the pieces of the first `offset` bytes.

    Raises:
        SourceChanged: As `read_piece` does.
        OSError: The system's error.
    """
    with _opened(entry, source) as file:
        for start in range(0, offset, piece):
            yield hash_function(file.read(min(piece, offset - start)))


def _opened(entry: Entry, source: Source) -> BinaryIO:
    if source.path is None:
        raise OSError("a folder has no bytes")
    descriptor = os.open(source.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    file = os.fdopen(descriptor, "rb", buffering=0)
    try:
        _require_unchanged(entry, source, file)
    except BaseException:
        file.close()
        raise
    return file


def _require_unchanged(entry: Entry, source: Source, file: BinaryIO) -> None:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode) or status.st_size != entry.size or status.st_mtime_ns != source.mtime_ns:
        raise SourceChanged


def _read_fully(stream: BinaryIO, length: int) -> bytes:
    parts: list[bytes] = []
    left = length
    while left and (part := stream.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
