"""Connections and SCTP sockets in the event loop of uvloop, which uvicorn and many programs use."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import uvloop

from datachan.sockets import sctpsocket_tcp
from tests.pairs import Pair, pair, soon


def run(program: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(program)


async def ping(p: Pair, count: int) -> None:
    for number in range(count):
        p.a_channel.send(f"{number}")
        assert await soon(anext(p.z_channel)) == f"{number}"
        p.z_channel.send(number.to_bytes(2))
        assert await soon(anext(p.a_channel)) == number.to_bytes(2)


def test_messages_in_turn_on_several_connections() -> None:
    async def program() -> None:
        async with pair() as one, pair() as two, pair() as three:
            await asyncio.gather(*(ping(p, 500) for p in (one, two, three)))

    run(program())


def test_more_data_than_a_window() -> None:
    async def program() -> None:
        async with pair() as p:

            async def send() -> None:
                for _ in range(40):
                    p.a_channel.send(bytes(100_000))
                    await p.a_channel.drain()

            sending = asyncio.create_task(send())
            assert sum([len(await soon(anext(p.z_channel))) for _ in range(40)]) == 4_000_000
            await soon(sending)

    run(program())


def test_sctp_sockets() -> None:
    async def program() -> None:
        async with sctpsocket_tcp(udp_port=0) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            async with sctpsocket_tcp(remote_udp_port=listener.udp_port) as client:
                await soon(client.connect(listener.getsockname()))
                accepted, _ = await soon(listener.accept())
                async with accepted:
                    await client.send(b"hello")
                    assert await soon(accepted.recv(100)) == b"hello"

    run(program())
