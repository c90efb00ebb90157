"""What the user wants sent and has not been sent yet: messages per stream, cut into fragments as room allows.

It knows messages and streams, not TSNs, windows or what became of a fragment once it was taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from heapq import heapify, heappop, heappush

from .scheduler import RoundRobin, StreamScheduler


class OutgoingMessage:
    """One user message on its way.

    Attributes:
        stream_id: the stream.
        ppid: payload protocol identifier, host order.
        data: the message; emptied once its last fragment was taken.
        size: its length in bytes.
        offset: bytes taken so far.
        unordered: the U bit.
        expires_at: when its lifetime ends, or None.
        max_retransmissions: after how many retransmissions of a fragment it is given up, or None.
        context: the user's own, given back with `SendFailed`.
        ssn: stream sequence number (unwrapped), given when its first fragment is taken; -1 before.
        first_tsn: TSN of its first fragment, once sent.
        last_tsn: TSN of its last fragment so far.
        abandoned: it was given up (RFC 3758).
    """

    __slots__ = (
        "abandoned",
        "context",
        "data",
        "expires_at",
        "first_tsn",
        "last_tsn",
        "max_retransmissions",
        "offset",
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
    ) -> None:
        self.stream_id = stream_id
        self.ppid = ppid
        self.data = data
        self.size = len(data)
        self.offset = 0
        self.unordered = unordered
        self.expires_at = expires_at
        self.max_retransmissions = max_retransmissions
        self.context = context
        self.ssn = -1
        self.first_tsn = -1
        self.last_tsn = -1
        self.abandoned = False

    @property
    def remaining(self) -> int:
        """Bytes not yet taken."""
        return self.size - self.offset


class OutboundStream:
    """One stream we send on."""

    __slots__ = ("buffered", "messages", "next_ssn", "paused", "progress")

    def __init__(self) -> None:
        self.messages: deque[OutgoingMessage] = deque()
        self.buffered = 0
        self.next_ssn = 0
        self.paused = False
        self.progress = 0


class SendQueue:
    """The messages of all streams, in the order a scheduler gives.

    Attributes:
        buffered: user bytes queued on all streams.
    """

    __slots__ = ("_active", "_expiries", "_progressed", "_scheduler", "_serial", "_streams", "buffered")

    def __init__(self, scheduler: StreamScheduler | None = None) -> None:
        self.buffered = 0
        self._scheduler = scheduler if scheduler is not None else RoundRobin()
        self._streams: dict[int, OutboundStream] = {}
        self._active: set[int] = set()
        self._expiries: list[tuple[float, int, OutgoingMessage]] = []
        self._serial = 0
        self._progressed: set[int] = set()

    def add(self, message: OutgoingMessage) -> None:
        """Queue a message at the end of its stream."""
        stream = self._stream(message.stream_id)
        stream.messages.append(message)
        stream.buffered += message.size
        self.buffered += message.size
        if message.expires_at is not None:
            self._serial += 1
            heappush(self._expiries, (message.expires_at, self._serial, message))
        if not stream.paused:
            self._activate(message.stream_id)

    def buffered_amount(self, stream_id: int) -> int:
        """User bytes queued on one stream."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.buffered

    @property
    def sendable(self) -> bool:
        """Whether there is a fragment to take now; paused streams do not count."""
        return bool(self._active)

    @property
    def empty(self) -> bool:
        """Whether nothing at all is queued."""
        return self.buffered == 0

    def next_message(self) -> OutgoingMessage | None:
        """The message the next fragment comes from."""
        stream_id = self._scheduler.choose()
        return None if stream_id is None else self._streams[stream_id].messages[0]

    def take(self, message: OutgoingMessage, size: int) -> bytes:
        """Take the next `size` bytes of what `next_message` returned; its first take gives it its SSN."""
        stream = self._streams[message.stream_id]
        if message.ssn < 0:
            # RFC 9260, 6.6: "an endpoint does not increment its Stream Sequence Number when transmitting a DATA chunk
            # with U flag set to 1."
            message.ssn = stream.next_ssn
            if not message.unordered:
                stream.next_ssn += 1
        offset = message.offset
        end = offset + size
        fragment = message.data if size == message.size else message.data[offset:end]
        message.offset = end
        if end == message.size:
            message.data = b""
            stream.messages.popleft()
            self._finish_message(message.stream_id, stream)
        self._left(message.stream_id, stream, size)
        return fragment

    def drop(self, message: OutgoingMessage) -> None:
        """Take out what is left of a message that was given up."""
        if message.offset == message.size:
            return
        stream = self._streams[message.stream_id]
        at_head = stream.messages[0] is message
        stream.messages.remove(message)
        left = message.remaining
        message.offset = message.size
        message.data = b""
        if at_head and not stream.paused:
            self._finish_message(message.stream_id, stream)
        elif not stream.messages:
            self._deactivate(message.stream_id)
        self._left(message.stream_id, stream, left)

    def expire(self, now: float) -> list[OutgoingMessage]:
        """The messages whose lifetime has ended while they were not wholly taken; the caller gives them up."""
        expired = []
        while self._expiries and self._expiries[0][0] <= now:
            message = heappop(self._expiries)[2]
            if message.remaining and not message.abandoned:
                expired.append(message)
        return expired

    def next_expiry(self) -> float | None:
        """When the next lifetime of a queued message ends."""
        while self._expiries and not self._expiries[0][2].remaining:
            heappop(self._expiries)
        return self._expiries[0][0] if self._expiries else None

    def drain_progress(self) -> list[tuple[int, int]]:
        """(stream id, bytes) that left the queue since the last call."""
        if not self._progressed:
            return []
        progress = []
        for stream_id in self._progressed:
            stream = self._streams[stream_id]
            progress.append((stream_id, stream.progress))
            stream.progress = 0
        self._progressed.clear()
        return progress

    def beyond(self, streams: int) -> list[OutgoingMessage]:
        """Drop and return what is queued on streams with identifiers from `streams` on, which do not exist."""
        dropped = [
            message
            for stream_id, stream in self._streams.items()
            if stream_id >= streams
            for message in stream.messages
        ]
        for message in dropped:
            self.drop(message)
        return dropped

    def clear(self) -> list[OutgoingMessage]:
        """Drop everything and return the messages that were not wholly taken."""
        dropped = [message for stream in self._streams.values() for message in stream.messages]
        for message in dropped:
            self.drop(message)
        return dropped

    # -- stream reset (RFC 6525) ------------------------------------------------------------------------------

    def idle(self, stream_id: int) -> bool:
        """Whether nothing is queued on the stream."""
        stream = self._streams.get(stream_id)
        return stream is None or not stream.messages

    def fresh(self, stream_id: int) -> bool:
        """Whether the next message of the stream gets SSN 0 and nothing is queued on it."""
        stream = self._streams.get(stream_id)
        return stream is None or (stream.next_ssn == 0 and not stream.messages)

    def used_streams(self) -> list[int]:
        """The streams anything was ever queued on."""
        return list(self._streams)

    def pause(self, stream_ids: Sequence[int]) -> None:
        """Hold back what is added to these idle streams, until they are reset."""
        for stream_id in stream_ids:
            self._stream(stream_id).paused = True

    def resume(self, stream_ids: Sequence[int], *, reset: bool) -> None:
        """Let these streams go on, with SSN 0 if they were reset."""
        for stream_id in stream_ids:
            stream = self._stream(stream_id)
            stream.paused = False
            if reset:
                stream.next_ssn = 0
            if stream.messages:
                self._activate(stream_id)

    def restart(self) -> None:
        """Every stream begins with SSN 0 again. A message half sent is sent from its start."""
        for stream_id, stream in self._streams.items():
            stream.next_ssn = 0
            stream.paused = False
            for message in stream.messages:
                stream.buffered += message.offset
                self.buffered += message.offset
                message.offset = 0
                message.ssn = message.first_tsn = message.last_tsn = -1
            if stream.messages:
                self._activate(stream_id)

    # -- details ----------------------------------------------------------------------------------------------

    def _stream(self, stream_id: int) -> OutboundStream:
        stream = self._streams.get(stream_id)
        if stream is None:
            stream = self._streams[stream_id] = OutboundStream()
        return stream

    def _activate(self, stream_id: int) -> None:
        if stream_id not in self._active:
            self._active.add(stream_id)
            self._scheduler.activate(stream_id)

    def _deactivate(self, stream_id: int) -> None:
        if stream_id in self._active:
            self._active.remove(stream_id)
            self._scheduler.deactivate(stream_id)

    def _finish_message(self, stream_id: int, stream: OutboundStream) -> None:
        if stream.messages:
            self._scheduler.message_finished(stream_id)
        else:
            self._deactivate(stream_id)

    def _left(self, stream_id: int, stream: OutboundStream, size: int) -> None:
        stream.buffered -= size
        self.buffered -= size
        stream.progress += size
        self._progressed.add(stream_id)
        if len(self._expiries) > 64 and self.buffered == 0:
            self._expiries = [entry for entry in self._expiries if entry[2].remaining]
            heapify(self._expiries)

    def check_invariants(self) -> None:
        """For tests: raise AssertionError when the books do not balance."""
        total = 0
        for stream_id, stream in self._streams.items():
            held = sum(message.remaining for message in stream.messages)
            total += held
            if held != stream.buffered:
                raise AssertionError(f"stream {stream_id}: {stream.buffered} bytes accounted, {held} held")
            if bool(stream.messages) and not stream.paused and stream_id not in self._active:
                raise AssertionError(f"stream {stream_id} has messages and is not active")
            if stream_id in self._active and not stream.messages:
                raise AssertionError(f"stream {stream_id} is active and has nothing")
        if total != self.buffered:
            raise AssertionError(f"{self.buffered} bytes accounted, {total} held")
