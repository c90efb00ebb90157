"""What `datachan bench` does: measures the path between two hosts, or two processes of one, with data channels.

Whoever makes the offer drives; the other side obeys what comes on the channel "control", one JSON object a message:

    {"do": "count"}                  tell how much has come on "bulk": {"bytes": …, "time": …}, seconds of its own clock
    {"do": "stream", "seconds": …}   send on "bulk" for so long, as fast as it goes
    {"do": "show", "report": {…}}    the end: what was measured, as `Report.as_dict` has it, seen from the driver

What comes on "ping" goes back as it came. Both sides discard what comes on "bulk".
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any, Final

from datachan.peer import (
    InvalidStateError,
    PeerError,
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCSessionDescription,
    SdpError,
)
from datachan.signaling import SignalingClient, SignalingError, connect_through
from datachan.tools.decoding import ToolError

LABELS: Final = ("control", "bulk", "ping")
MESSAGE_SIZE: Final = 65_536
PING_SIZE: Final = 64
# What the other side may ask for at most, in seconds.
MAX_SECONDS: Final = 300.0
# Seconds in which the other side must answer; what still lies in queues before goes first.
_PATIENCE: Final = 60.0


class BenchError(ToolError):
    """It could not be measured; the sentence says why."""


@dataclass(frozen=True)
class Report:
    """What was measured, seen from one side.

    Attributes:
        sent, received: MB/s of messages of 64 KiB, each direction by itself.
        idle: milliseconds of a round trip with nothing else on the path, p50 and p99.
        sending, receiving: the same during those transfers.
        local, remote: the candidates of the path: type, address and port.
        packet_size: bytes of the largest SCTP packets.
    """

    sent: float
    received: float
    idle: tuple[float, float]
    sending: tuple[float, float]
    receiving: tuple[float, float]
    local: str
    remote: str
    packet_size: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """The report for people."""
        lines = [
            f"from here     {self.sent:8.1f} MB/s",
            f"to here       {self.received:8.1f} MB/s",
            f"round trip    {_spread(self.idle)} idle",
            f"              {_spread(self.sending)} while sending",
            f"              {_spread(self.receiving)} while receiving",
            f"path          {self.local} to {self.remote}, SCTP packets of {self.packet_size} bytes",
        ]
        return "\n".join(lines)


def _spread(values: tuple[float, float]) -> str:
    return f"{values[0]:8.2f} ms p50, {values[1]:8.2f} ms p99,"


def report_untrusted(told: Any) -> Report:
    """The driver's report as the other side sees it: here and there change places.

    Raises:
        BenchError: it is none.
    """
    try:
        spreads = {name: (float(told[name][0]), float(told[name][1])) for name in ("idle", "sending", "receiving")}
        return Report(
            sent=float(told["received"]),
            received=float(told["sent"]),
            idle=spreads["idle"],
            sending=spreads["receiving"],
            receiving=spreads["sending"],
            local=_printable(told["remote"]),
            remote=_printable(told["local"]),
            packet_size=int(told["packet_size"]),
        )
    except (TypeError, ValueError, KeyError, IndexError, OverflowError):
        raise BenchError("the other side sent a report that cannot be read") from None


def _printable(text: Any) -> str:
    """What could drive the terminal is replaced: the text is somebody else's."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))[:200]


class Side:
    """One side of a measurement, its channels open.

    Args:
        pc: connected.
        channels: by label, all of `LABELS`.
    """

    def __init__(self, pc: RTCPeerConnection, channels: dict[str, RTCDataChannel]) -> None:
        self._pc = pc
        self._control, self._bulk, self._ping = (channels[label] for label in LABELS)
        self._received = 0
        self._pong: asyncio.Future[None] | None = None
        self._bulk.on("message", self._count)

    def _count(self, message: str | bytes) -> None:
        self._received += len(message)

    async def stream(self, seconds: float) -> None:
        """Send for so long; what is still queued then is delivered all the same."""
        sctp = self._pc.sctp
        limit = MESSAGE_SIZE if sctp is None or not sctp.maxMessageSize else min(MESSAGE_SIZE, sctp.maxMessageSize)
        message = bytes(int(limit))
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self._bulk.send(message)
            await self._bulk.drain()

    # -- the one who drives -------------------------------------------------------------------------------------

    async def drive(self, seconds: float) -> Report:
        """Measure everything, tell the other side, and return it."""
        self._ping.on("message", self._came_back)
        idle = await self._pings(seconds / 2)
        sent, sending = await self._send(seconds)
        received, receiving = await self._receive(seconds)
        report = Report(sent, received, idle, sending, receiving, *self._path(), await self._packet_size())
        self._control.send(json.dumps({"do": "show", "report": report.as_dict()}))
        return report

    def _came_back(self, message: str | bytes) -> None:
        if self._pong is not None and not self._pong.done():
            self._pong.set_result(None)

    async def _pings(self, seconds: float) -> tuple[float, float]:
        took: list[float] = []
        ends = time.monotonic() + seconds
        while len(took) < 2 or time.monotonic() < ends:
            self._pong = asyncio.get_running_loop().create_future()
            begun = time.perf_counter()
            self._ping.send(bytes(PING_SIZE))
            async with asyncio.timeout(_PATIENCE):
                await self._pong
            took.append((time.perf_counter() - begun) * 1e3)
        return median(took), quantiles(took, n=100, method="inclusive")[98]

    async def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        self._control.send(json.dumps(question))
        async with asyncio.timeout(_PATIENCE):
            async for message in self._control:
                answer = json.loads(message)
                if isinstance(answer, dict):
                    return answer
        raise BenchError("the other side has left")

    async def _send(self, seconds: float) -> tuple[float, tuple[float, float]]:
        """MB/s from here, counted there from a quarter of the time on, when windows have grown."""
        streaming = asyncio.create_task(self.stream(seconds))
        try:
            await asyncio.sleep(seconds / 4)
            before = await self._ask({"do": "count"})
            round_trips = await self._pings(seconds / 2)
            after = await self._ask({"do": "count"})
            await streaming
        finally:
            streaming.cancel()
        taken = after["time"] - before["time"]
        return (after["bytes"] - before["bytes"]) / max(taken, 1e-9) / 1e6, round_trips

    async def _receive(self, seconds: float) -> tuple[float, tuple[float, float]]:
        self._control.send(json.dumps({"do": "stream", "seconds": seconds}))
        await asyncio.sleep(seconds / 4)
        before, begun = self._received, time.monotonic()
        round_trips = await self._pings(seconds / 2)
        rate = (self._received - before) / (time.monotonic() - begun) / 1e6
        return rate, round_trips

    def _path(self) -> tuple[str, str]:
        sctp = self._pc.sctp
        pair = None if sctp is None else sctp.transport.iceTransport.getSelectedCandidatePair()
        if pair is None:
            return "?", "?"
        local, remote = pair.local, pair.remote
        return f"{local.type} {local.address}:{local.port}", f"{remote.type} {remote.address}:{remote.port}"

    async def _packet_size(self) -> int:
        return int((await self._pc.getStats())["sctp-transport"].mtu or 0)

    # -- the one who obeys --------------------------------------------------------------------------------------

    async def obey(self) -> Report:
        """Do what the driver asks for until it shows its report.

        Raises:
            BenchError: it left before.
        """
        self._ping.on("message", self._send_back)
        streams: set[asyncio.Task[None]] = set()
        try:
            async for message in self._control:
                wanted = _object_untrusted(message)
                if wanted.get("do") == "show":
                    return report_untrusted(wanted.get("report"))
                if wanted.get("do") == "count":
                    self._control.send(json.dumps({"bytes": self._received, "time": time.monotonic()}))
                elif wanted.get("do") == "stream" and not streams:
                    seconds = wanted.get("seconds")
                    if isinstance(seconds, int | float) and 0 < seconds <= MAX_SECONDS:
                        task = asyncio.create_task(self.stream(seconds))
                        streams.add(task)
                        task.add_done_callback(streams.discard)
        finally:
            for task in streams:
                task.cancel()
            await asyncio.gather(*streams, return_exceptions=True)
        raise BenchError("the other side left before everything was measured")

    def _send_back(self, message: str | bytes) -> None:
        if self._ping.readyState == "open" and len(message) <= 1024:
            self._ping.send(message)


def _object_untrusted(message: str | bytes) -> dict[str, Any]:
    """A JSON object, or an empty one for what is none."""
    try:
        value = json.loads(message)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


class Announced:
    """Collects the channels the other side opens."""

    def __init__(self, pc: RTCPeerConnection) -> None:
        self.channels: dict[str, RTCDataChannel] = {}
        self._complete = asyncio.Event()
        pc.on("datachannel", self._add)

    def _add(self, channel: RTCDataChannel) -> None:
        if channel.label in LABELS:
            self.channels.setdefault(channel.label, channel)
        if len(self.channels) == len(LABELS):
            self._complete.set()

    async def all(self) -> dict[str, RTCDataChannel]:
        """Wait until all are there."""
        async with asyncio.timeout(_PATIENCE):
            await self._complete.wait()
        return self.channels


async def _opened(pc: RTCPeerConnection, channels: dict[str, RTCDataChannel]) -> Side:
    for channel in channels.values():
        await channel.opened()
    return Side(pc, channels)


async def between_hosts(
    server: str,
    room: str,
    seconds: float,
    configuration: RTCConfiguration,
    waiting: Callable[[], None],
) -> Report:
    """Meet the other side in a room and measure; who comes second drives.

    Args:
        server: the signaling server's address.
        room: the room's name.
        seconds: how long each direction takes.
        configuration: of our connection.
        waiting: called when nobody is there yet.

    Raises:
        BenchError: nobody could be met, or the other side left.
    """
    try:
        async with SignalingClient(server, room, name="bench") as client, RTCPeerConnection(configuration) as pc:
            announced = Announced(pc)
            drives = bool(client.was_here_before)
            channels = {label: pc.createDataChannel(label) for label in LABELS} if drives else {}
            if not drives:
                waiting()
            await connect_through(client, pc)
            side = await _opened(pc, channels or await announced.all())
            return await (side.drive(seconds) if drives else side.obey())
    except (SignalingError, InvalidStateError, ValueError) as error:
        raise BenchError(str(error)) from None
    except TimeoutError:
        raise BenchError("the other side does not answer") from None


@asynccontextmanager
async def _other_process() -> AsyncIterator[asyncio.subprocess.Process]:
    command = [sys.executable, "-m", "datachan", "bench", "--answer"]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=1 << 20)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def on_this_machine(seconds: float, configuration: RTCConfiguration) -> Report:
    """Measure with a second process of ours, without any server.

    Raises:
        BenchError: it could not be measured.
    """
    try:
        async with _other_process() as process, RTCPeerConnection(configuration) as pc:
            channels = {label: pc.createDataChannel(label) for label in LABELS}
            await pc.setLocalDescription()
            offer = pc.localDescription
            if process.stdin is None or process.stdout is None or offer is None:
                raise BenchError("the second process has no streams")
            process.stdin.write(json.dumps(offer.toJSON()).encode() + b"\n")
            answer = _object_untrusted(await process.stdout.readline())
            await pc.setRemoteDescription(RTCSessionDescription(**answer))
            async with asyncio.timeout(_PATIENCE):
                side = await _opened(pc, channels)
            return await side.drive(seconds)
    except TimeoutError:
        raise BenchError("the second process does not answer") from None
    except (InvalidStateError, PeerError, SdpError, TypeError) as error:
        raise BenchError(str(error) or "the second process ended early") from None


async def answer(configuration: RTCConfiguration) -> None:
    """Be the second process: take an offer from standard input, print the answer, and obey."""
    offer = json.loads(await asyncio.to_thread(sys.stdin.readline))
    async with RTCPeerConnection(configuration) as pc:
        announced = Announced(pc)
        await pc.setRemoteDescription(RTCSessionDescription(**offer))
        await pc.setLocalDescription()
        local = pc.localDescription
        if local is not None:
            sys.stdout.write(json.dumps(local.toJSON()) + "\n")
            sys.stdout.flush()
        await (await _opened(pc, await announced.all())).obey()
