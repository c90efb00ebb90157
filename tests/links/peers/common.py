"""What the peer programs have in common: the lines they exchange with the benchmark; it knows no stack.

Each line is JSON. The sender prints its offer and is given the answer, the receiver the reverse. Once its channel is
open the sender sends as fast as it may and prints `{"open": …}`; on each line `"count"` the receiver prints how many
bytes have arrived and when. Both end when their standard input does.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from abc import ABC, abstractmethod
from typing import Any, Final

Description = dict[str, str]

# The most that waits in a channel for the stack to take it, and what it falls to before there is more, in bytes.
HIGH_WATER: Final = 4 << 20
LOW_WATER: Final = 1 << 20


class Peer(ABC):
    """One end of a measurement in some stack.

    Attributes:
        received: bytes of messages that arrived.
        channel_open: set once the channel can be used.
    """

    def __init__(self) -> None:
        self.received = 0
        self.channel_open = asyncio.Event()

    @abstractmethod
    async def offer(self) -> Description:
        """Make the channel, and the offer with all candidates."""

    @abstractmethod
    async def answer(self, offer: Description) -> Description:
        """Take the offer; the answer with all candidates."""

    @abstractmethod
    async def accept(self, answer: Description) -> None:
        """Take the answer."""

    @abstractmethod
    async def send(self, message: bytes) -> None:
        """Send one message as soon as there is room for it."""

    def status(self) -> dict[str, Any]:
        """What the stack tells about itself, for looking into a result."""
        return {}


def say(message: dict[str, Any]) -> None:
    """Tell the benchmark something."""
    print(json.dumps(message), flush=True)


async def run(peer: Peer, role: str, message_size: int) -> None:
    """Play a role until standard input ends."""
    lines = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    sending = None
    if role == "sender":
        say({"description": await peer.offer()})
        await peer.accept(json.loads(await lines.readline())["description"])
        sending = asyncio.ensure_future(_send(peer, bytes(message_size)))
    else:
        say({"description": await peer.answer(json.loads(await lines.readline())["description"])})
    while await lines.readline():
        if sending is not None and sending.done():
            sending.result()
        say({"bytes": peer.received, "time": time.monotonic(), **peer.status()})
    # An orderly end would have to wait for what is queued: nobody needs that here.
    os._exit(0)


async def _send(peer: Peer, message: bytes) -> None:
    await peer.channel_open.wait()
    say({"open": time.monotonic()})
    while True:
        await peer.send(message)
