"""RTCPeerConnection-onnegotiationneeded.html, and calls whose description is replaced while they gather."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from datachan import RTCPeerConnection, RTCSessionDescription
from datachan.ice import IceTransport
from tests.pairs import event, pair, signal, soon

ROLLBACK = RTCSessionDescription(sdp="", type="rollback")


@pytest.fixture
def slow_gathering(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Have gathering wait for the returned event."""
    may_end = asyncio.Event()
    gather = IceTransport.gather

    async def wait_and_gather(ice: IceTransport) -> None:
        await may_end.wait()
        await gather(ice)

    monkeypatch.setattr(IceTransport, "gather", wait_and_gather)
    return may_end


def count(pc: RTCPeerConnection) -> list[str]:
    """Return a list that gets the signaling state at each `negotiationneeded`."""
    seen: list[str] = []
    pc.on("negotiationneeded", lambda: seen.append(pc.signalingState))
    return seen


async def turns(number: int = 20) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def ufrag(description: RTCSessionDescription | None) -> str:
    assert description is not None
    return description.sdp.split("a=ice-ufrag:")[1].split("\r\n")[0]


async def test_the_event_waits_for_the_call_that_sets_the_answer(
    a: RTCPeerConnection, z: RTCPeerConnection, slow_gathering: asyncio.Event
) -> None:
    a.createDataChannel("x")
    await z.setRemoteDescription(await a.createOffer())
    seen = count(z)
    sent: list[Any] = []

    async def answer() -> None:
        await z.setLocalDescription()
        sent.append(z.localDescription)

    answering = asyncio.ensure_future(answer())
    await turns()
    assert z.signalingState == "stable"
    z.restartIce()
    z.on("negotiationneeded", lambda: asyncio.ensure_future(z.setLocalDescription()))
    await turns()
    assert seen == [], "the call still gathers"
    slow_gathering.set()
    await soon(answering)
    await turns()
    assert seen == ["stable"]
    assert [description.type for description in sent] == ["answer"]


async def test_a_rollback_and_an_answer_in_one_turn_emit_one_event() -> None:
    async with pair() as p:
        p.z.restartIce()
        await event(p.z, "negotiationneeded")
        await p.z.setLocalDescription()
        a_offer = await p.a.createOffer()
        seen = count(p.z)
        await p.z.setRemoteDescription(a_offer)
        await p.z.setLocalDescription(await p.z.createAnswer())
        assert seen == []
        await turns()
        assert seen == ["stable"]


async def test_an_offer_that_is_pending_delays_the_event(a: RTCPeerConnection) -> None:
    a.createDataChannel("x")
    await turns()
    await a.setLocalDescription()
    seen = count(a)
    a.restartIce()
    await turns()
    assert seen == []
    await a.setLocalDescription(ROLLBACK)
    await turns()
    assert seen == ["stable"]


async def test_a_restart_requested_before_the_first_answer_follows_it(
    a: RTCPeerConnection, z: RTCPeerConnection
) -> None:
    a.createDataChannel("x")
    await a.setLocalDescription()
    first = ufrag(a.localDescription)
    a.restartIce()
    seen = count(a)
    await z.setRemoteDescription(a.localDescription)
    await z.setLocalDescription()
    await a.setRemoteDescription(z.localDescription)
    await turns()
    assert seen == ["stable"]
    await signal(a, z)
    assert ufrag(a.localDescription) != first
    await turns()
    assert seen == ["stable"]


async def test_an_offer_created_again_with_a_restart_has_new_credentials_and_connects(
    a: RTCPeerConnection, z: RTCPeerConnection
) -> None:
    channel = a.createDataChannel("x")
    await a.setLocalDescription()
    first = ufrag(a.localDescription)
    await a.setLocalDescription(await a.createOffer(iceRestart=True))
    assert ufrag(a.localDescription) != first
    await z.setRemoteDescription(a.localDescription)
    await z.setLocalDescription()
    await a.setRemoteDescription(z.localDescription)
    await soon(channel.opened())


async def test_without_a_description_there_is_nothing_to_restart(a: RTCPeerConnection) -> None:
    seen = count(a)
    a.restartIce()
    await turns()
    assert seen == []


async def test_an_offer_that_was_created_but_not_set_restarts_nothing() -> None:
    async with pair() as p:
        before = ufrag(p.a.localDescription)
        await p.a.createOffer(iceRestart=True)
        await signal(p.z, p.a)
        assert ufrag(p.a.localDescription) == before
        p.a_channel.send("still here")
        assert await soon(anext(p.z_channel)) == "still here"


async def test_a_rolled_back_offer_has_other_credentials_the_next_time(a: RTCPeerConnection) -> None:
    a.createDataChannel("x")
    await a.setLocalDescription()
    first = ufrag(a.localDescription)
    await a.setLocalDescription(ROLLBACK)
    await a.setLocalDescription()
    assert ufrag(a.localDescription) != first


async def test_a_call_returns_before_an_offer_of_the_peer_replaces_its_description(
    a: RTCPeerConnection, z: RTCPeerConnection, slow_gathering: asyncio.Event
) -> None:
    for pc in (a, z):
        pc.createDataChannel("x")
    sent: list[Any] = []

    async def offer() -> None:
        await a.setLocalDescription()
        sent.append(a.localDescription)

    offering = asyncio.ensure_future(offer())
    await turns()
    await soon(a.setRemoteDescription(await z.createOffer()))
    assert [description.type for description in sent] == ["offer"]
    assert a.signalingState == "have-remote-offer"
    await soon(offering)
    slow_gathering.set()


async def test_candidates_are_emitted_after_the_call_that_creates_their_description(a: RTCPeerConnection) -> None:
    a.createDataChannel("x")
    order: list[Any] = []
    a.on("icecandidate", order.append)
    await a.setLocalDescription()
    order.append(a.localDescription)
    await turns()
    assert [type(item).__name__ for item in order] == ["RTCSessionDescription", "RTCIceCandidate", "NoneType"]


async def test_candidates_of_the_current_description_are_accepted_while_an_offer_is_pending() -> None:
    async with pair() as p:
        fragment = ufrag(p.z.localDescription)
        p.z.restartIce()
        await event(p.z, "negotiationneeded")
        await p.z.setLocalDescription()
        await p.a.setRemoteDescription(p.z.localDescription)
        late = {"candidate": "candidate:9 1 udp 5 127.0.0.1 9 typ host", "sdpMid": "0", "usernameFragment": fragment}
        await p.a.addIceCandidate(late)
        assert "127.0.0.1 9 typ host" in p.a.currentRemoteDescription.sdp
        assert "127.0.0.1 9 typ host" not in p.a.pendingRemoteDescription.sdp
