"""Test SCTP set up by signaling (draft-hancke-tsvwg-snap) with a Chromium that has it switched on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.interop import browsers
from tests.interop.conftest import Situation, running
from tests.interop.link import Link, describe

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[browsers.Browser]:
    """Run a Chromium that offers and answers a=sctp-init."""
    async with running(Situation("chromium", "as-a-user"), ["--enable-features=WebRtcSctpSnap"]) as browser:
        yield browser


async def test_the_association_is_established_without_a_handshake_and_carries_messages_both_ways(link: Link) -> None:
    ends = await link.connect()
    assert "a=sctp-init:" in link.pc.localDescription.sdp
    assert "a=sctp-init:" in link.pc.remoteDescription.sdp
    long = bytes(range(250)) * 1000
    for message in ("to the browser", long):
        ends.channel.send(message)
    assert await ends.browser_received(2) == [describe("to the browser"), describe(long)]
    await link.page.evaluate(f"channels[{ends.index}].channel.send('to Python')")
    assert await ends.receive(1) == ["to Python"]
    other = await link.browser_opens("another")
    other.channel.send("more")
    assert await other.browser_received(1) == [describe("more")]
