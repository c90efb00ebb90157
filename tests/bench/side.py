"""One side of a measured transfer, in a process of its own: `python -m tests.bench.side LIBRARY ROLE`.

The very same program runs on datachan and on aiortc. It speaks with `tests.bench` over its standard streams, one line
of JSON at a time: descriptions first, then the result.
"""

import argparse
import asyncio
import cProfile
import importlib
import json
import os
import sys
from time import perf_counter, process_time
from typing import Any

MEGABYTE = 1_000_000
# What the sender lets queue up: enough that the transport never starves.
QUEUE = 2 * 1024 * 1024
END = "end"


def load(library: str) -> Any:
    """Import the library, told to stay on 127.0.0.1."""
    module = importlib.import_module(library)
    if library == "aiortc":
        ice = importlib.import_module("aioice.ice")
        ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]  # type: ignore[attr-defined]
    return module


def peer(module: Any) -> Any:
    """A peer connection that offers 127.0.0.1 only."""
    if module.__name__ == "datachan":
        return module.RTCPeerConnection(module.RTCConfiguration(iceServers=[], hostAddresses=["127.0.0.1"]))
    return module.RTCPeerConnection(module.RTCConfiguration(iceServers=[]))


def say(value: object) -> None:
    """Write a line of JSON."""
    print(json.dumps(value), flush=True)


async def hear() -> Any:
    """Read a line of JSON."""
    return json.loads(await asyncio.to_thread(sys.stdin.readline))


def description(pc: Any) -> dict[str, str]:
    """Our description as JSON."""
    return {"type": pc.localDescription.type, "sdp": pc.localDescription.sdp}


async def send(module: Any, seconds: float, size: int) -> None:
    """Offer, connect, send numbered messages for so many seconds, and wait until the last has arrived."""
    pc = peer(module)
    channel = pc.createDataChannel("bench")
    opened, finished, room = asyncio.Event(), asyncio.Event(), asyncio.Event()
    channel.on("open", opened.set)
    channel.on("message", lambda _: finished.set())
    channel.on("bufferedamountlow", room.set)
    channel.bufferedAmountLowThreshold = QUEUE // 2
    await pc.setLocalDescription(await pc.createOffer())
    say(description(pc))
    answer = await hear()
    begun = perf_counter()
    await pc.setRemoteDescription(module.RTCSessionDescription(**answer))
    await opened.wait()
    connected = perf_counter() - begun
    body = os.urandom(size - 8)
    begun, cpu, number = perf_counter(), process_time(), 0
    while perf_counter() - begun < seconds:
        while channel.bufferedAmount > QUEUE:
            room.clear()
            await room.wait()
        channel.send(number.to_bytes(8, "big") + body)
        number += 1
    channel.send(END)
    await finished.wait()
    say({"messages": number, "connected": connected, "cpu": process_time() - cpu, "took": perf_counter() - begun})
    await pc.close()


async def receive(module: Any, size: int) -> None:
    """Answer, connect, and count what comes, which must be complete and in order."""
    pc = peer(module)
    done = asyncio.Event()
    count, begun, cpu, wrong = 0, 0.0, 0.0, 0

    def on_channel(channel: Any) -> None:
        def on_message(message: str | bytes) -> None:
            nonlocal count, begun, cpu, wrong
            if message == END:
                channel.send(END)
                done.set()
                return
            if count == 0:
                begun, cpu = perf_counter(), process_time()
            wrong += len(message) != size or int.from_bytes(message[:8], "big") != count  # type: ignore[arg-type]
            count += 1

        channel.on("message", on_message)

    pc.on("datachannel", on_channel)
    await pc.setRemoteDescription(module.RTCSessionDescription(**await hear()))
    await pc.setLocalDescription(await pc.createAnswer())
    say(description(pc))
    await done.wait()
    took = perf_counter() - begun
    say({"messages": count, "wrong": wrong, "rate": count * size / took / MEGABYTE, "cpu": process_time() - cpu})
    await hear()  # until the sender has been told, and has closed
    await pc.close()


def main() -> None:
    """Run one side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", choices=["datachan", "aiortc"])
    parser.add_argument("role", choices=["send", "receive"])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--size", type=int, default=65536)
    parser.add_argument("--profile", metavar="FILE", help="write what cProfile saw")
    options = parser.parse_args()
    module = load(options.library)
    profile = cProfile.Profile()
    if options.profile:
        profile.enable()
    if options.role == "send":
        asyncio.run(send(module, options.seconds, options.size))
    else:
        asyncio.run(receive(module, options.size))
    if options.profile:
        profile.disable()
        profile.dump_stats(options.profile)


if __name__ == "__main__":
    main()
