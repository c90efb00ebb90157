"""Knows how to store a file so that no reader ever sees half of it; knows nothing of channels or messages.

The calls block, so they run in a thread. `PartFile.discard` may be called while another one runs.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import shutil
import stat
import threading
from pathlib import Path
from typing import BinaryIO, Final

_NO_HARD_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class PartFile:
    """A file being received: written under a temporary name in its folder, then renamed in one step.

    Args:
        target: The final path; its folder exists.
        overwrite: Whether an existing file may be replaced.

    """

    def __init__(self, target: Path, *, overwrite: bool = False) -> None:
        self.target = target
        self._overwrite = overwrite
        self._part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
        self._opening = threading.Lock()
        self._file: BinaryIO | None = None
        self._ended = False

    def open(self) -> None:
        """Create the temporary file, unless it was discarded already.

        Raises:
            OSError: The temporary file cannot be created.
        """
        with self._opening:
            if not self._ended:
                # The lock of the buffered writer makes `close` wait for a `write` that runs in a thread.
                self._file = open(self._part, "xb", buffering=io.DEFAULT_BUFFER_SIZE)  # noqa: SIM115 - closed later

    def write(self, data: bytes | bytearray) -> None:
        """Append data; report a full disk at once instead of at the end.

        Raises:
            OSError: The system's error.
        """
        file = self._opened()
        file.write(data)
        file.flush()

    def commit(self) -> None:
        """Write everything to the disk, and give the file its final name. A power failure afterwards loses nothing.

        Raises:
            FileExistsError: A file of this name exists, and it may not be replaced.
            OSError: The system's error.
        """
        file = self._opened()
        file.flush()
        os.fsync(file.fileno())
        file.close()
        if self._overwrite:
            os.replace(self._part, self.target)
        else:
            self._claim()
        self._ended = True
        _sync_folder(self.target.parent)

    def discard(self) -> None:
        """Remove the temporary file. Does nothing after `commit`; never raises."""
        with self._opening:
            if self._ended:
                return
            self._ended = True
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()  # may raise the error of its last flush, but closes in any case
            with contextlib.suppress(OSError):
                self._part.unlink()

    def _opened(self) -> BinaryIO:
        if self._file is None:
            raise OSError(errno.EBADF, "the file is not open", str(self.target))
        return self._file

    def _claim(self) -> None:
        # A link fails if the name is taken; a rename would replace the file silently.
        try:
            os.link(self._part, self.target)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
        else:
            self._part.unlink()
            return
        with open(self.target, "xb"):  # reserve the name on file systems without hard links (FAT, some mounts)
            pass
        try:
            os.replace(self._part, self.target)
        except OSError:
            self.target.unlink()
            raise


def _sync_folder(folder: Path) -> None:
    """Write the new name to the disk, where the system can open folders."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def require_folder(folder: Path) -> None:
    """Raise NotADirectoryError unless this is a folder."""
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "there is no such folder", str(folder))


def objection_to(target: Path, size: int, *, overwrite: bool) -> str | None:
    """Return why a file of `size` bytes cannot be stored as `target`, or None if no reason is known yet."""
    if not overwrite and os.path.lexists(target):
        return "there is a file of this name already"
    if size > shutil.disk_usage(target.parent).free:
        return "there is not enough room for the file"
    return None


def open_regular(path: Path) -> tuple[io.BufferedReader, int]:
    """Open a regular file for reading and return it with its size in bytes.

    Raises:
        OSError: The file does not exist, may not be read, or is not a regular file (reading a pipe would block).
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb"), status.st_size
