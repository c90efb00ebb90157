"""The stream schedulers: they choose the stream from which the next piece is taken (RFC 8260, section 3).

A piece is the unit that is not divided further. With I-DATA it is a fragment; with DATA it is a whole message, whose
fragments need consecutive TSNs. Schedulers know streams, sizes and the order in which messages were queued; they know
no TSNs and no windows.

Each scheduler gives every stream that has something to send a rank. The stream with the lowest rank is next; streams of
equal rank take turns. Schedulers differ in the rank alone.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace
from typing import Final

from datachan.sctp.options import SCHEDULERS

DEFAULT_PRIORITY: Final = 256
"""The priority of a stream by default: the middle of the range of RFC 8831, section 6.4."""

MAX_PRIORITY: Final = 65535

_SCALE: Final = 1 << 24

Entry = tuple[int, int, int]


class StreamScheduler:
    """The base class of all schedulers; itself round robin (RFC 8260, section 3.2).

    Streams are given by their identifiers. `arrival` numbers messages in the order in which the application queued
    them.
    """

    __slots__ = ("_heap", "_priorities", "_turn", "_turns")

    def __init__(self) -> None:
        self._turns: dict[int, int] = {}  # active stream: the turn of its valid entry in the heap
        self._heap: list[Entry] = []  # (rank, turn, stream), the lowest first; some entries are no longer valid
        self._turn = 0
        self._priorities: dict[int, int] = {}

    def activate(self, stream_id: int, arrival: int) -> None:
        """Add a stream that was idle; its first message is number `arrival`."""
        self._push(stream_id, arrival)

    def deactivate(self, stream_id: int) -> None:
        """Remove a stream that has nothing to send although no piece of it was taken."""
        self._turns.pop(stream_id, None)
        self._drop_invalid()

    def choose(self) -> int | None:
        """Return the stream of the next piece, or None when there is none now; change nothing."""
        return self._heap[0][2] if self._heap else None

    def record_taken(self, stream_id: int, size: int, arrival: int) -> None:
        """Account for a piece taken from the stream that `choose` returned.

        Args:
            stream_id: the stream.
            size: user bytes of the piece.
            arrival: the number of the stream's next message; -1 when it has none and is idle.
        """
        if arrival >= 0 and len(self._turns) == 1 and self.continues_alone(arrival):
            return
        self.charge(stream_id, size)
        if arrival < 0:
            del self._turns[stream_id]
        elif self._heap[0][2] == stream_id:
            turn = self._turn = self._turn + 1
            self._turns[stream_id] = turn
            heapreplace(self._heap, (self.rank(stream_id, arrival), turn, stream_id))
        else:
            self._push(stream_id, arrival)
        self._drop_invalid()

    def start_packet(self) -> None:
        """Record that the pieces taken from now on belong to another packet."""

    def set_priority(self, stream_id: int, priority: int) -> None:
        """Set the priority of a stream; each scheduler that uses priorities defines their meaning."""
        if priority == DEFAULT_PRIORITY:
            self._priorities.pop(stream_id, None)
        else:
            self._priorities[stream_id] = priority

    def take_over(self, other: StreamScheduler) -> None:
        """Adopt the priorities that were set on another scheduler."""
        self._priorities = other._priorities

    def priority(self, stream_id: int) -> int:
        """Return the priority of a stream."""
        return self._priorities.get(stream_id, DEFAULT_PRIORITY)

    def rank(self, stream_id: int, arrival: int) -> int:
        """Return the rank of a stream whose next message is number `arrival`."""
        return 0

    def charge(self, stream_id: int, size: int) -> None:
        """Charge `size` sent bytes to a stream."""

    def continues_alone(self, arrival: int) -> bool:
        """Return whether the only active stream keeps its place with message `arrival`: the hot path."""
        return True

    def _push(self, stream_id: int, arrival: int) -> None:
        """Queue the stream for its turn; an earlier entry of it is no longer valid."""
        turn = self._turn = self._turn + 1
        self._turns[stream_id] = turn
        heappush(self._heap, (self.rank(stream_id, arrival), turn, stream_id))
        if len(self._heap) > 2 * len(self._turns) + 64:
            self._heap = [entry for entry in self._heap if self._turns.get(entry[2]) == entry[1]]
            heapify(self._heap)

    def _drop_invalid(self) -> None:
        """Remove invalid entries from the top of the heap."""
        heap, turns = self._heap, self._turns
        while heap and turns.get(heap[0][2]) != heap[0][1]:
            heappop(heap)


class RoundRobin(StreamScheduler):
    """One piece of each stream in turn (RFC 8260, section 3.2)."""

    __slots__ = ()


class RoundRobinPerPacket(StreamScheduler):
    """One packet of each stream in turn (RFC 8260, section 3.3)."""

    __slots__ = ("_packet_of",)

    def __init__(self) -> None:
        super().__init__()
        self._packet_of = -1  # the stream of the packet being filled

    def choose(self) -> int | None:
        """Return the stream of this packet, None once it has nothing left, or the next in turn for a new packet."""
        if self._packet_of < 0:
            return super().choose()
        return self._packet_of if self._packet_of in self._turns else None

    def record_taken(self, stream_id: int, size: int, arrival: int) -> None:
        """Reserve the rest of the packet for this stream."""
        self._packet_of = stream_id
        super().record_taken(stream_id, size, arrival)

    def start_packet(self) -> None:
        """Let the next stream in turn fill the next packet."""
        self._packet_of = -1


class FirstComeFirstServed(StreamScheduler):
    """Messages in the order in which the application queued them (RFC 8260, section 3.1)."""

    __slots__ = ()

    def rank(self, stream_id: int, arrival: int) -> int:
        """Return the number of the message, so that the oldest is first."""
        return arrival

    def continues_alone(self, arrival: int) -> bool:
        """Return whether the stream continues with the same message."""
        return self._heap[0][0] == arrival


class StrictPriority(StreamScheduler):
    """Streams of the highest priority first; streams of equal priority in turn (RFC 8260, section 3.4).

    As in RFC 8831, a larger number means a higher priority.
    """

    __slots__ = ()

    def rank(self, stream_id: int, arrival: int) -> int:
        """Return the negated priority, so that the highest priority is first."""
        return -self.priority(stream_id)

    def set_priority(self, stream_id: int, priority: int) -> None:
        """Set the priority of a stream, effective at once for messages already queued."""
        super().set_priority(stream_id, priority)
        if stream_id in self._turns:
            self._push(stream_id, 0)
            self._drop_invalid()


class FairCapacity(StreamScheduler):
    """The same number of bytes for each stream (RFC 8260, section 3.5).

    This is start-time fair queueing: a stream's rank is the number of bytes it has sent, divided by its weight. A
    stream that was idle starts at the rank of the stream served last, without debt or credit.
    """

    __slots__ = ("_alone", "_now", "_served")

    def __init__(self) -> None:
        super().__init__()
        self._served: dict[int, int] = {}
        self._now = 0
        self._alone = False

    def activate(self, stream_id: int, arrival: int) -> None:
        """Add a stream; if another one was alone until now, cancel its debt, which is one piece at most."""
        if self._alone:
            self._alone = False
            self._served.clear()
            if self._heap:
                self._now = self._heap[0][0]
        super().activate(stream_id, arrival)

    def continues_alone(self, arrival: int) -> bool:
        """Return True: no other stream waits for the bytes this one takes."""
        self._alone = True
        return True

    def rank(self, stream_id: int, arrival: int) -> int:
        """Return the stream's virtual start time, so that the stream that has sent the least is first."""
        return max(self._served.get(stream_id, 0), self._now)

    def charge(self, stream_id: int, size: int) -> None:
        """Charge `size` sent bytes to a stream, divided by its weight."""
        start = self.rank(stream_id, 0)
        self._now = start
        self._served[stream_id] = start + size * _SCALE // self.weight(stream_id)

    def record_taken(self, stream_id: int, size: int, arrival: int) -> None:
        """Charge the piece; reset all accounts once every stream is idle."""
        super().record_taken(stream_id, size, arrival)
        if not self._turns:
            self._served.clear()
            self._now = 0

    def weight(self, stream_id: int) -> int:
        """Return the weight of a stream, which is the same for all."""
        return DEFAULT_PRIORITY


class WeightedFairQueueing(FairCapacity):
    """Capacity in proportion to the priorities of the streams.

    RFC 8260, 3: "If the implementation is used for WebRTC data channels, as specified in [DATA-CHAN], it MUST implement
    the Weighted Fair Queueing Scheduler defined in Section 3.6."
    RFC 8260, 3.6: "If the weight of stream S1 is n times the weight of stream S2, the scheduler should assign to stream
    S1 n times the capacity it assigns to stream S2."
    """

    __slots__ = ()

    def weight(self, stream_id: int) -> int:
        """Return the weight of a stream, which is its priority."""
        return self.priority(stream_id)


def make_scheduler(name: str) -> StreamScheduler:
    """Return a new scheduler of this name.

    Args:
        name: one of `SCHEDULERS`.

    Returns:
        The scheduler, without streams.

    Raises:
        ValueError: there is no scheduler of that name.
    """
    if name == "fcfs":
        return FirstComeFirstServed()
    if name == "round-robin":
        return RoundRobin()
    if name == "round-robin-per-packet":
        return RoundRobinPerPacket()
    if name == "priority":
        return StrictPriority()
    if name == "fair-capacity":
        return FairCapacity()
    if name == "wfq":
        return WeightedFairQueueing()
    raise ValueError(f"unknown scheduler {name!r}; choose one of {', '.join(SCHEDULERS)}")
