"""Restart ICE through a room on a connection that is up, and refuse a restart that names another certificate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from datachan.peer import RTCDataChannel, RTCPeerConnection
from datachan.signaling import (
    PeerInfo,
    RestartRefused,
    SignalingClient,
    SignalingError,
    call_through,
    restart_through,
    serve_through,
)
from datachan.signaling.room_messages import Bye, Candidate, CandidateInit, Offer
from tests.signaling_site import listening

PATIENCE = 30.0


class Served:
    """A member that serves a room, and a client that is connected with it and has left the room."""

    def __init__(self, client: SignalingClient, pc: RTCPeerConnection, channel: RTCDataChannel) -> None:
        self.client = client
        self.pc = pc
        self.channel = channel
        self.sender = ""
        self.session = ""
        self.serving: list[RTCPeerConnection] = []

    def fragments(self) -> list[str]:
        """Return the ICE user fragments in both descriptions."""
        assert self.pc.localDescription is not None
        assert self.pc.remoteDescription is not None
        lines = (self.pc.localDescription.sdp + self.pc.remoteDescription.sdp).splitlines()
        return [line for line in lines if line.startswith("a=ice-ufrag:")]

    async def signal_candidate(self, client: SignalingClient, address: str) -> None:
        """Send a candidate of ours that was found late."""
        assert self.pc.localDescription is not None
        fragment = self.fragments()[0].partition(":")[2]
        text = f"candidate:1 1 udp 2130706431 {address} 9 typ host"
        await client.send(Candidate(self.sender, self.session, CandidateInit(text, "0", 0, fragment)))

    async def learns(self, address: str) -> bool:
        """Wait until the peer has a candidate of ours."""
        async with asyncio.timeout(PATIENCE):
            while True:
                stats = await self.serving[0].getStats()
                if any(one.type == "remote-candidate" and one.address == address for one in stats.values()):
                    return True
                await asyncio.sleep(0.02)

    async def echoes(self, text: str) -> bool:
        self.channel.send(text)
        async with asyncio.timeout(PATIENCE):
            return await anext(aiter(self.channel)) == text


@asynccontextmanager
async def connected() -> AsyncIterator[Served]:
    async with listening() as url, SignalingClient(url, "room", name="server") as serving, RTCPeerConnection() as pc:
        channel = pc.createDataChannel("echo", negotiated=True, id=0)
        served = Served(SignalingClient(url, "room", name="client"), pc, channel)

        def prepare(pc: RTCPeerConnection, peer: PeerInfo) -> None:
            served.serving.append(pc)
            echo = pc.createDataChannel("echo", negotiated=True, id=0)
            echo.on("message", echo.send)

        service = asyncio.create_task(serve_through(serving, prepare))
        async with served.client as client:
            peer, served.session = await call_through(client, pc, to=serving.id)
            served.sender = peer.id
        await channel.opened()
        try:
            yield served
        finally:
            service.cancel()
            await asyncio.gather(service, return_exceptions=True)


async def test_a_client_that_enters_again_restarts_ice_and_keeps_its_channel() -> None:
    async with connected() as served:
        before = served.fragments()
        states: list[str] = []
        served.pc.on("connectionstatechange", lambda: states.append(served.pc.connectionState))
        async with served.client as client:
            await restart_through(client, served.pc, to=served.sender, session=served.session)
        async with asyncio.timeout(PATIENCE):
            while set(before) & set(served.fragments()):
                await asyncio.sleep(0.02)
        assert await served.echoes("still here")
        assert "closed" not in states


async def test_candidates_reach_the_peer_after_the_connection_is_up_and_after_a_restart() -> None:
    async with connected() as served, served.client as client:
        await served.signal_candidate(client, "127.0.0.77")
        assert await served.learns("127.0.0.77")
        await restart_through(client, served.pc, to=served.sender, session=served.session)
        await served.signal_candidate(client, "127.0.0.78")
        assert await served.learns("127.0.0.78")
        assert await served.echoes("still here")


async def test_an_offer_with_another_certificate_does_not_replace_the_peer() -> None:
    async with connected() as served, RTCPeerConnection() as stranger:
        stranger.createDataChannel("echo", negotiated=True, id=0)
        offer = await stranger.createOffer()
        before = served.fragments()
        async with served.client as client:
            await client.send(Offer(served.sender, served.session, offer.sdp))
            async with asyncio.timeout(PATIENCE):
                while not isinstance(message := await client.receive(), Bye):
                    assert message is not None
        assert message.reason == "the restart is refused"
        assert await served.echoes("the same peer")
        assert served.fragments() == before


async def test_a_session_that_the_peer_does_not_know_is_answered_by_another_certificate_and_refused() -> None:
    async with connected() as served, served.client as client:
        with pytest.raises(RestartRefused):
            await restart_through(client, served.pc, to=served.sender, session="another")


async def test_a_peer_that_is_not_in_the_room_is_named() -> None:
    async with connected() as served, served.client as client:
        with pytest.raises(SignalingError, match="not in the room"):
            await restart_through(client, served.pc, to="absent", session=served.session)
