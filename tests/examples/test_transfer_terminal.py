"""Run `datachan send` and `datachan receive` on a pseudo-terminal: prompts, Tab, questions, progress, widths."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from datachan.tools.transfer_terminal import Measure, Rate, progress_line
from tests.examples.test_send_receive import MIB, PATIENCE, datachan, server

__all__ = ["server"]

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command on a terminal, and everything that it wrote there."""

    def __init__(self, process: asyncio.subprocess.Process, descriptor: int) -> None:
        self.process = process
        self.text = ""
        self._descriptor = descriptor
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:  # the command has ended
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._descriptor)
        self.text += data.decode(errors="replace")
        self._changed.set()

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    async def shows(self, pattern: str, *, since: int = 0) -> re.Match[str]:
        """Wait until the text behind `since` has this pattern."""
        async with asyncio.timeout(PATIENCE):
            while not (match := re.search(pattern, _ESCAPE.sub("", self.text[since:]))):
                self._changed.clear()
                await self._changed.wait()
        return match

    async def ends(self) -> int:
        async with asyncio.timeout(PATIENCE):
            status = await self.process.wait()
        assert "Traceback" not in self.text
        return status

    def lines(self) -> list[str]:
        """Return what was written between carriage returns and line ends, without the codes of the terminal."""
        return re.split(r"[\r\n]+", _ESCAPE.sub("", self.text))


@asynccontextmanager
async def on_terminal(
    server: str,
    *arguments: str | Path,
    columns: int = 80,
    program: Sequence[str] = (sys.executable, "-m", "datachan"),
    folder: Path | None = None,
) -> AsyncIterator[Terminal]:
    """Run a command on a terminal; `datachan` of this tree, unless another program is given."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = os.environ | {"DATACHAN_SERVER": server, "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    process = await asyncio.create_subprocess_exec(
        *program, *map(str, arguments),
        cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
        preexec_fn=lambda: (os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0)),
    )  # fmt: skip
    os.close(theirs)
    terminal = Terminal(process, ours)
    try:
        yield terminal
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)


async def code_of(sender: Terminal) -> str:
    return (await sender.shows(r"Code: +(\d+-[a-z]+-[a-z]+)"))[1]


async def test_a_code_is_completed_and_the_offer_is_accepted_by_keys(server: str, tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_text("hello")
    (tmp_path / "in").mkdir()
    async with on_terminal(server, "send", tmp_path / "report.txt") as sender:
        code = await code_of(sender)
        assert f"\x1b[1m{code}\x1b[0m" in sender.text  # in bold
        slot, first, second = code.split("-")
        async with on_terminal(server, "receive", "-o", tmp_path / "in") as receiver:
            await receiver.shows("Code .*: ")
            receiver.type(f"{slot}-{first[:4]}\t")
            await receiver.shows(f"{slot}-{first}")
            receiver.type(f"{second[:4]}\n")
            await receiver.shows(r"Accept\? \[Y/n\] ")
            receiver.type("perhaps\n")
            await receiver.shows("Please answer one of: y, yes, n, no")
            receiver.type("\n")
            assert await receiver.ends() == 0
        assert await sender.ends() == 0
    assert (tmp_path / "in" / "report.txt").read_text() == "hello"


async def test_a_taken_name_is_asked_about(server: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("theirs")
        (tmp_path / "in" / name).write_text("my own text")
    async with on_terminal(server, "send", tmp_path / "a.txt", tmp_path / "b.txt") as sender:
        code = await code_of(sender)
        async with on_terminal(server, "receive", "-o", tmp_path / "in", code) as receiver:
            await receiver.shows("Accept")
            receiver.type("y\n")
            await receiver.shows(r"a.txt exists and differs[\s\S]*\[s\]kip, \[r\]ename, \[o\]verwrite")
            receiver.type("R\n")  # for all
            assert await receiver.ends() == 0
            assert "b.txt exists" not in receiver.text
        assert await sender.ends() == 0
    assert (tmp_path / "in" / "a.txt").read_text() == "my own text"
    assert (tmp_path / "in" / "b (2).txt").read_text() == "theirs"


async def test_no_progress_is_written_over_a_question(server: str, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(MIB))
    async with on_terminal(server, "send", "--verify", "--to", "2", tmp_path / "big") as sender:
        code = await code_of(sender)
        async with datachan(server, "receive", "--yes", "-o", tmp_path, code) as receiver:
            await sender.shows(r"same four words\? \[y/N\] ")
            asked = len(sender.text)
            await receiver.says("Words to compare")
            await asyncio.sleep(0.5)  # longer than the progress needs to be shown
            assert sender.text[asked:] == ""
            sender.type("n\n")
            assert (await receiver.ends()).status == 4


@pytest.mark.parametrize("columns", [60, 200])
async def test_the_progress_and_the_sentences_fit_the_terminal(server: str, tmp_path: Path, columns: int) -> None:
    with (tmp_path / "film.bin").open("wb") as film:
        film.truncate(320 * MIB)  # takes 40 seconds: it is stopped long before its end
    (tmp_path / "in").mkdir()
    async with on_terminal(server, "send", "--limit", "8M", tmp_path / "film.bin", columns=columns) as sender:
        code = await code_of(sender)
        target = tmp_path / "in"
        async with on_terminal(server, "receive", "-y", "-o", target, code, columns=columns) as receiver:
            await receiver.shows(r"Received +\d+ %.*MB/s +\d+ s left")
            await sender.shows(r"Sent +\d+ %.*MB/s +\d+ s left")
            assert ("[#" in receiver.text) == (columns == 200)  # a bar where there is room
            receiver.type("\x03")
            assert await receiver.ends() == 130
            stopped = " ".join(" ".join(receiver.lines()).split())
            assert "run the same command again to go on, as long as the sender waits" in stopped
        await sender.shows("The receiver stopped the transfer")
        sender.type("\x03")
        assert await sender.ends() == 130
        for line in (*receiver.lines(), *sender.lines()):
            if "://" not in line and str(tmp_path) not in line:  # commands and paths stay whole
                assert len(line.replace("^C", "")) < columns, line


async def test_no_escape_codes_are_written_to_a_pipe(server: str, tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_text("hello")
    async with datachan(server, "send", tmp_path / "report.txt", TERM="xterm") as sender:
        code = await sender.code()
        (tmp_path / "in").mkdir()
        async with datachan(server, "receive", "--yes", "-o", tmp_path / "in", code, TERM="xterm") as receiver:
            got = await receiver.ends()
        sent = await sender.ends()
    assert "\x1b" not in sent.errors + got.errors
    assert "%" not in sent.errors + got.errors


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
def test_a_progress_line_keeps_to_its_width_and_drops_whole_parts(width: int) -> None:
    rate = Rate()
    rate.update(0, 0.0)
    rate.update(20_000_000, 1.0)
    line = progress_line(Measure("Sent", 20_000_000, 100_000_000, "relayed"), rate, 1.0, width)
    assert len(line) <= width
    assert line.startswith("Sent   20 %")
    for part in re.split(r"  +", line):
        known = ("Sent", "20 %", "20.0 MB of 100 MB", "20.0 MB/s", "4 s left", "relayed")
        assert part in known or re.fullmatch(r"\[#+-+\]", part), line
