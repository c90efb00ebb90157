"""Attacks of the other side of a call on the page, in Chromium, for `make attack`.

The tab is in a network namespace of its own. Its longest standstill is measured with a timer in the page.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from aiohttp import web

from datachan import RTCDataChannel, RTCPeerConnection
from datachan.file_shelf import FileShelf
from datachan.signaling import EchoPeer, SignalingClient, SignalingServer, connect_through
from datachan.signaling.assets import page_folder
from datachan.transfer import open_transfer_channel
from tests.interop import browsers
from tests.interop.conftest import Situation, running
from tests.interop.test_page import Tab, offer_of

PATIENCE = 120.0

WATCH = """(() => {
  window.standstill = 0;
  let last = performance.now();
  setInterval(() => {
    const now = performance.now();
    window.standstill = Math.max(window.standstill, now - last);
    last = now;
  }, 20);
  return true;
})()"""
HEAP = "performance.memory.usedJSHeapSize"
ELEMENTS = "document.querySelectorAll('*').length"


async def flood_of_messages(tab: Tab, pc: RTCPeerConnection, chat: RTCDataChannel) -> str:
    """Send 20,000 short messages."""
    for number in range(20_000):
        chat.send(str(number))
        if number % 100 == 0:
            await chat.drain()
    await tab.hears("flood", "19999")
    return "20,000 messages"


async def flood_of_channels(tab: Tab, pc: RTCPeerConnection, chat: RTCDataChannel) -> str:
    """Open and close 2,000 file channels, of which every tenth offers a file and takes the offer back."""
    for _ in range(40):
        channels = [open_transfer_channel(pc) for _ in range(50)]
        for channel in channels:
            await channel.opened()
        for channel in channels[::10]:
            for message in offer_of("x", 2):
                channel.send(message)
            channel.send(json.dumps({"type": "end", "code": "cancelled", "reason": "enough"}))
        await tab.say("ready")  # the page has the channels when this has arrived
        await asyncio.wait_for(anext(chat), PATIENCE)
        for channel in channels:
            channel.close()
        for channel in channels:
            await asyncio.wait_for(channel.closed(), PATIENCE)
    return "2,000 file channels"


async def file_in_tiny_messages(tab: Tab, pc: RTCPeerConnection, chat: RTCDataChannel) -> str:
    """Send a file of 400 kB in messages of one byte."""
    channel = open_transfer_channel(pc)
    await channel.opened()
    data = os.urandom(400_000)
    for message in offer_of("x", len(data)):
        channel.send(message)
    await tab.until_shown("#transfers button", "Accept")
    await tab.click("#transfers button", "Accept")
    await asyncio.wait_for(anext(channel), PATIENCE)
    for start in range(len(data)):
        channel.send(data[start : start + 1])
        if start % 200 == 0:
            await channel.drain()
    await chat.drain()
    return "400,000 messages of 1 byte"


FLOODS: dict[str, Callable[[Tab, RTCPeerConnection, RTCDataChannel], Awaitable[str]]] = {
    "messages at the page": flood_of_messages,
    "file channels at the page": flood_of_channels,
    "a file in tiny messages at the page": file_in_tiny_messages,
}


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[str]:
    """Serve the page; give its address."""
    with tempfile.TemporaryDirectory() as folder:
        echo = EchoPeer(services={"transfer": FileShelf(Path(folder))})
        runner = web.AppRunner(SignalingServer(echo=echo, page=page_folder()).create_app(), shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
        finally:
            await runner.cleanup()


async def attack() -> AsyncIterator[tuple[str, str, str, str]]:
    """Run each flood in a tab of its own; give its name, its size, what it used, and what the page does afterwards."""
    if browsers.find("chromium") is None:
        yield "the page", "–", "–", "not run: Chromium is not installed"
        return
    async with running(Situation("chromium", "as-a-user")) as browser, served() as url:
        for number, (name, flood) in enumerate(FLOODS.items()):
            async with browser.page() as page:
                tab = Tab(page)
                await tab.join(f"{url}#room{number}", "Ada")
                async with SignalingClient(url, f"room{number}", name="flood") as client, RTCPeerConnection() as pc:
                    chat = pc.createDataChannel("chat")
                    await connect_through(client, pc)
                    await chat.opened()
                    await tab.connected()
                    await page.evaluate(WATCH)
                    heap, elements = await page.evaluate(HEAP), await page.evaluate(ELEMENTS)
                    size = await flood(tab, pc, chat)
                    await tab.say("still here")
                    while await asyncio.wait_for(anext(chat), PATIENCE) != "still here":
                        pass
                    after = f"{heap >> 20} → {await page.evaluate(HEAP) >> 20} MiB of heap, "
                    after += f"{elements} → {await page.evaluate(ELEMENTS)} elements"
                    cost = f"{after}, stands still for {await page.evaluate('window.standstill') / 1000:.1f} s at most"
                    yield name, size, cost, "the page sends and receives"
