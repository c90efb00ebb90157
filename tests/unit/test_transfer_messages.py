"""The control messages of a transfer: what is read, what is refused, and that what is written is read again."""

from __future__ import annotations

import json

import pytest

from datachan.transfer.messages import (
    Accept,
    BadMessage,
    Complete,
    Confirm,
    Credit,
    End,
    EndCode,
    Entries,
    Entry,
    Have,
    Kind,
    Message,
    Missing,
    Offer,
    Offered,
    Pake,
    Request,
    Resume,
    Sent,
    Size,
    Stored,
    Unwanted,
    clean_reason,
    parse_message_untrusted,
    serialize_message,
)

DIGEST = bytes(range(32))
MESSAGES: list[Message] = [
    Pake(b"A" + DIGEST),
    Pake(b"B" + DIGEST, "00" * 16),
    Confirm(DIGEST, True),
    Offer("x", 100_000, None, ("blake3", "sha256"), 65_536),
    Offer("x", 1, 2**53 - 1, ("sha256",), 16 * 1024 * 1024),
    Entries((Entry("grüße/a", size=7, mtime=-5, executable=True), Entry("b", Kind.FOLDER), Entry("c", size=None))),
    Entries((Entry("text", Kind.TEXT, 1024),)),
    Offered(),
    Have(((0, 65_536, DIGEST), (7, 3, DIGEST))),
    Unwanted(((0, 3), (99_999, 99_999))),
    Accept("x", "sha256", 1),
    Resume(0, 65_536),
    Size(0, 3),
    Missing(1, "changed", "it is gone"),
    Sent(),
    Credit(2**53 - 1, 0),
    Stored(((0, DIGEST),)),
    Complete(),
    Request("a"),
    Request(None),
    End(EndCode.NO_SPACE, "the disk is full", 7),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_what_is_written_is_read_again(message: Message) -> None:
    assert parse_message_untrusted(serialize_message(message)) == message


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "[]",
        "7",
        "{}",
        '{"type":7}',
        "[" * 50_000,
        '{"type":"sent","x":"%s"}' % ("x" * 60_000),
        '{"type":"sent","x":"%s"}' % ("ü" * 30_000),
        '{"type":"pake","version":true,"share":"%s"}' % ("00" * 33),
        '{"type":"pake","version":1,"share":"%s"}' % ("0 " * 33),
        '{"type":"pake","version":1,"share":"%s","session":"00"}' % ("00" * 33),
        '{"type":"confirm","mac":"%s"}' % ("GG" * 32),
        '{"type":"offer","version":1,"id":"x","count":1,"size":1,"hashes":["blake3"],"piece":65536}',
        '{"type":"offer","version":1,"id":"x","count":1,"size":1,"hashes":["sha256"],"piece":65537}',
        '{"type":"offer","version":1,"id":"x","count":1,"size":1,"hashes":["sha256"],"piece":33554432}',
        '{"type":"offer","version":1,"id":"x","count":100001,"size":1,"hashes":["sha256"],"piece":65536}',
        '{"type":"offer","version":1,"id":"../x","count":1,"size":1,"hashes":["sha256"],"piece":65536}',
        '{"type":"offer","version":1,"id":7,"count":1,"size":1,"hashes":["sha256"],"piece":65536}',
        '{"type":"entries","entries":[7]}',
        '{"type":"entries","entries":[{"path":7}]}',
        '{"type":"entries","entries":[{"path":"t","kind":"text","size":1048577}]}',
        '{"type":"have","files":[[0,1]]}',
        '{"type":"have","files":7}',
        '{"type":"unwanted","files":[[0,100000]]}',
        json.dumps({"type": "unwanted", "files": [[0, 0]] * 1001}),
        '{"type":"credit","bytes":1.5,"durable":0}',
        '{"type":"credit","bytes":true,"durable":0}',
        '{"type":"request","name":""}',
        '{"type":"request","name":"%s"}' % ("x" * 1025),
        '{"type":"end","code":"no-space","reason":"","missing":-1}',
    ],
    ids=lambda text: text[:40],
)
def test_what_is_malformed_is_refused(text: str) -> None:
    with pytest.raises(BadMessage):
        parse_message_untrusted(text)


def test_unknown_types_are_ignored_and_unknown_codes_are_failures() -> None:
    assert parse_message_untrusted('{"type":"something new"}') is None
    for code in ("something new", 7, None, []):
        found = parse_message_untrusted(json.dumps({"type": "end", "code": code}))
        assert found == End(EndCode.FAILED, "no reason given")


def test_a_text_for_people_is_one_short_line_without_characters_that_deceive() -> None:
    assert clean_reason("one\ntwo\u202e\x1b[31m \u2066three") == "one two[31m three"
    assert len(clean_reason("x" * 10_000)) == 500
    assert clean_reason(7) == clean_reason("\u202e") == "no reason given"
