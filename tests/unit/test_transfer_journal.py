"""The journal of a partial file: it is believed only as far as it is whole, and only for its own file."""

from __future__ import annotations

import os

import pytest

from datachan.transfer.journal import JournalHead, digest_lines, partial_name, read_journal

HEAD = JournalHead("folder/a.bin", 300_000, 65_536, "sha256")
PIECES = [os.urandom(32) for _ in range(3)]


def test_what_is_written_is_read_again() -> None:
    assert read_journal(HEAD.line() + digest_lines(PIECES), HEAD) == PIECES
    assert read_journal(HEAD.line(), HEAD) == []


@pytest.mark.parametrize(
    ("damage", "count"),
    [
        (lambda text: text[:-1], 2),
        (lambda text: text[:-40], 2),
        (lambda text: text.replace(PIECES[1].hex().encode(), b"nonsense"), 1),
        (lambda text: text.replace(PIECES[1].hex().encode(), b"00" * 31), 1),
        (lambda text: text.replace(PIECES[0].hex().encode(), "ü".encode()), 0),
        (lambda text: b"", 0),
        (lambda text: text.replace(b"sha256", b"blake3"), 0),
        (lambda text: text.replace(b"300000", b"300001"), 0),
    ],
)
def test_a_damaged_journal_ends_where_it_is_damaged(damage, count) -> None:  # type: ignore[no-untyped-def]
    assert read_journal(damage(HEAD.line() + digest_lines(PIECES)), HEAD) == PIECES[:count]


def test_partial_files_of_other_places_and_sizes_have_other_names() -> None:
    names = {partial_name(place, size) for place in (("a", "b"), ("a/b",), ("b",)) for size in (1, 2, None)}
    assert len(names) == 6  # the first two places are one on the disk
