"""Test a channel server that is mounted into a Starlette application, run by uvicorn, as FastAPI's users do it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from datachan.server import AsgiApplication, ChannelServer, Connection

from .client import LOOPBACK, PATIENCE, connected


async def echo(connection: Connection) -> None:
    async for channel in connection:
        async for message in channel:
            channel.send(message)


@contextlib.asynccontextmanager
async def running(application) -> AsyncIterator[str]:
    """Run uvicorn on a free port, and yield its address."""
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_level="critical"))
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(PATIENCE):
        while not server.started:
            await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@pytest.mark.parametrize("path", ["/rtc", "/below/rtc"])
async def test_works_below_a_path_of_starlette(path: str) -> None:
    channels = ChannelServer(echo, configuration=LOOPBACK)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await channels.close()

    application = Starlette(routes=[Mount(path, AsgiApplication(channels))], lifespan=lifespan)
    async with running(application) as url, connected(f"{url}{path}/") as (client, channel):
        channel.send("hello")
        assert await anext(channel) == "hello"
        response = await client.patch("a=end-of-candidates\r\n")
        assert response.status == 204
        async with client.http.delete(client.session) as response:
            assert response.status == 200
    assert not channels.states


async def test_works_alone_and_closes_with_the_application() -> None:
    channels = ChannelServer(echo, configuration=LOOPBACK)
    async with running(AsgiApplication(channels)) as url, connected(f"{url}/") as (client, channel):
        channel.send("hello")
        assert await anext(channel) == "hello"
        async with client.http.post(
            f"{url}/", data="x" * 70_000, headers={"Content-Type": "application/sdp"}
        ) as refused:
            assert refused.status == 413
    assert not channels.ready


async def test_refuses_websockets_and_bodies_that_break_off() -> None:
    application = AsgiApplication(ChannelServer(echo))
    sent: list[dict[str, object]] = []

    async def send(message) -> None:
        sent.append(message)

    async def leave() -> dict[str, object]:
        return {"type": "http.disconnect"}

    await application({"type": "websocket"}, leave, send)
    assert sent.pop() == {"type": "websocket.close", "code": 1000}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": [(b"content-type", b"application/sdp")],
        "client": ("127.0.0.1", 1),
    }
    await application(scope, leave, send)
    assert sent[0]["status"] == 400
