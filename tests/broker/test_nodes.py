"""Whole nodes behind one address: Python clients whose node is killed, and what a node says while Redis is away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from datachan.peer import RTCConfiguration, RTCPeerConnection
from datachan.signaling import SignalingClient, SignalingError, connect_through
from datachan.signaling.room_messages import Bye, PeerJoined, PeerLeft, Welcome
from tests.redis_server import HOST, RedisServer
from tests.tcp_relay import TcpRelay

PATIENCE = 30.0
HERE = RTCConfiguration(hostAddresses=["127.0.0.1"])


class Node:
    """One process of `datachan serve`."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, lines: list[str]) -> None:
        self.process = process
        self.lines = lines
        self.url = url
        self.port = int(url.rstrip("/").rpartition(":")[2])

    async def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(how)
        await self.process.wait()


@contextlib.asynccontextmanager
async def running_node(redis: RedisServer, *words: str) -> AsyncIterator[Node]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "datachan", "serve", "--port", "0", "--no-echo", *words),
        env={**os.environ, "DATACHAN_REDIS": redis.url},
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            lines: list[str] = []
            while not lines or "is ready" not in lines[-1]:
                lines.append((await process.stdout.readline()).decode())
        yield Node(process, lines[-1].split()[-1], lines)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


class Balancer(TcpRelay):
    """Passes each connection to the first node in its list, as a load balancer does."""

    def __init__(self, nodes: list[Node]) -> None:
        super().__init__(lambda: self.nodes[0].port)
        self.nodes = nodes

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
async def test_a_client_whose_node_ends_goes_on_over_another_one(how, redis):
    async with running_node(redis) as first, running_node(redis) as second, Balancer([first, second]) as balancer:
        async with (
            SignalingClient(balancer.url, "kitchen", name="Ada", reconnect=True) as ada,
            SignalingClient(second.url, "kitchen", name="Grace", reconnect=True) as grace,
        ):
            known_as = ada.id
            assert grace.peers_at_join[0].id == known_as
            async with asyncio.timeout(PATIENCE):
                assert isinstance(await ada.receive(), PeerJoined)
                balancer.nodes.pop(0)
                await first.kill(how)
                await grace.send(Bye(known_as, "s", "while Ada is away"))
                await ada.send(Bye(grace.id, "s", "written while the connection was broken"))
                back = await ada.receive()
                assert isinstance(back, Welcome)
                assert back.is_seamless
                assert await ada.receive() == Bye(grace.id, "s", "while Ada is away")
                assert await grace.receive() == Bye(known_as, "s", "written while the connection was broken")
            assert ada.id == known_as
            assert ada.peers_at_join == ()
        async with SignalingClient(second.url, "kitchen") as late:
            assert late.peers == {}


async def test_two_programs_connect_although_the_node_of_one_dies_between_offer_and_answer(redis):
    async with (
        running_node(redis) as first,
        running_node(redis) as second,
        Balancer([first, second]) as balancer,
        SignalingClient(balancer.url, "kitchen", name="Ada", reconnect=True) as ada,
        SignalingClient(second.url, "kitchen", name="Grace", reconnect=True) as grace,
        RTCPeerConnection(HERE) as ours,
        RTCPeerConnection(HERE) as theirs,
        asyncio.timeout(PATIENCE),
    ):
        assert isinstance(await ada.receive(), PeerJoined)
        theirs.createDataChannel("chat")
        calling = asyncio.create_task(connect_through(grace, theirs))
        # Ada reads the offer only over the other node.
        balancer.nodes.pop(0)
        await first.kill()
        found = await connect_through(ada, ours)
        assert (found.name, (await calling).name) == ("Grace", "Ada")


async def test_a_node_says_that_it_lost_redis_and_recovers(redis):
    async with running_node(redis) as node, aiohttp.ClientSession() as session:

        async def readiness() -> tuple[int, str]:
            async with session.get(f"{node.url}readyz") as response:
                return response.status, (await response.json())["status"]

        async def until(wanted: tuple[int, str]) -> None:
            async with asyncio.timeout(PATIENCE):
                while await readiness() != wanted:
                    await asyncio.sleep(0.05)

        await until((200, "ok"))
        async with (
            SignalingClient(node.url, "kitchen", name="Ada", reconnect=True) as ada,
            SignalingClient(node.url, "kitchen", name="Grace", reconnect=True) as grace,
        ):
            redis.kill()
            await until((503, "no-broker"))
            with pytest.raises(SignalingError) as refused:
                async with SignalingClient(node.url, "kitchen", name="Alan"):
                    pass
            assert refused.value.code == "broker-unavailable"
            async with asyncio.timeout(PATIENCE):
                await grace.send(Bye(ada.id, "s", "goes on"))
                assert isinstance(await ada.receive(), PeerJoined)
                assert await ada.receive() == Bye(grace.id, "s", "goes on")
                redis.start()
                await until((200, "ok"))
                await grace.send(Bye(ada.id, "s", "goes on, too"))
                assert await ada.receive() == Bye(grace.id, "s", "goes on, too")
                async with SignalingClient(node.url, "kitchen", name="Alan") as alan:
                    assert {peer.name for peer in alan.peers.values()} == {"Ada", "Grace"}
                assert [type(await ada.receive()) for _ in range(2)] == [PeerJoined, PeerLeft]


async def test_the_figures_of_the_broker_are_shown(redis):
    async with running_node(redis, "--metrics", "0") as node, aiohttp.ClientSession() as session:
        url = next(word for word in " ".join(node.lines).split() if word.endswith("/metrics"))
        async with session.get(url) as response:
            text = await response.text()
        assert "datachan_broker_up 1" in text
        assert "datachan_broker_step_seconds" in text
