"""Run one end of a transfer in a network namespace; talk to the test on stdin and stdout in lines of JSON.

`python -m tests.interop.mtu_peer offer ADDRESS` sends on request; `answer` counts the bytes received.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from datachan import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription

MESSAGE = bytes(50_000)


def tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)


async def told() -> Any:
    return json.loads(await asyncio.to_thread(sys.stdin.readline))


async def offer(pc: RTCPeerConnection) -> None:
    channel = pc.createDataChannel("bulk")
    await pc.setLocalDescription(await pc.createOffer())
    tell(sdp=pc.localDescription.sdp)
    await pc.setRemoteDescription(RTCSessionDescription((await told())["sdp"], "answer"))
    await channel.opened()
    tell(opened=True)
    while (order := await told()) != "close":
        begun = time.monotonic()
        for _ in range(order["messages"]):
            channel.send(MESSAGE)
            await channel.drain()
        async with asyncio.timeout(30):
            assert await anext(channel) == "all"
        tell(mtu=pc.sctp.mtu, took=time.monotonic() - begun)


async def answer(pc: RTCPeerConnection) -> None:
    async def count(channel: RTCDataChannel) -> None:
        received = 0
        async for message in channel:
            assert message == MESSAGE
            received += 1
            if received % 100 == 0:
                channel.send("all")

    pc.on("datachannel", count)
    await pc.setRemoteDescription(RTCSessionDescription((await told())["sdp"], "offer"))
    await pc.setLocalDescription(await pc.createAnswer())
    tell(sdp=pc.localDescription.sdp)
    await told()


async def main() -> None:
    role, address = sys.argv[1:]
    await told()  # the address is there
    async with RTCPeerConnection(RTCConfiguration(hostAddresses=[address])) as pc:
        await (offer if role == "offer" else answer)(pc)


if __name__ == "__main__":
    asyncio.run(main())
