"""Run programs as a user does, and wait for their output."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PATIENCE = 90.0  # seconds, used up only when a program hangs


class Program:
    """A running program and its output, including standard error."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.printed = ""

    async def prints(self, pattern: str) -> re.Match[str]:
        """Wait until a line matches, and return the match; fail when the program ends first."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE):
                while line := await self.process.stdout.readline():
                    self.printed += line.decode()
                    if match := re.search(pattern, line.decode()):
                        return match
        except TimeoutError:
            raise AssertionError(f"has not printed {pattern!r} yet, only:\n{self.printed}") from None
        raise AssertionError(f"ended without printing {pattern!r}:\n{self.printed}")

    def type(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")

    def end_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    async def ends(self) -> int:
        """Wait for the end, and return the exit code; fail when the output has a traceback."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE):
                while line := await self.process.stdout.readline():
                    self.printed += line.decode()
                code = await self.process.wait()
        except TimeoutError:
            raise AssertionError(f"still runs after printing:\n{self.printed}") from None
        assert "Traceback" not in self.printed, self.printed
        return code

    async def interrupted(self) -> int:
        """Press Ctrl-C, and return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return await self.ends()


@asynccontextmanager
async def run(*arguments: str | Path, module_path: Path | None = None) -> AsyncIterator[Program]:
    """Run `python ARGUMENTS…`, and kill the program and its children if it still runs at the end.

    Modules in `module_path` go before installed ones.
    """
    environment = os.environ | ({} if module_path is None else {"PYTHONPATH": str(module_path)})
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-u",
        "-W",
        "error::ResourceWarning",
        *map(str, arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            # Children would hold the pipe that is read to its end below.
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


@asynccontextmanager
async def serve() -> AsyncIterator[str]:
    """Run `datachan serve` on a free port, and yield its address."""
    async with run("-m", "datachan", "serve", "--host", "127.0.0.1", "--port", "0") as server:
        match = await server.prints(r"http://127\.0\.0\.1:\d+")
        yield match[0]
