"""The machine a process runs on: how late it comes to its socket and its timers.

An event loop sleeps until a datagram comes or its timer expires, and its timer expires at whole milliseconds after it
fell asleep. Then it works, and what comes meanwhile waits to be taken in one batch. Now and then others have the
processor. A sender that only works when it is asked at once meets all of this on real machines and none of it in a
simulator; with a `Host` it does here.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What keeps a process from being on time.

    Attributes:
        tick: seconds; timers expire at whole multiples of it after the process fell asleep (epoll: 0.001).
        per_turn: seconds each turn of the event loop takes.
        per_datagram: seconds more for each datagram received or sent.
        stall_every: seconds between stalls, on average; 0 for none.
        stall: seconds a stall lasts on average. Both are exponentially distributed.
    """

    tick: float = 0.001
    per_turn: float = 0.0001
    per_datagram: float = 0.00004
    stall_every: float = 0.0
    stall: float = 0.0


class Host:
    """One process and when it gets to look around.

    Args:
        load: what keeps it from being on time.
        seed: of the stalls.
    """

    def __init__(self, load: Load, seed: int = 0) -> None:
        self._load = load
        self._chance = random.Random(seed)
        self._free_at = 0.0
        self._stall_at = math.inf
        self._stall_ends = math.inf
        if load.stall_every:
            self._next_stall(0.0)

    def looks_at(self, arrival: float | None, timeout: float | None) -> float | None:
        """When the process looks at its socket and its timer.

        Args:
            arrival: when the next datagram is there, or None.
            timeout: what its timer is set to, or None.
        """
        moment = math.inf if arrival is None else arrival
        if timeout is not None:
            tick = self._load.tick
            ticks = max(0, math.ceil((timeout - self._free_at) / tick - 1e-6)) if tick else 0
            moment = min(moment, self._free_at + ticks * tick if tick else timeout)
        if moment == math.inf:
            return None
        moment = max(moment, self._free_at)
        while moment >= self._stall_ends:
            self._next_stall(self._stall_ends)
        return self._stall_ends if moment >= self._stall_at else moment

    def worked(self, now: float, datagrams: int) -> None:
        """It has looked, and received and sent so many datagrams; when it is done it sleeps."""
        self._free_at = now + self._load.per_turn + datagrams * self._load.per_datagram

    def _next_stall(self, now: float) -> None:
        self._stall_at = now + self._chance.expovariate(1 / self._load.stall_every)
        self._stall_ends = self._stall_at + self._chance.expovariate(1 / self._load.stall)
