"""Measure transfers between the terminal and pages in Chromium and Firefox, beside the raw channel, in turns."""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench.browsers import with_stack
from tests.interop import namespaces
from tests.interop.browsers import NAMES, Browser, find, launch
from tests.interop.link import serve_page
from tests.interop.transfer_tab import Tab, code_of, page_server, terminal
from tests.stacks.installed import datachan

MB: Final = 1_000_000
RAW_SECONDS: Final = 3.0
LONG: Final = 300.0

CHOOSE: Final = """(async (size) => {
  const part = crypto.getRandomValues(new Uint8Array(65536));
  const transfer = new DataTransfer();
  transfer.items.add(new File(Array(Math.ceil(size / part.length)).fill(part), "film.bin"));
  const input = document.getElementById("s-files");
  input.files = transfer.files;
  input.dispatchEvent(new Event("change"));
  return true;
})"""


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


async def from_page(browser: Browser, url: str, size: int, folder: Path) -> float:
    """Return MB/s from a page into `datachan receive`, verified and durable."""
    async with browser.page() as page:
        tab = Tab(page)
        await tab.open(url)
        await page.call(CHOOSE, size)
        code = await tab.code()
        async with terminal("receive", code, "--server", url, "--yes", "-q", "-o", str(folder)) as process:
            await tab.reaches("moving", "done")
            began = time.monotonic()
            await tab.until("probe.phase() === 'done'", LONG)
            took = time.monotonic() - began
            await process.wait()
        (folder / "film.bin").unlink()
        return size / MB / took


async def measure(name: str, size: int, rounds: int, folder: Path) -> None:
    """Measure one browser, and print its rows of the table."""
    source = folder / "source.bin"
    source.write_bytes(os.urandom(size))
    ours = datachan("datachan")
    rates: dict[str, list[float]] = {key: [] for key in ("raw to", "page to", "raw from", "page from")}
    with namespaces.network(namespaces.ONLY_LOOPBACK):
        async with launch(name, loopback=True) as browser, page_server() as url, serve_page() as plain:
            for _ in range(rounds):
                rates["raw to"].append(await with_stack(browser, plain, ours, "127.0.0.1", RAW_SECONDS, to=True))
                rates["page to"].append(await to_page(browser, url, source))
                rates["raw from"].append(await with_stack(browser, plain, ours, "127.0.0.1", RAW_SECONDS, to=False))
                rates["page from"].append(await from_page(browser, url, size, folder))
            version = browser.version
    for way in ("to", "from"):
        share = median(page / raw for page, raw in zip(rates[f"page {way}"], rates[f"raw {way}"], strict=True))
        raw, page = median(rates[f"raw {way}"]), median(rates[f"page {way}"])
        each = " ".join(
            f"{page:.0f}/{raw:.0f}" for page, raw in zip(rates[f"page {way}"], rates[f"raw {way}"], strict=True)
        )
        print(f"| {way} {version} | {page:.0f} | {raw:.0f} | {share:.2f} | {each} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=200, help="MB of the file (default: 200)")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print("| | MB/s | raw channel | median share | each round |\n|---|--:|--:|--:|---|", flush=True)
    for name in NAMES:
        if find(name) is None:
            print(f"{name} is not installed: it is not measured")
            continue
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure(name, options.size * MB, options.rounds, Path(folder)))


if __name__ == "__main__":
    main()
