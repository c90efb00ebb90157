"""A peer in one of the Python stacks, whose names are W3C's: datachan, aiortc, and wrtc (libwebrtc).

python -m tests.stacks.peers.python_peer STACK ROLE '{"message_size": 65536, "host": …, "controller": …}'
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from abc import abstractmethod
from functools import partial
from typing import Any

from tests.stacks.peers.common import HIGH_WATER, LOW_WATER, Description, Peer, run


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
        self.channels: dict[str, Any] = {}
        self._expected = 0
        self._opened = 0
        self._rooms: dict[str, asyncio.Event] = {}
        connection.on("datachannel", self.announced)

    def announced(self, channel: Any) -> None:
        """The other side opened a channel."""
        self.use(channel)
        self.channel_open.set()

    def use(self, channel: Any) -> None:
        """Listen to a channel."""
        label = channel.label
        self.channels[label] = channel
        room = self._rooms[label] = asyncio.Event()
        channel.bufferedAmountLowThreshold = LOW_WATER
        channel.on("bufferedamountlow", lambda *_: room.set())
        channel.on("message", partial(self.message, label))

    def message(self, label: str, message: Any) -> None:
        """A message arrived."""
        self.arrived(label, message)

    async def offer(self, labels: list[str]) -> Description:
        self._expected = len(labels)
        for label in labels:
            channel = self.connection.createDataChannel(label)
            self.use(channel)
            channel.on("open", self._channel_opened)
        return await self._describe(await self.connection.createOffer())

    def _channel_opened(self, *_: object) -> None:
        self._opened += 1
        if self._opened == self._expected:
            self.channel_open.set()

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

    def send_now(self, label: str, message: bytes) -> None:
        self.channels[label].send(message)

    async def room(self, label: str) -> None:
        channel, room = self.channels[label], self._rooms[label]
        while channel.bufferedAmount > HIGH_WATER:
            room.clear()
            await room.wait()

    async def close(self) -> None:
        await self.connection.close()


class DatachanPeer(PythonPeer):
    """datachan."""

    def __init__(self, module: Any, options: dict[str, Any]) -> None:
        configuration = module.RTCConfiguration(hostAddresses=[options["host"]])
        # Packets of 1200 bytes, as the other stacks send, unless it is told otherwise.
        configuration.pathMtuDiscovery = bool(options.get("discovery"))
        if options.get("controller"):
            configuration.congestionControl = options["controller"]
        super().__init__(module, module.RTCPeerConnection(configuration))

    async def gathered(self) -> None:
        """Its setLocalDescription has waited already."""

    async def room(self, label: str) -> None:
        await self.channels[label].drain()

    def status(self) -> dict[str, Any]:
        association = importlib.import_module("datachan.sctp.association")
        return {"compiled": not association.__file__.endswith(".py")}


class AiortcPeer(PythonPeer):
    """aiortc."""

    def __init__(self, module: Any, options: dict[str, Any]) -> None:
        # It has no other way to be told its addresses, and passes over 127.0.0.1 by itself.
        ice = importlib.import_module("aioice.ice")
        ice.get_host_addresses = lambda use_ipv4, use_ipv6: [options["host"]]  # type: ignore[attr-defined]
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

    def message(self, label: str, event: Any) -> None:
        self.arrived(label, event.data)

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
    module = importlib.import_module(module_name)
    await run(lambda: peer(module, options), role, options)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
