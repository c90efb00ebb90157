"""Multicast DNS messages: answers of browsers are read, malformed ones are not."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datachan.ice.mdns import TYPE_A, TYPE_AAAA, MdnsError, encode_query, is_mdns_name, parse_response_untrusted

NAME = "75f3215a-340d-4e6a-8055-033427683a91.local"
RESPONSE = 0x8400
FLUSH_IN = 0x8001


def header(
    flags: int = RESPONSE, questions: int = 0, answers: int = 0, authorities: int = 0, additionals: int = 0
) -> bytes:
    return struct.pack("!6H", 0, flags, questions, answers, authorities, additionals)


def labels(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def record(name: bytes, kind: int, data: bytes, *, time_to_live: int = 120, record_class: int = FLUSH_IN) -> bytes:
    return name + struct.pack("!HHIH", kind, record_class, time_to_live, len(data)) + data


V4 = bytes([192, 0, 2, 2])
V6 = bytes.fromhex("fd000000000000000000000000000002")
POINTER_TO_FIRST_NAME = b"\xc0\x0c"


def test_reads_chromiums_answer_although_its_nsec_record_has_a_compressed_name() -> None:
    nsec = record(POINTER_TO_FIRST_NAME, 47, POINTER_TO_FIRST_NAME + bytes([0, 4, 0x40, 0, 0, 0]))
    message = header(answers=1, additionals=1) + record(labels(NAME), TYPE_A, V4) + nsec
    assert parse_response_untrusted(message) == [(NAME, "192.0.2.2")]


def test_reads_an_address_that_comes_after_the_nsec_record() -> None:
    nsec = record(labels(NAME), 47, POINTER_TO_FIRST_NAME + bytes([0, 4, 0x40, 0, 0, 0]))
    message = header(answers=1, additionals=1) + nsec + record(POINTER_TO_FIRST_NAME, TYPE_AAAA, V6)
    assert parse_response_untrusted(message) == [(NAME, "fd00::2")]


def test_reads_several_names_and_both_families() -> None:
    other = "7a15d9ed-9749-40f2-9ccb-b742ed45e24a.local"
    message = header(answers=3)
    message += record(labels(NAME), TYPE_A, V4) + record(labels(other), TYPE_AAAA, V6)
    message += record(labels(other.upper()), TYPE_A, V4, record_class=1)
    assert parse_response_untrusted(message) == [(NAME, "192.0.2.2"), (other, "fd00::2"), (other, "192.0.2.2")]


def test_skips_the_questions_in_a_response() -> None:
    question = labels(NAME) + struct.pack("!HH", TYPE_A, 1)
    message = header(questions=1, answers=1) + question + record(POINTER_TO_FIRST_NAME, TYPE_A, V4)
    assert parse_response_untrusted(message) == [(NAME, "192.0.2.2")]


@pytest.mark.parametrize(
    "bad",
    [
        record(labels(NAME), TYPE_A, bytes([224, 0, 0, 1])),
        record(labels(NAME), TYPE_A, bytes(4)),
        record(labels(NAME), TYPE_A, bytes([255] * 4)),
        record(labels(NAME), TYPE_AAAA, bytes(16)),
        record(labels(NAME), TYPE_AAAA, bytes.fromhex("ff02" + "00" * 13 + "fb")),
        record(labels(NAME), TYPE_A, V4, time_to_live=0),
        record(labels(NAME), TYPE_A, V4, record_class=3),
        record(labels(NAME), TYPE_A, V4 + b"\0"),
        record(labels(NAME), TYPE_AAAA, V4),
        record(labels(NAME), 16, b"\x03txt"),
    ],
    ids=[
        "multicast",
        "unspecified",
        "broadcast",
        "unspecified6",
        "multicast6",
        "goodbye",
        "chaos",
        "five",
        "short",
        "text",
    ],
)
def test_ignores_records_without_a_usable_address(bad: bytes) -> None:
    good = record(labels("other.local"), TYPE_A, V4)
    assert parse_response_untrusted(header(answers=2) + bad + good) == [("other.local", "192.0.2.2")]


@pytest.mark.parametrize("flags", [0x0000, 0x8403, 0xA400])
def test_rejects_queries_errors_and_other_opcodes(flags: int) -> None:
    with pytest.raises(MdnsError, match="not a response"):
        parse_response_untrusted(header(flags, answers=1) + record(labels(NAME), TYPE_A, V4))


def test_rejects_messages_that_are_too_short() -> None:
    with pytest.raises(MdnsError, match="11 bytes"):
        parse_response_untrusted(bytes(11))


@pytest.mark.parametrize(
    "name",
    [b"\xc0\x0c", b"\xc0\xff", b"\x01a\xc0\x0c", b"\x3fabc", b"\x80a\0", b"\xc0", (b"\x3f" + b"a" * 63) * 5 + b"\0"],
    ids=["itself", "forward", "loop", "cut", "reserved", "half", "long"],
)
def test_an_endless_name_ends_the_reading_and_earlier_records_count(name: bytes) -> None:
    first = record(labels(NAME), TYPE_A, V4)
    tail = struct.pack("!HHIH", TYPE_A, FLUSH_IN, 120, 4) + V4
    assert parse_response_untrusted(header(answers=1) + name + tail) == []
    if name != b"\xc0\x0c":
        assert parse_response_untrusted(header(answers=2) + first + name + tail)[0] == (NAME, "192.0.2.2")


def test_every_truncation_gives_nothing_or_the_same_address() -> None:
    message = header(answers=1) + record(labels(NAME), TYPE_A, V4)
    for length in range(12, len(message)):
        assert parse_response_untrusted(message[:length]) == []


@given(st.binary(max_size=600))
def test_arbitrary_bytes_raise_only_mdns_error(junk: bytes) -> None:
    for message in (junk, header(answers=9, questions=2, additionals=50) + junk):
        try:
            answers = parse_response_untrusted(message)
        except MdnsError:
            continue
        assert len(answers) <= 61


def test_a_query_has_one_question() -> None:
    name = labels(NAME)
    assert encode_query(NAME, TYPE_A, unicast=False) == bytes.fromhex("000000000001000000000000") + name + b"\0\1\0\1"
    assert encode_query(NAME, TYPE_AAAA, unicast=True).endswith(name + b"\0\x1c\x80\1")


@pytest.mark.parametrize("name", [NAME, NAME.upper(), "host-1.local"])
def test_recognizes_mdns_names(name: str) -> None:
    assert is_mdns_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "a.b.local",
        "local",
        ".local",
        "a.local.",
        "example.com",
        "a_b.local",
        "x" * 64 + ".local",
        "192.0.2.2",
        "a.local\n",
    ],
)
def test_recognizes_other_names(name: str) -> None:
    assert not is_mdns_name(name)
