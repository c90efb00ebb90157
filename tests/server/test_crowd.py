"""Two hundred clients through the one UDP port that a firewall opens, two of them pages; pages whose worker is killed.

The clients that are no browsers are Python peers in a process of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from typing import Final

import pytest

from datachan.server import ChannelServerOptions
from tests.interop.browsers import Browser, Page, launch
from tests.interop.conftest import browser, situations
from tests.stacks.process import ROOT

from .client import PATIENCE, connected
from .test_browsers import FIREWALL, Echo, nft, opened, said, serving
from .test_workers import crew

__all__ = ["browser"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLIENTS: Final = 198
AT_ONCE: Final = 8
ENOUGH: Final = 60.0


@contextlib.asynccontextmanager
async def python_clients(url: str, count: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process with this many clients; it prints a line when all of them have had an echo."""
    command = [sys.executable, "-m", "tests.server.test_crowd", url, str(count)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=PIPE, stdout=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def printed(process: asyncio.subprocess.Process) -> str:
    """Return the next line of a process."""
    assert process.stdout is not None
    async with asyncio.timeout(ENOUGH):
        return (await process.stdout.readline()).decode().strip()


@pytest.mark.parametrize("browser", situations("as-a-user")[:1], indirect=True)
async def test_two_hundred_clients_share_the_one_open_udp_port(browser: Browser) -> None:
    options = ChannelServerOptions(max_connections_per_address=300)
    async with serving(Echo(), udp_port=0, options=options) as server:
        await nft("-f", "-", rules=FIREWALL.format(port=server.udp_port))
        try:
            async with python_clients(server.url, CLIENTS) as process, launch("firefox", loopback=False) as firefox:
                assert await printed(process) == f"{CLIENTS} echoes"
                async with opened(browser, server) as chromium_page, opened(firefox, server) as firefox_page:
                    pages = (chromium_page, firefox_page)
                    assert await asyncio.gather(*(said(page, "one of many") for page in pages)) == [True, True]
                    assert len(server.channels.connections) == CLIENTS + 2
                    assert process.stdin is not None
                    process.stdin.write(b"again\n")
                    assert await printed(process) == f"{CLIENTS} echoes"
                    assert await asyncio.gather(*(said(page, "still there") for page in pages)) == [True, True]
            assert "counter packets 0 " not in await nft("list", "table", "inet", "firewall")
        finally:
            await nft("delete", "table", "inet", "firewall")


async def served_by(page: Page) -> int:
    """Return the process id of the worker that serves a page."""
    await page.evaluate("until(() => received.worker.length > 0)")
    return int(await page.evaluate("received.worker.at(-1)"))


@pytest.mark.parametrize("browser", situations("as-a-user"), indirect=True)
async def test_a_page_comes_back_when_its_worker_is_killed(browser: Browser) -> None:
    async with crew() as running, browser.page() as page:
        await page.goto(running.url.replace("/rtc", "/"))
        await page.evaluate("(async () => { while (!window.ready) await new Promise(r => setTimeout(r, 10)); })()")
        assert await page.evaluate("open_('rtc', {channels: {worker: {}}})") == "connected"
        victim = await served_by(page)
        await page.evaluate("(() => { received.worker.length = 0; states.length = 0; })()")
        os.kill(victim, signal.SIGKILL)
        new = await running.replaced()
        # What the user sees: the page notices the silence, asks for an ICE restart, is told 404, and connects again.
        assert await page.evaluate("until(() => states.includes('connected'))")
        assert await served_by(page) in {new, *running.workers.values()} - {victim}
        assert (await page.evaluate("states"))[0] == "interrupted"


async def be_clients(url: str, count: int) -> None:
    """Connect this many clients; have an echo on each, once at first and again for each line of standard input."""
    turns = asyncio.Semaphore(AT_ONCE)
    async with contextlib.AsyncExitStack() as stack:

        async def connect() -> object:
            async with turns:
                return (await stack.enter_async_context(connected(url)))[1]

        channels = await asyncio.gather(*(connect() for _ in range(count)))

        async def echo(channel: object) -> str:
            channel.send("hello")  # type: ignore[attr-defined]
            async with asyncio.timeout(PATIENCE):
                return await anext(channel)  # type: ignore[call-overload,no-any-return]

        while True:
            heard = await asyncio.gather(*(echo(channel) for channel in channels))
            print(f"{heard.count('hello')} echoes", flush=True)
            if not await asyncio.to_thread(sys.stdin.readline):
                break
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(be_clients(sys.argv[1], int(sys.argv[2])))
