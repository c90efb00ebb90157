"""Serving a room: connections with every member, now and later."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit

import pytest

from datachan.peer import RTCConfiguration, RTCPeerConnection
from datachan.signaling import (
    PeerInfo,
    SignalingClient,
    SignalingError,
    connect_through,
    serve_through,
)
from tests.signaling_site import listening

HERE = RTCConfiguration(hostAddresses=["127.0.0.1"], closeTimeout=1.0)
ASKING = RTCConfiguration(hostAddresses=["127.0.0.1"], alwaysNegotiateDataChannels=True, closeTimeout=1.0)
PATIENCE = 20.0


def send_own_name(pc: RTCPeerConnection, peer: PeerInfo) -> None:
    channel = pc.createDataChannel("robot")
    channel.on("open", lambda: channel.send(f"hello {peer.name}"))


async def view(url: str, name: str, first: asyncio.Event | None = None) -> str:
    """Join, wait for the robot's channel and return its first message."""
    async with SignalingClient(url, "robot", name=name) as client, RTCPeerConnection(ASKING) as pc:
        arrived = asyncio.get_running_loop().create_future()
        pc.on("datachannel", arrived.set_result)
        if first is not None:
            first.set()
        await connect_through(client, pc)
        return await anext(aiter(await arrived))


async def test_a_robot_serves_viewers_that_came_before_and_after_it_and_outlives_them():
    async with asyncio.timeout(3 * PATIENCE):
        async with listening() as url:
            there = asyncio.Event()
            early = asyncio.create_task(view(url, "early", there))
            await there.wait()
            robot = await SignalingClient(url, "robot", reconnect=True).__aenter__()
            serving = asyncio.create_task(serve_through(robot, send_own_name, HERE))
            assert await early == "hello early"
            assert await asyncio.gather(view(url, "Ada"), view(url, "Zoe")) == ["hello Ada", "hello Zoe"]
        async with listening(port=urlsplit(url).port) as url:  # the server was restarted, and the robot joins again
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(2):
                        assert await view(url, "late") == "hello late"
                        break
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            await robot.__aexit__(None, None, None)


async def test_a_robot_declines_viewers_past_its_limit():
    async with listening() as url, SignalingClient(url, "robot") as robot, asyncio.timeout(PATIENCE):
        serving = asyncio.create_task(serve_through(robot, send_own_name, HERE, max_peers=1))
        async with SignalingClient(url, "robot", name="Ada") as ada, RTCPeerConnection(ASKING) as pc:
            await connect_through(ada, pc)
            async with SignalingClient(url, "robot", name="Zoe") as zoe, RTCPeerConnection(ASKING) as other:
                with pytest.raises(SignalingError, match="busy: no connection is free"):
                    await connect_through(zoe, other, to=robot.id)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
