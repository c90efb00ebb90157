"""Measure `datachan send` and `datachan receive`: beside magic-wormhole, and with sizes too slow for the tests.

`rates` sends one file by turns with datachan and magic-wormhole. Each round also runs `datachan bench --local`, which
leaves slow start out, and sends as many bytes on a channel between two processes, from the first one to the last one.
Two busy cores bound all of them, so on a machine that does something else the processor time says more than the rates.
`large` sends a sparse file of 5 GB and a folder of 10,000 files, and asserts what arrived and the memory that it took.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench.measure import MESSAGE_SIZE
from tests.stacks.installed import datachan
from tests.stacks.process import connected, cpu_of

MB = 1_000_000
GROWTH = 64 * 1024 * 1024
PATIENCE = 900.0
VENV = Path(__file__).parents[2] / "build/bench-transfer"


@dataclass
class Run:
    """One transfer: seconds from the offer to the end, and the peak memory of both sides in bytes.

    Attributes:
        cpu: Processor seconds of both sides in that time; 0 if it was not measured.
    """

    seconds: float
    sender: int
    receiver: int
    cpu: float = 0.0


@contextlib.contextmanager
def running(*command: str | Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def line_with(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if match := re.search(pattern, line):
            return match
    raise SystemExit(f"{process.args} ended without {pattern!r}:\n{seen}")


def finish(process: subprocess.Popen[str]) -> int:
    """Wait for a process, and return its peak memory in bytes; end the program if it failed."""
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{process.args} ended with {process.returncode}:\n{output}")
    return usage.ru_maxrss * 1024


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def with_datachan(server: str, source: Path, folder: Path, *more: str) -> Run:
    program = [sys.executable, "-m", "datachan"]
    with running(*program, "send", "--quiet", *more, "--server", server, source) as sender:
        code = line_with(sender, r"Code:\s+(\S+)")[1]
        command = [*program, "receive", "--yes", "--json", "--server", server, "-o", folder, code]
        with running(*command) as receiver:
            line_with(receiver, '"offer"')
            began, used = time.monotonic(), cpu_of(sender.pid) + cpu_of(receiver.pid)
            line_with(receiver, '"done"')
            took, used = time.monotonic() - began, cpu_of(sender.pid) + cpu_of(receiver.pid) - used
            return Run(took, finish(sender), finish(receiver), used)


def with_wormhole(relay: str, source: Path, folder: Path) -> Run:
    wormhole = [VENV / "bin/wormhole", "--relay-url", relay, "--transit-helper", ""]
    code = "1-bench-transfer"
    with running(*wormhole, "send", "--hide-progress", "--code", code, source) as sender:
        line_with(sender, "wormhole receive")
        command = [*wormhole, "receive", "--hide-progress", "--accept-file", "-o", folder / source.name, code]
        with running(*command) as receiver:
            line_with(receiver, "Receiving")
            began = time.monotonic()
            line_with(receiver, "Received file written|Received files written")
            took = time.monotonic() - began
            return Run(took, finish(sender), finish(receiver))


def raw_rate() -> float:
    """Return MB/s of `datachan bench --local`, the better direction."""
    command = [sys.executable, "-m", "datachan", "bench", "--local", "--seconds", "3", "--json"]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return max(float(report["sent"]), float(report["received"]))


async def raw_transfer(size: int) -> tuple[float, float]:
    """Move bytes on a channel between two processes; return MB/s and the processor seconds of both."""
    host = {"host": "127.0.0.1"}
    sending = {**host, "message_size": MESSAGE_SIZE, "total": size + MESSAGE_SIZE}
    async with connected(datachan("datachan", discovery=True), sending, host) as (sender, receiver, _):
        used = sender.cpu() + receiver.cpu()
        while (now := await receiver.count())["bytes"] < size:
            await asyncio.sleep(0.02)
        used = sender.cpu() + receiver.cpu() - used
    return now["bytes"] / MB / (now["time"] - now["first"]), used


@contextlib.contextmanager
def servers(*, wormhole: bool) -> Iterator[tuple[str, str]]:
    port, mailbox = free_port(), free_port()
    with contextlib.ExitStack() as stack:
        serving = stack.enter_context(
            running(sys.executable, "-m", "datachan", "serve", "--port", str(port), "--no-echo")
        )
        line_with(serving, "datachan is ready")
        if wormhole:
            command = [VENV / "bin/twist", "wormhole-mailbox", f"--port=tcp:{mailbox}", "--channel-db=:memory:"]
            line_with(stack.enter_context(running(*command)), "Starting")
        yield f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{mailbox}/v1"


def rates(size: int, rounds: int, folder: Path) -> None:
    source = folder / "source.bin"
    with source.open("wb") as file:
        for _ in range(size // MB):
            file.write(os.urandom(MB))
    wormhole = (VENV / "bin/wormhole").exists()
    runs: dict[str, list[Run]] = {"datachan": [], "magic-wormhole": []}
    shares = []
    with servers(wormhole=wormhole) as (server, relay):
        for _ in range(rounds):
            for name, send in (("datachan", with_datachan), ("magic-wormhole", with_wormhole)):
                if name == "magic-wormhole" and not wormhole:
                    continue
                target = folder / name
                target.mkdir()
                run = send(server if name == "datachan" else relay, source, target)
                assert (target / source.name).stat().st_size == source.stat().st_size
                shutil.rmtree(target)
                runs[name].append(run)
            steady, (whole, used) = raw_rate(), asyncio.run(raw_transfer(size))
            run = runs["datachan"][-1]
            rate = size / MB / run.seconds
            shares.append((rate / steady, rate / whole, used / run.cpu))
            print(f"round: {rate:.0f} MB/s and {run.cpu:.2f} s of CPU, raw channel {steady:.0f}", end=", ")
            print(f"as many bytes {whole:.0f} and {used:.2f}; load {os.getloadavg()[0]:.1f}", flush=True)
    print(f"\n{size / MB:.0f} MB, {rounds} rounds, medians\n")
    print("| | MB/s | memory of the sender, MiB | of the receiver |\n|---|--:|--:|--:|")
    for name, each in runs.items():
        if each:
            memory = [median(getattr(run, side) for run in each) / 1024**2 for side in ("sender", "receiver")]
            rate = median(size / MB / run.seconds for run in each)
            print(f"| {name} | {rate:.0f} | {memory[0]:.0f} | {memory[1]:.0f} |")
    names = ("the rate of datachan bench --local", "the raw rate for as many bytes", "the same by processor time")
    for name, each in zip(names, zip(*shares, strict=True), strict=True):
        print(f"\nshare of {name}: {median(each):.2f}", end="")
    print()


def large(folder: Path) -> None:
    with servers(wormhole=False) as (server, _):
        tiny = folder / "tiny"
        tiny.write_bytes(b"x")
        idle = transferred(server, tiny, folder)
        sparse = folder / "sparse.img"
        with sparse.open("wb") as file:
            file.truncate(5 * 1000 * MB)
            for at in (0, 2**31 + 5, 2**32 + 7, 5 * 1000 * MB - 20):
                file.seek(at)
                file.write(b"not a hole")
        run = transferred(server, sparse, folder)
        grown = max(run.sender - idle.sender, run.receiver - idle.receiver)
        assert grown < GROWTH, f"memory grew by {grown / 1024**2:.0f} MiB"
        print(f"5 GB sparse: {5000 / run.seconds:.0f} MB/s, memory grew by {grown / 1024**2:.0f} MiB")
        sparse.unlink()
        many = folder / "many"
        for number in range(10_000):
            path = many / f"{number % 50}" / f"{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(number % 4000))
        run = transferred(server, many, folder)
        print(f"10,000 files of up to 4 kB: {10_000 / run.seconds:.0f} files/s, durable and verified")


def transferred(server: str, source: Path, folder: Path) -> Run:
    """Transfer, and compare what arrived."""
    target = folder / "target"
    target.mkdir()
    run = with_datachan(server, source, target)
    subprocess.run(["diff", "-r", source, target / source.name], check=True)
    shutil.rmtree(target)
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["rates", "large"])
    parser.add_argument("--size", type=int, default=1000, help="MB of the file of `rates` (default: 1000)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where files are written (default: the folder for temporary files)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        if options.what == "rates":
            rates(options.size * MB, options.rounds, Path(name))
        else:
            large(Path(name))


if __name__ == "__main__":
    main()
