"""The TURN client, step by step with a server that answers as the test wishes (RFC 8656)."""

from __future__ import annotations

import random
from typing import Any

import pytest

from datachan.ice_agent import stun
from datachan.ice_agent import turn_messages as turn
from datachan.ice_agent.errors import BadPacket
from datachan.ice_agent.turn import MAX_PEERS, MAX_PENDING, MAX_REALLOCATIONS, MAX_UNSENT
from datachan.ice_agent.turn_events import (
    Allocated,
    AllocationLost,
    DataReceived,
    PeerRefused,
    Redirected,
    TurnClosed,
    TurnFailed,
)
from tests.unit.turn_server import MAPPED, RELAYED, Session, TurnServer

PEER, OTHER = ("198.51.100.7", 4000), ("198.51.100.7", 4001)
CHECK, DATA = b"\x00check", b"\x17data"


def allocated(server: TurnServer | None = None, **options: Any) -> Session:
    session = Session(server, **options)
    assert session.start() == [Allocated(session.server.relayed, MAPPED)]
    return session


def test_allocates_with_the_realm_and_nonce_of_the_challenge() -> None:
    session = allocated()
    assert session.client.relayed_address == RELAYED
    assert session.messages == 2


def test_an_allocation_has_an_ipv6_address_as_well_if_the_server_gives_one() -> None:
    server = TurnServer()
    server.additional = ("2001:db8::7", 50_001)
    session = Session(server)
    assert session.start() == [Allocated(RELAYED, MAPPED, server.additional)]
    session.client.permit("2001:db8::9", session.now)
    session.exchange()
    assert server.permitted == ["2001:db8::9"]


@pytest.mark.parametrize("nothing", [("0.0.0.0", 0), ("192.0.2.201", 50_001)])
def test_a_second_address_that_is_not_of_the_other_family_is_ignored(nothing: tuple[str, int]) -> None:
    server = TurnServer()
    server.additional = nothing
    assert Session(server).start() == [Allocated(RELAYED, MAPPED)]


def test_an_ipv6_peer_has_no_permission_without_an_ipv6_address() -> None:
    session = allocated()
    session.client.permit("2001:db8::9", session.now)
    session.exchange()
    assert session.server.permitted == []


def test_wrong_credentials_fail_with_their_code_after_one_attempt() -> None:
    session = Session(password="wrong")
    assert session.start() == [TurnFailed(401, "Unauthorized")]
    assert session.messages == 2
    assert session.client.next_timeout() is None


@pytest.mark.parametrize("code", [403, 437, 440, 486, 508, 500])
def test_a_refusal_ends_with_its_code(code: int) -> None:
    session = Session()
    session.server.errors[turn.ALLOCATE] = [(code, "no")] * 2
    assert session.start() == [TurnFailed(code, "no")]


@pytest.mark.parametrize("code", [400, 420, 440, 500, 508])
def test_a_server_that_refuses_both_families_is_asked_for_ipv4_alone(code: int) -> None:
    session = Session()
    session.server.additional = ("2001:db8::7", 50_001)
    session.server.errors[turn.ALLOCATE] = [(code, "not both")]
    assert session.start() == [Allocated(RELAYED, MAPPED)]
    assert session.server.asked == [turn.ALLOCATE] * 2


def test_a_server_that_refuses_ipv6_alone_is_not_asked_again() -> None:
    session = Session(family=turn.IPV6)
    session.server.errors[turn.ALLOCATE] = [(440, "no")]
    assert session.start() == [TurnFailed(440, "no")]


def test_a_silent_server_is_asked_seven_times_within_forty_seconds() -> None:
    session = Session()
    session.server.receive = lambda message: None  # type: ignore[method-assign]
    session.start()
    assert session.advance(39.4) == []
    assert session.advance(0.2) == [TurnFailed(turn.UNREACHABLE, "the server does not answer")]
    assert session.messages == 7


def test_a_request_over_a_stream_is_not_repeated() -> None:
    session = Session(reliable=True)
    session.server.receive = lambda message: None  # type: ignore[method-assign]
    session.start()
    assert session.advance(40) == [TurnFailed(turn.UNREACHABLE, "the server does not answer")]
    assert session.messages == 1


def test_a_lost_request_is_repeated_after_twice_the_round_trip_once_that_is_known() -> None:
    session = allocated()
    session.client.permit(PEER[0], session.now)
    session.exchange(lambda message: None)
    assert session.client.next_timeout() == pytest.approx(0.1)


def test_a_stale_nonce_is_replaced_and_the_request_repeated_at_once() -> None:
    session = allocated()
    session.server.nonce = b"two"
    session.client.permit(PEER[0], session.now)
    session.exchange()
    assert session.server.permitted == [PEER[0]]


def test_a_server_that_always_calls_the_nonce_stale_is_given_up() -> None:
    session = Session()
    fresh = iter(range(100))

    def always_stale(message: bytes) -> bytes | None:
        session.server.nonce = str(next(fresh)).encode()
        return session.server.receive(message)

    session.client.start(0)
    [failure] = session.exchange(always_stale)
    assert isinstance(failure, TurnFailed)
    assert failure.code == 438
    assert session.messages < 8


def test_asks_for_an_ipv6_address_by_its_family_and_takes_only_peers_of_it() -> None:
    server = TurnServer()
    server.relayed = ("2001:db8::200", 50_000)
    requests: list[stun.Message] = []
    receive = server.receive

    def record(message: bytes) -> bytes | None:
        requests.append(stun.parse_untrusted(message))
        return receive(message)

    server.receive = record  # type: ignore[method-assign]
    session = allocated(server, family=turn.IPV6)
    assert requests[0].attributes[turn.REQUESTED_ADDRESS_FAMILY] == b"\2\0\0\0"
    for host in ("192.0.2.1", "2001:db8::1", "ff02::1", "nonsense"):
        session.client.permit(host, session.now)
    session.exchange()
    assert server.permitted == ["2001:db8::1"]


# permissions, and data


def test_permissions_named_before_the_allocation_are_requested_with_it() -> None:
    session = Session()
    session.client.permit(PEER[0], 0)
    session.start()
    assert session.server.permitted == [PEER[0]]


def test_a_check_needs_one_round_trip_for_the_permission_and_no_channel() -> None:
    session = allocated()
    session.client.send([CHECK], PEER, session.now)
    session.exchange()
    assert session.server.asked == [turn.ALLOCATE, turn.CREATE_PERMISSION]
    assert session.server.sent == [(PEER, CHECK, False)]


def test_data_binds_a_channel_and_does_not_wait_for_it() -> None:
    session = allocated()
    session.client.permit(PEER[0], session.now)
    session.exchange()
    session.client.send([DATA, DATA], PEER, session.now)
    session.client.send([DATA], OTHER, session.now)
    session.exchange()
    session.client.send([DATA], PEER, session.now)
    session.exchange()
    assert session.server.sent == [(PEER, DATA, False)] * 2 + [(OTHER, DATA, False), (PEER, DATA, True)]
    assert session.server.channels == {0x4000: PEER, 0x4001: OTHER}


def test_delivers_data_of_one_peer_together_from_channels_and_indications() -> None:
    session = allocated()
    session.client.send([DATA], PEER, session.now)
    session.exchange()
    channel = b"\x40\x00\x00\x03abc"
    by_indication = TurnServer.indication(OTHER, b"xyz")
    session.client.receive_datagrams([channel, channel + b"\0", by_indication, channel], session.now)
    assert session.client.events() == [
        DataReceived(PEER, [b"abc", b"abc"]),
        DataReceived(OTHER, [b"xyz"]),
        DataReceived(PEER, [b"abc"]),
    ]


@pytest.mark.parametrize(
    "junk",
    [
        b"\x40\x00\x00\x09short",
        b"\x40\x07\x00\x01x",
        b"\x40",
        b"",
        b"\xff" * 40,
        TurnServer.indication(("203.0.113.1", 9), b"from a stranger"),
        TurnServer.indication(PEER, b"")[:-3],
    ],
)
def test_drops_damaged_messages_and_data_of_peers_without_a_permission(junk: bytes) -> None:
    session = allocated()
    session.client.send([DATA], PEER, session.now)
    session.exchange()
    session.client.receive_datagrams([junk, b"\x40\x00\x00\x04good"], session.now)
    assert session.client.events() == [DataReceived(PEER, [b"good"])]


def test_arbitrary_bytes_of_the_server_never_raise(seed: int) -> None:
    chance = random.Random(seed)
    session = allocated()
    session.client.send([DATA], PEER, session.now)
    answers: list[bytes] = []
    receive = session.server.receive
    session.exchange(lambda message: answers.append(message) or receive(message))
    for _ in range(500):
        damaged = bytearray(chance.choice(answers))
        for _ in range(chance.randrange(1, 6)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        session.client.receive_datagrams([bytes(damaged[: chance.randrange(len(damaged) + 1)])], session.now)
        session.exchange()


def test_a_refused_peer_is_reported_and_its_data_discarded() -> None:
    session = allocated()
    session.server.errors[turn.CREATE_PERMISSION] = [(403, "Forbidden")]
    session.client.send([CHECK], PEER, session.now)
    assert session.exchange() == [PeerRefused(PEER[0], 403, "Forbidden")]
    session.client.send([CHECK], PEER, session.now)
    assert session.exchange() == []
    assert (session.client.discarded, session.server.sent) == (2, [])


def test_a_refused_channel_leaves_the_data_to_indications() -> None:
    session = allocated()
    session.server.errors[turn.CHANNEL_BIND] = [(403, "no channels")]
    session.client.send([DATA], PEER, session.now)
    session.exchange()
    session.client.send([DATA], PEER, session.now)
    session.exchange()
    assert session.server.sent == [(PEER, DATA, False)] * 2


# bounds


def test_a_limited_number_of_datagrams_waits_for_a_permission() -> None:
    session = allocated()
    session.client.send([CHECK] * (MAX_PENDING + 3), PEER, session.now)
    session.exchange()
    assert len(session.server.sent) == MAX_PENDING
    assert (session.client.discarded, session.client.discarded_bytes) == (3, 3 * len(CHECK))


def test_a_limited_number_of_addresses_gets_permissions() -> None:
    session = allocated()
    for number in range(2 * MAX_PEERS):
        session.client.permit(f"10.0.{number >> 8}.{number & 255}", session.now)
    session.exchange()
    assert len(session.server.permitted) == MAX_PEERS
    session.client.send([CHECK], ("192.0.2.99", 1), session.now)
    assert session.client.discarded == 1


def test_messages_that_the_connection_does_not_take_are_limited() -> None:
    session = allocated()
    session.client.send([DATA], PEER, session.now)
    session.exchange()
    for _ in range(2 * MAX_UNSENT):
        session.client.send([DATA], PEER, session.now)
    assert len(session.client.datagrams_to_send(session.now)) <= MAX_UNSENT + 2
    assert session.client.discarded >= MAX_UNSENT - 2


# time


def test_refreshes_allocation_permission_and_channel_before_they_expire() -> None:
    session = allocated()
    session.client.send([DATA], PEER, session.now)
    session.exchange()
    session.server.asked.clear()
    session.advance(1200)
    asked = session.server.asked
    # An allocation lasts 600 s, a permission 300 s, a channel 600 s.
    assert (asked.count(turn.REFRESH), asked.count(turn.CREATE_PERMISSION), asked.count(turn.CHANNEL_BIND)) == (2, 5, 5)


def test_a_lost_allocation_is_requested_again_with_its_permissions() -> None:
    session = allocated()
    session.client.send([DATA], PEER, session.now)
    session.exchange()
    session.server.errors[turn.REFRESH] = [(437, "Allocation Mismatch")]
    session.server.relayed = ("192.0.2.200", 50_001)
    session.server.permitted.clear()
    events = session.advance(541)
    assert events == [AllocationLost(437, "Allocation Mismatch"), Allocated(("192.0.2.200", 50_001), MAPPED)]
    assert session.server.permitted[-1] == PEER[0]
    session.client.send([DATA], PEER, session.now)
    session.exchange()
    assert session.server.sent[-1] == (PEER, DATA, False)  # with a channel to come


@pytest.mark.parametrize(("code", "reason"), [(400, "Bad Request"), (437, "Allocation Mismatch")])
def test_an_error_for_a_channel_makes_the_client_ask_whether_the_allocation_exists(code: int, reason: str) -> None:
    session = allocated()
    session.server.errors = {turn.CHANNEL_BIND: [(code, reason)], turn.REFRESH: [(437, "gone")]}
    session.client.send([DATA], PEER, session.now)
    assert session.exchange() == [AllocationLost(437, "gone"), Allocated(RELAYED, MAPPED)]


def test_an_allocation_that_is_lost_again_and_again_is_given_up() -> None:
    session = allocated()
    session.server.errors[turn.REFRESH] = [(437, "gone")] * 100
    events = session.advance(100_000)
    assert len([event for event in events if isinstance(event, AllocationLost)]) == MAX_REALLOCATIONS
    assert isinstance(events[-1], TurnFailed)


def test_a_redirection_ends_with_the_address_of_the_other_server() -> None:
    session = Session()
    session.server.errors[turn.ALLOCATE] = [(300, "Try Alternate")]
    session.server.alternate = ("203.0.113.50", 3479)
    assert session.start() == [Redirected(("203.0.113.50", 3479))]


def test_a_redirection_to_nowhere_is_a_failure() -> None:
    session = Session()
    session.server.errors[turn.ALLOCATE] = [(300, "Try Alternate")]
    assert session.start() == [TurnFailed(300, "Try Alternate")]


# the end


def test_close_releases_the_allocation_and_repeats_nothing_else() -> None:
    session = allocated()
    session.client.send([DATA], PEER, session.now)
    session.exchange()
    session.client.close(session.now)
    assert session.exchange() == [TurnClosed()]
    assert session.server.asked[-1] == turn.REFRESH
    assert session.client.next_timeout() is None
    session.client.send([DATA], PEER, session.now)
    assert session.client.datagrams_to_send(session.now) == []


def test_close_before_the_allocation_ends_at_once() -> None:
    session = Session()
    session.client.start(0)
    session.client.close(0)
    assert session.client.events() == [TurnClosed()]


def test_a_lost_connection_is_a_failure_with_its_reason() -> None:
    session = allocated()
    session.client.connection_failed("reset")
    assert session.client.events() == [TurnFailed(turn.UNREACHABLE, "reset")]


@pytest.mark.parametrize("key", [b"another key of 16", None])
def test_answers_that_are_not_signed_with_our_key_are_ignored(key: bytes | None) -> None:
    session = allocated()
    session.client.permit(PEER[0], session.now)
    [message] = session.client.datagrams_to_send(session.now)
    forged = stun.parse_untrusted(message)
    answer = stun.Message(forged.method + stun.ERROR, forged.transaction_id)
    answer.attributes[stun.ERROR_CODE] = stun.error_code(403, "Forbidden")
    session.client.receive_datagrams([stun.serialize(answer, key)], session.now)
    assert session.client.events() == []


# streams


def test_a_stream_is_cut_into_messages_wherever_it_is_torn() -> None:
    check = stun.serialize(stun.Message(1, b"t" * 12))
    stream = check + turn.padded(b"\x40\x00\x00\x05hello") + turn.padded(b"\x40\x01\x00\x00") + check
    for size in range(1, len(stream)):
        splitter = turn.MessageSplitter()
        found: list[bytes] = []
        for start in range(0, len(stream), size):
            found += splitter.feed_untrusted(stream[start : start + size])
        assert found == [check, b"\x40\x00\x00\x05hello", b"\x40\x01\x00\x00", check]


def test_a_stream_of_something_else_is_refused() -> None:
    with pytest.raises(BadPacket, match="neither STUN nor channel data"):
        turn.MessageSplitter().feed_untrusted(b"SSH-2.0-OpenSSH")
