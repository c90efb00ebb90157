"""Whole connections over real sockets survive half a second without a packet, at every size that packets grow to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from datachan import RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from tests.interop.stacks.relay import Relay, relaying
from tests.links.measure import through
from tests.pairs import configuration, event, soon

Connected = tuple[RTCPeerConnection, RTCPeerConnection, list[RTCDataChannel]]
HOST = "127.0.0.1"
OUTAGE = 0.5
MESSAGE = 60_000
# Packets of this many bytes, and the longest datagram that passes: DTLS adds 37 bytes.
SIZES = {1200: 1237, 1500: 1472, 9000: 8972, 16384: 16384 + 37}


class Weather:
    """What the relay lets pass."""

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.out = False

    def loses(self, _kind: str, _number: int, length: int) -> bool:
        return self.out or length > self.longest


@asynccontextmanager
async def connected(
    weather: Weather,
) -> AsyncIterator[tuple[RTCPeerConnection, RTCPeerConnection, list[RTCDataChannel]]]:
    """Yield A, Z and both ends of a channel between them, over a relay."""
    async with (
        relaying(HOST, weather.loses, weather.loses) as relay,
        RTCPeerConnection(configuration()) as a,
        RTCPeerConnection(configuration()) as z,
    ):
        channel = a.createDataChannel("bulk")
        announced = asyncio.ensure_future(event(z, "datachannel"))
        await a.setLocalDescription()
        await z.setRemoteDescription(over(relay, a, to_z=True))
        await z.setLocalDescription()
        await a.setRemoteDescription(over(relay, z, to_z=False))
        ends = [channel, await announced]
        for end in ends:
            await soon(end.opened())
        yield a, z, ends


def over(relay: Relay, pc: RTCPeerConnection, *, to_z: bool) -> RTCSessionDescription:
    """Return a peer's description with the relay as its only candidate."""
    local = pc.localDescription
    assert local is not None
    changed = through(relay.facing_z if to_z else relay.facing_a, {"type": local.type, "sdp": local.sdp})
    return RTCSessionDescription(sdp=changed["sdp"], type=changed["type"])


async def send_until(channel: RTCDataChannel, done: asyncio.Event, seed: int) -> list[bytes]:
    """Send messages as fast as they are accepted until `done` is set; return them."""
    chance = random.Random(seed)
    sent: list[bytes] = []
    while not done.is_set():
        sent.append(chance.randbytes(MESSAGE))
        channel.send(sent[-1])
        await channel.drain()
        await asyncio.sleep(0)
    return sent


@pytest.mark.parametrize("direction", ["A sends", "Z sends"])
@pytest.mark.parametrize("size", SIZES)
async def test_a_transfer_goes_on_after_half_a_second_of_loss(size: int, direction: str, seed: int) -> None:
    weather = Weather(SIZES[size])
    async with connected(weather) as (a, z, ends):
        sender, (outbound, inbound) = (a, ends) if direction == "A sends" else (z, reversed(ends))
        done, received = asyncio.Event(), []
        inbound.on("message", received.append)
        sending = asyncio.create_task(send_until(outbound, done, seed))
        try:
            async with asyncio.timeout(20):
                while sender.sctp is None or sender.sctp.mtu < size * 0.9 or len(received) < 10:
                    await asyncio.sleep(0.01)
            weather.out = True
            await asyncio.sleep(OUTAGE)
            weather.out = False
            before = len(received)
            async with asyncio.timeout(20):
                while len(received) < before + 10:
                    await asyncio.sleep(0.01)
        finally:
            done.set()
            sent = await sending
        async with asyncio.timeout(20):
            while len(received) < len(sent):
                await asyncio.sleep(0.01)
        assert received == sent
        assert a.connectionState == z.connectionState == "connected"
