"""The broker of several nodes: the rooms are in Redis, and this node has the connections of its own members.

Each step on the rooms is one call of redis_rooms.lua, which also publishes what other nodes have to deliver. What is
published can be lost with the connection to Redis, but Redis keeps it, too: after a break, the node asks for what each
of its members has missed. So a node that returns to Redis does what a client does that returns to a node.

If Redis itself has lost its memory, each node adds its members again, and names the others that it knows of: these
leave unless their nodes return in time.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from datachan.log_rate import get_limited_logger
from datachan.signaling.broker import (
    BrokerLimits,
    BrokerStats,
    BrokerUnavailable,
    Entrance,
    JoinRequest,
    Membership,
    Receiver,
    digest_of,
    no_more_rooms,
    no_such_peer,
    owner_has_no_more_rooms,
    room_full,
    welcome_of,
)
from datachan.signaling.node_rooms import NodeRooms, Served
from datachan.signaling.redis_link import RedisLink, RedisTimings, Step
from datachan.signaling.room_messages import (
    BadMessage,
    PeerInfo,
    PeerJoined,
    PeerLeft,
    Signal,
    serialize_server_message,
)

logger = get_limited_logger("datachan.signaling")

_BATCH: Final = 200
"""Members that one step removes or marks as away, so that no step takes long."""


class RedisBroker:
    """Rooms that span all nodes with the same Redis server.

    Args:
        url: The address, such as `redis://127.0.0.1:6379/0`; `rediss` uses TLS.
        limits: The bounds, which should be the same on all nodes.
        password: The password, if it is not part of the address.
        timings: The times.

    Raises:
        ValueError: The address is malformed.
    """

    def __init__(
        self,
        url: str,
        limits: BrokerLimits | None = None,
        *,
        password: str | None = None,
        timings: RedisTimings | None = None,
    ) -> None:
        self._limits = limits or BrokerLimits()
        self._node = secrets.token_hex(8)
        self._timings = timings or RedisTimings()
        self._link = RedisLink(
            url,
            password,
            self._timings,
            _script(self._limits, self._timings),
            "datachan:",
            f"datachan:to:{self._node}",
            self._receive,
            self._restore,
        )
        self._numbers = itertools.count(1)
        self._rooms = NodeRooms()
        self._late: list[Step] = []
        self._leaving: set[tuple[str, str]] = set()
        self._memory: bytes | None = None  # the name of Redis' memory; another one when Redis has lost it
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def stats(self) -> BrokerStats:
        """What the broker has done on this node."""
        self._rooms.stats.outages = self._link.outages
        return self._rooms.stats

    @property
    def problem(self) -> str:
        """Why Redis cannot be reached; empty if it can."""
        return self._link.problem

    @property
    def room_count(self) -> int:
        """The number of rooms with members on this node."""
        return self._rooms.room_count

    @property
    def member_count(self) -> int:
        """The number of members on this node."""
        return self._rooms.member_count

    # -- the life of the node ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect with Redis; go on trying if it cannot be reached."""
        await self._link.start()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._beat()), loop.create_task(self._keep())]

    async def close(self) -> None:
        """Leave Redis. Members of this node that resume keep their place."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(BrokerUnavailable):
            while await self._link.call("goodbye", self._node) == b"more":
                pass
        await self._link.close()

    async def abort(self) -> None:
        """Stop without a word to Redis: the other nodes take this one for dead when its lease is over."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._link.close()

    async def _beat(self) -> None:
        for number in itertools.count():
            try:
                known, more = await self._link.call("beat", self._node, number)
            except BrokerUnavailable:
                known, more = b"1", b"done"
            if known != b"1":
                self._link.reconnect()
            if more != b"more":
                await asyncio.sleep(self._timings.lease / 5)

    async def _keep(self) -> None:
        """Extend the lifetime of what belongs to this node's members."""
        while True:
            await asyncio.sleep(self._timings.lifetime / 3)
            with contextlib.suppress(BrokerUnavailable):
                for served in tuple(self._rooms.all_served()):
                    self._link.post("keep", served.member.room, served.member.info.id)

    # -- members -------------------------------------------------------------------------------------------------------

    async def join(self, request: JoinRequest, receiver: Receiver) -> Membership:
        """Add a member to a room or return it to its place."""
        entrance = Entrance.of(request)
        if not self._link.is_usable:
            raise BrokerUnavailable
        connection = f"{self._node}.{next(self._numbers)}"
        served = Served(entrance, receiver, Membership(request.room, entrance.info, connection, request.resumes))
        with self._rooms.arriving(served):
            try:
                answer = await self._call(*_join_step(served))
            except BaseException:
                # The step may still be done, or have been done: take it back.
                for member_id in filter(None, (entrance.info.id, entrance.claimed)):
                    self._take_back("leave", request.room, member_id, connection, "0")
                raise
            status = answer[0].decode()
            refusal = self._refusal(status)
            if refusal is not None:
                raise refusal
            self._enter(served, answer)
        return served.member

    def _refusal(self, status: str) -> BadMessage | None:
        if status == "no-more-rooms":
            return no_more_rooms()
        if status == "owner-has-no-more-rooms":
            return owner_has_no_more_rooms()
        return room_full(self._limits.capacity) if status == "room-full" else None

    def _enter(self, served: Served, answer: list[Any]) -> None:
        status, member_id, name, seq, received, missed = (value.decode() for value in answer[:6])
        peers = tuple(_pairs(answer[6]))
        is_back = status == "resumed"
        member = served.member
        member.info, member.received = PeerInfo(member_id, name), int(received)
        if is_back and served.entrance.request.token is not None:
            served.digest = digest_of(served.entrance.request.token)
        resumption = served.entrance.resumption(
            int(seq), resumed=is_back, missed=missed == "1", received=member.received
        )
        served.receiver.deliver(welcome_of(member, self._limits.capacity, peers, resumption))
        self._rooms.stats.resumed += is_back
        self._rooms.stats.missed += missed == "1"
        self._rooms.enter(served, peers, int(seq), _entries(answer[7]))

    async def relay(self, member: Membership, message: Signal, number: int) -> None:
        """Forward a message to the member it is addressed to, on any node."""
        if number <= member.received:
            return
        text = serialize_server_message(replace(message, peer=member.info.id))
        try:
            answer = await self._call(
                "relay", member.room, member.info.id, member.connection, number, message.peer, text
            )
        except BrokerUnavailable:
            # Members of one node do not need Redis to hear of each other.
            if not self._rooms.relay_here(member, message.peer, number, text):
                raise
            answer = b"relayed"
        if answer in {b"no-such-peer", b"replaced"}:
            raise no_such_peer()
        member.received = number
        self._rooms.stats.relayed += 1

    async def leave(self, member: Membership, *, for_good: bool) -> None:
        """Remove a member, or keep its place for a while."""
        self._rooms.leave(member)
        is_gone = for_good or not member.resumes
        step = ("leave", member.room, member.info.id, member.connection, "1" if is_gone else "0")
        if is_gone:
            self._leaving.add((member.room, member.info.id))
        try:
            await self._call(*step)
        except BrokerUnavailable:
            self._late.append(step)
        else:
            self._leaving.discard((member.room, member.info.id))

    async def _call(self, *step: str | int) -> Any:
        started = time.monotonic()
        answer = await self._link.call(*step)
        self._rooms.stats.observe_step(time.monotonic() - started)
        return answer

    def _take_back(self, *step: str) -> None:
        try:
            self._link.post(*step)
        except BrokerUnavailable:
            self._late.append(step)

    # -- Redis ---------------------------------------------------------------------------------------------------------

    def _receive(self, data: bytes) -> None:
        kind, room, member_id, seq, tag, text = data.decode().split(" ", 5)
        if kind == "message":
            self._rooms.receive_message(room, member_id, int(seq), tag, text)
        elif kind in {"notice", "again"}:
            self._rooms.receive_notice(room, member_id, int(seq), text, is_repeated=kind == "again")
        elif kind == "replaced":
            self._rooms.receive_replaced(room, member_id, tag)

    async def _restore(self) -> None:
        """Tell Redis which members this node has, and get what they have missed meanwhile."""
        known = {name: self._rooms.present(name) for name in self._rooms.room_names()}
        all_served = self._rooms.begin_to_catch_up()
        while (await self._link.execute([("begin", self._node)]))[0] == b"more":
            pass
        memory = (await self._link.execute([("memory", secrets.token_hex(8))]))[0]
        is_lost = self._memory is not None and memory != self._memory
        answers = await self._link.execute([_attach_step(served, is_lost=is_lost) for served in all_served])
        for served, answer in zip(all_served, answers, strict=True):
            if answer[0] == b"replaced":
                self._rooms.receive_replaced(served.member.room, served.member.info.id, served.member.connection)
            elif answer[0] == b"gone":
                self._rooms.leave(served.member)
                served.receiver.interrupted()
            else:
                self._rooms.catch_up(served, _entries(answer[7]), known[served.member.room], missed=answer[5] == b"1")
        await self._compare_members()
        late = list(self._late)
        await self._link.execute(late)
        self._rooms.end_to_catch_up()
        await self._link.execute([("beat", self._node, 0)])
        self._memory = memory
        del self._late[: len(late)]
        self._leaving.difference_update((str(step[1]), str(step[2])) for step in late)

    async def _compare_members(self) -> None:
        """Correct who is in each room, for this node and for Redis."""
        names = self._rooms.room_names()
        answers = await self._link.execute([("members", name) for name in names])
        steps: list[Step] = []
        for name, (was_lost, listed) in zip(names, answers, strict=True):
            peers = {peer.id: peer for peer in _pairs(listed)}
            here = self._rooms.present(name)
            for peer in peers.values():
                if peer.id not in here and not self._rooms.was_told(name, peer.id):
                    text = serialize_server_message(PeerJoined(peer))
                    self._rooms.receive_notice(name, peer.id, None, text, is_repeated=True)
            for member_id, peer_name in here.items():
                if member_id in peers or self._rooms.was_told(name, member_id):
                    continue
                if (name, member_id) in self._leaving:
                    continue
                if was_lost == b"1":
                    steps.append(("expect", name, member_id, peer_name))
                else:
                    text = serialize_server_message(PeerLeft(member_id))
                    self._rooms.receive_notice(name, member_id, None, text, is_repeated=True)
        await self._link.execute(steps)


def _script(limits: BrokerLimits, timings: RedisTimings) -> str:
    """Return the script with its limits, in milliseconds and bytes."""
    values = {
        "max_rooms": limits.max_rooms,
        "max_rooms_per_owner": limits.max_rooms_per_owner,
        "capacity": limits.capacity,
        "grace": round(1000 * limits.grace),
        "lease": round(1000 * timings.lease),
        "lifetime": round(1000 * max(timings.lifetime, 2 * limits.grace)),
        "kept_messages": limits.kept_messages,
        "kept_bytes": limits.kept_bytes,
        "kept_bytes_of_room": limits.kept_bytes_of_room,
        "kept_notices": limits.kept_notices,
        "batch": _BATCH,
    }
    table = ", ".join(f"{name} = {value}" for name, value in values.items())
    return f"local LIMITS = {{{table}}}\n" + (Path(__file__).parent / "redis_rooms.lua").read_text()


def _join_step(served: Served) -> Step:
    member, entrance = served.member, served.entrance
    request = entrance.request
    return (
        "join",
        request.room,
        member.info.id,
        member.info.name,
        member.connection,
        request.owner,
        "1" if request.resumes else "0",
        served.digest,
        serialize_server_message(PeerJoined(member.info)),
        entrance.claimed,
        entrance.presented,
        request.seq,
    )


def _attach_step(served: Served, *, is_lost: bool) -> Step:
    member = served.member
    return (
        "attach",
        member.room,
        member.info.id,
        member.info.name,
        member.connection,
        served.entrance.request.owner,
        "1" if member.resumes else "0",
        served.digest,
        serialize_server_message(PeerJoined(member.info)),
        member.received,
        served.last,
        "1" if is_lost else "0",
    )


def _pairs(flat: list[bytes]) -> Iterator[PeerInfo]:
    texts = [value.decode() for value in flat]
    return (PeerInfo(member_id, name) for member_id, name in zip(texts[::2], texts[1::2], strict=True))


def _entries(kept: list[bytes]) -> list[tuple[int, str, str]]:
    """Return number, tag and text of what Redis has kept, in the order of the numbers."""
    parts = (entry.decode().split(" ", 2) for entry in kept)
    return sorted((int(seq), tag, text) for seq, tag, text in parts)
