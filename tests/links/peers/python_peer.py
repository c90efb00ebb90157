"""A peer in one of the Python stacks, whose names are W3C's: datachan, aiortc, and wrtc (libwebrtc).

python -m tests.links.peers.python_peer STACK ROLE '{"message_size": 65536, "host": …, "controller": …}'
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from abc import abstractmethod
from typing import Any

from tests.links.peers.common import HIGH_WATER, LOW_WATER, Description, Peer, run


class PythonPeer(Peer):
    """What the Python stacks share.

    Arguments:
        module: the imported stack.
        connection: its RTCPeerConnection.
    """

    def __init__(self, module: Any, connection: Any) -> None:
        super().__init__()
        self.module = module
        self.connection = connection
        self.channel: Any = None
        self.room = asyncio.Event()
        connection.on("datachannel", self.announced)

    def announced(self, channel: Any) -> None:
        """The other side opened its channel."""
        self.use(channel)
        self.channel_open.set()

    def use(self, channel: Any) -> None:
        """Listen to the channel."""
        self.channel = channel
        channel.on("message", self.count)

    def count(self, message: Any) -> None:
        """A message arrived."""
        self.received += len(message)

    async def offer(self) -> Description:
        self.use(self.connection.createDataChannel("bench"))
        self.channel.on("open", self._opened)
        self.channel.bufferedAmountLowThreshold = LOW_WATER
        self.channel.on("bufferedamountlow", self._has_room)
        return await self._describe(await self.connection.createOffer())

    def _opened(self, *_: object) -> None:
        self.channel_open.set()

    def _has_room(self, *_: object) -> None:
        self.room.set()

    async def answer(self, offer: Description) -> Description:
        await self.connection.setRemoteDescription(self.description(offer))
        return await self._describe(await self.connection.createAnswer())

    async def accept(self, answer: Description) -> None:
        await self.connection.setRemoteDescription(self.description(answer))

    def description(self, description: Description) -> Any:
        """A description of the stack's own kind."""
        return self.module.RTCSessionDescription(sdp=description["sdp"], type=description["type"])

    async def _describe(self, description: Any) -> Description:
        await self.connection.setLocalDescription(description)
        await self.gathered()
        local = self.connection.localDescription
        return {"type": str(getattr(local.type, "value", local.type)), "sdp": local.sdp}

    @abstractmethod
    async def gathered(self) -> None:
        """Wait until the local description has all candidates."""

    async def send(self, message: bytes) -> None:
        self.channel.send(message)
        while self.channel.bufferedAmount > HIGH_WATER:
            self.room.clear()
            await self.room.wait()


class DatachanPeer(PythonPeer):
    """datachan."""

    def __init__(self, module: Any, options: dict[str, Any]) -> None:
        configuration = module.RTCConfiguration(hostAddresses=[options["host"]])
        if options.get("controller"):
            configuration.congestionControl = options["controller"]
        super().__init__(module, module.RTCPeerConnection(configuration))

    async def gathered(self) -> None:
        """Its setLocalDescription has waited already."""

    async def send(self, message: bytes) -> None:
        self.channel.send(message)
        await self.channel.drain()


class AiortcPeer(PythonPeer):
    """aiortc."""

    def __init__(self, module: Any, options: dict[str, Any]) -> None:
        super().__init__(module, module.RTCPeerConnection(module.RTCConfiguration(iceServers=[])))

    async def gathered(self) -> None:
        """Its setLocalDescription has waited already."""


class WrtcPeer(PythonPeer):
    """libwebrtc by way of PyPI's wrtc."""

    def __init__(self, module: Any, options: dict[str, Any]) -> None:
        if options["host"].startswith("127."):
            module.allow_loopback()
        super().__init__(module, module.RTCPeerConnection())
        self.complete = asyncio.Event()
        self.connection.on("icegatheringstatechange", self._gathering)

    def announced(self, event: Any) -> None:
        super().announced(event.channel)

    def count(self, event: Any) -> None:
        super().count(event.data)

    def description(self, description: Description) -> Any:
        return self.module.RTCSessionDescriptionInit(type=description["type"], sdp=description["sdp"])

    def _gathering(self, *_: object) -> None:
        if str(self.connection.iceGatheringState.value) == "complete":
            self.complete.set()

    async def gathered(self) -> None:
        self._gathering()
        await self.complete.wait()


STACKS: dict[str, tuple[str, type[DatachanPeer] | type[AiortcPeer] | type[WrtcPeer]]] = {
    "datachan": ("datachan", DatachanPeer),
    "aiortc": ("aiortc", AiortcPeer),
    "wrtc": ("webrtc", WrtcPeer),
}


async def main(stack: str, role: str, options: dict[str, Any]) -> None:
    """Be that peer."""
    module_name, peer = STACKS[stack]
    await run(peer(importlib.import_module(module_name), options), role, options["message_size"])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
