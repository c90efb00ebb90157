"""Two programs in a room share files, and go on after their connection broke."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from datachan import RTCPeerConnection
from datachan.signaling import PeerInfo, SignalingClient
from datachan.transfer import ReceivePolicy, Review, TransferFailed, files_in, open_transfer_channel
from datachan.transfer.room_transfers import RoomEvent, RoomTransfers, TransferReceived, TransferWaits
from tests.pairs import configuration, soon, state
from tests.signaling_site import listening

MIB = 1024 * 1024
SIZE = 64 * MIB
MAX_ANSWERS = 50


class Program:
    """A member of the room, with its connections and what has happened to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.connections: list[RTCPeerConnection] = []
        self.reviews: list[Review] = []
        self.events: list[RoomEvent] = []
        self.closing: asyncio.Task[None] | None = None
        self.transfers: RoomTransfers

    def prepare(self, pc: RTCPeerConnection, peer: PeerInfo) -> None:
        pc.createDataChannel("chat")
        self.connections.append(pc)

    def accept(self, review: Review) -> bool:
        self.reviews.append(review)
        return True

    def break_once(self) -> None:
        self.closing = self.closing or asyncio.create_task(self.connections[0].close())

    def waits(self) -> list[PeerInfo]:
        return [event.peer for event in self.events if isinstance(event, TransferWaits)]

    def received(self) -> list[Path]:
        return [path for event in self.events if isinstance(event, TransferReceived) for path in event.files.paths]


@asynccontextmanager
async def running(server: str, name: str, folder: Path) -> AsyncIterator[Program]:
    folder.mkdir()
    program = Program(folder)
    async with (
        SignalingClient(server, "kitchen", name=name, reconnect=True) as client,
        RoomTransfers(
            client,
            folder,
            ReceivePolicy(program.accept),
            choose=files_in(folder),
            notify=program.events.append,
            prepare=program.prepare,
            configuration=configuration(),
        ) as program.transfers,
    ):
        yield program


@asynccontextmanager
async def two(folder: Path) -> AsyncIterator[tuple[Program, Program]]:
    """Ada is called by Grace, who joins later."""
    async with (
        listening() as server,
        running(server, "Ada", folder / "ada") as ada,
        running(server, "Grace", folder / "grace") as grace,
    ):
        yield ada, grace


@pytest.mark.parametrize("sender_breaks", [True, False])
async def test_what_is_sent_goes_on_after_a_break_without_another_review(tmp_path: Path, sender_breaks: bool) -> None:
    source = tmp_path / "film.bin"
    source.write_bytes(os.urandom(SIZE))
    counted: list[int] = []
    async with two(tmp_path) as (ada, grace):

        def progress(done: int, total: int | None) -> None:
            counted.append(done)
            if done > SIZE // 3:
                (grace if sender_breaks else ada).break_once()

        peer = await soon(grace.transfers.member("Ada"))
        sent = await soon(grace.transfers.send(peer, source, progress=progress))
        assert sent.paths == ("film.bin",)
        async with asyncio.timeout(20):
            while not ada.received():
                await asyncio.sleep(0.01)
        assert ada.received() == [ada.folder / "film.bin"]
        assert (len(ada.reviews), len(ada.connections)) == (1, 2)
        assert (grace.waits(), [one.name for one in ada.waits()]) == ([peer], ["Grace"])
    assert (tmp_path / "ada/film.bin").read_bytes() == source.read_bytes()
    assert counted == sorted(counted)
    assert counted[-1] == SIZE


async def test_what_is_requested_goes_on_after_a_break(tmp_path: Path) -> None:
    async with two(tmp_path) as (ada, grace):
        (grace.folder / "film.bin").write_bytes(os.urandom(SIZE))

        def progress(done: int, total: int | None) -> None:
            if done > SIZE // 3:
                ada.break_once()

        peer = await soon(ada.transfers.member())
        received = await soon(ada.transfers.request(peer, "film.bin", progress=progress))
        assert received.paths == (ada.folder / "film.bin",)
        assert (len(grace.connections), ada.waits()) == (2, [peer])
        assert received.paths[0].read_bytes() == (grace.folder / "film.bin").read_bytes()


async def test_leaving_the_room_ends_what_is_on_its_way_and_what_waits(tmp_path: Path) -> None:
    source = tmp_path / "film.bin"
    source.write_bytes(bytes(SIZE))
    async with two(tmp_path) as (_, grace):
        peer = await soon(grace.transfers.member())
        begun = asyncio.Event()
        work = [
            asyncio.create_task(grace.transfers.send(peer, source, progress=lambda done, total: begun.set())),
            asyncio.create_task(grace.transfers.send(PeerInfo("absent", "Eve"), source)),
            asyncio.create_task(grace.transfers.member("Eve")),
        ]
        await soon(begun.wait())
        await grace.transfers.__aexit__(None, None, None)
        for result in await soon(asyncio.gather(*work, return_exceptions=True)):
            assert isinstance(result, TransferFailed)
        assert not grace.events


async def test_the_end_of_the_signaling_ends_what_waits(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(listening())
        async with SignalingClient(server, "kitchen") as client, RoomTransfers(client, tmp_path) as transfers:
            waiting = asyncio.create_task(transfers.member())
            await asyncio.sleep(0)
            await stack.aclose()
            with pytest.raises(TransferFailed, match="left the room"):
                await soon(waiting)


async def test_a_member_opens_a_bounded_number_of_transfers(tmp_path: Path) -> None:
    async with two(tmp_path) as (ada, grace):
        await soon(grace.transfers.member())
        pc = grace.connections[0]
        channels = [open_transfer_channel(pc) for _ in range(MAX_ANSWERS + 1)]
        await soon(asyncio.gather(*(channel.opened() for channel in channels)))
        await state(channels[-1], "readyState", "closed", "close")
        assert {channel.readyState for channel in channels[:-1]} == {"open"}
        channels[0].close()
        await state(channels[0], "readyState", "closed", "close")
        await soon(open_transfer_channel(pc).opened())
        assert not ada.reviews
