"""The effect of a link on the datagrams of one direction; this module knows no socket and no clock."""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import asdict, dataclass
from typing import Final

# Without losses, this many datagrams pass before the next loss is drawn.
_NEVER: Final = 1 << 62


@dataclass(frozen=True)
class Link:
    """A link, the same in both directions.

    Attributes:
        rate: bits per second. Payloads of UDP datagrams are counted, without IP and UDP headers.
        delay: seconds one way, which is half the round trip.
        loss: share of datagrams lost at random in each direction, after they took their time on the link.
        queue: bytes that may wait for the link, including the datagram being sent; a datagram that does not fit is
            dropped.
        mtu: longest UDP payload it carries; a longer one is dropped silently. By default that of Ethernet over IPv4.
    """

    rate: float
    delay: float = 0.0
    loss: float = 0.0
    queue: int = 1_000_000
    mtu: int = 1472


class Direction:
    """One direction of a link: whether and when each datagram that enters it arrives.

    A queue in front of a constant rate is a single number: the time at which the link has sent everything it accepted.

    Attributes:
        in_flight: (arrival time, datagram), in order.
    """

    __slots__ = (
        "_bytes_per_second",
        "_delay",
        "_free_at",
        "_loss",
        "_mtu",
        "_queue",
        "_random",
        "_until_loss",
        "bytes_delivered",
        "bytes_offered",
        "delivered",
        "in_flight",
        "longest_queue",
        "lost",
        "offered",
        "overflowed",
        "time_queued",
        "too_long",
    )

    def __init__(self, link: Link, seed: int) -> None:
        self._bytes_per_second = link.rate / 8
        self._delay = link.delay
        self._queue = link.queue + 0.5  # times are not exact to the byte
        self._loss = link.loss
        self._mtu = link.mtu
        self._random = random.Random(seed)
        self._free_at = 0.0
        self._until_loss = self._next_loss()
        self.in_flight: deque[tuple[float, bytes]] = deque()
        self.offered = 0
        self.bytes_offered = 0
        self.lost = 0
        self.overflowed = 0
        self.too_long = 0
        self.longest_queue = 0.0
        self.time_queued = 0.0
        self.delivered = 0
        self.bytes_delivered = 0

    def _next_loss(self) -> int:
        """Draw the number of datagrams until the next lost one (geometrically distributed, drawn once per loss)."""
        if self._loss <= 0:
            return _NEVER
        if self._loss >= 1:
            return 1
        return 1 + int(math.log(1.0 - self._random.random()) / math.log(1.0 - self._loss))

    def offer(self, datagrams: list[bytes], now: float) -> None:
        """Accept datagrams at `now`."""
        free_at = max(self._free_at, now)
        per_second = self._bytes_per_second
        for data in datagrams:
            size = len(data)
            self.bytes_offered += size
            if size > self._mtu:
                self.too_long += 1
                continue
            waiting = (free_at - now) * per_second + size
            if waiting > self._queue:
                self.overflowed += 1
                continue
            if waiting > self.longest_queue:
                self.longest_queue = waiting
            self.time_queued += free_at - now
            free_at += size / per_second
            self._until_loss -= 1
            if self._until_loss:
                self.in_flight.append((free_at + self._delay, data))
            else:
                self.lost += 1
                self._until_loss = self._next_loss()
        self.offered += len(datagrams)
        self._free_at = free_at

    def due(self, now: float) -> list[bytes]:
        """Return the datagrams that have arrived by `now`."""
        in_flight = self.in_flight
        out: list[bytes] = []
        while in_flight and in_flight[0][0] <= now:
            data = in_flight.popleft()[1]
            self.bytes_delivered += len(data)
            out.append(data)
        self.delivered += len(out)
        return out

    def report(self) -> Account:
        """Return the account so far."""
        carried = self.offered - self.overflowed - self.too_long
        return Account(
            offered=self.offered,
            bytes_offered=self.bytes_offered,
            delivered=self.delivered,
            bytes_delivered=self.bytes_delivered,
            lost=self.lost,
            overflowed=self.overflowed,
            too_long=self.too_long,
            longest_queue=round(self.longest_queue),
            mean_wait=self.time_queued / carried if carried else 0.0,
        )


@dataclass(frozen=True)
class Account:
    """The account of one direction: datagrams and bytes.

    Attributes:
        offered, bytes_offered: what entered.
        delivered, bytes_delivered: what arrived.
        lost: lost at random.
        overflowed: dropped because the queue was full.
        too_long: dropped because they were longer than the link's MTU.
        longest_queue: bytes.
        mean_wait: seconds in the queue, of the datagrams that were not dropped.
    """

    offered: int
    bytes_offered: int
    delivered: int
    bytes_delivered: int
    lost: int
    overflowed: int
    too_long: int
    longest_queue: int
    mean_wait: float

    def as_dict(self) -> dict[str, float]:
        """Return the account for JSON."""
        return asdict(self)
