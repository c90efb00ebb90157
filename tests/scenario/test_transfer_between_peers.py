"""Files between two peers, A and Z: a failed transfer leaves the connection usable."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from datachan import RTCDataChannel, RTCPeerConnection
from datachan.transfer import (
    CHANNEL_LABEL,
    ReceivedFile,
    TransferCancelled,
    TransferFailed,
    TransferRefused,
    answer_file,
    files_in,
    receive_file,
    request_file,
    send_file,
)

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
        mine = self.a.createDataChannel(CHANNEL_LABEL)
        return mine, await self.arrived.get()


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
    sent, received = await asyncio.gather(send_file(a, source), receive_file(z, folder))
    assert received == ReceivedFile(folder / "data.bin", len(DATA), hashlib.sha256(DATA).hexdigest())
    assert sent.sha256 == received.sha256
    assert received.path.read_bytes() == DATA
    assert os.listdir(folder) == ["data.bin"]
    received.path.unlink()
    await asyncio.gather(a.closed(), z.closed())


async def test_a_file_larger_than_the_window_arrives(source: Path, folder: Path) -> None:
    async with connected() as pair:
        await assert_a_file_arrives(pair, source, folder)


async def test_the_sender_may_close_the_connection_as_soon_as_the_file_is_delivered(source: Path, folder: Path) -> None:
    async with connected() as pair:
        a, z = await pair.channel()

        async def send_and_leave() -> None:
            await send_file(a, source)
            await pair.a.close()

        _, received = await asyncio.gather(send_and_leave(), receive_file(z, folder))
        assert received.path.read_bytes() == DATA


async def test_the_receiver_may_close_the_connection_as_soon_as_the_file_is_stored(source: Path, folder: Path) -> None:
    async with connected() as pair:
        a, z = await pair.channel()

        async def receive_and_leave() -> None:
            await receive_file(z, folder)
            await pair.z.close()

        sent, _ = await asyncio.gather(send_file(a, source), receive_and_leave())
        assert sent.size == len(DATA)


async def test_several_files_move_at_the_same_time(source: Path, tmp_path: Path) -> None:
    async with connected() as pair:
        folders = [tmp_path / str(number) for number in range(4)]
        transfers = []
        for target in folders:
            target.mkdir()
            a, z = await pair.channel()
            transfers += [send_file(a, source), receive_file(z, target)]
        await asyncio.gather(*transfers)
        assert all((target / "data.bin").read_bytes() == DATA for target in folders)


async def test_a_requested_file_comes_back_over_the_same_channel(source: Path, folder: Path) -> None:
    async with connected() as pair:
        a, z = await pair.channel()
        answer = answer_file(z, folder, choose=files_in(source.parent))
        received, _ = await asyncio.gather(request_file(a, "data.bin", folder), answer)
        assert received.path.read_bytes() == DATA


async def test_a_refused_file_moves_no_bytes(source: Path, folder: Path) -> None:
    (folder / "data.bin").write_bytes(b"old")
    async with connected() as pair:
        a, z = await pair.channel()
        sent, received = await asyncio.gather(send_file(a, source), receive_file(z, folder), return_exceptions=True)
        assert isinstance(sent, TransferRefused)
        assert isinstance(received, TransferRefused)
        assert (folder / "data.bin").read_bytes() == b"old"
        await z.closed()
        assert z.bytes_received < 1000
        (folder / "data.bin").unlink()
        await assert_a_file_arrives(pair, source, folder)


async def test_after_the_receiver_cancels_the_connection_carries_the_next_file(source: Path, folder: Path) -> None:
    async with connected() as pair:
        a, z = await pair.channel()
        receiving = asyncio.create_task(
            receive_file(z, folder, progress=lambda done, total: done > 1_000_000 and receiving.cancel())
        )
        with pytest.raises(TransferCancelled):
            await send_file(a, source)
        with pytest.raises(asyncio.CancelledError):
            await receiving
        assert os.listdir(folder) == []
        await assert_a_file_arrives(pair, source, folder)


async def test_after_the_sender_cancels_the_connection_carries_the_next_file(source: Path, folder: Path) -> None:
    async with connected() as pair:
        a, z = await pair.channel()
        sending = asyncio.create_task(
            send_file(a, source, progress=lambda done, total: done > 1_000_000 and sending.cancel())
        )
        with pytest.raises(TransferCancelled):
            await receive_file(z, folder)
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert os.listdir(folder) == []
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
            await receive_file(z, folder)
        assert [json.loads(message)["type"] async for message in a] == ["file-cancel"]
        await assert_a_file_arrives(pair, source, folder)


async def test_stores_no_byte_past_the_announced_size(source: Path, folder: Path) -> None:
    async with connected() as pair:
        a, z = await pair.channel()
        await a.opened()
        a.send(json.dumps({"type": "file-offer", "version": 1, "id": "1", "name": "data.bin", "size": 100_000}))
        for _ in range(100):
            a.send(DATA[:65536])
        with pytest.raises(TransferFailed, match="more bytes arrived than announced"):
            await receive_file(z, folder)
        assert [json.loads(message)["type"] async for message in a] == ["file-accept", "file-cancel"]
        assert os.listdir(folder) == []
        await assert_a_file_arrives(pair, source, folder)


async def test_a_peer_that_goes_away_leaves_no_part_of_the_file(source: Path, folder: Path) -> None:
    async with connected() as pair:
        a, z = await pair.channel()
        progressed = asyncio.Event()
        sending = asyncio.create_task(send_file(a, source))
        receiving = asyncio.create_task(
            receive_file(z, folder, progress=lambda done, total: done > 1_000_000 and progressed.set())
        )
        await progressed.wait()
        leaving = asyncio.create_task(pair.a.close())
        with pytest.raises(TransferFailed):
            await sending
        with pytest.raises(TransferFailed):
            await receiving
        await leaving
        assert os.listdir(folder) == []
