"""A peer that brings another certificate, other fingerprints or another SCTP port in a later negotiation."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from datachan import OperationError, RTCPeerConnection, RTCSessionDescription
from tests.pairs import channel_pair, configuration, connected, event, pair, soon, state


async def handed_over(a: RTCPeerConnection, successor: RTCPeerConnection, *, by_offer: bool) -> None:
    """Connect A with another peer than before, which offers or answers A's ICE restart."""
    if by_offer:
        successor.createDataChannel("of the successor", negotiated=True, id=500)
        await successor.setLocalDescription()
        await a.setRemoteDescription(successor.localDescription)
        await a.setLocalDescription()
        await successor.setRemoteDescription(a.localDescription)
    else:
        await a.setLocalDescription(await a.createOffer(iceRestart=True))
        await successor.setRemoteDescription(a.localDescription)
        await successor.setLocalDescription()
        await a.setRemoteDescription(successor.localDescription)


@pytest.mark.parametrize("by_offer", [False, True])
async def test_another_peer_takes_over_with_an_ice_restart(by_offer: bool) -> None:
    async with pair() as p, RTCPeerConnection(configuration()) as successor:
        seen: list[str] = []
        sctp, dtls = p.a.sctp, p.a.sctp.transport
        dtls.on("statechange", lambda: seen.append(dtls.state))
        p.z_channel.send("unread")
        await soon(anext(p.a_channel))
        tls_id = p.a.localDescription.sdp.split("a=tls-id:")[1].split("\r\n")[0]

        await handed_over(p.a, successor, by_offer=by_offer)

        await soon(p.a_channel.closed())
        assert p.a_channel.closeReason == "a new DTLS association has replaced the channel's"
        assert (sctp.state, seen) == ("closed", ["closed"])
        await soon(connected(p.a, successor))
        ours, theirs = await channel_pair(p.a, successor, "new")
        ours.send("hello")
        assert await soon(anext(theirs)) == "hello"
        assert p.a.sctp is not sctp
        assert (p.a.sctp.state, p.a.sctp.transport.state) == ("connected", "connected")
        assert p.a.failureReason is None
        now = p.a.localDescription.sdp.split("a=tls-id:")[1].split("\r\n")[0]
        assert (now != tls_id) == by_offer, "RFC 8842, 5.3: the answerer identifies the new association"


async def test_a_channel_created_before_the_new_association_opens_on_it() -> None:
    async with pair() as p, RTCPeerConnection(configuration()) as successor:
        announced = asyncio.ensure_future(event(successor, "datachannel"))
        await p.a.setLocalDescription(await p.a.createOffer(iceRestart=True))
        await successor.setRemoteDescription(p.a.localDescription)
        await successor.setLocalDescription()
        setting = p.a.setRemoteDescription(successor.localDescription)
        channel = p.a.createDataChannel("waits")
        await setting
        assert channel.readyState == "connecting"
        await soon(channel.opened())
        channel.send("hello")
        assert await soon(anext(await announced)) == "hello"


async def test_a_rolled_back_handover_changes_nothing() -> None:
    async with pair() as p, RTCPeerConnection(configuration()) as successor:
        successor.createDataChannel("x")
        await p.a.setRemoteDescription(await successor.createOffer())
        await p.a.createAnswer()
        await p.a.setRemoteDescription({"type": "rollback", "sdp": ""})
        p.a_channel.send("still here")
        assert await soon(anext(p.z_channel)) == "still here"
        await p.a.setLocalDescription()
        await p.z.setRemoteDescription(p.a.localDescription)
        await p.z.setLocalDescription()
        await p.a.setRemoteDescription(p.z.localDescription)
        p.a_channel.send("again")
        assert await soon(anext(p.z_channel)) == "again"


async def test_more_fingerprints_in_another_order_are_the_same_certificate() -> None:
    async with pair() as p:
        await p.z.setLocalDescription()
        offer = p.z.localDescription.sdp
        more = "a=fingerprint:sha-512 " + ":".join(["AB"] * 64) + "\r\n"
        await p.a.setRemoteDescription(
            RTCSessionDescription(offer.replace("a=fingerprint", more + "a=fingerprint"), "offer")
        )
        await p.a.setLocalDescription()
        await p.z.setRemoteDescription(p.a.localDescription)
        await p.a.setLocalDescription()
        await p.z.setRemoteDescription(p.a.localDescription)
        await p.z.setLocalDescription()
        await p.a.setRemoteDescription(p.z.localDescription)
        p.a_channel.send("still here")
        assert await soon(anext(p.z_channel)) == "still here"


async def test_another_tls_id_needs_an_ice_restart() -> None:
    async with pair() as p:
        await p.z.setLocalDescription()
        offer = p.z.localDescription.sdp.replace("a=tls-id:", "a=tls-id:00")
        with pytest.raises(OperationError, match="cannot change without an ICE restart"):
            await p.a.setRemoteDescription(RTCSessionDescription(offer, "offer"))


async def test_another_sctp_port_closes_the_channels_and_sets_up_a_new_association() -> None:
    async with pair() as p:
        sctp, dtls = p.a.sctp, p.a.sctp.transport
        await p.z.setLocalDescription()
        offer = p.z.localDescription.sdp.replace("a=sctp-port:5000", "a=sctp-port:6000")
        await p.a.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        states: list[Any] = []
        sctp.on("statechange", lambda: states.append(sctp.state))
        await p.a.setLocalDescription(await p.a.createAnswer())

        await soon(p.a_channel.closed())
        assert p.a_channel.closeReason == "an SCTP association with another port has replaced the channel's"
        assert states == ["closed"]
        assert (p.a.sctp.state, p.a.sctp.transport) == ("connecting", dtls)
        assert dtls.state == "connected"
        assert p.a.createDataChannel("new").readyState == "connecting"
        await soon(state(p.a, "connectionState", "connected", "connectionstatechange"))
