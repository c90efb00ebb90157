"""Members of rooms that never read, and clients of one address that take all rooms or connections."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from datachan.signaling import ServerOptions, SignalingServer
from datachan.signaling.client_address import Network

PATIENCE = 20.0


@contextlib.asynccontextmanager
async def running(options: ServerOptions) -> AsyncIterator[str]:
    async with served(SignalingServer(options)) as url:
        yield url


@contextlib.asynccontextmanager
async def served(server: SignalingServer) -> AsyncIterator[str]:
    runner = web.AppRunner(server.create_app(), shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def loopback() -> tuple[Network, ...]:
    return (ipaddress.ip_network("127.0.0.0/8"),)


async def test_one_address_opens_only_its_share_of_websockets_and_others_get_in() -> None:
    options = ServerOptions(max_connections_per_address=3, trusted_proxies=loopback())
    async with running(options) as url, aiohttp.ClientSession() as session:

        async def enter(address: str) -> aiohttp.ClientWebSocketResponse:
            return await session.ws_connect(f"{url}/api/v1/rooms/kitchen", headers={"X-Forwarded-For": address})

        held = [await enter(f"2001:db8::{number}") for number in range(3)]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await enter("2001:db8::99")
        assert refusal.value.status == 503
        other = await enter("192.0.2.1")
        await held[0].close()
        for socket in [*held, other]:
            await socket.close()


async def test_a_member_that_never_reads_is_ended_by_bytes_and_nothing_else_waits() -> None:
    options = ServerOptions(outbound_bytes=200_000, message_burst=1e6, max_faults=10_000)
    async with running(options) as url, aiohttp.ClientSession() as session:
        ada = await session.ws_connect(f"{url}/api/v1/rooms/kitchen")
        await ada.send_json({"type": "join", "version": 1, "name": "Ada"})
        assert (await ada.receive_json())["type"] == "welcome"
        reader, writer = await silent_member(url)
        lazy = (await ada.receive_json())["peer"]["id"]
        offer = {"type": "offer", "to": lazy, "session": "s", "sdp": "v=0\r\n" + "x" * 20_000}
        sending = asyncio.create_task(send_often(ada, offer, 2000))
        async with asyncio.timeout(PATIENCE):
            message = await ada.receive()
            while message.type is WSMsgType.TEXT and json.loads(message.data)["type"] == "error":
                message = await ada.receive()
        assert json.loads(message.data) == {"type": "peer-left", "id": lazy}
        await sending
        writer.close()
        await ada.close()
        assert reader is not None


async def test_the_slowest_reader_is_ended_when_too_many_bytes_wait_for_all() -> None:
    options = ServerOptions(outbound_bytes=1 << 30, outbound_bytes_of_all=400_000, message_burst=1e6, max_faults=10_000)
    server = SignalingServer(options)
    async with served(server) as url, aiohttp.ClientSession() as session:
        ada = await session.ws_connect(f"{url}/api/v1/rooms/kitchen")
        await ada.send_json({"type": "join", "version": 1, "name": "Ada"})
        await ada.receive_json()
        lazy: dict[str, asyncio.StreamWriter] = {}
        for _ in range(4):
            _, writer = await silent_member(url)
            lazy[(await ada.receive_json())["peer"]["id"]] = writer
        left: list[str] = []
        most = 0
        async with asyncio.timeout(PATIENCE):
            while len(left) < len(lazy):
                for peer in lazy:
                    message = {"type": "offer", "to": peer, "session": "s", "sdp": "v=0\r\n" + "x" * 20_000}
                    await ada.send_json(message)
                most = max(most, server.outbound.total)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.001):
                        answer = await ada.receive_json()
                        if answer["type"] == "peer-left":
                            left.append(answer["id"])
        assert sorted(left) == sorted(lazy)
        assert 0 < most <= 400_000
        await ada.send_json({"type": "offer", "to": "absent", "session": "s", "sdp": "v=0\r\n"})
        while (await ada.receive_json()).get("code") != "no-such-peer":
            pass
        for writer in lazy.values():
            writer.close()
        await ada.close()
        async with asyncio.timeout(PATIENCE):
            while server.outbound.total:
                await asyncio.sleep(0)


async def test_one_message_that_a_member_does_not_read_in_time_ends_it() -> None:
    options = ServerOptions(outbound_bytes=1 << 30, write_timeout=0.3, message_burst=1e6, max_faults=10_000)
    async with running(options) as url, aiohttp.ClientSession() as session:
        ada = await session.ws_connect(f"{url}/api/v1/rooms/kitchen")
        await ada.send_json({"type": "join", "version": 1, "name": "Ada"})
        await ada.receive_json()
        reader, writer = await silent_member(url)
        lazy = (await ada.receive_json())["peer"]["id"]
        offer = {"type": "offer", "to": lazy, "session": "s", "sdp": "v=0\r\n" + "x" * 30_000}
        # Larger than what the sockets of both sides hold, so that the server has to wait for the member.
        sending = asyncio.create_task(send_often(ada, offer, 600))
        async with asyncio.timeout(PATIENCE):
            message = await ada.receive_json()
            while message["type"] == "error":
                message = await ada.receive_json()
        assert message == {"type": "peer-left", "id": lazy}
        await sending
        writer.close()
        await ada.close()
        assert reader is not None


async def send_often(socket: aiohttp.ClientWebSocketResponse, message: object, times: int) -> None:
    with contextlib.suppress(ConnectionError):
        for _ in range(times):
            await socket.send_json(message)


async def silent_member(
    url: str, room: str = "kitchen", headers: Mapping[str, str] = MappingProxyType({})
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Join a room over a bare TCP connection with a small receive buffer, and never read from it."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    writer.write(
        f"GET /api/v1/rooms/{room} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n".encode()
        + "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
        + b"\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    join = json.dumps({"type": "join", "version": 1, "name": "Lazy"}).encode()
    # A client masks its frames; a mask of zeros leaves the text as it is (RFC 6455, section 5.3).
    writer.write(bytes([0x81, 0x80 | len(join), 0, 0, 0, 0]) + join)
    await writer.drain()
    return reader, writer
