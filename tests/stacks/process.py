"""A peer program as a process, held by a benchmark: lines of JSON out and in, and what it costs the processor."""

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


@dataclass(frozen=True)
class Contender:
    """Something to measure.

    Attributes:
        name: as the table has it.
        command: the peer program; its role and options, as JSON, are appended.
        options: what else it is told.
        environment: what is added to its environment.
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
        """Start it in one of the roles of `peers.common`, with these options besides its own."""
        told = json.dumps({**options, **contender.options})
        environment = {**os.environ, **contender.environment}
        process = await asyncio.create_subprocess_exec(
            *contender.command, role, told, cwd=ROOT, env=environment, stdin=PIPE, stdout=PIPE, limit=_LINE_LIMIT
        )
        return cls(process)

    def tell(self, message: Any) -> None:
        """Write a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def hear(self, key: str) -> dict[str, Any]:
        """The next line that has this key; lines of something else in the stack are passed over."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            if line.startswith(b"{"):
                message: dict[str, Any] = json.loads(line)
                if key in message:
                    return message
        raise RuntimeError(f"the peer ended with exit code {await self._process.wait()}")

    async def count(self) -> dict[str, Any]:
        """What it has received by now."""
        self.tell("count")
        return await self.hear("bytes")

    async def pings(self) -> list[float]:
        """Seconds each ping took since the last call."""
        self.tell("pings")
        round_trips: list[float] = (await self.hear("pings"))["pings"]
        return round_trips

    def cpu(self) -> float:
        """Processor seconds it has used (Linux), all its threads."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / _TICKS

    async def end(self) -> None:
        """End it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 2)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


async def connect(sender: PeerProcess, receiver: PeerProcess) -> dict[str, Any]:
    """One round of offer and answer; what the sender said when its channel was open."""
    receiver.tell({"description": (await sender.hear("description"))["description"]})
    sender.tell({"description": (await receiver.hear("description"))["description"]})
    return await sender.hear("open")


@asynccontextmanager
async def connected(
    contender: Contender, sender_options: Mapping[str, Any], receiver_options: Mapping[str, Any]
) -> AsyncIterator[tuple[PeerProcess, PeerProcess, dict[str, Any]]]:
    """Two peers of a stack that have connected directly: sender, receiver, and what the sender said of it.

    Raises:
        RuntimeError: a peer ended by itself.
        TimeoutError: there was no open channel in time.
    """
    peers: list[PeerProcess] = []
    try:
        for role, options in (("sender", sender_options), ("receiver", receiver_options)):
            peers.append(await PeerProcess.start(contender, role, options))
        async with asyncio.timeout(SETUP_PATIENCE):
            opened = await connect(peers[0], peers[1])
        yield peers[0], peers[1], opened
    finally:
        for peer in peers:
            await peer.end()
