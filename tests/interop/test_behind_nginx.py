"""Test the page behind nginx without options, below a path, and across restarts of the signaling server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from datachan.signaling import EchoPeer, ServerOptions, SignalingServer
from datachan.signaling.assets import page_folder
from tests.interop.browsers import Browser
from tests.interop.conftest import situations
from tests.interop.test_page import PATIENCE, Tab
from tests.missing import missing
from tests.ports import free_port

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("browser", situations("as-a-user"), indirect=True, scope="module"),
]

# Without proxy_set_header, nginx sends `Host: 127.0.0.1:{upstream}` and no X-Forwarded-For.
CONFIGURATION = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {address}:{port};
        location /below/ {{
            proxy_pass http://127.0.0.1:{upstream}/;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }}
    }}
}}
"""
ADDRESS = "192.0.2.2"  # of the card in namespaces.AS_A_USER: an address that is not this machine's for browsers


@contextlib.asynccontextmanager
async def nginx(folder: Path, upstream: int) -> AsyncIterator[str]:
    """Run nginx in front of a port, and yield the address of the page."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(program).exists():
        missing("nginx is not installed (apt install nginx-light)")
    port = free_port(ADDRESS)
    configuration = folder / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, address=ADDRESS, port=port, upstream=upstream))
    process = await asyncio.create_subprocess_exec(program, "-c", configuration, "-p", folder, start_new_session=True)
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    _, writer = await asyncio.open_connection(ADDRESS, port)
                except OSError:
                    assert process.returncode is None, "nginx ended"
                    await asyncio.sleep(0.01)
                else:
                    writer.close()
                    break
        yield f"http://{ADDRESS}:{port}/below/"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@contextlib.asynccontextmanager
async def signaling(port: int) -> AsyncIterator[SignalingServer]:
    """Run the server that `datachan serve` runs, on loopback as by default."""
    server = SignalingServer(ServerOptions(loopback_only=True), echo=EchoPeer(), page=page_folder())
    runner = web.AppRunner(server.create_app(), shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield server
    finally:
        await runner.cleanup()


async def test_rooms_and_the_python_peer_work_below_a_path(browser: Browser, tmp_path: Path) -> None:
    port = free_port("127.0.0.1")
    async with signaling(port), nginx(tmp_path, port) as url, browser.page() as a, browser.page() as b:
        ada, grace = Tab(a), Tab(b)
        await ada.join(url + "#kitchen", "Ada")
        await grace.join(url + "#kitchen", "Grace")
        await asyncio.gather(ada.connected(), grace.connected())
        await ada.say("through nginx")
        await grace.hears("Ada", "through nginx")
        await ada.call_python()
        await ada.say("and back")
        await ada.hears("Python peer", "and back")
        assert a.logs == b.logs == []


async def test_a_call_survives_a_restart_of_the_signaling_server(browser: Browser, tmp_path: Path) -> None:
    port = free_port("127.0.0.1")
    async with nginx(tmp_path, port) as url, browser.page() as a, browser.page() as b:
        ada, grace = Tab(a), Tab(b)
        async with signaling(port):
            await ada.join(url + "#kitchen", "Ada")
            await grace.join(url + "#kitchen", "Grace")
            await asyncio.gather(ada.connected(), grace.connected())
            await ada.say("one")
            await grace.hears("Ada", "one")
        for tab in (ada, grace):
            await tab.until("probe.text('#room-status').startsWith('No connection to the server')")
        await grace.say("two")  # the connection between the two does not need the server
        await ada.hears("Grace", "two")
        async with signaling(port) as server:
            for tab in (ada, grace):
                await tab.until("probe.text('#room-status') === ''")
            assert server.broker.member_count == 2
            await ada.say("three")
            await grace.hears("Ada", "three")
            # One call, which was never interrupted: the log has all messages, and the list has one person.
            assert await grace.page.evaluate("document.querySelectorAll('.bubble').length") == 3
            assert await grace.page.evaluate("document.querySelectorAll('.people li').length") == 1
            await grace.click("#hang-up", "Hang up")
            await ada.until_shown("#talk-state-text", "Ended")
            await ada.click("#call-again", "Call again")
            await asyncio.gather(ada.connected(), grace.connected())


async def test_the_page_says_which_option_is_missing(browser: Browser, tmp_path: Path) -> None:
    port = free_port(ADDRESS)
    server = SignalingServer(ServerOptions(loopback_only=True), page=page_folder())
    runner = web.AppRunner(server.create_app(), shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, ADDRESS, port).start()
        async with browser.page() as page:
            await page.goto(f"http://{ADDRESS}:{port}/")
            text = await page.evaluate("document.body.innerText")
            assert f"--allow-origin https://{ADDRESS}:{port}" in text
    finally:
        await runner.cleanup()
