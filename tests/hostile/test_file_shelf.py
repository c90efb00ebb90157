"""Callers of the echo peer that offer too much, offer without sending, or take up places for nothing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from datachan import RTCDataChannel, RTCPeerConnection, file_shelf
from datachan.file_shelf import MAX_FILES, MAX_TRANSFERS, FileShelf
from datachan.signaling import EchoPeer
from datachan.transfer import (
    TransferCancelled,
    TransferFailed,
    TransferRefused,
    open_transfer_channel,
    request_files,
    send_files,
)
from tests.hostile.test_echo_peer import HERE, call
from tests.pairs import soon


@pytest.fixture
def shelf(tmp_path: Path) -> FileShelf:
    (tmp_path / "shelf").mkdir()
    return FileShelf(tmp_path / "shelf", max_size=3_500_000)


async def opened(pc: RTCPeerConnection) -> RTCDataChannel:
    channel = open_transfer_channel(pc)
    await channel.opened()
    return channel


def offer(count: int = 1, piece: int = 65536, name: str = "a") -> list[str]:
    entries = [{"path": f"{name}{number}", "size": 1000} for number in range(count)]
    fields = {"id": "1", "count": count, "size": 1000 * count, "hashes": ["sha256"], "piece": piece}
    messages = [{"type": "offer", "version": 1, **fields}, {"type": "entries", "entries": entries}, {"type": "offered"}]
    return [json.dumps(message) for message in messages]


async def test_offers_of_one_name_count_for_each_offer(tmp_path: Path, shelf: FileShelf) -> None:
    (tmp_path / "big").write_bytes(bytes(1_000_000))
    echo = EchoPeer(HERE, {"transfer": shelf})
    async with call(echo, ["chat"]) as (pc, _):
        transfers = [send_files(open_transfer_channel(pc), tmp_path / "big") for _ in range(MAX_TRANSFERS)]
        results = await soon(asyncio.gather(*transfers, return_exceptions=True))
        refused = [result for result in results if isinstance(result, TransferRefused)]
        assert refused, "all of them were promised room at the same time"
        assert shelf.size <= 3_500_000
    await echo.close()


async def test_transfers_without_data_hold_few_places_and_descriptors(tmp_path: Path, shelf: FileShelf) -> None:
    echo = EchoPeer(HERE, {"transfer": shelf})
    async with call(echo, ["chat"]) as (pc, [chat]):
        for number in range(MAX_FILES):
            channel = await opened(pc)
            if number % 2:  # the others say nothing, and take no turn
                for message in offer(10, name=str(number)):
                    channel.send(message)
        chat.send("ping")
        assert await soon(anext(chat)) == "ping"
        assert len([path for path in (tmp_path / "shelf").rglob("*") if path.is_file()]) <= MAX_TRANSFERS
        assert shelf.size <= MAX_TRANSFERS * 10_000
    await echo.close()


@pytest.mark.parametrize(("count", "piece"), [(MAX_FILES + 1, 65536), (1, 16 * 1024 * 1024)])
async def test_what_would_take_much_memory_is_refused_before_its_manifest(
    shelf: FileShelf, count: int, piece: int
) -> None:
    echo = EchoPeer(HERE, {"transfer": shelf})
    async with call(echo, ["chat"]) as (pc, _):
        channel = await opened(pc)
        channel.send(offer(count, piece)[0])
        assert json.loads(await soon(anext(channel)))["code"] == "too-large"
        await soon(channel.closed())
    await echo.close()


async def test_a_call_has_a_bound_for_its_files(tmp_path: Path, shelf: FileShelf) -> None:
    (tmp_path / "many").mkdir()
    for number in range(MAX_FILES - 1):
        (tmp_path / "many" / str(number)).touch()
    (tmp_path / "more").touch()
    (tmp_path / "deep" / "/".join("d" * 60)).mkdir(parents=True)
    (tmp_path / "deep2" / "/".join("d" * 60)).mkdir(parents=True)
    echo = EchoPeer(HERE, {"transfer": shelf})
    async with call(echo, ["chat"]) as (pc, _):
        await soon(send_files(open_transfer_channel(pc), tmp_path / "many"))
        with pytest.raises(TransferRefused, match="at most 100 files"):
            await soon(send_files(open_transfer_channel(pc), tmp_path / "more"))
        await soon(send_files(open_transfer_channel(pc), tmp_path / "many"))  # it replaces what has the same name
    async with call(echo, ["chat"]) as (pc, _):
        await soon(send_files(open_transfer_channel(pc), tmp_path / "deep"))
        with pytest.raises(TransferRefused, match="at most 100 files and folders"):
            await soon(send_files(open_transfer_channel(pc), tmp_path / "deep2"))
    await echo.close()


async def test_a_transfer_that_stalls_gives_its_place_to_another(
    tmp_path: Path, shelf: FileShelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_shelf, "STALL_TIMEOUT", 0.2)
    (tmp_path / "honest").write_text("honest")
    echo = EchoPeer(HERE, {"transfer": shelf})
    async with call(echo, ["chat"]) as (pc, _):
        stalled = [await opened(pc) for _ in range(MAX_TRANSFERS)]
        for number, channel in enumerate(stalled):
            for message in offer(name=str(number)):
                channel.send(message)
        for channel in stalled:
            assert json.loads(await soon(anext(channel)))["type"] == "accept"
        await soon(send_files(open_transfer_channel(pc), tmp_path / "honest"))
        for channel in stalled:
            assert json.loads(await soon(anext(channel)))["code"] == "cancelled"
        assert shelf.size == 6
    await echo.close()


async def test_a_name_does_not_lead_to_the_files_of_another_call(tmp_path: Path, shelf: FileShelf) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "back").mkdir()
    echo = EchoPeer(HERE, {"transfer": shelf})
    async with call(echo, ["chat"]) as (pc, _), call(echo, ["chat"]) as (other, _):
        await soon(send_files(open_transfer_channel(pc), tmp_path / "secret"))
        (session,) = (tmp_path / "shelf").iterdir()
        for name in ("secret", f"../{session.name}/1/secret", None):
            with pytest.raises(TransferRefused):
                await soon(request_files(open_transfer_channel(other), name, tmp_path / "back"))
    await echo.close()


async def test_a_disk_that_cannot_be_written_is_logged_and_the_call_goes_on(
    tmp_path: Path, shelf: FileShelf, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "shelf").rmdir()
    (tmp_path / "shelf").touch()
    echo = EchoPeer(HERE, {"transfer": shelf})
    with caplog.at_level("WARNING", "datachan.serve"):
        async with call(echo, ["chat"]) as (pc, [chat]):
            with pytest.raises(TransferFailed):
                await soon(send_files(open_transfer_channel(pc), tmp_path / "file"))
            chat.send("still here")
            assert await soon(anext(chat)) == "still here"
    assert "cannot be stored" in caplog.text
    assert "Traceback" not in caplog.text
    await echo.close()


async def test_a_channel_that_cannot_carry_a_transfer_is_closed(shelf: FileShelf) -> None:
    echo = EchoPeer(HERE, {"transfer": shelf})
    async with call(echo, ["chat"]) as (pc, _):
        for channel in (pc.createDataChannel("transfer"), pc.createDataChannel("transfer", ordered=False)):
            await soon(channel.closed())
    await echo.close()


async def test_a_cancelled_transfer_releases_its_promised_bytes(tmp_path: Path) -> None:
    (tmp_path / "shelf").mkdir()
    shelf = FileShelf(tmp_path / "shelf", max_size=20_000_000)
    (tmp_path / "big").write_bytes(bytes(range(250)) * 80_000)
    echo = EchoPeer(HERE, {"transfer": shelf})
    async with call(echo, ["chat"]) as (pc, _):
        sizes: list[int] = []

        def stop(done: int, total: int | None) -> None:
            sizes.append(shelf.size)
            sending.cancel()

        sending = asyncio.create_task(send_files(open_transfer_channel(pc), tmp_path / "big", progress=stop))
        with pytest.raises(asyncio.CancelledError):
            await soon(sending)
        assert sizes[0] == 20_000_000
        (tmp_path / "big").write_bytes(bytes(range(200)) * 100_000)  # needs all the room
        while True:
            try:
                await soon(send_files(open_transfer_channel(pc), tmp_path / "big"))
                break
            except (TransferRefused, TransferCancelled):  # the echo peer has not ended the first one yet
                continue
        assert shelf.size == 20_000_000
    await echo.close()
