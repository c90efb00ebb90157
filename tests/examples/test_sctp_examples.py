"""The examples with SCTP sockets, as programs of their own over loopback."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from .processes import EXAMPLES, Program, run


@asynccontextmanager
async def serving(example: str, *arguments: str) -> AsyncIterator[tuple[Program, list[str]]]:
    """A server on a UDP port of its own, and what a client has to be told to find it."""
    async with run(EXAMPLES / example, "server", "--udp-port", "0", *arguments) as server:
        port = (await server.prints(r"UDP port (\d+)"))[1]
        yield server, ["--udp-port", port]


async def test_echo_says_ok_to_each_of_five_messages() -> None:
    async with serving("sctp_echo.py") as (server, where):
        for _ in range(2):
            async with run(EXAMPLES / "sctp_echo.py", "client", *where) as client:
                assert await client.ends() == 0
                assert client.printed.splitlines() == [f"message {number}: OK" for number in range(1, 6)]
            for number in range(1, 6):
                await server.prints(f"127.0.0.1 port [0-9]+: 'message {number}'")
            await server.prints("has gone")
        assert "SCTP port 4444" in server.printed
        assert await server.interrupted() == 130


@pytest.mark.parametrize("example", ["sctp_echo.py", "sctp_peeloff.py"])
async def test_says_in_one_line_that_nobody_is_there(example: str) -> None:
    async with run(EXAMPLES / example, "client", "--udp-port", "1") as client:
        assert await client.ends() == 1
        assert client.printed == "error: nobody answers at 127.0.0.1, UDP port 1\n"


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
        await server.prints("wants to know")
        assert await server.interrupted() == 130


async def test_a_privileged_client_is_peeled_off_and_the_others_go_on() -> None:
    program = EXAMPLES / "sctp_peeloff.py"
    async with serving("sctp_peeloff.py", "--password", "sesame") as (server, where):
        async with run(program, "client", "one", *where) as client:
            assert await client.ends() == 0
            assert client.printed == "in turn: one\n"
        async with run(program, "client", "--password", "sesame", "two", "three", *where) as client:
            assert await client.ends() == 0
            assert client.printed == "at your service\nat once: two\nat once: three\n"
        await server.prints("is privileged now")
        await server.prints("privileged, has gone")
        async with run(program, "client", "--password", "guess", "four", *where) as client:
            assert await client.ends() == 0
            assert client.printed == "in turn: password guess\nin turn: four\n"
        assert await server.interrupted() == 130


async def test_what_one_says_everybody_reads_and_heartbeats_tell_who_is_gone() -> None:
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
                await reader.prints(r"^\* Eve is gone")
            zoe.type("the last line arrives, too")
            zoe.end_input()
            await ada.prints("Zoë: the last line arrives, too")
            await ada.prints(r"\* Zoë left")
            assert await zoe.ends() == 0
            ada.end_input()
            assert await ada.ends() == 0
        assert await server.interrupted() == 130


async def test_notifications_are_printed_as_they_come() -> None:
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
