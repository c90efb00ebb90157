"""The control messages of a file transfer and their JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datachan.transfer.control import (
    MAX_CONTROL_LENGTH,
    MAX_REASON_LENGTH,
    MAX_SIZE,
    Control,
    FileAccept,
    FileCancel,
    FileEnd,
    FileOffer,
    FileReceived,
    FileReject,
    FileRequest,
    parse_control_untrusted,
    serialize_control,
)
from datachan.transfer.errors import BadControl

HASH = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (FileRequest(), {"type": "file-request"}),
        (FileRequest("a.bin"), {"type": "file-request", "name": "a.bin"}),
        (FileOffer("1", "ä.bin", 5), {"type": "file-offer", "version": 1, "id": "1", "name": "ä.bin", "size": 5}),
        (
            FileOffer("1", "a", 0, "text/plain"),
            {"type": "file-offer", "version": 1, "id": "1", "name": "a", "size": 0, "mime": "text/plain"},
        ),
        (FileAccept("1"), {"type": "file-accept", "id": "1", "offset": 0}),
        (FileEnd("1", HASH), {"type": "file-end", "id": "1", "sha256": HASH}),
        (FileReceived("1", HASH), {"type": "file-received", "id": "1", "sha256": HASH}),
        (FileReject("", "no"), {"type": "file-reject", "reason": "no"}),
        (FileCancel("1", "no"), {"type": "file-cancel", "id": "1", "reason": "no"}),
    ],
)
def test_messages_have_the_documented_json(message: Control, fields: dict[str, object]) -> None:
    assert json.loads(serialize_control(message)) == fields
    assert parse_control_untrusted(json.dumps(fields)) == message


def offer(**changes: object) -> str:
    return json.dumps({"type": "file-offer", "version": 1, "id": "1", "name": "a", "size": 5} | changes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "[]",
        "null",
        "{}",
        '{"type": 7}',
        "[" * 5000,
        '{"type": "file-accept", "id": "1", "offset": ' + "9" * 5000 + "}",
        offer(name="x" * MAX_CONTROL_LENGTH),
        offer(version=2),
        offer(version=None),
        offer(id=1),
        offer(id=""),
        offer(id="a b"),
        offer(id="a" * 65),
        offer(name=None),
        offer(name=["a"]),
        offer(size=-1),
        offer(size=1.5),
        offer(size=True),
        offer(size="5"),
        offer(size=MAX_SIZE + 1),
        json.dumps({"type": "file-request", "name": 3}),
        json.dumps({"type": "file-accept", "id": "1"}),
        json.dumps({"type": "file-end", "id": "1", "sha256": HASH.upper()}),
        json.dumps({"type": "file-received", "id": "1", "sha256": HASH + "\n"}),
        json.dumps({"type": "file-cancel", "id": 4, "reason": "no"}),
    ],
)
def test_rejects_text_that_is_not_a_control_message(text: str) -> None:
    with pytest.raises(BadControl):
        parse_control_untrusted(text)


def test_ignores_types_and_fields_of_later_versions() -> None:
    assert parse_control_untrusted('{"type": "file-paused", "id": "1"}') is None
    assert parse_control_untrusted(offer(color="blue")) == FileOffer("1", "a", 5)


def test_sanitizes_names_and_reasons() -> None:
    assert parse_control_untrusted(offer(name="../../.ssh/authorized_keys")) == FileOffer("1", "authorized_keys", 5)
    assert parse_control_untrusted('{"type": "file-request", "name": "../x"}') == FileRequest("x")
    cancel = parse_control_untrusted(json.dumps({"type": "file-cancel", "reason": "\x1b[2J" + "a" * 3000}))
    assert isinstance(cancel, FileCancel)
    assert cancel.reason == ("[2J" + "a" * 3000)[:MAX_REASON_LENGTH]


@pytest.mark.parametrize("reason", [None, 5, "", "\n"])
def test_replaces_a_missing_reason(reason: object) -> None:
    text = json.dumps({"type": "file-reject", "reason": reason})
    assert parse_control_untrusted(text) == FileReject("", "no reason given")


def test_drops_a_malformed_media_type() -> None:
    assert parse_control_untrusted(offer(mime="<script>")) == FileOffer("1", "a", 5)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["file-request", "file-offer", "file-accept", "file-end", "file-received", "file-reject"]
        )
    },
    optional=dict.fromkeys(("version", "id", "name", "size", "mime", "offset", "sha256", "reason"), JSON),
)


@given(st.text() | FIELDS.map(json.dumps) | JSON.map(json.dumps))
def test_any_text_is_parsed_to_a_message_or_none_or_raises_bad_control(text: str) -> None:
    try:
        message = parse_control_untrusted(text)
    except BadControl:
        return
    if message is not None:
        assert parse_control_untrusted(serialize_control(message)) == message
