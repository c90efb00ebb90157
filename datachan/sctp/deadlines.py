"""The earliest of very many deadlines: a heap whose outdated entries are thrown away as they come up.

It knows numbers and moments. A deadline moved to a later moment costs nothing: its old entry comes up early, once.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush


class Deadlines:
    """A deadline for each of many keys."""

    __slots__ = ("_heap", "_moments")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._moments: dict[int, float] = {}  # of each key, its entry in the heap that counts

    def __len__(self) -> int:
        return len(self._moments)

    def wake_by(self, key: int, moment: float | None) -> None:
        """Have `due` return the key at this moment, or earlier if it is to be woken already."""
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

    def forget(self, key: int) -> None:
        """The key is gone."""
        self._moments.pop(key, None)

    def earliest(self) -> float | None:
        """When the next key is due."""
        heap = self._heap
        while heap:
            moment, key = heap[0]
            if self._moments.get(key) == moment:
                return moment
            heappop(heap)
        return None

    def due(self, now: float) -> list[int]:
        """Take out the keys that are due by `now`."""
        keys: list[int] = []
        moment = self.earliest()
        while moment is not None and moment <= now:
            key = heappop(self._heap)[1]
            del self._moments[key]
            keys.append(key)
            moment = self.earliest()
        return keys
