"""Test with aiortc as the peer, in both roles, and run aiortc's own programs with our names.

aiortc counts the length of a label in characters instead of bytes, so labels are ASCII here. It binds the loopback
address only when there is no other address.
"""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import datachan
from datachan import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from tests.pairs import event, soon, state

aiortc = pytest.importorskip("aiortc", reason="aiortc is not installed (dependency group bench)")


@dataclass
class Meeting:
    """A connection of ours and one of aiortc, connected, with a channel between them."""

    ours: RTCPeerConnection
    theirs: Any
    our_channel: Any
    their_channel: Any


def to_them(description: RTCSessionDescription | None) -> Any:
    assert description is not None
    return aiortc.RTCSessionDescription(sdp=description.sdp, type=description.type)


def to_us(description: Any) -> RTCSessionDescription:
    return RTCSessionDescription(sdp=description.sdp, type=description.type)


async def negotiate(offerer: Any, answerer: Any) -> None:
    """Exchange an offer and an answer; each side gets descriptions of its own class."""
    for_answerer, for_offerer = (to_them, to_us) if isinstance(offerer, RTCPeerConnection) else (to_us, to_them)
    await offerer.setLocalDescription(await offerer.createOffer())
    await answerer.setRemoteDescription(for_answerer(offerer.localDescription))
    await answerer.setLocalDescription(await answerer.createAnswer())
    await offerer.setRemoteDescription(for_offerer(answerer.localDescription))


async def meet(we_offer: bool, **options: Any) -> Meeting:
    ours = RTCPeerConnection()
    theirs = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
    try:
        return await _meet(ours, theirs, we_offer, options)
    except BaseException:
        await asyncio.gather(ours.close(), theirs.close())
        raise


async def _meet(ours: RTCPeerConnection, theirs: Any, we_offer: bool, options: dict[str, Any]) -> Meeting:
    offerer, answerer = (ours, theirs) if we_offer else (theirs, ours)
    announced = asyncio.ensure_future(event(answerer, "datachannel"))
    channel = offerer.createDataChannel("chat", **options)
    await negotiate(offerer, answerer)
    other = await announced
    while channel.readyState != "open":
        await event(channel, "open")
    our_channel, their_channel = (channel, other) if we_offer else (other, channel)
    return Meeting(ours, theirs, our_channel, their_channel)


@pytest.fixture(params=["we offer", "they offer"])
async def meeting(request: pytest.FixtureRequest) -> AsyncIterator[Meeting]:
    met = await meet(request.param == "we offer")
    yield met
    await soon(met.ours.close())
    await soon(met.theirs.close())


def echo(channel: Any) -> None:
    channel.on("message", channel.send)


async def test_messages_of_every_kind_go_both_ways(meeting: Meeting) -> None:
    echo(meeting.their_channel)
    messages = ["", b"", "hello", b"hello", "世界你好", "x" * 20_000, b"y" * 65_536]

    for message in messages:
        meeting.our_channel.send(message)

    assert [await soon(anext(meeting.our_channel)) for _ in messages] == messages


async def test_send_refuses_a_message_longer_than_aiortc_accepts(meeting: Meeting) -> None:
    limit = int(meeting.ours.sctp.maxMessageSize)
    assert f"a=max-message-size:{limit}\r\n" in meeting.theirs.localDescription.sdp

    with pytest.raises(TypeError):
        meeting.our_channel.send(bytes(limit + 1))

    echo(meeting.their_channel)
    meeting.our_channel.send(bytes(limit))
    assert len(await soon(anext(meeting.our_channel))) == limit


async def test_many_messages_arrive_in_order(meeting: Meeting) -> None:
    echo(meeting.their_channel)

    for number in range(300):
        meeting.our_channel.send(f"{number} ".ljust(2000, "."))
        await soon(meeting.our_channel.drain())

    received = [await soon(anext(meeting.our_channel)) for _ in range(300)]
    assert [int(message.split()[0]) for message in received] == list(range(300))


@pytest.mark.parametrize("we_offer", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {"ordered": False},
        {"maxRetransmits": 0},
        {"maxRetransmits": 2, "ordered": False},
        {"maxPacketLifeTime": 1000},
        {"maxPacketLifeTime": 1000, "ordered": False, "protocol": "telemetry"},
    ],
)
async def test_every_kind_of_channel_has_the_same_properties_at_both_ends(
    we_offer: bool, options: dict[str, Any]
) -> None:
    met = await meet(we_offer, **options)
    try:
        for channel in (met.our_channel, met.their_channel):
            assert channel.label == "chat"
            assert channel.ordered == options.get("ordered", True)
            assert channel.maxRetransmits == options.get("maxRetransmits")
            assert channel.maxPacketLifeTime == options.get("maxPacketLifeTime")
            assert channel.protocol == options.get("protocol", "")
        assert met.our_channel.id == met.their_channel.id
        echo(met.their_channel)
        met.our_channel.send("hello")
        assert await soon(anext(met.our_channel)) == "hello"
    finally:
        await soon(met.ours.close())
        await soon(met.theirs.close())


async def test_negotiated_channels_meet_by_their_id() -> None:
    async with RTCPeerConnection() as ours:
        theirs = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
        our_channel = ours.createDataChannel("chat", negotiated=True, id=7)
        their_channel = theirs.createDataChannel("chat", negotiated=True, id=7)
        echo(their_channel)
        await negotiate(ours, theirs)
        await soon(our_channel.opened())

        our_channel.send("hello")

        assert await soon(anext(our_channel)) == "hello"
        await soon(theirs.close())


async def test_channels_are_opened_later_by_either_side(meeting: Meeting) -> None:
    announced = asyncio.ensure_future(event(meeting.theirs, "datachannel"))
    await asyncio.sleep(0)
    ours = meeting.ours.createDataChannel("from us")
    assert (await announced).label == "from us"
    await soon(ours.opened())

    announced = asyncio.ensure_future(event(meeting.ours, "datachannel"))
    await asyncio.sleep(0)
    meeting.theirs.createDataChannel("from them")
    assert (await announced).label == "from them"


async def test_aiortc_notices_that_we_close_a_channel(meeting: Meeting) -> None:
    closed = asyncio.ensure_future(event(meeting.their_channel, "close"))
    await asyncio.sleep(0)

    meeting.our_channel.close()

    await closed
    await soon(meeting.our_channel.closed())
    assert meeting.our_channel.closeReason is None
    assert meeting.ours.connectionState == "connected"


async def test_notices_that_aiortc_closes_a_channel(meeting: Meeting) -> None:
    meeting.their_channel.close()

    await soon(meeting.our_channel.closed())
    assert meeting.our_channel.closeReason is None
    assert meeting.ours.connectionState == "connected"


async def test_messages_sent_right_before_close_arrive(meeting: Meeting) -> None:
    received: list[Any] = []
    everything = asyncio.Event()

    def on_message(message: Any) -> None:
        received.append(message)
        if len(received) == 50:
            everything.set()

    meeting.their_channel.on("message", on_message)
    for number in range(50):
        meeting.our_channel.send(bytes([number]) * 10_000)
    await soon(meeting.ours.close())

    await soon(everything.wait())
    assert [message[0] for message in received] == list(range(50))


async def test_notices_that_aiortc_closes_the_connection(meeting: Meeting) -> None:
    await soon(meeting.theirs.close())

    await soon(meeting.our_channel.closed())
    while meeting.ours.connectionState not in {"closed", "failed"}:
        await event(meeting.ours, "connectionstatechange")


async def test_accepts_trickled_candidates_of_aiortc(meeting: Meeting) -> None:
    candidates = [line for line in meeting.theirs.localDescription.sdp.splitlines() if line.startswith("a=candidate")]

    for line in candidates:
        await meeting.ours.addIceCandidate({"candidate": line[2:], "sdpMid": "0", "sdpMLineIndex": 0})

    assert candidates


# -- a program written for aiortc --------------------------------------------------------------------------------------


async def program(library: ModuleType, other: ModuleType) -> list[str]:
    """Do what aiortc's data channel examples do, with the names of one library; the peer is of the other library."""
    said: list[str] = []
    pc = library.RTCPeerConnection()
    channel = pc.createDataChannel("chat", maxRetransmits=None, ordered=True, protocol="")
    done = asyncio.Event()

    @pc.on("connectionstatechange")
    async def on_connectionstatechange() -> None:
        said.append(f"connection {pc.connectionState}")

    @channel.on("open")
    def on_open() -> None:
        said.append(f"open {channel.readyState}")
        channel.send("ping")

    @channel.on("message")
    def on_message(message: str) -> None:
        said.append(f"got {message} {channel.bufferedAmount}")
        done.set()

    peer = other.RTCPeerConnection()

    @peer.on("datachannel")
    def on_datachannel(answering: Any) -> None:
        @answering.on("message")
        def on_message(message: str) -> None:
            answering.send("pong to " + message)

    await pc.setLocalDescription(await pc.createOffer())
    assert "a=candidate" in pc.localDescription.sdp
    await peer.setRemoteDescription(other.RTCSessionDescription(pc.localDescription.sdp, pc.localDescription.type))
    await peer.setLocalDescription(await peer.createAnswer())
    await pc.setRemoteDescription(library.RTCSessionDescription(peer.localDescription.sdp, peer.localDescription.type))
    await soon(done.wait())
    with pytest.raises(ValueError, match="both maxPacketLifeTime and maxRetransmits"):
        pc.createDataChannel("bad", maxRetransmits=1, maxPacketLifeTime=1)
    await soon(pc.close())
    with pytest.raises(library.InvalidStateError):
        channel.send("late")
    await soon(peer.close())
    return said


@pytest.mark.parametrize("other", [aiortc, datachan], ids=["with aiortc", "with datachan"])
async def test_a_program_written_for_aiortc_runs_with_our_names(other: ModuleType) -> None:
    expected = await program(aiortc, aiortc)

    said = await program(datachan, other)

    assert sorted(said) == sorted(expected)
    assert said[-1] == "connection closed"


def test_has_every_name_of_aiortc_that_data_channels_need() -> None:
    media = ("Rtp", "Rtcp", "Track", "Media", "AudioStream", "VideoStream")
    names = {name for name in aiortc.__all__ if not any(word in name for word in media)}
    internal = {"RTCIceGatherer", "RTCDataChannelParameters", "RTCDtlsParameters", "RTCSctpCapabilities"}

    assert names - internal - {"RTCTransportStats"} <= set(dir(datachan))


def test_the_api_document_lists_what_aiortc_has_and_datachan_has_not() -> None:
    document = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    table = document[document.index("### Names of aiortc") : document.index("## datachan.transfer")]
    media = re.compile("Rtp|Rtcp|Track|Media|Stats|addTrans")
    missing = set(aiortc.__all__) - set(datachan.__all__)
    for name in ("RTCPeerConnection", "RTCDataChannel", "RTCSctpTransport", "RTCDtlsTransport", "RTCIceTransport"):
        theirs = {member for member in dir(getattr(aiortc, name)) if not member.startswith("_")}
        missing |= theirs - set(dir(getattr(datachan, name)))
    missing |= {
        name
        for name in vars(importlib.import_module("aiortc.contrib.signaling"))
        if re.search("Signaling$|^object_", name)
    }
    # State is a class inside aiortc's transports, the getter of DTLS parameters and setTransport belong to `start`.
    missing -= {"State", "BaseSignaling", "getLocalParameters", "setTransport"}

    assert sorted(name for name in missing if not media.search(name) and f"`{name}`" not in table) == []


async def test_accepts_the_configuration_objects_of_aiortc() -> None:
    ours = RTCConfiguration(
        iceServers=[datachan.RTCIceServer(urls="stun:127.0.0.1:9")],
        iceTransportPolicy=datachan.RTCIceTransportPolicy.ALL,
        bundlePolicy=datachan.RTCBundlePolicy.MAX_BUNDLE,
    )
    async with RTCPeerConnection(configuration=ours) as pc:
        assert pc.getConfiguration().iceServers == [datachan.RTCIceServer(urls="stun:127.0.0.1:9")]


async def test_a_second_negotiation_keeps_the_channel(meeting: Meeting) -> None:
    echo(meeting.their_channel)

    await negotiate(meeting.ours, meeting.theirs)
    await negotiate(meeting.theirs, meeting.ours)

    meeting.our_channel.send("still here")
    assert await soon(anext(meeting.our_channel)) == "still here"
    await state(meeting.ours, "connectionState", "connected", "connectionstatechange")
