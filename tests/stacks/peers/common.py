"""What the peer programs have in common: the lines they exchange with a benchmark, and their tasks; it knows no stack.

Each line is JSON. The sender prints its offer and is given the answer, the receiver the reverse. When its first channel
is open, the sender prints `{"open": …, "took": …}`: when, and how many seconds after it was given the answer. Then each
does its task, an option of its command line:

    stream       send messages of `message_size` bytes on "bench", as fast as they are taken (the sender's unless told)
    count        count what arrives (the receiver's unless told)
    ping         send one message of `ping_size` bytes on "ping" after the other, each when the last has come back
    stream+ping  both at once

What comes on "ping" and is not awaited goes back as it came. On the line `"count"` a peer prints how much has arrived,
and when; on `"pings"` how many seconds each ping since the last such line took. Both end when standard input does.

In the role "pairs" a process makes both ends of many connections, one after the other, and then does nothing for a
while; see `pairs`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

Description = dict[str, str]

# The most that waits in a channel for the stack to take it, and what it falls to before there is more, in bytes.
HIGH_WATER: Final = 4 << 20
LOW_WATER: Final = 1 << 20

BULK: Final = "bench"
PING: Final = "ping"
# The number of small messages that are sent before the event loop gets its turn.
_BURST_BYTES: Final = 64 * 1024
# Pairs made before anything is counted: what the first ones load is not theirs.
_WARM_UP: Final = 10


class Peer(ABC):
    """One end of a measurement in some stack.

    Attributes:
        received: bytes of messages that arrived.
        messages: how many.
        round_trips: seconds each ping took.
        channel_open: set once the channels can be used.
    """

    def __init__(self) -> None:
        self.received = 0
        self.messages = 0
        self.round_trips: list[float] = []
        self.channel_open = asyncio.Event()
        self._ping = b""
        self._sent_at = 0.0

    @abstractmethod
    async def offer(self, labels: list[str]) -> Description:
        """Make the channels, and the offer with all candidates."""

    @abstractmethod
    async def answer(self, offer: Description) -> Description:
        """Take the offer; the answer with all candidates."""

    @abstractmethod
    async def accept(self, answer: Description) -> None:
        """Take the answer."""

    @abstractmethod
    def send_now(self, label: str, message: bytes) -> None:
        """Send one message on a channel."""

    @abstractmethod
    async def room(self, label: str) -> None:
        """Wait until a channel takes more."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of everything."""

    def status(self) -> dict[str, Any]:
        """What the stack tells about itself, for looking into a result."""
        return {}

    def arrived(self, label: str, message: Any) -> None:
        """A message came."""
        if label == PING:
            if self._ping:
                now = time.perf_counter()
                self.round_trips.append(now - self._sent_at)
                self.ping()
            else:
                self.send_now(PING, message)
            return
        self.received += len(message)
        self.messages += 1

    def ping(self, size: int = 0) -> None:
        """Send a ping."""
        self._ping = bytes(size) if size else self._ping
        self._sent_at = time.perf_counter()
        self.send_now(PING, self._ping)

    async def stream(self, message: bytes) -> None:
        """Send one message after the other."""
        burst = max(_BURST_BYTES // len(message), 1)
        while True:
            for _ in range(burst):
                self.send_now(BULK, message)
            await self.room(BULK)


def say(message: dict[str, Any]) -> None:
    """Tell the benchmark something."""
    print(json.dumps(message), flush=True)


async def standard_input() -> asyncio.StreamReader:
    """The lines this process is told."""
    lines = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    return lines


async def run(make: Callable[[], Peer], role: str, options: dict[str, Any]) -> None:
    """Play a role until standard input ends."""
    if role == "pairs":
        await pairs(make, options)
        return
    lines = await standard_input()
    peer = make()
    task: str = options.get("task") or ("stream" if role == "sender" else "count")
    if role == "sender":
        say({"description": await peer.offer(options.get("labels") or [BULK])})
        line = await lines.readline()
        if not line:
            os._exit(0)  # the measuring process has given up
        answer = json.loads(line)["description"]
        given = time.monotonic()
        await peer.accept(answer)
        await peer.channel_open.wait()
        now = time.monotonic()
        say({"open": now, "took": now - given})
    else:
        say({"description": await peer.answer(json.loads(await lines.readline())["description"])})
    work = asyncio.ensure_future(_work(peer, task, options))
    while line := await lines.readline():
        if work.done():
            work.result()
        if json.loads(line) == "pings":
            say({"pings": peer.round_trips})
            peer.round_trips = []
        else:
            say({"bytes": peer.received, "messages": peer.messages, "time": time.monotonic(), **peer.status()})
    # An orderly end would wait for the queued messages, which no reader needs.
    os._exit(0)


async def _work(peer: Peer, task: str, options: dict[str, Any]) -> None:
    await peer.channel_open.wait()
    if "ping" in task:
        peer.ping(options["ping_size"])
    if "stream" in task:
        await peer.stream(bytes(options["message_size"]))


async def pairs(make: Callable[[], Peer], options: dict[str, Any]) -> None:
    """Connect `pairs` pairs one after the other and keep them; how long each took, and what they cost while idle.

    Memory is what the process grew by, per connection, of which there are two per pair; the processor's share is
    measured over `idle` seconds.
    """
    kept: list[Peer] = []
    for _ in range(_WARM_UP):
        await _pair(make, kept)
    before, took = memory_in_use(), []
    for _ in range(options["pairs"]):
        begun = time.perf_counter()
        await _pair(make, kept)
        took.append(time.perf_counter() - begun)
    memory = (memory_in_use() - before) / (2 * options["pairs"])
    await asyncio.sleep(1.0)
    begun, cpu = time.perf_counter(), time.process_time()
    await asyncio.sleep(options["idle"])
    share = (time.process_time() - cpu) / (time.perf_counter() - begun)
    say({"pairs": took, "memory": memory, "idle_share": share, "connections": len(kept)})
    os._exit(0)


async def _pair(make: Callable[[], Peer], kept: list[Peer]) -> None:
    a, z = make(), make()
    kept += (a, z)
    await a.accept(await z.answer(await a.offer([BULK])))
    await a.channel_open.wait()


def memory_in_use() -> int:
    """Bytes of memory this process has in use (Linux); 0 where that cannot be known."""
    gc.collect()
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
