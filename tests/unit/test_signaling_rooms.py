"""Rooms, limits and origins: pure modules, tested without sockets or waiting."""

from __future__ import annotations

import itertools

import pytest

from datachan.signaling.limits import KeyedLimiter
from datachan.signaling.origins import host_is_allowed, normalize_origin, origin_is_allowed
from datachan.signaling.room_messages import BadMessage, Bye, Offer, PeerInfo, PeerJoined, PeerLeft, Welcome
from datachan.signaling.rooms import Rooms
from datachan.signaling.server_options import ServerOptions


@pytest.fixture
def rooms():
    counter = itertools.count(1)
    return Rooms(lambda: f"id{next(counter)}", max_rooms=2, capacity=3)


def test_a_newcomer_learns_of_the_members_and_they_of_the_newcomer(rooms):
    ada, grace = [], []
    rooms.join("kitchen", "Ada", ada.append)
    rooms.join("kitchen", "Grace", grace.append)
    assert ada == [Welcome("id1", "kitchen", 3), PeerJoined(PeerInfo("id2", "Grace"))]
    assert grace == [Welcome("id2", "kitchen", 3, (PeerInfo("id1", "Ada"),))]


def test_the_remaining_members_learn_once_that_a_member_left(rooms):
    ada, grace = [], []
    first = rooms.join("kitchen", "Ada", ada.append)
    rooms.join("kitchen", "Grace", grace.append)
    rooms.leave(first)
    rooms.leave(first)
    assert grace[1:] == [PeerLeft("id1")]
    assert ada[-1] == PeerJoined(PeerInfo("id2", "Grace"))


def test_a_room_ends_with_its_last_member(rooms):
    member = rooms.join("kitchen", "Ada", lambda message: None)
    assert (rooms.room_count, rooms.member_count) == (1, 1)
    rooms.leave(member)
    assert (rooms.room_count, rooms.member_count) == (0, 0)


def test_a_relayed_message_names_its_sender(rooms):
    ada, grace = [], []
    first = rooms.join("kitchen", "Ada", ada.append)
    second = rooms.join("kitchen", "Grace", grace.append)
    rooms.relay(second, Offer(first.info.id, "s", "v=0"))
    assert ada[-1] == Offer(second.info.id, "s", "v=0")
    assert len(grace) == 1


@pytest.mark.parametrize("target", ["id1", "id3", "nobody"])
def test_relays_neither_outside_the_room_nor_to_the_sender(rooms, target):
    heard = []
    sender = rooms.join("kitchen", "Ada", lambda message: None)
    rooms.join("kitchen", "Grace", heard.append)
    rooms.join("cellar", "Eve", heard.append)
    before = list(heard)
    with pytest.raises(BadMessage) as caught:
        rooms.relay(sender, Bye(target, "s"))
    assert caught.value.code == "no-such-peer"
    assert heard == before


def test_relays_nothing_for_a_member_that_left(rooms):
    heard = []
    sender = rooms.join("kitchen", "Ada", lambda message: None)
    rooms.join("kitchen", "Grace", heard.append)
    rooms.leave(sender)
    with pytest.raises(BadMessage):
        rooms.relay(sender, Bye("id2", "s"))
    assert heard[-1] == PeerLeft("id1")


def test_a_full_room_refuses_newcomers_until_a_member_leaves(rooms):
    members = [rooms.join("kitchen", "x", lambda message: None) for _ in range(3)]
    with pytest.raises(BadMessage) as caught:
        rooms.join("kitchen", "x", lambda message: None)
    assert caught.value.code == "room-full"
    rooms.leave(members[0])
    rooms.join("kitchen", "x", lambda message: None)


def test_limits_the_number_of_rooms(rooms):
    rooms.join("a", "x", lambda message: None)
    rooms.join("b", "x", lambda message: None)
    rooms.join("b", "x", lambda message: None)
    with pytest.raises(BadMessage) as caught:
        rooms.join("c", "x", lambda message: None)
    assert caught.value.code == "no-more-rooms"


def test_each_key_has_its_own_bucket_and_old_keys_are_dropped():
    limiter = KeyedLimiter(0.001, 1, max_keys=2)
    assert [limiter.take("a", 0.0), limiter.take("a", 0.0), limiter.take("b", 0.0)] == [True, False, True]
    limiter.take("a", 0.0)
    limiter.take("c", 0.0)
    assert len(limiter) == 2
    assert limiter.take("a", 0.0) is False


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "127.0.0.1:8080", True),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", True),
        ("https://example.org", "example.org", True),
        ("HTTPS://Example.ORG", "example.org", True),
        ("https://friend.example", "127.0.0.1:8080", True),
        ("http://127.0.0.1:8081", "127.0.0.1:8080", False),
        ("http://localhost:8080", "127.0.0.1:8080", False),
        ("https://evil.example", "127.0.0.1:8080", False),
        ("null", "127.0.0.1:8080", False),
        ("", "", False),
        ("http://[", "127.0.0.1:8080", False),
    ],
)
def test_allows_only_its_own_page_and_listed_origins(origin, host, allowed):
    options = ServerOptions(allowed_origins=frozenset({"https://friend.example"}))
    assert origin_is_allowed(origin, host, options) is allowed


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:8080", True),
        ("localhost", True),
        ("[::1]:8080", True),
        ("127.0.0.5:8080", True),
        ("LOCALHOST:80", True),
        ("127.0.0.1.evil.example", False),
        ("chan.example", True),
        ("rebound.example:8080", False),
        ("", False),
        ("[", False),
    ],
)
def test_a_loopback_server_answers_only_under_loopback_names(host, allowed):
    options = ServerOptions(loopback_only=True, allowed_origins=frozenset({"https://chan.example"}))
    assert host_is_allowed(host, options) is allowed
    assert host_is_allowed(host, ServerOptions()) is True


@pytest.mark.parametrize("text", ["example.org", "ftp://example.org", "https://", "https://example.org/path", ""])
def test_rejects_a_malformed_origin(text):
    with pytest.raises(ValueError, match="origin"):
        normalize_origin(text)
    assert normalize_origin("HTTPS://Example.org:444/") == "https://example.org:444"
