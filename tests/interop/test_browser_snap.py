"""SCTP set up by signalling (draft-hancke-tsvwg-snap) with a real Chromium that has its switch for it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.interop import browsers, namespaces
from tests.interop.conftest import missing
from tests.interop.link import Link, describe

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[browsers.Browser]:
    """A Chromium that offers and answers a=sctp-init."""
    if browsers.find("chromium") is None:
        missing("chromium is not installed (apt install chromium)")
    try:
        inside = namespaces.namespace(namespaces.AS_A_USER)
        inside.__enter__()
    except namespaces.NamespaceUnavailable as error:
        missing(str(error))
    try:
        async with browsers.launch("chromium", flags=["--enable-features=WebRtcSctpSnap"]) as running:
            yield running
    finally:
        inside.__exit__(None, None, None)


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
