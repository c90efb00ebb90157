"""One measurement: two peers of a stack, the link between them, and the data that crosses it in a given time."""

from __future__ import annotations

import asyncio
import math
import re
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

from tests.links.model import Link
from tests.links.process import Address, Emulator
from tests.stacks.process import SETUP_PATIENCE, Contender, PeerProcess

MESSAGE_SIZE: Final = 65_536
TRANSFER_MESSAGE_SIZE: Final = 16_384
POLL: Final = 0.01
"""Seconds between two questions how much of a transfer has arrived: the resolution of its time."""
TRANSFER_PATIENCE: Final = 60.0
"""Seconds after which a transfer is given up. A link that loses packets keeps some stacks busy for minutes."""


@dataclass(frozen=True)
class Result:
    """The result of one measurement.

    Attributes:
        seconds: the length of the measurement, after the ramp.
        goodput: application bits per second.
        share: goodput as a share of the link's rate.
        cpu: processor seconds of both peers in that time.
        emulator: the emulator's account of the whole run.
        curve: (seconds since the channel opened, application bytes received), several times a second.
        status: what the peers reported about themselves at the end.
    """

    seconds: float
    goodput: float
    share: float
    cpu: float
    emulator: dict[str, Any]
    curve: list[tuple[float, int]]
    status: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the result for JSON."""
        return asdict(self)


def through(address: Address, description: dict[str, str]) -> dict[str, str]:
    """Return a description whose only candidate is the emulator's port.

    Args:
        address: the port facing the peer that gets the description.
        description: as the other peer wrote it.
    """
    host, port = address
    family = "IP6" if ":" in host else "IP4"
    candidate = f"a=candidate:1 1 udp 2130706431 {host} {port} typ host"
    lines = [
        line
        for line in description["sdp"].replace("\r\n", "\n").split("\n")
        if line and not line.startswith(("a=candidate:", "a=end-of-candidates"))
    ]
    sdp = "\r\n".join([*lines, candidate, "a=end-of-candidates", ""])
    sdp = re.sub(r"^m=application \d+", f"m=application {port}", sdp, flags=re.MULTILINE)
    sdp = re.sub(r"^(m=application [^\r]*\r\n)c=[^\r]*", rf"\g<1>c=IN {family} {host}", sdp, flags=re.MULTILINE)
    return {"type": description["type"], "sdp": sdp}


async def connect(sender: PeerProcess, receiver: PeerProcess, emulator: Emulator) -> float:
    """Exchange offer and answer through the emulator; return when the sender found its channel open."""
    offer = (await sender.receive("description"))["description"]
    receiver.send({"description": through(emulator.facing_z, offer)})
    answer = (await receiver.receive("description"))["description"]
    sender.send({"description": through(emulator.facing_a, answer)})
    opened: float = (await sender.receive("open"))["open"]
    return opened


async def measure(
    contender: Contender, link: Link, *, host: str, ramp: float, seconds: float, seed: int = 0, step: float = 0.5
) -> Result:
    """Let one peer send to the other through a link as fast as it can.

    Args:
        contender: the stack of both peers.
        link: the link between them.
        host: an address of this machine that the stack can use.
        ramp: seconds after the channel opened that are not measured.
        seconds: seconds that are measured.
        seed: the seed of the random losses.
        step: seconds between the points of the curve.

    Raises:
        RuntimeError: a peer ended by itself.
        TimeoutError: no channel opened in time.
    """
    peers: list[PeerProcess] = []
    emulator = await asyncio.to_thread(Emulator, link, host, seed)
    try:
        options = {"message_size": MESSAGE_SIZE, "host": host}
        sender = await PeerProcess.start(contender, "sender", options)
        peers.append(sender)
        receiver = await PeerProcess.start(contender, "receiver", options)
        peers.append(receiver)
        async with asyncio.timeout(SETUP_PATIENCE):
            opened = await connect(sender, receiver, emulator)
        curve: list[tuple[float, int]] = []
        await _follow(receiver, curve, opened, ramp, step)
        cpu = sender.cpu() + receiver.cpu()
        first = curve[-1]
        last = await _follow(receiver, curve, opened, ramp + seconds, step)
        cpu = sender.cpu() + receiver.cpu() - cpu
        taken = curve[-1][0] - first[0]
        goodput = (curve[-1][1] - first[1]) * 8 / taken
        status = {"sender": await sender.count(), "receiver": last}
        report = await asyncio.to_thread(emulator.report)
        return Result(taken, goodput, goodput / link.rate, cpu, report, curve, status)
    finally:
        for peer in peers:
            await peer.end()
        await asyncio.to_thread(emulator.close)


async def transfer(contender: Contender, link: Link, *, host: str, size: int, seed: int = 0) -> float:
    """Return the seconds from the opening of the channel to the arrival of the last of `size` bytes.

    Infinity stands for a transfer that takes longer than `TRANSFER_PATIENCE`.

    Args:
        contender: the stack of both peers.
        link: the link between them.
        host: an address of this machine that the stack can use.
        size: application bytes.
        seed: the seed of the random losses.

    Raises:
        RuntimeError: a peer ended by itself.
        TimeoutError: no channel opened in time.
    """
    peers: list[PeerProcess] = []
    emulator = await asyncio.to_thread(Emulator, link, host, seed)
    try:
        options = {"message_size": TRANSFER_MESSAGE_SIZE, "host": host, "total": size}
        sender = await PeerProcess.start(contender, "sender", options)
        peers.append(sender)
        receiver = await PeerProcess.start(contender, "receiver", options)
        peers.append(receiver)
        async with asyncio.timeout(SETUP_PATIENCE):
            opened = await connect(sender, receiver, emulator)
        while True:
            answer = await receiver.count()
            took = float(answer["time"]) - opened
            if answer["bytes"] >= size:
                return took
            if took > TRANSFER_PATIENCE:
                return math.inf
            await asyncio.sleep(POLL)
    finally:
        for peer in peers:
            await peer.end()
        await asyncio.to_thread(emulator.close)


async def _follow(
    receiver: PeerProcess, curve: list[tuple[float, int]], opened: float, until: float, step: float
) -> dict[str, Any]:
    """Ask the receiver for its count from time to time until `until`; return its last answer."""
    while True:
        elapsed = time.monotonic() - opened
        await asyncio.sleep(max(0.0, min(step, until - elapsed)))
        answer = await receiver.count()
        curve.append((answer["time"] - opened, answer["bytes"]))
        if curve[-1][0] >= until:
            return answer
