"""The earliest of very many deadlines: a heap that drops outdated entries when they reach its top.

It knows numbers and times. Moving a deadline to a later time costs nothing: its old entry expires early, once.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush


class Deadlines:
    """A deadline for each of many keys."""

    __slots__ = ("_heap", "_moments")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._moments: dict[int, float] = {}  # the valid entry in the heap of each key

    def set_earlier(self, key: int, moment: float | None) -> None:
        """Set the deadline of a key, unless it has an earlier one."""
        if moment is None:
            return
        known = self._moments.get(key)
        if known is not None and known <= moment:
            return
        self._moments[key] = moment
        heappush(self._heap, (moment, key))
        if len(self._heap) > 2 * len(self._moments) + 64:
            self._heap = [(at, known_key) for known_key, at in self._moments.items()]
            heapify(self._heap)

    def remove(self, key: int) -> None:
        """Remove `key` and its deadline, if it has one."""
        self._moments.pop(key, None)

    def earliest(self) -> float | None:
        """Return the earliest deadline, or None."""
        heap = self._heap
        while heap:
            moment, key = heap[0]
            if self._moments.get(key) == moment:
                return moment
            heappop(heap)
        return None

    def due(self, now: float) -> list[int]:
        """Remove and return the keys that are due by `now`."""
        keys: list[int] = []
        moment = self.earliest()
        while moment is not None and moment <= now:
            key = heappop(self._heap)[1]
            del self._moments[key]
            keys.append(key)
            moment = self.earliest()
        return keys
