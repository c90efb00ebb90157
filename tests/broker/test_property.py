"""Random members join, speak, lose their connections, return and leave over several nodes; all agree and lose nothing.

`DATACHAN_SEEDS=first-last` runs other seeds than the usual ones.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import defaultdict
from collections.abc import Iterator

import pytest

from datachan.signaling.broker import BrokerLimits
from datachan.signaling.room_messages import BadMessage
from tests.broker.clusters import PATIENT, Cluster, Person
from tests.redis_server import RedisServer

ROOMS = ("kitchen", "cellar")
STEPS = 300
LIMITS = BrokerLimits(capacity=6, grace=60, kept_messages=2000, kept_bytes=1 << 20, kept_bytes_of_room=1 << 22)


def seeds() -> Iterator[int]:
    first, _, last = os.environ.get("DATACHAN_SEEDS", "1-3").partition("-")
    yield from range(int(first), int(last or first) + 1)


class Story:
    """One random run, with what should have happened.

    Attributes:
        inside: Who is in a room, those that are away included.
        expected: The texts that each person should hear from each other one, in order.
    """

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster = cluster
        self.random = random.Random(seed)
        self.inside: list[Person] = []
        self.away: set[Person] = set()
        self.expected: dict[tuple[Person, str], list[str]] = defaultdict(list)
        self._names = iter(range(10_000))
        self._texts = iter(range(10_000))

    async def step(self) -> None:
        choices = [self.join, self.say, self.say, self.say, self.lose, self.back, self.leave]
        await self.random.choice(choices)()

    async def join(self) -> None:
        person = Person(f"p{next(self._names)}", self.random.choice(ROOMS))
        node = self.random.choice(self.cluster.nodes)
        if len([one for one in self.inside if one.room == person.room]) == LIMITS.capacity:
            with pytest.raises(BadMessage, match="full"):
                await person.join(node)
        else:
            self.inside.append(await person.join(node))

    async def say(self) -> None:
        talking = [one for one in self.inside if one not in self.away]
        if not talking:
            return
        person = self.random.choice(talking)
        others = [one for one in self.inside if one.room == person.room and one is not person]
        if others:
            other, text = self.random.choice(others), str(next(self._texts))
            self.expected[other, person.id].append(text)
            await person.say(other, text)

    async def lose(self) -> None:
        """Lose a connection: the node notices it at once or never."""
        present = [one for one in self.inside if one not in self.away]
        if present:
            person = self.random.choice(present)
            self.away.add(person)
            if self.random.random() < 0.5:
                await person.go_away()
            else:
                person.lose_connection()

    async def back(self) -> None:
        if self.away:
            person = self.random.choice(sorted(self.away, key=lambda one: one.name))
            self.away.discard(person)
            await person.join(self.random.choice(self.cluster.nodes))
            assert person.resumption.resumed
            assert not person.resumption.missed

    async def kill_node(self) -> None:
        """Kill a node with all connections of its members, and start another one."""
        node = self.random.choice(self.cluster.nodes)
        await self.cluster.kill(node)
        for person in self.inside:
            if person.node is node:
                person.lose_connection()
                self.away.add(person)
        await self.cluster.add()

    async def leave(self) -> None:
        present = [one for one in self.inside if one not in self.away]
        if len(present) > 2:
            person = self.random.choice(present)
            self.inside.remove(person)
            await person.leave()

    async def check(self) -> None:
        """Let everyone return, and compare what each sees and heard with what happened."""
        while self.away:
            await self.back()
        for person in self.inside:
            others = {one.id: one.name for one in self.inside if one.room == person.room and one is not person}
            await person.until(lambda person=person, others=others: person.present == others)
            await person.until(lambda person=person: len(person.heard) >= self.count_for(person))
            heard = defaultdict(list)
            for message in person.heard:
                heard[message["from"]].append(message["reason"])
            assert heard == {sender: texts for (to, sender), texts in self.expected.items() if to is person}

    def count_for(self, person: Person) -> int:
        return sum(len(texts) for (to, _), texts in self.expected.items() if to is person)


@pytest.mark.parametrize("kind", ["memory", "redis"])
@pytest.mark.parametrize("number", list(seeds()), ids=lambda number: f"seed-{number}")
async def test_all_members_agree_who_is_there_and_lose_nothing(kind, number, request):
    async with Cluster(request.getfixturevalue("redis").url if kind == "redis" else None, LIMITS) as cluster:
        story = Story(cluster, number)
        await cluster.add(story.random.randint(2, 3))
        for _ in range(STEPS):
            await story.step()
        await story.check()


@pytest.mark.parametrize("number", list(seeds()), ids=lambda number: f"seed-{number}")
async def test_they_do_so_while_connections_to_redis_break(number, redis):
    async with Cluster(redis.url, LIMITS, PATIENT) as cluster:
        story = Story(cluster, number)
        await cluster.add(3)
        breaking = asyncio.create_task(_break_connections(redis, random.Random(number)))
        try:
            for _ in range(STEPS):
                await story.step()
        finally:
            breaking.cancel()
            await asyncio.gather(breaking, return_exceptions=True)
        await story.check()


@pytest.mark.parametrize("number", list(seeds()), ids=lambda number: f"seed-{number}")
async def test_they_do_so_while_nodes_are_killed_and_started(number, redis):
    async with Cluster(redis.url, LIMITS) as cluster:
        story = Story(cluster, number)
        await cluster.add(3)
        for step in range(STEPS):
            await story.step()
            if step % 60 == 59:
                await story.kill_node()
        await story.check()


@pytest.mark.parametrize("number", list(seeds()), ids=lambda number: f"seed-{number}")
async def test_they_do_so_while_redis_loses_its_memory(number, redis):
    async with Cluster(redis.url, LIMITS, PATIENT) as cluster:
        story = Story(cluster, number)
        await cluster.add(3)
        for step in range(STEPS):
            await story.step()
            if step % 100 == 99:
                await story.check()  # what was kept for members that are away would be lost
                outages = [node.stats.outages for node in cluster.nodes]
                redis.kill()
                redis.start()
                async with asyncio.timeout(20):
                    while any(
                        node.problem or node.stats.outages == before
                        for node, before in zip(cluster.nodes, outages, strict=True)
                    ):
                        await asyncio.sleep(0.01)
        await story.check()


async def _break_connections(redis: RedisServer, dice: random.Random) -> None:
    """Break connections to Redis, which come back within the patience of a step."""
    while True:
        await asyncio.sleep(dice.uniform(0.02, 0.2))
        kind = dice.choice(["normal", "pubsub"])
        await asyncio.to_thread(redis.command, "CLIENT", "KILL", "TYPE", kind)
