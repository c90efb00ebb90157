"""The JSON of signaling: valid messages round-trip, and all others are refused with a sentence."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datachan.signaling.room_messages import (
    MAX_CANDIDATE_LENGTH,
    MAX_MESSAGE_SIZE,
    MAX_NAME_LENGTH,
    MAX_SDP_LENGTH,
    Answer,
    BadMessage,
    Bye,
    Candidate,
    CandidateInit,
    Error,
    Join,
    Offer,
    PeerInfo,
    PeerJoined,
    PeerLeft,
    Welcome,
    clean_name,
    is_room_name,
    parse_client_message_untrusted,
    parse_server_message_untrusted,
    serialize_client_message,
    serialize_server_message,
)

SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\n"
SIGNALS = [
    Offer("peer-1", "s1", SDP),
    Answer("peer-1", "s1", SDP + "a=é\r\n"),
    Candidate("peer-1", "s1", CandidateInit("candidate:1 1 udp 1 192.0.2.1 9 typ host", "0", 0, "abcd")),
    Candidate("peer-1", "s1", CandidateInit("")),
    Candidate("peer-1", "s1", None),
    Bye("peer-1", "s1", "see you"),
]
FROM_SERVER = [
    Welcome("me", "kitchen", 8, (PeerInfo("a", "Ada"), PeerInfo("b", "Grace"))),
    PeerJoined(PeerInfo("a", "Ada")),
    PeerLeft("a"),
    Error("room-full", "The room is full."),
    Error("no-such-peer", "Gone.", "s1"),
]


@pytest.mark.parametrize("message", [Join("Ada"), *SIGNALS])
def test_client_messages_round_trip(message):
    assert parse_client_message_untrusted(serialize_client_message(message)) == message


@pytest.mark.parametrize("message", [*FROM_SERVER, *SIGNALS])
def test_server_messages_round_trip(message):
    assert parse_server_message_untrusted(serialize_server_message(message)) == message


def test_a_client_ignores_unknown_types():
    assert parse_server_message_untrusted('{"type":"something-of-version-9"}') is None


def good(**changes):
    fields = {"type": "offer", "to": "a", "session": "s", "sdp": SDP, **changes}
    return json.dumps({key: value for key, value in fields.items() if value is not ...})


def candidate(**changes):
    return good(type="candidate", sdp=..., candidate={"candidate": "candidate:x", "sdpMid": "0", **changes})


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "not-json"),
        ("{", "not-json"),
        ("[" * 20_000, "not-json"),
        ("[]", "not-an-object"),
        ("null", "not-an-object"),
        ("{}", "no-type"),
        ('{"type": 5}', "no-type"),
        ('{"type": "welcome"}', "unknown-type"),
        ('{"type": "join"}', "unsupported-version"),
        ('{"type": "join", "version": 2}', "unsupported-version"),
        ('{"type": "join", "version": true}', "unsupported-version"),
        ('{"type": "join", "version": "1"}', "unsupported-version"),
        (good(to=...), "bad-field"),
        (good(to=""), "bad-field"),
        (good(to="a b"), "bad-field"),
        (good(to=["a"]), "bad-field"),
        (good(to="a" * 65), "bad-field"),
        (good(session=...), "bad-field"),
        (good(session=None), "bad-field"),
        (good(sdp=...), "bad-sdp"),
        (good(sdp=7), "bad-sdp"),
        (good(sdp="hello"), "bad-sdp"),
        (good(sdp="v=0" + "x" * MAX_SDP_LENGTH), "bad-sdp"),
        (good(sdp="v=0\ud800"), "bad-field"),
        (good(type="candidate"), "bad-candidate"),
        (good(type="candidate", candidate="candidate:x"), "bad-candidate"),
        (candidate(candidate=None), "bad-candidate"),
        (candidate(candidate="c" * (MAX_CANDIDATE_LENGTH + 1)), "bad-candidate"),
        (candidate(sdpMid=0), "bad-candidate"),
        (candidate(sdpMid="m" * 257), "bad-candidate"),
        (candidate(sdpMLineIndex=-1), "bad-candidate"),
        (candidate(sdpMLineIndex=True), "bad-candidate"),
        (candidate(sdpMLineIndex="0"), "bad-candidate"),
        ('"' + "x" * MAX_MESSAGE_SIZE, "too-large"),
        ('"' + "é" * (MAX_MESSAGE_SIZE // 2), "too-large"),
    ],
)
def test_a_malformed_message_raises_a_code_and_a_sentence(text, code):
    with pytest.raises(BadMessage) as caught:
        parse_client_message_untrusted(text)
    assert caught.value.code == code
    assert caught.value.sentence.endswith(".")


def test_accepts_a_message_of_the_maximum_size():
    text = good()
    assert parse_client_message_untrusted(text + " " * (MAX_MESSAGE_SIZE - len(text))) == Offer("a", "s", SDP)
    with pytest.raises(BadMessage):
        parse_client_message_untrusted(text + " " * (MAX_MESSAGE_SIZE - len(text) + 1))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["type", "version", "name", "to", "from", "session", "sdp", "candidate", "reason", "id", "room", "peers", "peer"]
TYPES = ["join", "offer", "answer", "candidate", "bye", "welcome", "peer-joined", "peer-left", "error"]
FIELDS = st.dictionaries(st.sampled_from(KEYS), JSON | st.just("v=0") | st.just("abc"))


@given(st.text() | st.builds(lambda fields, kind: json.dumps({**fields, "type": kind}), FIELDS, st.sampled_from(TYPES)))
def test_any_text_is_refused_or_parsed_to_a_message_that_serializes(text):
    for parse, serialize in (
        (parse_client_message_untrusted, serialize_client_message),
        (parse_server_message_untrusted, serialize_server_message),
    ):
        try:
            message = parse(text)
        except BadMessage:
            continue
        if message is not None:
            assert parse(serialize(message)) == message
            serialize(message).encode()


@pytest.mark.parametrize(
    ("given_name", "shown"),
    [
        ("  Ada   Lovelace ", "Ada Lovelace"),
        ("Ada\u202egnp.exe", "Adagnp.exe"),
        ("a\nb\tc\x00", "a b c"),
        ("", "Guest"),
        ("\u200b", "Guest"),
        (None, "Guest"),
        (["Ada"], "Guest"),
        ("x" * 100, "x" * MAX_NAME_LENGTH),
        ("👩‍💻", "👩‍💻"),
    ],
)
def test_cleans_names_for_display(given_name, shown):
    assert clean_name(given_name) == shown


@pytest.mark.parametrize(
    ("name", "good"), [("a", True), ("A-z_9", True), ("x" * 64, True), ("", False), ("a/b", False), ("x" * 65, False)]
)
def test_accepts_room_names_that_fit_in_a_url(name, good):
    assert is_room_name(name) is good
