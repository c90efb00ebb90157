"""The first datagrams of DTLS on a path that loses the ClientHello: in checks, and repeated at short intervals."""

from __future__ import annotations

import asyncio
import time

from datachan import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from tests.interop.stacks.relay import relaying
from tests.links.measure import through
from tests.pairs import state

HERE = "127.0.0.1"
# DTLS repeats a flight after one second.
SOONER = 0.6


async def open_over_loss(lost: int, *, server_embeds: bool, client_embeds: bool) -> float:
    """Connect over a relay that loses the first DTLS datagrams of the client, which is the answerer.

    Returns:
        The seconds from the first of these datagrams until the channel was open.
    """
    times: list[float] = []

    def loses(kind: str, number: int, _length: int) -> bool:
        if kind == "dtls":
            times.append(time.monotonic())
        return kind == "dtls" and number <= lost

    async with (
        relaying(HERE, from_z=loses) as relay,
        RTCPeerConnection(RTCConfiguration(hostAddresses=[HERE], sped=server_embeds)) as a,
        RTCPeerConnection(RTCConfiguration(hostAddresses=[HERE], sped=client_embeds)) as z,
    ):
        channel = a.createDataChannel("one")
        await a.setLocalDescription()
        await z.setRemoteDescription(redirected(a, relay.facing_z))
        await z.setLocalDescription()
        await a.setRemoteDescription(redirected(z, relay.facing_a))
        async with asyncio.timeout(20):
            await channel.opened()
            opened = time.monotonic()
            await state(z, "connectionState", "connected", "connectionstatechange")
        return opened - times[0]


def redirected(pc: RTCPeerConnection, address: tuple[str, int]) -> RTCSessionDescription:
    local = pc.localDescription
    assert local is not None
    return RTCSessionDescription(**through(address, {"type": local.type, "sdp": local.sdp}))


async def test_checks_carry_the_handshake_where_dtls_is_lost() -> None:
    assert await open_over_loss(3, server_embeds=True, client_embeds=True) < SOONER


async def test_a_client_hello_that_the_peer_has_dropped_is_repeated_before_dtls_does_so() -> None:
    assert await open_over_loss(1, server_embeds=False, client_embeds=True) < SOONER


async def test_without_it_dtls_repeats_it() -> None:
    assert await open_over_loss(1, server_embeds=False, client_embeds=False) >= SOONER
