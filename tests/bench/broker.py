"""Measure rooms that span nodes while one of them is killed: `make bench-broker`.

Three nodes (`datachan.serve`, each a process) share a Redis server. Members join over WebSockets, eight to a room, the
members of each room on different nodes. Each sends messages to another member of its room. In the middle one node is
killed, and its members return over the other two with their tokens. At the end every message must have arrived once and
in order, and no member may have seen another one leave.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.bench.report import machine
from tests.bench.scale import raise_file_limit
from tests.redis_server import RedisServer, running_redis
from tests.stacks.process import ROOT

ROOM_SIZE: Final = 8
_AT_ONCE: Final = 64
_PATIENCE: Final = 120.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run found.

    Attributes:
        members: The members.
        joined_per_second: Members that joined in a second, all nodes together.
        messages: The messages that were sent.
        before: The latencies before the node was killed in milliseconds: p50, p99, the longest.
        after: The latencies of messages sent after that.
        returned: The members that the killed node had.
        all_back: Seconds from the kill until the last of them was back.
        lost: Messages that did not arrive.
        repeated: Messages that arrived more than once, or late.
        seen_leaving: Notices that a member left.
        not_resumed: Members that did not get their place again.
        redis_bytes_per_room: Memory of Redis for one room of eight, at the end.
        redis_cpu: CPU of Redis in percent of a core, while messages were sent.
        nodes_cpu: CPU of the nodes together in percent of a core, in the same time.
    """

    members: int
    joined_per_second: float
    messages: int
    before: tuple[float, float, float]
    after: tuple[float, float, float]
    returned: int
    all_back: float
    lost: int
    repeated: int
    seen_leaving: int
    not_resumed: int
    redis_bytes_per_room: float
    redis_cpu: float
    nodes_cpu: float

    @property
    def is_complete(self) -> bool:
        """Whether no member and no message was lost."""
        return not (self.lost or self.repeated or self.seen_leaving or self.not_resumed)


class Node:
    """A process of the server."""

    def __init__(self, process: Process, url: str) -> None:
        self.process = process
        self.url = url

    def cpu(self) -> float:
        return cpu_of(self.process.pid)


class Member:
    """A client with one WebSocket, which returns with its token when that breaks."""

    def __init__(self, name: str, room: str, session: aiohttp.ClientSession, nodes: list[Node], place: int) -> None:
        self.name = name
        self.room = room
        self.id = ""
        self.others: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.heard: dict[str, list[int]] = {}
        self.latencies: list[tuple[float, float]] = []
        self.joined = asyncio.Event()
        self.sent_to: Counter[str] = Counter()
        self._session = session
        self._nodes = nodes
        self._place = place
        self._token: str | None = None
        self._seq = 0
        self._sent: list[str] = []
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    async def run(self) -> None:
        """Stay in the room until the task is cancelled."""
        while True:
            node = self._nodes[self._place % len(self._nodes)]
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with self._session.ws_connect(f"{node.url}api/v1/rooms/{self.room}") as socket:
                    back = True if self._token is None else self._token
                    await socket.send_json(
                        {"type": "join", "version": 1, "name": self.name, "resume": back, "seq": self._seq}
                    )
                    self._socket = socket
                    async for frame in socket:
                        await self._receive(json.loads(frame.data))
            self.joined.clear()
            self._place += 1
            await asyncio.sleep(random.uniform(0.1, 0.5))

    async def say(self, to: Member) -> None:
        """Send a message that says how many this member has sent to the other one, and when."""
        self.sent_to[to.id] += 1
        text = json.dumps(
            {
                "type": "bye",
                "to": to.id,
                "session": "s",
                "reason": f"{self.sent_to[to.id]} {time.monotonic()}",
                "seq": len(self._sent) + 1,
            }
        )
        self._sent.append(text)
        if self.joined.is_set() and self._socket is not None:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                await self._socket.send_str(text)

    async def _receive(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        self.counts[kind] += 1
        self._seq = max(self._seq, message.get("seq", 0)) if kind != "welcome" else self._seq
        if kind == "welcome":
            self.others = {peer["id"] for peer in message["peers"]}
            if self._token is None or not message["resumed"]:
                self.counts["fresh"] += 1
                self._seq = message["seq"]
            self.id, self._token = message["id"], message["resume"]
            assert self._socket is not None
            for text in self._sent[message["received"] :]:
                await self._socket.send_str(text)
            self.joined.set()
        elif kind == "peer-joined":
            self.others.add(message["peer"]["id"])
        elif kind == "peer-left":
            self.others.discard(message["id"])
        elif kind == "bye":
            number, sent = message["reason"].split()
            self.heard.setdefault(message["from"], []).append(int(number))
            self.latencies.append((float(sent), time.monotonic() - float(sent)))


async def measure(members: int, seconds: float, rate: float, nodes: int = 3) -> Figures:
    """Run everything once.

    Args:
        members: The members.
        seconds: How long messages are sent; the node is killed in the middle.
        rate: Messages that each member sends in a second.
        nodes: The nodes.
    """
    raise_file_limit()
    with tempfile.TemporaryDirectory() as folder, running_redis(Path(folder)) as redis:
        empty = _memory(redis)
        async with contextlib.AsyncExitStack() as stack:
            alive = [await stack.enter_async_context(_node(redis)) for _ in range(nodes)]
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
            crowd = [Member(f"m{n}", f"room{n // ROOM_SIZE}", session, alive, n) for n in range(members)]
            rooms = [crowd[first : first + ROOM_SIZE] for first in range(0, members, ROOM_SIZE)]
            tasks, joined_per_second = await _join(crowd)
            try:
                return await _talk(crowd, rooms, alive, redis, (seconds, rate), joined_per_second, empty)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


async def _join(crowd: Sequence[Member]) -> tuple[list[asyncio.Task[None]], float]:
    gate = asyncio.Semaphore(_AT_ONCE)
    tasks: list[asyncio.Task[None]] = []

    async def enter(member: Member) -> None:
        async with gate:
            tasks.append(asyncio.create_task(member.run()))
            await member.joined.wait()

    started = time.monotonic()
    async with asyncio.timeout(_PATIENCE):
        await asyncio.gather(*(enter(member) for member in crowd))
    return tasks, len(crowd) / (time.monotonic() - started)


async def _talk(
    crowd: Sequence[Member],
    rooms: Sequence[Sequence[Member]],
    alive: list[Node],
    redis: RedisServer,
    load: tuple[float, float],
    joined_per_second: float,
    empty: float,
) -> Figures:
    seconds, rate = load
    started, cpu, redis_cpu = time.monotonic(), sum(node.cpu() for node in alive[1:]), cpu_of(redis.pid)
    sending = asyncio.create_task(_send(rooms, seconds, rate * len(crowd)))
    await asyncio.sleep(seconds / 2)
    killed, killed_at, all_back = alive.pop(0), time.monotonic(), 0.0
    victims = [member for place, member in enumerate(crowd) if place % (len(alive) + 1) == 0]
    killed.process.send_signal(signal.SIGKILL)
    await killed.process.wait()
    async with asyncio.timeout(_PATIENCE):
        while any(not member.joined.is_set() or member.counts["welcome"] < 2 for member in victims):
            await asyncio.sleep(0.02)
        all_back = time.monotonic() - killed_at
        await sending
        spent = time.monotonic() - started
        cpu, redis_cpu = sum(node.cpu() for node in alive) - cpu, cpu_of(redis.pid) - redis_cpu
        await _settle(crowd)
    return Figures(
        members=len(crowd),
        joined_per_second=joined_per_second,
        messages=sum(member.sent_to.total() for member in crowd),
        before=_percentiles(crowd, 0, killed_at - 1),
        after=_percentiles(crowd, killed_at, float("inf")),
        returned=len(victims),
        all_back=all_back,
        lost=_lost(crowd),
        repeated=sum(numbers != sorted(set(numbers)) for member in crowd for numbers in member.heard.values()),
        seen_leaving=sum(member.counts["peer-left"] for member in crowd),
        not_resumed=sum(member.counts["fresh"] > 1 for member in crowd),
        redis_bytes_per_room=(_memory(redis) - empty) / len(rooms),
        redis_cpu=100 * redis_cpu / spent,
        nodes_cpu=100 * cpu / spent,
    )


async def _send(rooms: Sequence[Sequence[Member]], seconds: float, per_second: float) -> None:
    started = time.monotonic()
    for number in itertools.count():
        due = started + number / per_second
        if due > started + seconds:
            return
        if (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        sender, receiver = random.sample(random.choice(rooms), 2)
        await sender.say(receiver)


async def _settle(crowd: Sequence[Member]) -> None:
    """Wait until everything has arrived, or for a minute."""
    end = time.monotonic() + 60
    while _lost(crowd) and time.monotonic() < end:
        await asyncio.sleep(0.1)


def _lost(crowd: Sequence[Member]) -> int:
    sent = sum(member.sent_to.total() for member in crowd)
    return sent - sum(len(set(numbers)) for member in crowd for numbers in member.heard.values())


def _percentiles(crowd: Sequence[Member], first: float, last: float) -> tuple[float, float, float]:
    """Return p50, p99 and the longest latency of the messages sent in this time, in milliseconds."""
    found = sorted(1000 * took for member in crowd for sent, took in member.latencies if first <= sent <= last)
    if not found:
        return (0.0, 0.0, 0.0)
    return found[len(found) // 2], found[len(found) * 99 // 100], found[-1]


@contextlib.asynccontextmanager
async def _node(redis: RedisServer) -> AsyncIterator[Node]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.broker", "--node", redis.url, cwd=ROOT, stdout=PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_PATIENCE):
            url = (await process.stdout.readline()).decode().strip()
        yield Node(process, url)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def serve_node(url: str) -> None:
    """Run one node until SIGTERM."""
    from datachan.serve import RedisAddress, ServeOptions, serve  # noqa: PLC0415 - only in this process
    from datachan.signaling import ServerOptions  # noqa: PLC0415
    from datachan.signaling.door import DoorOptions  # noqa: PLC0415

    raise_file_limit()
    options = ServeOptions(
        port=0,
        echo=False,
        redis=RedisAddress(url),
        server=ServerOptions(max_connections=10_000, max_rooms=10_000),
        door=DoorOptions(max_connections=10_000),
    )
    asyncio.run(serve(options, lambda address: print(address, flush=True)))


def cpu_of(pid: int) -> float:
    """Return the seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _memory(redis: RedisServer) -> float:
    lines = redis.command("INFO", "memory").splitlines()
    return float(next(line for line in lines if line.startswith("used_memory:")).partition(":")[2])


def table(figures: Figures) -> str:
    """Return the figures as lines of text."""

    def latency(values: tuple[float, float, float]) -> str:
        return f"p50 {values[0]:.1f} ms, p99 {values[1]:.1f} ms, longest {values[2]:.0f} ms"

    return "\n".join(
        [
            f"members                   {figures.members} in rooms of {ROOM_SIZE}",
            f"joined                    {figures.joined_per_second:.0f} a second",
            f"messages                  {figures.messages}",
            f"latency before the kill   {latency(figures.before)}",
            f"latency after it          {latency(figures.after)}",
            f"members of the dead node  {figures.returned}, all back after {figures.all_back:.2f} s",
            f"lost, repeated            {figures.lost}, {figures.repeated} messages",
            f"seen leaving              {figures.seen_leaving}; without their place: {figures.not_resumed}",
            f"memory of Redis           {figures.redis_bytes_per_room / 1000:.1f} kB a room",
            f"CPU of Redis              {figures.redis_cpu:.0f} % of a core",
            f"CPU of the other nodes    {figures.nodes_cpu:.0f} % of a core together",
        ]
    )


def main() -> int:
    """Measure and print; the exit status is 1 if something was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.broker")
    parser.add_argument("--members", type=int, default=3000)
    parser.add_argument("--seconds", type=float, default=20.0, help="time in which messages are sent")
    parser.add_argument("--rate", type=float, default=0.2, help="messages that each member sends in a second")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--node", metavar="URL", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.node is not None:
        serve_node(given.node)
        return 0
    figures = asyncio.run(measure(given.members, given.seconds, given.rate))
    print(json.dumps(asdict(figures)) if given.json else f"{machine()}\n{table(figures)}")
    return 0 if figures.is_complete else 1


if __name__ == "__main__":
    sys.exit(main())
