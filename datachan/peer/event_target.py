"""Events of the peer API: pyee's `on` and `once`, with exceptions of a callback logged and not passed on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from pyee.asyncio import AsyncIOEventEmitter

_log = logging.getLogger("datachan.peer")


class EventTarget(AsyncIOEventEmitter):
    """An object with events.

    A callback is a function, or a coroutine function that runs as a task of its own. An exception in a callback is
    logged with its traceback; it affects neither other callbacks nor the connection.
    """

    def __init__(self) -> None:
        super().__init__()

    def emit(self, event: str, *args: Any, **kwargs: Any) -> bool:
        """Call the listeners of an event; return whether there are any. An `error` without listeners is only logged."""
        # pyee's own version takes a lock and calls three functions, which is slow for every message.
        handlers = self._events.get(event)
        if not handlers:
            if event == "error":
                _log.debug("%r: error without a listener: %s", self, args[0] if args else "")
            return False
        for handler in tuple(handlers.values()):
            self._emit_run(handler, args, kwargs)
        return True

    def _emit_run(self, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # pyee's version reports an exception as an `error` event. Here that is W3C's event for a failed transport, and
        # an `error` callback that raises would be called endlessly.
        try:
            result = f(*args, **kwargs)
        except Exception:
            _log.exception("%r: a callback raised", self)
            return
        if result is None or not asyncio.iscoroutine(result):
            return
        task = asyncio.ensure_future(result)
        self._waiting.add(task)
        task.add_done_callback(self._callback_done)

    def _callback_done(self, task: asyncio.Future[Any]) -> None:
        self._waiting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%r: a callback raised", self, exc_info=error)
