"""Test our sockets with usrsctp's own programs: echo server, client, and throughput test in both roles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from datachan.sockets import SndInfo, sctpsocket_tcp
from tests.missing import missing
from tests.ports import free_port

PROGRAMS = Path("/usr/lib/usrsctp")
HOST = "127.0.0.1"
PATIENCE = 40.0
PIPE = asyncio.subprocess.PIPE
ECHO_PORT, PORT = 7, 4455
SIZE, COUNT = 50_000, 2000


@asynccontextmanager
async def running(
    name: str, *arguments: object, output: int = asyncio.subprocess.DEVNULL
) -> AsyncIterator[asyncio.subprocess.Process]:
    if not (PROGRAMS / name).exists():
        missing(f"{name} of usrsctp is not installed (apt install libusrsctp-examples)")
    # stdbuf makes the program print each line at once, also to a pipe.
    command = ["stdbuf", "-oL", str(PROGRAMS / name), *map(str, arguments)]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=output, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def connected(ours: int, theirs: int, port: int) -> AsyncIterator[sctpsocket_tcp]:
    """Connect our socket to a server that does not report when it listens; retry while it refuses or is silent."""
    async with asyncio.timeout(PATIENCE):
        while True:
            async with sctpsocket_tcp(udp_port=ours, remote_udp_port=theirs) as sock:
                sock.bind((HOST, 0))
                try:
                    await sock.connect((HOST, port))
                except ConnectionRefusedError:
                    continue
                yield sock
                return


async def test_its_echo_server_answers_on_every_stream() -> None:
    ours, theirs = free_port(), free_port()
    async with running("echo_server", theirs, ours), connected(ours, theirs, ECHO_PORT) as sock:
        for stream in range(10):
            message = bytes([stream]) * (1 + 700 * stream)
            await sock.sendmsg(message, [SndInfo(sid=stream, ppid=stream)])
            answer = await sock.recvmsg()
            assert answer.data == message
            assert answer.rcvinfo is not None
            assert (answer.rcvinfo.sid, answer.rcvinfo.ppid) == (stream, stream)


async def test_its_client_talks_to_our_listener() -> None:
    ours, theirs = free_port(), free_port()
    async with sctpsocket_tcp(udp_port=ours) as listener:
        listener.bind((HOST, PORT))
        listener.listen()
        async with running("client", HOST, PORT, 0, theirs, ours, output=PIPE) as client, asyncio.timeout(PATIENCE):
            connection, _ = await listener.accept()
            async with connection:
                assert client.stdin is not None
                client.stdin.write(b"hello from usrsctp\n")
                assert (await connection.recv(1000)).startswith(b"hello from usrsctp")
                await connection.send(b"hello from datachan\n")
                await _until(client, "hello from datachan")


async def test_a_hundred_megabytes_come_from_its_throughput_test() -> None:
    ours, theirs = free_port(), free_port()
    async with sctpsocket_tcp(udp_port=ours) as listener:
        listener.bind((HOST, PORT))
        listener.listen()
        arguments = ("-E", theirs, "-U", ours, "-p", PORT, "-l", SIZE, "-n", COUNT, HOST)
        async with running("tsctp", *arguments), asyncio.timeout(PATIENCE):
            connection, _ = await listener.accept()
            async with connection:
                total = 0
                while data := await connection.recv(1 << 20):
                    total += len(data)
    assert total == SIZE * COUNT


async def test_a_hundred_megabytes_go_to_its_throughput_test() -> None:
    ours, theirs = free_port(), free_port()
    arguments = ("-E", theirs, "-U", ours, "-p", PORT)
    async with running("tsctp", *arguments, output=PIPE) as server, connected(ours, theirs, PORT) as sock:
        reading = asyncio.create_task(_until(server, str(SIZE * COUNT)))
        for _ in range(COUNT):
            await sock.send(bytes(SIZE))
        await sock.close()
        await reading


async def _until(process: asyncio.subprocess.Process, text: str) -> None:
    """Read the output up to a line with this text."""
    assert process.stdout is not None
    while text not in (line := (await process.stdout.readline()).decode()):
        assert line


@pytest.fixture(autouse=True)
def untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATACHAN_TRACE", raising=False)
