"""Runs an ICE agent and its STUN queries over links: separates STUN from data, sends, hands up events, one timer.

The links belong to the caller that has added them, except that their receivers and error callbacks are set here.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from datachan.callbacks import ignore
from datachan.ice.link import DatagramLink, SelectedLink, TransportAddress
from datachan.ice_agent import AgentEvent, Base, IceAgent
from datachan.ice_agent.candidates import scoped
from datachan.ice_agent.pairs import NEVER
from datachan.ice_agent.server_queries import Mapped, QueryFailed, ServerQueries
from datachan.lazy_timers import LazyTimer
from datachan.udp import Address

# How often one call drains the machines: handlers of events may cause more of both.
_ROUNDS: Final = 64
# Datagrams kept from an address that is being checked: a NAT that rebinds loses none, at usual rates.
_MAX_HELD: Final = 64

OnData = Callable[[list[bytes]], None]


class AgentRunner:
    """Runs one agent, from construction until `close`.

    Args:
        agent: the agent.
        on_event: called with each event of the agent, in order.
        on_query_event: called with each event of the STUN queries.
        on_data: called with datagrams that are not STUN, from an address that the peer has proved to be its own.
        on_refused: called with the number of datagrams from other addresses.

    Attributes:
        queries: the queries to STUN servers; call `run` after using them.
        links: the links by base.
    """

    def __init__(
        self,
        agent: IceAgent,
        *,
        on_event: Callable[[AgentEvent], None],
        on_query_event: Callable[[Mapped | QueryFailed], None],
        on_data: OnData,
        on_refused: Callable[[int], None],
    ) -> None:
        self._agent = agent
        self._on_event = on_event
        self._on_query_event = on_query_event
        self._on_data = on_data
        self._on_refused = on_refused
        self.queries = ServerQueries(os.urandom)
        self.links: dict[Base, DatagramLink] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: LazyTimer | None = None
        self._refusal: OSError | None = None
        self._watched: SelectedLink | None = None
        self._held: list[bytes] = []
        self._held_from: tuple[Base, TransportAddress] | None = None
        self._running = self._closed = False

    @property
    def now(self) -> float:
        """The time of the machines: monotonic seconds, as the event loop's."""
        if self._loop is None:
            try:
                self._loop = asyncio.get_running_loop()  # once, as it asks the system for the process id
            except RuntimeError:  # a candidate may be added before the loop runs
                return time.monotonic()
        return self._loop.time()

    # links

    def add_link(self, base: Base, link: DatagramLink) -> None:
        """Receive from a link; the agent gets its candidates from the caller."""
        self.links[base] = link
        link.on_error = self._note_refusal
        link.set_receiver(partial(self._received, base))

    def remove_link(self, base: Base) -> None:
        """Forget a link, which the caller closes, and move away from it."""
        if self._held_from is not None and self._held_from[0] is base:
            self._drop_held()
        link = self.links.pop(base, None)
        if link is not None:
            link.on_error = None
            link.set_receiver(None)
            self.queries.remove_base(base)
            self._agent.remove_base(base, self.now)
            self.run()

    def watch_sending(self, link: SelectedLink | None) -> None:
        """Tell the agent when data is sent on a link, which is the selected one now."""
        if self._watched is not None:
            self._watched.on_sending = None
        self._watched = link

    def stop_watching(self, link: SelectedLink) -> None:
        """Watch a link no longer, if it is the one that is watched."""
        if self._watched is link:
            self.watch_sending(None)

    def _note_refusal(self, error: OSError) -> None:
        self._refusal = error

    # datagrams in

    def _received(self, base: Base, datagrams: list[bytes], address: Address) -> None:
        """Receive datagrams from one address; STUN first, because a check may prove the address."""
        # Python reports the source of a datagram without its scope.
        source = (scoped(address[0], base), address[1])
        # RFC 7983, 7: the first byte is 0 to 3 for STUN and 20 to 63 for DTLS.
        data = [datagram for datagram in datagrams if datagram and 20 <= datagram[0] <= 63]
        stun = len(data) < len(datagrams)
        if stun:
            self._receive_stun(base, [one for one in datagrams if one and one[0] <= 3], source)
        if data:
            if self._agent.accepts(base, source, self.now):
                self._on_data(data)
            else:
                self._hold(base, source, data)
        if self._held_from is not None:
            self._release_held()
        if stun or self._held or self._agent.has_events:
            self.run()

    def _hold(self, base: Base, source: TransportAddress, data: list[bytes]) -> None:
        """Keep data from an address that is not proven yet if it may be the peer's; else count it as refused."""
        if not self._agent.note_stranger(base, source, self.now):
            self._on_refused(len(data))
            return
        if self._held_from != (base, source):
            self._drop_held()
            self._held_from = base, source
        room = _MAX_HELD - len(self._held)
        self._held += data[:room]
        self._on_refused(max(0, len(data) - room))

    def _drop_held(self) -> None:
        self._on_refused(len(self._held))
        self._held, self._held_from = [], None

    def _release_held(self) -> None:
        """Hand up the data that was kept, once its address is proven."""
        if self._held_from is not None and self._agent.accepts(*self._held_from, self.now):
            held, self._held, self._held_from = self._held, [], None
            self._on_data(held)

    def _receive_stun(self, base: Base, datagrams: list[bytes], source: TransportAddress) -> None:
        now = self.now
        checks: list[tuple[bytes, TransportAddress]] = []
        for datagram in datagrams:
            if self.queries.owns(datagram):
                self.queries.receive_datagram(datagram, now)
            else:
                checks.append((datagram, source))
        self._agent.receive_datagrams(checks, base, now)

    # the machines

    def run(self) -> None:
        """Send what the machines have to send, hand up their events, and set the timer."""
        if self._running or self._closed:
            return
        self._running = True
        try:
            for _ in range(_ROUNDS):
                if not self._round() or self._closed:
                    break
        finally:
            self._running = False
        if not self._closed:
            self._watch()
            self._set_timer()

    def _round(self) -> bool:
        """Drain both machines once; return whether they had anything."""
        now = self.now
        checks, queries = self._agent.datagrams_to_send(now), self.queries.datagrams_to_send(now)
        for base, destination, datagram in checks:
            if self._send(base, destination, datagram) is not None:
                self._agent.send_failed(base, destination, now)
        for base, destination, datagram in queries:
            if (error := self._send(base, destination, datagram)) is not None:
                self.queries.send_failed(base, destination, error.strerror or str(error))
        query_events, events = self.queries.events(), self._agent.events()
        for query_event in query_events:
            self._on_query_event(query_event)
        for event in events:
            self._on_event(event)
        return bool(checks or queries or query_events or events)

    def _send(self, base: Base, destination: TransportAddress, datagram: bytes) -> OSError | None:
        """Send one datagram; return the error if the system has refused it at once."""
        link = self.links.get(base)
        if link is None or link.closed:
            return OSError("the link is closed")
        self._refusal = None
        try:
            link.send([datagram], destination)
        except BufferError:  # without room it is lost, as STUN expects of a network
            return None
        except OSError as error:
            return error
        return self._take_refusal()

    def _take_refusal(self) -> OSError | None:
        """Return what the link has said of the last datagram, once."""
        refusal, self._refusal = self._refusal, None
        return refusal

    def _watch(self) -> None:
        if self._watched is not None and self._agent.watches_sending:
            self._watched.on_sending = self._sending
            self._watched.keep_copies(self._agent.has_alternative)

    def _sending(self) -> None:
        if self._watched is not None:
            self._watched.on_sending = None
        deadline = self._agent.note_sending(self.now)
        if self._timer is not None and deadline != NEVER:
            self._timer.set(deadline)

    def _next_timeout(self) -> float | None:
        if not self.links:
            return None
        times = [one for one in (self._agent.next_timeout(), self.queries.next_timeout()) if one is not None]
        return min(times, default=None)

    def _set_timer(self) -> None:
        if self._timer is None:
            self._timer = LazyTimer(asyncio.get_running_loop(), self._next_timeout, self._expire)
        self._timer.set(self._next_timeout())

    def _expire(self, now: float) -> None:
        if self._agent.sending_was_answered(now):
            self._watch()
            self._set_timer()
            return
        self._agent.handle_timeout(now)
        self.queries.handle_timeout(now)
        if self._held_from is not None and not self._agent.is_checking(*self._held_from):
            self._drop_held()
        self.run()

    def close(self) -> None:
        """Stop; nothing is received or sent any longer."""
        self._closed = True
        self.watch_sending(None)
        if self._timer is not None:
            self._timer.close()
        for link in self.links.values():
            link.on_error = None
            link.set_receiver(None)
        # They refer to the owner of the runner, which is freed without the garbage collector.
        self._on_event = self._on_query_event = self._on_data = self._on_refused = ignore
