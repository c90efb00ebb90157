"""Browsers whose network blocks UDP reach a server over TCP (ICE-TCP), without TURN.

Chromium uses TCP only in pages that may use the camera or the microphone; others show it no network interfaces.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from datachan import RTCConfiguration, TcpMux
from tests.interop.browsers import Browser
from tests.interop.conftest import running, situations
from tests.interop.link import linked, serve_page
from tests.interop.test_browser_network import only_port, selected

pytestmark = pytest.mark.asyncio(loop_scope="module")
UDP_BLOCKED = (
    "nft 'add table inet filter; "
    "add chain inet filter output { type filter hook output priority 0; }; "
    "add rule inet filter output meta l4proto udp drop'"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=situations("as-a-user"))
async def browser(request: pytest.FixtureRequest) -> AsyncIterator[Browser]:
    flags = ["--use-fake-ui-for-media-stream"] if request.param.browser == "chromium" else []
    async with running(request.param, flags) as browser:
        yield browser


@pytest.mark.parametrize("offerer", ["browser", "python"])
async def test_a_tab_connects_over_tcp_where_udp_is_blocked(browser: Browser, offerer: str) -> None:
    async with TcpMux() as mux, serve_page() as url:
        with only_port(UDP_BLOCKED):
            async with linked(browser, url, offerer, RTCConfiguration(tcpMux=mux)) as link:
                ends = await link.connect()
                await ends.exchange("over TCP")
                pair = selected(link.pc)
                assert (pair.local.protocol, pair.local.tcpType, pair.local.port) == ("tcp", "passive", mux.port)
