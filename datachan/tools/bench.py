"""`datachan bench`: measures the path between two hosts, or two processes of one host, with data channels.

The side that makes the offer is the driver. The other side follows its requests, which arrive on the channel "control",
one JSON object per message:

    {"do": "count"}                  reply with the bytes received on "bulk": {"bytes": …, "time": …}, time in seconds
    {"do": "stream", "seconds": …}   send on "bulk" for this time, as fast as possible
    {"do": "show", "report": {…}}    the end: the measurements, as in `Report.as_dict`, seen from the driver

The other side sends each message on "ping" back. Both sides discard messages on "bulk".
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
MAX_SECONDS: Final = 300.0
"""Seconds that the driver may request at most."""
# Seconds within which the other side must answer; messages queued before the question are delivered first.
_PATIENCE: Final = 60.0


class BenchError(ToolError):
    """The measurement failed; the message is a sentence with the reason."""


@dataclass(frozen=True)
class Report:
    """The measurements, seen from one side.

    Attributes:
        sent, received: MB/s in each direction, one after the other, with messages of 64 KiB.
        idle: Milliseconds of a round trip on an otherwise idle path, p50 and p99.
        sending, receiving: Milliseconds of a round trip during those transfers, p50 and p99.
        local, remote: The candidates of the path: type, address and port.
        packet_size: Bytes of the largest SCTP packets.
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
        """Return the report as a dictionary for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """Return the report as text for people."""
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


def report_untrusted(report: Any) -> Report:
    """Return the driver's report as the other side sees it: here and there are exchanged.

    Raises:
        BenchError: The report is malformed.
    """
    try:
        spreads = {name: (float(report[name][0]), float(report[name][1])) for name in ("idle", "sending", "receiving")}
        return Report(
            sent=float(report["received"]),
            received=float(report["sent"]),
            idle=spreads["idle"],
            sending=spreads["receiving"],
            receiving=spreads["sending"],
            local=_printable(report["remote"]),
            remote=_printable(report["local"]),
            packet_size=int(report["packet_size"]),
        )
    except (TypeError, ValueError, KeyError, IndexError, OverflowError):
        raise BenchError("the other side sent a report that cannot be read") from None


def _printable(text: Any) -> str:
    """Replace everything in the other side's text that could control the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))[:200]


class Side:
    """One side of a measurement, with open channels.

    Args:
        pc: A connected peer connection.
        channels: Its channels by label, one for each of `LABELS`.
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
        """Send for this many seconds. Messages that are still queued then are delivered afterwards."""
        sctp = self._pc.sctp
        limit = MESSAGE_SIZE if sctp is None or not sctp.maxMessageSize else min(MESSAGE_SIZE, sctp.maxMessageSize)
        message = bytes(int(limit))
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self._bulk.send(message)
            await self._bulk.drain()

    # -- the driver ----------------------------------------------------------------------------------------------------

    async def drive(self, seconds: float) -> Report:
        """Measure everything, send the report to the other side, and return it."""
        self._ping.on("message", self._pong_arrived)
        idle = await self._pings(seconds / 2)
        sent, sending = await self._send(seconds)
        received, receiving = await self._receive(seconds)
        report = Report(sent, received, idle, sending, receiving, *self._path(), await self._packet_size())
        self._control.send(json.dumps({"do": "show", "report": report.as_dict()}))
        return report

    def _pong_arrived(self, message: str | bytes) -> None:
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
        """Return the MB/s that the receiver counted, without the first quarter of the time, in which windows grow."""
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

    # -- the other side ------------------------------------------------------------------------------------------------

    async def follow(self) -> Report:
        """Follow the driver's requests until it shows its report, and return that report.

        Raises:
            BenchError: The driver left before that.
        """
        self._ping.on("message", self._echo_ping)
        streams: set[asyncio.Task[None]] = set()
        try:
            async for message in self._control:
                request = _object_untrusted(message)
                if request.get("do") == "show":
                    return report_untrusted(request.get("report"))
                if request.get("do") == "count":
                    self._control.send(json.dumps({"bytes": self._received, "time": time.monotonic()}))
                elif request.get("do") == "stream" and not streams:
                    seconds = request.get("seconds")
                    if isinstance(seconds, int | float) and 0 < seconds <= MAX_SECONDS:
                        task = asyncio.create_task(self.stream(seconds))
                        streams.add(task)
                        task.add_done_callback(streams.discard)
        finally:
            for task in streams:
                task.cancel()
            await asyncio.gather(*streams, return_exceptions=True)
        raise BenchError("the other side left before everything was measured")

    def _echo_ping(self, message: str | bytes) -> None:
        if self._ping.readyState == "open" and len(message) <= 1024:
            self._ping.send(message)


def _object_untrusted(message: str | bytes) -> dict[str, Any]:
    """Return a JSON object, or an empty dictionary if the message is not a JSON object."""
    try:
        value = json.loads(message)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


class IncomingChannels:
    """Collects the channels that the other side opens."""

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
        """Wait for all channels and return them by label."""
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
    """Meet the other side in a room and measure; the side that joins second is the driver.

    Args:
        server: The address of the signaling server.
        room: The name of the room.
        seconds: The time for each direction.
        configuration: The configuration of the connection.
        waiting: Called if the other side is not in the room yet.

    Raises:
        BenchError: No connection was established, or the other side left.
    """
    try:
        async with (
            SignalingClient(server, room, name="bench") as client,
            RTCPeerConnection(client.configuration(configuration)) as pc,
        ):
            incoming = IncomingChannels(pc)
            drives = bool(client.peers_at_join)
            channels = {label: pc.createDataChannel(label) for label in LABELS} if drives else {}
            if not drives:
                waiting()
            await connect_through(client, pc)
            side = await _opened(pc, channels or await incoming.all())
            return await (side.drive(seconds) if drives else side.follow())
    except (SignalingError, InvalidStateError, ValueError) as error:
        raise BenchError(str(error)) from None
    except TimeoutError:
        raise BenchError("the other side is connected, but has stopped answering") from None


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
    """Measure with a second process on this machine, without a server.

    Raises:
        BenchError: The measurement failed.
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
    """Serve `on_this_machine`: read an offer from standard input, print the answer, and follow the driver."""
    offer = json.loads(await asyncio.to_thread(sys.stdin.readline))
    async with RTCPeerConnection(configuration) as pc:
        incoming = IncomingChannels(pc)
        await pc.setRemoteDescription(RTCSessionDescription(**offer))
        await pc.setLocalDescription()
        local = pc.localDescription
        if local is not None:
            sys.stdout.write(json.dumps(local.toJSON()) + "\n")
            sys.stdout.flush()
        await (await _opened(pc, await incoming.all())).follow()
