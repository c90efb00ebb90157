"""RACK (RFC 8985) for SCTP: it detects lost chunks by the time they were sent, not by counting gap reports.

A chunk counts as lost when a chunk sent later has arrived and a reordering window has passed. Reports of duplicate TSNs
take the place of DSACK. This module knows times and TSNs.
"""

from __future__ import annotations

from typing import Final

DUP_THRESH: Final = 3
MIN_RTT_WINDOW: Final = 300.0
"""Seconds after which the minimum round trip expires, so that a longer path is noticed."""

SURELY_TOO_SOON: Final = 0.75
"""Share of the present round trip before which an acknowledgment cannot be for a retransmission."""

REORDERING_PERSISTS: Final = 16
"""Recoveries without a duplicate report after which an inflated reordering window shrinks again (RFC 8985, 6.2)."""


class Rack:
    """The state of RFC 8985, section 5.

    Attributes:
        min_rtt: the shortest recent round trip in seconds; infinite before the first measurement.
        rtt: the round trip of the chunk delivered most recently.
        xmit_ts: when the most recently sent of the delivered chunks was sent.
        end_tsn: the TSN of that chunk.
        fack: the highest TSN acknowledged.
        reordering_seen: whether a chunk sent once was acknowledged after a chunk sent later.
    """

    __slots__ = (
        "_certain_at",
        "_certain_rtt",
        "_dsack_round",
        "_min_rtt_at",
        "_persist",
        "_reo_wnd_mult",
        "end_tsn",
        "fack",
        "min_rtt",
        "reordering_seen",
        "rtt",
        "xmit_ts",
    )

    def __init__(self, initial_tsn: int) -> None:
        self.min_rtt = float("inf")
        self.rtt = 0.0
        self.xmit_ts = float("-inf")
        self.end_tsn = initial_tsn - 1
        self.fack = initial_tsn - 1
        self.reordering_seen = False
        self._min_rtt_at = 0.0
        self._certain_rtt = 0.0  # the round trip of the latest chunk that was sent once
        self._certain_at = 0.0
        self._reo_wnd_mult = 1
        self._dsack_round = -1
        self._persist = REORDERING_PERSISTS

    def record_delivered(self, sent_at: float, tsn: int, retransmitted: bool, now: float) -> None:
        """Update the state with a chunk acknowledged for the first time (RACK_update).

        Args:
            sent_at: when the chunk was last sent.
            tsn: its TSN.
            retransmitted: whether it was sent more than once.
            now: monotonic seconds.
        """
        rtt = now - sent_at
        if retransmitted:
            # RFC 8985, 6.2: ignore a segment that was retransmitted, if "The segment was last retransmitted less than
            # RACK.min_rtt ago."
            if rtt < self.min_rtt or self._too_soon(rtt, now):
                return
        else:
            if rtt < self.min_rtt or now - self._min_rtt_at > MIN_RTT_WINDOW:
                self.min_rtt = rtt
                self._min_rtt_at = now
            self._certain_rtt = rtt
            self._certain_at = now
        self.rtt = rtt
        if sent_at > self.xmit_ts or (sent_at == self.xmit_ts and tsn > self.end_tsn):
            self.xmit_ts = sent_at
            self.end_tsn = tsn

    def _too_soon(self, rtt: float, now: float) -> bool:
        """Return whether an acknowledgment so soon is rather for the first transmission of a chunk.

        Where a queue has built up, many minimum round trips pass between the first transmission and the retransmission.
        If the acknowledgment were attributed to the retransmission, all chunks sent before it that are still in the
        queue would count as lost. Their needless retransmissions would then cause the same mistake again. TCP tells the
        two apart by timestamps; here the round trip of chunks sent once serves for comparison.
        """
        return rtt < SURELY_TOO_SOON * self._certain_rtt and now - self._certain_at < 2 * self._certain_rtt

    def note_duplicates(self, next_tsn: int, cumulative_tsn_ack: int) -> None:
        """Widen the reordering window after duplicate TSN reports (RACK_update_reo_wnd).

        The reports show that retransmissions were needless.
        """
        if self._dsack_round >= 0 and cumulative_tsn_ack >= self._dsack_round:
            self._dsack_round = -1
        if self._dsack_round < 0:
            self._dsack_round = next_tsn
            self._reo_wnd_mult += 1
            self._persist = REORDERING_PERSISTS

    def record_recovery_end(self) -> None:
        """Count the end of a loss episode towards shrinking the reordering window again."""
        self._persist -= 1
        if self._persist <= 0:
            self._reo_wnd_mult = 1

    def reordering_window(self, in_recovery: bool, packets_sacked: int, srtt: float) -> float:
        """Return the seconds to wait for chunks that may only be late (RACK_update_reo_wnd)."""
        if not self.reordering_seen and (in_recovery or packets_sacked >= DUP_THRESH):
            return 0.0
        return min(self._reo_wnd_mult * self.min_rtt / 4, srtt)

    def sent_before(self, sent_at: float, tsn: int) -> bool:
        """Return whether a chunk sent later than this one has been delivered."""
        return sent_at < self.xmit_ts or (sent_at == self.xmit_ts and tsn < self.end_tsn)
