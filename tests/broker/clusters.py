"""Nodes that share a broker, and members of them, for tests that run on every kind of broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Self

from datachan.signaling.broker import Broker, BrokerLimits, JoinRequest, Membership
from datachan.signaling.memory_broker import MemoryBroker
from datachan.signaling.redis_broker import RedisBroker
from datachan.signaling.redis_link import RedisTimings
from datachan.signaling.room_messages import Bye, Resumption, ServerMessage, Signal, Welcome
from datachan.signaling.rooms import Rooms

PATIENCE = 60.0
# Quicker than by default, and slow enough for a process that waits half a second for its turn on a busy machine.
QUICK = RedisTimings(lease=2.0, patience=1.0, answer_timeout=1.5, longest_pause=0.2)
# Steps wait until Redis is back.
PATIENT = RedisTimings(patience=20, longest_pause=0.1)


class Cluster:
    """Some nodes with one broker, each of which has its own part of it.

    Args:
        url: The address of Redis, or None for the memory of one process.
        limits: The bounds.
    """

    def __init__(self, url: str | None, limits: BrokerLimits | None = None, timings: RedisTimings = QUICK) -> None:
        self._url = url
        self._limits = limits or BrokerLimits()
        self._timings = timings
        self._rooms = Rooms(self._limits)
        self.nodes: list[Broker] = []

    async def add(self, count: int = 1, url: str | None = None) -> Broker:
        """Start nodes, and return the last one; `url` is another way to the same Redis."""
        for _ in range(count):
            where = url or self._url
            node: Broker = (
                MemoryBroker(rooms=self._rooms)
                if where is None
                else RedisBroker(where, self._limits, timings=self._timings)
            )
            await node.start()
            self.nodes.append(node)
        return self.nodes[-1]

    async def kill(self, node: Broker) -> None:
        """Stop a node of Redis without a word to the others."""
        assert isinstance(node, RedisBroker)
        self.nodes.remove(node)
        await node.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        for node in self.nodes:
            await node.close()

    def person(self, name: str, room: str = "kitchen", *, resumes: bool = True) -> Person:
        return Person(name, room, resumes)


class Person:
    """A client: joins over any node, keeps what it received, and comes back with its token.

    Attributes:
        present: The names of the other members by id, as a client knows them.
        heard: The messages of the others, without notices.
        log: Everything that was delivered.
    """

    def __init__(self, name: str, room: str = "kitchen", resumes: bool = True) -> None:
        self.name = name
        self.room = room
        self._resumes = resumes
        self._token: str | None = None
        self._seq = 0
        self._number = 0
        self._sent: list[tuple[int, Signal]] = []
        self._connection: Connection | None = None
        self.member: Membership | None = None
        self.node: Broker | None = None
        self.welcome: Welcome | None = None
        self.present: dict[str, str] = {}
        self.heard: list[dict[str, Any]] = []
        self.log: list[ServerMessage | dict[str, Any]] = []
        self.changed = asyncio.Event()

    @property
    def id(self) -> str:
        assert self.welcome is not None
        return self.welcome.id

    @property
    def resumption(self) -> Resumption:
        assert self.welcome is not None
        assert self.welcome.resumption is not None
        return self.welcome.resumption

    async def join(self, node: Broker, *, owner: str = "", secret: str | None = None) -> Person:
        request = JoinRequest(
            self.room, self.name, owner, secret, resumes=self._resumes, token=self._token, seq=self._seq
        )
        self._connection = Connection(self)
        self.node = node
        self.member = await node.join(request, self._connection)
        if self.welcome is not None and self.welcome.resumption is not None and self.resumption.resumed:
            for number, message in self._sent:
                if number > self.resumption.received:
                    await node.relay(self.member, message, number)
        return self

    def lose_connection(self) -> None:
        """Lose the connection: what is delivered from now on does not arrive."""
        if self._connection is not None:
            self._connection.person = None
            self._connection = None

    async def go_away(self) -> None:
        """Lose the connection, which the node notices."""
        self.lose_connection()
        assert self.node is not None
        assert self.member is not None
        await self.node.leave(self.member, for_good=False)

    async def leave(self) -> None:
        assert self.node is not None
        assert self.member is not None
        self.lose_connection()
        await self.node.leave(self.member, for_good=True)

    async def say(self, to: Person | str, text: str) -> None:
        assert self.node is not None
        assert self.member is not None
        self._number += 1
        message = Bye(to if isinstance(to, str) else to.id, "s", text)
        self._sent.append((self._number, message))
        await self.node.relay(self.member, message, self._number)

    @property
    def said(self) -> list[str]:
        """The texts of the messages that arrived."""
        return [message["reason"] for message in self.heard]

    @property
    def names(self) -> set[str]:
        return set(self.present.values())

    async def until(self, is_so: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Wait until something is so; it is checked after each delivery."""
        try:
            async with asyncio.timeout(patience):
                while not is_so():
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise AssertionError(f"{self.name} has {self.names} and {self.said[-5:]}, log {self.log[-5:]}") from None

    def take(self, message: ServerMessage | dict[str, Any], seq: int | None) -> None:
        self.log.append(message)
        if isinstance(message, Welcome):
            self.welcome = message
            self.present = {peer.id: peer.name for peer in message.peers}
            if message.resumption is not None:
                self._token = message.resumption.token
                if not message.resumption.resumed:
                    self._seq = message.resumption.seq
                    self._number = 0
                    self._sent.clear()
        elif isinstance(message, dict):
            if seq is not None:
                assert seq > self._seq, f"{self.name}: {message} with the number {seq} comes after {self._seq}"
                self._seq = seq
            if message["type"] == "peer-joined":
                self.present[message["peer"]["id"]] = message["peer"]["name"]
            elif message["type"] == "peer-left":
                self.present.pop(message["id"], None)
            else:
                self.heard.append(message)
        self.changed.set()


class Connection:
    """One connection of a person, as the broker sees it."""

    def __init__(self, person: Person) -> None:
        self.person: Person | None = person
        self.ended = ""

    def deliver(self, message: ServerMessage) -> None:
        if self.person is not None:
            self.person.take(message, None)

    def deliver_text(self, text: str, seq: int | None) -> None:
        if self.person is not None:
            self.person.take(json.loads(text), seq)

    def replaced(self) -> None:
        self.ended = "replaced"
        if self.person is not None:
            self.person.changed.set()

    def interrupted(self) -> None:
        self.ended = "interrupted"
        if self.person is not None:
            self.person.changed.set()
