"""The key exchange, against the vectors that the page's implementation runs, too."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from datachan.transfer.pake import BadShare, KeyExchange, Role

VECTORS = json.loads((Path(__file__).parents[1] / "data/transfer/pake.json").read_text())


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: vector["password"][:15])
def test_both_sides_compute_the_vectors(vector: dict[str, Any]) -> None:
    fingerprints = bytes.fromhex(vector["sender_fingerprint"] + vector["receiver_fingerprint"])
    exchanges = {
        role: KeyExchange(role, vector["password"], lambda n, name=role.value: bytes.fromhex(vector[f"{name}_random"]))
        for role in Role
    }
    for role, other in ((Role.SENDER, Role.RECEIVER), (Role.RECEIVER, Role.SENDER)):
        assert exchanges[role].share.hex() == vector[f"{role.value}_share"]
        keys = exchanges[role].finish_untrusted(bytes.fromhex(vector[f"{other.value}_share"]))
        assert keys.session == vector["session"]
        assert keys.reconnect_secret == vector["reconnect_secret"]
        assert keys.words(fingerprints) == vector["words"]
        for side in Role:
            assert keys.confirmation(side, fingerprints).hex() == vector[f"{side.value}_confirm"]
            assert keys.confirms(side, fingerprints, bytes.fromhex(vector[f"{side.value}_confirm"]))


def test_another_code_another_fingerprint_or_the_other_role_does_not_confirm() -> None:
    sender = KeyExchange(Role.SENDER, "7-marble-kitten", os.urandom)
    receiver = KeyExchange(Role.RECEIVER, "7-marble-kitty", os.urandom)
    keys, wrong = sender.finish_untrusted(receiver.share), receiver.finish_untrusted(sender.share)
    fingerprints = os.urandom(64)
    assert not keys.confirms(Role.RECEIVER, fingerprints, wrong.confirmation(Role.RECEIVER, fingerprints))
    assert not keys.confirms(Role.RECEIVER, fingerprints, keys.confirmation(Role.SENDER, fingerprints))
    assert not keys.confirms(Role.RECEIVER, fingerprints, keys.confirmation(Role.RECEIVER, os.urandom(64)))
    assert not keys.confirms(Role.RECEIVER, fingerprints, b"")


@pytest.mark.parametrize("bad", VECTORS["bad_points"], ids=lambda bad: bad["why"])
def test_a_point_outside_the_group_is_refused(bad: dict[str, str]) -> None:
    for role, letter in ((Role.SENDER, b"B"), (Role.RECEIVER, b"A")):
        with pytest.raises(BadShare):
            KeyExchange(role, "7-marble-kitten", os.urandom).finish_untrusted(letter + bytes.fromhex(bad["point"]))


def test_a_share_of_the_same_side_or_of_another_length_is_refused() -> None:
    for role in Role:
        own = KeyExchange(role, "7-marble-kitten", os.urandom).share
        for share in (own, own[:-1], own + b"\0", b"", b"S" + own[1:]):
            with pytest.raises(BadShare):
                KeyExchange(role, "7-marble-kitten", os.urandom).finish_untrusted(share)


def test_a_reflected_share_is_refused() -> None:
    exchange = KeyExchange(Role.SENDER, "7-marble-kitten", os.urandom)
    with pytest.raises(BadShare):
        exchange.finish_untrusted(b"B" + exchange.share[1:])
