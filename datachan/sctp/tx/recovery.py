"""The loss episodes: Fast Recovery, the recovery after T3-rtx, and the detection of needless ones.

This module knows TSNs and window sizes; it neither sends nor detects losses.
"""

from __future__ import annotations


class Recovery:
    """One loss episode at a time (RFC 9260, section 7.2.4).

    Attributes:
        exit_point: the TSN whose acknowledgment ends the episode; -1 outside of an episode.
        fast: whether loss detection, rather than T3-rtx, started the episode.
    """

    __slots__ = ("_retransmitted", "_saved", "exit_point", "fast")

    def __init__(self) -> None:
        self.exit_point = -1
        self.fast = False
        self._saved: tuple[int, int] | None = None
        self._retransmitted: set[int] = set()

    @property
    def active(self) -> bool:
        """Whether an episode is in progress."""
        return self.exit_point >= 0

    def start_episode(self, exit_point: int, *, fast: bool, cwnd: int, ssthresh: int) -> None:
        """Start or extend an episode.

        Args:
            exit_point: the TSN whose acknowledgment ends the episode.
            fast: whether loss detection, rather than T3-rtx, found the loss.
            cwnd: the congestion window before the loss reduces it.
            ssthresh: the slow-start threshold before the loss reduces it.
        """
        if not self.active:
            self._saved = (cwnd, ssthresh)
            self._retransmitted.clear()
        self.exit_point = exit_point
        self.fast = fast

    def end_if_acknowledged(self, cumulative_tsn_ack: int) -> bool:
        """End the episode if this Cumulative TSN Ack covers its exit point; return whether it does.

        RFC 9260, 7.2.4: "When a SACK chunk acknowledges all TSNs up to and including this exit point, Fast Recovery is
        exited."
        """
        if not self.active or cumulative_tsn_ack < self.exit_point:
            return False
        self.exit_point = -1
        self.fast = False
        return True

    def record_retransmission(self, tsn: int) -> None:
        """Record that a chunk was retransmitted."""
        if self._saved is not None:
            self._retransmitted.add(tsn)

    def undo_if_duplicates(self, tsns: list[int], still_lost: bool) -> tuple[int, int] | None:
        """Undo the episode if the peer reports all its retransmissions as duplicates: nothing had been lost.

        Args:
            tsns: the duplicate TSNs that a SACK reports.
            still_lost: whether a chunk still waits for retransmission.

        Returns:
            The (cwnd, ssthresh) to restore, or None.
        """
        if self._saved is None or not self._retransmitted:
            return None
        self._retransmitted.difference_update(tsns)
        if self._retransmitted or still_lost:
            return None
        saved = self._saved
        self._saved = None
        self.exit_point = -1
        self.fast = False
        return saved
