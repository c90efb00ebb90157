"""A transfer goes on over the same connection when the receiver's network changes: ICE is restarted by itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.missing import missing
from tests.nat.lab import laboratory, lack_of_lab
from tests.nat.network import Host
from tests.nat.path_events import roam, with_lte
from tests.nat.topologies import PASSWORD, SERVER4, SYMMETRIC, USER

SIZE = 24 * 1024 * 1024
PATIENCE = 90.0
URL = f"http://{SERVER4}:8080"
COMMON = ("--json", "--server", URL, "--ice-server", f"stun:{SERVER4}:3478")


@pytest.fixture(scope="module", autouse=True)
def lab() -> None:
    if (lack := lack_of_lab()) is not None:
        missing(lack)


class Command:
    """A running `datachan`, with its events so far."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []

    async def event(self, name: str, at_least: int = 0) -> dict[str, Any]:
        """Wait for an event of this name, with at least this many `bytes` if it has any."""
        assert self.process.stdout is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while line := await self.process.stdout.readline():
                    event = json.loads(line)
                    self.events.append(event)
                    if event["event"] == name and event.get("bytes", 0) >= at_least:
                        return dict(event)
        raise AssertionError(f"no event {name!r}: {self.names()}, {self.events[-5:]}")

    def names(self) -> list[str]:
        return [event["event"] for event in self.events if event["event"] not in ("progress", "stored")]


@asynccontextmanager
async def datachan(host: Host, *arguments: str | Path) -> AsyncIterator[Command]:
    words = [sys.executable, "-m", "datachan", *map(str, arguments)]
    process = await host.run(*words, stdout=PIPE, stderr=DEVNULL, stdin=DEVNULL)
    try:
        yield Command(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def server(host: Host) -> AsyncIterator[None]:
    words = [sys.executable, "-m", "datachan", "serve", "--host", SERVER4, "--port", "8080", "--no-echo"]
    process = await host.run(*words, stdout=PIPE, stderr=DEVNULL, stdin=DEVNULL)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            while b"datachan is ready" not in await process.stdout.readline():
                pass
        yield
    finally:
        process.kill()
        await process.wait()


async def test_a_receiver_that_roams_keeps_its_connection(tmp_path: Path) -> None:
    source = tmp_path / "film.bin"
    source.write_bytes(os.urandom(SIZE))
    (tmp_path / "in").mkdir()
    async with (
        laboratory(with_lte(up=False)) as lab,
        server(lab.network.hosts["server"]),
        datachan(lab.topology.b, "send", *COMMON, "--limit", "4M", source) as sender,
    ):
        code = (await sender.event("code"))["code"]
        arguments = ("receive", *COMMON, "--yes", "-o", tmp_path / "in", code)
        async with datachan(lab.topology.a, *arguments) as receiver:
            await receiver.event("progress", SIZE // 4)
            await roam()(lab, None, None)  # type: ignore[arg-type]
            await asyncio.gather(receiver.event("done"), sender.event("done"))
            assert await asyncio.wait_for(receiver.process.wait(), PATIENCE) == 0
        assert await asyncio.wait_for(sender.process.wait(), PATIENCE) == 0
    assert (tmp_path / "in" / "film.bin").read_bytes() == source.read_bytes()
    assert receiver.names() == ["connecting", "connected", "offer", "done"]
    assert sender.names() == ["code", "connected", "accepted", "done"]


async def test_both_sides_show_that_the_path_has_become_relayed(tmp_path: Path) -> None:
    """The receiver roams from a NAT that lets packets pass directly to one that needs a relay."""
    source = tmp_path / "film.bin"
    source.write_bytes(os.urandom(SIZE))
    (tmp_path / "in").mkdir()
    common = (*COMMON, "--ice-server", f"turn:{SERVER4}:3478,{USER},{PASSWORD}")
    async with (
        laboratory(with_lte(up=False, behind=SYMMETRIC)) as lab,
        server(lab.network.hosts["server"]),
        datachan(lab.topology.b, "send", *common, "--limit", "4M", source) as sender,
    ):
        code = (await sender.event("code"))["code"]
        arguments = ("receive", *common, "--yes", "-o", tmp_path / "in", code)
        async with datachan(lab.topology.a, *arguments) as receiver:
            assert (await receiver.event("connected"))["path"] == "direct"
            assert (await sender.event("connected"))["path"] == "direct"
            await receiver.event("progress", SIZE // 4)
            await roam()(lab, None, None)  # type: ignore[arg-type]
            paths = await asyncio.gather(receiver.event("path"), sender.event("path"))
            assert [event["path"] for event in paths] == ["relayed", "relayed"]
            await asyncio.gather(receiver.event("done"), sender.event("done"))
            assert await asyncio.wait_for(receiver.process.wait(), PATIENCE) == 0
    assert (tmp_path / "in" / "film.bin").read_bytes() == source.read_bytes()
