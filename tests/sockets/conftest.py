"""Fixtures for sockets on loopback, each on a free UDP port."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from datachan.sockets import sctpsocket_tcp, sctpsocket_udp

HOST = "127.0.0.1"


class Opened:
    """Makes sockets that are closed at the end of the test."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def add(self, sock):
        sock.linger = 1.0
        return await self._stack.enter_async_context(sock)

    async def listener(self, backlog: int = 100, **arguments: object) -> sctpsocket_tcp:
        sock = await self.add(sctpsocket_tcp(udp_port=0, **arguments))
        sock.bind((HOST, 0))
        sock.listen(backlog)
        return sock

    async def many(self, **arguments: object) -> sctpsocket_udp:
        sock = await self.add(sctpsocket_udp(udp_port=0, **arguments))
        sock.bind((HOST, 0))
        sock.listen()
        return sock

    async def client(self, server=None, **arguments: object) -> sctpsocket_tcp:
        """Return a one-to-one socket, connected to the server if there is one."""
        sock = await self.add(sctpsocket_tcp(remote_udp_port=server.udp_port if server else 9899, **arguments))
        if server is not None:
            await sock.connect(server.getsockname())
        return sock

    async def caller(self, server, **arguments: object) -> sctpsocket_udp:
        """Return a one-to-many socket that can reach a server."""
        return await self.add(sctpsocket_udp(remote_udp_port=server.udp_port, **arguments))

    def silent_port(self) -> int:
        """Return a UDP port that is open and never answers."""
        sock = self._stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.bind((HOST, 0))
        return sock.getsockname()[1]

    async def pair(self, **arguments: object) -> tuple[sctpsocket_tcp, sctpsocket_tcp]:
        """Return two connected one-to-one sockets with the same arguments."""
        listener = await self.listener(**arguments)
        client = await self.client(listener, **arguments)
        accepted, _ = await listener.accept()
        return client, await self.add(accepted)


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    async with AsyncExitStack() as stack:
        yield Opened(stack)


Opener = Callable[[], Opened]
