"""Knows how to reach files below one folder without ever following a link; knows nothing of transfers.

Everything is opened relative to a handle of the folder, component by component, so a link that is placed there
meanwhile leads nowhere (openat with O_NOFOLLOW).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from datachan.transfer.names import numbered

_FOLDER_FLAGS: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_NO_HARD_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})

_KEPT_HANDLES: Final = 64
"""Handles of folders that stay open."""


class FolderHandle:
    """An open folder. Not for several threads at the same time.

    Args:
        path: An existing folder. If it is a link, it is followed: the receiving person named it.

    Raises:
        OSError: There is no such folder, or this system cannot open files relative to one.
    """

    def __init__(self, path: Path) -> None:
        if os.open not in os.supports_dir_fd:
            raise OSError(errno.ENOSYS, "this system cannot open files relative to a folder", str(path))
        self._root = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        self._kept: OrderedDict[tuple[str, ...], int] = OrderedDict()

    def close(self) -> None:
        """Close all handles."""
        for descriptor in (self._root, *self._kept.values()):
            os.close(descriptor)
        self._kept.clear()
        self._root = -1

    def folder(self, parts: Sequence[str]) -> int:
        """Return a handle of the folder `parts`, which is created if it is missing. It stays valid until the next call.

        Raises:
            OSError: A component is not a folder, is a link, or cannot be created.
        """
        key = tuple(parts)
        if not key:
            return self._root
        known = self._kept.get(key)
        if known is not None:
            self._kept.move_to_end(key)
            return known
        parent = self.folder(key[:-1])
        with contextlib.suppress(FileExistsError):
            os.mkdir(key[-1], 0o777, dir_fd=parent)
        descriptor = os.open(key[-1], _FOLDER_FLAGS, dir_fd=parent)
        self._kept[key] = descriptor
        if len(self._kept) > _KEPT_HANDLES:
            os.close(self._kept.popitem(last=False)[1])
        return descriptor

    def status(self, parts: Sequence[str]) -> os.stat_result | None:
        """Return the status of what is at `parts`, without following links; None if nothing is there.

        Raises:
            OSError: It cannot be found out.
        """
        descriptor = os.dup(self._root)
        try:
            for part in parts[:-1]:
                parent, descriptor = descriptor, os.open(part, _FOLDER_FLAGS, dir_fd=descriptor)
                os.close(parent)
            return os.stat(parts[-1], dir_fd=descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None
        finally:
            os.close(descriptor)

    def open_file(self, parts: Sequence[str], flags: int, mode: int = 0o666) -> int:
        """Open the file at `parts` without following links.

        Raises:
            OSError: It cannot be opened, or is not a regular file.
        """
        name = parts[-1]
        descriptor = os.open(
            name,
            flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0),
            mode,
            dir_fd=self.folder(parts[:-1]),
        )
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", name)
        return descriptor

    def move(self, source: Sequence[str], target: Sequence[str], *, overwrite: bool) -> tuple[str, ...]:
        """Move a file to its place, and return the place: another name if one is taken and may not be replaced.

        Raises:
            OSError: The system's error.
        """
        from_folder = os.dup(self.folder(source[:-1]))
        try:
            to_folder = self.folder(target[:-1])
            if overwrite:
                os.replace(source[-1], target[-1], src_dir_fd=from_folder, dst_dir_fd=to_folder)
                return tuple(target)
            name, number = target[-1], 1
            while not _claim(source[-1], from_folder, name, to_folder):
                number += 1
                name = numbered(target[-1], number)
            return (*target[:-1], name)
        finally:
            os.close(from_folder)

    def remove(self, parts: Sequence[str]) -> None:
        """Remove a file if it is there; never raises."""
        with contextlib.suppress(OSError):
            os.unlink(parts[-1], dir_fd=self.folder(parts[:-1]))

    def free_bytes(self) -> int:
        """Return the bytes that may still be written here."""
        room = os.fstatvfs(self._root)
        return room.f_bavail * room.f_frsize


def _claim(source: str, from_folder: int, target: str, to_folder: int) -> bool:
    """Give a file its name unless the name is taken; return whether it was free."""
    # A link fails if the name is taken; a rename would replace the file silently.
    try:
        os.link(source, target, src_dir_fd=from_folder, dst_dir_fd=to_folder, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
    else:
        os.unlink(source, dir_fd=from_folder)
        return True
    try:  # reserve the name on file systems without hard links (FAT, some mounts)
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, dir_fd=to_folder))
    except FileExistsError:
        return False
    os.replace(source, target, src_dir_fd=from_folder, dst_dir_fd=to_folder)
    return True
