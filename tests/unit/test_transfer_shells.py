"""Sending, receiving and answering, over a channel made of two queues."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from datachan import InvalidStateError
from datachan.transfer import (
    Conflict,
    MissingFile,
    OutgoingOffer,
    RateLimit,
    ReceivedFile,
    ReceivedFiles,
    ReceivePolicy,
    ReceivingBounds,
    Review,
    SentFiles,
    TransferCancelled,
    TransferError,
    TransferFailed,
    TransferMisuse,
    TransferRefused,
    answer_transfer,
    files_in,
    gather,
    gather_stream,
    receive_files,
    request_files,
    send_files,
    send_offer,
    send_text,
)
from datachan.transfer.journal import PARTIAL_FOLDER
from tests.pairs import soon

DATA = bytes(range(256)) * 12_345  # three pieces of 1 MiB and a bit


class End:
    """One end of a channel in memory: a queue in, back-pressure out, and `None` for the end of it."""

    def __init__(self) -> None:
        self.readyState = "open"
        self.inbox: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self.other = self
        self.sent: list[str | bytes] = []
        self.largest_inbox = 0
        self.bufferedAmount = 0

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


def pair() -> tuple[End, End]:
    a, z = End(), End()
    a.other, z.other = z, a
    return a, z


@pytest.fixture
def ends() -> tuple[End, End]:
    return pair()


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


def offer_of(path: str, size: int) -> list[str]:
    offer = {"type": "offer", "version": 1, "id": "1", "count": 1, "size": size, "hashes": ["sha256"], "piece": 65536}
    entries = {"type": "entries", "entries": [{"path": path, "size": size}]}
    return [json.dumps(message) for message in (offer, entries, {"type": "offered"})]


def controls(end: End) -> list[str]:
    return [json.loads(m)["type"] for m in end.sent if isinstance(m, str)]


async def both(sending: Awaitable[Any], receiving: Awaitable[Any]) -> tuple[Any, Any]:
    """Return what both sides returned or raised."""
    return await soon(asyncio.gather(sending, receiving, return_exceptions=True))


def assert_nothing_but(folder: Path, *names: str) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


async def test_a_file_arrives_whole_with_progress_on_both_ends(
    ends: tuple[End, End], source: Path, folder: Path
) -> None:
    a, z = ends
    sent_progress: list[tuple[int, int | None]] = []
    received_progress: list[tuple[int, int | None]] = []
    sent, received = await both(
        send_files(a, source, progress=lambda done, total: sent_progress.append((done, total))),
        receive_files(z, folder, progress=lambda done, total: received_progress.append((done, total))),
    )
    assert sent == SentFiles(("data.bin",))
    assert received == ReceivedFiles((folder / "data.bin",), (ReceivedFile(folder / "data.bin", len(DATA)),))
    assert (folder / "data.bin").read_bytes() == DATA
    assert_nothing_but(folder, "data.bin")
    for progress in (sent_progress, received_progress):
        assert progress == sorted(progress)
        assert progress[-1] == (len(DATA), len(DATA))
    assert len(received_progress) > 10
    assert a.readyState == z.readyState == "closed"
    assert controls(a) == ["offer", "entries", "offered", "sent"]
    assert [name for name in controls(z) if name != "credit"] == ["accept", "stored", "complete"]
    assert max(len(m) for m in a.sent if isinstance(m, bytes)) == 65536
    assert z.largest_inbox <= 10


async def test_a_folder_and_a_file_arrive_in_one_offer(ends: tuple[End, End], source: Path, folder: Path) -> None:
    other = source.parent.parent / "other.txt"
    other.write_text("other")
    sent, received = await both(send_files(ends[0], [source.parent, other]), receive_files(ends[1], folder))
    assert sent.paths == ("source/data.bin", "other.txt")
    assert received.paths == (folder / "source", folder / "other.txt")
    assert [file.path for file in received.files] == [folder / "source/data.bin", folder / "other.txt"]
    assert (folder / "source/data.bin").read_bytes() == DATA


async def test_an_empty_file_arrives(ends: tuple[End, End], source: Path, folder: Path) -> None:
    source.write_bytes(b"")
    _, received = await both(send_files(ends[0], source), receive_files(ends[1], folder))
    assert received.files == (ReceivedFile(folder / "data.bin", 0),)
    assert (folder / "data.bin").read_bytes() == b""


async def test_a_text_arrives_and_is_not_stored(ends: tuple[End, End], folder: Path) -> None:
    _, received = await both(send_text(ends[0], "grüße"), receive_files(ends[1], folder))
    assert received == ReceivedFiles((), (), text="grüße")
    assert_nothing_but(folder)


async def test_a_stream_arrives_with_its_size(ends: tuple[End, End], folder: Path) -> None:
    offer = OutgoingOffer(gather_stream(BytesIO(DATA), "stream"))
    progress: list[tuple[int, int | None]] = []
    _, received = await both(
        send_offer(ends[0], offer, progress=lambda *values: progress.append(values)),
        receive_files(ends[1], folder, ReceivePolicy(max_size=None)),
    )
    assert received.files == (ReceivedFile(folder / "stream", len(DATA)),)
    assert progress[-1] == (len(DATA), None)


async def test_one_offer_goes_to_two_receivers_from_one_read(source: Path, folder: Path) -> None:
    offer = OutgoingOffer(gather([source]), receivers=2)
    transfers: list[Awaitable[Any]] = []
    for name in ("one", "two"):
        (folder / name).mkdir()
        a, z = pair()
        transfers += [send_offer(a, offer), receive_files(z, folder / name)]
    await soon(asyncio.gather(*transfers))
    assert (folder / "one/data.bin").read_bytes() == (folder / "two/data.bin").read_bytes() == DATA


async def test_sends_messages_of_the_requested_size(ends: tuple[End, End], source: Path, folder: Path) -> None:
    await both(send_files(ends[0], source, message_size=16384), receive_files(ends[1], folder))
    assert max(len(m) for m in ends[0].sent if isinstance(m, bytes)) == 16384


async def test_a_limit_is_kept(ends: tuple[End, End], source: Path, folder: Path) -> None:
    source.write_bytes(bytes(200_000))
    started = time.monotonic()
    await both(send_files(ends[0], source, limit=RateLimit(1_000_000)), receive_files(ends[1], folder))
    assert time.monotonic() - started > 0.1


async def test_the_name_cannot_leave_the_folder(ends: tuple[End, End], folder: Path) -> None:
    a, z = ends
    receiving = asyncio.create_task(receive_files(z, folder))
    for message in offer_of("../../x/../.evil", 0):
        a.send(message)
    messages = aiter(a)
    assert json.loads(await soon(anext(messages)))["type"] == "accept"
    a.send('{"type":"sent"}')
    while json.loads(await soon(anext(messages)))["type"] != "complete":
        pass
    a.close()
    assert (await soon(receiving)).files[0].path == folder / "x" / ".evil"
    assert_nothing_but(folder, "x")


@pytest.mark.parametrize(
    ("conflict", "names", "content"),
    [
        (Conflict.RENAME, ["data (2).bin", "data.bin"], b"old"),
        (Conflict.OVERWRITE, ["data.bin"], DATA),
        (Conflict.SKIP, ["data.bin"], b"old"),
    ],
)
async def test_a_name_that_is_taken(
    ends: tuple[End, End], source: Path, folder: Path, conflict: Conflict, names: list[str], content: bytes
) -> None:
    (folder / "data.bin").write_bytes(b"old")
    _, received = await both(
        send_files(ends[0], source), receive_files(ends[1], folder, ReceivePolicy(conflict=conflict))
    )
    assert_nothing_but(folder, *names)
    assert (folder / "data.bin").read_bytes() == content
    assert [file.path.name for file in received.files] == ([] if conflict is Conflict.SKIP else names[:1])


async def test_a_file_that_is_there_already_is_not_sent_again(
    ends: tuple[End, End], source: Path, folder: Path
) -> None:
    (folder / "data.bin").write_bytes(DATA)
    sent, received = await both(send_files(ends[0], source), receive_files(ends[1], folder))
    assert sent.paths == ("data.bin",)
    assert received.files == (ReceivedFile(folder / "data.bin", len(DATA)),)
    assert not any(isinstance(message, bytes) for message in ends[0].sent)


async def test_a_file_that_appears_during_the_transfer_is_kept(
    ends: tuple[End, End], source: Path, folder: Path
) -> None:
    def appear(done: int, total: int | None) -> None:
        (folder / "data.bin").write_bytes(b"theirs")

    _, received = await both(send_files(ends[0], source), receive_files(ends[1], folder, progress=appear))
    assert [file.path.name for file in received.files] == ["data (2).bin"]
    assert (folder / "data.bin").read_bytes() == b"theirs"


@pytest.mark.parametrize(
    "policy",
    [
        ReceivePolicy(max_size=1000),
        ReceivePolicy(lambda review: False),
        ReceivePolicy(bounds=ReceivingBounds(max_entries=1)),
        ReceivePolicy(bounds=ReceivingBounds(max_piece=64 * 1024)),
    ],
)
async def test_an_offer_that_the_policy_excludes_is_refused(
    ends: tuple[End, End], source: Path, folder: Path, policy: ReceivePolicy
) -> None:
    (source.parent / "second").write_text("2")
    sent, received = await both(send_files(ends[0], source.parent), receive_files(ends[1], folder, policy))
    assert isinstance(sent, TransferRefused)
    assert isinstance(received, TransferRefused)
    assert sent.reason == received.reason
    assert sent.code in {"too-large", "refused"}
    assert controls(ends[0]) == ["offer", "entries", "offered"]


@pytest.mark.parametrize("answer", [True, False, "not today"])
async def test_the_program_may_decide_about_an_offer(
    ends: tuple[End, End], source: Path, folder: Path, answer: bool | str
) -> None:
    reviews: list[Review] = []

    async def decide(review: Review) -> bool | str:
        reviews.append(review)
        return answer

    outcome, _ = await both(send_files(ends[0], source), receive_files(ends[1], folder, ReceivePolicy(decide)))
    (review,) = reviews
    assert (review.places, review.size, review.text) == ((("data.bin",),), len(DATA), False)
    assert isinstance(outcome, SentFiles if answer is True else TransferRefused)
    assert_nothing_but(folder, *(["data.bin"] if answer is True else []))
    if answer == "not today":
        assert outcome.reason == "not today"


async def test_a_damaged_file_fails_on_both_ends(ends: tuple[End, End], source: Path, folder: Path) -> None:
    a, z = ends
    deliver = a.send

    def damage(data: str | bytes) -> None:
        deliver(data if isinstance(data, str) else bytes(len(data)))

    a.send = damage  # type: ignore[method-assign]
    sent, received = await both(send_files(a, source), receive_files(z, folder))
    assert isinstance(sent, TransferFailed)
    assert isinstance(received, TransferFailed)
    assert sent.reason == received.reason == "a piece arrived damaged: its digest differs"
    assert sent.code == "damaged"
    assert_nothing_but(folder)


async def test_reports_a_file_that_the_disk_does_not_take(ends: tuple[End, End], source: Path, folder: Path) -> None:
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, old[1]))
    try:
        sent, received = await both(send_files(ends[0], source), receive_files(ends[1], folder))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert isinstance(sent, TransferFailed)
    assert isinstance(received, TransferFailed)
    assert sent.reason == "the receiver cannot write: file too large"
    assert sent.code == "disk"


async def test_tells_the_sender_that_the_folder_cannot_be_opened(
    ends: tuple[End, End], source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "supports_dir_fd", set())  # as on Windows
    sent, received = await both(send_files(ends[0], source), receive_files(ends[1], folder))
    assert isinstance(received, OSError)
    assert isinstance(sent, TransferFailed)
    assert (sent.code, "cannot open files relative to a folder" in sent.reason) == ("disk", True)


async def test_a_cancelled_receiver_tells_the_sender_and_goes_on_the_next_time(source: Path, folder: Path) -> None:
    os.truncate(source, 120_000_000)  # more than may be received before the first bytes are durable

    def stop_when_durable(done: int, total: int | None) -> None:
        if any(len(path.read_bytes()) > 500 for path in folder.glob(f"{PARTIAL_FOLDER}/*.journal")):
            receiving.cancel()

    a, z = pair()
    sending = asyncio.create_task(send_files(a, source))
    receiving = asyncio.create_task(receive_files(z, folder, progress=stop_when_durable))
    sent, _ = await both(sending, receiving)
    assert receiving.cancelled()
    assert isinstance(sent, TransferCancelled)
    assert sent.reason == "the receiver stopped the transfer"
    assert_nothing_but(folder, PARTIAL_FOLDER)
    a, z = pair()
    progress: list[int] = []
    await both(send_files(a, source), receive_files(z, folder, progress=lambda done, total: progress.append(done)))
    assert progress[0] >= 1024 * 1024
    assert (folder / "data.bin").read_bytes() == source.read_bytes()
    assert_nothing_but(folder, "data.bin")


async def test_a_cancelled_sender_tells_the_receiver(ends: tuple[End, End], source: Path, folder: Path) -> None:
    receiving = asyncio.create_task(receive_files(ends[1], folder))
    sending = asyncio.create_task(send_files(ends[0], source, progress=lambda done, total: sending.cancel()))
    _, received = await both(sending, receiving)
    assert sending.cancelled()
    assert isinstance(received, TransferCancelled)
    assert received.reason == "the sender stopped the transfer"


@pytest.mark.parametrize("failing", ["sender", "receiver", "decision"])
async def test_a_callback_that_raises_ends_both_sides(
    ends: tuple[End, End], source: Path, folder: Path, failing: str
) -> None:
    def fail(*arguments: object) -> bool:
        raise ZeroDivisionError

    results = await both(
        send_files(ends[0], source, progress=fail if failing == "sender" else None),
        receive_files(
            ends[1],
            folder,
            ReceivePolicy(fail if failing == "decision" else None),
            progress=fail if failing == "receiver" else None,
        ),
    )
    raised, told = results if failing == "sender" else results[::-1]
    assert isinstance(raised, ZeroDivisionError)
    assert isinstance(told, TransferFailed)
    assert "program failed" in told.reason


async def test_a_channel_that_closes_fails_both_sides(ends: tuple[End, End], source: Path, folder: Path) -> None:
    sent, received = await both(
        send_files(ends[0], source),
        receive_files(ends[1], folder, progress=lambda done, total: done > 2_000_000 and ends[0].close()),
    )
    for error in (sent, received):
        assert isinstance(error, TransferFailed)
        assert error.code is None


async def test_a_file_that_changes_while_it_is_sent_is_named_as_missing(
    ends: tuple[End, End], source: Path, folder: Path
) -> None:
    source.write_bytes(DATA * 5)
    (source.parent / "second").write_text("2")
    sent, received = await both(
        send_files(ends[0], [source, source.parent / "second"]),
        receive_files(ends[1], folder, progress=lambda done, total: os.truncate(source, 1000)),
    )
    missing = MissingFile("data.bin", "the file has changed since it was offered")
    assert sent == SentFiles(("second",), (missing,))
    assert received == ReceivedFiles((folder / "second",), (ReceivedFile(folder / "second", 1),), (missing,))
    assert_nothing_but(folder, "second")


async def test_what_cannot_be_sent_or_stored_raises_and_closes_the_channel(source: Path, folder: Path) -> None:
    calls: list[tuple[Callable[[End], Awaitable[Any]], type[Exception]]] = [
        (lambda end: send_files(end, folder / "nothing"), FileNotFoundError),
        (lambda end: send_files(end, []), TransferMisuse),
        (lambda end: send_text(end, "x" * 2_000_000), TransferMisuse),
        (lambda end: receive_files(end, folder / "nowhere"), NotADirectoryError),
        (lambda end: request_files(end, "name", folder / "nowhere"), NotADirectoryError),
    ]
    for call, error in calls:
        a, _ = pair()
        with pytest.raises(error):
            await soon(call(a))
        assert a.readyState == "closed"


async def test_a_requested_file_is_sent(ends: tuple[End, End], source: Path, folder: Path) -> None:
    sent, received = await both(
        answer_transfer(ends[0], source.parent, choose=files_in(source.parent)),
        request_files(ends[1], "data.bin", folder),
    )
    assert sent == SentFiles(("data.bin",))
    assert received.files == (ReceivedFile(folder / "data.bin", len(DATA)),)


async def test_a_request_without_a_name_gets_everything(ends: tuple[End, End], source: Path, folder: Path) -> None:
    (source.parent / "second").write_text("2")
    (source.parent / ".hidden").write_text("3")
    _, received = await both(
        answer_transfer(ends[0], source.parent, choose=files_in(source.parent)), request_files(ends[1], None, folder)
    )
    assert [file.path.name for file in received.files] == ["data.bin", "second"]


async def test_only_files_in_the_shared_folder_can_be_requested(source: Path, folder: Path) -> None:
    shared = folder / "shared"
    shared.mkdir()
    (shared / "link.bin").symlink_to(source)
    (folder / "data.bin").write_bytes(b"secret")
    for choose in (files_in(shared), None):
        for name in (None, "link.bin", "data.bin", "../data.bin", "shared", "/etc/hostname"):
            a, z = pair()
            answer, received = await both(answer_transfer(a, folder, choose=choose), request_files(z, name, folder))
            for error in (answer, received):
                assert isinstance(error, TransferRefused)
                assert (error.reason, error.code) == ("there is no such file here", "not-found")


async def test_something_else_than_was_requested_is_not_stored(
    ends: tuple[End, End], source: Path, folder: Path
) -> None:
    sent, received = await both(send_files(ends[0], source), request_files(ends[1], "other.bin", folder))
    assert isinstance(sent, TransferError)
    assert isinstance(received, TransferFailed)
    assert_nothing_but(folder)


async def test_an_offer_is_answered_by_receiving_it(ends: tuple[End, End], source: Path, folder: Path) -> None:
    ends[0].send('{"type":"something of a later version"}')
    _, received = await both(send_files(ends[0], source), answer_transfer(ends[1], folder))
    assert received.files[0].path.read_bytes() == DATA


@pytest.mark.parametrize("message", ["nonsense", b"bytes", '{"type":"accept","id":"1","hash":"sha256","credit":1}'])
async def test_a_first_message_that_fits_nothing_ends_the_transfer(
    ends: tuple[End, End], folder: Path, message: str | bytes
) -> None:
    ends[0].send(message)
    with pytest.raises(TransferFailed) as raised:
        await soon(answer_transfer(ends[1], folder))
    assert raised.value.code == "protocol"
    assert controls(ends[1]) == ["end"]


async def test_a_channel_that_closes_before_the_first_message_fails(ends: tuple[End, End], folder: Path) -> None:
    ends[0].close()
    with pytest.raises(TransferFailed, match="before the first message"):
        await soon(answer_transfer(ends[1], folder))
