"""What a receiver's storage asks of the system's cache."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from datachan.transfer.digests import available_hashes
from datachan.transfer.messages import Entry
from datachan.transfer.storage import CACHED_BYTES, Storage

PIECE = 65_536


@pytest.fixture
def dropped(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return the ranges that are removed from the cache, each as offset and length."""
    ranges: list[tuple[int, int]] = []

    def advise(descriptor: int, offset: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_DONTNEED
        ranges.append((offset, length))

    monkeypatch.setattr(os, "POSIX_FADV_DONTNEED", 4, raising=False)  # not on every system
    monkeypatch.setattr(os, "posix_fadvise", advise, raising=False)
    return ranges


def storage_of(folder: Path, size: int | None) -> Storage:
    return Storage(
        folder, [Entry("film.bin", size=size)], [("film.bin",)], PIECE, "sha256", available_hashes()["sha256"]
    )


def write(storage: Storage, first: int, count: int) -> None:
    for piece in range(first, first + count):
        data = bytes([1 + piece % 255]) * PIECE
        storage.write(0, piece * PIECE, data, available_hashes()["sha256"](data))


def test_flushed_pieces_of_a_large_file_leave_the_cache_once(tmp_path: Path, dropped: list[tuple[int, int]]) -> None:
    storage = storage_of(tmp_path, CACHED_BYTES + 1)
    storage.start(0, 0)
    write(storage, 0, 3)
    assert not dropped  # a page that is not on the disk yet cannot leave
    storage.flush(0)
    write(storage, 3, 2)
    storage.flush(0)
    storage.flush(0)
    storage.close()
    assert dropped == [(0, 3 * PIECE), (3 * PIECE, 2 * PIECE)]


def test_a_file_that_the_cache_has_room_for_stays_there(tmp_path: Path, dropped: list[tuple[int, int]]) -> None:
    storage = storage_of(tmp_path, CACHED_BYTES)
    storage.start(0, 0)
    write(storage, 0, 3)
    storage.flush(0)
    storage.close()
    assert not dropped


def test_a_stream_leaves_the_cache_once_it_has_become_large(tmp_path: Path, dropped: list[tuple[int, int]]) -> None:
    storage = storage_of(tmp_path, None)
    storage.start(0, 0)
    write(storage, 0, 2)
    storage.flush(0)
    assert not dropped
    last = CACHED_BYTES // PIECE
    storage.resume(0, [bytes(32)] * last)
    write(storage, last, 1)
    storage.flush(0)
    storage.close()
    assert dropped == [(0, CACHED_BYTES + PIECE)]


def test_a_system_that_refuses_the_advice_stores_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, offset: int, length: int, advice: int) -> None:
        raise OSError

    monkeypatch.setattr(os, "POSIX_FADV_DONTNEED", 4, raising=False)
    monkeypatch.setattr(os, "posix_fadvise", refuse, raising=False)
    storage = storage_of(tmp_path, CACHED_BYTES + PIECE)
    storage.start(0, 0)
    write(storage, 0, 1)
    storage.flush(0)
    storage.finish([0], [PIECE])
    storage.close()
    assert (tmp_path / "film.bin").read_bytes() == b"\1" * PIECE
