"""Measure the time to set up a connection, in one process over loopback: `python -m tests.bench.bench_setup`.

Both ends run in this process, so the times include the work of both.
"""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import Any

from datachan import RTCConfiguration, RTCPeerConnection

PATIENCE = 10.0


async def connect(**configuration: Any) -> tuple[RTCPeerConnection, RTCPeerConnection, float]:
    """Connect two peers; return them and the milliseconds from the applied answer to the open channel."""
    settings = RTCConfiguration(hostAddresses=["127.0.0.1"], **configuration)
    a, z = RTCPeerConnection(settings), RTCPeerConnection(settings)
    channel = a.createDataChannel("bench")
    await a.setLocalDescription(await a.createOffer())
    await z.setRemoteDescription(a.localDescription)
    await z.setLocalDescription(await z.createAnswer())
    begun = time.perf_counter()
    await a.setRemoteDescription(z.localDescription)
    async with asyncio.timeout(PATIENCE):
        await channel.opened()
    return a, z, (time.perf_counter() - begun) * 1e3


async def open_time(runs: int = 20, **configuration: Any) -> float:
    """Return the median of the milliseconds from the applied answer to the open channel."""
    times: list[float] = []
    for _ in range(runs):
        a, z, took = await connect(**configuration)
        times.append(took)
        await asyncio.gather(a.close(), z.close())
    return median(times)


async def pairs_in_a_row(count: int = 100, **configuration: Any) -> float:
    """Return the milliseconds that each of many pairs takes to open its channel, while all of them stay connected."""
    made: list[RTCPeerConnection] = []
    begun = time.perf_counter()
    for _ in range(count):
        a, z, _ = await connect(**configuration)
        made += [a, z]
    took = (time.perf_counter() - begun) * 1e3 / count
    await asyncio.gather(*(peer.close() for peer in made))
    return took


async def main() -> None:
    """Print the figures, with and without SNAP, in turns."""
    for _ in range(3):
        for snap in (True, False):
            opened, pair = await open_time(snap=snap), await pairs_in_a_row(snap=snap)
            print(f"snap={snap!s:5}  open after the answer {opened:5.1f} ms   a pair, 100 in a row {pair:5.1f} ms")


if __name__ == "__main__":
    asyncio.run(main())
