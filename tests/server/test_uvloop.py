"""The server in the event loop of uvloop: its HTTP port, its shared UDP port, and the end."""

from __future__ import annotations

import asyncio

import uvloop

from datachan.server import Connection, serve

from .client import LOOPBACK, connected


async def _echo(connection: Connection) -> None:
    async for channel in connection:
        async for message in channel:
            channel.send(message)


async def _exchange() -> list[str | bytes]:
    async with (
        serve(_echo, "127.0.0.1", 0, udp_port=0, configuration=LOOPBACK) as server,
        connected(server.url) as (_, first),
        connected(server.url) as (_, second),
    ):
        first.send("hello")
        second.send(b"world")
        return [await anext(aiter(first)), await anext(aiter(second))]


def test_clients_connect_over_one_port_and_get_their_messages_back() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(asyncio.wait_for(_exchange(), 30)) == ["hello", b"world"]
