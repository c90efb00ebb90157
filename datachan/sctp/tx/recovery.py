"""The episodes in which loss is repaired: Fast Recovery, the recovery after T3-rtx, and whether either was a mistake.

It knows TSNs and window sizes; it neither sends nor detects losses.
"""

from __future__ import annotations


class Recovery:
    """One loss episode at a time (RFC 9260, section 7.2.4).

    Attributes:
        exit_point: the episode lasts until this TSN is acknowledged; -1 outside of one.
        fast: it was begun by loss detection, not by T3-rtx.
    """

    __slots__ = ("_resent", "_saved", "exit_point", "fast")

    def __init__(self) -> None:
        self.exit_point = -1
        self.fast = False
        self._saved: tuple[int, int] | None = None
        self._resent: set[int] = set()

    @property
    def active(self) -> bool:
        """Whether loss is being repaired."""
        return self.exit_point >= 0

    def begin(self, exit_point: int, *, fast: bool, cwnd: int, ssthresh: int) -> None:
        """Loss was found; the windows are those before it was answered."""
        if not self.active:
            self._saved = (cwnd, ssthresh)
            self._resent.clear()
        self.exit_point = exit_point
        self.fast = fast

    def acknowledged(self, cumulative_tsn_ack: int) -> bool:
        """Whether this Cumulative TSN Ack ends the episode.

        RFC 9260, 7.2.4: "When a SACK chunk acknowledges all TSNs up to and including this exit point, Fast Recovery is
        exited."
        """
        if not self.active or cumulative_tsn_ack < self.exit_point:
            return False
        self.exit_point = -1
        self.fast = False
        return True

    def resent(self, tsn: int) -> None:
        """A chunk was sent again."""
        if self._saved is not None:
            self._resent.add(tsn)

    def reported_duplicate(self, tsns: list[int], still_lost: bool) -> tuple[int, int] | None:
        """The peer had these already. If that goes for all that was sent again, nothing was lost.

        Returns:
            (cwnd, ssthresh) to go back to, or None.
        """
        if self._saved is None or not self._resent:
            return None
        self._resent.difference_update(tsns)
        if self._resent or still_lost:
            return None
        saved = self._saved
        self._saved = None
        self.exit_point = -1
        self.fast = False
        return saved
