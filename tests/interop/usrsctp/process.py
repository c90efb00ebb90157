"""Run usrsctp as the peer: compile peer.c, start it, send it commands and read its reports."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import zlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.missing import missing
from tests.ports import free_port

SOURCE = Path(__file__).with_name("peer.c")
PATIENCE = 30.0
PORT = 4444


def build(folder: Path) -> Path:
    """Compile the program; where that is not possible, skip the test or fail it as `missing` does."""
    if shutil.which("gcc") is None or not Path("/usr/include/usrsctp.h").exists():
        missing("usrsctp or a C compiler is not installed (apt install gcc libc6-dev libusrsctp-dev)")
    program = folder / "usrsctp-peer"
    command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(program), str(SOURCE), "-lusrsctp", "-lpthread"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return program


def pattern(index: int, stream: int, length: int) -> bytes:
    """Return message `index` of a "send" command."""
    first = (index * 7 + stream) & 0xFF
    return (bytes(range(256)) * (length // 256 + 2))[first : first + length]


def crc(*data: bytes) -> str:
    """Return what the reports "message" and "crc" say about these bytes."""
    value = 0
    for part in data:
        value = zlib.crc32(part, value)
    return f"{value:08x}"


class Usrsctp:
    """The running peer program."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.port = port
        self.lines: list[str] = []
        self._read = 0

    def order(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode() + b"\n")

    async def tells(self, pattern: str, patience: float = PATIENCE) -> re.Match[str]:
        """Return the next line that matches, and skip others."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(patience):
                while line := (await self._process.stdout.readline()).decode().rstrip():
                    self.lines.append(line)
                    assert not line.startswith("error"), self.lines
                    if match := re.fullmatch(pattern, line):
                        return match
        except TimeoutError:
            raise AssertionError(f"has not told {pattern!r}, only {self.lines[-30:]}") from None
        raise AssertionError(f"ended without telling {pattern!r}: {self.lines[-30:]}")

    async def end(self) -> list[str]:
        """Kill the program, so that its peer is not notified; return the unread lines."""
        if self._process.returncode is None:
            self._process.kill()
        unheard, _ = await self._process.communicate()
        return unheard.decode().splitlines()[-30:]

    async def ask(self, text: str, pattern: str) -> re.Match[str]:
        self.order(text)
        return await self.tells(pattern)


@asynccontextmanager
async def usrsctp(
    program: Path,
    role: str,
    our_port: int,
    port: int = 0,
    local_hosts: Iterable[str] = ("127.0.0.1",),
    remote_hosts: Iterable[str] = ("127.0.0.1",),
    **options: int,
) -> AsyncIterator[Usrsctp]:
    """Run the program as "server" or "client" of our UDP port."""
    port = port or free_port()
    arguments = [role, str(port), str(our_port), str(PORT), ",".join(local_hosts)]
    arguments += [",".join(remote_hosts)] if role == "client" else []
    arguments += [f"{name}={value}" for name, value in options.items()]
    process = await asyncio.create_subprocess_exec(
        str(program), *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    peer = Usrsctp(process, port)
    try:
        if role == "server":
            await peer.tells("listening")
        yield peer
    except BaseException as error:
        error.add_note(f"usrsctp has told, and been heard: {peer.lines[-30:]}; and unheard: {await peer.end()}")
        raise
    finally:
        await peer.end()
