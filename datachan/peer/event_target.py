"""Events of the peer API: pyee's `on` and `once`, with exceptions of a callback logged and not passed on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, overload

from pyee.asyncio import AsyncIOEventEmitter

from datachan.log_rate import get_limited_logger

from .errors import ArgumentError

_log = get_limited_logger("datachan.peer")


Callback = Callable[..., Any]
Name = TypeVar("Name", bound=str)
F = TypeVar("F", bound=Callback)


class EventHandler:
    """An event handler attribute such as `onmessage` (HTML, 8.1.8.1), which also declares the event.

    Assigning a callback replaces the one assigned before; None removes it. The callback gets the same arguments as one
    that is attached with `on`.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.event = name.removeprefix("on")

    @overload
    def __get__(self, target: None, owner: type) -> EventHandler: ...
    @overload
    def __get__(self, target: EventTarget[Any], owner: type) -> Callback | None: ...
    def __get__(self, target: EventTarget[Any] | None, owner: type) -> EventHandler | Callback | None:
        if target is None:
            return self
        attached = target._handlers.get(self.event)
        return None if attached is None else attached.func

    def __set__(self, target: EventTarget[Any], callback: Callback | None) -> None:
        if callback is not None and not callable(callback):
            raise ArgumentError(f"on{self.event} is a function or None, not {type(callback).__name__}")
        previous = target._handlers.pop(self.event, None)
        if previous is not None and previous in target.listeners(self.event):
            target.remove_listener(self.event, previous)
        if callback is not None:
            # A partial object differs from the same function attached with `on`.
            target._handlers[self.event] = attached = partial(callback)
            target.add_listener(self.event, attached)


class EventTarget(AsyncIOEventEmitter, Generic[Name]):
    """An object with events. A subclass declares each with an `EventHandler`, and in `Name` for type checkers.

    A callback is a function, or a coroutine function that runs as a task of its own. An exception in a callback is
    logged with its traceback; it affects neither other callbacks nor the connection.

    Attributes:
        EVENTS: the names of the events.
    """

    EVENTS: ClassVar[frozenset[str]] = frozenset()

    def __init__(self) -> None:
        super().__init__()
        self._handlers: dict[str, partial[Any]] = {}
        self._handlers_checked = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        declared = (value.event for value in vars(cls).values() if isinstance(value, EventHandler))
        cls.EVENTS = cls.EVENTS | frozenset(declared)

    if TYPE_CHECKING:  # pyee's methods, for names of events only

        @overload  # type: ignore[override]
        def on(self, event: Name) -> Callable[[F], F]: ...
        @overload
        def on(self, event: Name, f: F) -> F: ...
        def on(self, event: Name, f: F | None = None) -> F | Callable[[F], F]:
            """Call `f` at each event."""

        @overload  # type: ignore[override]
        def once(self, event: Name) -> Callable[[F], F]: ...
        @overload
        def once(self, event: Name, f: F) -> F: ...
        def once(self, event: Name, f: F | None = None) -> F | Callable[[F], F]:
            """Call `f` at the next event only."""

        def add_listener(self, event: Name, f: F) -> F:  # type: ignore[override]
            """Call `f` at each event."""

        def listens_to(self, event: Name) -> Callable[[F], F]:  # type: ignore[override]
            """Return a decorator for `add_listener`."""

    def _add_event_handler(self, event: str, k: Callback, v: Callback) -> None:
        """Attach a callback.

        Raises:
            ArgumentError: the object has no such event.
        """
        if event not in self.EVENTS:
            raise ArgumentError(f"{self._class_name()} has no event {event!r}, only {', '.join(sorted(self.EVENTS))}")
        super()._add_event_handler(event, k, v)

    def emit(self, event: str, *args: Any, **kwargs: Any) -> bool:
        """Call the listeners of an event; return whether there are any. An `error` without listeners is only logged."""
        if not self._handlers_checked and event in self.EVENTS:  # pyee emits new_listener, too
            self._handlers_checked = True
            self._check_handler_names()
        # pyee's own version takes a lock and calls three functions, which is slow for every message. It also reports an
        # exception as an `error` event. Here that is W3C's event for a failed transport, and an `error` callback that
        # raises would be called endlessly.
        handlers = self._events.get(event)
        if not handlers:
            if event == "error":
                _log.debug("%r: error without a listener: %s", self, args[0] if args else "")
            return False
        for handler in tuple(handlers.values()):
            try:
                result = handler(*args, **kwargs)
            except Exception:
                _log.exception("%r: a callback raised", self)
                continue
            if result is not None and asyncio.iscoroutine(result):
                self._follow(result)
        return True

    def _release_listeners(self) -> None:
        """Release the callbacks, because no event follows: they usually refer to this object."""
        self.remove_all_listeners()
        self._handlers.clear()

    def _check_handler_names(self) -> None:
        """Warn about attributes such as `onmesage`: Python accepts any attribute, and no event would call it."""
        for name in vars(self):
            if name.startswith("on") and (close := get_close_matches(name.removeprefix("on"), self.EVENTS, 1)):
                _log.warning("%s has no event handler attribute %s; is it on%s?", self._class_name(), name, close[0])

    def _class_name(self) -> str:
        """Return the name of the public class, which declares the events."""
        classes = type(self).__mro__
        return next(cls.__name__ for cls in classes if any(isinstance(v, EventHandler) for v in vars(cls).values()))

    def _follow(self, result: Coroutine[Any, Any, Any]) -> None:
        """Run a callback that is a coroutine function."""
        task = asyncio.ensure_future(result)
        self._waiting.add(task)
        task.add_done_callback(self._callback_done)

    def _callback_done(self, task: asyncio.Future[Any]) -> None:
        self._waiting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%r: a callback raised", self, exc_info=error)
