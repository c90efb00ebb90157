"""The page on two nodes, in Chromium and Firefox: its node is killed, and Redis is killed and restarted."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from datachan.peer import RTCConfiguration, RTCPeerConnection
from datachan.signaling import SignalingClient, connect_through
from datachan.signaling.room_messages import PeerLeft
from tests.broker.test_nodes import Balancer, running_node
from tests.interop import browsers
from tests.interop.test_page import Tab
from tests.redis_server import RedisServer

PATIENCE = 60.0
# Records what the page announces to screen readers.
LISTEN = """(() => {
  window.announced = [];
  const announcer = document.getElementById("announcer");
  new MutationObserver(() => window.announced.push(announcer.textContent)).observe(announcer, { childList: true });
  return true;
})()"""
HERE = RTCConfiguration(hostAddresses=["127.0.0.1"])


@pytest.fixture(params=browsers.NAMES)
def browser_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    browsers.require(name)
    return name


async def test_pages_go_on_when_a_node_is_killed_and_when_redis_is_restarted(
    browser_name: str, redis: RedisServer
) -> None:
    async with (
        running_node(redis) as first,
        running_node(redis) as second,
        Balancer([first, second]) as balancer,
        browsers.launch(browser_name, loopback=True) as browser,
        browser.page() as left,
        browser.page() as right,
    ):
        ada, grace = Tab(left), Tab(right)
        await ada.join(f"{balancer.url}/#kitchen", "Ada")
        await grace.join(f"{second.url}#kitchen", "Grace")
        await asyncio.gather(ada.connected(), grace.connected())
        await grace.page.evaluate(LISTEN)
        balancer.nodes.pop(0)
        await first.kill()
        await ada.until("probe.text('#room-status').startsWith('No connection to the server')")
        await ada.say("without a server")
        await grace.hears("Ada", "without a server")
        await ada.until("probe.text('#room-status') === ''")
        await meet_all(second.url)
        await grace.until("window.announced.includes('Alan left the room')")
        assert not await grace.page.evaluate("window.announced.includes('Ada left the room')")
        redis.kill()
        await grace.say("without Redis")
        await ada.hears("Grace", "without Redis")
        redis.start()
        await meet_all(second.url, closing=ada)


async def meet_all(url: str, closing: Tab | None = None) -> None:
    """Join with a program, see both pages, connect with each, and see Ada leave at once when her page is closed."""
    async with asyncio.timeout(PATIENCE):
        await until_ready(url)
        async with SignalingClient(url, "kitchen", name="Alan", reconnect=True) as client:
            assert sorted(peer.name for peer in client.peers.values()) == ["Ada", "Grace"]
            for peer in tuple(client.peers.values()):
                async with RTCPeerConnection(HERE) as pc:
                    channel = pc.createDataChannel("chat", negotiated=True, id=0)
                    await connect_through(client, pc, to=peer.id)
                    await channel.opened()
            if closing is not None:
                gone = next(peer.id for peer in client.peers.values() if peer.name == "Ada")
                await closing.page.goto("about:blank")
                while await client.receive() != PeerLeft(gone):
                    pass


async def until_ready(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{url}readyz") as response:
                if response.status == 200:
                    return
            await asyncio.sleep(0.05)
