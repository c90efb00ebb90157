"""`datachan send` and `datachan receive` as people run them: processes, exit statuses, kills, pipes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from datachan.transfer.codes import word_list
from datachan.transfer.journal import PARTIAL_FOLDER
from datachan.transfer.outgoing import OutgoingOffer, Piece, Unreadable
from datachan.transfer.send_session import SendSession
from datachan.transfer.sending import ReadPiece
from datachan.transfer.session_events import CodeReady, SessionEvent
from datachan.transfer.sources import gather
from tests.signaling_site import listening

MIB = 1024 * 1024
PATIENCE = 60.0


@pytest.fixture
async def server() -> AsyncIterator[str]:
    async with listening() as url:
        yield url


@dataclass
class Ended:
    status: int
    output: bytes
    errors: str


class Command:
    """A running `datachan`, with what it has printed on standard error."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.errors = ""

    async def says(self, text: str) -> str:
        """Wait for a line with this text, and return it."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE):
            while line := await self.process.stderr.readline():
                self.errors += line.decode()
                if text in line.decode():
                    return line.decode()
        raise AssertionError(f"ended without saying {text!r}:\n{self.errors}")

    async def code(self) -> str:
        return (await self.says("Code:")).split()[-1]

    async def ends(self, stdin: bytes | None = None) -> Ended:
        async with asyncio.timeout(PATIENCE):
            output, errors = await self.process.communicate(stdin)
        self.errors += errors.decode()
        assert "Traceback" not in self.errors, self.errors
        assert self.process.returncode is not None
        return Ended(self.process.returncode, output, self.errors)


@asynccontextmanager
async def datachan(server: str, *arguments: str | Path, **environment: str) -> AsyncIterator[Command]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error::ResourceWarning", "-m", "datachan", *map(str, arguments),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"DATACHAN_SERVER": server} | environment,
    )  # fmt: skip
    command = Command(process)
    try:
        yield command
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_a_file_is_sent_by_code_and_both_ends_say_so(server: str, tmp_path: Path) -> None:
    source, target = tmp_path / "report.txt", tmp_path / "in"
    source.write_text("hello")
    target.mkdir()
    async with datachan(server, "send", source) as sender:
        code = await sender.code()
        async with datachan(server, "rx", "--yes", "--json", "-o", target, DATACHAN_CODE=code) as receiver:
            got = await receiver.ends()
        sent = await sender.ends()
    assert (sent.status, got.status) == (0, 0), (sent, got)
    assert "stored and verified everything" in sent.errors
    assert f"/#/receive/{code}" in sent.errors
    events = [json.loads(line) for line in got.output.splitlines()]
    assert [event["event"] for event in events if event["event"] != "progress"] == [
        "connecting", "connected", "offer", "done",
    ]  # fmt: skip
    assert (target / "report.txt").read_text() == "hello"


async def test_standard_input_goes_to_standard_output(server: str) -> None:
    data = os.urandom(3 * MIB + 5)
    async with datachan(server, "send", "-") as sender:
        sending = asyncio.create_task(_feed(sender, data))
        code = await sender.code()
        async with datachan(server, "receive", "--yes", "-q", "-o", "-", code) as receiver:
            got = await receiver.ends()
        await sending
        sent = await sender.ends()
    assert (sent.status, got.status) == (0, 0), (sent, got.errors)
    assert got.output == data


async def _feed(command: Command, data: bytes) -> None:
    assert command.process.stdin is not None
    command.process.stdin.write(data)
    await command.process.stdin.drain()
    command.process.stdin.close()


async def test_a_text_is_printed(server: str) -> None:
    async with datachan(server, "tx", "--text", "the password is grün") as sender:
        code = await sender.code()
        async with datachan(server, "receive", "--yes", code) as receiver:
            got = await receiver.ends()
        assert (await sender.ends()).status == 0
    assert got.status == 0
    assert got.output.decode() == "the password is grün"
    assert "list of processes" in got.errors


async def test_a_wrong_code_ends_both_with_status_4(server: str, tmp_path: Path) -> None:
    async with datachan(server, "send", "--text", "x") as sender:
        code = await sender.code()
        wrong = "-".join((code.split("-")[0], word_list()[0], word_list()[1]))
        async with datachan(server, "receive", "--yes", "-o", tmp_path, wrong) as receiver:
            got = await receiver.ends()
        sent = await sender.ends()
    assert (sent.status, got.status) == (4, 4)
    assert "Ask the sender for a new code" in got.errors
    assert "there will be a new code" in sent.errors


async def test_an_offer_that_is_too_large_ends_both_with_status_3(server: str, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(2000))
    async with datachan(server, "send", tmp_path / "big") as sender:
        code = await sender.code()
        async with datachan(server, "receive", "--yes", "--max-size", "1k", "-o", tmp_path, code) as receiver:
            got = await receiver.ends()
        sent = await sender.ends()
    assert (sent.status, got.status) == (3, 3)
    assert "accepts at most 1.0 kB" in sent.errors


async def test_damaged_bytes_end_the_receiver_with_status_6(server: str, tmp_path: Path) -> None:
    source = tmp_path / "big"
    source.write_bytes(os.urandom(3 * MIB))
    ready = asyncio.get_running_loop().create_future()

    def notify(event: SessionEvent) -> None:
        if isinstance(event, CodeReady):
            ready.set_result(str(event.code))

    sending = asyncio.create_task(SendSession(_Damaging(gather([str(source)])), server, notify=notify).run())
    (tmp_path / "in").mkdir()
    async with datachan(server, "receive", "--yes", "-o", tmp_path / "in", await ready) as receiver:
        got = await receiver.ends()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    assert got.status == 6
    assert "digest differs" in got.errors
    assert not (tmp_path / "in" / "big").exists()


class _Damaging(OutgoingOffer):
    """An offer whose second piece changes between its hash and the channel."""

    async def read(self, works: Sequence[ReadPiece], hash_name: str) -> list[Piece | Unreadable]:
        pieces = await super().read(works, hash_name)
        return [
            Piece(bytes(len(piece.data)), piece.digest) if isinstance(piece, Piece) and work.offset == MIB else piece
            for work, piece in zip(works, pieces, strict=True)
        ]


async def test_a_full_disk_ends_the_receiver_with_status_7_and_it_goes_on_later(server: str, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    source, small = tmp_path / "big", tmp_path / "small"
    source.write_bytes(os.urandom(24 * MIB))
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", small], check=True)
    try:
        async with datachan(server, "send", "--limit", "4M", source) as sender:
            code = await sender.code()
            async with datachan(server, "receive", "--yes", "-o", small, code) as receiver:
                await receiver.says("The sender offers")
                (small / "other").write_bytes(bytes(16 * MIB))  # another program fills the disk meanwhile
                got = await receiver.ends()
            assert got.status == 7
            assert "are lacking. Make room and run the same command again" in got.errors
            assert "disk is full" in await sender.says("disk is full")
            (small / "other").unlink()
            async with datachan(server, "receive", "--yes", "-o", small, code) as receiver:
                assert (await receiver.ends()).status == 0
            assert (await sender.ends()).status == 0
        assert (small / "big").read_bytes() == source.read_bytes()
    finally:
        subprocess.run(["umount", small], check=True)


async def test_no_server_and_no_sender_end_with_status_5(server: str, tmp_path: Path) -> None:
    for arguments, says in (
        (("send", "--text", "x", "--server", "http://127.0.0.1:1"), "datachan send --serve"),
        (("receive", "--yes", "--wait", "0.2", "7-marble-kitten"), "no sender with this code"),
    ):
        async with datachan(server, *arguments) as command:
            ended = await command.ends()
        assert ended.status == 5
        assert says in ended.errors


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("send",), "name what to send"),
        (("send", "-", "x"), "standard input can be read only once"),
        (("send", "x", "--limit", "fast"), "500k, 20M or 2G"),
        (("send", "x", "--port", "8080"), "--port is the port of --serve"),
        (("receive", "7-marble-kitten"), "--yes"),
        (("receive", "--yes", "7-marbel-kitten"), "'marbel'"),
        (("receive", "--yes", "-o", "nowhere", "7-marble-kitten"), "no folder nowhere"),
    ],
)
async def test_a_wrong_command_line_ends_with_status_2(arguments: tuple[str, ...], says: str) -> None:
    async with datachan("http://127.0.0.1:1", *arguments) as command:
        ended = await command.ends()
    assert ended.status == 2
    assert says in ended.errors


async def test_a_name_behind_serve_is_what_is_sent() -> None:
    async with datachan("http://127.0.0.1:1", "send", "--serve", "no-such-name") as command:
        ended = await command.ends()
    assert ended.status == 1
    assert "no-such-name: no such file" in ended.errors


@pytest.mark.parametrize("arguments", [("send", "--text", "x"), ("receive", "--yes", "7-marble-kitten")])
async def test_says_how_to_install_what_codes_need_before_it_prints_or_uses_one(
    arguments: tuple[str, ...], server: str, tmp_path: Path
) -> None:
    (tmp_path / "spake2.py").write_text("raise ImportError")
    async with datachan(server, *arguments, PYTHONPATH=str(tmp_path)) as command:
        ended = await command.ends()
    assert ended.status == 1
    assert "pip install 'datachan[cli]'" in ended.errors
    assert "Code:" not in ended.errors


async def _has_received(folder: Path, size: int) -> None:
    """Wait until a journal names this many bytes."""
    async with asyncio.timeout(PATIENCE):
        while True:
            journals = list((folder / PARTIAL_FOLDER).glob("*.journal"))
            if journals and journals[0].read_bytes().count(b"\n") - 1 >= size // MIB:
                return
            await asyncio.sleep(0.02)


async def test_a_killed_receiver_goes_on_with_the_same_code(server: str, tmp_path: Path) -> None:
    source, target = tmp_path / "big", tmp_path / "in"
    source.write_bytes(os.urandom(64 * MIB))
    target.mkdir()
    async with datachan(server, "send", "--limit", "10M", source) as sender:
        code = await sender.code()
        async with datachan(server, "receive", "--yes", "-o", target, code) as receiver:
            await _has_received(target, 16 * MIB)
            receiver.process.kill()
            await receiver.ends()
        assert not (target / "big").exists()
        async with datachan(server, "receive", "--yes", "--json", "-o", target, code) as receiver:
            got = await receiver.ends()
        sent = await sender.ends()
    assert (sent.status, got.status) == (0, 0), (sent, got)
    first = next(json.loads(line) for line in got.output.splitlines() if b'"progress"' in line)
    assert first["bytes"] >= 16 * MIB
    assert (target / "big").read_bytes() == source.read_bytes()
    assert not (target / PARTIAL_FOLDER).exists()


async def test_after_a_killed_sender_a_new_one_goes_on(server: str, tmp_path: Path) -> None:
    source, target = tmp_path / "big", tmp_path / "in"
    source.write_bytes(os.urandom(64 * MIB))
    target.mkdir()
    async with datachan(server, "send", "--limit", "8M", source) as sender:
        code = await sender.code()
        async with datachan(server, "receive", "--yes", "-o", target, code) as receiver:
            await _has_received(target, 16 * MIB)
            sender.process.kill()
            await sender.process.wait()
            receiver.process.send_signal(signal.SIGINT)
            stopped = await receiver.ends()
    assert stopped.status == 130
    assert "run the same command again" in stopped.errors
    async with datachan(server, "send", source) as sender:
        code = await sender.code()
        async with datachan(server, "receive", "--yes", "--json", "-o", target, code) as receiver:
            got = await receiver.ends()
        assert (await sender.ends()).status == 0
    assert got.status == 0
    assert (target / "big").read_bytes() == source.read_bytes()


async def test_ctrl_c_tells_the_other_side_and_says_how_to_go_on(server: str, tmp_path: Path) -> None:
    source, target = tmp_path / "big", tmp_path / "in"
    source.write_bytes(bytes(range(256)) * (32 * MIB // 256))
    target.mkdir()
    async with datachan(server, "send", "--limit", "2M", source) as sender:
        code = await sender.code()
        async with datachan(server, "receive", "--yes", "-o", target, code) as receiver:
            await receiver.says("The sender offers")
            await sender.says("connected")
            sender.process.send_signal(signal.SIGINT)
            sent, got = await sender.ends(), await receiver.ends()
    assert sent.status == 130
    assert "Send again" in sent.errors
    assert got.status == 1
    assert "the sender stopped the transfer" in got.errors
