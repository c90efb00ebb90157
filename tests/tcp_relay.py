"""A TCP relay in front of a server, which can be cut as a network is, and lead elsewhere as a load balancer does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

HOST = "127.0.0.1"


class TcpRelay:
    """Passes each connection on. While the relay is cut, bytes stay where they are, and no end notices.

    Args:
        target: Returns the port that a new connection is passed on to.
    """

    def __init__(self, target: Callable[[], int]) -> None:
        self._target = target
        self._whole = asyncio.Event()
        self._whole.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._listener is not None
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._whole.wait()
            to_reader, to_writer = await asyncio.open_connection(HOST, self._target())
            try:
                await asyncio.gather(self._copy(reader, to_writer), self._copy(to_reader, writer))
            finally:
                to_writer.close()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self._whole.wait()
            writer.write(data)
            await writer.drain()
        writer.close()
