"""Runs one machine on asyncio: datagrams in, datagrams out, events up, one timer; it knows nothing of what they mean.

The machine is never called while it is being called. After each call its datagrams are sent, as far as the transport
takes them, its events are handed up, and the one timer is set. A transport that is not writable leaves the datagrams in
the machine, where their number is bounded and where a newer state may still replace them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

Datagram = TypeVar("Datagram")  # bytes; or with where they come from and go to, if the machine knows addresses
Event = TypeVar("Event")
Event_co = TypeVar("Event_co", covariant=True)

# How often one call may go round (events whose handlers make more events) before the loop gets its turn.
_ROUNDS: Final = 32


class Machine(Protocol[Datagram, Event_co]):
    """The one shape of a sans-IO machine; `now` is in seconds of the event loop's monotonic clock."""

    def receive_datagrams(self, datagrams: Sequence[Datagram], now: float) -> None:
        """Take in what the peer sent."""

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""

    def next_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called."""

    def datagrams_to_send(self, now: float) -> Sequence[Datagram]:
        """Drain what is to be sent."""

    def events(self) -> Sequence[Event_co]:
        """Drain what happened."""


class Transport(Protocol[Datagram]):
    """What a driver needs of a transport; `datachan.ice.transport.DatagramTransport` has it."""

    def set_receiver(self, receiver: Callable[[list[Datagram]], None] | None) -> None:
        """Name who gets each batch."""

    def send_datagrams(self, datagrams: Sequence[Datagram]) -> None:
        """Send a batch."""

    @property
    def writable(self) -> bool:
        """Whether the transport takes datagrams now."""

    def set_writable_callback(self, callback: Callable[[], None] | None) -> None:
        """Name who is told that `writable` has become True."""


class Driver(Generic[Datagram, Event]):
    """Drives a machine over a transport, from construction until `close`.

    Arguments:
        machine: what to run.
        transport: its receiver and its writable callback belong to the driver until `close`.
        on_event: called with each event, in order. It may call the machine; `wake` is not needed then. If it raises,
            the other events still come, and the error reaches the event loop's exception handler.
    """

    def __init__(
        self, machine: Machine[Datagram, Event], transport: Transport[Datagram], on_event: Callable[[Event], Any]
    ) -> None:
        self._machine = machine
        self._transport = transport
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._events: deque[Event] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._wake: asyncio.Handle | None = None
        self._running = False
        self._closed = False
        transport.set_writable_callback(self._run)
        transport.set_receiver(self._received)
        self.wake()

    @property
    def now(self) -> float:
        """The time to call the machine with."""
        return self._loop.time()

    def wake(self) -> None:
        """Say that the machine was called directly; however often, it is looked after once per turn of the loop."""
        if self._wake is None and not self._closed and not self._running:
            self._wake = self._loop.call_soon(self._woken)

    def send_now(self) -> None:
        """As `wake`, and what the machine wants to send leaves at once if this is the first call in this turn.

        Events wait for the turn to come all the same: nobody who sends expects to be called back before it returns.
        """
        if self._wake is not None or self._closed or self._running:
            return
        self._wake = self._loop.call_soon(self._woken)
        self._send()

    def flush(self) -> None:
        """Look after the machine at once rather than at the next turn of the loop; for a last word before `close`."""
        self._run()

    def close(self) -> None:
        """Let go of the machine and the transport; what the machine still wants to send stays in it."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        self._events.clear()
        self._transport.set_receiver(None)
        self._transport.set_writable_callback(None)

    def _woken(self) -> None:
        self._wake = None
        self._run()

    def _received(self, datagrams: list[Datagram]) -> None:
        if self._closed:
            return
        self._machine.receive_datagrams(datagrams, self._loop.time())
        self._run()

    def _timer_expired(self) -> None:
        self._timer = None
        deadline = self._machine.next_timeout()
        now = self._loop.time()
        if deadline is not None and deadline <= now:
            self._machine.handle_timeout(now)
        self._run()

    def _run(self) -> None:
        if self._running or self._closed:  # a handler or the transport called back into us: the round below sees it
            return
        self._running = True
        again = True
        try:
            for _ in range(_ROUNDS):
                again = self._round()
                if not again:
                    break
        finally:
            self._running = False
            if not self._closed:
                self._set_timer()
                if again:  # more to do than one turn should take, or a handler raised
                    self.wake()

    def _round(self) -> bool:
        """Drain the machine once; whether something was there."""
        busy = self._send()
        self._events.extend(self._machine.events())
        while self._events and not self._closed:
            busy = True
            self._on_event(self._events.popleft())
        return busy and not self._closed

    def _send(self) -> bool:
        """Send what the machine wants to send, if the transport takes it; whether that was anything."""
        if not self._transport.writable:
            return False
        datagrams = self._machine.datagrams_to_send(self._loop.time())
        if datagrams:
            self._transport.send_datagrams(datagrams)
        return bool(datagrams)

    def _set_timer(self) -> None:
        """Set the one timer.

        A timer that is too early is left alone: acknowledgments move the deadline with every batch, always later, and
        one needless wake-up is cheaper than cancelling each time.
        """
        deadline = self._machine.next_timeout()
        if self._timer is not None:
            if deadline is not None and self._timer.when() <= deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._timer_expired)
