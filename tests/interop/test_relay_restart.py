"""Test what an ICE restart revives with coturn: a relay that has restarted, and one that is configured too late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from datachan import (
    InvalidStateError,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
)
from datachan.ice_agent import AgentOptions
from datachan.peer import peer_transport
from tests.interop import coturn
from tests.missing import missing
from tests.pairs import channel_pair, connected, signal, soon, state


@pytest.fixture
async def servers() -> AsyncIterator[AsyncExitStack]:
    """Stop the servers that a test has started, also those it has killed."""
    if not coturn.installed():
        missing("coturn is not installed (apt install coturn)")
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture(autouse=True)
def short_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the 30 seconds of RFC 7675 to two."""
    hurried = AgentOptions(consent_expiry=2.0, consent_interval=0.2)
    monkeypatch.setattr(peer_transport, "AgentOptions", partial(replace, hurried))


def relayed(server: coturn.Coturn | None) -> RTCConfiguration:
    """Return a configuration that allows relayed candidates only."""
    urls = [] if server is None else [f"turn:{coturn.HOST}:{server.port}"]
    ice_servers = [RTCIceServer(urls, coturn.USER, coturn.PASSWORD)] if urls else []
    return RTCConfiguration(
        iceServers=ice_servers,
        iceTransportPolicy=RTCIceTransportPolicy.RELAY,
        hostAddresses=[coturn.HOST],
        iceTimeout=2.0,
        waitForCandidates=True,
    )


async def failed(pc: RTCPeerConnection) -> None:
    await soon(state(pc, "connectionState", "failed", "connectionstatechange"))


async def test_a_relay_that_has_restarted_is_used_again(servers: AsyncExitStack, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    server = await servers.enter_async_context(coturn.running(folders[0]))
    async with RTCPeerConnection(relayed(server)) as a, RTCPeerConnection(relayed(server)) as z:
        a_channel, z_channel = await soon(channel_pair(a, z))
        server.kill()
        a_channel.send("sent while the relay is down")
        await asyncio.gather(failed(a), failed(z))
        assert (a_channel.readyState, z_channel.readyState) == ("open", "open")

        await servers.enter_async_context(coturn.running(folders[1], server.port))
        a.restartIce()
        await signal(a, z)

        assert await soon(anext(z_channel)) == "sent while the relay is down"
        await soon(connected(a, z))


async def test_a_relay_that_is_configured_after_the_failure_opens_the_channel(
    servers: AsyncExitStack, tmp_path: Path
) -> None:
    async with RTCPeerConnection(relayed(None)) as a, RTCPeerConnection(relayed(None)) as z:
        channel = a.createDataChannel("early")
        announced: asyncio.Future[RTCDataChannel] = asyncio.get_running_loop().create_future()
        z.once("datachannel", announced.set_result)
        await signal(a, z)
        await asyncio.gather(failed(a), failed(z))
        with pytest.raises(InvalidStateError, match="there is no local candidate"):
            await channel.opened()

        server = await servers.enter_async_context(coturn.running(tmp_path))
        for pc in (a, z):
            pc.setConfiguration(relayed(server))
        a.restartIce()
        await signal(a, z)

        await soon(channel.opened())
        channel.send("hello")
        assert await soon(anext(await soon(announced))) == "hello"
