"""Whatever names a peer chooses, files stay in their folder, apart from each other, and mean the same everywhere."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datachan.transfer.file_names import MAX_NAME_BYTES
from datachan.transfer.messages import Entry, Kind
from datachan.transfer.names import comparable, numbered, safe_path, stored_paths

NASTY = st.sampled_from(
    [
        "..", ".", "", "/", "\\", "C:", "con", "NUL.txt", "aux .c", "COM¹", "a.", "a ", ".ssh", ".datachan-partial",
        "\u202egnp.exe", "a\u0301", "\u00e1", "A", "a", "ﬁ", "fi", "ß", "SS", "\u212a", "k",
        "\ud800", "\x00", "\n", "-rf", "~",
        "x" * 300, "é" * 200, "\u200f", "\u2066", "a:b", "a|b", "\ufeff", "e\u0301" * 120 + ".txt", "(2)", "a (2)",
    ]
)  # fmt: skip
COMPONENT = st.one_of(NASTY, st.text(max_size=20))
PATH = st.lists(COMPONENT, min_size=1, max_size=6).map("/".join)
DEVICE = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?")


def assert_component_is_safe(name: str, *, first: bool) -> None:
    assert name
    assert name not in {".", ".."}
    assert len(name.encode()) <= MAX_NAME_BYTES
    assert not set(name) & set('/\\<>:"|?*\0')
    assert unicodedata.normalize("NFC", name) == name
    assert not any(unicodedata.category(c) in {"Cc", "Cs", "Co", "Cn"} for c in name)
    assert not any(unicodedata.category(c) == "Cf" and c not in "\u200c\u200d" for c in name)
    assert name[-1] not in ". "
    assert not name.startswith("-")
    assert not DEVICE.fullmatch(name)
    assert not (first and name.startswith("."))


@given(PATH)
def test_every_component_is_safe(path: str) -> None:
    parts = safe_path(path)
    for number, part in enumerate(parts):
        assert_component_is_safe(part, first=number == 0)
    joined = os.path.normpath("/folder/" + "/".join(parts))
    assert joined.startswith("/folder/")
    assert not PurePosixPath(*parts).is_absolute()
    assert not PureWindowsPath(*parts).drive


@given(PATH)
def test_a_safe_path_stays_as_it_is(path: str) -> None:
    parts = safe_path(path)
    assert safe_path("/".join(parts)) == parts


@given(st.lists(st.tuples(PATH, st.sampled_from([Kind.FILE, Kind.FILE, Kind.FOLDER])), min_size=1, max_size=30))
def test_no_two_files_get_one_place_and_no_file_is_a_folder(offered: list[tuple[str, Kind]]) -> None:
    entries = [Entry(path, kind) for path, kind in offered]
    places = stored_paths(entries)
    files, folders = [], set()
    for entry, place in zip(entries, places, strict=True):
        for number, part in enumerate(place):
            assert len(part.encode()) <= MAX_NAME_BYTES
            assert part not in {".", ".."}
            assert "/" not in part
            assert not (number == 0 and part.startswith("."))
        key = tuple(map(comparable, place))
        if entry.kind is Kind.FOLDER:
            folders.add(key)
        else:
            files.append(key)
            folders.update(key[:depth] for depth in range(1, len(key)))
    assert len(files) == len(set(files))
    assert not set(files) & folders


def test_ordinary_names_are_kept() -> None:
    paths = ["photos/2024/a.jpg", "photos/.hidden", "photos/Größe (1).txt", "notes.txt", "photos/日本語/🎉.txt"]
    assert ["/".join(place) for place in stored_paths([Entry(path) for path in paths])] == paths


@pytest.mark.parametrize(
    ("path", "stored"),
    [
        ("../../etc/passwd", "etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        (".ssh/authorized_keys", "ssh/authorized_keys"),
        (".bashrc", "bashrc"),
        ("C:\\Windows\\x", "C__Windows_x"),
        ("a/.git/config", "a/.git/config"),
        ("a/..", "a"),
        ("..", "file"),
        ("con/nul.txt", "_con/_nul.txt"),
        ("photo\u202egnp.exe", "photognp.exe"),
    ],
)
def test_names_of_a_hostile_peer(path: str, stored: str) -> None:
    assert "/".join(safe_path(path)) == stored


def test_names_that_become_one_name_are_numbered() -> None:
    entries = [Entry(path) for path in ("a.txt", "A.TXT", "a.txt", "a\u0301", "\u00e1", "d/x", "D/x", "d/x")]
    assert ["/".join(place) for place in stored_paths(entries)] == [
        "a.txt", "A (2).TXT", "a (3).txt", "\u00e1", "\u00e1 (2)", "d/x", "D (2)/x", "d/x (2)",
    ]  # fmt: skip


def test_100000_entries_of_one_name_take_linear_time() -> None:
    places = stored_paths([Entry("same.txt")] * 100_000)
    assert len(set(places)) == 100_000
    assert places[-1] == ("same (100000).txt",)


def test_a_numbered_name_stays_within_the_bound() -> None:
    assert len(numbered("é" * 100, 12345).encode()) <= MAX_NAME_BYTES
    assert numbered("a.tar.gz", 2) == "a.tar (2).gz"
