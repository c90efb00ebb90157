"""Two workers of a server, here in one process: requests and datagrams that arrive at the wrong one, and its limits."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import aiohttp
import pytest

from datachan.server import ChannelServerOptions, Connection, Worker, run_workers, serve
from tests.examples.processes import run
from tests.ports import free_port

from .client import PATIENCE, connected, connecting

CLIENTS = 8


async def echo(connection: Connection) -> None:
    async for channel in connection:
        channel.on("message", channel.send)


def workers(folder: Path, **options: int) -> list[serve]:
    """Return the workers of a server, which do not listen yet."""
    port, udp_port = free_port(), free_port()
    return [
        serve(
            echo,
            port=port,
            udp_port=udp_port,
            options=ChannelServerOptions(**options),  # type: ignore[arg-type]
            worker=Worker(index, 2, folder),
        )
        for index in range(2)
    ]


async def test_requests_and_datagrams_reach_the_worker_of_their_connection(tmp_path: Path) -> None:
    first, second = workers(tmp_path)
    async with first, second, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(first.url)) for _ in range(CLIENTS)]
        for client, channel in clients:
            channel.send("hello")
            async with asyncio.timeout(PATIENCE):
                assert await anext(channel) == "hello"
            async with aiohttp.ClientSession() as http:  # TCP connections of their own, so any worker answers
                client.http, before = http, client.http
                response = await client.patch("a=end-of-candidates\r\n", if_match='"another"')
                assert response.status == 412
                assert (await http.delete(client.session)).status == 200
                client.http = before
            async with asyncio.timeout(PATIENCE):
                await channel.closed()
        refused = first.channels.counts.refused + second.channels.counts.refused
        assert refused == CLIENTS


async def test_connections_of_a_worker_that_is_gone_are_not_found(tmp_path: Path) -> None:
    first, second = workers(tmp_path)
    async with first:
        gone = second.channels._colleagues
        assert gone is not None
        async with aiohttp.ClientSession() as http, http.delete(f"{first.url}/{gone.mark}rest") as response:
            assert response.status == 404
            assert (await response.json())["error"]["code"] == "no-such-connection"


async def test_each_worker_has_its_share_of_the_limits(tmp_path: Path) -> None:
    first, second = workers(tmp_path, max_connections=5)
    assert {one.channels.options.max_connections for one in (first, second)} == {3}
    async with first, contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(connected(first.url))
        async with connecting(first.url) as one_more:
            one_more.pc.createDataChannel("state")
            assert (await one_more.offer()).status == 503


async def test_a_program_whose_workers_cannot_start_ends(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text(
        "import sys\n"
        "from datachan.server import run_workers\n"
        "async def main(worker):\n"
        "    sys.exit(3)\n"
        "sys.exit(run_workers(main, 1))\n"
    )
    async with run(file) as program:
        assert await program.ends() == 1
    assert "worker 0 ended with status 3, like those before it" in program.printed


async def test_workers_have_to_share_named_ports(tmp_path: Path) -> None:
    async def handler(_: object) -> None:
        raise AssertionError

    with pytest.raises(ValueError, match="have to be named"):
        serve(handler, port=0, udp_port=5000, worker=Worker(0, 2, tmp_path))
    with pytest.raises(ValueError, match="from 1 to 64"):
        run_workers(handler, 65)  # type: ignore[arg-type]
