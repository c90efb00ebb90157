"""Test offers and answers with a browser: refused media, every bundle policy, renegotiation, ICE restarts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from datachan import RTCSessionDescription
from tests.interop.browsers import ChromiumPage
from tests.interop.link import Ends, Link

pytestmark = pytest.mark.asyncio(loop_scope="module")


def sections(sdp: str) -> list[tuple[str, bool]]:
    """Return the kind of each m-line, and whether it is refused."""
    return [(line[2:].split()[0], line.split()[1] == "0") for line in sdp.splitlines() if line.startswith("m=")]


async def browser_negotiates(link: Link) -> str:
    """Negotiate with an offer of the browser; return our answer."""
    await link.page.call("localDescription")
    offer: dict[str, Any] = await link.page.call("gathered")
    await link.pc.setRemoteDescription(RTCSessionDescription(**offer))
    await link.pc.setLocalDescription()
    answer = link.pc.localDescription
    assert answer is not None
    await link.page.call("setRemote", {"type": answer.type, "sdp": answer.sdp})
    return answer.sdp


async def python_negotiates(link: Link, **options: Any) -> str:
    """Negotiate with an offer of ours; return the browser's answer."""
    await link.pc.setLocalDescription(await link.pc.createOffer(**options))
    offer = link.pc.localDescription
    assert offer is not None
    await link.page.call("setRemote", {"type": offer.type, "sdp": offer.sdp})
    await link.page.call("localDescription")
    answer: dict[str, Any] = await link.page.call("gathered")
    await link.pc.setRemoteDescription(RTCSessionDescription(**answer))
    return answer["sdp"]


async def trickle(link: Link) -> None:
    """Pass on the candidates that the browser finds after a restart and after its description."""
    candidate: dict[str, Any] | None = {}
    while candidate is not None:
        for candidate in await link.page.call("nextCandidates"):
            await link.pc.addIceCandidate(candidate)


async def open_in_browser(link: Link) -> Ends:
    index = await link.page.call("createChannel", "chat", {})
    answer = await browser_negotiates(link)
    assert ("application", False) in sections(answer)
    ends = await link.browser_end("chat", index)
    await ends.opened()
    return ends


@pytest.mark.parametrize("policy", ["balanced", "max-compat", "max-bundle"])
async def test_audio_and_video_beside_the_channel_are_refused(link: Link, policy: str) -> None:
    if link.offerer == "python":
        pytest.skip("the browser offers")
    if policy == "max-bundle" and isinstance(link.page, ChromiumPage):
        # RFC 8829, 5.3.1: in this case the data section has to be refused as well, and no channel is possible.
        pytest.skip("Chromium takes no answer that refuses the section whose transport the others share")
    await link.page.evaluate(f"(pc.close(), connection({{bundlePolicy: '{policy}'}}))")
    await link.page.evaluate("(pc.addTransceiver('audio'), pc.addTransceiver('video'), 0)")

    ends = await open_in_browser(link)

    assert sorted(sections(link.pc.localDescription.sdp)) == [("application", False), ("audio", True), ("video", True)]
    await ends.exchange("beside refused media")


async def test_media_added_later_is_refused_and_the_channel_stays(link: Link) -> None:
    ends = await link.connect()
    await link.page.evaluate("(pc.addTransceiver('audio'), 0)")

    answer = await browser_negotiates(link)

    assert sections(answer) == [("application", False), ("audio", True)]
    await ends.exchange("still here")
    assert sections(await python_negotiates(link)) == [("application", False), ("audio", True)]
    await ends.exchange("and still")


async def test_either_side_negotiates_again(link: Link) -> None:
    ends = await link.connect()

    await browser_negotiates(link)
    await ends.exchange("after the browser's offer")
    await python_negotiates(link)
    await ends.exchange("after ours")

    assert link.pc.connectionState == "connected"


async def test_the_browser_restarts_ice(link: Link) -> None:
    ends = await link.connect()
    before, old = await link.page.evaluate("pc.localDescription.sdp.match(/a=ice-ufrag:(.*)/)[1]"), ours(link)

    await link.page.evaluate("(candidates.splice(0), pc.restartIce(), 0)")
    await browser_negotiates(link)
    await trickle(link)

    assert await link.page.evaluate("pc.localDescription.sdp.match(/a=ice-ufrag:(.*)/)[1]") != before
    assert ours(link) != old
    # The browser decides when to switch. When our check reaches Chromium before our answer does, it may never check the
    # new pair while the old one works.
    for number in range(5):
        await ends.exchange(f"whatever the path {number}")
    assert link.pc.connectionState == "connected"


async def test_we_restart_ice(link: Link) -> None:
    ends = await link.connect()

    await link.page.evaluate("(candidates.splice(0), 0)")
    await python_negotiates(link, iceRestart=True)
    await trickle(link)

    await use_the_new_path(link, ends)


def ours(link: Link) -> str:
    """Return the username fragment in our description."""
    return link.pc.localDescription.sdp.split("a=ice-ufrag:")[1].split("\r\n")[0]


async def use_the_new_path(link: Link, ends: Ends) -> None:
    ufrag = ours(link)
    ice = link.pc.sctp.transport.iceTransport
    async with asyncio.timeout(20):
        while ice.getLocalParameters().usernameFragment != ufrag:
            await ends.exchange("on the way")
            await asyncio.sleep(0.05)  # the browser decides when to switch
    for number in range(5):
        await ends.exchange(f"on the new path {number}")
    assert link.pc.connectionState == "connected"
    assert await link.page.evaluate("pc.connectionState") == "connected"
