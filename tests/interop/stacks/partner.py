"""Another stack's process, and a connection between it and a datachan peer in the test's process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Self

from datachan import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from tests.interop.stacks.installed import ROOT, Stack, environment
from tests.interop.stacks.relay import Relay
from tests.links.measure import through

PATIENCE: Final = 50.0
ENDED: Final = "the peer program ended"
# What a peer program writes to standard error, its own log included, is shown on demand.
_ERRORS: Final = None if os.environ.get("DATACHAN_STACKS_VERBOSE") else DEVNULL


class Partner(asyncio.SubprocessProtocol):
    """A running peer program."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.names = 0
        self._calls = 0
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._events: list[dict[str, Any]] = []
        self._unread = b""
        self._changed = asyncio.Event()
        self._ended = asyncio.Event()
        self._transport: asyncio.SubprocessTransport | None = None
        self._input: asyncio.WriteTransport | None = None

    @classmethod
    async def start(cls, stack: Stack, host: str, **options: Any) -> Self:
        """Start the program, with options that it knows.

        Raises:
            Missing: the stack is not installed.
        """
        command = [*stack.command(), json.dumps({"host": host, **options})]
        _, partner = await asyncio.get_running_loop().subprocess_exec(
            lambda: cls(stack), *command, cwd=ROOT, env=environment(), stdin=PIPE, stdout=PIPE, stderr=_ERRORS
        )
        return partner

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport
        stdin = transport.get_pipe_transport(0)
        assert isinstance(stdin, asyncio.WriteTransport)
        self._input = stdin

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            if line.startswith(b"{"):
                self._receive(json.loads(line))

    def _receive(self, line: dict[str, Any]) -> None:
        if "reply" in line:
            reply = self._replies.pop(line["reply"])
            if not reply.done():
                reply.set_result(line)
        else:
            self._events.append(line)
            self._changed.set()

    def process_exited(self) -> None:
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(ConnectionError(ENDED))
        self._replies.clear()
        self._ended.set()
        self._changed.set()

    @property
    def alive(self) -> bool:
        return not self._ended.is_set()

    async def call(self, connection: str, do: str, **arguments: Any) -> dict[str, Any]:
        """Send a command and return the reply.

        Raises:
            ConnectionError: the program ended.
            RuntimeError: the program replied with an error.
        """
        if not self.alive:
            raise ConnectionError(ENDED)
        self._calls += 1
        reply = self._replies[self._calls] = asyncio.get_running_loop().create_future()
        command = {"call": self._calls, "connection": connection, "do": do, **arguments}
        assert self._input is not None
        self._input.write(json.dumps(command).encode() + b"\n")
        answer = await asyncio.wait_for(reply, PATIENCE)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    async def event(self, connection: str, event: str, label: str) -> dict[str, Any]:
        """Return an event of a channel, once it has happened."""
        wanted = {"connection": connection, "event": event, "label": label}
        async with asyncio.timeout(PATIENCE):
            while True:
                for candidate in self._events:
                    if wanted.items() <= candidate.items():
                        return candidate
                if not self.alive:
                    raise ConnectionError(ENDED)
                self._changed.clear()
                await self._changed.wait()

    async def stop(self) -> None:
        """End the program."""
        assert self._transport is not None
        assert self._input is not None
        self._input.close()
        try:
            await asyncio.wait_for(self._ended.wait(), 2)
        except TimeoutError:
            self._transport.kill()
            await self._ended.wait()
        self._transport.close()


class Link:
    """A connection between datachan, in this process, and a partner.

    Attributes:
        ours: datachan's connection.
        we_offer: whether datachan makes the offer, and opens the channels that `connect` opens.
    """

    def __init__(self, partner: Partner, host: str, *, we_offer: bool, relay: Relay | None = None) -> None:
        self.partner = partner
        self.we_offer = we_offer
        partner.names += 1
        self.name = f"connection {partner.names}"
        self.ours = RTCPeerConnection(RTCConfiguration(hostAddresses=(host,)))
        self.channels: dict[str, RTCDataChannel] = {}
        self._announced = asyncio.Event()
        self._relay = relay
        self.ours.on("datachannel", self._add)

    def _add(self, channel: RTCDataChannel) -> None:
        self.channels[channel.label] = channel
        self._announced.set()

    def _to_us(self, reply: dict[str, Any]) -> RTCSessionDescription:
        if self._relay is not None:
            reply = through(self._relay.facing_a, reply)
        return RTCSessionDescription(sdp=reply["sdp"], type=reply["type"])

    def _to_partner(self) -> str:
        local = self.ours.localDescription
        assert local is not None
        if self._relay is None:
            return local.sdp
        return through(self._relay.facing_z, {"type": local.type, "sdp": local.sdp})["sdp"]

    async def connect(self, *channels: dict[str, Any]) -> list[RTCDataChannel]:
        """Open channels, created by the offering side; return our ends, open on both sides."""
        if self.we_offer:
            for parameters in channels:
                self._add(self.ours.createDataChannel(**parameters))
            await self.offer()
        else:
            await self.answer(await self.partner.call(self.name, "offer", channels=channels))
        return [await self.opened(parameters["label"]) for parameters in channels]

    async def offer(self, **options: Any) -> None:
        """Make an offer and apply the partner's answer."""
        await self.ours.setLocalDescription(await self.ours.createOffer(**options))
        answer = await self.partner.call(self.name, "answer", sdp=self._to_partner())
        await self.ours.setRemoteDescription(self._to_us(answer))

    async def answer(self, offer: dict[str, Any]) -> None:
        """Answer the partner's offer."""
        description, late = self._to_us(offer), []
        if self.partner.stack.late_candidates:
            description, late = without_candidates(description)
        await self.ours.setRemoteDescription(description)
        await self.ours.setLocalDescription()
        await self.partner.call(self.name, "accept", sdp=self._to_partner())
        for candidate in late:
            await self.ours.addIceCandidate({"candidate": candidate, "sdpMLineIndex": 0})

    async def opened(self, label: str) -> RTCDataChannel:
        """Return our end of a channel, once both ends are open."""
        async with asyncio.timeout(PATIENCE):
            while label not in self.channels:
                self._announced.clear()
                await self._announced.wait()
            await self.channels[label].opened()
        await self.partner.event(self.name, "open", label)
        return self.channels[label]

    async def close(self) -> None:
        """Close both sides."""
        await self.ours.close()
        if self.partner.alive:
            with contextlib.suppress(ConnectionError, RuntimeError):
                await self.partner.call(self.name, "end")


def without_candidates(description: RTCSessionDescription) -> tuple[RTCSessionDescription, list[str]]:
    """Return a description without its candidates, and them, with the empty text for their end."""
    lines = description.sdp.splitlines(keepends=True)
    candidates = [line for line in lines if line.startswith("a=candidate:")]
    bare = [line for line in lines if not line.startswith(("a=candidate:", "a=end-of-candidates"))]
    texts = [line.removeprefix("a=").strip() for line in candidates]
    return RTCSessionDescription("".join(bare), description.type), [*texts, ""]


@asynccontextmanager
async def linked(partner: Partner, host: str, *, we_offer: bool, relay: Relay | None = None) -> AsyncIterator[Link]:
    """Yield a connection that is not yet negotiated, and close it afterwards."""
    link = Link(partner, host, we_offer=we_offer, relay=relay)
    try:
        yield link
    finally:
        await link.close()


async def receive(channel: RTCDataChannel, count: int = 1) -> list[str | bytes]:
    """Return the next messages of a channel."""
    async with asyncio.timeout(PATIENCE):
        return [await anext(channel) for _ in range(count)]


async def echoed(channel: RTCDataChannel, *messages: str | bytes) -> None:
    """Send messages and check that each comes back as it was sent, in order."""
    for message in messages:
        channel.send(message)
    assert await receive(channel, len(messages)) == list(messages)
