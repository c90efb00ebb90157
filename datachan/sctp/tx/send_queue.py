"""The messages that the application has queued and that are not yet sent, per stream, cut into fragments on demand.

This module knows messages and streams. It knows no TSNs, no windows, and no fragment once it was taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import Final

from datachan.sctp.records.path import Path

from .policies import LIFETIME
from .scheduler import RoundRobin, StreamScheduler

FRAGMENT_LIMIT: Final = 1000
"""A message of at most this many bytes fits any packet, so the peer need not reassemble it."""


class OutgoingMessage:
    """One message of the application.

    Attributes:
        stream_id: the stream.
        ppid: payload protocol identifier, in host byte order.
        data: the message; emptied once its last fragment was taken.
        size: its length in bytes.
        arrival: its number in the order in which messages were queued.
        offset: bytes taken so far.
        fsn: fragments taken so far.
        unordered: the U bit.
        expires_at: when its lifetime ends, or None.
        max_retransmissions: the number of retransmissions of a fragment after which it is abandoned, or None.
        context: an object of the application, returned with `SendFailed`.
        drop_priority: a number if it may be abandoned for a message with a smaller number or with none (RFC 7496,
            section 3.2); None if it may not.
        key_id: the Shared Key Identifier for its chunks, if they are authenticated (RFC 4895).
        path: the path that the application chose, or None for the current path.
        policy: the policy by which it was abandoned, one of `policies`.
        ssn: stream sequence number or message identifier (unwrapped), assigned with its first fragment; -1 before.
        first_tsn: the TSN of its first fragment; -1 before it is sent.
        last_tsn: the TSN of the last fragment sent so far.
        abandoned: whether it was abandoned (RFC 3758).
    """

    __slots__ = (
        "abandoned",
        "arrival",
        "context",
        "data",
        "drop_priority",
        "expires_at",
        "first_tsn",
        "fsn",
        "key_id",
        "last_tsn",
        "max_retransmissions",
        "offset",
        "path",
        "policy",
        "ppid",
        "size",
        "ssn",
        "stream_id",
        "unordered",
    )

    def __init__(
        self,
        stream_id: int,
        ppid: int,
        data: bytes,
        unordered: bool,
        expires_at: float | None,
        max_retransmissions: int | None,
        context: object,
        drop_priority: int | None = None,
    ) -> None:
        self.stream_id = stream_id
        self.ppid = ppid
        self.data = data
        self.size = len(data)
        self.arrival = 0
        self.offset = 0
        self.fsn = 0
        self.unordered = unordered
        self.expires_at = expires_at
        self.max_retransmissions = max_retransmissions
        self.context = context
        self.drop_priority = drop_priority
        self.key_id = 0
        self.path: Path | None = None
        self.policy = LIFETIME
        self.ssn = -1
        self.first_tsn = -1
        self.last_tsn = -1
        self.abandoned = False

    @property
    def remaining(self) -> int:
        """Bytes not yet taken."""
        return self.size - self.offset


class OutboundStream:
    """The messages queued on one outgoing stream, and its sequence numbers."""

    __slots__ = ("buffered", "messages", "next_ssn", "next_unordered_mid", "paused", "progress")

    def __init__(self) -> None:
        self.messages: deque[OutgoingMessage] = deque()
        self.buffered = 0
        self.next_ssn = 0
        self.next_unordered_mid = 0
        self.paused = False
        self.progress = 0


class SendQueue:
    """The messages of all streams, in the order of a scheduler.

    Attributes:
        buffered: user bytes queued on all streams.
        interleaving: whether fragments of different messages may be mixed (RFC 8260); otherwise a started message is
            finished first.
        peer_window: the bytes that the peer can hold; see `_may_start`.
    """

    __slots__ = (
        "_active",
        "_current",
        "_droppable",
        "_droppable_limit",
        "_expiries",
        "_held_back",
        "_progressed",
        "_scheduler",
        "_serial",
        "_started",
        "_streams",
        "buffered",
        "interleaving",
        "peer_window",
    )

    def __init__(self, scheduler: StreamScheduler | None = None) -> None:
        self.buffered = 0
        self.interleaving = False
        self.peer_window = 0
        self._scheduler = scheduler if scheduler is not None else RoundRobin()
        self._current: OutgoingMessage | None = None  # partly taken, to be finished before any other
        # (-drop_priority, arrival, message), the first to be abandoned at the top; some are sent already.
        self._droppable: list[tuple[int, int, OutgoingMessage]] = []
        self._droppable_limit = 64
        self._started: dict[int, int] = {}  # the size of the partly taken message of each stream, if long
        self._held_back: list[int] = []  # streams that wait for one of those to be finished
        self._streams: dict[int, OutboundStream] = {}
        self._active: set[int] = set()
        self._expiries: list[tuple[float, int, OutgoingMessage]] = []
        self._serial = 0
        self._progressed: set[int] = set()

    def add(self, message: OutgoingMessage) -> None:
        """Queue a message at the end of its stream."""
        stream = self._stream(message.stream_id)
        self._serial += 1
        message.arrival = self._serial
        stream.messages.append(message)
        stream.buffered += message.size
        self.buffered += message.size
        if message.expires_at is not None:
            heappush(self._expiries, (message.expires_at, message.arrival, message))
        if message.drop_priority is not None:
            self._add_droppable(message)
        if not stream.paused:
            self._activate(message.stream_id)

    def buffered_amount(self, stream_id: int) -> int:
        """Return the user bytes queued on one stream."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.buffered

    @property
    def sendable(self) -> bool:
        """Whether a fragment can be taken now; paused streams do not count."""
        return bool(self._active)

    @property
    def empty(self) -> bool:
        """Whether nothing is queued."""
        return self.buffered == 0

    def next_message(self) -> OutgoingMessage | None:
        """Return the message from which the next fragment is taken, if any."""
        if self._current is not None:
            return self._current
        while True:
            stream_id = self._scheduler.choose()
            if stream_id is None:
                return None
            message = self._streams[stream_id].messages[0]
            if message.offset or message.size <= FRAGMENT_LIMIT or not self._started or self._may_start(message.size):
                return message
            self._deactivate(stream_id)
            self._held_back.append(stream_id)

    def _may_start(self, size: int) -> bool:
        """Return whether a long message may be started while others are partly sent.

        The peer holds the fragments of all of them. If they need more than its window together, it can complete none of
        them. RFC 8260, 2.2.2: "The sender MUST assign TSNs to I-DATA chunks in a way that the receiver can make
        progress." A receiver that accepts messages larger than its window keeps a full window of buffer in addition.
        """
        started = sum(self._started.values())
        longest = max(self._started.values())
        if longest <= self.peer_window:
            return started + size <= self.peer_window * 7 // 8
        return started - longest + size <= self.peer_window // 4

    def start_packet(self) -> None:
        """Record that the fragments taken from now on belong to another packet."""
        self._scheduler.start_packet()

    def change_scheduler(self, scheduler: StreamScheduler) -> None:
        """Replace the scheduler; keep the priorities set so far."""
        scheduler.take_over(self._scheduler)
        self._scheduler = scheduler
        for stream_id in self._active:
            scheduler.activate(stream_id, self._streams[stream_id].messages[0].arrival)

    def set_priority(self, stream_id: int, priority: int) -> None:
        """Set the scheduling priority of a stream."""
        self._scheduler.set_priority(stream_id, priority)

    def take(self, message: OutgoingMessage, size: int) -> bytes:
        """Take the next `size` bytes of the message that `next_message` returned; the first call assigns its SSN."""
        stream = self._streams[message.stream_id]
        if message.ssn < 0:
            # RFC 9260, 6.6: "an endpoint does not increment its Stream Sequence Number when transmitting a DATA chunk
            # with U flag set to 1."
            # RFC 8260, 2.1: "The sender uses two counters for each outgoing stream: one for ordered messages and one
            # for unordered messages."
            if not message.unordered:
                message.ssn = stream.next_ssn
                stream.next_ssn += 1
            elif self.interleaving:
                message.ssn = stream.next_unordered_mid
                stream.next_unordered_mid += 1
            else:
                message.ssn = stream.next_ssn
        offset = message.offset
        end = offset + size
        fragment = message.data if size == message.size else message.data[offset:end]
        message.offset = end
        message.fsn += 1
        if end == message.size:
            message.data = b""
            stream.messages.popleft()
            self._finish_message(message, stream, size)
        elif self.interleaving:
            if offset == 0:
                self._started[message.stream_id] = message.size
            self._scheduler.record_taken(message.stream_id, size, message.arrival)
        else:
            self._current = message
        self._account_for_taken(message.stream_id, stream, size)
        return fragment

    def drop(self, message: OutgoingMessage) -> None:
        """Remove the rest of an abandoned message."""
        if message.offset == message.size:
            return
        stream = self._streams[message.stream_id]
        at_head = stream.messages[0] is message
        stream.messages.remove(message)
        left = message.remaining
        started = message.offset > 0
        message.offset = message.size
        message.data = b""
        if started:
            self._end_started_message(message.stream_id)
        if at_head:
            self._deactivate(message.stream_id)
            if stream.messages and not stream.paused:
                self._activate(message.stream_id)
        self._account_for_taken(message.stream_id, stream, left)

    def expire(self, now: float) -> list[OutgoingMessage]:
        """Return the messages to abandon: their lifetime ended before their last fragment was taken."""
        expired = []
        while self._expiries and self._expiries[0][0] <= now:
            message = heappop(self._expiries)[2]
            if message.remaining and not message.abandoned:
                expired.append(message)
        return expired

    def next_expiry(self) -> float | None:
        """Return when the next lifetime of a queued message ends."""
        while self._expiries and not self._expiries[0][2].remaining:
            heappop(self._expiries)
        return self._expiries[0][0] if self._expiries else None

    def choose_to_abandon(
        self, size: int, drop_priority: int | None, *, started_too: bool
    ) -> list[OutgoingMessage] | None:
        """Choose messages to abandon to make room (RFC 7496, section 3.2).

        "User messages sent reliably are considered to have a priority higher than all messages sent with the Priority
        Policy." Among messages of equal priority the oldest is chosen first.

        Args:
            size: the bytes needed.
            drop_priority: that of the message that needs room; None for one that may not be abandoned.
            started_too: whether partly sent messages may be abandoned.

        Returns:
            The messages; None when they would not free enough bytes.
        """
        chosen: list[OutgoingMessage] = []
        kept: list[tuple[int, int, OutgoingMessage]] = []
        while size > 0 and self._droppable:
            entry = self._droppable[0]
            if drop_priority is not None and -entry[0] <= drop_priority:
                break
            heappop(self._droppable)
            message = entry[2]
            if not message.remaining:
                continue
            kept.append(entry)
            if started_too or not message.offset:
                chosen.append(message)
                size -= message.remaining
        for entry in kept:
            heappush(self._droppable, entry)
        return chosen if size <= 0 else None

    def _add_droppable(self, message: OutgoingMessage) -> None:
        waiting = self._droppable
        heappush(waiting, (-(message.drop_priority or 0), message.arrival, message))
        # Remove messages that were sent in the meantime once they may be half of the heap.

        if len(waiting) >= self._droppable_limit:
            waiting = [entry for entry in waiting if entry[2].remaining]
            heapify(waiting)
            self._droppable = waiting
            self._droppable_limit = 2 * len(waiting) + 64

    def drain_progress(self) -> list[tuple[int, int]]:
        """Return (stream id, bytes) that left the queue since the last call."""
        if not self._progressed:
            return []
        progress = []
        for stream_id in self._progressed:
            stream = self._streams[stream_id]
            progress.append((stream_id, stream.progress))
            stream.progress = 0
        self._progressed.clear()
        return progress

    def drop_beyond(self, streams: int) -> list[OutgoingMessage]:
        """Drop and return the messages of streams with identifiers from `streams` on, which do not exist."""
        dropped = [
            message
            for stream_id, stream in self._streams.items()
            if stream_id >= streams
            for message in stream.messages
        ]
        for message in dropped:
            self.drop(message)
        return dropped

    def messages(self) -> list[OutgoingMessage]:
        """Return the messages that were not taken completely."""
        return [message for stream in self._streams.values() for message in stream.messages]

    def clear(self) -> list[OutgoingMessage]:
        """Drop everything and return the messages that were not taken completely."""
        dropped = self.messages()
        for message in dropped:
            self.drop(message)
        return dropped

    # -- stream reset (RFC 6525) ---------------------------------------------------------------------------------------

    def is_idle(self, stream_id: int) -> bool:
        """Return whether nothing is queued on the stream."""
        stream = self._streams.get(stream_id)
        return stream is None or not stream.messages

    def is_unused(self, stream_id: int) -> bool:
        """Return whether nothing is queued on the stream and its next message gets SSN 0."""
        stream = self._streams.get(stream_id)
        return stream is None or not (stream.next_ssn or stream.next_unordered_mid or stream.messages)

    def used_streams(self) -> list[int]:
        """Return the streams on which a message was queued since their last reset."""
        return list(self._streams)

    def pause(self, stream_ids: Sequence[int]) -> None:
        """Hold back messages queued on these idle streams until the streams are reset."""
        for stream_id in stream_ids:
            self._stream(stream_id).paused = True

    def resume(self, stream_ids: Sequence[int], *, reset: bool) -> None:
        """Release paused streams, which continue with SSN 0 if they were reset; forget those with nothing queued."""
        for stream_id in stream_ids:
            stream = self._stream(stream_id)
            stream.paused = False
            if reset:
                # RFC 8260, 2.3.2: "the two counters (one for the ordered messages, one for the unordered messages) used
                # for the MIDs MUST be reset to 0."
                stream.next_ssn = 0
                stream.next_unordered_mid = 0
            if stream.messages:
                self._activate(stream_id)
            elif reset and stream_id not in self._progressed:
                del self._streams[stream_id]

    def restart(self) -> None:
        """Restart every stream with SSN 0, and every partly sent message from its first byte."""
        self._current = None
        self._started.clear()
        self._held_back.clear()
        for stream_id, stream in self._streams.items():
            stream.next_ssn = 0
            stream.next_unordered_mid = 0
            stream.paused = False
            for message in stream.messages:
                stream.buffered += message.offset
                self.buffered += message.offset
                message.offset = message.fsn = 0
                message.ssn = message.first_tsn = message.last_tsn = -1
            if stream.messages:
                self._activate(stream_id)

    # -- details -------------------------------------------------------------------------------------------------------

    def _stream(self, stream_id: int) -> OutboundStream:
        stream = self._streams.get(stream_id)
        if stream is None:
            stream = self._streams[stream_id] = OutboundStream()
        return stream

    def _activate(self, stream_id: int) -> None:
        if stream_id not in self._active and stream_id not in self._held_back:
            self._active.add(stream_id)
            self._scheduler.activate(stream_id, self._streams[stream_id].messages[0].arrival)

    def _deactivate(self, stream_id: int) -> None:
        if stream_id in self._active:
            self._active.remove(stream_id)
            self._scheduler.deactivate(stream_id)
        elif stream_id in self._held_back:
            self._held_back.remove(stream_id)

    def _finish_message(self, message: OutgoingMessage, stream: OutboundStream, size: int) -> None:
        """Account for the last fragment, of `size` bytes, of a message."""
        stream_id = message.stream_id
        arrival = stream.messages[0].arrival if stream.messages else -1
        if arrival < 0:
            self._active.remove(stream_id)
        self._scheduler.record_taken(stream_id, size if self.interleaving else message.size, arrival)
        if size != message.size:
            self._end_started_message(stream_id)

    def _end_started_message(self, stream_id: int) -> None:
        """Record that a started message is finished or dropped; start the messages that waited for it."""
        self._current = None
        if self._started.pop(stream_id, 0) and self._held_back:
            held_back, self._held_back = self._held_back, []
            for waiting in held_back:
                self._activate(waiting)

    def _account_for_taken(self, stream_id: int, stream: OutboundStream, size: int) -> None:
        stream.buffered -= size
        self.buffered -= size
        stream.progress += size
        self._progressed.add(stream_id)
        if len(self._expiries) > 64 and self.buffered == 0:
            self._expiries = [entry for entry in self._expiries if entry[2].remaining]
            heapify(self._expiries)

    def check_invariants(self) -> None:
        """Raise AssertionError if the counters are inconsistent; for tests."""
        total = 0
        for stream_id, stream in self._streams.items():
            held = sum(message.remaining for message in stream.messages)
            total += held
            if held != stream.buffered:
                raise AssertionError(f"stream {stream_id}: {stream.buffered} bytes accounted, {held} held")
            waits = stream_id in self._held_back
            if bool(stream.messages) and not stream.paused and not waits and stream_id not in self._active:
                raise AssertionError(f"stream {stream_id} has messages and is not active")
            if (stream_id in self._active or waits) and not stream.messages:
                raise AssertionError(f"stream {stream_id} is active and has nothing")
        if total != self.buffered:
            raise AssertionError(f"{self.buffered} bytes accounted, {total} held")
