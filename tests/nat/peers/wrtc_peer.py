"""Runs libwebrtc (PyPI wrtc) as a peer of the lab; the lines are those of datachan_peer.py."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import webrtc

TICK = 0.02


def out(event: str, **more: Any) -> None:
    print(json.dumps({"event": event, "t": time.monotonic(), **more}), flush=True)


def plain(state: Any) -> str:
    return str(getattr(state, "value", state))


class Peer:
    def __init__(self, task: dict[str, Any]) -> None:
        servers = [webrtc.RTCIceServer(**server) for server in task["servers"]]
        self.pc = pc = webrtc.RTCPeerConnection(
            webrtc.RTCConfiguration(ice_servers=servers, ice_transport_policy=task["policy"])
        )
        self.arrivals: list[float] = []
        self.numbers: list[int] = []
        self.bytes = 0
        self.channel: Any = None
        pc.on("connectionstatechange", lambda _: out("state", state=plain(pc.connection_state)))
        pc.on("iceconnectionstatechange", lambda _: out("ice", state=plain(pc.ice_connection_state)))
        pc.on("datachannel", lambda event: self.use(event.channel))
        pc.on("icecandidate", self.candidate)

    def candidate(self, event: Any) -> None:
        one = event.candidate
        if one is None or not one.candidate:
            out("candidate", candidate=None)
        else:
            line = {"candidate": one.candidate, "sdpMid": one.sdp_mid, "sdpMLineIndex": one.sdp_m_line_index}
            out("candidate", candidate=line)

    def use(self, channel: Any) -> None:
        self.channel = channel
        channel.on("message", self.message)
        if plain(channel.ready_state) == "open":
            self.opened()
        else:
            channel.on("open", lambda _: self.opened())

    def opened(self) -> None:
        out("open")
        self.ticker = asyncio.create_task(self.tick())

    def message(self, event: Any) -> None:
        if isinstance(event.data, str):
            self.arrivals.append(time.monotonic())
            self.numbers.append(int(event.data))
            return
        data = bytes(event.data)
        self.bytes += len(data)
        if data == b"done":
            out("bulk", bytes=self.bytes)

    async def tick(self) -> None:
        number = 0
        while plain(self.channel.ready_state) == "open":
            self.channel.send(str(number))
            number += 1
            await asyncio.sleep(TICK)

    def report(self) -> None:
        try:
            sctp: Any = self.pc.sctp
            pair: Any = sctp.transport.ice_transport.get_selected_candidate_pair()
            kinds = [(plain(one.type), one.address, one.port) for one in (pair.local, pair.remote)]
        except AttributeError:
            kinds = None
        in_order = self.numbers == list(range(len(self.numbers)))
        out("report", arrivals=self.arrivals, in_order=in_order, state=plain(self.pc.connection_state), pair=kinds)

    async def local(self, description: Any) -> None:
        if plain(description.type) == "answer":
            out("applied")
        await self.pc.set_local_description(description)
        local: Any = self.pc.local_description
        out("sdp", sdp=local.sdp, type=plain(local.type))

    async def handle(self, message: dict[str, Any]) -> None:
        if "sdp" in message:
            if message["type"] == "answer":
                out("applied")
            given = webrtc.RTCSessionDescription(type=message["type"], sdp=message["sdp"])
            await self.pc.set_remote_description(given)
            if message["type"] == "offer":
                await self.local(await self.pc.create_answer())
        elif "candidate" in message:
            one = message["candidate"]
            if one is not None:
                line = webrtc.RTCIceCandidateInit(
                    candidate=one["candidate"], sdp_mid=one["sdpMid"], sdp_m_line_index=one.get("sdpMLineIndex")
                )
                await self.pc.add_ice_candidate(line)
        elif message["do"] == "report":
            self.report()
        elif message["do"] == "restart":
            self.pc.restart_ice()
            await self.local(await self.pc.create_offer())
        elif message["do"] == "bulk":
            self.bulk_task = asyncio.create_task(self.bulk(message["bytes"]))

    async def bulk(self, size: int) -> None:
        for _ in range(size // 16384):
            while self.channel.buffered_amount > 1 << 20:
                await asyncio.sleep(0.01)
            self.channel.send(bytes(16384))
        self.channel.send(b"done")


async def main() -> None:
    reader = asyncio.StreamReader(limit=1 << 22)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    out("ready")
    task = json.loads(await reader.readline())
    peer = Peer(task)
    if task["role"] == "offer":
        out("created")
        peer.use(peer.pc.create_data_channel("lab"))
        await peer.local(await peer.pc.create_offer())
    while line := await reader.readline():
        try:
            await peer.handle(json.loads(line))
        except Exception as error:
            out("error", error=repr(error))


asyncio.run(main())
