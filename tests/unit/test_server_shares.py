"""Test that the shares of addresses and users are counted, forgotten, and found without a walk over all sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from datachan import RTCCertificate, RTCConfiguration
from datachan.server import ChannelServerOptions, SignalingRequest
from datachan.server.session import Session
from datachan.server.shares import Shares

CONFIGURATION = RTCConfiguration(certificates=[RTCCertificate.generateCertificate()])
REQUEST = SignalingRequest("POST", "/rtc", None, {}, {}, "192.0.2.7", "example.org")


@pytest.fixture
async def sessions() -> AsyncIterator[list[Session]]:
    made: list[Session] = []
    yield made
    for session in made:
        await session.pc.close()


def make(sessions: list[Session], key: str, user: object) -> Session:
    session = Session(REQUEST, user, CONFIGURATION, ChannelServerOptions(), key)
    sessions.append(session)
    return session


@pytest.mark.parametrize("user", ["ada", {"name": "ada"}, ("ada", ["lists cannot be hashed"])])
async def test_counts_users_that_are_equal_together(sessions: list[Session], user: object) -> None:
    shares = Shares()
    first, second = make(sessions, "a", user), make(sessions, "b", type(user)(user))  # type: ignore[call-arg]
    shares.add(first)
    shares.add(second)
    assert shares.of_user(user) == 2
    assert shares.of_user("grace") == shares.of_user({"name": "grace"}) == 0
    shares.remove(first)
    shares.remove(second)
    assert shares.of_user(user) == shares.of_address("a") == 0


async def test_the_oldest_that_connects_gives_way_once(sessions: list[Session]) -> None:
    shares = Shares()
    first, second, other = make(sessions, "a", None), make(sessions, "a", None), make(sessions, "", None)
    for session in (first, second, other):
        shares.add(session)
    assert shares.connecting("a") == 2
    assert shares.oldest_connecting("a") is first
    shares.settle(first)
    assert shares.oldest_connecting("a") is second
    shares.settle(second)
    assert shares.oldest_connecting("a") is None
    assert shares.of_address("a") == 2  # those that are established or ending still count
    assert shares.of_address("") == shares.connecting("") == 0  # this machine has no share


class User:
    """A user that counts how often it is compared."""

    compared = 0

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        User.compared += 1
        return isinstance(other, User) and other.number == self.number

    def __hash__(self) -> int:
        return hash(self.number)


async def test_compares_a_user_with_few_others(sessions: list[Session]) -> None:
    shares = Shares()
    for number in range(200):
        shares.add(make(sessions, f"address {number}", User(number)))
    User.compared = 0
    assert shares.of_user(User(7)) == 1
    assert shares.of_user(User(1000)) == 0
    assert User.compared <= 4
