"""Goodput of whole stacks through emulated links, side by side; `make bench-links` runs this.

    python -m tests.links.bench --rows wan,lossy --peers datachan,aiortc --runs 3 --seconds 10

Each stack talks to itself, in two processes with the emulator between them. Runs are interleaved: all contenders on all
rows once, then again. The first table shows the median of the runs as a share of the link's rate. The second one shows
the same for whole transfers, from the opening of the channel to the last byte.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import json
import math
import os
import platform
import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Final

from datachan.sctp.congestion import ALGORITHMS
from datachan.sctp.options import data_channel_options
from tests.links.measure import MESSAGE_SIZE, TRANSFER_PATIENCE, Result, measure, transfer
from tests.links.model import Link
from tests.stacks.installed import datachan, default_node_modules, host_address, others
from tests.stacks.process import Contender


@dataclass(frozen=True)
class Row:
    """A link of the table.

    Attributes:
        link: its properties.
        goal: the share of its rate that the default controller has to reach once it has found the rate.
        whole: the bytes of a whole transfer that has a goal, too, and the share that it has to reach.
    """

    link: Link
    goal: float
    whole: tuple[int, float]

    def __str__(self) -> str:
        link = self.link
        rate = f"{link.rate / 1e9:g} Gbit/s" if link.rate >= 1e9 else f"{link.rate / 1e6:g} Mbit/s"
        return f"{rate}, {link.delay * 2000:g} ms, {link.loss:.1%}, {link.queue / 1000:g} kB"


DEFAULT_CONTROLLER: Final = data_channel_options().congestion_control

ROWS: Final = {
    "wan": Row(Link(100e6, 0.020, 0.0, 500_000), 0.95, (40_000_000, 0.92)),
    "shallow": Row(Link(50e6, 0.020, 0.0, 30_000), 0.88, (20_000_000, 0.88)),
    "lossy": Row(Link(100e6, 0.020, 0.01, 500_000), 0.93, (10_000_000, 0.85)),
    "radio": Row(Link(50e6, 0.010, 0.05, 250_000), 0.75, (4_000_000, 0.75)),
    "far": Row(Link(50e6, 0.100, 0.001, 1_250_000), 0.93, (20_000_000, 0.80)),
    "lan": Row(Link(1e9, 0.0005, 0.0, 1_000_000), 0.60, (100_000_000, 0.75)),
}


@dataclass
class Book:
    """All results: the runs, whole transfers and errors of each row and contender."""

    results: dict[tuple[str, str], list[Result]] = field(default_factory=lambda: defaultdict(list))
    transfers: dict[tuple[str, int, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    failures: list[str] = field(default_factory=list)

    def share(self, row: str, name: str) -> str:
        """Return one cell of the table."""
        results = self.results.get((row, name))
        return f"{statistics.median(result.share for result in results):.3f}" if results else "–"

    def table(self, rows: list[str], names: list[str]) -> str:
        """Return the shares of the link's rate, a column for each contender."""
        lines = ["| link (rate, round trip, loss, queue) | goal | " + " | ".join(names) + " |"]
        lines.append("|---" * (2 + len(names)) + "|")
        for row in rows:
            cells = [f"{row}: {ROWS[row]}", f"{ROWS[row].goal:.2f}", *(self.share(row, name) for name in names)]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def transfer_table(self, names: list[str]) -> str:
        """Return the shares of the link's rate that whole transfers reach, a column for each contender."""
        lines = ["| link | MB | goal | " + " | ".join(names) + " |", "|---|--:|--:" + "|--:" * len(names) + "|"]
        for row, size in dict.fromkeys((row, size) for row, size, _ in self.transfers):
            whole, goal = ROWS[row].whole
            cells = [f"{goal:.2f}" if size == whole else "", *(self._transfer_share(row, size, name) for name in names)]
            lines.append(f"| {row} | {size / 1e6:g} | " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def _transfer_share(self, row: str, size: int, name: str) -> str:
        times = self.transfers.get((row, size, name))
        if not times:
            return "–"
        seconds = statistics.median(times)
        most = "" if seconds < math.inf else "<"
        return f"{most}{8 * size / min(seconds, TRANSFER_PATIENCE) / ROWS[row].link.rate:.3f}"

    def details(self, rows: list[str], names: list[str]) -> str:
        """Return the processor time of each measurement and the fate of its datagrams."""
        lines = [
            "| link | peers | Mbit/s (least–most) | CPU s per s | CPU s per GB | overflow | lost | mean queue | late |",
            "|---|---|--:|--:|--:|--:|--:|--:|--:|",
        ]
        lines += [
            _detail(row, name, self.results[row, name])
            for row in rows
            for name in names
            if self.results.get((row, name))
        ]
        return "\n".join(lines)


def _detail(row: str, name: str, results: list[Result]) -> str:
    goodputs = [result.goodput / 1e6 for result in results]
    cpu = statistics.median(result.cpu / result.seconds for result in results)
    per_gigabyte = statistics.median(
        result.cpu / max(result.goodput * result.seconds / 8e9, 1e-9) for result in results
    )
    forth = [result.emulator["from_a"] for result in results]
    offered = sum(account["offered"] for account in forth) or 1
    wait = statistics.median(account["mean_wait"] for account in forth)
    late = max(result.emulator["latest"] for result in results)
    return (
        f"| {row} | {name} | {statistics.median(goodputs):.1f} ({min(goodputs):.1f}–{max(goodputs):.1f}) | {cpu:.2f} "
        f"| {per_gigabyte:.1f} | {sum(account['overflowed'] for account in forth) / offered:.2%} "
        f"| {sum(account['lost'] for account in forth) / offered:.2%} | {wait * 1000:.1f} ms | {late * 1000:.1f} ms |"
    )


async def run(rows: list[str], chosen: list[Contender], arguments: argparse.Namespace, host: str) -> Book:
    """Run all measurements, interleaved."""
    book = Book()
    total = arguments.runs * len(rows) * len(chosen)
    number = 0
    for turn in range(arguments.runs):
        for row in rows:
            for contender in chosen:
                number += 1
                label = f"[{number}/{total}] {row:8} {contender.name:18}"
                try:
                    result = await measure(
                        contender,
                        ROWS[row].link,
                        host=host,
                        ramp=arguments.ramp,
                        seconds=arguments.seconds,
                        seed=arguments.seed + turn,
                    )
                except (RuntimeError, TimeoutError, OSError) as error:
                    book.failures.append(f"{contender.name} on {row}: {error or type(error).__name__}")
                    print(f"{label} failed: {error or type(error).__name__}", file=sys.stderr, flush=True)
                    continue
                book.results[row, contender.name].append(result)
                print(f"{label} {result.goodput / 1e6:7.1f} Mbit/s {result.share:6.3f}", file=sys.stderr, flush=True)
    return book


def sizes_of(row: str, sizes: str) -> list[int]:
    """Return the bytes of the whole transfers that `--sizes` asks for on one row."""
    chosen = {ROWS[row].whole[0] if size == "goal" else int(float(size) * 1e6) for size in sizes.split(",") if size}
    return sorted(chosen)


async def run_transfers(
    rows: list[str], chosen: list[Contender], arguments: argparse.Namespace, host: str, book: Book
) -> None:
    """Run all whole transfers, interleaved, and add their times to the book."""
    transfers = [(row, size) for row in rows for size in sizes_of(row, arguments.sizes)]
    for turn, (row, size), contender in product(range(arguments.runs), transfers, chosen):
        label = f"{row:8} {size / 1e6:g} MB {contender.name:18}"
        try:
            seconds = await transfer(contender, ROWS[row].link, host=host, size=size, seed=arguments.seed + turn)
        except (RuntimeError, TimeoutError, OSError) as error:
            book.failures.append(f"{label}: {error or type(error).__name__}")
            continue
        book.transfers[row, size, contender.name].append(seconds)
        print(f"{label} {seconds:7.3f} s", file=sys.stderr, flush=True)


def run_first() -> bool:
    """Raise the priority of this process and its children, because late timers would falsify the measurement.

    Linux weighs sessions before it weighs the processes in them, so both are raised.
    """
    try:
        os.nice(-19)
        autogroup = Path("/proc/self/autogroup")
        if autogroup.exists():
            before = autogroup.read_text().rpartition(" ")[2]
            autogroup.write_text("-19")
            atexit.register(autogroup.write_text, before)  # the rest of this terminal's session is in it, too
    except OSError as error:
        print(f"cannot run first: {error}", file=sys.stderr)
        return False
    return True


def contenders(wrtc_python: str, node_modules: str) -> tuple[list[Contender], dict[str, str]]:
    """Return all contenders that can be measured, and why others cannot.

    The column `datachan` has the default controller; the other controllers follow it.
    """
    found, missing = others(wrtc_python, node_modules)
    alternatives = [algorithm for algorithm in ALGORITHMS if algorithm != DEFAULT_CONTROLLER]
    ours = [datachan(f"datachan/{algorithm}", controller=algorithm) for algorithm in alternatives]
    return [datachan("datachan"), *ours, *found], missing


def choose(wanted: str, found: list[Contender]) -> list[Contender]:
    """Return the contenders asked for by name."""
    if not wanted:
        return found
    names = wanted.split(",")
    return [item for item in found if item.name in names]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.links.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", default=",".join(ROWS), help="links, by name: %(default)s")
    parser.add_argument("--peers", default="", help="such as datachan,datachan/cubic,wrtc; all that are installed")
    parser.add_argument(
        "--sizes",
        default="1,10,100,goal",
        help="megabytes of whole transfers; goal for what has one on each row; or nothing (%(default)s)",
    )
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="measured time of each run, 0 for none (%(default)s)"
    )
    parser.add_argument("--ramp", type=float, default=3.0, help="time before that, not measured (%(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="of which the median is shown (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the random losses (%(default)s)")
    parser.add_argument("--first", action="store_true", help="let the peers run before all else on this machine (root)")
    parser.add_argument("--json", type=Path, help="also write everything here, with the curves")
    parser.add_argument("--wrtc-python", default=sys.executable, help="a Python that has wrtc")
    parser.add_argument("--node-modules", default=default_node_modules(), help="a folder that has the stacks for Node")
    options = parser.parse_args(arguments)
    unknown = set(options.rows.split(",")) - ROWS.keys()
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there is {', '.join(ROWS)}")
    return options


def main() -> int:
    """Measure and print; return 1 when something asked for could not be measured."""
    arguments = parse()
    rows = arguments.rows.split(",")
    found, missing = contenders(arguments.wrtc_python, arguments.node_modules)
    chosen = choose(arguments.peers, found)
    for name, remedy in missing.items():
        print(f"not installed, not measured: {name} ({remedy})")
    if not chosen:
        print(f"nothing to measure: there is {', '.join(item.name for item in found)}")
        return 1
    order = "before all else" if arguments.first and run_first() else "among whatever else ran"
    book = asyncio.run(run(rows, chosen, arguments, host_address())) if arguments.seconds else Book()
    asyncio.run(run_transfers(rows, chosen, arguments, host_address(), book))
    names = [item.name for item in chosen]
    print(
        f"\nGoodput as a share of the link's rate: median of {arguments.runs}, each {arguments.seconds:g} s "
        f"from {arguments.ramp:g} s after the channel opened, messages of {MESSAGE_SIZE} bytes.\n"
        f"Python {platform.python_version()}, Linux {platform.release()}, {os.cpu_count()} processors; "
        f"the peers ran {order}.\n"
    )
    print(book.table(rows, names))
    print()
    print(book.details(rows, names))
    if book.transfers:
        print("\nWhole transfers, from the opening of the channel to the last byte, as a share of the link's rate:\n")
        print(book.transfer_table(names))
    for failure in book.failures:
        print(f"failed: {failure}")
    if arguments.json:
        everything = {f"{row} {name}": [r.as_dict() for r in runs] for (row, name), runs in book.results.items()}
        arguments.json.write_text(json.dumps(everything, indent=1))
    return 1 if book.failures else 0


if __name__ == "__main__":
    sys.exit(main())
