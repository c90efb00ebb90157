"""Sender and receiver meet through a real server and connect: codes, proofs, breaks, several receivers, full disks."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import replace
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import pytest

from datachan import RTCDataChannel, RTCPeerConnection
from datachan.signaling import SignalingClient, connect_through
from datachan.transfer import receive_session
from datachan.transfer.actions import Ended, FilesStored, Outcome, Restarted, WritePiece
from datachan.transfer.codes import Code, parse_code, room_of, word_list
from datachan.transfer.journal import PARTIAL_FOLDER
from datachan.transfer.messages import EndCode
from datachan.transfer.outgoing import OutgoingOffer
from datachan.transfer.receive_offer import Decision, Review
from datachan.transfer.receive_session import ReceiveSession, SenderMissing, SenderSilent
from datachan.transfer.send_session import SendSession, data_message_size
from datachan.transfer.session_events import (
    CodeReady,
    Connected,
    Happened,
    Lost,
    ReceiverResult,
    SessionEvent,
    WrongCode,
)
from datachan.transfer.sources import gather, gather_text
from tests.pairs import configuration, soon
from tests.signaling_site import listening

MIB = 1024 * 1024


class Sending:
    """A sender in the background, with its events."""

    def __init__(self, server: str, *paths: Path, offer: OutgoingOffer | None = None, **options: Any) -> None:
        receivers = options.get("receivers", 1)
        self.offer = offer or OutgoingOffer(gather(paths), receivers=receivers, piece=64 * 1024)
        self.events: list[SessionEvent] = []
        self.changed = asyncio.Event()
        self.session = SendSession(self.offer, server, notify=self.notify, configuration=configuration(), **options)
        self.task = asyncio.create_task(self.session.run())

    def notify(self, event: SessionEvent) -> None:
        self.events.append(event)
        self.changed.set()

    async def until(self, kind: type[SessionEvent], count: int = 1) -> SessionEvent:
        async def wait() -> SessionEvent:
            while True:
                found = [event for event in self.events if isinstance(event, kind)]
                if len(found) >= count:
                    return found[count - 1]
                self.changed.clear()
                await self.changed.wait()

        return await soon(wait())

    async def code(self) -> Code:
        event = await self.until(CodeReady)
        assert isinstance(event, CodeReady)
        return event.code

    async def results(self) -> list[ReceiverResult]:
        return await soon(self.task)


async def accept(review: Review) -> Decision:
    return Decision()


def receiving(
    server: str, code: Code, folder: Path, decide: Callable[[Review], Awaitable[Decision]] = accept, **options: Any
) -> ReceiveSession:
    return ReceiveSession(code, server, folder, decide, configuration=configuration(), **options)


def wrong(code: Code) -> Code:
    other = next(word for word in word_list() if word not in code.words)
    return Code(code.slot, (code.words[0], other))


@pytest.fixture
def source(tmp_path: Path, seed: int) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "big.bin").write_bytes(Random(seed).randbytes(3 * MIB + 17))
    (folder / "empty").touch()
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "sub").mkdir()
    (folder / "sub/nothing").mkdir()
    os.utime(folder / "run.sh", (1_000_000_000, 1_000_000_000))
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def assert_same(source: Path, target: Path) -> None:
    assert subprocess.run(["diff", "-r", source, target], check=False).returncode == 0
    assert not (target.parent / PARTIAL_FOLDER).exists()


async def test_a_folder_arrives_with_its_times_bits_and_empty_folders(source: Path, target: Path) -> None:
    async with listening() as server:
        sending = Sending(server, source)
        ended = await soon(receiving(server, await sending.code(), target).run())
        assert ended == Ended(Outcome.COMPLETED)
        assert await sending.results() == [ReceiverResult(1, None, "", 4)]
    assert_same(source, target / "source")
    script = target / "source/run.sh"
    assert os.access(script, os.X_OK)
    assert not os.access(target / "source/empty", os.X_OK)
    assert script.stat().st_mtime == 1_000_000_000
    assert (target / "source/sub/nothing").is_dir()


@pytest.mark.parametrize(
    ("accepted", "limited", "size"),
    [
        (inf, False, 262_144),
        (262_144, False, 262_144),
        (100_000, False, 100_000),
        (inf, True, 65_536),
        (1000, True, 1000),
        (None, False, 65_536),
    ],
)
def test_messages_are_as_long_as_the_peer_accepts(accepted: float | None, limited: bool, size: int) -> None:
    assert data_message_size(accepted, limited=limited) == size


async def test_a_receiver_that_accepts_short_messages_only_gets_everything(source: Path, target: Path) -> None:
    short = replace(configuration(), maxMessageSize=10_000)
    async with listening() as server:
        sending = Sending(server, source)
        receiver = ReceiveSession(await sending.code(), server, target, accept, configuration=short)
        assert await soon(receiver.run()) == Ended(Outcome.COMPLETED)
        await sending.results()
    assert_same(source, target / "source")


async def test_a_text_is_shown_and_not_stored(target: Path) -> None:
    async with listening() as server:
        sending = Sending(server, offer=OutgoingOffer(gather_text("grüße\n")))
        session = receiving(server, await sending.code(), target)
        assert (await soon(session.run())).outcome is Outcome.COMPLETED
        assert session.receiving is not None
        assert session.receiving.text == "grüße\n"
    assert not list(target.iterdir())


async def test_a_wrong_code_tells_both_sides_and_burns_the_code(source: Path, target: Path) -> None:
    async with listening() as server:
        sending = Sending(server, source)
        code = await sending.code()
        ended = await soon(receiving(server, wrong(code), target).run())
        assert ended.code is EndCode.WRONG_CODE
        assert await sending.results() == []
        assert any(isinstance(event, WrongCode) for event in sending.events)
        with pytest.raises(SenderMissing, match="no sender with this code"):
            await soon(receiving(server, code, target, patience=0.2).run())
    assert not list(target.iterdir())


async def test_after_a_wrong_code_a_receiver_that_was_there_goes_on(source: Path, target: Path, tmp_path: Path) -> None:
    held = asyncio.Event()

    async def decide(review: Review) -> Decision:
        await held.wait()
        return Decision()

    async with listening() as server:
        sending = Sending(server, source, receivers=2)
        code = await sending.code()
        first = asyncio.create_task(receiving(server, code, target, decide).run())
        await sending.until(Connected)
        assert (await soon(receiving(server, wrong(code), tmp_path).run())).code is EndCode.WRONG_CODE
        assert (await soon(receiving(server, code, tmp_path).run())).code is EndCode.WRONG_CODE
        held.set()
        assert (await soon(first)).outcome is Outcome.COMPLETED
        assert [result.code for result in await sending.results()] == [None]


class PartyBetween:
    """A signaling server's operator between the two: connects with each side as if it were the other, and passes on."""

    def __init__(self) -> None:
        self.passed: list[str | bytes] = []

    async def run(self, sender_server: str, receiver_server: str, room: str) -> None:
        async with (
            SignalingClient(receiver_server, room, name="sender") as to_receiver,
            SignalingClient(sender_server, room, name="receiver") as to_sender,
            RTCPeerConnection(configuration()) as left,
            RTCPeerConnection(configuration()) as right,
        ):
            channels = [
                pc.createDataChannel("transfer", protocol="datachan-transfer-1", negotiated=True, id=0)
                for pc in (left, right)
            ]
            await asyncio.gather(connect_through(to_receiver, left), connect_through(to_sender, right))
            await asyncio.gather(*(channel.opened() for channel in channels))
            await asyncio.gather(self.forward(*channels), self.forward(*reversed(channels)))

    async def forward(self, source: RTCDataChannel, target: RTCDataChannel) -> None:
        async for message in source:
            self.passed.append(message)
            if target.readyState == "open":
                target.send(message)
        target.close()


async def test_a_server_that_puts_itself_between_the_two_is_refused(source: Path, target: Path) -> None:
    async with listening() as honest, listening() as evil:
        sending = Sending(honest, source)
        code = await sending.code()
        between = PartyBetween()
        passing = asyncio.create_task(between.run(honest, evil, room_of(code.slot)))
        session = receiving(evil, code, target)
        ended = await soon(session.run())
        assert ended.code is EndCode.WRONG_CODE
        assert await sending.results() == []
        assert not any(isinstance(event, Connected) for event in sending.events)
        kinds = [json.loads(message)["type"] for message in between.passed]
        assert set(kinds) <= {"pake", "confirm", "end"}  # nothing about the files
        await soon(passing)
    assert not list(target.iterdir())


async def test_the_words_to_compare_are_the_same_and_a_no_ends_both_sides(source: Path, target: Path) -> None:
    seen: list[tuple[str, ...]] = []

    async def compare(words: tuple[str, ...]) -> bool:
        seen.append(words)
        return len(seen) == 1

    async with listening() as server:
        sending = Sending(server, source, verify=True, compare=compare)
        ended = await soon(receiving(server, await sending.code(), target, compare=compare).run())
        assert ended.code is EndCode.WRONG_CODE
        assert [result.code for result in await sending.results()] == [EndCode.WRONG_CODE]
    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert len(seen[0]) == 4


async def test_a_refusal_tells_the_sender(source: Path, target: Path) -> None:
    async def refuse(review: Review) -> Decision:
        return Decision("not today")

    async with listening() as server:
        sending = Sending(server, source)
        ended = await soon(receiving(server, await sending.code(), target, refuse).run())
        assert ended.code is EndCode.REFUSED
        assert [(result.code, result.reason) for result in await sending.results()] == [(EndCode.REFUSED, "not today")]


async def test_a_receiver_goes_on_after_its_connection_broke(source: Path, target: Path) -> None:
    (source / "big.bin").write_bytes(os.urandom(40 * MIB))
    broken = asyncio.Event()

    async with listening() as server:
        sending = Sending(server, source)
        session = receiving(server, await sending.code(), target)
        events: list[SessionEvent] = []

        def notify(event: SessionEvent) -> None:
            events.append(event)
            piece = isinstance(event, Happened) and isinstance(event.action, WritePiece)
            if piece and not broken.is_set() and session.receiving and session.receiving.machine.received > 24 * MIB:
                broken.set()
                receiver = sending.session.receivers[0]
                assert receiver.pc is not None
                asyncio.get_running_loop().create_task(receiver.pc.close())

        session.notify = notify
        assert (await soon(session.run())).outcome is Outcome.COMPLETED
        assert [result.code for result in await sending.results()] == [None]
        assert broken.is_set()
        assert any(isinstance(event, Lost) for event in events)
        assert [event.again for event in events if isinstance(event, Connected)] == [False, True]
        assert session.receiving is not None
        assert session.receiving.resumed >= 16 * MIB
    assert_same(source, target / "source")


async def test_a_receiver_that_was_stopped_goes_on_with_the_same_code(source: Path, target: Path) -> None:
    (source / "big.bin").write_bytes(os.urandom(40 * MIB))
    async with listening() as server:
        sending = Sending(server, source)
        code = await sending.code()
        first = receiving(server, code, target)
        task = asyncio.create_task(first.run())

        def stop_late(event: SessionEvent) -> None:
            received = 0 if first.receiving is None else first.receiving.machine.received
            if received > 24 * MIB and not task.cancelling():
                task.cancel()

        first.notify = stop_late
        with pytest.raises(asyncio.CancelledError):
            await soon(task)
        lost = await sending.until(Lost)
        assert isinstance(lost, Lost)
        assert "stopped" in lost.reason
        assert (target / PARTIAL_FOLDER).is_dir()
        second = receiving(server, code, target)
        assert (await soon(second.run())).outcome is Outcome.COMPLETED
        assert second.receiving is not None
        assert second.receiving.resumed >= 16 * MIB
        assert [result.code for result in await sending.results()] == [None]
    assert_same(source, target / "source")


async def test_a_new_sender_goes_on_where_the_old_one_was_and_notices_a_changed_source(
    source: Path, target: Path
) -> None:
    big = source / "big.bin"
    big.write_bytes(os.urandom(40 * MIB))
    async with listening() as server:
        for change in (False, True):
            sending = Sending(server, big)
            session = receiving(server, await sending.code(), target)
            task = asyncio.create_task(session.run())

            def stop_late(event: SessionEvent, session: ReceiveSession = session, sending: Sending = sending) -> None:
                received = 0 if session.receiving is None else session.receiving.machine.received
                if received > 24 * MIB and not sending.task.cancelling():
                    sending.task.cancel()

            session.notify = stop_late
            ended = await soon(task)
            assert (ended.outcome, ended.code) == (Outcome.ENDED_BY_PEER, EndCode.CANCELLED)
            await asyncio.gather(sending.task, return_exceptions=True)
            if change:
                big.write_bytes(os.urandom(40 * MIB))
            sending = Sending(server, big)
            session = receiving(server, await sending.code(), target)
            events: list[SessionEvent] = []
            session.notify = events.append
            assert (await soon(session.run())).outcome is Outcome.COMPLETED
            restarted = [e for e in events if isinstance(e, Happened) and isinstance(e.action, Restarted)]
            assert len(restarted) == change
            assert (target / "big.bin").read_bytes() == big.read_bytes()
            (target / "big.bin").unlink()
            await sending.results()


async def test_two_receivers_get_one_read_and_the_slow_one_holds_nobody(tmp_path: Path) -> None:
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(24 * MIB))
    folders = [tmp_path / "fast", tmp_path / "slow"]
    for folder in folders:
        folder.mkdir()
    go = asyncio.Event()

    async def decide_late(review: Review) -> Decision:
        await go.wait()
        return Decision()

    async with listening() as server:
        sending = Sending(server, big, receivers=2)
        code = await sending.code()
        fast = receiving(server, code, folders[0])
        slow = receiving(server, code, folders[1], decide_late)
        slow_task = asyncio.create_task(slow.run())
        await sending.until(Connected)
        assert (await soon(fast.run())).outcome is Outcome.COMPLETED
        assert not slow_task.done()
        go.set()
        assert (await soon(slow_task)).outcome is Outcome.COMPLETED
        assert [result.code for result in await sending.results()] == [None, None]
    for folder in folders:
        assert (folder / "big.bin").read_bytes() == big.read_bytes()


async def test_two_receivers_in_step_share_one_read_of_the_disk(tmp_path: Path) -> None:
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(12 * MIB))
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    both = asyncio.Barrier(2)

    async def decide_together(review: Review) -> Decision:
        await both.wait()
        return Decision()

    async with listening() as server:
        sending = Sending(server, big, receivers=2)
        code = await sending.code()
        sessions = [receiving(server, code, folder, decide_together) for folder in folders]
        ends = await soon(asyncio.gather(*(session.run() for session in sessions)))
        assert [ended.outcome for ended in ends] == [Outcome.COMPLETED] * 2
        await sending.results()
    assert sending.offer.disk_bytes == 12 * MIB  # all of it fits into what is kept


@pytest.mark.parametrize("silence", [2.0, 0.0])
async def test_a_second_receiver_is_told_that_the_sender_is_busy_while_a_person_reviews(
    source: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silence: float
) -> None:
    monkeypatch.setattr("datachan.transfer.send_session._SILENCE", silence)

    async def never(review: Review) -> Decision:
        await asyncio.Event().wait()
        raise AssertionError

    async with listening() as server:
        sending = Sending(server, source)
        code = await sending.code()
        waiting = asyncio.create_task(receiving(server, code, target, never).run())
        await sending.until(Connected)
        events: list[SessionEvent] = []
        late = receiving(server, code, tmp_path)
        late.notify = events.append
        task = asyncio.create_task(late.run())
        while not any(isinstance(event, Lost) for event in events):
            await asyncio.sleep(0.01)
        assert "as many receivers" in next(event.reason for event in events if isinstance(event, Lost))
        for running in (task, waiting, sending.task):
            running.cancel()
        await asyncio.gather(task, waiting, sending.task, return_exceptions=True)


async def test_an_offer_that_does_not_fit_on_the_disk_is_not_begun(source: Path, target: Path) -> None:
    huge = source / "huge"
    with huge.open("wb") as file:
        file.truncate(2**43)
    async with listening() as server:
        sending = Sending(server, huge)
        ended = await soon(receiving(server, await sending.code(), target).run())
        assert ended.code is EndCode.NO_SPACE
        assert ended.missing is not None
        lost = await sending.until(Lost)
        assert isinstance(lost, Lost)
        assert "are needed" in lost.reason
        sending.task.cancel()
        await asyncio.gather(sending.task, return_exceptions=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
async def test_a_disk_that_fills_up_meanwhile_ends_with_what_is_lacking(source: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", small], check=True)
    try:
        (source / "big.bin").write_bytes(os.urandom(20 * MIB))
        async with listening() as server:
            sending = Sending(server, source / "big.bin")

            async def fill(review: Review) -> Decision:
                return Decision()

            session = receiving(server, await sending.code(), small, fill)

            def fill_up(event: SessionEvent) -> None:
                if (
                    isinstance(event, Happened)
                    and isinstance(event.action, WritePiece)
                    and not (small / "other").exists()
                ):
                    (small / "other").write_bytes(bytes(10 * MIB))

            session.notify = fill_up
            ended = await soon(session.run())
            assert ended.code is EndCode.NO_SPACE
            assert ended.missing is not None
            assert 0 < ended.missing < 20 * MIB
            lost = await sending.until(Lost)
            assert isinstance(lost, Lost)
            assert "disk is full" in lost.reason
            (small / "other").unlink()
            again = receiving(server, await sending.code(), small)
            assert (await soon(again.run())).outcome is Outcome.COMPLETED
            await sending.results()
        assert (small / "big.bin").read_bytes() == (source / "big.bin").read_bytes()
    finally:
        subprocess.run(["umount", small], check=True)


async def test_nobody_came(target: Path) -> None:
    async with listening() as server:
        with pytest.raises(SenderMissing, match="came within"):
            await soon(receiving(server, parse_code("7-marble-kitten"), target, patience=0.2).run())


async def test_a_file_that_changes_while_it_is_sent_is_given_up_and_named(source: Path, target: Path) -> None:
    big = source / "big.bin"
    big.write_bytes(os.urandom(24 * MIB))

    async def change(review: Review) -> Decision:
        big.write_bytes(b"short")
        return Decision()

    async with listening() as server:
        sending = Sending(server, source)
        session = receiving(server, await sending.code(), target, change)
        assert (await soon(session.run())).outcome is Outcome.COMPLETED
        (result,) = await sending.results()
    assert [reason for _, reason in result.missing] == ["the file has changed since it was offered"]
    assert not (target / "source/big.bin").exists()
    assert (target / "source/run.sh").exists()
    assert (
        sum(
            len(e.action.files) for e in sending.events if isinstance(e, Happened) and isinstance(e.action, FilesStored)
        )
        == 3
    )


async def test_a_killed_sender_whose_place_is_kept_is_said_to_be_stopped(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receive_session, "CONNECT_TIMEOUT", 0.5)
    code = parse_code("7-marble-kitten")
    async with listening() as server, SignalingClient(server, room_of(code.slot), name="sender"):
        with pytest.raises(SenderSilent, match=r"it was stopped.* use its new code"):
            await soon(receiving(server, code, target).run())
