"""The computer a process runs on: it delays the process when a datagram arrives or a timer expires.

An event loop sleeps until a datagram arrives or its timer expires. The timer expires a whole number of milliseconds
after the loop fell asleep. While the loop works, datagrams accumulate and are then received in one batch. From time to
time other processes occupy the processor. A simulator without a `Host` shows none of this to a sender.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The delays of a process.

    Attributes:
        tick: seconds; timers expire at whole multiples of it after the process fell asleep (epoll: 0.001).
        per_turn: seconds each turn of the event loop takes.
        per_datagram: further seconds for each datagram received or sent.
        stall_every: mean seconds between stalls; 0 for no stalls.
        stall: mean seconds of a stall. Both are exponentially distributed.
    """

    tick: float = 0.001
    per_turn: float = 0.0001
    per_datagram: float = 0.00004
    stall_every: float = 0.0
    stall: float = 0.0


class Host:
    """One process and the times at which it runs.

    Args:
        load: the delays of the process.
        seed: the seed of the stalls.
    """

    def __init__(self, load: Load, seed: int = 0) -> None:
        self._load = load
        self._chance = random.Random(seed)
        self._free_at = 0.0
        self._stall_at = math.inf
        self._stall_ends = math.inf
        if load.stall_every:
            self._next_stall(0.0)

    def next_turn_at(self, arrival: float | None, timeout: float | None) -> float | None:
        """Return when the process next handles its socket and its timer.

        Args:
            arrival: when the next datagram arrives, or None.
            timeout: the deadline of its timer, or None.
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

    def record_turn(self, now: float, datagrams: int) -> None:
        """Account for a turn that received and sent this many datagrams; the process sleeps when it is done."""
        self._free_at = now + self._load.per_turn + datagrams * self._load.per_datagram

    def _next_stall(self, now: float) -> None:
        self._stall_at = now + self._chance.expovariate(1 / self._load.stall_every)
        self._stall_ends = self._stall_at + self._chance.expovariate(1 / self._load.stall)
