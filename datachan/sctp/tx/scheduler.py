"""Whose turn it is: schedulers choose the stream the next piece is taken from (RFC 8260, section 3).

A piece is what is not divided further: with I-DATA a fragment, with DATA a whole message, whose fragments need
consecutive TSNs. Schedulers know streams, sizes and the order in which messages came; nothing of TSNs or windows.

Each gives every stream that has something to send a rank, and the lowest rank goes first; streams of equal rank take
turns. They differ in the rank alone.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace
from typing import Final

DEFAULT_PRIORITY: Final = 256
"""What a stream has until it is given another: the middle of RFC 8831, section 6.4."""

MAX_PRIORITY: Final = 65535

_SCALE: Final = 1 << 24

Entry = tuple[int, int, int]


class StreamScheduler:
    """The base of all schedulers: round robin (RFC 8260, section 3.2).

    Streams are given by their identifiers. `arrival` numbers messages in the order the user gave them to us.
    """

    __slots__ = ("_heap", "_priorities", "_turn", "_turns")

    def __init__(self) -> None:
        self._turns: dict[int, int] = {}  # of each active stream, the turn of its valid entry in the heap
        self._heap: list[Entry] = []  # (rank, turn, stream), the lowest first; some are no longer valid
        self._turn = 0
        self._priorities: dict[int, int] = {}

    def activate(self, stream_id: int, arrival: int) -> None:
        """The stream, idle so far, has something to send; its first message is that of `arrival`."""
        self._enter(stream_id, arrival)

    def deactivate(self, stream_id: int) -> None:
        """The stream has nothing to send any more, without a piece having been taken."""
        self._turns.pop(stream_id, None)
        self._clean()

    def choose(self) -> int | None:
        """The stream whose piece goes next, or None when there is none now. Asking changes nothing."""
        return self._heap[0][2] if self._heap else None

    def taken(self, stream_id: int, size: int, arrival: int) -> None:
        """A piece of the stream `choose` named was taken.

        Args:
            stream_id: the stream.
            size: user bytes of the piece.
            arrival: that of the message the stream goes on with, -1 when it has nothing more and is idle.
        """
        if arrival >= 0 and len(self._turns) == 1 and self.goes_on_alone(arrival):
            return
        self.charge(stream_id, size)
        if arrival < 0:
            del self._turns[stream_id]
        elif self._heap[0][2] == stream_id:
            turn = self._turn = self._turn + 1
            self._turns[stream_id] = turn
            heapreplace(self._heap, (self.rank(stream_id, arrival), turn, stream_id))
        else:
            self._enter(stream_id, arrival)
        self._clean()

    def packet_done(self) -> None:
        """What is taken from now on goes into another packet."""

    def set_priority(self, stream_id: int, priority: int) -> None:
        """Give a stream a priority; the schedulers that look at it say what it means."""
        self._priorities[stream_id] = priority

    def take_over(self, other: StreamScheduler) -> None:
        """Know the priorities another scheduler was told."""
        self._priorities = other._priorities

    def priority(self, stream_id: int) -> int:
        """The priority of a stream."""
        return self._priorities.get(stream_id, DEFAULT_PRIORITY)

    def rank(self, stream_id: int, arrival: int) -> int:
        """The rank of a stream whose next message is that of `arrival`."""
        return 0

    def charge(self, stream_id: int, size: int) -> None:
        """So many bytes of the stream go out."""

    def goes_on_alone(self, arrival: int) -> bool:
        """Whether nothing changes when the only active stream goes on with the message of `arrival`: the hot path."""
        return True

    def _enter(self, stream_id: int, arrival: int) -> None:
        """Have the stream wait for its turn; an earlier entry of it is no longer valid."""
        turn = self._turn = self._turn + 1
        self._turns[stream_id] = turn
        heappush(self._heap, (self.rank(stream_id, arrival), turn, stream_id))
        if len(self._heap) > 2 * len(self._turns) + 64:
            self._heap = [entry for entry in self._heap if self._turns.get(entry[2]) == entry[1]]
            heapify(self._heap)

    def _clean(self) -> None:
        """Have a valid entry at the top of the heap."""
        heap, turns = self._heap, self._turns
        while heap and turns.get(heap[0][2]) != heap[0][1]:
            heappop(heap)


class RoundRobin(StreamScheduler):
    """A piece of each stream in turn (RFC 8260, section 3.2)."""

    __slots__ = ()


class RoundRobinPerPacket(StreamScheduler):
    """The pieces of one packet are of one stream (RFC 8260, section 3.3)."""

    __slots__ = ("_packet_of",)

    def __init__(self) -> None:
        super().__init__()
        self._packet_of = -1  # the stream of the packet being filled

    def choose(self) -> int | None:
        """The stream of this packet, as long as it has something; else the next in turn."""
        if self._packet_of < 0:
            return super().choose()
        return self._packet_of if self._packet_of in self._turns else None

    def taken(self, stream_id: int, size: int, arrival: int) -> None:
        """The rest of the packet is this stream's, too."""
        self._packet_of = stream_id
        super().taken(stream_id, size, arrival)

    def packet_done(self) -> None:
        """The next packet is another stream's."""
        self._packet_of = -1


class FirstComeFirstServed(StreamScheduler):
    """Messages in the order the user gave them to us (RFC 8260, section 3.1)."""

    __slots__ = ()

    def rank(self, stream_id: int, arrival: int) -> int:
        """The oldest message is first."""
        return arrival

    def goes_on_alone(self, arrival: int) -> bool:
        """Its place is that of its message."""
        return self._heap[0][0] == arrival


class StrictPriority(StreamScheduler):
    """Streams of a higher priority first, always; among equals in turn (RFC 8260, section 3.4).

    Here, as in RFC 8831, the larger number is the higher priority.
    """

    __slots__ = ()

    def rank(self, stream_id: int, arrival: int) -> int:
        """The highest priority is first."""
        return -self.priority(stream_id)

    def set_priority(self, stream_id: int, priority: int) -> None:
        """It holds at once, also for what waits already."""
        super().set_priority(stream_id, priority)
        if stream_id in self._turns:
            self._enter(stream_id, 0)
            self._clean()


class FairCapacity(StreamScheduler):
    """The same number of bytes for each stream (RFC 8260, section 3.5).

    Start-time fair queueing: a stream is ranked by the bytes it has had, divided by its weight. One that was idle
    begins where the stream served last is: it owes nothing and is owed nothing.
    """

    __slots__ = ("_alone", "_now", "_served")

    def __init__(self) -> None:
        super().__init__()
        self._served: dict[int, int] = {}
        self._now = 0
        self._alone = False

    def activate(self, stream_id: int, arrival: int) -> None:
        """What others owe is forgiven when a stream was alone meanwhile: it was a piece at most."""
        if self._alone:
            self._alone = False
            self._served.clear()
            if self._heap:
                self._now = self._heap[0][0]
        super().activate(stream_id, arrival)

    def goes_on_alone(self, arrival: int) -> bool:
        """Nobody waits for what it takes."""
        self._alone = True
        return True

    def rank(self, stream_id: int, arrival: int) -> int:
        """Who has had the least is first."""
        return max(self._served.get(stream_id, 0), self._now)

    def charge(self, stream_id: int, size: int) -> None:
        """Count what the stream had."""
        start = self.rank(stream_id, 0)
        self._now = start
        self._served[stream_id] = start + size * _SCALE // self.weight(stream_id)

    def taken(self, stream_id: int, size: int, arrival: int) -> None:
        """Count it; when all are idle, all accounts are closed."""
        super().taken(stream_id, size, arrival)
        if not self._turns:
            self._served.clear()
            self._now = 0

    def weight(self, stream_id: int) -> int:
        """The weight of a stream, which is the same for all."""
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
        """The weight of a stream is its priority."""
        return self.priority(stream_id)


SCHEDULERS: Final = ("fcfs", "round-robin", "round-robin-per-packet", "priority", "fair-capacity", "wfq")


def make_scheduler(name: str) -> StreamScheduler:
    """The scheduler of this name.

    Raises:
        ValueError: there is none.
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
    raise ValueError(f"no scheduler {name!r}; there is {', '.join(SCHEDULERS)}")
