"""Files between two peers, A and Z: a failed transfer leaves the connection usable."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from datachan import RTCDataChannel, RTCPeerConnection
from datachan.transfer import (
    ReceivedFile,
    ReceivedFiles,
    ReceivePolicy,
    TransferCancelled,
    TransferFailed,
    TransferRefused,
    answer_transfer,
    files_in,
    is_transfer_channel,
    open_transfer_channel,
    receive_files,
    request_files,
    send_files,
)
from datachan.transfer.journal import PARTIAL_FOLDER
from tests.pairs import soon

DATA = os.urandom(1024) * 8 * 1024  # 8 MiB: twice the receive window, so that flow control takes effect


class Pair:
    """A and Z, connected; `arrived` holds Z's ends of the channels that A opened."""

    def __init__(self, a: RTCPeerConnection, z: RTCPeerConnection) -> None:
        self.a, self.z = a, z
        self.arrived: asyncio.Queue[RTCDataChannel] = asyncio.Queue()
        z.on("datachannel", self.arrived.put_nowait)

    async def connect(self) -> None:
        control = self.a.createDataChannel("control")
        await self.a.setLocalDescription(await self.a.createOffer())
        assert self.a.localDescription is not None
        await self.z.setRemoteDescription(self.a.localDescription)
        await self.z.setLocalDescription(await self.z.createAnswer())
        assert self.z.localDescription is not None
        await self.a.setRemoteDescription(self.z.localDescription)
        await control.opened()
        await self.arrived.get()

    async def channel(self) -> tuple[RTCDataChannel, RTCDataChannel]:
        """Return both ends of a new channel for a file."""
        mine = open_transfer_channel(self.a)
        theirs = await self.arrived.get()
        assert is_transfer_channel(theirs)
        return mine, theirs


@asynccontextmanager
async def connected() -> AsyncIterator[Pair]:
    async with RTCPeerConnection() as a, RTCPeerConnection() as z:
        pair = Pair(a, z)
        await pair.connect()
        yield pair


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source" / "data.bin"
    path.parent.mkdir()
    path.write_bytes(DATA)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    path.mkdir()
    return path


async def until_the_window_is_shut(channel: RTCDataChannel) -> None:
    """Wait until the channel sends no more. Returning too early makes the test easier, not wrong."""
    unchanged, queued = 0, channel.bufferedAmount
    while unchanged < 20:
        await asyncio.sleep(0.01)
        unchanged = unchanged + 1 if channel.bufferedAmount == queued else 0
        queued = channel.bufferedAmount


async def assert_a_file_arrives(pair: Pair, source: Path, folder: Path) -> None:
    a, z = await pair.channel()
    sent, received = await soon(asyncio.gather(send_files(a, source), receive_files(z, folder)))
    assert sent.paths == ("data.bin",)
    assert received == ReceivedFiles((folder / "data.bin",), (ReceivedFile(folder / "data.bin", len(DATA)),))
    assert (folder / "data.bin").read_bytes() == DATA
    assert os.listdir(folder) == ["data.bin"]
    (folder / "data.bin").unlink()
    await soon(asyncio.gather(a.closed(), z.closed()))


async def test_a_file_larger_than_the_window_arrives(source: Path, folder: Path) -> None:
    async with connected() as pair:
        await assert_a_file_arrives(pair, source, folder)


async def test_the_sender_may_close_the_connection_as_soon_as_the_file_is_delivered(source: Path, folder: Path) -> None:
    async with connected() as pair:
        a, z = await pair.channel()

        async def send_and_leave() -> None:
            await send_files(a, source)
            await pair.a.close()

        await soon(asyncio.gather(send_and_leave(), receive_files(z, folder)))
        assert (folder / "data.bin").read_bytes() == DATA


async def test_the_receiver_may_close_the_connection_as_soon_as_the_file_is_stored(source: Path, folder: Path) -> None:
    async with connected() as pair:
        a, z = await pair.channel()

        async def receive_and_leave() -> None:
            await receive_files(z, folder)
            await pair.z.close()

        sent, _ = await soon(asyncio.gather(send_files(a, source), receive_and_leave()))
        assert sent.paths == ("data.bin",)


async def test_several_files_move_at_the_same_time(source: Path, tmp_path: Path) -> None:
    async with connected() as pair:
        folders = [tmp_path / str(number) for number in range(4)]
        transfers = []
        for target in folders:
            target.mkdir()
            a, z = await pair.channel()
            transfers += [send_files(a, source), receive_files(z, target)]
        await soon(asyncio.gather(*transfers))
        assert all((target / "data.bin").read_bytes() == DATA for target in folders)


async def test_a_requested_file_comes_back_over_the_same_channel(source: Path, folder: Path) -> None:
    async with connected() as pair:
        a, z = await pair.channel()
        answer = answer_transfer(z, folder, choose=files_in(source.parent))
        received, _ = await soon(asyncio.gather(request_files(a, "data.bin", folder), answer))
        assert received.files[0].path.read_bytes() == DATA


async def test_a_refused_file_moves_no_bytes(source: Path, folder: Path) -> None:
    async with connected() as pair:
        a, z = await pair.channel()
        receiving = receive_files(z, folder, ReceivePolicy(max_size=1000))
        sent, received = await soon(asyncio.gather(send_files(a, source), receiving, return_exceptions=True))
        assert isinstance(sent, TransferRefused)
        assert isinstance(received, TransferRefused)
        await soon(z.closed())
        assert z.bytes_received < 1000
        await assert_a_file_arrives(pair, source, folder)


@pytest.mark.parametrize("stopping", ["sender", "receiver"])
async def test_after_one_side_stops_the_connection_carries_the_next_file(
    source: Path, folder: Path, stopping: str
) -> None:
    async with connected() as pair:
        a, z = await pair.channel()
        sending = asyncio.create_task(send_files(a, source))

        def stop(done: int, total: int | None) -> None:
            if done > 1_000_000:
                (sending if stopping == "sender" else receiving).cancel()

        receiving = asyncio.create_task(receive_files(z, folder, progress=stop))
        with pytest.raises(TransferCancelled, match=f"the {stopping} stopped"):
            await soon(receiving if stopping == "sender" else sending)
        with pytest.raises(asyncio.CancelledError):
            await soon(sending if stopping == "sender" else receiving)
        assert set(os.listdir(folder)) <= {PARTIAL_FOLDER}
        await assert_a_file_arrives(pair, source, folder)


async def test_a_peer_that_floods_a_channel_does_not_block_other_channels(source: Path, folder: Path) -> None:
    async with connected() as pair:
        a, z = await pair.channel()
        await a.opened()
        a.send("nonsense")
        for _ in range(300):
            a.send(DATA[:65536])
        await until_the_window_is_shut(a)
        with pytest.raises(TransferFailed, match="not JSON"):
            await soon(receive_files(z, folder))
        assert [json.loads(message)["type"] async for message in a] == ["end"]
        await assert_a_file_arrives(pair, source, folder)


async def test_stores_no_byte_past_the_announced_size(source: Path, folder: Path) -> None:
    async with connected() as pair:
        a, z = await pair.channel()
        receiving = asyncio.create_task(receive_files(z, folder))
        await a.opened()
        offer = {"id": "1", "count": 1, "size": 100_000, "hashes": ["sha256"], "piece": 65536}
        a.send(json.dumps({"type": "offer", "version": 1, **offer}))
        a.send(json.dumps({"type": "entries", "entries": [{"path": "data.bin", "size": 100_000}]}))
        a.send(json.dumps({"type": "offered"}))
        assert json.loads(await soon(anext(a)))["type"] == "accept"
        for length in (65536, 100_000 - 65536):
            piece = DATA[:length]
            a.send(piece + hashlib.sha256(piece).digest())
        a.send(DATA[:65536])
        with pytest.raises(TransferFailed, match="bytes that belong to no file"):
            await soon(receiving)
        assert all(path.stat().st_size <= 100_000 for path in folder.rglob("*") if path.is_file())
        (folder / "data.bin").unlink(missing_ok=True)
        await assert_a_file_arrives(pair, source, folder)


async def test_a_peer_that_goes_away_leaves_no_part_under_the_name_of_the_file(source: Path, folder: Path) -> None:
    async with connected() as pair:
        a, z = await pair.channel()
        progressed = asyncio.Event()
        sending = asyncio.create_task(send_files(a, source))
        receiving = asyncio.create_task(
            receive_files(z, folder, progress=lambda done, total: done > 1_000_000 and progressed.set())
        )
        await soon(progressed.wait())
        leaving = asyncio.create_task(pair.a.close())
        with pytest.raises(TransferFailed):
            await soon(sending)
        with pytest.raises(TransferFailed):
            await soon(receiving)
        await soon(leaving)
        assert set(os.listdir(folder)) <= {PARTIAL_FOLDER}


@pytest.mark.parametrize(
    "options",
    [{"label": "chat"}, {"protocol": ""}, {"ordered": False}, {"maxRetransmits": 0}, {"maxPacketLifeTime": 100}],
)
async def test_other_channels_are_not_for_transfers(options: dict[str, Any]) -> None:
    async with RTCPeerConnection() as pc:
        chosen = {"label": "transfer", "protocol": "datachan-transfer-1", **options}
        assert not is_transfer_channel(pc.createDataChannel(chosen.pop("label"), **chosen))
