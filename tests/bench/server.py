"""Measure a server with a thousand peers: `make bench-server`, or `python -m tests.bench.server --help`.

Each contender is an echo server in one process, with all its peers on one UDP port: `datachan.server`, interpreted and
compiled, node-datachannel (the engine of geckos.io) and pion. The peers of all of them are the same program, written
with pion. Each peer sends 20 messages of 100 bytes a second and gets them back. The rounds take turns, and the table
has the medians.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.bench import build
from tests.bench.goals import rounded
from tests.bench.report import machine
from tests.bench.scale import raise_file_limit
from tests.stacks.process import ROOT

CROWD: Final = ROOT / "build" / "stacks" / "pion_crowd"
_PEERS: Final = Path(__file__).parents[1] / "stacks" / "peers"
_AT_ONCE: Final = 16
_SETUP_PATIENCE: Final = 300.0
# The part of the peers that has to connect. On a busy machine, a handshake may take longer than a peer waits.
_ENOUGH: Final = 0.99
_DRAIN_PATIENCE: Final = 120.0
_LINE_LIMIT: Final = 1 << 20
_TICKS: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100

Figures = dict[str, float]

ROWS: Final = (
    ("rate", "peers connected a second", "/s"),
    ("failed", "peers that gave up connecting", ""),
    ("echoed", "messages echoed a second", "/s"),
    ("cpu", "CPU of the server", "% of a core"),
    ("cost", "CPU of one echo", "µs"),
    ("p50", "round trip, p50", "ms"),
    ("p99", "round trip, p99", "ms"),
    ("idle", "memory per connection, before messages", "kB"),
    ("used", "memory per connection, after", "kB"),
    ("drain", "from SIGTERM to the end", "s"),
)


@dataclass(frozen=True, slots=True)
class Server:
    """An echo server to measure.

    Attributes:
        name: Its name in the table.
        command: Starts it; it prints a line of JSON with its TCP port.
        path: The path that offers are posted to.
        environment: Variables added to its environment.
        workers: How many processes print such a line.
    """

    name: str
    command: Sequence[str]
    path: str = "/"
    environment: Mapping[str, str] = field(default_factory=dict)
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Load:
    """What the peers do.

    Attributes:
        peers: How many there are.
        rate: Messages a second of each.
        size: Bytes of each message.
        seconds: The measured time.
        ramp: Seconds before it in which they already send, and before that in which they are idle.
    """

    peers: int
    rate: int
    size: int
    seconds: float
    ramp: float = 2.0


class Program:
    """A program that prints lines of JSON, and obeys lines."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def receive(self, key: str) -> dict[str, Any]:
        """Return the next line with this key.

        Raises:
            RuntimeError: The program ended.
        """
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            if line.startswith(b"{") and key in (message := json.loads(line)):
                return dict(message)
        raise RuntimeError(f"a program of the benchmark ended with exit code {await self._process.wait()}")

    async def ask(self, order: str, key: str) -> dict[str, Any]:
        """Give an order, and return the next line with this key."""
        self.order(order)
        return await self.receive(key)

    def order(self, order: str) -> None:
        """Give an order."""
        assert self._process.stdin is not None
        self._process.stdin.write(order.encode() + b"\n")

    def cpu(self) -> float:
        """Return the processor seconds of all its threads, and of its child processes (Linux)."""
        ticks = 0
        for process in self._processes():
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / _TICKS

    def memory(self) -> int:
        """Return the bytes of its resident memory, and of its child processes (Linux)."""
        pages = sum(int(Path(f"/proc/{process}/statm").read_text().split()[1]) for process in self._processes())
        return pages * os.sysconf("SC_PAGE_SIZE")

    def terminate(self) -> None:
        """Ask the program to end."""
        self._process.terminate()

    async def ended(self) -> None:
        """Wait until the program has ended."""
        await self._process.wait()

    def _processes(self) -> list[int]:
        process = self._process.pid
        return [process, *map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())]


@asynccontextmanager
async def running(command: Sequence[str], environment: Mapping[str, str] | None = None) -> AsyncIterator[Program]:
    """Run a program."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env={**os.environ, **(environment or {})}, stdin=PIPE, stdout=PIPE, limit=_LINE_LIMIT
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def crowd(url: str, load: Load) -> list[str]:
    """Return the command of the peers."""
    return [str(CROWD), "load", url, str(load.peers), str(load.rate), str(load.size), str(_AT_ONCE)]


async def measure(server: Server, load: Load) -> Figures:
    """Measure one server once.

    Raises:
        RuntimeError: Peers did not connect, or a program ended.
    """
    async with running(server.command, server.environment) as served:
        port = (await served.receive("port"))["port"]
        for _ in range(1, server.workers):
            await served.receive("port")
        before = served.memory()
        async with running(crowd(f"http://127.0.0.1:{port}{server.path}", load)) as peers:
            async with asyncio.timeout(_SETUP_PATIENCE):
                connected = await peers.receive("connected")
            if connected["connected"] < _ENOUGH * load.peers:
                raise RuntimeError(f"{server.name}: {connected['failed']} of {load.peers} peers did not connect")
            await asyncio.sleep(load.ramp)
            idle = served.memory()
            peers.order("start")
            await asyncio.sleep(load.ramp)
            figures = await _steady(served, peers, load.seconds)
            figures["used"] = (served.memory() - before) / (1e3 * load.peers)
            peers.order("stop")
            begun = time.perf_counter()
            served.terminate()
            async with asyncio.timeout(_DRAIN_PATIENCE):
                await served.ended()
            figures["drain"] = time.perf_counter() - begun
        each = 1e3 * load.peers
        return figures | {
            "rate": connected["connected"] / connected["seconds"],
            "failed": connected["failed"],
            "idle": (idle - before) / each,
        }


async def _steady(served: Program, peers: Program, seconds: float) -> Figures:
    """Measure the exchange of messages while it goes on."""
    await peers.ask("report", "sent")
    cpu, begun = served.cpu(), time.perf_counter()
    await asyncio.sleep(seconds)
    report = await peers.ask("report", "sent")
    cpu, took = served.cpu() - cpu, time.perf_counter() - begun
    if not report["received"]:
        raise RuntimeError("no message came back")
    return {
        "echoed": report["received"] / took,
        "cpu": cpu / took * 100,
        "cost": cpu / report["received"] * 1e6,
        "p50": report["p50"],
        "p99": report["p99"],
    }


def servers(*, is_compiled: bool = True) -> list[Server]:
    """Return the servers that can be measured here, ours first."""
    ours = [sys.executable, "-P", "-m", "tests.stacks.peers.datachan_server"]
    found = [Server("datachan", ours, "/rtc", {"PYTHONPATH": str(ROOT)})]
    if is_compiled:
        path = f"{build.compiled()}{os.pathsep}{ROOT}"
        found.insert(0, Server("datachan compiled", ours, "/rtc", {"PYTHONPATH": path}))
    modules = ROOT / "tests" / "interop" / "stacks" / "node_modules"
    node = shutil.which("node")
    if node and (modules / "node-datachannel").is_dir():
        command = [node, str(_PEERS / "node_server.js"), str(free_udp_port())]
        found.append(Server("node-datachannel", command, environment={"NODE_PATH": str(modules)}))
    found.append(Server("pion", [str(CROWD), "serve"]))
    return found


def of_workers(count: int, *, is_compiled: bool) -> Server:
    """Return our server with several workers, which share a TCP port and a UDP port."""
    path = f"{build.compiled()}{os.pathsep}{ROOT}" if is_compiled else str(ROOT)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    words = [str(count), str(port), str(free_udp_port())]
    command = [sys.executable, "-P", "-m", "tests.stacks.peers.datachan_server", *words]
    name = f"datachan{' compiled' if is_compiled else ''}, {count} workers"
    return Server(name, command, "/rtc", {"PYTHONPATH": path}, count)


def free_udp_port() -> int:
    """Return a UDP port that is free now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def table(results: Mapping[str, Sequence[Figures]], load: Load) -> str:
    """Return the medians as a table, with the goals below it."""
    medians = {
        name: {key: median(one[key] for one in runs) for key, *_ in ROWS} for name, runs in results.items() if runs
    }
    each = f"each {load.rate} messages of {load.size} bytes a second and their echoes"
    lines = [
        f"{load.peers} peers on one UDP port, {each}, medians of {max(map(len, results.values()))}",
        "",
        "| | " + " | ".join(medians) + " | |",
        "|---|" + "--:|" * len(medians) + "---|",
    ]
    for key, words, unit in ROWS:
        lines.append(
            f"| {words} | " + " | ".join(rounded(figures[key]) for figures in medians.values()) + f" | {unit} |"
        )
    return "\n".join([*lines, "", *_goals(medians)])


def _goals(medians: Mapping[str, Figures]) -> list[str]:
    name = next(iter(medians))
    ours, other = medians[name], medians.get("node-datachannel")
    lines = [
        f"{name}, p99 at most 20 ms: {_verdict(ours['p99'] <= 20)}",
        f"{name}, at most 150 kB a connection: {_verdict(ours['used'] <= 150)}",
    ]
    if other is not None:
        ratio = ours["cost"] / other["cost"]
        lines.append(f"{name}, CPU of an echo at most node-datachannel's: {ratio:.2f} × it, {_verdict(ratio <= 1)}")
    return lines


def _verdict(is_met: bool) -> str:
    return "yes" if is_met else "no"


async def compare(contenders: Sequence[Server], load: Load, rounds: int) -> dict[str, list[Figures]]:
    """Measure the servers in turns."""
    results: dict[str, list[Figures]] = {server.name: [] for server in contenders}
    for number in range(rounds):
        for server in contenders:
            print(f"round {number + 1} of {rounds}: {server.name}", file=sys.stderr, flush=True)
            results[server.name].append(await measure(server, load))
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.server", description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", type=int, default=1000, help="connections of the server (%(default)s)")
    parser.add_argument("--rate", type=int, default=20, help="messages a second of each (%(default)s)")
    parser.add_argument("--size", type=int, default=100, help="bytes of a message, at least 8 (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="measured time of each run (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each server, in turns (%(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="measure our server with this many processes only")
    parser.add_argument("--only", default="", help="names of the servers to measure, with commas between them")
    options = parser.parse_args(arguments)
    if not CROWD.exists():
        sys.exit(f"{CROWD} is not built: run `make peers`, which needs Go and pion.")
    raise_file_limit()
    wanted = {name for name in options.only.split(",") if name}
    is_compiled = not wanted or "datachan compiled" in wanted
    if options.workers:
        contenders = [of_workers(options.workers, is_compiled=is_compiled)]
    else:
        contenders = [one for one in servers(is_compiled=is_compiled) if not wanted or one.name in wanted]
    load = Load(options.peers, options.rate, options.size, options.seconds)
    results = asyncio.run(compare(contenders, load, options.rounds))
    print(machine(), table(results, load), sep="\n")


if __name__ == "__main__":
    main()
