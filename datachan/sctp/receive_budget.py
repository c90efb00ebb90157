"""The memory that the incomplete messages of several associations take together; it knows no association."""

from __future__ import annotations


class ReceiveBudget:
    """Bounds what many peers together can make one process hold.

    Each association is bounded by its window and its longest message. The product of that bound and the number of
    associations is not. When all together hold more than `limit`, an association that takes more than its share is
    aborted as soon as it holds more than before. So all of them hold at most twice the limit.

    Args:
        limit: bytes, with the overhead of each fragment.

    Attributes:
        total: the bytes held now.
    """

    __slots__ = ("_holders", "_limit", "total")

    def __init__(self, limit: int) -> None:
        self.total = 0
        self._limit = limit
        self._holders = 0

    def change(self, before: int, after: int) -> bool:
        """Count what an association holds; return whether it may go on.

        Args:
            before: the bytes at its last call, 0 at the first.
            after: the bytes now; 0 when the association has ended.
        """
        self.total += after - before
        self._holders += (after > 0) - (before > 0)
        return self.total <= self._limit or after <= before or after * self._holders <= self._limit
