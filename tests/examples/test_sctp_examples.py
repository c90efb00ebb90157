"""The examples with SCTP sockets, as programs of their own over loopback."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from datachan.sockets import sctpsocket_tcp

from .processes import EXAMPLES, Program, run

LEAVES_WITHIN = 0.5 + 2.0
"""Seconds: what is promised, and what a busy machine takes to end a Python process."""


@asynccontextmanager
async def serving(example: str, *arguments: str) -> AsyncIterator[tuple[Program, list[str]]]:
    """Run a server on a free UDP port; yield it and the arguments with which a client finds it."""
    async with run(EXAMPLES / example, "server", "--udp-port", "0", *arguments) as server:
        port = (await server.prints(r"UDP port (\d+)"))[1]
        yield server, ["--udp-port", port]


async def test_echo_answers_ok_to_each_of_five_messages() -> None:
    async with serving("sctp_echo.py") as (server, where):
        for _ in range(2):
            async with run(EXAMPLES / "sctp_echo.py", "client", *where) as client:
                assert await client.ends() == 0
                assert client.printed.splitlines() == [f"message {number}: OK" for number in range(1, 6)]
            for number in range(1, 6):
                await server.prints(f"127.0.0.1 port [0-9]+: 'message {number}'")
            await server.prints("has left")
        assert "SCTP port 4444" in server.printed
        assert await server.interrupted() == 130


@pytest.mark.parametrize("example", ["sctp_echo.py", "sctp_peeloff.py"])
async def test_a_closed_port_ends_the_client_at_once_with_one_line(example: str) -> None:
    async with run(EXAMPLES / example, "client", "--udp-port", "1") as client:
        assert await client.ends() == 1
        assert client.printed == "error: no program has UDP port 1 at 127.0.0.1\n"


@pytest.mark.parametrize("example", ["sctp_echo.py", "sctp_peeloff.py"])
async def test_a_silent_port_ends_the_client_with_one_line(example: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = str(silent.getsockname()[1])
        async with run(EXAMPLES / example, "client", "--udp-port", port) as client:
            assert await client.ends() == 1
            assert client.printed == f"error: no answer from 127.0.0.1, UDP port {port}\n"


@pytest.mark.parametrize("example", [path.name for path in sorted(EXAMPLES.glob("sctp_*.py"))])
async def test_a_second_server_on_the_udp_port_says_so_in_one_line(example: str) -> None:
    async with serving(example) as (_, (*where, port)), run(EXAMPLES / example, "server", *where, port) as second:
        assert await second.ends() == 1
        assert second.printed.startswith(f"error: UDP port {port} at 127.0.0.1 is in use by another program: ")
        assert second.printed.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_server_leaves_within_half_a_second_and_its_peers_learn_it(number: int) -> None:
    async with serving("sctp_echo.py") as (server, (_, port)), sctpsocket_tcp(remote_udp_port=int(port)) as client:
        await client.connect(("127.0.0.1", 4444))
        await client.send(b"hello")
        assert await client.recv(10) == b"OK"
        begun = time.monotonic()
        server.process.send_signal(number)
        assert await client.recv(10) == b""
        assert await server.ends() == 130
        assert time.monotonic() - begun < LEAVES_WITHIN


async def test_an_interrupted_server_leaves_in_time_although_a_peer_is_silent() -> None:
    program = EXAMPLES / "sctp_notifications.py"
    async with (
        serving("sctp_echo.py") as (server, where),
        run(program, "client", "--port", "4444", *where) as client,
    ):
        await server.prints("hello")
        client.process.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert await server.ends() == 130
        assert time.monotonic() - begun < LEAVES_WITHIN


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_client_leaves_within_half_a_second_and_the_server_learns_it(number: int) -> None:
    program = EXAMPLES / "sctp_chat.py"
    async with (
        serving("sctp_chat.py") as (server, where),
        run(program, "join", "--name", "Ada", *where) as client,
    ):
        await client.prints("Ada is here")
        begun = time.monotonic()
        client.process.send_signal(number)
        await server.prints(r"\* Ada left")
        assert await client.ends() == 130
        assert time.monotonic() - begun < LEAVES_WITHIN


async def test_three_streams_carry_one_message_each() -> None:
    async with serving("sctp_streams.py") as (server, where):
        async with run(EXAMPLES / "sctp_streams.py", "client", *where) as client:
            assert await client.ends() == 0
        seen = [re.match(r"stream (\d), (.*): ([0-9:]+)$", line) for line in client.printed.splitlines()]
        assert sorted((match[1], match[2]) for match in seen if match) == [
            ("0", "local time"),
            ("1", "UTC"),
            ("2", "seconds since 1970"),
        ]
        await server.prints("has connected")
        assert await server.interrupted() == 130


async def test_a_privileged_client_gets_its_own_socket_and_the_others_continue() -> None:
    program = EXAMPLES / "sctp_peeloff.py"
    async with serving("sctp_peeloff.py", "--password", "sesame") as (server, where):
        async with run(program, "client", "one", *where) as client:
            assert await client.ends() == 0
            assert client.printed == "in turn: one\n"
        async with run(program, "client", "--password", "sesame", "two", "three", *where) as client:
            assert await client.ends() == 0
            assert client.printed == "at your service\nat once: two\nat once: three\n"
        await server.prints("is privileged now")
        await server.prints("privileged, has left")
        async with run(program, "client", "--password", "guess", "four", *where) as client:
            assert await client.ends() == 0
            assert client.printed == "in turn: password guess\nin turn: four\n"
        assert await server.interrupted() == 130


async def test_every_client_reads_each_line_and_heartbeats_detect_a_lost_client() -> None:
    program = EXAMPLES / "sctp_chat.py"
    async with serving("sctp_chat.py") as (server, where):
        async with (
            run(program, "join", "--name", "Ada", *where) as ada,
            run(program, "join", "--name", "Zoë", *where) as zoe,
            run(program, "join", "--name", "Eve", *where) as eve,
        ):
            for _ in range(3):
                await server.prints(r"\* (Ada|Zoë|Eve) is here")
            ada.type("good morning")
            for reader in (ada, zoe, eve):
                await reader.prints("^Ada: good morning")
            zoe.type("grüß dich\x1b[2J")
            for reader in (ada, zoe, eve):
                await reader.prints(r"^Zoë: grüß dich\[2J")
            eve.process.kill()
            for reader in (ada, zoe):
                await reader.prints(r"^\* Eve is lost")
            zoe.type("the last line arrives, too")
            zoe.end_input()
            await ada.prints("Zoë: the last line arrives, too")
            await ada.prints(r"\* Zoë left")
            assert await zoe.ends() == 0
            ada.end_input()
            assert await ada.ends() == 0
        assert await server.interrupted() == 130


async def test_notifications_are_printed_as_they_arrive() -> None:
    program = EXAMPLES / "sctp_notifications.py"
    async with serving("sctp_notifications.py") as (server, where):
        async with run(program, "client", *where) as client:
            assert await client.ends() == 0
            assert "StreamResetEvent" in client.printed
            assert "StreamChangeEvent" in client.printed
        for pattern in (
            r"^AssocChange\(state=.*SCTP_COMM_UP",
            r"^5 bytes on stream 3",
            r"^StreamResetEvent\(.*streams=\(3,\)",
            r"^StreamChangeEvent\(",
            r"^AssocChange\(state=.*SCTP_SHUTDOWN_COMP",
        ):
            await server.prints(pattern)
        assert "AdaptationEvent(adaptation_ind=12648430" in server.printed
        async with run(program, "client", "--abort", *where) as client:
            assert await client.ends() == 0
        await server.prints(r"^AssocChange\(state=.*SCTP_COMM_LOST.*I have seen enough")
        assert await server.interrupted() == 130
