"""Events for the peer API: pyee's `on` and `once`, where what a callback raises stays with the callback."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from pyee.asyncio import AsyncIOEventEmitter

_log = logging.getLogger("datachan.peer")


class EventTarget(AsyncIOEventEmitter):
    """An object with events.

    A callback is a function, or a coroutine function that is then run as a task of its own. When one raises, that is
    logged with its traceback; neither the other callbacks nor the connection notice.
    """

    def __init__(self) -> None:
        super().__init__()

    def emit(self, event: str, *args: Any, **kwargs: Any) -> bool:
        """Call everyone who listens to the event; True when anyone does. An unheard `error` is only logged."""
        # As pyee's own, which asks for a lock and goes through three functions; here each message comes along.
        handlers = self._events.get(event)
        if not handlers:
            if event == "error":
                _log.debug("%r: error nobody listens to: %s", self, args[0] if args else "")
            return False
        for handler in tuple(handlers.values()):
            self._emit_run(handler, args, kwargs)
        return True

    def _emit_run(self, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # pyee's version turns what a callback raises into an `error` event, which here is W3C's and says that the
        # transport failed; and a raising `error` callback would be called for ever.
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
