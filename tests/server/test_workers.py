"""Serve with several workers behind one TCP and one UDP port: who answers, and what clients see when a worker ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from datachan import RTCDataChannel
from tests.examples.processes import Program, run
from tests.ports import free_port

from .client import PATIENCE, Client, connected

CLIENTS = 12


class Crew:
    """The program with its workers."""

    def __init__(self, program: Program, url: str, workers: dict[int, int]) -> None:
        self.program = program
        self.url = url
        self.workers = workers

    async def replaced(self) -> int:
        """Wait until a worker has been replaced, and return the process id of the new one."""
        match = await self.program.prints(r"worker (\d) is process (\d+)")
        self.workers[int(match[1])] = int(match[2])
        return int(match[2])


@contextlib.asynccontextmanager
async def crew() -> AsyncIterator[Crew]:
    """Run the program until both workers listen."""
    port, udp_port = free_port(), free_port()
    async with run("-m", "tests.server.workers_program", str(port), str(udp_port)) as program:
        running = Crew(program, f"http://127.0.0.1:{port}/rtc", {})
        while len(running.workers) < 2:
            await running.replaced()
        yield running


async def process_of(client: tuple[Client, RTCDataChannel]) -> int:
    """Return the process id of the worker that serves a client."""
    return int(await anext(client[1]))


async def echoes(client: tuple[Client, RTCDataChannel]) -> None:
    client[1].send("are you there?")
    async with asyncio.timeout(PATIENCE):
        assert await anext(client[1]) == "are you there?"


async def connect(stack: contextlib.AsyncExitStack, url: str) -> tuple[int, tuple[Client, RTCDataChannel]]:
    """Connect a client, and return it with the process that serves it."""
    client = await stack.enter_async_context(connected(url, "worker"))
    return await process_of(client), client


async def connect_to_both(
    stack: contextlib.AsyncExitStack, running: Crew
) -> list[tuple[int, tuple[Client, RTCDataChannel]]]:
    """Connect clients until each worker has some; the system chooses the worker of each."""
    clients = list(await asyncio.gather(*(connect(stack, running.url) for _ in range(CLIENTS))))
    async with asyncio.timeout(PATIENCE):
        while {process for process, _ in clients} != set(running.workers.values()):
            clients.append(await connect(stack, running.url))
    return clients


async def test_every_client_reaches_its_worker_by_udp_and_by_http() -> None:
    async with crew() as running, contextlib.AsyncExitStack() as stack:
        clients = await connect_to_both(stack, running)
        await asyncio.gather(*(echoes(client) for _, client in clients))
        for _, (client, _) in clients:
            async with aiohttp.ClientSession() as http:  # a TCP connection of its own, so any worker
                client.http, before = http, client.http
                response = await client.patch("a=end-of-candidates\r\n")
                assert response.status in {204, 400}, await response.text()
                assert (await http.delete(client.session)).status == 200
                client.http = before
        for _, (_, channel) in clients:
            async with asyncio.timeout(PATIENCE):
                await channel.closed()


REPLACED_WITHIN = 0.3 + 2.0
"""Seconds: the pause before a worker that has not run for five seconds, and what a busy machine takes to start one."""


async def test_a_killed_worker_is_replaced_at_once_and_the_others_go_on() -> None:
    async with crew() as running, contextlib.AsyncExitStack() as stack:
        clients = await connect_to_both(stack, running)
        victim = running.workers[0]
        began = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        new = await running.replaced()
        assert time.monotonic() - began < REPLACED_WITHIN
        survivors = [client for process, client in clients if process != victim]
        await asyncio.gather(*(echoes(client) for client in survivors))
        # What the clients of the dead worker are told, so that they connect again.
        lost = next(client for process, client in clients if process == victim)
        async with aiohttp.ClientSession() as http:
            assert (await http.delete(lost[0].session)).status == 404
        again = list(await asyncio.gather(*(connect(stack, running.url) for _ in range(CLIENTS))))
        assert {process for process, _ in again} <= {new, running.workers[1]}
        await asyncio.gather(*(echoes(client) for _, client in again))
        await asyncio.gather(*(client.pc.close() for _, (client, _) in clients))  # some wait for a dead peer


async def test_sigterm_drains_all_workers() -> None:
    async with crew() as running, contextlib.AsyncExitStack() as stack:
        clients = await connect_to_both(stack, running)
        running.program.process.send_signal(signal.SIGTERM)
        await asyncio.gather(*(echoes(client) for _, client in clients))  # the handlers have five seconds
        for _, (client, _) in clients:
            await client.pc.close()
        assert await running.program.ends() == 0


async def test_workers_end_with_their_supervisor() -> None:
    async with crew() as running:
        running.program.process.kill()
        async with asyncio.timeout(PATIENCE):
            while any(Path(f"/proc/{process}").exists() for process in running.workers.values()):
                await asyncio.sleep(0.01)
