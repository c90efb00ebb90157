"""Test DTLS in ICE checks (draft-hancke-webrtc-sped) with a Chromium that has it switched on, and with SNAP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.interop import browsers
from tests.interop.conftest import Situation, running
from tests.interop.link import Link, describe

pytestmark = pytest.mark.asyncio(loop_scope="module")
SPED = "--force-fieldtrials=WebRTC-IceHandshakeDtls/Enabled/"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sped", "sped-and-snap"])
async def browser(request: pytest.FixtureRequest) -> AsyncIterator[browsers.Browser]:
    """Run a Chromium whose checks carry DTLS."""
    snap = ["--enable-features=WebRtcSctpSnap"] if request.param == "sped-and-snap" else []
    async with running(Situation("chromium", "as-a-user"), [SPED, *snap]) as browser:
        yield browser


async def test_both_take_part_and_messages_go_both_ways(link: Link) -> None:
    ends = await link.connect()
    transport = link.pc._transport
    assert transport is not None
    # On this short path, the handshake may be over before a check has carried any of it.
    assert transport.ice._session.embedding.shared
    long = bytes(range(250)) * 1000
    for message in ("to the browser", long):
        ends.channel.send(message)
    assert await ends.browser_received(2) == [describe("to the browser"), describe(long)]
    await link.page.evaluate(f"channels[{ends.index}].channel.send('to Python')")
    assert await ends.receive(1) == ["to Python"]
