"""Python to Python over loopback, datachan beside aiortc: `make bench`, or `python -m tests.bench --help`.

Two processes each time, messages of 64 KiB. The libraries take turns, so that whatever else the machine does meets
both; what counts is the ratio of the medians. Absolute rates say as much about the machine as about the library.
"""

import argparse
import asyncio
import json
import platform
import pstats
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from OpenSSL import SSL

MEGABYTE = 1_000_000
# Beyond the seconds asked for: starting Python twice, connecting, and letting a slow receiver catch up.
PATIENCE = 120.0


@dataclass(frozen=True)
class Run:
    """One transfer: MB/s at the receiver, seconds to connect, CPU milliseconds per MB at both sides."""

    rate: float
    connected: float
    sender_cpu: float
    receiver_cpu: float


class Side:
    """A process of `tests.bench.side` and its lines of JSON."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def hear(self) -> Any:
        """Return the next line it says."""
        stdout = self._process.stdout
        line = await stdout.readline() if stdout else b""
        if not line:
            raise RuntimeError("one side of the transfer ended early; see its error above")
        return json.loads(line)

    def tell(self, value: object) -> None:
        """Write it a line."""
        if self._process.stdin:
            self._process.stdin.write(json.dumps(value).encode() + b"\n")

    async def end(self) -> None:
        """Wait until it has ended by itself."""
        await self._process.wait()


@asynccontextmanager
async def side(*arguments: str) -> AsyncIterator[Side]:
    """Run one side; kill it if it is still there at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.side",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )
    try:
        yield Side(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def transfer(library: str, seconds: float, size: int, profiles: dict[str, str] | None = None) -> Run:
    """Run one transfer; `profiles` names a file for the profile of "send" or "receive"."""
    profiles = profiles or {}
    async with AsyncExitStack() as stack, asyncio.timeout(seconds + PATIENCE):

        async def start(role: str) -> Side:
            extra = ["--profile", profiles[role]] if role in profiles else []
            common = ["--seconds", str(seconds), "--size", str(size)]
            return await stack.enter_async_context(side(library, role, *common, *extra))

        sender, receiver = await start("send"), await start("receive")
        receiver.tell(await sender.hear())
        sender.tell(await receiver.hear())
        received = await receiver.hear()
        sent = await sender.hear()
        await sender.end()
        receiver.tell("done")
        await receiver.end()
    if received["wrong"] or received["messages"] != sent["messages"]:
        raise RuntimeError(f"{library}: sent {sent['messages']}, received {received}")
    megabytes = sent["messages"] * size / MEGABYTE
    return Run(
        rate=received["rate"],
        connected=sent["connected"],
        sender_cpu=sent["cpu"] * 1000 / megabytes,
        receiver_cpu=received["cpu"] * 1000 / megabytes,
    )


def machine() -> str:
    """Describe what is measured on, for whoever compares."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    versions = ", ".join(f"{name} {version(name)}" for name in ("datachan", "aiortc", "aioice", "pyOpenSSL", "crc32c"))
    return (
        f"{models[0] if models else model}, {len(models) or '?'} cores, {platform.system()} {platform.release()}\n"
        f"Python {platform.python_version()}, {SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode()}, {versions}"
    )


def table(runs: dict[str, list[Run]]) -> str:
    """Lay the medians out, each library relative to the first."""
    lines = [f"{'':<10}{'MB/s':>8}{'from':>8}{'to':>8}{'ratio':>8}{'sender':>9}{'receiver':>10}{'connect':>10}"]
    lines.append(f"{'':<42}{'ms/MB':>9}{'ms/MB':>10}{'ms':>10}")
    slowest = min(median(run.rate for run in measured) for measured in runs.values())
    for library, measured in runs.items():
        rates = [run.rate for run in measured]
        lines.append(
            f"{library:<10}{median(rates):8.1f}{min(rates):8.1f}{max(rates):8.1f}{median(rates) / slowest:8.1f}"
            f"{median(run.sender_cpu for run in measured):9.1f}{median(run.receiver_cpu for run in measured):10.1f}"
            f"{median(run.connected for run in measured) * 1000:10.0f}"
        )
    return "\n".join(lines)


async def compare(libraries: list[str], runs: int, seconds: float, size: int) -> dict[str, list[Run]]:
    """Let the libraries take turns."""
    results: dict[str, list[Run]] = {library: [] for library in libraries}
    for number in range(runs):
        for library in libraries if number % 2 == 0 else reversed(libraries):
            run = await transfer(library, seconds, size)
            results[library].append(run)
            print(f"run {number + 1} of {runs}: {library:<9} {run.rate:7.1f} MB/s", file=sys.stderr, flush=True)
    return results


def profile(role: str, library: str, seconds: float, size: int) -> None:
    """Print where one side spends its time. cProfile slows it down: read the shares, not the rate."""
    with tempfile.NamedTemporaryFile(suffix=".prof") as file:
        run = asyncio.run(transfer(library, seconds, size, {role: file.name}))
        print(f"{library}, {run.rate:.1f} MB/s while profiled")
        pstats.Stats(file.name).sort_stats("tottime").print_stats(40)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one transfer (default 5)")
    parser.add_argument("--runs", type=int, default=5, help="transfers per library (default 5)")
    parser.add_argument("--size", type=int, default=65536, help="bytes per message (default 65536)")
    parser.add_argument("--only", choices=["datachan", "aiortc"], help="measure this one alone")
    parser.add_argument("--profile", choices=["send", "receive"], help="profile this side of one transfer instead")
    options = parser.parse_args()
    if options.profile:
        profile(options.profile, options.only or "datachan", options.seconds, options.size)
        return
    libraries = [options.only] if options.only else ["datachan", "aiortc"]
    results = asyncio.run(compare(libraries, options.runs, options.seconds, options.size))
    print(f"{machine()}\nloopback, two processes, {options.size} B messages, {options.runs} × {options.seconds:g} s\n")
    print(table(results))


if __name__ == "__main__":
    main()
