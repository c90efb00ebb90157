"""Knows how a file is stored so that nobody ever sees half of it; knows nothing of channels or messages.

Calls block; `PartFile.write` may run in a thread, and `discard` may be called while it does.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import shutil
import stat
from pathlib import Path
from typing import Final

_NO_HARD_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class PartFile:
    """A file on its way in: written under a temporary name in its folder, then given its own name at once.

    Args:
        target: Where the file shall be; its folder exists.
        overwrite: Whether a file that is there already may be replaced.

    Raises:
        OSError: The temporary file cannot be created.
    """

    def __init__(self, target: Path, *, overwrite: bool = False) -> None:
        self.target = target
        self._overwrite = overwrite
        self._part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
        # The buffered writer's own lock is what makes `close` wait for a `write` that runs in a thread.
        self._file = open(self._part, "xb", buffering=io.DEFAULT_BUFFER_SIZE)  # noqa: SIM115 - closed by commit or discard
        self._committed = False

    def write(self, data: bytes | bytearray) -> None:
        """Append; a full disk is reported now, not at the end.

        Raises:
            OSError: As the system has it.
        """
        self._file.write(data)
        self._file.flush()

    def commit(self) -> None:
        """Give the file its name.

        Raises:
            FileExistsError: There is one of this name, and it may not be replaced.
            OSError: As the system has it.
        """
        self._file.close()
        if self._overwrite:
            os.replace(self._part, self.target)
        else:
            self._claim()
        self._committed = True

    def discard(self) -> None:
        """Remove the temporary file. Does nothing after `commit`; never raises."""
        with contextlib.suppress(OSError):
            self._file.close()  # raises what `flush` raised, but closes
        if not self._committed:
            with contextlib.suppress(OSError):
                self._part.unlink()

    def _claim(self) -> None:
        # A link fails when the name is taken; a rename would replace silently.
        try:
            os.link(self._part, self.target)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
        else:
            self._part.unlink()
            return
        with open(self.target, "xb"):  # takes the name where the file system has no hard links (FAT, some mounts)
            pass
        try:
            os.replace(self._part, self.target)
        except OSError:
            self.target.unlink()
            raise


def require_folder(folder: Path) -> None:
    """Raise NotADirectoryError unless this is a folder."""
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "there is no such folder", str(folder))


def objection_to(target: Path, size: int, *, overwrite: bool) -> str | None:
    """Say why a file of `size` bytes cannot be stored as `target`, as far as that is known beforehand."""
    if not overwrite and os.path.lexists(target):
        return "there is a file of this name already"
    if size > shutil.disk_usage(target.parent).free:
        return "there is not enough room for the file"
    return None


def open_regular(path: Path) -> tuple[io.BufferedReader, int]:
    """Open a regular file for reading and return it with its size in bytes.

    Raises:
        OSError: It does not exist, may not be read, or is no regular file (a pipe would block for ever).
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb"), status.st_size
