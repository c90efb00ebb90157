"""The TSNs received, and the decision when a SACK is sent. It knows TSNs only: no streams, no messages, no buffers.

TSNs here are unwrapped: ints that only grow.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from datachan.sctp.timers import Timer

MAX_DUPLICATES: Final = 64
"""The most duplicate TSNs remembered for one SACK."""

MAX_RANGES: Final = 4096
"""The most ranges of TSNs above the Cumulative TSN Ack Point. A chunk that would start another one is dropped, and so
retransmitted."""

MAX_AHEAD: Final = 1 << 20
"""The largest distance of a chunk's TSN above the Cumulative TSN Ack Point."""

MAX_FORWARD: Final = 1 << 30
"""The largest distance of a FORWARD TSN. One that seems to go further is out of date: an SSN/TSN reset moves TSNs by
2**31 (RFC 6525, section 5.2.4), so that TSNs from before it seem to be that far ahead or behind."""


class DataTracker:
    """The TSNs that the receiver has recorded (RFC 9260, sections 6.2 and 6.7).

    Attributes:
        cumulative_tsn: the highest TSN up to which nothing is missing.
        highest_tsn: the highest TSN received.
        sack_timer: runs while an acknowledgment is delayed.
    """

    __slots__ = (
        "_duplicates",
        "_ends",
        "_first_packet",
        "_packets_unacknowledged",
        "_sack_requested",
        "_starts",
        "cumulative_tsn",
        "highest_tsn",
        "sack_timer",
    )

    def __init__(self, initial_tsn: int) -> None:
        self.cumulative_tsn = initial_tsn - 1
        self.highest_tsn = initial_tsn - 1
        self.sack_timer = Timer()
        self._packets_unacknowledged = 0
        # RFC 9260, 5.1: "After the reception of the first DATA chunk in an association, the endpoint MUST immediately
        # respond with a SACK chunk to acknowledge the DATA chunk."
        self._first_packet = True
        self._sack_requested = False
        # The ranges above the cumulative TSN, ascending: range i is from _starts[i] to _ends[i], both included.
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._duplicates: list[int] = []

    @property
    def has_gaps(self) -> bool:
        """Whether a TSN below the highest is missing."""
        return bool(self._starts)

    def is_new(self, tsn: int) -> bool:
        """Return whether this TSN is new and may be recorded; a duplicate is noted for the next SACK."""
        if tsn == self.cumulative_tsn + 1:
            return not self._starts or self._starts[0] != tsn
        if tsn <= self.cumulative_tsn or self._contains(tsn):
            self._note_duplicate(tsn)
            return False
        if tsn - self.cumulative_tsn > MAX_AHEAD:
            return False
        return len(self._starts) < MAX_RANGES or self._joins_range(tsn)

    def record(self, tsn: int) -> None:
        """Record a TSN for which `is_new` returned True."""
        if tsn > self.highest_tsn:
            self.highest_tsn = tsn
        if tsn == self.cumulative_tsn + 1:
            self.cumulative_tsn = tsn
            if self._starts:
                self._absorb_ranges()
            return
        starts, ends = self._starts, self._ends
        i = bisect_right(starts, tsn)
        joins_left = i > 0 and ends[i - 1] == tsn - 1
        joins_right = i < len(starts) and starts[i] == tsn + 1
        if joins_left and joins_right:
            ends[i - 1] = ends[i]
            del starts[i], ends[i]
        elif joins_left:
            ends[i - 1] = tsn
        elif joins_right:
            starts[i] = tsn
        else:
            starts.insert(i, tsn)
            ends.insert(i, tsn)

    def forward(self, new_cumulative_tsn: int) -> bool:
        """Record all TSNs up to this one (RFC 3758, section 3.6); return False when that is nothing new."""
        if new_cumulative_tsn <= self.cumulative_tsn or new_cumulative_tsn - self.cumulative_tsn > MAX_FORWARD:
            return False
        self.cumulative_tsn = new_cumulative_tsn
        self.highest_tsn = max(self.highest_tsn, new_cumulative_tsn)
        self._absorb_ranges()
        return True

    # -- when a SACK is sent -------------------------------------------------------------------------------------------

    def request_sack(self) -> None:
        """Have a SACK sent as soon as packets may leave."""
        self._sack_requested = True

    @property
    def is_delaying(self) -> bool:
        """Whether a SACK is delayed."""
        return self.sack_timer.expires_at is not None

    def due(self, *, with_data: bool = False) -> bool:
        """Return whether a SACK is to be sent now.

        Args:
            with_data: DATA is about to leave, with which a delayed SACK leaves early.
        """
        return self._sack_requested or (with_data and self.sack_timer.expires_at is not None)

    def packet_received(self, immediate: bool, duplicates_only: bool, frequency: int) -> None:
        """Count a packet with DATA and decide whether it is acknowledged at once.

        Args:
            immediate: one of its chunks had the I bit.
            duplicates_only: it had no new DATA.
            frequency: packets after which a SACK is sent at the latest.
        """
        self._packets_unacknowledged += 1
        # RFC 9260, 6.7: "If the endpoint detects a gap in the received DATA chunk sequence, it SHOULD send a SACK chunk
        # with Gap Ack Blocks immediately."
        if (
            self._first_packet
            or self._packets_unacknowledged >= frequency
            or immediate
            or duplicates_only
            or self._starts
        ):
            self._sack_requested = True
            self._first_packet = False

    def finish_batch(self, now: float, delay: float) -> None:
        """Delay the SACK for the packets received together by `delay` seconds, unless one is requested."""
        if self._packets_unacknowledged > 0 and not self._sack_requested and not self.sack_timer.running:
            self.sack_timer.start(now, delay)

    def handle_timeout(self, now: float) -> None:
        """Request the SACK that was delayed until `now`."""
        if self.sack_timer.expire(now):
            self._sack_requested = True

    def sack_sent(self) -> None:
        """Record that everything received so far has been acknowledged."""
        self.sack_timer.stop()
        self._sack_requested = False
        self._packets_unacknowledged = 0
        self._duplicates.clear()

    def gap_ack_blocks(self, at_most: int) -> list[tuple[int, int]]:
        """Return the ranges as offsets from the cumulative TSN, lowest first (section 3.3.4).

        RFC 9260, 6.7: "This single SACK chunk MUST report the Gap Ack Blocks from the lowest to highest TSNs, within
        the size limit set by the PMTU, and leave the remaining highest TSN numbers unacknowledged."
        """
        base = self.cumulative_tsn
        blocks: list[tuple[int, int]] = []
        for i in range(min(at_most, len(self._starts))):
            start, end = self._starts[i] - base, self._ends[i] - base
            if start > 0xFFFF:
                break
            blocks.append((start, min(end, 0xFFFF)))
        return blocks

    def duplicate_tsns(self, at_most: int) -> list[int]:
        """Return the TSNs received again since the last SACK, as 32-bit numbers."""
        return [tsn & 0xFFFFFFFF for tsn in self._duplicates[:at_most]]

    def _contains(self, tsn: int) -> bool:
        i = bisect_right(self._starts, tsn)
        return i > 0 and self._ends[i - 1] >= tsn

    def _note_duplicate(self, tsn: int) -> None:
        if len(self._duplicates) < MAX_DUPLICATES:
            self._duplicates.append(tsn)

    def _joins_range(self, tsn: int) -> bool:
        """Return whether this TSN, which no range contains, is next to a range."""
        i = bisect_right(self._starts, tsn)
        return (i > 0 and self._ends[i - 1] == tsn - 1) or (i < len(self._starts) and self._starts[i] == tsn + 1)

    def _absorb_ranges(self) -> None:
        """Advance the cumulative TSN over the ranges that it has reached, and remove them."""
        count = bisect_right(self._starts, self.cumulative_tsn + 1)
        if count:
            self.cumulative_tsn = max(self.cumulative_tsn, self._ends[count - 1])
            # RFC 5681, 4.2: a receiver "SHOULD send an immediate ACK when it receives a data segment that fills in all
            # or part of a gap in the sequence space."
            self._sack_requested = True
            del self._starts[:count], self._ends[:count]

    def check_invariants(self) -> None:
        """Raise AssertionError when the ranges are not ascending, disjoint and above the cumulative TSN; for tests."""
        previous = self.cumulative_tsn
        for start, end in zip(self._starts, self._ends, strict=True):
            if not previous + 1 < start <= end:
                raise AssertionError(f"range {start}-{end} after {previous}")
            previous = end
        if self.highest_tsn < previous:
            raise AssertionError(f"highest {self.highest_tsn} below {previous}")
