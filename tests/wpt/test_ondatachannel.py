"""RTCPeerConnection-ondatachannel.html."""

from __future__ import annotations

import asyncio

from datachan import RTCDataChannel, RTCPeerConnection
from tests.pairs import configuration, event, pair, signal, soon


async def test_an_announced_channel_is_open_and_can_send_inside_of_the_event() -> None:
    async with RTCPeerConnection(configuration()) as a, RTCPeerConnection(configuration()) as z:
        announced: list[tuple[RTCDataChannel, str]] = []

        @z.on("datachannel")
        def on_datachannel(channel: RTCDataChannel) -> None:
            announced.append((channel, channel.readyState))
            channel.send("meow meow!")

        channel = a.createDataChannel("fire-me!")
        await signal(a, z)

        assert await soon(anext(channel)) == "meow meow!"
        assert [(isinstance(c, RTCDataChannel), state) for c, state in announced] == [(True, "open")]


async def test_a_channel_closed_inside_of_the_event_emits_no_open_but_delivers_its_messages() -> None:
    async with RTCPeerConnection(configuration()) as a, RTCPeerConnection(configuration()) as z:
        opened: list[str] = []

        @z.on("datachannel")
        def on_datachannel(channel: RTCDataChannel) -> None:
            channel.on("open", lambda: opened.append("open"))
            channel.send("meow meow!")
            channel.close()

        channel = a.createDataChannel("fire-me!")
        await signal(a, z)

        assert await soon(anext(channel)) == "meow meow!"
        await soon(channel.closed())
        assert opened == []


async def test_a_channel_closed_after_the_event_has_emitted_open() -> None:
    async with RTCPeerConnection(configuration()) as a, RTCPeerConnection(configuration()) as z:
        opened: list[str] = []

        @z.on("datachannel")
        async def on_datachannel(channel: RTCDataChannel) -> None:
            channel.close()

        z.on("datachannel", lambda channel: channel.on("open", lambda: opened.append("open")))
        channel = a.createDataChannel("fire-me!")
        await signal(a, z)

        await soon(channel.closed())
        assert opened == ["open"]


async def test_the_announced_channel_has_the_creators_parameters() -> None:
    async with pair("test", ordered=False, maxRetransmits=1, protocol="custom", priority="high") as p:
        for channel in (p.a_channel, p.z_channel):
            assert (channel.label, channel.ordered, channel.maxRetransmits) == ("test", False, 1)
            assert (channel.protocol, channel.negotiated, channel.priority) == ("custom", False, "high")
        assert p.a_channel.id == p.z_channel.id


async def test_the_announced_channel_has_the_creators_defaults() -> None:
    async with pair("") as p:
        for channel in (p.a_channel, p.z_channel):
            assert (channel.label, channel.ordered, channel.protocol) == ("", True, "")
            assert (channel.maxRetransmits, channel.maxPacketLifeTime) == (None, None)
            assert (channel.negotiated, channel.priority) == (False, "low")


async def test_a_negotiated_channel_is_not_announced() -> None:
    async with RTCPeerConnection(configuration()) as a, RTCPeerConnection(configuration()) as z:
        announced: list[str] = []
        z.on("datachannel", lambda channel: announced.append(channel.label))
        a.createDataChannel("silent", negotiated=True, id=0)
        heard = a.createDataChannel("heard")
        await signal(a, z)

        await soon(heard.opened())
        while "heard" not in announced:
            await event(z, "datachannel")
        await asyncio.sleep(0)

        assert announced == ["heard"]
