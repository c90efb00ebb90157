"""Runs datachan as a peer of the lab: lines of JSON in, lines of JSON out.

In:  {"role": "offer" | "answer", "servers": [...], "policy": ..., "options": {...}}, then {"sdp", "type"},
     {"candidate": {...} | null} and {"do": "report" | "restart" | "bulk", ...}
Out: {"event": ..., "t": monotonic seconds, ...} with created, sdp, candidate, applied, state, ice, open, report, bulk,
     negotiationneeded, error

Once the channel is open, both sides send a numbered message every 20 ms. "report" says when the other's arrived.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from datachan import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription

TICK = 0.02


def out(event: str, **more: Any) -> None:
    print(json.dumps({"event": event, "t": time.monotonic(), **more}), flush=True)


class Peer:
    def __init__(self, task: dict[str, Any]) -> None:
        servers = [RTCIceServer(**server) for server in task["servers"]]
        options = {"iceTransportPolicy": task["policy"], **task["options"]}
        self.pc = pc = RTCPeerConnection(RTCConfiguration(iceServers=servers, **options))
        self.arrivals: list[float] = []
        self.numbers: list[int] = []
        self.bytes = 0
        self.channel: Any = None
        pc.on("connectionstatechange", lambda: out("state", state=pc.connectionState, reason=pc.failureReason))
        pc.on("iceconnectionstatechange", lambda: out("ice", state=pc.iceConnectionState))
        pc.on("icecandidate", lambda one: out("candidate", candidate=None if one is None else one.toJSON()))
        pc.on("negotiationneeded", self.negotiate)
        pc.on("datachannel", self.use)

    def use(self, channel: Any) -> None:
        self.channel = channel
        channel.on("message", self.message)
        if channel.readyState == "open":
            self.opened()
        else:
            channel.on("open", self.opened)

    def opened(self) -> None:
        out("open")
        self.ticker = asyncio.create_task(self.tick())

    def message(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self.arrivals.append(time.monotonic())
            self.numbers.append(int(message))
            return
        self.bytes += len(message)
        if message == b"done":
            out("bulk", bytes=self.bytes)

    async def tick(self) -> None:
        number = 0
        while self.channel.readyState == "open":
            if self.channel.bufferedAmount < 1 << 20:
                self.channel.send(str(number))
                number += 1
            await asyncio.sleep(TICK)

    def report(self) -> None:
        transport = self.pc.sctp.transport.iceTransport if self.pc.sctp else None
        pair = transport.getSelectedCandidatePair() if transport else None
        kinds = None if pair is None else [(one.type, one.address, one.port) for one in (pair.local, pair.remote)]
        in_order = self.numbers == list(range(len(self.numbers)))
        out("report", arrivals=self.arrivals, in_order=in_order, state=self.pc.connectionState, pair=kinds)

    async def negotiate(self) -> None:
        """Offer again when the connection asks for it, once it is connected."""
        out("negotiationneeded")
        if self.pc.connectionState != "new":
            await self.offer()

    async def offer(self) -> None:
        await self.local(await self.pc.createOffer())

    async def local(self, description: Any) -> None:
        out("sdp", sdp=description.sdp, type=description.type)
        if description.type == "answer":
            out("applied")
        await self.pc.setLocalDescription(description)

    async def handle(self, message: dict[str, Any]) -> None:
        if "sdp" in message:
            if message["type"] == "answer":
                out("applied")
            await self.pc.setRemoteDescription(RTCSessionDescription(sdp=message["sdp"], type=message["type"]))
            if message["type"] == "offer":
                await self.local(await self.pc.createAnswer())
        elif "candidate" in message:
            await self.pc.addIceCandidate(message["candidate"])
        elif message["do"] == "report":
            self.report()
        elif message["do"] == "restart":
            self.pc.restartIce()
        elif message["do"] == "bulk":
            await self.bulk(message["bytes"])

    async def bulk(self, size: int) -> None:
        for _ in range(size // 16384):
            while self.channel.bufferedAmount > 1 << 20:
                await asyncio.sleep(0.01)
            self.channel.send(bytes(16384))
        self.channel.send(b"done")


def done(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        out("error", error=repr(error))


async def main() -> None:
    reader = asyncio.StreamReader(limit=1 << 22)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    out("ready")
    task = json.loads(await reader.readline())
    peer = Peer(task)
    work: set[asyncio.Task[None]] = set()
    if task["role"] == "offer":
        out("created")
        peer.use(peer.pc.createDataChannel("lab"))
        work.add(asyncio.create_task(peer.offer()))
    while line := await reader.readline():
        message = json.loads(line)
        if "candidate" in message:  # in order, behind the description
            try:
                await peer.handle(message)
            except Exception as error:
                out("error", error=repr(error))
            continue
        one = asyncio.create_task(peer.handle(message))
        work.add(one)
        one.add_done_callback(done)
        await asyncio.sleep(0)


asyncio.run(main())
