"""The broker of a single node: keeps the rooms in its memory, and removes members that have been away for too long."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Final

from datachan.signaling.broker import BrokerLimits, BrokerStats, Entrance, JoinRequest, Membership, Receiver
from datachan.signaling.room_messages import Signal
from datachan.signaling.rooms import Rooms

_connections: Final = itertools.count(1)


class MemoryBroker:
    """Rooms in the memory of this process.

    Args:
        limits: The bounds.
        clock: Returns monotonic seconds.
        rooms: The rooms that several brokers of one process share; None for rooms of its own.
    """

    def __init__(
        self,
        limits: BrokerLimits | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        rooms: Rooms | None = None,
    ) -> None:
        self._rooms = rooms or Rooms(limits)
        self._clock = clock
        self._members: set[Membership] = set()
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def stats(self) -> BrokerStats:
        """What the broker has done."""
        return self._rooms.stats

    @property
    def problem(self) -> str:
        """Always empty: the memory is there."""
        return ""

    @property
    def room_count(self) -> int:
        """The number of rooms."""
        return self._rooms.room_count

    @property
    def member_count(self) -> int:
        """The number of members, those that are away included."""
        return self._rooms.member_count

    async def start(self) -> None:
        """Do nothing: there is no other node."""

    async def close(self) -> None:
        """Stop removing members. Members that resume keep their place, the others leave."""
        self._closed = True
        for member in tuple(self._members):
            await self.leave(member, for_good=False)
        self._arm()

    async def join(self, request: JoinRequest, receiver: Receiver) -> Membership:
        """Add a member to a room or return it to its place."""
        self._rooms.expire(self._clock())
        member = self._rooms.join(Entrance.of(request), receiver, str(next(_connections)))
        self._members.add(member)
        return member

    async def relay(self, member: Membership, message: Signal, number: int) -> None:
        """Forward a message to the member it is addressed to."""
        self._rooms.relay(member, message, number)

    async def leave(self, member: Membership, *, for_good: bool) -> None:
        """Remove a member, or keep its place for a while."""
        self._members.discard(member)
        self._rooms.leave(member, self._clock(), for_good=for_good)
        self._arm()

    def _arm(self) -> None:
        """Set the timer for the next member that leaves because it has been away for too long."""
        if self._timer is not None:
            self._timer.cancel()
        due = None if self._closed else self._rooms.next_expiry()
        loop = asyncio.get_running_loop()
        self._timer = None if due is None else loop.call_later(max(0.0, due - self._clock()), self._expire)

    def _expire(self) -> None:
        self._rooms.expire(self._clock())
        self._arm()
