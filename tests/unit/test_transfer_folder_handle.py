"""Files below a folder are reached without following a link, and names that are taken are kept."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from datachan.transfer.folder_handle import FolderHandle

LINK = "Not a directory|Too many levels of symbolic links"


@pytest.fixture
def handle(tmp_path: Path) -> Iterator[FolderHandle]:
    (tmp_path / "inside").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    opened = FolderHandle(tmp_path / "inside")
    yield opened
    opened.close()


def write(handle: FolderHandle, *parts: str) -> None:
    with os.fdopen(handle.open_file(parts, os.O_WRONLY | os.O_CREAT), "wb") as file:
        file.write(parts[-1].encode())


def test_a_link_on_the_way_to_a_file_is_not_followed(tmp_path: Path, handle: FolderHandle) -> None:
    (tmp_path / "inside/link").symlink_to(tmp_path / "outside")
    (tmp_path / "inside/file").symlink_to(tmp_path / "outside/secret")
    for parts in (("link", "secret"), ("link", "new"), ("file",)):
        with pytest.raises(OSError, match=LINK):
            handle.open_file(parts, os.O_WRONLY | os.O_CREAT)
    with pytest.raises(OSError, match=LINK):
        handle.status(("link", "secret"))
    handle.remove(("link", "secret"))
    assert os.listdir(tmp_path / "outside") == ["secret"]
    status = handle.status(("file",))
    assert status is not None
    assert os.path.islink(tmp_path / "inside/file")
    assert status.st_size != len("secret")  # that of the link


def test_what_is_no_file_is_not_opened(tmp_path: Path, handle: FolderHandle) -> None:
    os.mkfifo(tmp_path / "inside/pipe")
    with pytest.raises(OSError, match="not a regular file"):
        handle.open_file(("pipe",), os.O_RDONLY)


def test_a_folder_that_does_not_exist_is_an_error(tmp_path: Path, handle: FolderHandle) -> None:
    with pytest.raises(FileNotFoundError):
        FolderHandle(tmp_path / "nowhere")
    assert handle.status(("nowhere", "file")) is None


@pytest.mark.parametrize("links", [True, False], ids=["with hard links", "without hard links"])
def test_a_name_that_is_taken_is_kept_unless_it_may_be_replaced(
    tmp_path: Path, handle: FolderHandle, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def no_links(*arguments: object, **options: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    for name in ("one", "two", "three"):
        write(handle, "partial", name)
    assert handle.move(("partial", "one"), ("a", "x.txt"), overwrite=False) == ("a", "x.txt")
    assert handle.move(("partial", "two"), ("a", "x.txt"), overwrite=False) == ("a", "x (2).txt")
    assert handle.move(("partial", "three"), ("a", "x.txt"), overwrite=True) == ("a", "x.txt")
    assert {path.name: path.read_text() for path in (tmp_path / "inside/a").iterdir()} == {
        "x.txt": "three",
        "x (2).txt": "two",
    }


def test_another_error_of_the_system_is_not_hidden(handle: FolderHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    write(handle, "one")
    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="no space"):
        handle.move(("one",), ("two",), overwrite=False)


def test_many_folders_keep_few_handles(tmp_path: Path, handle: FolderHandle) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(200):
        write(handle, "a", str(number), "x", "file")
    write(handle, *"abcdefghijklmnopqrstuvwxyz" * 2, "deep")
    assert handle.status((*"abcdefghijklmnopqrstuvwxyz" * 2, "deep")) is not None
    assert len(os.listdir("/proc/self/fd")) - before <= 64
