"""The common part of the peer programs: the lines they exchange with a benchmark, and their tasks; it knows no stack.

Each line is JSON. The sender prints its offer and reads the answer; the receiver reads the offer and prints its answer.
When its first channel is open, the sender prints `{"open": …, "took": …}`: the time, and the seconds since it read the
answer. Then each peer does its task, an option of its command line:

    stream       send messages of `message_size` bytes on "bench" as fast as possible (default of the sender),
                 `total` bytes if that option is given; peers of other languages ignore it and continue
    count        count the bytes that arrive (default of the receiver)
    ping         send a message of `ping_size` bytes on "ping", and the next one when it has come back
    stream+ping  both at once

A peer that does not ping sends messages on "ping" back. On the line `"count"` a peer prints how many bytes have arrived
and the time; on `"pings"`, the seconds of each ping since the last such line. Both end when standard input ends.

With the option `connections`, both processes set up this number of connections one after the other, with the lines
above for each. The tasks begin when all are open, and the bytes of all are counted together.

In the role "pairs" a process creates both ends of many connections, one after the other, and is then idle for a while;
see `pairs`.
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

# The sender pauses at HIGH_WATER bytes in a channel's buffer and continues at LOW_WATER.
HIGH_WATER: Final = 4 << 20
LOW_WATER: Final = 1 << 20

BULK: Final = "bench"
PING: Final = "ping"
# The bytes of small messages that are sent before the event loop runs again.
_BURST_BYTES: Final = 64 * 1024
# Pairs connected before the measurement, so that modules and caches they load are not counted.
_WARM_UP: Final = 10


class Peer(ABC):
    """One end of a measurement in some stack.

    Attributes:
        received: the bytes of the messages that arrived.
        first_at: when the first of them arrived.
        messages: the number of messages that arrived.
        round_trips: the seconds of each ping.
        channel_open: set once the channels can be used.
    """

    def __init__(self) -> None:
        self.received = 0
        self.first_at = 0.0
        self.messages = 0
        self.round_trips: list[float] = []
        self.channel_open = asyncio.Event()
        self._ping = b""
        self._sent_at = 0.0

    @abstractmethod
    async def offer(self, labels: list[str]) -> Description:
        """Create the channels and return the offer with all candidates."""

    @abstractmethod
    async def answer(self, offer: Description) -> Description:
        """Apply the offer and return the answer with all candidates."""

    @abstractmethod
    async def accept(self, answer: Description) -> None:
        """Apply the answer."""

    @abstractmethod
    def send_now(self, label: str, message: bytes) -> None:
        """Send one message on a channel."""

    @abstractmethod
    async def room(self, label: str) -> None:
        """Wait until a channel accepts more messages."""

    @abstractmethod
    async def close(self) -> None:
        """Close the connection."""

    def status(self) -> dict[str, Any]:
        """Return what the stack reports about itself, to explain a result."""
        return {}

    def arrived(self, label: str, message: Any) -> None:
        """Count a message, and answer or record a ping."""
        if label == PING:
            if self._ping:
                now = time.perf_counter()
                self.round_trips.append(now - self._sent_at)
                self.ping()
            else:
                self.send_now(PING, message)
            return
        if not self.received:
            self.first_at = time.monotonic()
        self.received += len(message)
        self.messages += 1

    def ping(self, size: int = 0) -> None:
        """Send a ping."""
        self._ping = bytes(size) if size else self._ping
        self._sent_at = time.perf_counter()
        self.send_now(PING, self._ping)

    async def stream(self, message: bytes, total: int = 0) -> None:
        """Send one message after the other, until at least `total` bytes are sent if it is not 0."""
        burst = max(_BURST_BYTES // len(message), 1)
        sent = 0
        while not total or sent < total:
            for _ in range(burst):
                self.send_now(BULK, message)
            sent += burst * len(message)
            await self.room(BULK)


def say(message: dict[str, Any]) -> None:
    """Print a message for the benchmark."""
    print(json.dumps(message), flush=True)


async def standard_input() -> asyncio.StreamReader:
    """Return a reader of the lines on standard input."""
    lines = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    return lines


async def run(make: Callable[[], Peer], role: str, options: dict[str, Any]) -> None:
    """Run a role until standard input ends."""
    if role == "pairs":
        await pairs(make, options)
        return
    lines = await standard_input()
    task: str = options.get("task") or ("stream" if role == "sender" else "count")
    begin = _offer if role == "sender" else _answer
    peers = [await begin(make(), lines, options) for _ in range(options.get("connections", 1))]
    work = asyncio.gather(*(_work(peer, task, options) for peer in peers))
    while line := await lines.readline():
        if work.done():
            work.result()
        if json.loads(line) == "pings":
            say({"pings": [seconds for peer in peers for seconds in peer.round_trips]})
            for peer in peers:
                peer.round_trips = []
        else:
            say({**_count(peers), **peers[0].status()})
    # Closing would wait for the queued messages, which no reader needs.
    os._exit(0)


def _count(peers: list[Peer]) -> dict[str, Any]:
    """Return what all connections have received together, and when the first message arrived."""
    received, messages = sum(peer.received for peer in peers), sum(peer.messages for peer in peers)
    first = min(peer.first_at for peer in peers)
    return {"bytes": received, "messages": messages, "time": time.monotonic(), "first": first}


async def _offer(peer: Peer, lines: asyncio.StreamReader, options: dict[str, Any]) -> Peer:
    """Connect as the offerer, and report when the channels are open."""
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
    return peer


async def _answer(peer: Peer, lines: asyncio.StreamReader, options: dict[str, Any]) -> Peer:
    """Answer the next offer."""
    line = await lines.readline()
    if not line:
        os._exit(0)
    say({"description": await peer.answer(json.loads(line)["description"])})
    return peer


async def _work(peer: Peer, task: str, options: dict[str, Any]) -> None:
    await peer.channel_open.wait()
    if "ping" in task:
        peer.ping(options["ping_size"])
    if "stream" in task:
        await peer.stream(bytes(options["message_size"]), options.get("total", 0))


async def pairs(make: Callable[[], Peer], options: dict[str, Any]) -> None:
    """Connect and keep `pairs` pairs; print the time of each, and the memory and processor time they use while idle.

    Memory is the growth of the process per connection; a pair has two. Processor time is measured over `idle` seconds.
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
    """Return the bytes of memory that this process uses (Linux); 0 where they cannot be read."""
    gc.collect()
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
