"""Requests and responses over one channel, each with a deadline that both sides know.

A request is {"request": id, "deadline": milliseconds, "body": …}. Its response is {"response": id, "body": …} or
{"response": id, "error": "…"}. Bodies are JSON.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from datachan.log_rate import get_limited_logger
from datachan.peer import RTCDataChannel

_log = get_limited_logger("datachan.patterns")

MAX_DEADLINE: Final = 60.0
"""Seconds for which a request of the peer may keep us busy, whatever deadline it states."""


class RequestError(Exception):
    """The peer could not carry out the request; the message is the peer's."""


class RequestTimeout(RequestError):
    """No response arrived before the deadline."""


class RequestChannel:
    """Sends requests and answers those of the peer.

    Args:
        channel: The channel, reliable on both sides. Its messages are consumed.
        handler: A coroutine function that is called with the body of each request of the peer and returns the body of
            the response. It is canceled at the deadline. None refuses all requests.
        max_pending: Requests of the peer that are carried out at the same time; further ones are refused.
    """

    def __init__(
        self,
        channel: RTCDataChannel,
        handler: Callable[[Any], Awaitable[Any]] | None = None,
        *,
        max_pending: int = 64,
    ) -> None:
        self._channel = channel
        self._handler = handler
        self._max_pending = max_pending
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._running: set[asyncio.Task[None]] = set()
        channel.on("message", self._receive)
        channel.on("close", self._closed)

    async def request(self, body: Any = None, *, timeout: float = 1.0) -> Any:  # noqa: ASYNC109 - the peer knows it
        """Send a request and return the body of the response.

        Args:
            body: Any value that JSON has.
            timeout: Seconds until the deadline, at most `MAX_DEADLINE`.

        Raises:
            RequestTimeout: No response arrived before the deadline.
            RequestError: The peer could not carry out the request.
            ConnectionError: The channel closed.
            InvalidStateError: The channel is not open.
        """
        number = next(self._ids)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            message = {"request": number, "deadline": round(1000 * min(timeout, MAX_DEADLINE)), "body": body}
            self._channel.send(json.dumps(message))
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            raise RequestTimeout(f"no response within {timeout:g} seconds") from None
        finally:
            self._waiting.pop(number, None)

    def _receive(self, text: str | bytes) -> None:
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            return
        if not isinstance(message, dict):
            return
        if isinstance(message.get("response"), int):
            self._take_response(message)
        elif isinstance(message.get("request"), int):
            self._take_request(message)

    def _take_response(self, message: dict[str, Any]) -> None:
        future = self._waiting.get(message["response"])
        if future is None or future.done():
            return  # it comes after the deadline
        if "error" in message:
            future.set_exception(RequestError(str(message["error"])[:500]))
        else:
            future.set_result(message.get("body"))

    def _take_request(self, message: dict[str, Any]) -> None:
        number, milliseconds = message["request"], message.get("deadline")
        if self._handler is None or len(self._running) >= self._max_pending:
            reason = "requests are not answered here" if self._handler is None else "too many requests at once"
            self._send({"response": number, "error": reason})
            return
        seconds = MAX_DEADLINE
        if isinstance(milliseconds, int | float):
            seconds = min(max(milliseconds / 1000, 0.0), MAX_DEADLINE)
        task = asyncio.get_running_loop().create_task(self._answer(number, message.get("body"), seconds))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _answer(self, number: int, body: Any, seconds: float) -> None:
        if self._handler is None:
            return
        try:
            async with asyncio.timeout(seconds):
                response = {"response": number, "body": await self._handler(body)}
                json.dumps(response)
        except TimeoutError:
            return  # the peer has given up
        except RequestError as error:
            response = {"response": number, "error": str(error)}
        except Exception:
            _log.exception("patterns: answering a request on channel %r failed", self._channel.label)
            response = {"response": number, "error": "the request failed"}
        self._send(response)

    def _send(self, message: dict[str, Any]) -> None:
        if self._channel.readyState == "open":
            self._channel.send(json.dumps(message))

    def _closed(self) -> None:
        for task in self._running:
            task.cancel()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ConnectionError("the channel closed"))
