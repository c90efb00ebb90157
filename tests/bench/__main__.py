"""Measure every stack side by side, in two processes over loopback: `make bench`, or `python -m tests.bench --help`.

Each stack talks to itself, and the stacks take turns, so that other work of the machine affects all of them alike.
Compare the ratios of the medians. Absolute figures say as much about the machine as about the stack.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench import browsers, build
from tests.bench.goals import AIORTC, COMPILED, DTLS, PURE
from tests.bench.measure import OURS, ROWS, Figures, dtls
from tests.bench.report import goals_table, machine, medians_table, plot
from tests.stacks.installed import datachan, default_node_modules, host_address, others
from tests.stacks.process import Contender


class Book:
    """The measurements so far.

    Attributes:
        results: the results of the runs, by contender and figure.
        failures: what could not be measured, and why.
    """

    def __init__(self) -> None:
        self.results: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.failures: list[str] = []

    def enter(self, name: str, figures: Figures) -> None:
        """Add a run."""
        for figure, value in figures.items():
            self.results[name, figure].append(value)


def contenders(arguments: argparse.Namespace) -> tuple[list[Contender], dict[str, str]]:
    """Return the stacks to measure, and those that cannot run with the reason."""
    found, missing = others(arguments.wrtc_python, arguments.node_modules)
    ours = []
    if not arguments.no_compiled:
        try:
            ours.append(datachan(COMPILED, build.compiled()))
        except RuntimeError as error:
            missing[COMPILED] = str(error)
    if build.is_interpreted():
        ours.append(datachan(PURE))
    else:
        missing[PURE] = "the working tree is compiled: make pure"
    chosen = [item for item in [*ours, *found] if not arguments.peers or item.name in arguments.peers.split(",")]
    return chosen, missing


def in_turns(chosen: Sequence[Contender], turn: int) -> Iterator[Contender]:
    """Return the contenders, in reverse order every other time."""
    return iter(chosen) if turn % 2 == 0 else reversed(chosen)


async def run_browsers(chosen: Sequence[Contender], host: str, seconds: float, book: Book) -> None:
    """Measure browsers, each with itself, with our fastest build and with aiortc."""
    ours = [item for item in chosen if item.name.startswith(PURE)][:1]
    stacks = [*ours, *(item for item in chosen if item.name == AIORTC)]
    book.failures += await browsers.measure(stacks, host, seconds, book.enter)


async def run(chosen: Sequence[Contender], rows: Sequence[str], arguments: argparse.Namespace) -> Book:
    """Run all measurements, interleaved."""
    book, host = Book(), host_address()
    for turn in range(arguments.runs):
        for row in rows:
            if row == "dtls":
                book.enter(DTLS, await dtls())
                continue
            if row == "browsers":
                await run_browsers(chosen, host, arguments.seconds, book)
                continue
            for contender in in_turns(chosen, turn):
                if row in OURS and not contender.name.startswith(PURE):
                    continue
                label = f"run {turn + 1} of {arguments.runs}: {row:7} {contender.name:18}"
                try:
                    figures = await ROWS[row](contender, host, arguments.seconds)
                except (RuntimeError, TimeoutError, OSError) as error:
                    book.failures.append(f"{contender.name}, {row}: {error or type(error).__name__}")
                    print(f"{label} failed: {error or type(error).__name__}", file=sys.stderr, flush=True)
                    continue
                book.enter(contender.name, figures)
                told = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
                print(f"{label} {told}", file=sys.stderr, flush=True)
    return book


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Run the command line."""
    everything = [*ROWS, "dtls", "browsers"]
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", default=",".join(everything), help="what is measured (%(default)s)")
    parser.add_argument("--peers", default="", help="such as 'datachan,wrtc'; all that are installed")
    parser.add_argument("--seconds", type=float, default=2.0, help="measured time of each run (%(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="of which the median counts (%(default)s)")
    parser.add_argument("--no-compiled", action="store_true", help="do not build and measure the compiled engine")
    parser.add_argument("--json", type=Path, help="also write all figures of all runs here")
    parser.add_argument("--plot", type=Path, help="also draw them here, a PNG or SVG file; needs matplotlib")
    parser.add_argument("--wrtc-python", default=sys.executable, help="a Python that has wrtc")
    parser.add_argument("--node-modules", default=default_node_modules(), help="a folder that has the stacks for Node")
    options = parser.parse_args(arguments)
    unknown = set(options.rows.split(",")) - set(everything)
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there is {', '.join(everything)}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return 1 when datachan itself could not be measured."""
    options = parse(arguments)
    about = machine()
    chosen, missing = contenders(options)
    for name, remedy in missing.items():
        print(f"not measured: {name} ({remedy})", file=sys.stderr)
    if not chosen:
        print("there is nothing to measure", file=sys.stderr)
        return 1
    rows = options.rows.split(",")
    book = asyncio.run(run(chosen, rows, options))
    names = list(dict.fromkeys([item.name for item in chosen] + [name for name, _ in book.results]))
    how = f"two processes over loopback, medians of {options.runs} × {options.seconds:g} s (least–most)"
    print(f"{about}\n{how}\n\n{medians_table(book.results, names)}\n\n{goals_table(book.results)}")
    for failure in book.failures:
        print(f"failed: {failure}")
    if options.json:
        told = {f"{name}: {figure}": values for (name, figure), values in book.results.items()}
        options.json.write_text(json.dumps({"machine": about, "how": how, "figures": told}, indent=1))
    if options.plot:
        plot(book.results, names, f"{about}\n{how}", options.plot)
    return 1 if any(failure.startswith("datachan") for failure in book.failures) else 0


if __name__ == "__main__":
    sys.exit(main())
