"""RTCDataChannel-onopen.html."""

from __future__ import annotations

from datachan import RTCPeerConnection
from tests.pairs import configuration, event, signal


async def test_open_is_emitted_on_the_created_channel() -> None:
    async with RTCPeerConnection(configuration()) as a, RTCPeerConnection(configuration()) as z:
        channel = a.createDataChannel("onopen")
        states: list[str] = []
        channel.on("open", lambda: states.append(channel.readyState))
        await signal(a, z)

        while not states:
            await event(channel, "open")

        assert states == ["open"]


async def test_open_is_emitted_on_the_announced_channel() -> None:
    async with RTCPeerConnection(configuration()) as a, RTCPeerConnection(configuration()) as z:
        seen: list[str] = []
        z.on("datachannel", lambda channel: seen.append("datachannel"))
        z.on("datachannel", lambda channel: channel.on("open", lambda: seen.append(channel.readyState)))
        channel = a.createDataChannel("onopen")
        await signal(a, z)

        while channel.readyState != "open":
            await event(channel, "open")
        while len(seen) < 2:
            await event(z, "datachannel")

        assert seen == ["datachannel", "open"]


async def test_open_is_emitted_on_both_ends_of_a_negotiated_channel() -> None:
    async with RTCPeerConnection(configuration()) as a, RTCPeerConnection(configuration()) as z:
        opened: list[str] = []
        channels = [pc.createDataChannel("onopen", negotiated=True, id=42) for pc in (a, z)]
        for channel in channels:
            channel.on("open", lambda channel=channel: opened.append(channel.readyState))
        await signal(a, z)

        for channel in channels:
            while channel.readyState != "open":
                await event(channel, "open")

        assert opened == ["open", "open"]
