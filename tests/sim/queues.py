"""Queues and losses with a memory: CoDel (RFC 8289) and the Gilbert–Elliott model. They know times and sizes only."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from math import sqrt
from typing import Generic, TypeVar

TARGET = 0.005
"""Seconds of standing queue CoDel tolerates (RFC 8289, section 4.4)."""

INTERVAL = 0.1
"""Seconds the queue may stay above it before the first drop (section 4.3)."""

MAX_PACKET = 1500

Item = TypeVar("Item")


class CoDel(Generic[Item]):
    """A queue that drops from its head when packets wait too long: the algorithm of RFC 8289, section 5.

    Attributes:
        size: bytes waiting.
        dropped: the dropped items; the caller empties the list.
    """

    def __init__(self) -> None:
        self.size = 0
        self.dropped: list[Item] = []
        self._waiting: deque[tuple[float, int, Item]] = deque()
        self._first_above_time = 0.0
        self._drop_next = 0.0
        self._count = 0
        self._last_count = 0
        self._dropping = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def head_since(self) -> float:
        """The arrival time of the item at the head of the queue, which must not be empty."""
        return self._waiting[0][0]

    def put(self, item: Item, size: int, now: float) -> None:
        """Queue an item of this many bytes."""
        self._waiting.append((now, size, item))
        self.size += size

    def take(self, now: float) -> tuple[Item, int] | None:
        """Return the next item to be sent and its size, or None when the queue is empty."""
        head, may_drop = self._head(now)
        if self._dropping:
            if not may_drop:
                self._dropping = False
            while head is not None and self._dropping and now >= self._drop_next:
                self.dropped.append(head[0])
                self._count += 1
                head, may_drop = self._head(now)
                if may_drop:
                    self._drop_next += INTERVAL / sqrt(self._count)
                else:
                    self._dropping = False
        elif may_drop and head is not None:
            self.dropped.append(head[0])
            head, _ = self._head(now)
            self._dropping = True
            # Start with the drop rate that controlled the queue last time.
            delta = self._count - self._last_count
            recently = now - self._drop_next < 16 * INTERVAL
            self._count = delta if delta > 1 and recently else 1
            self._drop_next = now + INTERVAL / sqrt(self._count)
            self._last_count = self._count
        return head

    def _head(self, now: float) -> tuple[tuple[Item, int] | None, bool]:
        """Return the head of the queue and whether it may be dropped (`dodequeue` of RFC 8289)."""
        if not self._waiting:
            self._first_above_time = 0.0
            return None, False
        since, size, item = self._waiting.popleft()
        self.size -= size
        may_drop = False
        if now - since < TARGET or self.size <= MAX_PACKET:
            self._first_above_time = 0.0
        elif self._first_above_time == 0.0:
            self._first_above_time = now + INTERVAL
        else:
            may_drop = now >= self._first_above_time
        return (item, size), may_drop


@dataclass(frozen=True, slots=True, kw_only=True)
class GilbertElliott:
    """Loss that comes in bursts: a good and a bad state, and probabilities of changing between them, per datagram.

    Attributes:
        to_bad: the probability of changing from good to bad.
        to_good: the probability of changing back; bursts are 1 / to_good datagrams long on average.
        loss_in_bad: the probability of loss in the bad state.
        loss_in_good: the probability of loss in the good state.
    """

    to_bad: float
    to_good: float
    loss_in_bad: float = 1.0
    loss_in_good: float = 0.0

    @property
    def loss(self) -> float:
        """The long-term share of datagrams lost."""
        bad = self.to_bad / (self.to_bad + self.to_good)
        return bad * self.loss_in_bad + (1 - bad) * self.loss_in_good

    def next_state(self, bad: bool, chance: random.Random) -> bool:
        """Return whether the next datagram meets the bad state."""
        return chance.random() >= self.to_good if bad else chance.random() < self.to_bad

    def loses(self, bad: bool, chance: random.Random) -> bool:
        """Return whether a datagram is lost in this state."""
        return chance.random() < (self.loss_in_bad if bad else self.loss_in_good)
