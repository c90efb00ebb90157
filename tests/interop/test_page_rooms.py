"""Test files between members of a room in different browsers: Chromium to Firefox, and back."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from datachan.signaling import SignalingServer
from datachan.signaling.assets import page_folder
from tests.interop import browsers, namespaces
from tests.interop.test_page import Tab
from tests.missing import missing

SIZE = 12_000_000  # more than the page keeps in memory
BYTES = f"Uint8Array.from({{ length: {SIZE} }}, (_, at) => (at * 31 + (at >> 8)) & 255)"


@contextlib.asynccontextmanager
async def tabs() -> AsyncIterator[tuple[str, dict[str, Tab]]]:
    """Serve the page, and open a tab in each browser; give the address and the tabs."""
    for name in browsers.NAMES:
        if browsers.find(name) is None:
            missing(f"{name} is not installed (apt install chromium firefox-esr)")
    runner = web.AppRunner(SignalingServer(page=page_folder()).create_app(), shutdown_timeout=1.0)
    with namespaces.network(namespaces.ONLY_LOOPBACK):
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            async with contextlib.AsyncExitStack() as stack:
                pages = {}
                for name in browsers.NAMES:
                    browser = await stack.enter_async_context(browsers.launch(name, loopback=True))
                    pages[name] = Tab(await stack.enter_async_context(browser.page()))
                yield f"http://127.0.0.1:{runner.addresses[0][1]}/", pages
                assert [tab.page.logs for tab in pages.values()] == [[], []]
        finally:
            await runner.cleanup()


@pytest.mark.timeout(240)
async def test_members_in_different_browsers_share_files_both_ways() -> None:
    digest = hashlib.sha256(bytes((at * 31 + (at >> 8)) & 255 for at in range(SIZE))).hexdigest()
    async with tabs() as (url, pages):
        for name, tab in pages.items():
            await tab.join(f"{url}#across", name)
            await tab.until("probe.text('#room-status') === ''")
        await asyncio.gather(*(tab.connected() for tab in pages.values()))
        for sender, receiver in (("chromium", "firefox"), ("firefox", "chromium")):
            await pages[sender].page.evaluate(f"probe.choose({BYTES}, '{sender}.bin')")
            assert f"{sender} wants to send you this file." in await pages[receiver].newest_transfer("offered")
            await pages[receiver].click(".transfer button", "Accept")
            assert "Received and verified." in await pages[receiver].newest_transfer("done")
            assert await pages[receiver].saved() == (f"{sender}.bin", digest)
            assert "has stored and verified it." in await pages[sender].newest_transfer("done")
            await pages[sender].say("chat goes on")
            await pages[receiver].hears(sender, "chat goes on")
