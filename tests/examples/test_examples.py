"""Each example, run as a user runs it: as programs of their own, through a server of its own."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector

from datachan import RTCPeerConnection, RTCSessionDescription
from tests.ports import free_range

from .processes import EXAMPLES, run, serve

TOLD = 15.0
"""Seconds within which a watcher has to know that the robot has ended: half of those after which silence tells it."""


@pytest.fixture
async def server() -> AsyncIterator[str]:
    async with serve() as address:
        yield address


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
async def test_is_short_and_explains_itself(example: Path) -> None:
    assert len(example.read_text().splitlines()) < 100
    async with run(example, "--help") as program:
        assert await program.ends() == 0
        assert "usage:" in program.printed


@pytest.mark.parametrize("example", ["chat.py", "send_file.py", "telemetry.py"])
async def test_says_in_one_line_that_the_server_cannot_be_reached(example: str, tmp_path: Path) -> None:
    command = {"chat.py": ["room"], "send_file.py": ["receive", "room"], "telemetry.py": ["watch", "room"]}[example]
    async with run(EXAMPLES / example, "--server", "http://127.0.0.1:1", *command) as program:
        assert await program.ends() == 1
        assert program.printed.startswith("error: ")
        assert len(program.printed.splitlines()) == 1


async def test_chat_carries_lines_both_ways_and_ends_for_both(server: str) -> None:
    chat = EXAMPLES / "chat.py"
    async with run(chat, "kitchen", "--name", "Ada", "--server", server) as ada:
        await ada.prints("You are alone in kitchen")
        async with run(chat, "kitchen", "--name", "Zoë", "--server", server) as zoe:
            await ada.prints("Connected with Zoë")
            await zoe.prints("Connected with Ada")
            ada.type("good morning")
            await zoe.prints("Ada: good morning")
            zoe.type("grüß dich\x1b[2J")
            await ada.prints("Zoë: grüß dich\N{REPLACEMENT CHARACTER}\\[2J")
            zoe.type("the last line arrives, too")
            zoe.end_input()
            await ada.prints("Zoë: the last line arrives, too")
            await ada.prints("The chat has ended")
            assert await zoe.ends() == 0
        assert await ada.ends() == 0


async def test_chat_prints_the_whole_command_for_the_other_side(server: str) -> None:
    flag = "--ice-server=turn:127.0.0.1:1,ada,a secret"
    async with run(EXAMPLES / "chat.py", "kitchen", "--name", "Ada", "--server", server, flag) as ada:
        words = shlex.split((await ada.prints(r"On the other side: (.*)$"))[1])
        assert words == ["chat.py", "kitchen", "--server", server, flag]
        async with run(EXAMPLES / words[0], *words[1:], "--name", "Zoe") as zoe:
            await ada.prints("Connected with Zoe")
            zoe.end_input()
            assert await zoe.ends() == await ada.ends() == 0


async def test_chat_ends_for_both_when_one_presses_ctrl_c(server: str) -> None:
    chat = EXAMPLES / "chat.py"
    async with (
        run(chat, "kitchen", "--server", server) as ada,
        run(chat, "kitchen", "--server", server) as zoe,
    ):
        await ada.prints("Connected")
        await zoe.prints("Connected")
        assert await ada.interrupted() == 130
        await zoe.prints("The chat has ended")
        assert await zoe.ends() == 0


async def test_send_file_delivers_files_and_folders(server: str, tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "folder"
    (source / "photos").mkdir(parents=True)
    folder.mkdir()
    (source / "holiday.bin").write_bytes(os.urandom(3_000_000))
    (source / "photos/a.jpg").write_bytes(b"a")
    command = (EXAMPLES / "send_file.py", "--server", server)
    async with run(*command, "send", source / "holiday.bin", source / "photos") as sender:
        found = await sender.prints(r"On the other side: send_file\.py --server \S+ receive ([0-9a-f]+)$")
        async with run(*command, "receive", found[1], "--folder", folder) as receiver:
            await receiver.prints("Receiving holiday.bin, photos, 3000001 bytes")
            await receiver.prints("100 %")
            await receiver.prints(f"Stored and verified: {folder}/holiday.bin, {folder}/photos")
            await sender.prints("100 %")
            await sender.prints("Sent and verified: holiday.bin, photos/a.jpg")
            assert await receiver.ends() == 0
        assert await sender.ends() == 0
    assert sorted(os.listdir(folder)) == ["holiday.bin", "photos"]
    assert (folder / "holiday.bin").read_bytes() == (source / "holiday.bin").read_bytes()
    assert (folder / "photos/a.jpg").read_bytes() == b"a"


async def test_send_file_prints_the_whole_command_for_the_other_side(server: str, tmp_path: Path) -> None:
    source, folder = tmp_path / "source.txt", tmp_path / "folder"
    source.write_text("hello")
    folder.mkdir()
    flag = "--ice-server=turn:127.0.0.1:1,ada,a secret"
    async with run(EXAMPLES / "send_file.py", "--server", server, flag, "send", source) as sender:
        words = shlex.split((await sender.prints(r"On the other side: (.*)$"))[1])
        assert flag in words
        async with run(EXAMPLES / words[0], *words[1:], "--folder", folder) as receiver:
            assert await sender.ends() == await receiver.ends() == 0
    assert (folder / "source.txt").read_text() == "hello"


async def test_send_file_looks_for_file_and_folder_before_it_connects(tmp_path: Path) -> None:
    command = (EXAMPLES / "send_file.py", "--server", "http://127.0.0.1:1")
    for words, sentence in (
        (["send", tmp_path / "nothing"], f"error: [Errno 2] No such file or directory: '{tmp_path}/nothing'"),
        (["receive", "room", "--folder", tmp_path / "nowhere"], f"error: there is no folder {tmp_path}"),
    ):
        async with run(*command, *words) as program:
            assert await program.ends() == 1
            assert program.printed.startswith(sentence)


async def test_two_senders_both_end_with_an_error(server: str, tmp_path: Path) -> None:
    source = tmp_path / "source.txt"
    source.write_text("hello")
    command = (EXAMPLES / "send_file.py", "--server", server, "send", source, "--room", "room-1")
    async with run(*command) as one, run(*command) as other:
        for program in (one, other):
            # The second one may notice it earlier.
            await program.prints("error: the connection closed before (everything was stored|the transfer began)")
            assert await program.ends() == 1


async def test_two_receivers_both_end_with_an_error(server: str, tmp_path: Path) -> None:
    command = (EXAMPLES / "send_file.py", "--server", server, "receive", "room-1", "--folder", tmp_path)
    started = time.monotonic()
    async with run(*command) as one, run(*command) as other:
        for program in (one, other):
            await program.prints("error: the other side waits for files, too")
            assert await program.ends() == 1
    assert time.monotonic() - started < 10  # they do not wait for a channel that never comes


async def test_send_file_replaces_nothing_unless_asked(server: str, tmp_path: Path) -> None:
    source, folder = tmp_path / "source.txt", tmp_path / "folder"
    source.write_text("new")
    folder.mkdir()
    (folder / "source.txt").write_text("old")
    command = (EXAMPLES / "send_file.py", "--server", server)
    async with (
        run(*command, "send", source, "--room", "room-1") as sender,
        run(*command, "receive", "room-1", "--folder", folder) as receiver,
    ):
        await receiver.prints(rf"Stored and verified: {folder}/source \(2\)\.txt")
        assert await sender.ends() == await receiver.ends() == 0
    assert (folder / "source.txt").read_text() == "old"
    assert (folder / "source (2).txt").read_text() == "new"
    async with (
        run(*command, "send", source, "--room", "room-2") as sender,
        run(*command, "receive", "room-2", "--folder", folder, "--overwrite") as receiver,
    ):
        assert await sender.ends() == await receiver.ends() == 0
    assert (folder / "source.txt").read_text() == "new"


async def test_send_file_goes_on_where_it_was_after_ctrl_c(server: str, tmp_path: Path) -> None:
    source, folder = tmp_path / "large.bin", tmp_path / "folder"
    folder.mkdir()
    with source.open("wb") as file:
        file.truncate(1_000_000_000)
    command = (EXAMPLES / "send_file.py", "--server", server)
    async with (
        run(*command, "send", source, "--room", "room-1") as sender,
        run(*command, "receive", "room-1", "--folder", folder) as receiver,
    ):
        async with asyncio.timeout(30.0):  # until something is durable
            while not any(len(path.read_bytes()) > 500 for path in folder.glob(".datachan-partial/*.journal")):
                await asyncio.sleep(0.01)
        assert await receiver.interrupted() == 130
        await sender.prints("error: the receiver stopped the transfer")
        assert await sender.ends() == 1
    assert os.listdir(folder) == [".datachan-partial"]
    async with (
        run(*command, "send", source, "--room", "room-2") as sender,
        run(*command, "receive", "room-2", "--folder", folder) as receiver,
    ):
        assert await sender.ends() == await receiver.ends() == 0
    assert os.listdir(folder) == ["large.bin"]
    assert (folder / "large.bin").stat().st_size == 1_000_000_000


async def test_echo_server_answers_a_program(tmp_path: Path) -> None:
    async with run(EXAMPLES / "echo_server.py", "--port", "0") as echo:
        url = (await echo.prints(r"call (http://\S+)"))[1]
        async with run(EXAMPLES / "echo_client.py", "--url", url, "hello", "how are you") as client:
            await client.prints(r"hello +\d+\.\d ms")
            await client.prints(r"how are you +\d+\.\d ms")
            assert await client.ends() == 0
        await echo.prints("A call is closed")
        assert await echo.interrupted() == 0


async def test_the_echo_client_can_call_the_server_of_the_package_too(server: str) -> None:
    async with run(EXAMPLES / "echo_client.py", "--url", f"{server}/api/v1/peers/echo", "hello") as client:
        await client.prints(r"hello +\d+\.\d ms")
        assert await client.ends() == 0


async def test_several_workers_answer_on_one_port_and_share_a_range_for_data() -> None:
    ports = free_range(40)
    arguments = ("--port", "0", "--workers", "2", "--ports", f"{ports[0]}-{ports[1]}")
    # A connection that is kept alive would always lead to the same worker.
    session = ClientSession(connector=TCPConnector(force_close=True))
    async with run(EXAMPLES / "workers.py", *arguments) as service, session:
        called = await service.prints(r"Call (http://\S+?/offer)")
        url = called[1]
        workers = set(re.findall(r"Worker (\d+) listens", called.string))
        while len(workers) < 2:  # all three processes may print into one line
            workers |= set(re.findall(r"Worker (\d+) listens", (await service.prints("Worker")).string))
        answered = set()
        for _ in range(60):  # the system deals the calls out as it likes
            if answered == workers:
                break
            async with asyncio.timeout(20), RTCPeerConnection() as pc:
                channel = pc.createDataChannel("echo")
                await pc.setLocalDescription()
                async with session.post(url, json=pc.localDescription.toJSON()) as response:
                    answer = await response.json()
                candidates = re.findall(r"^a=candidate:\S+ 1 udp \d+ \S+ (\d+) typ host", answer["sdp"], re.MULTILINE)
                assert candidates
                assert all(ports[0] <= int(port) <= ports[1] for port in candidates)
                await pc.setRemoteDescription(RTCSessionDescription(**answer))
                await channel.opened()
                channel.send("hello")
                worker, words = re.fullmatch(r"worker (\d+): (.*)", await anext(aiter(channel))).groups()
                assert words == "hello"
                answered.add(worker)
        assert answered == workers
        assert await service.interrupted() == 0


async def test_telemetry_arrives_at_fifty_hertz(server: str) -> None:
    command = (EXAMPLES / "telemetry.py", "--server", server)
    async with run(*command, "watch", "greenhouse") as watcher, run(*command, "send", "greenhouse") as robot:
        loop = asyncio.get_running_loop()
        await robot.prints("Sending 50 samples a second")
        await watcher.prints(r"height [+-]\d\.\d+  received 1 ")
        start = loop.time()
        await watcher.prints("received 101 ")
        assert loop.time() - start > 1.9  # 100 samples take two seconds; a slow machine may take longer
        robot.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(TOLD):
            match = await watcher.prints(r"Received (\d+) of (\d+) samples")
        assert int(match[1]) >= 101
        assert await robot.ends() == 130
        assert await watcher.ends() == 0


async def test_telemetry_reaches_several_watchers_and_goes_on_when_one_leaves(server: str) -> None:
    command = (EXAMPLES / "telemetry.py", "--server", server)
    async with run(*command, "send", "greenhouse") as robot:
        await robot.prints("Sending 50 samples a second")
        async with run(*command, "watch", "greenhouse") as one:
            await one.prints("received 51 ")
            async with run(*command, "watch", "greenhouse") as other:
                await other.prints("received 51 ")
                await one.prints("received 101 ")
                assert await one.interrupted() == 130
                await other.prints("received 151 ")
                assert await robot.interrupted() == 130
                async with asyncio.timeout(TOLD):
                    await other.prints(r"Received (\d+) of (\d+) samples")
                assert await other.ends() == 0


async def test_telemetry_ends_in_order_after_a_count(server: str) -> None:
    command = (EXAMPLES / "telemetry.py", "--server", server)
    async with (
        run(*command, "watch", "greenhouse") as watcher,
        run(*command, "send", "greenhouse", "--count", "25") as robot,
    ):
        await robot.prints("Sent samples: 25")
        match = await watcher.prints(r"Received (\d+) of (\d+) samples")
        assert match[1] == match[2] == "25"  # nothing is lost on the loopback interface
        assert await robot.ends() == await watcher.ends() == 0
