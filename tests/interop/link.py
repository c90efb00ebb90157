"""Connect a tab (page.html) with a Python peer, and open channels with an end in each."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from datachan import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from tests.interop.browsers import Browser, BrowserError, Page

PAGE = Path(__file__).with_name("page.html")
PATIENCE = 60.0


def describe(message: str | bytes) -> dict[str, object]:
    """Describe a message as page.html does."""
    data = message.encode() if isinstance(message, str) else message
    kind = "text" if isinstance(message, str) else "binary"
    return {"kind": kind, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@asynccontextmanager
async def serve_page() -> AsyncIterator[str]:
    """Serve page.html on loopback and yield its address."""

    async def page(_request: web.Request) -> web.StreamResponse:
        return web.Response(text=PAGE.read_text(), content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


class Ends:
    """The two ends of one data channel: `channel` is Python's, `index` is the number page.html gave its own."""

    def __init__(self, page: Page, index: int, channel: RTCDataChannel, inbox: asyncio.Queue[str | bytes]) -> None:
        self.page = page
        self.index = index
        self.channel = channel
        self._inbox = inbox

    async def receive(self, count: int) -> list[str | bytes]:
        """Return the next `count` messages received by Python."""
        async with asyncio.timeout(PATIENCE):
            return [await self._inbox.get() for _ in range(count)]

    def nothing_more(self) -> bool:
        """Return whether the test has read every message received by Python."""
        return self._inbox.empty()

    async def browser_received(self, count: int) -> list[dict[str, object]]:
        """Wait until the browser has received `count` messages; return descriptions of all."""
        result: list[dict[str, object]] = await self.page.call("received", self.index, count)
        return result

    async def exchange(self, text: str) -> None:
        """Send a text each way and check that it arrives."""
        before = await self.page.evaluate(f"channels[{self.index}].received.length")
        await self.page.call("sendTexts", self.index, [text])
        assert await self.receive(1) == [text]
        self.channel.send(text)
        assert (await self.browser_received(before + 1))[before:] == [describe(text)]

    async def opened(self) -> None:
        """Wait until both ends are open."""
        try:
            await self.page.call("channelState", self.index, "open")
        except BrowserError as error:
            raise AssertionError(f"{error}\nPython's end: {self.channel!r}\n{await self._page_says()}") from error
        await state(self.channel, "open")

    async def _page_says(self) -> str:
        """Return the states of the page's connection and channels, or that the page answers nothing at all."""
        try:
            return f"the page: {await self.page.evaluate('states()', timeout=5.0)}"
        except BrowserError as error:
            return f"the page does not run: {error}"

    async def closed(self) -> None:
        """Wait until both ends are closed."""
        await self.page.call("channelState", self.index, "closed")
        await state(self.channel, "closed")


async def state(channel: RTCDataChannel, wanted: str) -> None:
    """Wait until a channel of Python's is "open" or "closed"."""
    happened = asyncio.Event()
    channel.on("open" if wanted == "open" else "close", lambda *_: happened.set())
    async with asyncio.timeout(PATIENCE):
        while channel.readyState != wanted:
            happened.clear()
            await happened.wait()


class Link:
    """A tab and a Python peer. `offerer` is "browser" or "python". The channel "first" exists from the start."""

    def __init__(self, page: Page, pc: RTCPeerConnection, offerer: str) -> None:
        self.page = page
        self.pc = pc
        self.offerer = offerer
        self.offer: dict[str, str] = {}
        self.answer: dict[str, str] = {}
        self._announced: dict[str, asyncio.Future[tuple[RTCDataChannel, asyncio.Queue[str | bytes]]]] = {}
        pc.on("datachannel", self._on_datachannel)

    def _on_datachannel(self, channel: RTCDataChannel) -> None:
        # Register the handler for messages before returning, because the first message may arrive in the same packet.
        self._announcement(channel.label).set_result((channel, _inbox(channel)))

    def _announcement(self, label: str) -> asyncio.Future[tuple[RTCDataChannel, asyncio.Queue[str | bytes]]]:
        return self._announced.setdefault(label, asyncio.get_running_loop().create_future())

    async def start(self) -> None:
        """Create the connection in the page and the channel that makes the offer one for data."""
        await self.page.call("connection")
        if self.offerer == "browser":
            index = await self.page.call("createChannel", "first", {})
            self._first = partial(self.browser_end, "first", index)
        else:
            self._first = partial(self.python_end, *self.create("first"))

    async def negotiate(self) -> None:
        """Exchange offer and answer, with all candidates in them."""
        if self.offerer == "browser":
            await self.page.call("localDescription")
            self.offer = await self.page.call("gathered")
            await self.pc.setRemoteDescription(RTCSessionDescription(**self.offer))
            await self.pc.setLocalDescription(await self.pc.createAnswer())
            self.answer = _json(self.pc)
            await self.page.call("setRemote", self.answer)
        else:
            await self.pc.setLocalDescription(await self.pc.createOffer())
            self.offer = _json(self.pc)
            await self.page.call("setRemote", self.offer)
            await self.page.call("localDescription")
            self.answer = await self.page.call("gathered")
            await self.pc.setRemoteDescription(RTCSessionDescription(**self.answer))

    async def connect(self) -> Ends:
        """Connect, and return the open channel "first"."""
        await self.negotiate()
        return await self.first()

    async def first(self) -> Ends:
        """Wait for the channel "first" to be open at both ends."""
        ends = await self._first()
        await ends.opened()
        return ends

    async def browser_opens(self, label: str, **options: object) -> Ends:
        """Let the browser create a channel and wait until it is open at both ends. Options are W3C's."""
        index = await self.page.call("createChannel", label, options)
        ends = await self.browser_end(label, index)
        await ends.opened()
        return ends

    async def python_opens(self, label: str, **options: Any) -> Ends:
        """Create a channel in Python and wait until it is open at both ends."""
        ends = await self.python_end(*self.create(label, **options))
        await ends.opened()
        return ends

    async def both_open(self, label: str, number: int, **options: Any) -> Ends:
        """Create a negotiated channel at both ends and wait until it is open."""
        index = await self.page.call("createChannel", label, {"negotiated": True, "id": number, **options})
        ends = Ends(self.page, index, *self.create(label, negotiated=True, id=number, **options))
        await ends.opened()
        return ends

    def create(self, label: str, **options: Any) -> tuple[RTCDataChannel, asyncio.Queue[str | bytes]]:
        """Create a channel in Python and listen to it; `python_end` waits for it."""
        channel = self.pc.createDataChannel(label, **options)
        return channel, _inbox(channel)

    async def browser_end(self, label: str, index: int) -> Ends:
        """Wait until a channel that the browser created was announced to Python."""
        async with asyncio.timeout(PATIENCE):
            channel, inbox = await self._announcement(label)
        return Ends(self.page, index, channel, inbox)

    async def python_end(self, channel: RTCDataChannel, inbox: asyncio.Queue[str | bytes]) -> Ends:
        """Wait until a channel that Python created was announced to the browser."""
        index = await self.page.call("announced", channel.label)
        return Ends(self.page, index, channel, inbox)


def _inbox(channel: RTCDataChannel) -> asyncio.Queue[str | bytes]:
    inbox: asyncio.Queue[str | bytes] = asyncio.Queue()
    channel.on("message", inbox.put_nowait)
    return inbox


def _json(pc: RTCPeerConnection) -> dict[str, str]:
    description = pc.localDescription
    return {} if description is None else {"type": description.type, "sdp": description.sdp}


@asynccontextmanager
async def linked(
    browser: Browser, url: str, offerer: str, configuration: RTCConfiguration | None = None
) -> AsyncIterator[Link]:
    """Open a tab and a peer, not yet connected, and close both afterwards."""
    async with browser.page() as page:
        await page.goto(url)
        pc = RTCPeerConnection(RTCConfiguration(iceServers=[]) if configuration is None else configuration)
        try:
            link = Link(page, pc, offerer)
            await link.start()
            yield link
        finally:
            await pc.close()
