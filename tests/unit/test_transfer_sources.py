"""What a sender finds in the paths that a person names, and how it notices that a file has changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from datachan.transfer import TransferMisuse, gather, gather_text, sources
from datachan.transfer.messages import Kind
from datachan.transfer.sources import SourceChanged, prefix_pieces, read_piece


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "sub/b.tmp").write_text("bb")
    return folder


def paths(*arguments: Path, exclude: tuple[str, ...] = ()) -> list[str]:
    return [entry.path for entry in gather(arguments, exclude=exclude).entries]


def test_finds_files_and_empty_folders_in_the_order_of_their_names(folder: Path) -> None:
    assert paths(folder) == ["folder/a.txt", "folder/sub/b.tmp", "folder/sub/empty"]
    assert paths(folder / "sub/b.tmp", folder / "a.txt") == ["b.tmp", "a.txt"]
    assert gather([folder]).entries[2].kind is Kind.FOLDER


def test_leaves_out_what_a_pattern_names(folder: Path) -> None:
    assert paths(folder, exclude=("*.tmp",)) == ["folder/a.txt", "folder/sub/empty"]
    assert paths(folder, exclude=("folder/sub",)) == ["folder/a.txt"]
    assert paths(folder, exclude=("*",)) == ["folder"]


def test_follows_links_to_files_of_the_same_folder_only(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    for name, target in (
        ("inside", folder / "a.txt"),
        ("outside", tmp_path / "secret"),
        ("up", folder),
        ("nowhere", folder / "nothing"),
    ):
        (folder / name).symlink_to(target)
    gathered = gather([folder])
    assert [entry.path for entry in gathered.entries if entry.path.startswith("folder/i")] == ["folder/inside"]
    assert gathered.links_left_out == 3
    # What the person names is followed.
    assert paths(folder / "outside") == ["outside"]


def test_leaves_out_what_is_no_file(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    gathered = gather([folder])
    assert gathered.others_left_out == 1
    with pytest.raises(TransferMisuse, match="neither a file nor a folder"):
        gather([folder / "pipe"])


def test_names_a_folder_that_is_named_by_dots(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "sub")
    assert paths(Path("..")) == paths(folder)


def test_a_name_that_is_not_utf_8_can_be_sent(folder: Path) -> None:
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff.txt"))).write_text("x")
    assert "folder/\N{REPLACEMENT CHARACTER}.txt" in paths(folder)


def test_too_much_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_ENTRIES", 2)
    with pytest.raises(TransferMisuse, match="at most 2 files"):
        gather([folder])
    with pytest.raises(TransferMisuse, match="1024 KiB"):
        gather_text("x" * (1024 * 1024 + 1))


def test_a_file_that_changed_is_noticed(folder: Path) -> None:
    gathered = gather([folder / "a.txt"])
    (entry,), (source,) = gathered.entries, gathered.sources
    assert read_piece(entry, source, 0, 1) == b"a"
    (folder / "a.txt").write_text("b")  # of the same size, at another time
    os.utime(folder / "a.txt", (1, 1))
    with pytest.raises(SourceChanged):
        read_piece(entry, source, 0, 1)
    with pytest.raises(SourceChanged):
        list(prefix_pieces(entry, source, 1, 65_536, bytes))
    (folder / "a.txt").unlink()
    with pytest.raises(FileNotFoundError):
        read_piece(entry, source, 0, 1)
