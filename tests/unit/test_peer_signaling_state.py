"""`datachan.peer.signaling_state`: the table of signaling states, and the four descriptions."""

from __future__ import annotations

import itertools

import pytest

from datachan.peer.errors import InvalidStateError
from datachan.peer.rtc_session_description import AppliedDescription
from datachan.peer.signaling_state import SignalingState
from datachan.sdp import SessionDescription

ALLOWED = {
    "stable": {("local", "offer"): "have-local-offer", ("remote", "offer"): "have-remote-offer"},
    "have-local-offer": {
        ("local", "offer"): "have-local-offer",
        ("local", "rollback"): "stable",
        ("remote", "rollback"): "stable",
        ("remote", "pranswer"): "have-remote-pranswer",
        ("remote", "answer"): "stable",
    },
    "have-remote-offer": {
        ("remote", "offer"): "have-remote-offer",
        ("local", "rollback"): "stable",
        ("remote", "rollback"): "stable",
        ("local", "pranswer"): "have-local-pranswer",
        ("local", "answer"): "stable",
    },
    "have-local-pranswer": {("local", "pranswer"): "have-local-pranswer", ("local", "answer"): "stable"},
    "have-remote-pranswer": {("remote", "pranswer"): "have-remote-pranswer", ("remote", "answer"): "stable"},
    "closed": {},
}
ROADS = {
    "stable": [],
    "have-local-offer": [("local", "offer")],
    "have-remote-offer": [("remote", "offer")],
    "have-local-pranswer": [("remote", "offer"), ("local", "pranswer")],
    "have-remote-pranswer": [("local", "offer"), ("remote", "pranswer")],
}


def described(kind: str) -> AppliedDescription:
    return AppliedDescription(type=kind, sdp=kind, parsed=SessionDescription())


def signaling_in(state: str) -> SignalingState:
    signaling = SignalingState()
    for side, kind in ROADS.get(state, []):
        signaling.set(side, described(kind))
    if state == "closed":
        signaling.close()
    return signaling


@pytest.mark.parametrize("state", ALLOWED)
@pytest.mark.parametrize(
    ("side", "kind"), list(itertools.product(["local", "remote"], ["offer", "pranswer", "answer", "rollback"]))
)
def test_allows_exactly_the_transitions_of_the_specification(state: str, side: str, kind: str) -> None:
    signaling = signaling_in(state)
    assert signaling.state == state
    after = ALLOWED[state].get((side, kind))

    if after is None:
        with pytest.raises(InvalidStateError, match=f"{side} {kind} cannot be set in signaling state '{state}'"):
            signaling.check(side, kind)
    elif kind == "rollback":
        signaling.roll_back(side)
        assert signaling.state == after
    else:
        signaling.set(side, described(kind))
        assert signaling.state == after


def test_an_answer_makes_both_descriptions_current() -> None:
    signaling = SignalingState()
    offer, answer = described("offer"), described("answer")

    signaling.set("local", offer)
    assert (signaling.pending_local, signaling.current_local, signaling.local) == (offer, None, offer)
    signaling.set("remote", answer)

    assert (signaling.pending_local, signaling.current_local) == (None, offer)
    assert (signaling.pending_remote, signaling.current_remote) == (None, answer)


def test_a_rollback_restores_the_previous_descriptions() -> None:
    signaling = SignalingState()
    offer, answer = described("offer"), described("answer")
    signaling.set("remote", offer)
    signaling.set("local", answer)

    signaling.set("local", described("offer"))
    signaling.roll_back("local")

    assert (signaling.local, signaling.remote) == (answer, offer)


def test_a_refused_description_changes_nothing() -> None:
    signaling = SignalingState()

    with pytest.raises(InvalidStateError):
        signaling.set("remote", described("answer"))

    assert (signaling.state, signaling.remote) == ("stable", None)
