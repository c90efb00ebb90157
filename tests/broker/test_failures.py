"""What members see when a node is killed, when Redis is killed and restarted, and when the network to Redis is cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from datachan.signaling.broker import BrokerLimits, BrokerUnavailable
from datachan.signaling.redis_broker import RedisBroker
from datachan.signaling.room_messages import BadMessage
from tests.broker.clusters import PATIENT, QUICK, Cluster, Person
from tests.redis_server import RedisServer, running_redis
from tests.tcp_relay import TcpRelay


@pytest.fixture
async def cluster(redis: RedisServer) -> AsyncIterator[Cluster]:
    cluster = Cluster(redis.url, BrokerLimits(grace=30))
    yield cluster
    await cluster.close()


async def people(cluster: Cluster, *names: str) -> list[Person]:
    """Let people join one node each, and wait until all know of all."""
    found = [await cluster.person(name).join(node) for name, node in zip(names, cluster.nodes, strict=True)]
    for person in found:
        await person.until(lambda person=person: person.names == set(names) - {person.name})
    return found


async def until_ready(*nodes: RedisBroker) -> None:
    async with asyncio.timeout(20):
        while any(node.problem for node in nodes):
            await asyncio.sleep(0.02)


async def until_down(*nodes: RedisBroker) -> None:
    async with asyncio.timeout(20):
        while not all(node.problem for node in nodes):
            await asyncio.sleep(0.02)


# -- a node ------------------------------------------------------------------------------------------------------------


async def test_members_of_a_killed_node_return_over_another_one_and_miss_nothing(cluster, redis):
    await cluster.add(3)
    ada, grace, alan = await people(cluster, "Ada", "Grace", "Alan")
    await cluster.kill(cluster.nodes[2])
    alan.lose_connection()
    await ada.say(alan, "1")  # no node has noticed yet
    async with asyncio.timeout(20):
        while redis.command("ZCARD", "datachan:away") != "1":
            await asyncio.sleep(0.02)
    await grace.say(alan, "2")
    await alan.join(cluster.nodes[0])
    assert (alan.resumption.resumed, alan.said) == (True, ["1", "2"])
    await alan.say(grace, "back")
    await grace.until(lambda: grace.said == ["back"])
    for person in (ada, grace):
        assert "peer-left" not in [m["type"] for m in person.log[1:]]


async def test_a_member_of_a_killed_node_that_does_not_return_leaves(redis):
    cluster = Cluster(redis.url, BrokerLimits(grace=0.5))
    await cluster.add(2)
    ada, _ = await people(cluster, "Ada", "Grace")
    await cluster.kill(cluster.nodes[1])
    await ada.until(lambda: not ada.present)
    assert redis.command("KEYS", "datachan:member:*").count("\n") == 0
    await cluster.close()


async def test_members_without_numbers_leave_with_their_node(cluster):
    await cluster.add(2)
    ada = await cluster.person("Ada").join(cluster.nodes[0])
    await cluster.person("Old", resumes=False).join(cluster.nodes[1])
    await ada.until(lambda: ada.names == {"Old"})
    await cluster.kill(cluster.nodes[1])
    await ada.until(lambda: not ada.present)


# -- Redis -------------------------------------------------------------------------------------------------------------


async def test_redis_killed_and_restarted_without_its_memory(cluster, redis):
    await cluster.add(2)
    ada, grace = await people(cluster, "Ada", "Grace")
    alan = await cluster.person("Alan").join(cluster.nodes[0])
    await grace.until(lambda: grace.names == {"Ada", "Alan"})
    before = [len(person.log) for person in (ada, grace, alan)]
    redis.kill()
    await until_down(*cluster.nodes)
    assert "cannot be reached" in cluster.nodes[0].problem
    await ada.say(alan, "on one node")  # goes on
    assert alan.said == ["on one node"]
    with pytest.raises(BrokerUnavailable):
        await ada.say(grace, "over Redis")
    with pytest.raises(BrokerUnavailable):
        await cluster.person("Eve").join(cluster.nodes[0])
    redis.start()
    await until_ready(*cluster.nodes)
    await ada.say(grace, "again")
    await grace.say(alan, "hello")
    await grace.until(lambda: grace.said == ["again"])
    await alan.until(lambda: alan.said == ["on one node", "hello"])
    # They see nothing of it but their messages: no member left or joined.
    assert [len(person.log) for person in (ada, grace, alan)] == [n + m for n, m in zip(before, (0, 1, 2), strict=True)]
    eve = await cluster.person("Eve").join(cluster.nodes[0])
    assert eve.names == {"Ada", "Grace", "Alan"}
    await grace.go_away()
    await ada.say(grace, "kept")
    await grace.join(cluster.nodes[0])
    assert (grace.resumption.resumed, grace.said[-1]) == (True, "kept")
    assert cluster.nodes[0].stats.outages == 1


async def test_a_member_that_was_away_when_redis_lost_its_memory_leaves_unless_it_returns(redis):
    cluster = Cluster(redis.url, BrokerLimits(grace=6))
    await cluster.add(2)
    ada, grace = await people(cluster, "Ada", "Grace")
    await grace.go_away()
    redis.kill()
    await until_down(*cluster.nodes)
    redis.start()
    await until_ready(*cluster.nodes)
    assert ada.names == {"Grace"}
    await ada.until(lambda: not ada.present)
    await cluster.close()


async def test_redis_that_keeps_its_memory_on_the_disk_gives_it_back(tmp_path):
    with running_redis(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as redis:
        cluster = Cluster(redis.url, BrokerLimits(grace=30))
        await cluster.add(2)
        ada, grace = await people(cluster, "Ada", "Grace")
        alan = await cluster.person("Alan").join(cluster.nodes[1])
        await ada.until(lambda: ada.names == {"Grace", "Alan"})
        await grace.go_away()
        await ada.say(grace, "kept")
        redis.kill()
        await until_down(*cluster.nodes)
        await alan.leave()
        redis.start()
        await ada.until(lambda: ada.names == {"Grace"})
        await grace.join(cluster.nodes[0])
        assert (grace.resumption.resumed, grace.said, grace.names) == (True, ["kept"], {"Ada"})
        await cluster.close()


async def test_who_leaves_while_redis_is_down_is_gone_after_it(cluster, redis):
    await cluster.add(2)
    ada, grace = await people(cluster, "Ada", "Grace")
    alan = await cluster.person("Alan").join(cluster.nodes[1])
    await ada.until(lambda: ada.names == {"Grace", "Alan"})
    redis.kill()
    await until_down(*cluster.nodes)
    await grace.leave()
    redis.start()
    await ada.until(lambda: ada.names == {"Alan"})
    await alan.until(lambda: alan.names == {"Ada"})


async def test_a_message_that_meets_a_short_break_is_delivered_once(redis):
    cluster = Cluster(redis.url, BrokerLimits(grace=30), PATIENT)
    await cluster.add(2)
    ada, grace = await people(cluster, "Ada", "Grace")
    saying = asyncio.create_task(_say_all(ada, grace, 200))
    for _ in range(4):
        redis.command("CLIENT", "KILL", "TYPE", "normal")
        redis.command("CLIENT", "KILL", "TYPE", "pubsub")
        await until_ready(*cluster.nodes)
    await saying
    await grace.until(lambda: len(grace.said) >= 200)
    assert grace.said == [str(number) for number in range(200)]
    await cluster.close()


async def _say_all(ada: Person, grace: Person, count: int) -> None:
    for number in range(count):
        await ada.say(grace, str(number))


async def test_redis_that_lost_the_script_gets_it_again(cluster, redis):
    await cluster.add(2)
    ada, grace = await people(cluster, "Ada", "Grace")
    redis.command("SCRIPT", "FLUSH")
    await ada.say(grace, "hello")
    await grace.until(lambda: grace.said == ["hello"])


async def test_a_node_starts_before_redis_and_is_ready_when_it_is_there(redis):
    redis.kill()
    node = RedisBroker(redis.url, timings=QUICK)
    await node.start()
    assert "cannot be reached" in node.problem
    redis.start()
    await until_ready(node)
    await Person("Ada").join(node)
    await node.close()


async def test_the_password_is_needed_and_appears_nowhere(tmp_path, caplog):
    with running_redis(tmp_path, "--requirepass", "open-sesame") as server:
        wrong = RedisBroker(f"redis://:wrong-word@127.0.0.1:{server.port}/0", timings=QUICK)
        await wrong.start()
        assert wrong.problem
        assert "wrong-word" not in wrong.problem + caplog.text
        await wrong.close()
        for right in (
            RedisBroker(server.url, password="open-sesame"),
            RedisBroker(f"redis://:open-sesame@127.0.0.1:{server.port}/0"),
        ):
            await right.start()
            assert right.problem == ""
            await Person("Ada").join(right)
            await right.close()
        assert "open-sesame" not in caplog.text


# -- the network -------------------------------------------------------------------------------------------------------


async def test_a_node_cut_off_from_redis_gives_its_members_what_they_missed(cluster, redis):
    await cluster.add(1)
    async with TcpRelay(lambda: redis.port) as wire:
        far = await cluster.add(1, url=f"redis://127.0.0.1:{wire.port}/0")
        ada, grace = await people(cluster, "Ada", "Grace")
        alan = await cluster.person("Alan").join(far)
        await ada.until(lambda: ada.names == {"Grace", "Alan"})
        wire.cut()
        await ada.say(grace, "1")
        await ada.say(grace, "2")
        eve = await cluster.person("Eve").join(cluster.nodes[0])
        await until_down(far)
        await alan.say(grace, "on one node")
        with pytest.raises(BadMessage) as caught:
            await alan.say(ada, "over Redis")
        assert caught.value.code == "broker-unavailable"
        async with asyncio.timeout(20):  # the other node takes it for dead
            while redis.command("ZCARD", "datachan:away") != "2":
                await asyncio.sleep(0.02)
        wire.mend()
        await grace.until(lambda: len(grace.said) == 3 and grace.names == {"Ada", "Alan", "Eve"})
        assert grace.said == ["on one node", "1", "2"]
        await alan.until(lambda: alan.names == {"Ada", "Grace", "Eve"})
        await alan.say(eve, "hello")
        await eve.until(lambda: eve.said == ["hello"])
        for person in (ada, grace, alan):
            assert "peer-left" not in [m["type"] for m in person.log if isinstance(m, dict)]
        await far.close()
        cluster.nodes.remove(far)


async def test_members_of_a_node_that_is_cut_off_for_longer_than_the_grace_join_again(redis):
    cluster = Cluster(redis.url, BrokerLimits(grace=0.5))
    await cluster.add(1)
    async with TcpRelay(lambda: redis.port) as wire:
        far = await cluster.add(1, url=f"redis://127.0.0.1:{wire.port}/0")
        ada, grace = await people(cluster, "Ada", "Grace")
        wire.cut()
        await ada.until(lambda: not ada.present)
        await ada.leave()
        alan = await cluster.person("Alan").join(cluster.nodes[0])
        await until_down(far)
        connection = grace._connection
        wire.mend()
        await grace.until(lambda: connection.ended == "interrupted")
        await grace.join(far)
        assert (grace.resumption.resumed, grace.names) == (False, {"Alan"})
        await alan.until(lambda: alan.names == {"Grace"})
        await alan.say(grace, "welcome back")
        await grace.until(lambda: grace.said == ["welcome back"])
        await far.close()
        cluster.nodes.remove(far)
    await cluster.close()


async def test_a_member_whose_messages_were_dropped_while_its_node_was_cut_off_is_told(redis):
    cluster = Cluster(redis.url, BrokerLimits(grace=30, kept_messages=2))
    await cluster.add(1)
    async with TcpRelay(lambda: redis.port) as wire:
        far = await cluster.add(1, url=f"redis://127.0.0.1:{wire.port}/0")
        ada, grace = await people(cluster, "Ada", "Grace")
        wire.cut()
        for number in range(5):
            await ada.say(grace, str(number))
        await until_down(far)
        connection = grace._connection
        wire.mend()
        await grace.until(lambda: connection.ended == "interrupted")
        await grace.join(cluster.nodes[0])
        assert (grace.resumption.missed, grace.said) == (True, ["3", "4"])
        await far.close()
        cluster.nodes.remove(far)
    await cluster.close()


# -- keys --------------------------------------------------------------------------------------------------------------


async def test_every_key_expires_and_the_keys_of_a_room_go_with_its_last_member(cluster, redis):
    await cluster.add(2)
    ada, grace = await people(cluster, "Ada", "Grace")
    alan = await cluster.person("Alan", "attic").join(cluster.nodes[0], owner="192.0.2.1")
    await ada.say(grace, "hello")
    await grace.until(lambda: grace.said == ["hello"])
    await grace.go_away()
    keys = redis.command("KEYS", "*").split()
    assert len(keys) > 12
    for key in keys:
        assert 0 < int(redis.command("PTTL", key)) <= 600_000, key
    for person in (ada, alan):
        await person.leave()
    await grace.join(cluster.nodes[0])
    await grace.leave()
    assert set(redis.command("KEYS", "*").split()) <= {"datachan:all-nodes", "datachan:last-beat", "datachan:memory"}
