"""The proof of a code: what each side says in which order, and what ends it."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from datachan.transfer.actions import Action, Ended, Outcome, Proven, Send
from datachan.transfer.messages import EndCode
from datachan.transfer.pake import Role
from datachan.transfer.proof import Proof

CODE = "7-marble-kitten"
FINGERPRINTS = bytes(range(64))


def proof(role: Role, code: str = CODE, fingerprints: bytes = FINGERPRINTS, **options: Any) -> Proof:
    return Proof(role, fingerprints, code, os.urandom, **options)


def said(actions: list[Action]) -> list[str]:
    return [str(action.message) for action in actions if isinstance(action, Send)]


def result(actions: list[Action]) -> Proven | Ended | None:
    return next((action for action in actions if isinstance(action, Proven | Ended)), None)


def meet(sender: Proof, receiver: Proof) -> tuple[Proven | Ended | None, Proven | Ended | None]:
    """Pass messages on until neither side says more; return how both ended."""
    results: dict[Role, Proven | Ended | None] = {Role.SENDER: result(sender.start()), Role.RECEIVER: None}
    waiting = [(Role.SENDER, text) for text in said(receiver.start())]
    while waiting:
        role, text = waiting.pop(0)
        to, other = (sender, Role.RECEIVER) if role is Role.SENDER else (receiver, Role.SENDER)
        actions = to.receive_message(text)
        results[role] = results[role] or result(actions)
        waiting += [(other, answer) for answer in said(actions)]
    return results[Role.SENDER], results[Role.RECEIVER]


def test_both_sides_prove_the_code_and_agree_on_keys_and_words() -> None:
    sender, receiver = proof(Role.SENDER, verify=True), proof(Role.RECEIVER)
    found = meet(sender, receiver)
    assert all(isinstance(each, Proven) for each in found)
    assert isinstance(found[0], Proven)
    assert isinstance(found[1], Proven)
    assert found[0].keys.session == found[1].keys.session
    assert found[0].words == found[1].words
    assert (found[0].verify, found[1].verify) == (False, True)
    assert not sender.guessed
    assert not receiver.exposed


@pytest.mark.parametrize("difference", [{"code": "7-marble-kitty"}, {"fingerprints": bytes(64)}])
def test_a_wrong_code_or_a_party_in_between_ends_both_sides_and_counts_as_the_guess(difference: dict[str, Any]) -> None:
    sender, receiver = proof(Role.SENDER), proof(Role.RECEIVER, **difference)
    found = meet(sender, receiver)
    assert [each.code for each in found if isinstance(each, Ended)] == [EndCode.WRONG_CODE] * 2
    assert sender.guessed
    assert receiver.guessed


def test_a_receiver_comes_back_with_its_session_also_when_the_code_is_burnt() -> None:
    found = meet(proof(Role.SENDER), proof(Role.RECEIVER))
    assert isinstance(found[0], Proven)
    keys = found[0].keys
    session, secret = keys.session, keys.reconnect_secret
    sender = proof(Role.SENDER, secret_of={session: secret}.get)
    sender.forbid_code()
    again = meet(sender, proof(Role.RECEIVER, "", session=(session, secret)))
    assert all(isinstance(each, Proven) for each in again)
    assert sender.session == session


def test_a_burnt_code_and_an_unknown_session_are_told() -> None:
    burnt = proof(Role.SENDER)
    burnt.forbid_code()
    unknown = proof(Role.RECEIVER, "", session=("00" * 16, "11" * 32))
    for pair, code in (
        ((burnt, proof(Role.RECEIVER)), EndCode.WRONG_CODE),
        ((proof(Role.SENDER), unknown), EndCode.UNKNOWN_SESSION),
    ):
        assert [each.code for each in meet(*pair) if isinstance(each, Ended)] == [code] * 2


def test_a_wrong_session_is_no_guess_of_the_code() -> None:
    session = "00" * 16
    sender = proof(Role.SENDER, secret_of={session: "11" * 32}.get)
    found = meet(sender, proof(Role.RECEIVER, "", session=(session, "22" * 32)))
    assert [each.code for each in found if isinstance(each, Ended)] == [EndCode.PROTOCOL] * 2
    assert not sender.guessed


@pytest.mark.parametrize(
    "message",
    [
        b"data",
        "nonsense",
        '{"type":"offer","version":1,"id":"x","count":1,"size":1,"hashes":["sha256"],"piece":65536}',
        '{"type":"accept","id":"x","hash":"sha256","credit":1}',
        json.dumps({"type": "confirm", "mac": "00" * 32}),
        json.dumps({"type": "pake", "version": 1, "share": "41" + "00" * 32}),
        json.dumps({"type": "pake", "version": 1, "share": "42" + "ff" * 32}),
        json.dumps({"type": "pake", "version": 2, "share": "42" + "01" * 32}),
    ],
)
@pytest.mark.parametrize("role", list(Role))
def test_nothing_else_comes_before_the_proof(role: Role, message: str | bytes) -> None:
    side = proof(role)
    side.start()
    ended = result(side.receive_message(message))
    assert isinstance(ended, Ended)
    assert (ended.outcome, ended.code) == (Outcome.ENDED_HERE, EndCode.PROTOCOL)
    assert side.receive_message(message) == side.channel_closed() == side.end(EndCode.FAILED, "late") == []
    assert not side.guessed


def test_a_share_for_a_receiver_that_has_not_started_ends_it() -> None:
    share = said(proof(Role.RECEIVER).start())[0].replace('"42', '"41')
    assert isinstance(result(proof(Role.RECEIVER).receive_message(share)), Ended)


def test_messages_of_later_versions_are_ignored() -> None:
    assert proof(Role.SENDER).receive_message('{"type":"something new"}') == []


def test_a_sender_that_leaves_without_a_proof_has_seen_the_receivers() -> None:
    sender, receiver = proof(Role.SENDER), proof(Role.RECEIVER)
    share = said(sender.receive_message(said(receiver.start())[0]))[0]
    assert not receiver.exposed
    receiver.receive_message(share)
    assert receiver.exposed
    ended = result(receiver.channel_closed())
    assert isinstance(ended, Ended)
    assert ended.outcome is Outcome.BROKEN


def test_the_reason_of_the_peer_is_told() -> None:
    ended = result(proof(Role.RECEIVER).receive_message('{"type":"end","code":"busy","reason":"later"}'))
    assert ended == Ended(Outcome.ENDED_BY_PEER, EndCode.BUSY, "later")
