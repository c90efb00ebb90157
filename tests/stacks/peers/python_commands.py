"""Connections in one of the Python stacks that carry out commands; README.md describes their lines.

python -m tests.stacks.peers.python_commands STACK '{"host": …}'
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from tests.stacks.peers.common import say, standard_input
from tests.stacks.peers.python_stacks import make

_PARAMETERS = ("ordered", "maxRetransmits", "maxPacketLifeTime", "protocol")


class Connection:
    """A connection whose channels echo every message."""

    def __init__(self, name: str, stack: str, options: dict[str, Any]) -> None:
        self.name = name
        self.stack = make(stack, options)
        self.stack.on_channel = self._watch
        self.stack.on_message = self.stack.send

    def create(self, label: str, **init: Any) -> None:
        """Create a channel."""
        self._watch(self.stack.create(label, **init))

    def _watch(self, channel: Any) -> None:
        channel.on("close", lambda *_: say({"event": "closed", "connection": self.name, "label": channel.label}))
        if getattr(channel.readyState, "value", channel.readyState) == "open":
            self._opened(channel)
        else:
            channel.on("open", lambda *_: self._opened(channel))

    def _opened(self, channel: Any) -> None:
        parameters = {name: getattr(channel, name) for name in _PARAMETERS}
        say({"event": "open", "connection": self.name, "label": channel.label, **parameters})

    async def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out a command and return the reply."""
        match command["do"]:
            case "offer":
                for channel in command["channels"]:
                    self.create(**channel)
                return await self.stack.offer()
            case "answer":
                return await self.stack.answer({"type": "offer", "sdp": command["sdp"]})
            case "accept":
                await self.stack.accept({"type": "answer", "sdp": command["sdp"]})
            case "restart":
                return await self.stack.restart()
            case "create":
                self.create(**command["channel"])
            case "close":
                self.stack.channels[command["label"]].close()
            case "end":
                await self.stack.close()
        return {}


async def main(stack: str, options: dict[str, Any]) -> None:
    """Carry out commands until standard input ends."""
    lines = await standard_input()
    connections: dict[str, Connection] = {}
    pending: set[asyncio.Task[None]] = set()

    async def carry_out(command: dict[str, Any]) -> None:
        name, reply = command["connection"], {"reply": command["call"]}
        try:
            if name not in connections:
                connections[name] = Connection(name, stack, options)
            say({**reply, **await connections[name].obey(command)})
        except Exception as error:
            say({**reply, "error": repr(error)})

    while line := await lines.readline():
        task = asyncio.create_task(carry_out(json.loads(line)))
        pending.add(task)
        task.add_done_callback(pending.discard)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
