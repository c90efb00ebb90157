"""When is a chunk lost? RACK (RFC 8985) for SCTP: by the time it was sent, not by counting gaps.

It knows times and TSNs. A chunk counts as lost when one sent later has arrived and a reordering window has passed;
duplicate TSN reports take the place of DSACK.
"""

from __future__ import annotations

from typing import Final

DUP_THRESH: Final = 3
MIN_RTT_WINDOW: Final = 300.0
"""Seconds after which the minimum round trip is measured anew, so that a longer path is noticed."""

SURELY_TOO_SOON: Final = 0.75
"""Share of the present round trip before which nobody can have answered a retransmission."""

REORDERING_PERSISTS: Final = 16
"""Recoveries without a duplicate report after which an inflated reordering window shrinks again (RFC 8985, 6.2)."""


class Rack:
    """The state of RFC 8985, section 5.

    Attributes:
        min_rtt: the shortest round trip of late, in seconds; infinite before the first.
        rtt: the round trip of the chunk delivered most recently.
        xmit_ts: when the most recently sent chunk that was delivered was sent.
        end_tsn: its TSN.
        fack: the highest TSN acknowledged.
        reordering_seen: a chunk sent once was acknowledged after one sent later.
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
        self._certain_rtt = 0.0  # of the latest chunk that was sent once
        self._certain_at = 0.0
        self._reo_wnd_mult = 1
        self._dsack_round = -1
        self._persist = REORDERING_PERSISTS

    def delivered(self, sent_at: float, tsn: int, retransmitted: bool, now: float) -> None:
        """A chunk was acknowledged for the first time (RACK_update)."""
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
        """Whether what was acknowledged this long after it was sent again is rather what was sent at first.

        Where a queue stands, many shortest round trips pass between the two. Taken for the retransmission's, the
        acknowledgment would make lost all that was sent before that and is still in the queue; sent again in vain, it
        would do the same in its turn. TCP has timestamps to tell; here, what chunks sent once take at present does.
        """
        return rtt < SURELY_TOO_SOON * self._certain_rtt and now - self._certain_at < 2 * self._certain_rtt

    def note_duplicates(self, next_tsn: int, cumulative_tsn_ack: int) -> None:
        """The peer reported duplicate TSNs: retransmissions were spurious, so wait longer (RACK_update_reo_wnd)."""
        if self._dsack_round >= 0 and cumulative_tsn_ack >= self._dsack_round:
            self._dsack_round = -1
        if self._dsack_round < 0:
            self._dsack_round = next_tsn
            self._reo_wnd_mult += 1
            self._persist = REORDERING_PERSISTS

    def recovery_ended(self) -> None:
        """Fast Recovery or the recovery after T3-rtx is over."""
        self._persist -= 1
        if self._persist <= 0:
            self._reo_wnd_mult = 1

    def reordering_window(self, in_recovery: bool, packets_sacked: int, srtt: float) -> float:
        """Seconds to wait for chunks that may only be late (RACK_update_reo_wnd)."""
        if not self.reordering_seen and (in_recovery or packets_sacked >= DUP_THRESH):
            return 0.0
        return min(self._reo_wnd_mult * self.min_rtt / 4, srtt)

    def sent_before(self, sent_at: float, tsn: int) -> bool:
        """Whether a chunk sent later than this one has been delivered."""
        return sent_at < self.xmit_ts or (sent_at == self.xmit_ts and tsn < self.end_tsn)
