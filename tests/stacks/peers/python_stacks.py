"""The Python stacks behind one interface: datachan, aiortc and wrtc (libwebrtc), all with W3C's names."""

from __future__ import annotations

import asyncio
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from tests.stacks.peers.common import HIGH_WATER, LOW_WATER, Description


class PythonStack(ABC):
    """One connection of a stack.

    Args:
        module: the imported stack.
        connection: its RTCPeerConnection.

    Attributes:
        channels: the channels of both sides, by label.
        on_channel: called with each channel that the other side opened.
        on_message: called with the label of a channel and a message that arrived on it.
    """

    def __init__(self, module: Any, connection: Any) -> None:
        self.module = module
        self.connection = connection
        self.channels: dict[str, Any] = {}
        self.on_channel: Callable[[Any], None] = lambda channel: None
        self.on_message: Callable[[str, Any], None] = lambda label, message: None
        self._rooms: dict[str, asyncio.Event] = {}
        connection.on("datachannel", self._announced)

    def _announced(self, channel: Any) -> None:
        self._use(channel)
        self.on_channel(channel)

    def _use(self, channel: Any) -> None:
        label = channel.label
        self.channels[label] = channel
        room = self._rooms[label] = asyncio.Event()
        channel.bufferedAmountLowThreshold = LOW_WATER
        channel.on("bufferedamountlow", lambda *_: room.set())
        channel.on("message", partial(self._message, label))

    def _message(self, label: str, message: Any) -> None:
        self.on_message(label, message)

    def create(self, label: str, **init: Any) -> Any:
        """Create and return a channel."""
        channel = self._create(label, init)
        self._use(channel)
        return channel

    def _create(self, label: str, init: dict[str, Any]) -> Any:
        return self.connection.createDataChannel(label, **init)

    async def offer(self) -> Description:
        """Return an offer with all candidates."""
        return await self._describe(await self.connection.createOffer())

    async def restart(self) -> Description:
        """Return an offer that restarts ICE."""
        self.connection.restartIce()
        return await self.offer()

    async def answer(self, offer: Description) -> Description:
        """Apply an offer and return the answer with all candidates."""
        await self.accept(offer)
        return await self._describe(await self.connection.createAnswer())

    async def accept(self, description: Description) -> None:
        """Apply a description of the other side."""
        await self.connection.setRemoteDescription(self.description(description))

    def description(self, description: Description) -> Any:
        """Return a description of the stack's own type."""
        return self.module.RTCSessionDescription(sdp=description["sdp"], type=description["type"])

    async def _describe(self, description: Any) -> Description:
        await self.connection.setLocalDescription(description)
        await self.gathered()
        local = self.connection.localDescription
        return {"type": str(getattr(local.type, "value", local.type)), "sdp": local.sdp}

    @abstractmethod
    async def gathered(self) -> None:
        """Wait until the local description has all candidates."""

    def send(self, label: str, message: str | bytes) -> None:
        """Send a message on a channel."""
        self.channels[label].send(message)

    async def room(self, label: str) -> None:
        """Wait until a channel accepts more messages."""
        channel, room = self.channels[label], self._rooms[label]
        while channel.bufferedAmount > HIGH_WATER:
            room.clear()
            await room.wait()

    async def close(self) -> None:
        """Close the connection."""
        await self.connection.close()

    def status(self) -> dict[str, Any]:
        """Return what the stack reports about itself, to explain a result."""
        return {}


class Datachan(PythonStack):
    """datachan."""

    def __init__(self, module: Any, options: dict[str, Any]) -> None:
        configuration = module.RTCConfiguration(hostAddresses=[options["host"]], waitForCandidates=True)
        # Packets of 1200 bytes, as the other stacks send, unless the options turn discovery on.
        configuration.pathMtuDiscovery = bool(options.get("discovery"))
        if options.get("controller"):
            configuration.congestionControl = options["controller"]
        super().__init__(module, module.RTCPeerConnection(configuration))

    async def gathered(self) -> None:
        """Return at once: its setLocalDescription has waited already."""

    async def room(self, label: str) -> None:
        await self.channels[label].drain()

    def status(self) -> dict[str, Any]:
        association = importlib.import_module("datachan.sctp.association")
        return {"compiled": not association.__file__.endswith(".py")}


class Aiortc(PythonStack):
    """aiortc."""

    def __init__(self, module: Any, options: dict[str, Any]) -> None:
        # It has no option for its addresses, and leaves out 127.0.0.1.
        ice = importlib.import_module("aioice.ice")
        ice.get_host_addresses = lambda use_ipv4, use_ipv6: [options["host"]]  # type: ignore[attr-defined]
        super().__init__(module, module.RTCPeerConnection(module.RTCConfiguration(iceServers=[])))

    async def gathered(self) -> None:
        """Return at once: its setLocalDescription has waited already."""


class Wrtc(PythonStack):
    """libwebrtc by way of PyPI's wrtc."""

    def __init__(self, module: Any, options: dict[str, Any]) -> None:
        if options["host"].startswith("127."):
            module.allow_loopback()
        super().__init__(module, module.RTCPeerConnection())
        self.complete = asyncio.Event()
        self.connection.on("icegatheringstatechange", self._gathering)

    def _announced(self, event: Any) -> None:
        super()._announced(event.channel)

    def _message(self, label: str, event: Any) -> None:
        self.on_message(label, event.data)

    def _create(self, label: str, init: dict[str, Any]) -> Any:
        names = {"maxRetransmits": "max_retransmits", "maxPacketLifeTime": "max_packet_life_time"}
        renamed = {names.get(name, name): value for name, value in init.items()}
        return self.connection.createDataChannel(label, self.module.RTCDataChannelInit(**renamed))

    def description(self, description: Description) -> Any:
        return self.module.RTCSessionDescriptionInit(type=description["type"], sdp=description["sdp"])

    def _gathering(self, *_: object) -> None:
        if str(self.connection.iceGatheringState.value) == "complete":
            self.complete.set()

    async def gathered(self) -> None:
        self._gathering()
        await self.complete.wait()

    async def restart(self) -> Description:
        self.complete.clear()
        return await super().restart()

    async def close(self) -> None:
        self.connection.close()


STACKS: Final[dict[str, tuple[str, type[Datachan] | type[Aiortc] | type[Wrtc]]]] = {
    "datachan": ("datachan", Datachan),
    "aiortc": ("aiortc", Aiortc),
    "wrtc": ("webrtc", Wrtc),
}


def make(stack: str, options: dict[str, Any]) -> PythonStack:
    """Return a new connection of the stack with this name."""
    module, kind = STACKS[stack]
    return kind(importlib.import_module(module), options)
