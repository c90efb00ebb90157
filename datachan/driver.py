"""Runs one machine on asyncio: datagrams in, datagrams out, events up, one timer; it does not interpret them.

The machine is never called while it is being called. After each call the driver sends the machine's datagrams as long
as the link takes them, hands up its events, and sets the one timer. After a few datagrams the events may come first,
so that what a handler answers leaves in one packet with the acknowledgment. A longer batch is acknowledged first, so
that the peer can go on meanwhile. While the link is not writable, datagrams stay in the machine, where their number is
bounded and where a newer state may still replace them.

An exception of the machine or of the link is a defect in this package, and the machine's state cannot be trusted
after it. The driver then stops and reports the exception, so that this connection ends with a reason. Other connections
of the process go on.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from datachan.callbacks import ignore
from datachan.lazy_timers import LazyTimer
from datachan.log_rate import INTERVAL, MAX_RECORDS, get_limited_logger
from datachan.token_bucket import TokenBucket

Datagram = TypeVar("Datagram")  # bytes; or bytes with the addresses they come from and go to
Datagram_contra = TypeVar("Datagram_contra", contravariant=True)
Event = TypeVar("Event")
Event_co = TypeVar("Event_co", covariant=True)

_log = get_limited_logger("datachan.driver")

# How often one call drains the machine (handlers of events may cause more events) before other callbacks get a turn.
_ROUNDS: Final = 32
# The datagrams after which such a call ends although the machine has more: what has arrived is read before the rest is
# sent. A full send buffer takes milliseconds, for which a small message of the peer would wait.
_DATAGRAMS_AT_ONCE: Final = 64
# The longest batch of which the events may come first. A busy server reads several small messages of a peer together;
# what a peer sends in bulk arrives in longer batches.
_FEW: Final = 16
# One defect can end thousands of connections at once: at most one traceback per interval is logged as an error, in
# seconds. The others are logged for debugging.
_TRACEBACK_INTERVAL: Final = 60.0


class Machine(Protocol[Datagram, Event_co]):
    """The shape of every sans-IO machine; `now` is in seconds of the event loop's monotonic clock.

    Attributes:
        has_more: whether `datagrams_to_send` might return more than its last call has, although nothing has happened
            since. A machine that cannot tell says True.
        bundles: whether its answer to a few datagrams may wait until the events are handed up, to leave in one packet
            with what their handlers send.
    """

    @property
    def has_more(self) -> bool: ...

    @property
    def bundles(self) -> bool: ...

    def receive_datagrams(self, datagrams: Sequence[Datagram], now: float) -> None:
        """Process datagrams from the peer."""

    def handle_timeout(self, now: float) -> None:
        """Handle the timeouts that are due."""

    def next_timeout(self) -> float | None:
        """Return when to call `handle_timeout`; None for never."""

    def datagrams_to_send(self, now: float) -> Sequence[Datagram]:
        """Drain the datagrams to send."""

    def events(self) -> Sequence[Event_co]:
        """Drain the events."""


class Link(Protocol[Datagram_contra]):
    """Where a driver sends."""

    @property
    def writable(self) -> bool:
        """Whether the link accepts datagrams now."""

    @property
    def on_writable(self) -> Callable[[], None] | None:
        """Called when `writable` becomes True; set it again each time the link is not writable."""

    @on_writable.setter
    def on_writable(self, callback: Callable[[], None] | None) -> None: ...

    def send_datagrams(self, datagrams: Sequence[Datagram_contra]) -> None:
        """Send a batch."""


class Driver(Generic[Datagram, Event]):
    """Drives a machine over a link, from construction until `close`.

    The owner has `receive` called with what arrives, from one place or from several.

    Args:
        machine: the machine to run.
        link: where to send at first; its `on_writable` belongs to the driver until `close` or `use`.
        on_event: called with each event, in order. It may call the machine, and calls `wake` if it has. If it raises,
            the other events still come, and the exception reaches the event loop's exception handler, 20 times a minute
            in a process.
        on_failure: called once, in a turn of the event loop of its own, with the exception that the machine or the link
            raised. The driver is closed then.
    """

    def __init__(
        self,
        machine: Machine[Datagram, Event],
        link: Link[Datagram],
        on_event: Callable[[Event], Any],
        on_failure: Callable[[Exception], Any],
    ) -> None:
        self._machine = machine
        self._link = link
        self._on_event = on_event
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._events: deque[Event] = deque()
        self._timer = LazyTimer(self._loop, self._deadline, self._timer_expired)
        self._wake: asyncio.Handle | None = None
        self._failure: asyncio.Handle | None = None
        self._running = False
        self._datagrams = 0  # sent by the current run
        self._called = False  # whether the machine was called while its events were handed up
        self._closed = False
        self.wake()

    @property
    def now(self) -> float:
        """The current time, to pass to the machine."""
        return self._loop.time()

    def use(self, link: Link[Datagram]) -> None:
        """Send over another link from now on."""
        if self._closed:
            return
        self._link.on_writable = None
        self._link = link
        self.wake()

    def receive(self, datagrams: list[Datagram]) -> None:
        """Hand a batch of received datagrams to the machine, and run it."""
        if self._closed:
            return
        try:
            self._machine.receive_datagrams(datagrams, self._loop.time())
        except Exception as error:
            self._fail(error)
        else:
            self._run(events_first=len(datagrams) <= _FEW and self._machine.bundles)

    def wake(self) -> None:
        """Schedule one run for this turn of the event loop, after the machine was called directly.

        Any number of calls in one turn cause one run.
        """
        if self._running:
            self._called = True
        elif self._wake is None and not self._closed:
            self._wake = self._loop.call_soon(self._woken)

    def send_now(self) -> None:
        """Do as `wake`; the first call in a turn also sends the machine's datagrams at once.

        Events are still handed up later: an application that sends does not expect callbacks before `send` returns.
        """
        is_first = self._wake is None and not self._running and not self._closed
        self.wake()
        if is_first:
            try:
                self._send()
            except Exception as error:
                self._fail(error)

    def flush(self) -> None:
        """Run the machine at once rather than in the next turn of the loop; for the last packets before `close`."""
        self._run(at_once=sys.maxsize)

    def close(self) -> None:
        """Detach from the machine and the link; datagrams that were not sent stay in the machine."""
        self._closed = True
        self._timer.close()
        for handle in (self._wake, self._failure):
            if handle is not None:
                handle.cancel()
        self._wake = self._failure = None
        self._events.clear()
        self._link.on_writable = None
        self._on_event = self._on_failure = ignore  # they refer to the owner of the driver

    def _woken(self) -> None:
        self._wake = None
        self._run()

    def _deadline(self) -> float | None:
        try:
            return self._machine.next_timeout()
        except Exception as error:
            self._fail(error)
            return None

    def _timer_expired(self, now: float) -> None:
        try:
            self._machine.handle_timeout(now)
        except Exception as error:
            self._fail(error)
        else:
            self._run()

    def _run(self, events_first: bool = False, at_once: int = _DATAGRAMS_AT_ONCE) -> None:
        if self._running or self._closed:  # the link or a handler called back: the run in progress goes on
            self._called = True
            return
        self._running = True
        self._datagrams = 0
        again = False
        try:
            if events_first:
                self._hand_up()
            for _ in range(_ROUNDS):
                again = self._round()
                if not again or self._datagrams >= at_once:
                    break
            if not self._closed:
                self._timer.set(self._machine.next_timeout())
        except Exception as error:
            self._fail(error)
        finally:
            self._running = False
        if again:  # there is more to do than one turn should take
            self.wake()

    def _round(self) -> bool:
        """Drain the machine once; return whether it may have more."""
        self._called = False
        is_busy = self._send()
        if self._hand_up():
            is_busy = True
        return not self._closed and (self._called or (is_busy and self._machine.has_more))

    def _hand_up(self) -> bool:
        """Hand up the machine's events; return whether there were any."""
        if self._closed:
            return False
        events = self._machine.events()
        if not events:
            return False
        self._events.extend(events)
        while self._events and not self._closed:
            event = self._events.popleft()
            try:
                self._on_event(event)
            except Exception as error:
                self._report(error)
        return True

    def _report(self, error: Exception) -> None:
        """Pass an exception of a handler to the event loop's exception handler, which logs it, at a limited rate."""
        message = "a handler of events raised"
        if _reports.take(self._loop.time()):
            self._loop.call_exception_handler({"message": message, "exception": error})
        else:
            _log.debug(message, exc_info=error)

    def _send(self) -> bool:
        """Send the machine's datagrams if the link accepts them; return whether there were any."""
        if not self._link.writable:
            self._link.on_writable = self._run
            return False
        datagrams = self._machine.datagrams_to_send(self._loop.time())
        if datagrams:
            self._link.send_datagrams(datagrams)
            self._datagrams += len(datagrams)
        return bool(datagrams)

    def _fail(self, error: Exception) -> None:
        """Close, log the exception, and report it in the next turn of the loop."""
        if self._closed:
            return
        report = self._on_failure
        self.close()
        _log_defect(error, self._loop.time())
        self._failure = self._loop.call_soon(report, error)


# A peer may send what a handler cannot process again and again. All drivers of the process share the limit.
_reports = TokenBucket(MAX_RECORDS / INTERVAL, MAX_RECORDS)

_last_traceback = float("-inf")


def _log_defect(error: Exception, now: float) -> None:
    """Log an exception with its traceback, as an error at most once per `_TRACEBACK_INTERVAL`."""
    global _last_traceback  # noqa: PLW0603 (one limit for all drivers of the process)
    level = logging.DEBUG
    if now - _last_traceback >= _TRACEBACK_INTERVAL:
        _last_traceback = now
        level = logging.ERROR
    _log.log(level, "internal error: a connection ends because of an exception", exc_info=error)
