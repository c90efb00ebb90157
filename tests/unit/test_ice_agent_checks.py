"""Checks as messages: what a request carries, which responses count, how requests of the peer are answered."""

from __future__ import annotations

import random

import pytest

from datachan.ice_agent import Base, CandidatePair, Credentials, RemoteParameters, make_candidate, stun
from datachan.ice_agent.checks import Checks, Outcome
from datachan.ice_agent.embedding import Embedding

OURS, THEIRS = Credentials("ours", "o" * 22), Credentials("theirs", "t" * 22)
PEER = ("198.51.100.2", 5000)


def make_checks(*, controlling: bool = True, lite: bool = False) -> Checks:
    embedding = Embedding(enabled=False)
    checks = Checks(OURS, controlling=controlling, lite=lite, entropy=random.Random(1).randbytes, embedding=embedding)
    checks.remote = RemoteParameters(credentials=THEIRS)
    return checks


def make_pair() -> CandidatePair:
    local = make_candidate("host", ("198.51.100.1", 4000), Base("198.51.100.1", 4000))
    remote = make_candidate("host", PEER, Base(*PEER)).candidate
    return CandidatePair(local, remote, PEER)


def request(password: str = OURS.password, /, **changes: bytes | None) -> stun.Message:
    attributes = {
        "USERNAME": b"ours:theirs",
        "PRIORITY": (1000).to_bytes(4, "big"),
        "ICE_CONTROLLED": bytes(8),
        **changes,
    }
    kept = {getattr(stun, name): value for name, value in attributes.items() if value is not None}
    data = stun.serialize(stun.Message(stun.BINDING, bytes(12), kept), password.encode())
    return stun.parse_untrusted(data)


def answer_to(data: bytes, *, code: int | None = None, password: str = THEIRS.password) -> stun.Message:
    asked = stun.parse_untrusted(data)
    attributes = {stun.XOR_MAPPED_ADDRESS: stun.xor_address(("203.0.113.1", 7), asked.transaction_id)}
    kind = stun.BINDING + stun.SUCCESS
    if code is not None:
        attributes, kind = {stun.ERROR_CODE: stun.error_code(code, "No")}, stun.BINDING + stun.ERROR
    return stun.parse_untrusted(stun.serialize(stun.Message(kind, asked.transaction_id, attributes), password.encode()))


def test_a_request_names_both_sides_and_is_signed_with_the_peers_password() -> None:
    message = stun.parse_untrusted(make_checks().request(make_pair(), 0.0, nominate=False, nomination=0))
    assert message.attributes[stun.USERNAME] == b"theirs:ours"
    assert message.is_signed_with(THEIRS.password.encode())
    assert stun.ICE_CONTROLLING in message.attributes
    assert stun.USE_CANDIDATE not in message.attributes
    assert message.number(stun.PRIORITY) == (110 << 24) + (65535 << 8) + 255


def test_only_the_controlling_side_nominates() -> None:
    nominating = make_checks().request(make_pair(), 0.0, nominate=True, nomination=3)
    assert stun.parse_untrusted(nominating).number(stun.NOMINATION) == 3
    controlled = make_checks(controlling=False).request(make_pair(), 0.0, nominate=True, nomination=3)
    message = stun.parse_untrusted(controlled)
    assert not {stun.USE_CANDIDATE, stun.NOMINATION} & message.attributes.keys()
    assert stun.ICE_CONTROLLED in message.attributes


def test_an_answer_counts_once_however_late_it_comes() -> None:
    checks, pair = make_checks(), make_pair()
    answer = answer_to(checks.request(pair, 5.0, nominate=True, nomination=0))
    result = checks.result(answer, pair.base, PEER)
    assert result is not None
    assert (result.pair, result.outcome, result.sent_at, result.nominated) == (pair, Outcome.SUCCESS, 5.0, True)
    assert result.mapped == ("203.0.113.1", 7)
    assert checks.result(answer, pair.base, PEER) is None


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(487, Outcome.ROLE_CONFLICT), (403, Outcome.FORBIDDEN), (400, Outcome.REFUSED), (500, Outcome.REFUSED)],
)
def test_errors_mean_what_their_code_says(code: int, outcome: Outcome) -> None:
    checks, pair = make_checks(), make_pair()
    answer = answer_to(checks.request(pair, 0.0, nominate=False, nomination=0), code=code)
    result = checks.result(answer, pair.base, PEER)
    assert result is not None
    assert result.outcome is outcome


def test_answers_with_another_password_or_from_elsewhere_are_ignored() -> None:
    checks, pair = make_checks(), make_pair()
    data = checks.request(pair, 0.0, nominate=False, nomination=0)
    assert checks.result(answer_to(data, password="x" * 22), pair.base, PEER) is None
    assert checks.result(answer_to(data), pair.base, ("198.51.100.3", 5000)) is None
    assert checks.result(answer_to(data), Base("198.51.100.1", 4000), PEER) is None
    assert checks.result(answer_to(data), pair.base, PEER) is not None


def test_the_number_of_checks_whose_answers_are_awaited_is_bounded() -> None:
    checks, pair = make_checks(), make_pair()
    sent = [checks.request(pair, 0.0, nominate=False, nomination=0) for _ in range(1025)]
    assert checks.result(answer_to(sent[0]), pair.base, PEER) is None
    assert checks.result(answer_to(sent[1]), pair.base, PEER) is not None


def test_a_check_is_answered_with_the_address_it_came_from() -> None:
    data, check = make_checks().answer(request(), PEER, 0.0)
    message = stun.parse_untrusted(data)
    assert message.address(stun.XOR_MAPPED_ADDRESS) == PEER
    assert message.is_signed_with(OURS.password.encode())
    assert check is not None
    assert (check.priority, check.nominates, check.role_switched) == (1000, False, False)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (request(USERNAME=None), 400),
        (request(USERNAME=b"other:theirs"), 401),
        (request("x" * 22), 401),
        (request(PRIORITY=None), 400),
        (request(PRIORITY=b""), 400),
    ],
)
def test_requests_that_are_no_checks_for_us_are_refused(asked: stun.Message, code: int) -> None:
    data, check = make_checks().answer(asked, PEER, 0.0)
    assert check is None
    assert stun.parse_untrusted(data).error_code == code


def test_an_unknown_attribute_that_must_be_understood_is_named_in_a_420() -> None:
    asked = request()
    asked.attributes[0x7ABC] = b""
    data, check = make_checks().answer(asked, PEER, 0.0)
    message = stun.parse_untrusted(data)
    assert check is None
    assert (message.error_code, message.attributes[stun.UNKNOWN_ATTRIBUTES]) == (420, b"\x7a\xbc")


@pytest.mark.parametrize("controlling", [True, False])
def test_of_two_with_one_role_the_larger_tie_breaker_is_controlling(controlling: bool) -> None:
    name = "ICE_CONTROLLING" if controlling else "ICE_CONTROLLED"
    smaller, larger = (request(**{"ICE_CONTROLLED": None, name: value * 8}) for value in (b"\0", b"\xff"))
    keeps, switches = (smaller, larger) if controlling else (larger, smaller)
    checks = make_checks(controlling=controlling)
    data, check = checks.answer(keeps, PEER, 0.0)
    assert (stun.parse_untrusted(data).error_code, check, checks.controlling) == (487, None, controlling)
    _, check = checks.answer(switches, PEER, 0.0)
    assert check is not None
    assert check.role_switched
    assert checks.controlling is not controlling


def test_a_role_conflict_switches_the_role_once_and_takes_another_tie_breaker() -> None:
    checks, pair = make_checks(), make_pair()
    before = stun.parse_untrusted(checks.request(pair, 0.0, nominate=False, nomination=0))
    assert checks.switch_role(was_controlling=True)
    assert not checks.switch_role(was_controlling=True)
    after = stun.parse_untrusted(checks.request(pair, 0.0, nominate=False, nomination=0))
    assert before.number(stun.ICE_CONTROLLING) != after.number(stun.ICE_CONTROLLED) is not None


def test_a_lite_agent_never_controls() -> None:
    checks = make_checks(controlling=False, lite=True)
    _, check = checks.answer(request(ICE_CONTROLLED=bytes(8)), PEER, 0.0)
    assert check is None
    assert not checks.controlling
