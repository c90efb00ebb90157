"""Carries a request to the worker that has its connection; knows the form of requests, not what they ask for.

The system gives each TCP connection to any worker. The id of a connection begins with the mark of its worker, as the
username fragments do, and a request for another worker's connection goes there over a local socket: a line of JSON
each way. Only this user may enter the folder of the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, Final, TypeAlias

from datachan.server.exchange import Refusal, SignalingRequest, SignalingResponse
from datachan.server.worker import Worker

_PATIENCE: Final = 15.0
"""Seconds that another worker has for its response; gathering candidates for an ICE restart may take two."""

_LINE_LIMIT: Final = 1 << 20

Respond: TypeAlias = Callable[[SignalingRequest, str], Awaitable[SignalingResponse]]


class Colleagues:
    """The other workers, as far as signaling is concerned.

    Args:
        worker: This worker.
        respond: Returns the response to a request of another worker, with its body.
    """

    def __init__(self, worker: Worker, respond: Respond) -> None:
        self._worker = worker
        self._neighbors = worker.neighbors()
        self._respond = respond
        self._listener: asyncio.Server | None = None

    @property
    def mark(self) -> str:
        """What the ids of this worker's connections begin with."""
        return self._neighbors.mark

    def owner_of(self, session: str) -> int | None:
        """Return the worker of a connection; None if it is this one or none."""
        return self._neighbors.owner_of(session)

    async def open(self) -> None:
        """Answer the others. A worker that replaces another takes over its place.

        Raises:
            OSError: The folder cannot be used.
        """
        path = self._worker.folder / f"signaling-{self._worker.index}"
        path.unlink(missing_ok=True)
        self._listener = await asyncio.start_unix_server(self._serve, path, limit=_LINE_LIMIT)

    async def close(self) -> None:
        """Answer nothing more."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def ask(self, owner: int, request: SignalingRequest, body: str) -> SignalingResponse:
        """Return the response of another worker.

        Raises:
            Refusal: The worker is gone, and its connections with it.
        """
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._exchange(owner, request, body)
        except TimeoutError:
            raise Refusal(503, "worker-busy", "The worker of the connection does not answer.") from None
        except (OSError, ValueError):
            raise Refusal(404, "no-such-connection", "The connection has ended with its worker.") from None

    async def _exchange(self, owner: int, request: SignalingRequest, body: str) -> SignalingResponse:
        path = self._worker.folder / f"signaling-{owner}"
        reader, writer = await asyncio.open_unix_connection(path, limit=_LINE_LIMIT)
        try:
            question = {**asdict(request), "body": body}
            writer.write(json.dumps(question).encode() + b"\n")
            answer: dict[str, Any] = json.loads(await reader.readline())
        finally:
            writer.close()
        return SignalingResponse(answer["status"], answer["headers"], answer["body"].encode())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ValueError):  # the other worker has ended meanwhile
            question: dict[str, Any] = json.loads(await reader.readline())
            body = question.pop("body")
            response = await self._respond(SignalingRequest(**question), body)
            answer = {"status": response.status, "headers": dict(response.headers), "body": response.body.decode()}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()
