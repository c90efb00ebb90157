"""Sending, receiving and answering, over a channel made of two queues."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from datachan import InvalidStateError
from datachan.transfer import (
    FileOffer,
    ReceivedFile,
    SentFile,
    TransferCancelled,
    TransferFailed,
    TransferRefused,
    answer_file,
    files_in,
    receive_file,
    request_file,
    send_file,
)

DATA = bytes(range(256)) * 12_345  # three blocks of 1 MiB and a bit


class End:
    """One end of a channel in memory: a queue in, back-pressure out, and `None` for the end of it."""

    def __init__(self) -> None:
        self.readyState = "open"
        self.inbox: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self.other = self
        self.sent: list[str | bytes] = []
        self.largest_inbox = 0

    def send(self, data: str | bytes) -> None:
        assert self.readyState == "open"
        self.sent.append(data)
        self.other.inbox.put_nowait(data)
        self.other.largest_inbox = max(self.other.largest_inbox, self.other.inbox.qsize())

    def close(self) -> None:
        for end in (self, self.other):
            if end.readyState == "open":
                end.readyState = "closed"
                end.inbox.put_nowait(None)

    def on(self, event: str, f: object) -> None:
        """Do nothing: the queues have no bound."""

    async def opened(self) -> None:
        return

    async def drain(self) -> None:
        while self.other.inbox.qsize() > 4 and self.readyState == "open":
            await asyncio.sleep(0)
        if self.readyState != "open":
            raise InvalidStateError("the channel is closed")

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        while (message := await self.inbox.get()) is not None:
            yield message


@pytest.fixture
def ends() -> tuple[End, End]:
    a, z = End(), End()
    a.other, z.other = z, a
    return a, z


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    path = tmp_path / "source" / "data.bin"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    path.mkdir()
    return path


def controls(end: End) -> list[str]:
    return [json.loads(m)["type"] for m in end.sent if isinstance(m, str)]


async def test_a_file_arrives_whole_with_progress_on_both_ends(
    ends: tuple[End, End], source: Path, folder: Path
) -> None:
    a, z = ends
    sent_progress: list[tuple[int, int]] = []
    received_progress: list[tuple[int, int]] = []
    sent, received = await asyncio.gather(
        send_file(a, source, progress=lambda done, total: sent_progress.append((done, total))),
        receive_file(z, folder, progress=lambda done, total: received_progress.append((done, total))),
    )
    digest = hashlib.sha256(DATA).hexdigest()
    assert sent == SentFile("data.bin", len(DATA), digest)
    assert received == ReceivedFile(folder / "data.bin", len(DATA), digest)
    assert received.path.read_bytes() == DATA
    assert os.listdir(folder) == ["data.bin"]
    assert sent_progress == received_progress
    assert sent_progress[-1] == (len(DATA), len(DATA))
    assert a.readyState == z.readyState == "closed"
    assert controls(a) == ["file-offer", "file-end"]
    assert controls(z) == ["file-accept", "file-received"]
    assert max(len(m) for m in a.sent if isinstance(m, bytes)) == 65536
    assert z.largest_inbox <= 6


async def test_an_empty_file_arrives(ends: tuple[End, End], source: Path, folder: Path) -> None:
    source.write_bytes(b"")
    _, received = await asyncio.gather(send_file(ends[0], source), receive_file(ends[1], folder))
    assert received.path.read_bytes() == b""


async def test_sends_chunks_of_the_requested_size(ends: tuple[End, End], source: Path, folder: Path) -> None:
    await asyncio.gather(send_file(ends[0], source, chunk_size=16384), receive_file(ends[1], folder))
    assert max(len(m) for m in ends[0].sent if isinstance(m, bytes)) == 16384


async def test_the_name_cannot_leave_the_folder(ends: tuple[End, End], source: Path, folder: Path) -> None:
    a, z = ends
    receiving = asyncio.create_task(receive_file(z, folder))
    a.send(json.dumps({"type": "file-offer", "version": 1, "id": "1", "name": "../../x/../.evil", "size": 2}))
    a.send(b"ok") if await anext(aiter(a)) else None
    a.send(json.dumps({"type": "file-end", "id": "1", "sha256": hashlib.sha256(b"ok").hexdigest()}))
    assert (await receiving).path == folder / "evil"
    assert os.listdir(folder) == ["evil"]


async def test_an_existing_file_is_kept_and_the_offer_refused(
    ends: tuple[End, End], source: Path, folder: Path
) -> None:
    (folder / "data.bin").write_bytes(b"old")
    sent, received = await asyncio.gather(
        send_file(ends[0], source), receive_file(ends[1], folder), return_exceptions=True
    )
    assert isinstance(sent, TransferRefused)
    assert isinstance(received, TransferRefused)
    assert sent.reason == "there is a file of this name already"
    assert (folder / "data.bin").read_bytes() == b"old"


async def test_an_existing_file_is_replaced_when_asked(ends: tuple[End, End], source: Path, folder: Path) -> None:
    (folder / "data.bin").write_bytes(b"old")
    await asyncio.gather(send_file(ends[0], source), receive_file(ends[1], folder, overwrite=True))
    assert (folder / "data.bin").read_bytes() == DATA


async def test_a_file_that_appears_during_the_transfer_is_kept(
    ends: tuple[End, End], source: Path, folder: Path
) -> None:
    def appear(done: int, total: int) -> None:
        (folder / "data.bin").write_bytes(b"theirs")

    sent, received = await asyncio.gather(
        send_file(ends[0], source), receive_file(ends[1], folder, progress=appear), return_exceptions=True
    )
    assert isinstance(sent, TransferCancelled)
    assert isinstance(received, TransferFailed)
    assert os.listdir(folder) == ["data.bin"]
    assert (folder / "data.bin").read_bytes() == b"theirs"


async def test_an_offer_too_large_is_refused(ends: tuple[End, End], source: Path, folder: Path) -> None:
    sent, received = await asyncio.gather(
        send_file(ends[0], source), receive_file(ends[1], folder, max_size=1000), return_exceptions=True
    )
    assert isinstance(sent, TransferRefused)
    assert isinstance(received, TransferRefused)


@pytest.mark.parametrize("answer", [True, False])
async def test_the_program_may_decide_about_an_offer(
    ends: tuple[End, End], source: Path, folder: Path, answer: bool
) -> None:
    offers: list[FileOffer] = []

    async def decide(offer: FileOffer) -> bool:
        offers.append(offer)
        return answer

    outcome, _ = await asyncio.gather(
        send_file(ends[0], source, mime="text/plain"),
        receive_file(ends[1], folder, accept=decide),
        return_exceptions=True,
    )
    (offer,) = offers
    assert (offer.name, offer.size, offer.mime) == ("data.bin", len(DATA), "text/plain")
    assert isinstance(outcome, SentFile if answer else TransferRefused)
    assert os.listdir(folder) == (["data.bin"] if answer else [])


async def test_removes_a_damaged_file_and_fails_on_both_ends(ends: tuple[End, End], source: Path, folder: Path) -> None:
    a, z = ends
    deliver = a.send

    def damage(data: str | bytes) -> None:
        deliver(data if isinstance(data, str) else bytes(len(data)))

    a.send = damage  # type: ignore[method-assign]
    sent, received = await asyncio.gather(send_file(a, source), receive_file(z, folder), return_exceptions=True)
    assert isinstance(sent, TransferCancelled)
    assert isinstance(received, TransferFailed)
    assert sent.reason == received.reason == "the file arrived damaged: the hashes differ"
    assert os.listdir(folder) == []


async def test_reports_a_full_disk_to_the_sender(ends: tuple[End, End], source: Path, folder: Path) -> None:
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, old[1]))
    try:
        sent, received = await asyncio.gather(
            send_file(ends[0], source), receive_file(ends[1], folder), return_exceptions=True
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert isinstance(sent, TransferCancelled)
    assert isinstance(received, TransferFailed)
    assert "cannot store the file: file too large" in sent.reason
    assert os.listdir(folder) == []


async def test_a_cancelled_receiver_removes_its_part_and_notifies_the_sender(
    ends: tuple[End, End], source: Path, folder: Path
) -> None:
    sending = asyncio.create_task(send_file(ends[0], source))
    receiving = asyncio.create_task(
        receive_file(ends[1], folder, progress=lambda done, total: done > 2_000_000 and receiving.cancel())
    )
    with pytest.raises(asyncio.CancelledError):
        await receiving
    with pytest.raises(TransferCancelled, match="the receiver cancelled"):
        await sending
    assert os.listdir(folder) == []


async def test_a_cancelled_sender_notifies_the_receiver(ends: tuple[End, End], source: Path, folder: Path) -> None:
    sending = asyncio.create_task(
        send_file(ends[0], source, progress=lambda done, total: done > 2_000_000 and sending.cancel())
    )
    receiving = asyncio.create_task(receive_file(ends[1], folder))
    with pytest.raises(asyncio.CancelledError):
        await sending
    with pytest.raises(TransferCancelled, match="the sender cancelled"):
        await receiving
    assert os.listdir(folder) == []


async def test_a_progress_callback_that_raises_ends_both_sides(
    ends: tuple[End, End], source: Path, folder: Path
) -> None:
    def fail(done: int, total: int) -> None:
        raise ZeroDivisionError

    sent, received = await asyncio.gather(
        send_file(ends[0], source, progress=fail), receive_file(ends[1], folder), return_exceptions=True
    )
    assert isinstance(sent, ZeroDivisionError)
    assert isinstance(received, TransferCancelled)
    assert os.listdir(folder) == []


async def test_a_channel_that_closes_fails_both_sides(ends: tuple[End, End], source: Path, folder: Path) -> None:
    sent, received = await asyncio.gather(
        send_file(ends[0], source, progress=lambda done, total: done > 2_000_000 and ends[0].close()),
        receive_file(ends[1], folder),
        return_exceptions=True,
    )
    assert isinstance(sent, TransferFailed)
    assert isinstance(received, TransferFailed)
    assert os.listdir(folder) == []


async def test_a_peer_that_cancels_and_stops_reading_does_not_block_the_sender(
    ends: tuple[End, End], source: Path
) -> None:
    a, z = ends
    sending = asyncio.create_task(send_file(a, source))
    offer = await z.inbox.get()
    assert isinstance(offer, str)
    z.send(json.dumps({"type": "file-accept", "id": json.loads(offer)["id"], "offset": 0}))
    await z.inbox.get()
    z.send(json.dumps({"type": "file-cancel", "id": json.loads(offer)["id"], "reason": "enough"}))
    with pytest.raises(TransferCancelled, match="enough"):
        await sending


async def test_a_file_that_shrinks_while_it_is_sent_is_not_delivered(
    ends: tuple[End, End], source: Path, folder: Path
) -> None:
    def shrink(done: int, total: int) -> None:
        os.truncate(source, 1000)

    sent, received = await asyncio.gather(
        send_file(ends[0], source, progress=shrink), receive_file(ends[1], folder), return_exceptions=True
    )
    assert isinstance(sent, TransferFailed)
    assert isinstance(received, TransferCancelled)
    assert received.reason == "the file became shorter while it was being sent"
    assert os.listdir(folder) == []


async def test_a_missing_file_or_folder_raises(ends: tuple[End, End], folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await send_file(ends[0], folder / "nothing")
    with pytest.raises(NotADirectoryError):
        await receive_file(ends[1], folder / "nowhere")
    assert ends[0].readyState == "closed"


@pytest.mark.parametrize("chunk_size", [0, -1])
async def test_a_chunk_size_that_is_not_positive_raises_and_closes_the_channel(
    ends: tuple[End, End], source: Path, folder: Path, chunk_size: int
) -> None:
    with pytest.raises(ValueError, match="chunk_size is a positive number"):
        await send_file(ends[0], source, chunk_size=chunk_size)
    with pytest.raises(ValueError, match="chunk_size is a positive number"):
        await answer_file(ends[1], folder, chunk_size=chunk_size)
    assert ends[0].readyState == ends[1].readyState == "closed"


async def test_a_path_of_the_wrong_type_raises_and_closes_the_channel() -> None:
    functions = (
        lambda end: send_file(end, b"/etc/hostname"),
        lambda end: receive_file(end, b"/tmp"),
        lambda end: request_file(end, "name", b"/tmp"),
    )
    for function in functions:
        a, z = End(), End()
        a.other, z.other = z, a
        with pytest.raises(TypeError):
            await function(a)
        assert a.readyState == "closed"


async def test_a_requested_file_is_sent(ends: tuple[End, End], source: Path, folder: Path) -> None:
    sent, received = await asyncio.gather(
        answer_file(ends[0], source.parent, choose=files_in(source.parent)),
        request_file(ends[1], "data.bin", folder),
    )
    assert isinstance(sent, SentFile)
    assert received.path.read_bytes() == DATA


async def test_only_files_in_the_shared_folder_can_be_requested(
    ends: tuple[End, End], source: Path, folder: Path
) -> None:
    shared = folder / "shared"
    shared.mkdir()
    (shared / "link.bin").symlink_to(source)
    (folder / "data.bin").write_bytes(b"secret")
    choose = files_in(shared)
    for name in (None, "link.bin", "data.bin", "../data.bin", "shared"):
        a, z = End(), End()
        a.other, z.other = z, a
        answer, received = await asyncio.gather(
            answer_file(a, folder, choose=choose), request_file(z, name, folder), return_exceptions=True
        )
        assert isinstance(answer, TransferRefused)
        assert isinstance(received, TransferRefused)
        assert received.reason == "there is no such file here"


async def test_an_offer_is_answered_by_receiving_it(ends: tuple[End, End], source: Path, folder: Path) -> None:
    _, received = await asyncio.gather(send_file(ends[0], source), answer_file(ends[1], folder))
    assert isinstance(received, ReceivedFile)
    assert received.path.read_bytes() == DATA


@pytest.mark.parametrize("message", ["nonsense", b"bytes", '{"type": "file-accept", "id": "1", "offset": 0}'])
async def test_answers_a_malformed_message_with_a_cancel(
    ends: tuple[End, End], folder: Path, message: str | bytes
) -> None:
    ends[0].send(message)
    with pytest.raises(TransferFailed):
        await answer_file(ends[1], folder)
    assert controls(ends[1]) == ["file-cancel"]


async def test_a_channel_that_closes_before_the_first_message_fails(ends: tuple[End, End], folder: Path) -> None:
    ends[0].close()
    with pytest.raises(TransferFailed):
        await answer_file(ends[1], folder)
