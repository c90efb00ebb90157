"""Peers that open and close channels without end, or open as many as they can, leave little memory behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import tracemalloc

from datachan import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from datachan.dcep.id_pool import MAX_RESTING
from datachan.signaling import EchoOptions, EchoPeer
from tests.scenario.channel_pair import ChannelPair, connected

BATCH = 100


def open_and_close(pair: ChannelPair, batches: int) -> None:
    """Open and close this many batches of channels, one batch after the other."""
    for _ in range(batches):
        create = pair.a.machine.channels.create
        channels = [create("x", priority=512 if number % 2 else 256) for number in range(BATCH)]
        pair.settle(0.2)
        for channel in channels:
            pair.send(pair.a, channel, "hello")
            pair.close(pair.a, channel)
        pair.settle(1.0)
        for peer in (pair.a, pair.z):
            assert peer.machine.channels.channels == ()
            peer.events.clear()
            peer.machine.sctp_events.clear()
        for link in (pair.network.to_a, pair.network.to_z):
            link.passages.clear()


def test_channels_that_were_closed_leave_nothing_behind() -> None:
    pair = connected()
    tracemalloc.start()
    try:
        open_and_close(pair, MAX_RESTING // BATCH + 2)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        open_and_close(pair, 15)
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    # Only the dictionary of resting identifiers remains; its size alternates.
    assert after - before < 64_000, f"{after - before} bytes for {15 * BATCH} channels"


async def test_a_caller_opens_no_more_channels_than_the_echo_peer_serves() -> None:
    echo = EchoPeer(RTCConfiguration(hostAddresses=["127.0.0.1"]), options=EchoOptions(max_channels=20))
    async with asyncio.timeout(30), RTCPeerConnection({"hostAddresses": ["127.0.0.1"]}) as pc:
        first = pc.createDataChannel("first")
        await pc.setLocalDescription()
        assert pc.localDescription is not None
        answer = await echo.answer(pc.localDescription.sdp)
        await pc.setRemoteDescription(RTCSessionDescription(answer.sdp, "answer"))
        await first.opened()
        assert pc.sctp is not None
        assert pc.sctp.maxChannels == 80
        opened = [first]
        with contextlib.suppress(Exception):
            while True:
                opened.append(pc.createDataChannel("more"))
        assert len(opened) == 40
        first.send("still served")
        assert await anext(first) == "still served"
    await echo.close()
