"""Test the files of the echo peer's callers: what they send comes back, and is gone after the call."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from datachan.file_shelf import FileShelf
from datachan.signaling import EchoPeer
from datachan.transfer import (
    ReceivedFiles,
    TransferRefused,
    open_transfer_channel,
    request_files,
    send_files,
    send_text,
)
from tests.hostile.test_echo_peer import HERE, call
from tests.pairs import soon


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("shelf", "back", "photos"):
        (tmp_path / name).mkdir()
    (tmp_path / "film.bin").write_bytes(os.urandom(3_000_000))
    (tmp_path / "photos/a.jpg").write_bytes(b"a")
    (tmp_path / "photos/b.jpg").write_bytes(b"b")
    return tmp_path


async def test_returns_files_and_folders_by_name_or_all_of_them(folder: Path) -> None:
    received: list[ReceivedFiles] = []
    shelf = FileShelf(folder / "shelf", when_received=received.append)
    echo = EchoPeer(HERE, {"transfer": shelf})
    async with call(echo, ["chat"]) as (pc, _):
        await soon(send_files(open_transfer_channel(pc), [folder / "film.bin", folder / "photos"]))
        assert [file.path.name for file in received[0].files] == ["film.bin", "a.jpg", "b.jpg"]
        for name, files in (("film.bin", ["film.bin"]), ("photos", ["a.jpg", "b.jpg"])):
            back = await soon(request_files(open_transfer_channel(pc), name, folder / "back"))
            assert [file.path.name for file in back.files] == files
        assert (folder / "back/film.bin").read_bytes() == (folder / "film.bin").read_bytes()
        everything = await soon(request_files(open_transfer_channel(pc), None, folder / "back"))
        assert [file.path.name for file in everything.files] == ["film.bin", "a.jpg", "b.jpg"]
        with pytest.raises(TransferRefused, match="no such file"):
            await soon(request_files(open_transfer_channel(pc), "other.bin", folder / "back"))
    await echo.close()
    assert list((folder / "shelf").iterdir()) == []
    assert shelf.size == 0


async def test_the_same_name_replaces_what_was_there_and_counts_once(folder: Path) -> None:
    shelf = FileShelf(folder / "shelf")
    echo = EchoPeer(HERE, {"transfer": shelf})
    async with call(echo, ["chat"]) as (pc, _):
        for content in (b"old", b"newer"):
            (folder / "film.bin").write_bytes(content)
            await soon(send_files(open_transfer_channel(pc), folder / "film.bin"))
        assert shelf.size == 5
        back = await soon(request_files(open_transfer_channel(pc), "film.bin", folder / "back"))
        assert back.files[0].path.read_bytes() == b"newer"
        (call_folder,) = (folder / "shelf").iterdir()
        assert len(list(call_folder.rglob("*"))) == 2  # the folder of the second offer, and its file
    await echo.close()


async def test_a_text_takes_no_room(folder: Path) -> None:
    received: list[ReceivedFiles] = []
    shelf = FileShelf(folder / "shelf", when_received=received.append)
    echo = EchoPeer(HERE, {"transfer": shelf})
    async with call(echo, ["chat"]) as (pc, _):
        await soon(send_text(open_transfer_channel(pc), "hello"))
        assert received == [ReceivedFiles((), (), text="hello")]
        assert shelf.size == 0
    await echo.close()


async def test_limits_the_bytes_of_an_offer_and_of_all_files(folder: Path) -> None:
    for name in ("a", "b", "big"):
        (folder / name).write_bytes(bytes(2000 if name == "big" else 600))
    shelf = FileShelf(folder / "shelf", max_offer_size=1000, max_size=1000)
    echo = EchoPeer(HERE, {"transfer": shelf})
    async with call(echo, ["chat"]) as (pc, _):
        await soon(send_files(open_transfer_channel(pc), folder / "a"))
        for name, reason in (("b", "no room"), ("big", "at most 1000 bytes")):
            with pytest.raises(TransferRefused, match=reason):
                await soon(send_files(open_transfer_channel(pc), folder / name))
        assert shelf.size == 600
    await echo.close()
