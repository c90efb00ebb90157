"""A peer program as a process of a benchmark: lines of JSON in both directions, and its processor time."""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

ROOT: Final = Path(__file__).parents[2]
SETUP_PATIENCE: Final = 30.0
_LINE_LIMIT: Final = 1 << 26
_TICKS: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def cpu_of(pid: int) -> float:
    """Return the processor seconds that all threads of a process have used (Linux).

    Raises:
        OSError: There is no such process.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@dataclass(frozen=True)
class Contender:
    """A stack to measure.

    Attributes:
        name: the name in the table.
        command: the peer program; its role and options, as JSON, are appended.
        options: the program's options.
        environment: variables added to the program's environment.
    """

    name: str
    command: Sequence[str]
    options: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


class PeerProcess:
    """A peer program that is running."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, contender: Contender, role: str, options: Mapping[str, Any]) -> Self:
        """Start the program in one of the roles of `peers.common`, with these options besides its own."""
        arguments = json.dumps({**options, **contender.options})
        environment = {**os.environ, **contender.environment}
        process = await asyncio.create_subprocess_exec(
            *contender.command, role, arguments, cwd=ROOT, env=environment, stdin=PIPE, stdout=PIPE, limit=_LINE_LIMIT
        )
        return cls(process)

    def send(self, message: Any) -> None:
        """Send the peer a line of JSON."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def receive(self, key: str) -> dict[str, Any]:
        """Return the next line with this key; skip all others, such as the stack's own output."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            if line.startswith(b"{"):
                message: dict[str, Any] = json.loads(line)
                if key in message:
                    return message
        raise RuntimeError(f"the peer ended with exit code {await self._process.wait()}")

    async def count(self) -> dict[str, Any]:
        """Return what the peer has received so far."""
        self.send("count")
        return await self.receive("bytes")

    async def pings(self) -> list[float]:
        """Return the seconds of each ping since the last call."""
        self.send("pings")
        round_trips: list[float] = (await self.receive("pings"))["pings"]
        return round_trips

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def cpu(self) -> float:
        """Return the processor seconds that all threads of the peer have used (Linux)."""
        try:
            return cpu_of(self._process.pid)
        except OSError:
            return 0.0

    async def end(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 2)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


async def connect(sender: PeerProcess, receiver: PeerProcess) -> dict[str, Any]:
    """Exchange offer and answer; return the sender's line about its open channel."""
    receiver.send({"description": (await sender.receive("description"))["description"]})
    sender.send({"description": (await receiver.receive("description"))["description"]})
    return await sender.receive("open")


@asynccontextmanager
async def connected(
    contender: Contender, sender_options: Mapping[str, Any], receiver_options: Mapping[str, Any]
) -> AsyncIterator[tuple[PeerProcess, PeerProcess, dict[str, Any]]]:
    """Connect two peers of a stack, `connections` times if the sender's options say so.

    Yields the sender, the receiver, and the sender's line about its last open channel.

    Raises:
        RuntimeError: a peer ended by itself.
        TimeoutError: no channel opened in time.
    """
    peers: list[PeerProcess] = []
    try:
        for role, options in (("sender", sender_options), ("receiver", receiver_options)):
            peers.append(await PeerProcess.start(contender, role, options))
        for _ in range(sender_options.get("connections", 1)):
            async with asyncio.timeout(SETUP_PATIENCE):
                opened = await connect(peers[0], peers[1])
        yield peers[0], peers[1], opened
    finally:
        for peer in peers:
            await peer.end()
