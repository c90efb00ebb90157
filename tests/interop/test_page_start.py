"""Test that the page starts whatever is missing or silent: it says what it waits for, tries again, and never hangs."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from datachan.signaling import EchoPeer, SignalingServer
from datachan.signaling.assets import page_folder
from tests.interop.browsers import Browser
from tests.interop.conftest import situations
from tests.interop.test_page import HELPERS, PATIENCE, Tab, another

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("browser", situations("as-a-user"), indirect=True, scope="module"),
]

# The bounds of the page take 5 to 20 seconds. Once the page is ready it has all of its time: a call on a busy machine
# may take longer than a twentieth of it.
IMPATIENT = """(() => {
  window.hurry = () => (document.documentElement?.dataset.ready === "true" ? 1 : 20);
  const { timeout } = AbortSignal;
  AbortSignal.timeout = (milliseconds) => timeout.call(AbortSignal, milliseconds / hurry());
  const { setTimeout } = window;
  window.setTimeout = (act, milliseconds) =>
    setTimeout(act, milliseconds >= 5000 ? milliseconds / hurry() : milliseconds);
})();"""
STAY_IMPATIENT = "(window.hurry = () => 20, 1)"
SILENT = "The server does not answer. The page keeps trying."


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """A server with the page. It answers requests of the `silent` path, and has the `broken` one, only after `mend`."""

    def __init__(self, *, silent: str = "", broken: str = "") -> None:
        self.url = ""
        self._silent = silent
        self._broken = broken
        self._requests: Counter[str] = Counter()
        self._changed = asyncio.Condition()
        self._mended = asyncio.Event()

    def mend(self) -> None:
        """Answer everything from now on."""
        self._mended.set()

    async def heard(self, path: str, times: int) -> None:
        """Wait until this path was requested this many times."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: self._requests[path] >= times)

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Handle a request."""
        async with self._changed:
            self._requests[request.path] += 1
            self._changed.notify_all()
        if self._mended.is_set():
            return await handler(request)
        if self._broken != "" and self._broken in request.path:
            return web.Response(status=503)
        if self._silent == "" or self._silent not in request.path:
            return await handler(request)
        if "Upgrade" not in request.headers:
            await self._mended.wait()
            return await handler(request)
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        await self._mended.wait()
        return websocket


@contextlib.asynccontextmanager
async def running(server: Server) -> AsyncIterator[Server]:
    """Run a server."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await server.answer(request, handler)

    app = SignalingServer(echo=EchoPeer(), page=page_folder()).create_app()
    app.middlewares.append(answer)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        yield server
    finally:
        server.mend()
        await runner.cleanup()


@contextlib.asynccontextmanager
async def impatient(browser: Browser) -> AsyncIterator[Tab]:
    """Open a tab whose page gives its server a twentieth of the time until it is ready."""
    async with browser.page() as page:
        await page.run_first(IMPATIENT)
        yield Tab(page)


async def test_says_that_the_server_does_not_answer_and_asks_again(browser):
    async with running(Server(silent="config.json")) as server, impatient(browser) as tab:
        await tab.load(server.url)
        await tab.until_shown("#problem-text", SILENT)
        assert await tab.page.evaluate("document.getElementById('call-start').disabled")
        await server.heard("/config.json", 3)
        server.mend()
        await tab.until("!probe.has('#problem-text')")
        await tab.ready()
        await tab.call_python()


async def test_does_not_say_again_what_was_dismissed(browser):
    async with running(Server(silent="config.json")) as server, impatient(browser) as tab:
        await tab.load(server.url)
        await tab.until_shown("#problem-text", SILENT)
        await tab.click("#problem-close", "Dismiss")
        await server.heard("/config.json", 4)
        assert not await tab.page.evaluate("probe.has('#problem-text')")


@pytest.mark.parametrize("path", ["/config.json", "/api/v1/rooms/kitchen"])
async def test_a_room_that_is_joined_meanwhile_is_entered_when_the_server_answers(browser, path):
    async with running(Server(silent=path)) as server, impatient(browser) as tab:
        await tab.load(f"{server.url}#kitchen")
        await tab.page.evaluate(STAY_IMPATIENT)
        await tab.page.evaluate("(document.getElementById('join-button').click(), 1)")
        await tab.until_shown("#room-status", "No connection to the server; trying again …")
        await server.heard(path, 3)
        server.mend()
        await tab.until("probe.text('#room-status') === ''")


async def test_a_transfer_with_a_code_says_that_the_server_does_not_answer(browser):
    async with running(Server(silent="config.json")) as server, impatient(browser) as tab:
        await tab.load(f"{server.url}#/receive/7-marble-kitten")
        await tab.until_shown("#t-hint", "The server does not answer. It goes on by itself when the server is back.")
        server.mend()
        await tab.until("probe.text('#t-hint').startsWith('No sender waits with this code.')")


NEVER_CERTIFIED = "RTCPeerConnection.generateCertificate = () => new Promise(() => null);"


async def test_calls_are_made_without_a_certificate_that_the_browser_does_not_make(browser):
    async with running(Server()) as server, impatient(browser) as tab, another(browser) as other:
        await tab.page.run_first(NEVER_CERTIFIED)
        await tab.join(f"{server.url}#attic", "Ada")
        await other.join(f"{server.url}#attic", "Grace")
        await asyncio.gather(tab.connected(), other.connected())
        await tab.click("button", "Call the Python peer")
        await tab.until("probe.text('#talk-title') === 'Python peer'")
        await tab.connected()


async def test_says_that_the_browser_has_no_webrtc(browser):
    async with running(Server()) as server, impatient(browser) as tab:
        await tab.page.run_first("delete window.RTCPeerConnection;")
        await tab.load(server.url)
        problem = "This page cannot connect to anybody: the browser has no WebRTC, or it is switched off."
        await tab.until_shown("#problem-text", problem)
        assert await tab.page.evaluate("document.getElementById('start').inert")


MISSING = "A part of this page did not arrive."


@pytest.mark.parametrize("script", ["/js/app.js", "/js/link.js"])
async def test_a_page_that_lacks_a_script_loads_itself_again(browser, script):
    async with running(Server(broken=script)) as server, impatient(browser) as tab:
        await tab.load(server.url)
        await tab.until_shown("#problem-text", f"{MISSING} The page is loaded again when the server answers.")
        server.mend()
        await server.heard("/config.json", 1)
        await tab.page.evaluate(HELPERS)
        await tab.ready()
        assert not await tab.page.evaluate("probe.has('#problem-text')")
        assert await tab.page.evaluate("sessionStorage.getItem('loads')") is None


async def test_a_page_that_lacks_a_script_for_good_loads_itself_three_times(browser):
    async with running(Server(broken="/js/app.js")) as server, impatient(browser) as tab:
        await tab.load(server.url)
        await server.heard("/js/app.js", 4)
        await tab.page.evaluate(HELPERS)
        await tab.until_shown("#problem-text", f"{MISSING} Reload the page.")
