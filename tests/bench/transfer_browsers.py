"""Measure transfers between the terminal and pages in Chromium and Firefox, beside the raw channel, in turns.

A transfer counts from the click that accepts it until the page says that it is done: verified, flushed and in place.
The raw channel is measured in two ways: from the first byte until as many bytes have arrived as the file has, which has
slow start in it as the transfer has, and for some seconds once it has reached its rate. The first ratio is what the
transfer protocol costs; the second one is lower for small files on any protocol. On a machine that does something else,
the ratio of the processor time of both sides says more: two busy cores are what bounds either.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench.browsers import Meter, Rate, with_stack
from tests.interop import namespaces
from tests.interop.browsers import NAMES, Browser, find, launch
from tests.interop.link import serve_page
from tests.interop.transfer_tab import Tab, code_of, page_server, terminal
from tests.stacks.installed import datachan

MB: Final = 1_000_000
RAW_SECONDS: Final = 3.0
LONG: Final = 300.0
HEAD: Final = """
| | MB/s | raw, as many bytes | raw, steady | CPU s for 100 MB | raw | share | by CPU | of steady | each round |
|---|--:|--:|--:|--:|--:|--:|--:|--:|---|"""


@dataclass(frozen=True)
class Moved:
    """A transfer: MB/s, and processor seconds of both sides for 100 MB."""

    rate: float
    cpu: float


async def _until_done(tab: Tab, meter: Meter, size: int) -> Moved:
    began = time.monotonic()
    await tab.until("probe.phase() === 'done'", LONG)
    return Moved(size / MB / (time.monotonic() - began), meter.per_100_mb(size))


async def to_page(browser: Browser, url: str, source: Path) -> Moved:
    """Measure `datachan send` into the browser's private storage, verified and durable."""
    async with browser.page() as page, terminal("send", str(source), "--server", url, "--json") as process:
        tab = Tab(page)
        await tab.open_link(url, await code_of(process))
        await tab.reaches("reviewing")
        meter = Meter(browser, process.pid)
        await tab.click("t-accept")
        return await _until_done(tab, meter, source.stat().st_size)


async def from_page(browser: Browser, url: str, source: Path, folder: Path) -> Moved:
    """Measure a page that sends to `datachan receive`, verified and durable."""
    async with browser.page() as page:
        tab = Tab(page)
        await tab.open(url)
        await page.choose_files("s-files", [source])
        code = await tab.code()
        async with terminal("receive", code, "--server", url, "--yes", "-q", "-o", str(folder)) as process:
            await tab.reaches("moving", "done")
            moved = await _until_done(tab, Meter(browser, process.pid), source.stat().st_size)
            await process.wait()
        (folder / source.name).unlink()
        return moved


@dataclass(frozen=True)
class Round:
    """One transfer, and the raw channel just before it."""

    transfer: Moved
    raw: Rate

    @property
    def shares(self) -> tuple[float, float, float]:
        """The shares of the raw channel: with as many bytes, by processor time for them, and of its steady rate."""
        rate = self.transfer.rate
        return rate / self.raw.whole, self.raw.cpu / self.transfer.cpu, rate / self.raw.steady


async def measure(name: str, size: int, rounds: int, folder: Path) -> None:
    """Measure one browser, and print its rows of the table."""
    source, target = folder / "source.bin", folder / "target"
    source.write_bytes(os.urandom(size))
    target.mkdir()
    ours = datachan("datachan")
    runs: dict[str, list[Round]] = {"to": [], "from": []}
    with namespaces.network(namespaces.ONLY_LOOPBACK):
        async with launch(name, loopback=True) as browser, page_server() as url, serve_page() as plain:
            for _ in range(rounds):
                for way, each in runs.items():
                    to = way == "to"
                    raw = await with_stack(browser, plain, ours, "127.0.0.1", RAW_SECONDS, to=to, size=size)
                    sending = to_page(browser, url, source) if to else from_page(browser, url, source, target)
                    each.append(Round(await sending, raw))
            version = browser.version
    for way, each in runs.items():
        print(row(f"{way} {version}", each), flush=True)


def row(name: str, runs: Sequence[Round]) -> str:
    """Return a row of the table: medians, and the rates of each round."""
    figures = [(run.transfer.rate, run.raw.whole, run.raw.steady) for run in runs]
    rates = [f"{median(each):.0f}" for each in zip(*figures, strict=True)]
    shares = [f"{median(each):.2f}" for each in zip(*(run.shares for run in runs), strict=True)]
    cpu = [f"{median(each):.2f}" for each in zip(*((run.transfer.cpu, run.raw.cpu) for run in runs), strict=True)]
    rounds = " ".join("/".join(f"{rate:.0f}" for rate in each) for each in figures)
    return " | ".join([f"| {name}", *rates, *cpu, *shares, f"{rounds} |"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=200, help="MB of the file (default: 200)")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"load at the beginning: {os.getloadavg()[0]:.1f}\n{HEAD}", flush=True)
    for name in NAMES:
        if find(name) is None:
            print(f"{name} is not installed: it is not measured")
            continue
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure(name, options.size * MB, options.rounds, Path(folder)))


if __name__ == "__main__":
    main()
