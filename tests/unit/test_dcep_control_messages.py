"""The messages of RFC 8832: the formats of section 5, and malformed messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datachan.dcep.control_messages import AckMessage, OpenMessage, encode_text, parse_message_untrusted
from datachan.dcep.errors import BadDcepMessage

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
UINT32 = st.integers(0, 2**32 - 1)


def test_writes_an_open_in_the_format_of_section_5_1() -> None:
    message = OpenMessage(label="chat", protocol="irc", priority=512)
    assert message.serialize() == bytes.fromhex("0300 0200 00000000 0004 0003") + b"chatirc"


def test_reads_an_open_with_every_number_set() -> None:
    data = bytes.fromhex("0381 0100 00000003 0005 0000") + b"hello"
    assert parse_message_untrusted(data) == OpenMessage(label="hello", ordered=False, max_retransmits=3)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (0x00, {}),
        (0x80, {"ordered": False}),
        (0x01, {"max_retransmits": 7}),
        (0x81, {"max_retransmits": 7, "ordered": False}),
        (0x02, {"max_packet_life_time": 7}),
        (0x82, {"max_packet_life_time": 7, "ordered": False}),
    ],
)
def test_every_channel_type_has_its_code(kind: int, options: dict[str, int | bool]) -> None:
    message = OpenMessage(label="", **options)
    data = message.serialize()
    assert data[1] == kind
    assert int.from_bytes(data[4:8], "big") == (7 if kind & 0x7F else 0)
    assert parse_message_untrusted(data) == message


def test_lengths_are_of_utf_8_and_not_of_characters() -> None:
    data = OpenMessage(label="größe", protocol="日本").serialize()
    assert data[8:12] == bytes.fromhex("0007 0006")
    assert parse_message_untrusted(data) == OpenMessage(label="größe", protocol="日本")


def test_ignores_the_reliability_parameter_of_a_reliable_channel() -> None:
    data = bytes.fromhex("0300 0100 ffffffff 0000 0000")
    assert parse_message_untrusted(data) == OpenMessage(label="")


@given(
    label=TEXT,
    protocol=TEXT,
    ordered=st.booleans(),
    priority=st.integers(0, 65535),
    limit=st.one_of(
        st.just({}),
        st.builds(lambda n: {"max_retransmits": n}, UINT32),
        st.builds(lambda n: {"max_packet_life_time": n}, UINT32),
    ),
)
def test_a_written_open_reads_back_the_same(
    label: str, protocol: str, ordered: bool, priority: int, limit: dict[str, int]
) -> None:
    message = OpenMessage(label=label, protocol=protocol, ordered=ordered, priority=priority, **limit)
    assert parse_message_untrusted(message.serialize()) == message


def test_accepts_the_longest_label_and_protocol() -> None:
    message = OpenMessage(label="l" * 65535, protocol="p" * 65535)
    assert parse_message_untrusted(message.serialize()) == message


@pytest.mark.parametrize("field", ["label", "protocol"])
def test_refuses_to_write_a_text_of_65536_bytes(field: str) -> None:
    with pytest.raises(ValueError, match="65535"):
        OpenMessage(**{"label": "", field: "ä" * 32768}).serialize()


@pytest.mark.parametrize("options", [{"priority": 65536}, {"priority": -1}, {"max_retransmits": 2**32}])
def test_refuses_to_write_a_number_that_does_not_fit(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="fit"):
        OpenMessage(label="", **options).serialize()


def test_an_ack_is_one_byte() -> None:
    assert AckMessage().serialize() == b"\x02"
    assert parse_message_untrusted(b"\x02") == AckMessage()


@pytest.mark.parametrize("kind", [0x00, 0x01, 0x04, 0xFF])
def test_refuses_unknown_message_types(kind: int) -> None:
    with pytest.raises(BadDcepMessage, match=f"0x{kind:02x}"):
        parse_message_untrusted(bytes([kind]) + bytes(11))


@pytest.mark.parametrize("kind", [0x03, 0x04, 0x7F, 0x83, 0xFF])
def test_refuses_unknown_channel_types(kind: int) -> None:
    data = bytearray(OpenMessage(label="x").serialize())
    data[1] = kind
    with pytest.raises(BadDcepMessage, match="channel type"):
        parse_message_untrusted(bytes(data))


def test_refuses_every_truncation_and_every_trailing_byte() -> None:
    data = OpenMessage(label="label", protocol="protocol").serialize()
    for length in range(len(data)):
        with pytest.raises(BadDcepMessage):
            parse_message_untrusted(data[:length])
    with pytest.raises(BadDcepMessage, match="add up"):
        parse_message_untrusted(data + b"\0")


@pytest.mark.parametrize("text", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80"])
def test_refuses_texts_that_are_not_utf_8(text: bytes) -> None:
    header = bytes.fromhex("0300 0100 00000000")
    for lengths in (len(text).to_bytes(2, "big") + b"\0\0", b"\0\0" + len(text).to_bytes(2, "big")):
        with pytest.raises(BadDcepMessage, match="UTF-8"):
            parse_message_untrusted(header + lengths + text)


def test_refuses_a_character_split_between_label_and_protocol() -> None:
    with pytest.raises(BadDcepMessage, match="UTF-8"):
        parse_message_untrusted(bytes.fromhex("0300 0100 00000000 0001 0001") + "ä".encode())


@given(st.binary(max_size=64))
def test_arbitrary_bytes_raise_only_bad_dcep_message(data: bytes) -> None:
    try:
        message = parse_message_untrusted(data)
    except BadDcepMessage:
        return
    assert isinstance(message, (OpenMessage, AckMessage))


def test_lone_surrogates_become_the_replacement_character_as_in_a_browser() -> None:
    assert encode_text("a\ud800b") == "a\ufffdb".encode()
    assert encode_text("\ud83d\ude00") == "😀".encode()
