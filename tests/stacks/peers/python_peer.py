"""A peer of a measurement in one of the Python stacks.

python -m tests.stacks.peers.python_peer STACK ROLE '{"message_size": 65536, "host": …, "controller": …}'
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from tests.stacks.peers.common import Description, Peer, run
from tests.stacks.peers.python_stacks import PythonStack, make


class PythonPeer(Peer):
    """A peer over a connection of a Python stack."""

    def __init__(self, stack: PythonStack) -> None:
        super().__init__()
        self.stack = stack
        stack.on_channel = lambda channel: self.channel_open.set()
        stack.on_message = self.arrived
        self._expected = 0
        self._opened = 0

    async def offer(self, labels: list[str]) -> Description:
        self._expected = len(labels)
        for label in labels:
            self.stack.create(label).on("open", self._channel_opened)
        return await self.stack.offer()

    def _channel_opened(self, *_: object) -> None:
        self._opened += 1
        if self._opened == self._expected:
            self.channel_open.set()

    async def answer(self, offer: Description) -> Description:
        return await self.stack.answer(offer)

    async def accept(self, answer: Description) -> None:
        await self.stack.accept(answer)

    def send_now(self, label: str, message: bytes) -> None:
        self.stack.send(label, message)

    async def room(self, label: str) -> None:
        await self.stack.room(label)

    async def close(self) -> None:
        await self.stack.close()

    def status(self) -> dict[str, Any]:
        return self.stack.status()


async def main(stack: str, role: str, options: dict[str, Any]) -> None:
    """Run the peer."""
    await run(lambda: PythonPeer(make(stack, options)), role, options)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
