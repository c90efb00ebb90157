"""A peer that copies attributes it does not know from our descriptions, as libdatachannel does."""

from __future__ import annotations

import asyncio
import re

import pytest

from datachan import RTCPeerConnection, RTCSessionDescription, SdpError
from tests.pairs import configuration, event, soon


def with_copies(answer: RTCSessionDescription, offer: RTCSessionDescription, *names: str) -> RTCSessionDescription:
    """Return the answer with attributes of the offer added, or put in the place of its own."""
    sdp = answer.sdp
    for name in names:
        (line,) = re.findall(f"a={name}[:\r][^\r\n]*", offer.sdp)
        sdp = re.sub(f"a={name}[:\r][^\r\n]*\r\n", "", sdp) + line.rstrip("\r") + "\r\n"
    return RTCSessionDescription(sdp, answer.type)


@pytest.mark.parametrize(
    "names",
    [
        ("sctp-init",),
        ("tls-id",),
        ("sctp-init", "tls-id", "max-message-size", "ice-options"),
    ],
)
async def test_channels_open_and_carry_messages_despite_copies_in_the_answer(names: tuple[str, ...]) -> None:
    a, z = RTCPeerConnection(configuration()), RTCPeerConnection(configuration(snap=False, maxMessageSize=262_144))
    async with a, z:
        channel = a.createDataChannel("x")
        announced = asyncio.ensure_future(event(z, "datachannel"))
        await a.setLocalDescription()
        await z.setRemoteDescription(a.localDescription)
        await z.setLocalDescription()
        await a.setRemoteDescription(with_copies(z.localDescription, a.localDescription, *names))
        assert a.sctp is not None
        await soon(channel.opened())
        channel.send("first")
        assert await soon(anext(await announced)) == "first"
        assert a.sctp.maxMessageSize == (65_536 if "max-message-size" in names else 262_144)


async def test_channels_open_although_an_offer_copies_our_earlier_offer() -> None:
    a, z = RTCPeerConnection(configuration()), RTCPeerConnection(configuration(snap=False))
    async with a, z:
        a.createDataChannel("x")
        await a.setLocalDescription()
        refused = a.localDescription
        await a.setLocalDescription(RTCSessionDescription("", "rollback"))
        channel = z.createDataChannel("y")
        await z.setLocalDescription()
        await a.setRemoteDescription(with_copies(z.localDescription, refused, "sctp-init", "tls-id"))
        await a.setLocalDescription()
        assert "sctp-init" not in a.localDescription.sdp
        assert "tls-id" not in a.localDescription.sdp
        await z.setRemoteDescription(a.localDescription)
        await soon(channel.opened())


@pytest.mark.parametrize("kind", ["offer", "answer"])
async def test_our_own_description_is_refused_as_the_peers(kind: str) -> None:
    async with RTCPeerConnection(configuration()) as a:
        a.createDataChannel("x")
        await a.setLocalDescription()
        with pytest.raises(SdpError, match="it is ours"):
            await a.setRemoteDescription(RTCSessionDescription(a.localDescription.sdp, kind))
        assert a.signalingState == "have-local-offer"
