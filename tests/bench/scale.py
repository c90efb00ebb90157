"""Measure many connections in one process: `make bench-scale`, or `python -m tests.bench.scale --help`.

The measured process has one end of each connection, and another process has the other ends. The output has the memory
and CPU time of idle connections, and the throughput of 1, 10 and 100 of them together. It also has the cost of the
associations of one SCTP socket, of which there may be many more.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from statistics import median
from typing import Any, Final

import datachan.sctp.association
from datachan import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from datachan.metrics import Metrics
from datachan.monitoring import ConnectionMetrics, render
from tests.bench import associations
from tests.bench.report import machine
from tests.stacks.peers.common import memory_in_use, standard_input
from tests.stacks.process import ROOT

MESSAGE: Final = bytes(65_536)
# Connections that are set up at the same time. One after the other would measure round trips.
_AT_A_TIME: Final = 8
_WARM_UP: Final = 10
_READINGS: Final = 9


def connection() -> RTCPeerConnection:
    """Return a configuration for connections on this machine, with packets that every path carries."""
    return RTCPeerConnection(RTCConfiguration(hostAddresses=["127.0.0.1"], pathMtuDiscovery=False))


class Other:
    """Run the process with the other ends, controlled over its standard streams."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._turn = asyncio.Lock()
        self.made: list[RTCPeerConnection] = []

    async def ask(self, question: Any) -> Any:
        """Write a line and read one."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._turn:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process with the other ends has ended")
        return json.loads(line)

    async def connect(self) -> RTCDataChannel:
        """Set up one more connection and return its open channel."""
        pc = connection()
        self.made.append(pc)
        channel = pc.createDataChannel("bench")
        await pc.setLocalDescription()
        await pc.setRemoteDescription(RTCSessionDescription(**await self.ask(pc.localDescription.toJSON())))
        await channel.opened()
        return channel

    async def connect_many(self, count: int) -> list[RTCDataChannel]:
        """Set up `count` more connections."""
        channels: list[RTCDataChannel] = []
        while len(channels) < count:
            part = min(_AT_A_TIME, count - len(channels))
            channels += await asyncio.gather(*(self.connect() for _ in range(part)))
        return channels

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(pc.close() for pc in self.made))


@asynccontextmanager
async def other() -> AsyncIterator[Other]:
    """Run the process with the other ends."""
    command = [sys.executable, "-P", "-m", "tests.bench.scale", "--other"]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=1 << 20)
    ends = Other(process)
    try:
        yield ends
    finally:
        await ends.close()
        process.kill()
        await process.wait()


async def be_the_other() -> None:
    """Answer offers, and report on request how many bytes all connections have received."""
    lines = await standard_input()
    received = 0
    kept = []

    def take(message: str | bytes) -> None:
        nonlocal received
        received += len(message)

    while line := await lines.readline():
        offer = json.loads(line)
        told: Any = {"bytes": received, "time": time.monotonic()}
        if offer is not None:
            pc = connection()
            kept.append(pc)
            pc.on("datachannel", lambda channel: channel.on("message", take))
            await pc.setRemoteDescription(RTCSessionDescription(**offer))
            await pc.setLocalDescription()
            told = pc.localDescription.toJSON()
        print(json.dumps(told), flush=True)


async def idle(count: int, seconds: float) -> dict[str, float]:
    """Measure `count` idle connections: kB each, percent of a core for all, ms to set one up and to read figures."""
    async with other() as ends:
        kept = await ends.connect_many(_WARM_UP)
        before, begun = memory_in_use(), time.perf_counter()
        kept += await ends.connect_many(count - len(kept))
        took = time.perf_counter() - begun
        made = count - _WARM_UP
        each = (memory_in_use() - before) / made
        await asyncio.sleep(1.0)
        begun, cpu = time.perf_counter(), time.process_time()
        await asyncio.sleep(seconds)
        share = (time.process_time() - cpu) / (time.perf_counter() - begun)
        reading = await read_figures(ends.made)
    return {"setup": took / made * 1e3, "memory": each / 1e3, "cpu": share * 100, "reading": reading * 1e3}


async def read_figures(connections: Sequence[RTCPeerConnection]) -> float:
    """Measure the CPU seconds in which /metrics is made, the median of some times."""
    metrics = Metrics()
    watching = ConnectionMetrics(metrics, time.monotonic)
    for pc in connections:
        watching.watch(pc)
    found = []
    for _ in range(_READINGS):
        begun = time.process_time()
        render(await metrics.families())
        found.append(time.process_time() - begun)
    return median(found)


async def throughput(count: int, seconds: float) -> float:
    """Measure the MB/s that `count` connections carry together."""
    async with other() as ends:
        channels = await ends.connect_many(count)

        async def fill(channel: RTCDataChannel) -> None:
            while True:
                channel.send(MESSAGE)
                await channel.drain()
                await asyncio.sleep(0)

        senders = [asyncio.create_task(fill(channel)) for channel in channels]
        await asyncio.sleep(1.0)
        before = await ends.ask(None)
        await asyncio.sleep(seconds)
        after = await ends.ask(None)
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
    return float((after["bytes"] - before["bytes"]) / (after["time"] - before["time"]) / 1e6)


def raise_file_limit() -> None:
    """Raise the limit of open files, because each connection has a socket."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else hard
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def report(count: int, seconds: float, sizes: Sequence[int]) -> str:
    """Measure everything, and return the table."""
    costs = await idle(count, seconds)
    compiled = not str(datachan.sctp.association.__file__).endswith(".py")
    lines = [
        machine(),
        f"one process, the other ends in another, both {'compiled' if compiled else 'interpreted'}, over loopback",
        "",
        "| | |",
        "|---|--:|",
        f"| memory per idle connection, of {count} | {costs['memory']:.0f} kB |",
        f"| CPU of {count} idle connections | {costs['cpu']:.1f} % of a core |",
        f"| CPU of one reading of /metrics, all {count} connections | {costs['reading']:.1f} ms |",
        f"| setting one up, {_AT_A_TIME} at a time, both processes on this machine | {costs['setup']:.1f} ms |",
    ]
    for size in sizes:
        words = "1 connection" if size == 1 else f"{size} connections together"
        lines.append(f"| throughput of {words}, 64 KiB messages | {await throughput(size, seconds):.0f} MB/s |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale", description=__doc__.partition("\n")[0])
    parser.add_argument("--connections", type=int, default=1000, help="idle ones (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="measured time of each figure (%(default)s)")
    parser.add_argument("--associations", type=int, default=10_000, help="on one SCTP socket, 0 for none (%(default)s)")
    parser.add_argument("--throughput", default="1,10,100", help="connections that send together (%(default)s)")
    parser.add_argument("--compiled", action="store_true", help="measure the compiled engine, built if need be")
    parser.add_argument("--other", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    raise_file_limit()
    if options.other:
        asyncio.run(be_the_other())
        return
    if options.compiled:
        from tests.bench import build  # noqa: PLC0415 (the compiled package is to be imported, not this one)

        os.environ["PYTHONPATH"] = f"{build.compiled()}{os.pathsep}{ROOT}"
        rest = [item for item in arguments or sys.argv[1:] if item != "--compiled"]
        os.execv(sys.executable, [sys.executable, "-P", "-m", "tests.bench.scale", *rest])
    sizes = [int(size) for size in options.throughput.split(",") if size]
    print(asyncio.run(report(options.connections, options.seconds, sizes)))
    if options.associations:
        print("\n".join(associations.rows(options.associations)))


if __name__ == "__main__":
    main()
