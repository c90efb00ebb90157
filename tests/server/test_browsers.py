"""Test datachan.js in real browsers against `serve`: channels, latest values, ICE restarts, restarts of the server."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from datachan.server import ChannelServerOptions, Connection, serve
from datachan.signaling.turn_credentials import TurnSecret
from tests.interop.browsers import Browser, Page
from tests.interop.conftest import browser, situations
from tests.interop.test_browser_network import only_port
from tests.missing import missing

from .test_operations import coturn

__all__ = ["browser"]  # a fixture

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("browser", situations("as-a-user"), indirect=True, scope="module"),
]

PAGE = Path(__file__).with_name("page.html")
PATIENCE = 50.0
ADDRESS = "192.0.2.2"  # of the card in namespaces.AS_A_USER


class Echo:
    """A handler that echoes, and remembers its connections."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.got: list[str | bytes] = []

    async def __call__(self, connection: Connection) -> None:
        self.connections.append(connection)
        async with asyncio.TaskGroup() as tasks:
            async for channel in connection:
                tasks.create_task(self._echo(channel))

    async def _echo(self, channel) -> None:
        async for message in channel:
            self.got.append(message)
            if channel.readyState == "open":
                channel.send(message)


@contextlib.asynccontextmanager
async def serving(handler, port: int = 0, *, middlewares=(), **arguments) -> AsyncIterator[serve]:
    """Serve the page and the endpoint."""

    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(text=PAGE.read_text(), content_type="text/html")

    app = web.Application(middlewares=middlewares)
    app.router.add_get("/", page)
    async with serve(handler, "127.0.0.1", port, app=app, **arguments) as server:
        yield server


@contextlib.asynccontextmanager
async def opened(browser: Browser, server: serve, options: str = "{channels: {state: {}}}") -> AsyncIterator[Page]:
    """Open the page and connect it."""
    async with browser.page() as page:
        await page.goto(server.url.replace("/rtc", "/"))
        await page.evaluate("(async () => { while (!window.ready) await new Promise(r => setTimeout(r, 10)); })()")
        assert await page.evaluate(f'open_("rtc", {options})') == "connected"
        yield page


async def said(page: Page, text: str) -> bool:
    """Send a text from the page and wait for its echo."""
    await page.evaluate("until(() => link.channels.state.readyState === 'open')")
    await page.evaluate(f"link.channels.state.send('{text}')")
    return await page.evaluate(f"until(() => received.state.includes('{text}'))")


async def test_exchanges_messages_and_leaves(browser: Browser) -> None:
    echo = Echo()
    async with serving(echo) as server, opened(browser, server) as page:
        assert await said(page, "hello")
        await page.evaluate("link.channels.state.send(new Uint8Array([1, 2, 3]))")
        assert await page.evaluate("until(() => received.state.at(-1) instanceof ArrayBuffer)")
        assert echo.got == ["hello", b"\x01\x02\x03"]
        await page.evaluate("link.close()")
        async with asyncio.timeout(PATIENCE):
            await echo.connections[0].closed()
        assert await page.evaluate("[link.state, link.reason]") == ["closed", "The page closed the connection."]
        assert page.logs == []


async def test_takes_a_channel_that_the_server_opens(browser: Browser) -> None:
    async def handler(connection: Connection) -> None:
        channel = connection.create_channel("log")
        await channel.opened()
        channel.send("line")
        await connection.closed()

    async with serving(handler) as server, opened(browser, server) as page:
        await page.evaluate(
            """(() => {
            window.logged = [];
            window.again = datachan.connect("rtc", { channels: { state: {} } });
            again.addEventListener("channel", ({ detail }) => { detail.onmessage = ({ data }) => logged.push(data); });
            })()"""
        )
        assert await page.evaluate("until(() => logged.includes('line'))")


async def test_restarts_ice_and_keeps_its_channels(browser: Browser) -> None:
    echo = Echo()
    async with serving(echo) as server, opened(browser, server) as page:
        assert await said(page, "before")
        await page.evaluate("link.restartIce()")
        assert server.channels.counts.restarts == 1
        await page.evaluate("until(() => link.peerConnection.connectionState === 'connected')")
        assert await said(page, "after")
        assert len(echo.connections) == 1
        assert page.logs == []


# The bounds of requests and of the page's own functions take 10 and 20 seconds.
IMPATIENT = """(() => {
  const { timeout } = AbortSignal;
  AbortSignal.timeout = (milliseconds) => timeout.call(AbortSignal, milliseconds / 10);
  const { setTimeout } = window;
  window.setTimeout = (act, milliseconds) => setTimeout(act, milliseconds === 20000 ? 2000 : milliseconds);
})()"""


async def test_a_server_that_is_silent_once_does_not_end_ice_restarts(browser: Browser) -> None:
    silent: list[asyncio.Event] = []  # of the next request, until its test is over
    heard = asyncio.Event()

    @web.middleware
    async def middleware(request: web.Request, handler) -> web.StreamResponse:
        if request.method == "PATCH" and silent and not heard.is_set():
            heard.set()
            await silent[0].wait()
        return await handler(request)

    async with serving(Echo(), middlewares=[middleware]) as server, opened(browser, server) as page:
        assert await said(page, "before")
        await page.evaluate(IMPATIENT)
        silent.append(asyncio.Event())
        await page.evaluate("link.restartIce()")
        assert heard.is_set()
        await page.evaluate("link.restartIce()")
        assert server.channels.counts.restarts == 1
        assert await said(page, "after")
        silent[0].set()


async def test_a_function_of_the_page_that_never_returns_is_called_again(browser: Browser) -> None:
    async with serving(Echo()) as server, opened(browser, server) as page:
        await page.evaluate(IMPATIENT)
        await page.evaluate(
            """(() => {
            let calls = 0;
            const iceServers = () => (calls++ === 0 ? new Promise(() => null) : []);
            window.again = datachan.connect("rtc", { channels: { state: {} }, iceServers });
            })()"""
        )
        assert await page.evaluate("until(() => again.state === 'waiting' && again.reason)")
        assert await page.evaluate("until(() => again.state === 'connected')")


async def test_connects_again_after_the_server_has_restarted(browser: Browser) -> None:
    first, second = Echo(), Echo()
    async with serving(first) as server:
        port = server.port
        async with opened(browser, server, "{channels: {state: {}}, firstRetry: 100}") as page:
            assert await said(page, "one")
            await server.close()
            await page.evaluate("until(() => link.state !== 'connected')")
            async with serving(second, port):
                await page.evaluate("until(() => link.state === 'connected')")
                assert await said(page, "two")
    assert (first.got, second.got) == (["one"], ["two"])


async def test_gives_up_when_its_token_is_refused_and_takes_fresh_ones(browser: Browser) -> None:
    tokens: list[str | None] = []

    def authenticate(request) -> str | None:
        tokens.append(request.bearer_token)
        return "Ada" if request.bearer_token == "secret" else None

    options = "{channels: {state: {}}, token: async () => 'secret'}"
    async with serving(Echo(), authenticate=authenticate) as server, opened(browser, server, options) as page:
        assert await said(page, "hello")
        error = await page.evaluate('open_("rtc", {channels: {state: {}}, token: "bad"}).catch(e => e.message)')
        assert error == "The server does not accept your token."
        assert await page.evaluate("link.state") == "closed"
    assert {"secret", "bad"} == set(tokens)


async def test_keeps_the_newest_value_of_each_key_only(browser: Browser) -> None:
    echo = Echo()
    async with serving(echo) as server, opened(browser, server, "{channels: {state: {latest: true}}}") as page:
        # Values that are set in one turn of the page: the first is sent, the later ones replace each other.
        await page.evaluate(
            """(() => { const big = "x".repeat(50_000);
            for (let i = 0; i < 200; i++) for (const key of "ab") link.channels.state.set(key + i + big, key); })()"""
        )
        assert await page.evaluate("until(() => received.state.some(one => one.startsWith('b199')))")
        await page.evaluate("until(() => received.state.some(one => one.startsWith('a199')))")
        assert len(echo.got) < 20


async def test_a_full_server_makes_its_clients_wait(browser: Browser) -> None:
    options = ChannelServerOptions(max_connections=1)
    async with serving(Echo(), options=options) as server, opened(browser, server) as page:
        await page.evaluate("(() => { window.late = datachan.connect('rtc', {channels: {state: {}}}); })()")
        await page.evaluate("until(() => late.state === 'waiting')")
        assert await page.evaluate("late.reason") == "The server has as many connections as it can hold."


# A firewall in front of a container: what comes in without being asked for is for the one port, or dropped.
FIREWALL = """table inet firewall {{
    chain input {{
        type filter hook input priority 0; policy accept;
        meta l4proto udp ct state established accept
        udp dport {port} counter accept
        meta l4proto udp drop
    }}
}}
"""


async def nft(*words: str, rules: str = "") -> str:
    """Run nft in the network of the test, and return what it prints."""
    if shutil.which("nft") is None:
        missing("nftables is not installed (apt install nftables)")
    process = await asyncio.create_subprocess_exec(
        "nft", *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate(rules.encode())
    assert process.returncode == 0
    return output.decode()


async def test_connects_through_the_one_udp_port_that_a_firewall_opens(browser: Browser) -> None:
    async with serving(Echo(), udp_port=0) as server:
        await nft("-f", "-", rules=FIREWALL.format(port=server.udp_port))
        try:
            async with opened(browser, server) as page:
                assert await said(page, "through the one port")
                await page.evaluate("link.restartIce()")
                assert await said(page, "after a restart")
            assert "counter packets 0 " not in await nft("list", "table", "inet", "firewall")
        finally:
            await nft("delete", "table", "inet", "firewall")


async def test_relays_over_the_servers_turn_server_without_a_direct_path(browser: Browser, tmp_path: Path) -> None:
    first, last = 49160, 49359
    async with coturn("north", tmp_path, ADDRESS, f"--min-port={first}", f"--max-port={last}") as port:
        turn = TurnSecret((f"turn:{ADDRESS}:{port}?transport=udp",), "north")
        async with serving(Echo(), udp_port=0, options=ChannelServerOptions(turn=turn)) as server:
            # Nothing but the ports that coturn relays reaches the server.
            rules = (
                "nft 'add table inet filter; "
                "add chain inet filter output { type filter hook output priority 0; }; "
                f"add rule inet filter output udp dport {server.udp_port} udp sport != {first}-{last} drop; "
                f"add rule inet filter output udp sport {server.udp_port} udp dport != {first}-{last} drop'"
            )
            with only_port(rules):
                async with opened(browser, server) as page:
                    assert await said(page, "over a relay")
                    # While the page is open: the server forgets its connection as soon as the page has left.
                    (connection,) = server.channels.connections
                    assert connection.peer_connection.summary().path == "relay"
