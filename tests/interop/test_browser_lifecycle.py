"""Test the life of connections with a browser: reload, closed tabs, renegotiation, media, trickle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from datachan import RTCPeerConnection, RTCSessionDescription
from tests.interop.browsers import Browser
from tests.interop.conftest import situations
from tests.interop.link import Link, describe, linked, serve_page, state

pytestmark = pytest.mark.asyncio(loop_scope="module")

# RFC 7675, 5.1: consent expires 30 seconds after the last valid response.
NOTICED_WITHIN = 45.0


async def gone(pc: RTCPeerConnection) -> str:
    """Wait until Python has noticed that the other side is gone; return the state."""
    changed = asyncio.Event()
    pc.on("connectionstatechange", lambda *_: changed.set())
    async with asyncio.timeout(NOTICED_WITHIN):
        while pc.connectionState not in {"closed", "failed"}:
            changed.clear()
            await changed.wait()
    return pc.connectionState


@asynccontextmanager
async def another(browser: Browser, offerer: str) -> AsyncIterator[Link]:
    async with serve_page() as url, linked(browser, url, offerer) as link:
        yield link


async def test_after_a_reload_the_old_connection_is_gone_and_a_new_one_works(browser: Browser, link: Link) -> None:
    old = await link.connect()
    await old.exchange("before the reload")
    await link.page.reload()
    async with RTCPeerConnection() as pc:
        new = Link(link.page, pc, link.offerer)
        await new.start()
        await (await new.connect()).exchange("after the reload")
        await gone(link.pc)
        await state(old.channel, "closed")
        await (await new.browser_opens("still")).exchange("and the new one is untouched")


# Chromium closes a tab without telling the peer. Noticing takes the 30 seconds of ICE consent, so one test is enough.
@pytest.mark.parametrize("browser", situations("as-a-user"), indirect=True, scope="module")
@pytest.mark.parametrize("link", ["browser"], indirect=True)
async def test_notices_a_closed_tab(link: Link) -> None:
    ends = await link.connect()
    await ends.exchange("before")
    await link.page.close()
    # Firefox ends the connection. Chromium falls silent, and W3C has an ICE failure close no channel: an ICE restart
    # may still revive the connection.
    ended = await gone(link.pc) == "closed"
    await state(ends.channel, "closed" if ended else "open")


async def test_notices_that_the_browser_closes_the_connection(link: Link) -> None:
    ends = await link.connect()
    await link.page.call("closeConnection")
    assert await gone(link.pc) in {"closed", "failed"}
    await state(ends.channel, "closed")


async def test_the_browser_notices_that_python_closes_the_connection(link: Link) -> None:
    ends = await link.connect()
    await link.pc.close()
    await link.page.call("channelState", ends.index, "closed")
    assert ends.channel.readyState == "closed"


async def test_messages_sent_right_before_python_closes_the_connection_all_arrive(link: Link) -> None:
    ends = await link.connect()
    texts = [f"{number} " + "x" * 5000 for number in range(300)]
    for text in texts:
        ends.channel.send(text)
    await link.pc.close()
    assert await ends.browser_received(300) == [describe(text) for text in texts]
    await link.page.call("channelState", ends.index, "closed")


async def test_audio_and_video_are_refused_while_data_works(link: Link) -> None:
    await link.page.call("addMedia")
    ends = await link.connect()
    await ends.exchange("without a picture")
    if link.offerer == "python":
        return  # the browser adds its media in an offer of its own
    sections = [line for line in link.answer["sdp"].splitlines() if line.startswith("m=")]
    media = [line for line in sections if line.startswith(("m=audio", "m=video"))]
    assert len(media) == 2
    assert all(line.split()[1] == "0" for line in media)
    assert set(await link.page.call("mediaDirections")) <= {"inactive", "stopped", None}


async def test_a_second_negotiation_keeps_the_connection(link: Link) -> None:
    ends = await link.connect()
    await ends.exchange("before")
    await link.negotiate()
    assert link.pc.signalingState == "stable"
    await ends.exchange("between")
    # Repeat it with exchanged roles.
    link.offerer = "python" if link.offerer == "browser" else "browser"
    await link.negotiate()
    await ends.exchange("after")
    await (await link.python_opens("new")).exchange("on a new channel")


async def test_media_added_later_is_refused_and_the_channel_stays(link: Link) -> None:
    ends = await link.connect()
    await link.page.call("addMedia")
    link.offerer = "browser"
    await link.negotiate()
    assert "m=video 0 " in link.answer["sdp"]
    await ends.exchange("still here")


async def test_candidates_that_trickle_both_ways_connect(link: Link) -> None:
    mine: asyncio.Queue[object] = asyncio.Queue()
    link.pc.on("icecandidate", mine.put_nowait)

    async def to_browser() -> None:
        while (candidate := await mine.get()) is not None:
            await link.page.call("addCandidate", candidate.toJSON())  # type: ignore[attr-defined]
        await link.page.call("addCandidate", None)

    async def to_python() -> None:
        while True:
            for candidate in await link.page.call("nextCandidates"):
                await link.pc.addIceCandidate(candidate)
                if candidate is None:
                    return

    if link.offerer == "browser":
        offer = await link.page.call("localDescription")
        await link.pc.setRemoteDescription(RTCSessionDescription(**offer))
        await link.pc.setLocalDescription()
        await link.page.call("setRemote", _without_candidates(link.pc))
    else:
        await link.pc.setLocalDescription()
        await link.page.call("setRemote", _without_candidates(link.pc))
        answer = await link.page.call("localDescription")
        await link.pc.setRemoteDescription(RTCSessionDescription(**answer))
    async with asyncio.TaskGroup() as group:
        group.create_task(to_browser())
        group.create_task(to_python())
    await (await link.first()).exchange("trickled")


def _without_candidates(pc: RTCPeerConnection) -> dict[str, str]:
    description = pc.localDescription
    assert description is not None
    lines = description.sdp.split("\r\n")
    kept = [line for line in lines if not line.startswith(("a=candidate:", "a=end-of-candidates"))]
    return {"type": description.type, "sdp": "\r\n".join(kept)}


async def test_statistics_count_bytes_and_messages_in_both_directions(link: Link) -> None:
    ends = await link.connect()
    await ends.exchange("0123456789")
    report = await link.pc.getStats()
    by_type = {entry.type: entry for entry in report.values()}
    channel = by_type["data-channel"]
    assert (channel.messagesSent, channel.bytesSent) == (1, 10)
    assert (channel.messagesReceived, channel.bytesReceived) == (1, 10)
    assert {"peer-connection", "transport", "candidate-pair", "local-candidate", "remote-candidate"} <= set(by_type)


async def test_connects_two_tabs_at_the_same_time(browser: Browser, link: Link) -> None:
    first = await link.connect()
    async with another(browser, link.offerer) as other:
        second = await other.connect()
        await first.exchange("one")
        await second.exchange("two")
    await first.exchange("one is still here")
