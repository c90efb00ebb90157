"""Measure transfers between the terminal and pages in Chromium and Firefox, beside the raw channel, in turns.

A transfer counts from the click that accepts it until the page says that it is done: verified, flushed and in place.
The raw channel is measured in two ways: from the first byte until as many bytes have arrived as the file has, which has
slow start in it as the transfer has, and for some seconds once it has reached its rate. The first ratio is what the
transfer protocol costs; the second one is lower for small files on any protocol.
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

from tests.bench.browsers import Rate, with_stack
from tests.interop import namespaces
from tests.interop.browsers import NAMES, Browser, find, launch
from tests.interop.link import serve_page
from tests.interop.transfer_tab import Tab, code_of, page_server, terminal
from tests.stacks.installed import datachan

MB: Final = 1_000_000
RAW_SECONDS: Final = 3.0
LONG: Final = 300.0
HEAD: Final = """| | MB/s | raw, as many bytes | raw, steady | share | share of steady | each round |
|---|--:|--:|--:|--:|--:|---|"""


async def to_page(browser: Browser, url: str, source: Path) -> float:
    """Return MB/s from `datachan send` into the browser's private storage, verified and durable."""
    async with browser.page() as page, terminal("send", str(source), "--server", url, "--json") as process:
        tab = Tab(page)
        await tab.open_link(url, await code_of(process))
        await tab.reaches("reviewing")
        began = time.monotonic()
        await tab.click("t-accept")
        await tab.until("probe.phase() === 'done'", LONG)
        return source.stat().st_size / MB / (time.monotonic() - began)


async def from_page(browser: Browser, url: str, source: Path, folder: Path) -> float:
    """Return MB/s from a page into `datachan receive`, verified and durable."""
    async with browser.page() as page:
        tab = Tab(page)
        await tab.open(url)
        await page.choose_files("s-files", [source])
        code = await tab.code()
        async with terminal("receive", code, "--server", url, "--yes", "-q", "-o", str(folder)) as process:
            await tab.reaches("moving", "done")
            began = time.monotonic()
            await tab.until("probe.phase() === 'done'", LONG)
            took = time.monotonic() - began
            await process.wait()
        (folder / source.name).unlink()
        return source.stat().st_size / MB / took


@dataclass(frozen=True)
class Round:
    """MB/s of one transfer, and of the raw channel just before it."""

    transfer: float
    raw: Rate

    @property
    def share(self) -> float:
        """The share of the raw channel that moved as many bytes, from the first one to the last one."""
        return self.transfer / self.raw.whole

    @property
    def share_of_steady(self) -> float:
        """The share of the raw channel once it has reached its rate."""
        return self.transfer / self.raw.steady


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
    rates = [median(run.transfer for run in runs), median(run.raw.whole for run in runs)]
    rates.append(median(run.raw.steady for run in runs))
    shares = [median(run.share for run in runs), median(run.share_of_steady for run in runs)]
    rounds = " ".join(f"{run.transfer:.0f}/{run.raw.whole:.0f}/{run.raw.steady:.0f}" for run in runs)
    return " | ".join([f"| {name}", *(f"{r:.0f}" for r in rates), *(f"{s:.2f}" for s in shares), f"{rounds} |"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=200, help="MB of the file (default: 200)")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"load at the beginning: {os.getloadavg()[0]:.1f}\n\n{HEAD}", flush=True)
    for name in NAMES:
        if find(name) is None:
            print(f"{name} is not installed: it is not measured")
            continue
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure(name, options.size * MB, options.rounds, Path(folder)))


if __name__ == "__main__":
    main()
