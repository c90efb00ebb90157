"""What every broker does, whether the rooms are in one process or in Redis. Two or three nodes share each room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from datachan.signaling.broker import BrokerLimits
from datachan.signaling.room_messages import BadMessage, PeerInfo
from tests.broker.clusters import Cluster, Person

MakeCluster = Callable[..., Cluster]


@pytest.fixture(params=["memory", "redis"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[MakeCluster]:
    url = request.getfixturevalue("redis").url if request.param == "redis" else None
    made: list[Cluster] = []

    def make_cluster(**limits: float) -> Cluster:
        made.append(Cluster(url, BrokerLimits(**limits)))  # type: ignore[arg-type]
        return made[-1]

    yield make_cluster
    for cluster in made:
        await cluster.close()


@pytest.fixture
async def cluster(make: MakeCluster) -> Cluster:
    cluster = make()
    await cluster.add(2)
    return cluster


async def two(cluster: Cluster, *, resumes: bool = True) -> tuple[Person, Person]:
    """Return Ada on the first node and Grace on the second, who know of each other."""
    ada = await cluster.person("Ada", resumes=resumes).join(cluster.nodes[0])
    grace = await cluster.person("Grace", resumes=resumes).join(cluster.nodes[1])
    await ada.until(lambda: ada.names == {"Grace"})
    return ada, grace


# -- presence and messages ---------------------------------------------------------------------------------------------


async def test_members_on_two_nodes_learn_of_each_other(cluster):
    ada, grace = await two(cluster)
    assert grace.welcome.peers == (PeerInfo(ada.id, "Ada"),)
    assert grace.welcome.capacity == 8
    await grace.leave()
    await ada.until(lambda: not ada.present)
    assert [node.member_count for node in cluster.nodes] in ([1, 0], [1, 1])


async def test_the_welcome_lists_members_in_the_order_in_which_they_joined(cluster):
    people = [await cluster.person(name).join(cluster.nodes[place % 2]) for place, name in enumerate("DACB")]
    last = await cluster.person("last").join(cluster.nodes[0])
    assert [peer.name for peer in last.welcome.peers] == list("DACB")
    assert len({person.id for person in people}) == 4


async def test_messages_of_each_sender_arrive_in_order_on_any_node(cluster):
    ada, grace = await two(cluster)
    alan = await cluster.person("Alan").join(cluster.nodes[1])
    for number in range(50):
        await asyncio.gather(grace.say(ada, f"g{number}"), alan.say(ada, f"a{number}"))
    await ada.until(lambda: len(ada.heard) == 100)
    for sender, letter in ((grace, "g"), (alan, "a")):
        assert [m["reason"] for m in ada.heard if m["from"] == sender.id] == [f"{letter}{n}" for n in range(50)]


async def test_a_repeated_message_is_delivered_once(cluster):
    ada, grace = await two(cluster)
    await grace.say(ada, "once")
    await cluster.nodes[1].relay(grace.member, grace._sent[0][1], 1)
    await grace.say(ada, "again")
    await ada.until(lambda: len(ada.heard) == 2)
    assert ada.said == ["once", "again"]


@pytest.mark.parametrize("target", ["absent", "itself", "outside"])
async def test_messages_reach_neither_the_sender_nor_another_room(cluster, target):
    ada, grace = await two(cluster)
    outside = await cluster.person("Eve", "cellar").join(cluster.nodes[1])
    to = {"absent": "absent", "itself": ada.id, "outside": outside.id}[target]
    with pytest.raises(BadMessage) as caught:
        await ada.say(to, "psst")
    assert caught.value.code == "no-such-peer"
    await ada.say(grace, "hello")
    await grace.until(lambda: grace.said == ["hello"])
    assert outside.heard == ada.heard == []


async def test_a_member_that_left_is_not_heard(cluster):
    ada, grace = await two(cluster)
    await grace.leave()
    await ada.until(lambda: not ada.present)
    with pytest.raises(BadMessage):
        await grace.say(ada, "late")
    with pytest.raises(BadMessage):
        await ada.say(grace, "late")


# -- coming back -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("back_at", [0, 1])
async def test_a_member_returns_over_any_node_with_its_id_and_gets_what_it_missed(cluster, back_at):
    ada, grace = await two(cluster)
    alan = await cluster.person("Alan").join(cluster.nodes[0])
    await grace.until(lambda: grace.names == {"Ada", "Alan"})
    known_as = grace.id
    await ada.say(grace, "before")
    await grace.until(lambda: grace.said == ["before"])
    await grace.go_away()
    await ada.say(grace, "1")
    await alan.leave()
    await alan.until(lambda: True)
    await ada.until(lambda: ada.names == {"Grace"})  # Grace is not seen to leave
    await ada.say(grace, "2")
    before = len(grace.log)
    await grace.join(cluster.nodes[back_at])
    assert (grace.id, grace.resumption.resumed, grace.resumption.missed) == (known_as, True, False)
    assert grace.said == ["before", "1", "2"]
    kinds = [m["type"] for m in grace.log[before + 1 :]]
    assert kinds == ["bye", "peer-left", "bye"]
    assert grace.names == {"Ada"}
    await grace.say(ada, "back")
    await ada.until(lambda: ada.said == ["back"])
    assert "peer-joined" not in [m["type"] for m in ada.log[3:] if isinstance(m, dict)]


async def test_messages_that_were_on_their_way_when_the_connection_broke_arrive(cluster):
    ada, grace = await two(cluster)
    grace.lose_connection()  # its node has not noticed
    await ada.say(grace, "into the void")
    await grace.join(cluster.nodes[0])
    assert grace.said == ["into the void"]


async def test_what_a_member_sent_before_the_break_is_not_delivered_twice(cluster):
    ada, grace = await two(cluster)
    await grace.say(ada, "1")
    await grace.say(ada, "2")
    await grace.go_away()
    await grace.join(cluster.nodes[0])
    assert grace.resumption.received == 2
    await grace.say(ada, "3")
    await ada.until(lambda: len(ada.said) == 3)
    assert ada.said == ["1", "2", "3"]


async def test_the_old_connection_of_a_member_that_returned_is_ended(cluster):
    ada, grace = await two(cluster)
    old, member = grace._connection, grace.member
    await grace.join(cluster.nodes[0])
    await grace.until(lambda: old.ended == "replaced")
    await cluster.nodes[1].leave(member, for_good=True)
    await ada.say(grace, "still there?")
    await grace.until(lambda: grace.said == ["still there?"])


async def test_a_member_that_does_not_return_in_time_leaves(make):
    cluster = make(grace=0.2)
    await cluster.add(2)
    ada, grace = await two(cluster)
    await grace.go_away()
    await ada.until(lambda: not ada.present)
    with pytest.raises(BadMessage):
        await ada.say(grace, "late")
    known_as = grace.id
    await grace.join(cluster.nodes[0])
    assert not grace.resumption.resumed
    assert grace.id != known_as
    await ada.until(lambda: ada.names == {"Grace"})


async def test_a_member_that_knows_nothing_of_numbers_leaves_when_its_connection_breaks(cluster):
    ada, grace = await two(cluster, resumes=False)
    assert ada.welcome.resumption is None
    await grace.go_away()
    await ada.until(lambda: not ada.present)


@pytest.mark.parametrize("forged", ["id", "bits", "room"])
async def test_a_token_of_another_member_or_room_or_a_guess_is_worth_nothing(cluster, forged):
    ada, grace = await two(cluster)
    eve = Person("Eve", "cellar" if forged == "room" else "kitchen")
    token = grace.resumption.token
    own = (await Person("Eve", "attic").join(cluster.nodes[0])).resumption.token
    eve._token = {"id": f"{grace.id}.{own.partition('.')[2]}", "bits": token[:-1] + "-_"[token[-1] == "-"]}.get(
        forged, token
    )
    await eve.join(cluster.nodes[0])
    assert not eve.resumption.resumed
    assert eve.id != grace.id
    await ada.say(grace, "for Grace only")
    await grace.until(lambda: grace.said == ["for Grace only"])
    assert eve.heard == []


async def test_the_secret_of_another_member_makes_its_token_worthless(cluster):
    _, grace = await two(cluster)
    eve = Person("Eve")
    eve._token = grace.resumption.token
    await eve.join(cluster.nodes[0], secret="e" * 32)
    assert not eve.resumption.resumed
    assert eve.id != grace.id


async def test_a_secret_keeps_the_id_when_the_place_is_gone(make):
    cluster = make(grace=0.1)
    await cluster.add(2)
    ada = await cluster.person("Ada").join(cluster.nodes[0])
    grace = await cluster.person("Grace").join(cluster.nodes[1], secret="g" * 32)
    await ada.until(lambda: ada.names == {"Grace"})
    known_as = grace.id
    await grace.go_away()
    await ada.until(lambda: not ada.present)
    await grace.join(cluster.nodes[0], secret="g" * 32)
    assert grace.id == known_as
    assert not grace.resumption.resumed


async def test_a_member_with_the_same_secret_replaces_its_old_connection(cluster):
    ada, grace = await two(cluster)
    first = await cluster.person("Alan").join(cluster.nodes[0], secret="a" * 32)
    old = first._connection
    second = await cluster.person("Alan").join(cluster.nodes[1], secret="a" * 32)
    assert second.id == first.id
    await second.until(lambda: bool(old.ended) or len(second.present) == 2)
    await first.until(lambda: old.ended == "replaced")
    await grace.until(lambda: len([m for m in grace.log[1:] if m["type"] == "peer-joined"]) == 2)
    await ada.say(second, "hello")
    await second.until(lambda: second.said == ["hello"])


# -- bounds ------------------------------------------------------------------------------------------------------------


async def test_a_full_room_refuses_newcomers_on_every_node_until_a_member_leaves(make):
    cluster = make(capacity=2)
    await cluster.add(2)
    ada, grace = await two(cluster)
    for node in cluster.nodes:
        with pytest.raises(BadMessage) as caught:
            await cluster.person("Alan").join(node)
        assert caught.value.code == "room-full"
    await grace.go_away()
    with pytest.raises(BadMessage):  # the place of a member that is away is taken
        await cluster.person("Alan").join(cluster.nodes[0])
    await grace.join(cluster.nodes[0])
    await grace.leave()
    await cluster.person("Alan").join(cluster.nodes[0])
    await ada.until(lambda: ada.names == {"Alan"})


async def test_limits_the_rooms_of_all_nodes(make):
    cluster = make(max_rooms=2)
    await cluster.add(2)
    first = await cluster.person("x", "a").join(cluster.nodes[0])
    await cluster.person("x", "b").join(cluster.nodes[1])
    await cluster.person("x", "b").join(cluster.nodes[0])
    with pytest.raises(BadMessage) as caught:
        await cluster.person("x", "c").join(cluster.nodes[1])
    assert caught.value.code == "no-more-rooms"
    await first.leave()
    await cluster.person("x", "c").join(cluster.nodes[1])


async def test_one_owner_opens_only_its_share_of_rooms_on_all_nodes(make):
    cluster = make(max_rooms_per_owner=2)
    await cluster.add(2)
    first = await cluster.person("Ada", "a").join(cluster.nodes[0], owner="2001:db8::/64")
    await cluster.person("Ada", "b").join(cluster.nodes[1], owner="2001:db8::/64")
    with pytest.raises(BadMessage, match="as many rooms"):
        await cluster.person("Ada", "c").join(cluster.nodes[1], owner="2001:db8::/64")
    await cluster.person("Bob", "d").join(cluster.nodes[1], owner="192.0.2.1")
    await cluster.person("Ada", "d").join(cluster.nodes[0], owner="2001:db8::/64")
    await first.leave()
    await cluster.person("Ada", "c").join(cluster.nodes[1], owner="2001:db8::/64")


@pytest.mark.parametrize("bound", ["kept_messages", "kept_bytes", "kept_bytes_of_room"])
async def test_keeps_the_newest_messages_within_bounds_and_says_that_some_were_dropped(make, bound):
    cluster = make(**{bound: 3 if bound == "kept_messages" else 700})
    await cluster.add(2)
    ada, grace = await two(cluster)
    await grace.go_away()
    for number in range(12):
        await ada.say(grace, f"{number} {'x' * 60}")
    await grace.join(cluster.nodes[0])
    assert grace.resumption.resumed
    assert grace.resumption.missed
    texts = [text.split()[0] for text in grace.said]
    assert texts == [str(number) for number in range(12 - len(texts), 12)]
    assert 0 < len(texts) <= 4


async def test_messages_for_one_member_do_not_displace_those_of_another(make):
    cluster = make(kept_messages=3)
    await cluster.add(2)
    ada, grace = await two(cluster)
    alan = await cluster.person("Alan").join(cluster.nodes[0])
    await ada.until(lambda: ada.names == {"Grace", "Alan"})
    await alan.go_away()
    await grace.go_away()
    await ada.say(alan, "for Alan")
    for number in range(10):
        await ada.say(grace, str(number))
    await alan.join(cluster.nodes[1])
    assert (alan.said, alan.resumption.missed) == (["for Alan"], False)
    await grace.join(cluster.nodes[1])
    assert (grace.said, grace.resumption.missed) == (["7", "8", "9"], True)


async def test_says_that_notices_were_dropped_and_the_welcome_makes_up_for_them(make):
    cluster = make(kept_notices=3, capacity=100)
    await cluster.add(2)
    ada, grace = await two(cluster)
    await grace.go_away()
    for number in range(5):
        passing = await cluster.person(f"p{number}").join(cluster.nodes[number % 2])
        if number != 2:
            await passing.leave()
    await grace.join(cluster.nodes[0])
    assert grace.resumption.missed
    assert grace.names == {"Ada", "p2"}
    assert ada.names >= {"Grace"}


@pytest.mark.parametrize("room", ["", "a b", "a:b", "x" * 65])
async def test_refuses_a_malformed_room_name(cluster, room):
    with pytest.raises(BadMessage) as caught:
        await cluster.person("Ada", room).join(cluster.nodes[0])
    assert caught.value.code == "bad-room"


async def test_a_node_that_closes_leaves_the_places_of_its_members(cluster):
    ada, grace = await two(cluster)
    await cluster.nodes.pop().close()
    await ada.say(grace, "while away")
    await grace.join(cluster.nodes[0])
    assert grace.resumption.resumed
    assert grace.said == ["while away"]
    assert ada.names == {"Grace"}


async def test_counts_what_it_does(cluster):
    ada, grace = await two(cluster)
    await grace.go_away()
    await ada.say(grace, "hello")
    await grace.join(cluster.nodes[1])
    relayed = sum(stats.relayed for stats in {id(n.stats): n.stats for n in cluster.nodes}.values())
    assert (relayed, cluster.nodes[1].stats.resumed, cluster.nodes[1].stats.replayed) == (1, 1, 1)
