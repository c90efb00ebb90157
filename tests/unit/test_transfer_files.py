"""Files that appear complete or not at all."""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from datachan.transfer.files import PartFile, objection_to, open_regular, require_folder


def opened(target: Path, *, overwrite: bool = False) -> PartFile:
    part = PartFile(target, overwrite=overwrite)
    part.open()
    return part


@pytest.fixture
def small_files_only() -> Iterator[int]:
    """Limit files to 8192 bytes: the closest a test without privileges can get to a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, old[1]))
    yield 8192
    resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_file_has_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    part = opened(tmp_path / "a.txt")
    part.write(b"hello, ")
    part.write(b"world")
    (name,) = os.listdir(tmp_path)
    assert name.startswith("a.txt.")
    assert name.endswith(".part")
    part.commit()
    assert os.listdir(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == b"hello, world"
    part.discard()
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_discarded_file_leaves_nothing(tmp_path: Path) -> None:
    part = opened(tmp_path / "a.txt")
    part.write(b"hello")
    part.discard()
    part.discard()
    assert os.listdir(tmp_path) == []


def test_does_not_replace_a_file_that_appeared_during_the_write(tmp_path: Path) -> None:
    part = opened(tmp_path / "a.txt")
    part.write(b"new")
    (tmp_path / "a.txt").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        part.commit()
    part.discard()
    assert (tmp_path / "a.txt").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_replaces_a_file_when_asked(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"old")
    part = opened(tmp_path / "a.txt", overwrite=True)
    part.write(b"new")
    part.commit()
    assert (tmp_path / "a.txt").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_does_not_follow_a_link_of_that_name(tmp_path: Path, overwrite: bool) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    folder.mkdir()
    outside.write_bytes(b"old")
    (folder / "a.txt").symlink_to(outside)
    part = opened(folder / "a.txt", overwrite=overwrite)
    part.write(b"new")
    if overwrite:
        part.commit()
    else:
        with pytest.raises(FileExistsError):
            part.commit()
    part.discard()
    assert outside.read_bytes() == b"old"


def test_does_not_replace_even_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    first, second = opened(tmp_path / "a.txt"), opened(tmp_path / "a.txt")
    first.write(b"first")
    first.commit()
    with pytest.raises(FileExistsError):
        second.commit()
    second.discard()
    assert (tmp_path / "a.txt").read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_write_that_fills_the_disk_raises(tmp_path: Path, small_files_only: int) -> None:
    part = opened(tmp_path / "a.txt")
    part.write(bytes(small_files_only))
    with pytest.raises(OSError, match=r"."):
        part.write(b"one more")
    part.discard()
    assert os.listdir(tmp_path) == []


def test_refuses_an_existing_name_even_of_a_dangling_link(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    assert objection_to(target, 5, overwrite=False) is None
    target.symlink_to(tmp_path / "nowhere")
    assert objection_to(target, 5, overwrite=False) == "there is a file of this name already"
    assert objection_to(target, 5, overwrite=True) is None


def test_refuses_more_bytes_than_are_free(tmp_path: Path) -> None:
    assert objection_to(tmp_path / "a.txt", 2**53 - 1, overwrite=False) == "there is not enough room for the file"


def test_opens_regular_files_only_and_never_waits_for_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"hello")
    file, size = open_regular(tmp_path / "a.txt")
    with file:
        assert (file.read(), size) == (b"hello", 5)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "b.txt")


def test_requires_a_folder(tmp_path: Path) -> None:
    require_folder(tmp_path)
    with pytest.raises(NotADirectoryError):
        require_folder(tmp_path / "nowhere")


def test_a_file_that_was_discarded_before_it_was_opened_is_not_created(tmp_path: Path) -> None:
    part = PartFile(tmp_path / "a.txt")
    part.discard()
    part.open()
    assert os.listdir(tmp_path) == []
    with pytest.raises(OSError, match="not open"):
        part.write(b"late")


def test_data_and_name_are_on_the_disk_before_the_file_counts_as_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode)))
    part = opened(tmp_path / "a.txt")
    part.write(b"hello")
    part.commit()
    assert synced == [False, True]
