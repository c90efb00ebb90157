"""Measure throughput to and from browsers: between a stack's process and a tab, or two tabs of one browser."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench.measure import MESSAGE_SIZE, Figures
from tests.interop.browsers import NAMES, Browser, BrowserError, Page, find, launch
from tests.interop.link import serve_page
from tests.stacks.process import SETUP_PATIENCE, Contender, PeerProcess, cpu_of

SCRIPT: Final = (Path(__file__).parent / "browsers.js").read_text()
# Browsers take longer to reach their full rate than other stacks.
RAMP: Final = 2.0
_SLOWEST: Final = 2e6
"""Bytes per second of a transfer that is still waited for."""

Enter = Callable[[str, Figures], None]


@dataclass(frozen=True)
class Rate:
    """MB/s by the count and clock of the receiver.

    Attributes:
        whole: From the first byte until as many have arrived as were asked for: slow start is in it.
        cpu: Processor seconds of both sides for 100 MB of that.
        steady: For some seconds, beginning some time after that.
    """

    whole: float
    cpu: float
    steady: float


class Meter:
    """The processor seconds of a browser, and of another process, since this object was made."""

    def __init__(self, browser: Browser, pid: int | None = None) -> None:
        self._browser = browser
        self._pid = pid
        self._before = self._read()

    def _read(self) -> dict[int, float]:
        found = {}
        for pid in self._browser.processes():
            with contextlib.suppress(OSError):  # that of a tab that was closed just now
                found[pid] = cpu_of(pid)
        if self._pid is not None:
            found[self._pid] = cpu_of(self._pid)
        return found

    def per_100_mb(self, size: int) -> float:
        """Return the seconds for 100 MB, if `size` bytes have moved since."""
        return sum(used - self._before.get(pid, 0.0) for pid, used in self._read().items()) / size * 1e8


async def _rate(count: Callable[[], Any], seconds: float, meter: Meter, size: int = 1) -> Rate:
    async with asyncio.timeout(SETUP_PATIENCE + size / _SLOWEST):
        while (now := await count())["bytes"] < size:
            await asyncio.sleep(0.05)
    used = meter.per_100_mb(now["bytes"])
    whole = now["bytes"] / max(now["time"] - now["first"], 1e-9) / 1e6
    await asyncio.sleep(RAMP)
    before = await count()
    await asyncio.sleep(seconds)
    after = await count()
    return Rate(whole, used, (after["bytes"] - before["bytes"]) / (after["time"] - before["time"]) / 1e6)


async def _prepared(page: Page, url: str) -> None:
    await page.goto(url)
    await page.evaluate(SCRIPT)


async def between_tabs(browser: Browser, url: str, seconds: float) -> float:
    """Measure MB/s from one tab to another."""
    async with browser.page() as one, browser.page() as other:
        for page in (one, other):
            await _prepared(page, url)
        answer = await other.call("bench.answer", await one.call("bench.offer", MESSAGE_SIZE), 0)
        await one.call("bench.accept", answer)
        return (await _rate(lambda: other.call("bench.count"), seconds, Meter(browser))).steady


async def with_stack(
    browser: Browser, url: str, contender: Contender, host: str, seconds: float, *, to: bool, size: int = 1
) -> Rate:
    """Measure MB/s between a stack, which offers, and a tab; to the tab when `to` is true, else from it.

    Args:
        browser: The tab's browser.
        url: A page for the tab.
        contender: The stack.
        host: An address of this machine.
        seconds: Time of the steady rate.
        to: Whether the tab receives.
        size: Bytes of the whole rate.
    """
    options = {"host": host, "message_size": MESSAGE_SIZE, "task": "stream" if to else "count"}
    peer = await PeerProcess.start(contender, "sender", options)
    try:
        async with browser.page() as page, asyncio.timeout(2 * SETUP_PATIENCE + RAMP + seconds + size / _SLOWEST):
            await _prepared(page, url)
            offer = (await peer.receive("description"))["description"]
            answer = await page.call("bench.answer", offer, 0 if to else MESSAGE_SIZE)
            peer.send({"description": answer})
            await peer.receive("open")
            count = (lambda: page.call("bench.count")) if to else peer.count
            return await _rate(count, seconds, Meter(browser, peer.pid), size)
    finally:
        await peer.end()


async def measure(chosen: Sequence[Contender], host: str, seconds: float, enter: Enter) -> list[str]:
    """Measure each installed browser with itself and with each stack; return what failed.

    Args:
        chosen: the stacks.
        host: an address of this machine.
        seconds: measured time of each transfer.
        enter: takes the figures, by the name of the browser or the stack.
    """
    failures: list[str] = []
    for name in NAMES:
        if find(name) is None:
            failures.append(f"{name} is not installed")
            continue
        async with launch(name, loopback=True) as browser, serve_page() as url:
            try:
                enter(name, {f"{name} sends": await between_tabs(browser, url, seconds)})
            except (BrowserError, TimeoutError) as error:
                failures.append(f"{name} with itself: {error or type(error).__name__}")
            for contender in chosen:
                for figure, to in ((f"{name} receives", True), (f"{name} sends", False)):
                    try:
                        rate = (await with_stack(browser, url, contender, host, seconds, to=to)).steady
                    except (BrowserError, RuntimeError, TimeoutError) as error:
                        failures.append(f"{contender.name}, {figure}: {error or type(error).__name__}")
                    else:
                        enter(contender.name, {figure: rate})
    return failures
