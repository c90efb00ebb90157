"""Strangers at the HTTP port: silent connections, half requests, shares of one address."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp.http_exceptions import BadHttpMessage

from datachan.serve import ServeOptions, http_logger, serve
from datachan.signaling import ServerOptions
from datachan.signaling.client_address import client_address, share_key
from datachan.signaling.door import Door, DoorOptions, available_descriptors

PATIENCE = 20.0


@contextlib.asynccontextmanager
async def serving(door: DoorOptions, server: ServerOptions | None = None) -> AsyncIterator[str]:
    """Run `datachan serve` in this process on a free port."""
    stop, address = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve(ServeOptions(port=0, door=door, server=server or ServerOptions()), address.set_result, stop)
    )
    try:
        async with asyncio.timeout(PATIENCE):
            yield await address
    finally:
        stop.set()
        await task


def port_of(url: str) -> int:
    return int(url.rstrip("/").rpartition(":")[2])


async def connect(url: str, request: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
    writer.write(request)
    await writer.drain()
    return reader, writer


async def is_answered(url: str) -> bool:
    async with aiohttp.ClientSession() as session, session.get(f"{url}healthz") as response:
        return response.status == 200


async def until_ended(reader: asyncio.StreamReader) -> bytes:
    """Return the bytes that the server sent before it closed the connection."""
    with contextlib.suppress(ConnectionError):
        return await reader.read()
    return b""


@pytest.mark.parametrize(
    "request_bytes",
    [b"", b"GET / HT", b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: "],
    ids=["silent", "half-a-line", "half-a-header"],
)
async def test_a_connection_without_a_complete_request_is_ended(request_bytes: bytes) -> None:
    async with serving(DoorOptions(request_timeout=0.3)) as url:
        reader, writer = await connect(url, request_bytes)
        assert await until_ended(reader) == b""
        writer.close()


async def test_an_idle_connection_is_ended_after_its_request() -> None:
    async with serving(DoorOptions(request_timeout=0.3)) as url:
        reader, writer = await connect(url, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert (await until_ended(reader)).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_half_a_body_is_answered_with_a_timeout() -> None:
    head = b"POST /api/v1/peers/echo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    async with serving(DoorOptions(), ServerOptions(body_timeout=0.2)) as url:
        reader, writer = await connect(url, head + b"Content-Length: 99\r\n\r\n{")
        assert (await until_ended(reader)).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_silent_connections_give_way_when_the_server_is_full() -> None:
    async with serving(DoorOptions(max_connections=50)) as url:
        silent = [await connect(url) for _ in range(200)]
        assert await is_answered(url)
        ended = [reader for reader, _ in silent if reader.at_eof() or reader.exception() is not None]
        # 50 connections fit, and the request above took the place of one of them.
        assert len(silent) - len(ended) < 50
        for _, writer in silent:
            writer.close()


async def test_no_connection_logs_a_traceback_although_descriptors_run_out(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(DoorOptions(max_connections=10)) as url:
        silent = [await connect(url) for _ in range(300)]
        assert await is_answered(url)
        assert [record for record in caplog.records if record.exc_info] == []
        for _, writer in silent:
            writer.close()


async def test_requests_that_cannot_be_read_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(DoorOptions()) as url:
        for text in (b"GET /\x80 HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"):
            reader, writer = await connect(url, text)
            assert (await until_ended(reader)).startswith(b"HTTP/1.1 400 ") or reader.at_eof()
            writer.close()
        assert await is_answered(url)
    assert caplog.records == []


async def test_a_header_that_is_not_utf_8_is_refused_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    head = b"GET /api/v1/rooms/a HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n"
    async with serving(DoorOptions()) as url:
        for line in (b"Sec-WebSocket-Version: \xe2", b"Sec-WebSocket-Key: \xe2", b"Upgrade: \xe2", b"Origin: \xe2"):
            reader, writer = await connect(url, head.replace(b"Connection", line + b"\r\nConnection") + b"\r\n")
            assert (await until_ended(reader)).startswith(b"HTTP/1.1 400 ")
            writer.close()
    assert caplog.records == []


@pytest.mark.parametrize("error", [ConnectionResetError("closing"), BadHttpMessage("nonsense")])
def test_what_a_client_did_is_not_logged_as_a_fault_of_the_server(error: Exception) -> None:
    logger = http_logger()
    record = logger.makeRecord(logger.name, logging.ERROR, "x", 1, "Error", (), (type(error), error, None))
    assert not logger.filter(record)
    record.exc_info = (ValueError, ValueError("a defect"), None)
    assert logger.filter(record)


def test_the_door_leaves_descriptors_for_everything_else() -> None:
    resource = pytest.importorskip("resource")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert available_descriptors() <= max(64, soft - 256)


class FakeTransport(asyncio.Transport):
    """A connection from any address, since a test on loopback has only one."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 40000)})
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


async def test_one_address_fills_only_its_share_and_others_get_in() -> None:
    door = Door(DoorOptions(max_connections=100, max_per_address=10))
    factory = door.guard(asyncio.Protocol)

    def arrive(address: str) -> FakeTransport:
        transport = FakeTransport(address)
        factory().connection_made(transport)
        return transport

    # Addresses of one IPv6 /64 belong to one subscriber and have one share.
    flood = [arrive(f"2001:db8::{number:x}") for number in range(1, 1000)]
    assert len(door) == 10
    assert not any(transport.aborted for transport in flood[-10:])
    honest = arrive("192.0.2.1")
    assert not honest.aborted
    for transport in flood[-10:]:
        door.request_started(transport)
    # Connections with a request do not give way to one of the same address.
    assert arrive("2001:db8::ffff").aborted
    assert not arrive("192.0.2.2").aborted


@pytest.mark.parametrize(
    ("remote", "forwarded", "client"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),  # not a trusted proxy: its header is not believed
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.7", "198.51.100.7"),  # the first entry may be forged
        ("10.0.0.1", "198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("", "198.51.100.7", ""),
    ],
)
def test_only_trusted_proxies_name_the_client(remote: str, forwarded: str, client: str) -> None:
    assert client_address(remote, forwarded, [ipaddress.ip_network("10.0.0.0/8")]) == client


def test_shares_are_counted_by_ipv4_address_and_by_ipv6_network() -> None:
    assert share_key("::ffff:192.0.2.1") == share_key("192.0.2.1")
    assert share_key("2001:db8::1") == share_key("2001:db8::ffff:1") != share_key("2001:db8:0:1::1")
    assert share_key("fe80::1%eth0") == share_key("fe80::2")
