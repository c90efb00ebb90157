"""Decoding packets: known chunks, unknown chunks and damaged packets."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datachan.dcep.control_messages import AckMessage, OpenMessage
from datachan.decode import NotHexadecimal, Style, decode_packet, parse_packets, render, render_summary, to_json
from datachan.decode.chunk_fields import CHUNKS
from datachan.decode.parameter_fields import CAUSES, PARAMETERS
from datachan.decode.registry import CHUNK_NAMES, RECONFIG_RESULTS
from datachan.sctp.errors import BadPacket
from datachan.sctp.records import reconfiguration
from datachan.sctp.wire import causes
from datachan.sctp.wire.chunks import Chunk, DataChunk, SackChunk, UnknownChunk
from datachan.sctp.wire.packet import parse_packet_untrusted, serialize_packet
from datachan.sctp.wire.parameters import UnknownParameter, parse_parameters_untrusted
from tests.property.strategies import chunks as any_chunk

CAPTURED_SACK = bytes.fromhex("115cc66888e5e376883432df030000108a70484a00019ffa00000000")


def of(*chunks: Chunk | bytes) -> bytes:
    parts = [chunk if isinstance(chunk, bytes) else chunk.serialize() for chunk in chunks]
    return serialize_packet(5000, 5001, 0x01020304, parts)


def decoded(*chunks: Chunk | bytes) -> list[dict[str, Any]]:
    return to_json(decode_packet(of(*chunks)))["chunks"]  # type: ignore[return-value]


def skips(data: bytes) -> bool:
    """Return whether the engine does not know the chunk in this packet."""
    try:
        return isinstance(parse_packet_untrusted(data).chunks[0], UnknownChunk)
    except BadPacket:
        return False


def skips_parameter(data: bytes) -> bool:
    try:
        return isinstance(parse_parameters_untrusted(data, 0, 7)[0], UnknownParameter)
    except BadPacket:
        return False


def test_decodes_a_captured_sack_field_by_field() -> None:
    assert render(decode_packet(CAPTURED_SACK)).splitlines() == [
        "length                     28 bytes",
        "source port                4444",
        "destination port           50792",
        "verification tag           0x88e5e376",
        "checksum                   0x883432df, correct",
        "SACK  type 3, flags 0x00, length 16",
        "  cumulative TSN ack       2322614346",
        "  a_rwnd                   106490",
        "  gap ack blocks           none",
        "  duplicate TSNs           none",
    ]
    assert render_summary(decode_packet(CAPTURED_SACK)) == (
        "4444 → 50792  0x88e5e376  SACK ack 2322614346 a_rwnd 106490"
    )
    assert to_json(decode_packet(CAPTURED_SACK)) == {
        "length": 28,
        "source_port": 4444,
        "destination_port": 50792,
        "verification_tag": "0x88e5e376",
        "checksum": "0x883432df",
        "checksum_status": "correct",
        "chunks": [
            {
                "name": "SACK",
                "type": 3,
                "flags": 0,
                "length": 16,
                "cumulative_tsn_ack": 2322614346,
                "a_rwnd": 106490,
                "gap_ack_blocks": [],
                "duplicate_tsns": [],
            }
        ],
    }


def test_every_chunk_parameter_and_cause_the_engine_knows_is_decoded() -> None:
    assert {kind for kind in range(256) if not skips(of(bytes([kind, 0, 0, 4])))} <= set(CHUNKS) == set(CHUNK_NAMES)
    header = struct.Struct("!HH")
    known = (
        kind
        for kind in range(65536)
        if not skips_parameter(header.pack(kind, 7) + b"\xff\xff\xff\0")  # three bytes suit no parameter of fixed size
    )
    assert set(known) <= set(PARAMETERS)
    for code, name in causes.CAUSE_NAMES.items():
        assert CAUSES[code][0] == name
    assert reconfiguration.RESULTS == RECONFIG_RESULTS


@given(st.lists(any_chunk, min_size=1, max_size=4))
def test_decodes_every_chunk_the_engine_writes_to_the_last_byte(chunks: list[Chunk]) -> None:
    node = decode_packet(of(*chunks))
    assert [child.get("type") for child in node.children] == [chunk.type for chunk in chunks]
    assert node.get("checksum_status") == "correct"
    render(node, Style.colored())
    render_summary(node)


@given(st.binary(max_size=200))
def test_decodes_any_bytes_as_far_as_possible(data: bytes) -> None:
    node = decode_packet(data)
    assert all(character.isprintable() or character == "\n" for character in render(node))
    assert "\n" not in render_summary(node)
    to_json(node)


@given(st.lists(any_chunk, min_size=1, max_size=3), st.data())
def test_reports_a_packet_cut_anywhere(chunks: list[Chunk], data: st.DataObject) -> None:
    whole = of(*chunks)
    cut = data.draw(st.integers(0, len(whole) - 1))
    node = decode_packet(whole[:cut], original_length=len(whole))
    assert node.get("original_length") == len(whole)
    assert node.get("checksum_status") in {"unknown", None}


def test_decodes_gaps_and_duplicates() -> None:
    [sack] = decoded(SackChunk(0xFFFFFFFE, 1000, [(2, 3), (5, 5)], [7, 8]))
    assert sack["gap_ack_blocks"] == [[2, 3], [5, 5]]
    assert sack["duplicate_tsns"] == [7, 8]
    shown = render(decode_packet(of(SackChunk(0xFFFFFFFE, 1000, [(2, 3)], []))))
    assert "2-3 (TSN 0-1)" in shown


def test_shows_text_messages_without_terminal_controls() -> None:
    [chunk] = decoded(DataChunk(1, 2, 3, 51, 'h\x1b[31mi "\u202e'.encode()))
    assert chunk["text"] == 'h\x1b[31mi "\u202e'
    shown = render(decode_packet(of(DataChunk(1, 2, 3, 51, 'h\x1b[31mi "\u202e'.encode()))))
    assert r'"h\x1b[31mi \"\u202e"' in shown
    assert "51 (WebRTC String)" in shown
    assert "whole message, ordered" in shown


def test_decodes_dcep_messages_inside_data() -> None:
    opening = OpenMessage(label="chat ✓", protocol="p", ordered=False, max_packet_life_time=250, priority=512)
    [chunk] = decoded(DataChunk(1, 2, 0, 50, opening.serialize()))
    assert chunk["dcep"] == [
        {
            "name": "DATA_CHANNEL_OPEN",
            "type": 3,
            "channel_type": 0x82,
            "priority": 512,
            "max_packet_life_time": 250,
            "label_length": 8,
            "protocol_length": 1,
            "label": "chat ✓",
            "protocol": "p",
        }
    ]
    [chunk] = decoded(DataChunk(1, 2, 0, 50, AckMessage().serialize()))
    assert chunk["dcep"] == [{"name": "DATA_CHANNEL_ACK", "type": 2}]
    [chunk] = decoded(DataChunk(1, 2, 0, 50, opening.serialize()[:-3]))
    assert chunk["dcep"][0]["problem"] == "a field of 8 bytes at byte 40 has 6 of them left"


def test_decodes_authentication_and_address_changes() -> None:
    auth = bytes.fromhex("0f00 000c 0001 0003 aabbccdd")
    [chunk] = decoded(auth)
    assert (chunk["shared_key_id"], chunk["hmac_identifier"], chunk["hmac"]) == (1, 3, "aabbccdd")
    # An address to add, one to make the primary, and the address parameter ASCONF begins with.
    asconf = bytes.fromhex("c100 0030 00000007 0005 0008 c0000201 c001 0010 00000001 0005 0008 c0000202")
    asconf += bytes.fromhex("c004 0010 00000002 0005 0008 c0000202")
    [chunk] = decoded(asconf)
    assert chunk["sequence_number"] == 7
    assert [one["name"] for one in chunk["parameters"]] == ["IPv4 Address", "Add IP Address", "Set Primary IP Address"]
    assert chunk["parameters"][1]["parameters"][0]["address"] == "192.0.2.2"
    ack = bytes.fromhex("8000 0020 00000007 c005 0008 00000001 c003 0010 00000002 00a2 0008 c0020004")
    [chunk] = decoded(ack)
    [success, failure] = chunk["parameters"]
    assert success["correlation_id"] == 1
    assert failure["causes"][0]["name"] == "Request to Delete Source IP Address"


def test_shows_unknown_types_as_bytes_with_the_required_handling() -> None:
    [chunk] = decoded(bytes.fromhex("c705 0006 abcd 0000"))
    assert chunk == {"name": "Chunk 199", "type": 199, "flags": 5, "length": 6, "value": "abcd"}
    shown = render(decode_packet(of(bytes.fromhex("c705 0006 abcd 0000"))))
    assert "Chunk 199  type 199, flags 0x05, length 6  (unknown; a receiver skips it, and reports it)" in shown
    [init] = decoded(bytes.fromhex("0100 001a 00000001 00001000 0001 0001 00000001 7fff 0006 abcd 0000"))
    assert init["parameters"] == [{"name": "Parameter 0x7fff", "type": 0x7FFF, "length": 6, "value": "abcd"}]


@pytest.mark.parametrize(
    ("chunk", "problem"),
    [
        ("0300 0010 00000001 00000002 0001 0000", "it announces 1 gap ack blocks and 0 duplicates but has 0 and 0"),
        ("0300 0018 00000001 00000002 0000 0000 00000000 00000000", "what is at byte 28 does not belong there"),
        ("0300 000c 00000001 00000002", "a field of 2 bytes at byte 24 has 0 of them left"),
        ("0000 0010 00000001 0002 0003 00000000", "a DATA chunk without user data, which a receiver answers with an"),
        ("0a00 0040 01020304", "its length is 64, but 8 bytes are left from byte 12 on"),
        ("0a00 0003 01020304", "its length is 3, less than the 4 of its header"),
        ("0b00 0008 01020304", "what is at byte 16 does not belong there"),
        ("0900 000b 000c 0007 616263 00", None),
        ("0900 0008 000c 0009", "its length is 9, but 4 bytes are left"),
        ("0900 0008 000c 0002", "its length is 2, less than the 4 of its header"),
        ("0900 0006 000c 0000", "a type and a length, 4 bytes at byte 16, have 2 of them left"),
        ("0600 0010 0002 000c 00000009 8000 0000", "it counts 9 parameters and names 2"),
    ],
)
def test_names_the_damage_its_position_and_its_cause(chunk: str, problem: str | None) -> None:
    node = decode_packet(of(bytes.fromhex(chunk)))
    found = [problem for problem in _problems(to_json(node)) if problem]
    assert found == [] if problem is None else found[0].startswith(problem)
    assert problem is None or f"! {problem}" in render(node)
    assert problem is None or problem in render_summary(node)


def _problems(value: Any) -> list[str]:
    if isinstance(value, list):
        return [problem for item in value for problem in _problems(item)]
    if isinstance(value, dict):
        return [value.get("problem", ""), *[problem for item in value.values() for problem in _problems(item)]]
    return []


def test_checks_checksums() -> None:
    wrong = CAPTURED_SACK[:-1] + b"\1"
    assert "0x883432df, wrong, 0x" in render(decode_packet(wrong))
    assert to_json(decode_packet(wrong))["problem"] == "the checksum is wrong"
    zero = CAPTURED_SACK[:8] + bytes(4) + CAPTURED_SACK[12:]
    assert to_json(decode_packet(zero))["checksum_status"] == "zero"
    assert decode_packet(zero).sound
    cut = decode_packet(CAPTURED_SACK[:20], original_length=28)
    assert cut.get("checksum_status") == "unknown"


def test_decodes_a_cut_header_and_a_header_alone() -> None:
    assert to_json(decode_packet(b"\1\2\3"))["problem"] == "3 bytes are fewer than the 12 of a common header"
    assert to_json(decode_packet(b""))["problem"] == "0 bytes are fewer than the 12 of a common header"
    assert to_json(decode_packet(of()))["problem"] == "the packet has no chunk"


def test_limits_nesting() -> None:
    value = b""
    for _ in range(200):
        value = struct.pack("!HH", 8, 4 + len(value)) + value
    init = struct.pack("!BBHIIHHI", 1, 0, 20 + len(value), 1, 2000, 1, 1, 1) + value
    text = render(decode_packet(of(init)))
    assert text.count("Unrecognized Parameter") == 8


def test_counts_many_blocks_instead_of_listing_them() -> None:
    gaps = [(2 * index, 2 * index) for index in range(1, 101)]
    assert "and 84 more" in render(decode_packet(of(SackChunk(1, 2, gaps, []))))


@pytest.mark.parametrize(
    "text",
    [
        "115cc668",
        "11 5c c6 68",
        "11:5C:c6:68\n",
        "0x115cc668",
        "0x11, 0x5c, 0xc6, 0x68",
        r"\x11\x5c\xc6\x68",
        "11-5c-c6-68",
        "115c c668",
        "0000  11 5c c6 68                                        .\\.h\n",
        "0000  11 5c                                        .\\\n0002  c6 68          .h\n",
        "\t0x0000:  115c c668\n",
        "000000 11 5c c6 68\n000004\n",  # od -Ax -tx1
        "0000000 11 5c\n0000002 c6 68\n",
        "00000000  11 5c c6 68                                       |.\\.h|\n00000004\n",  # hexdump -C
        "0000   11 5c c6 68\n",  # text2pcap
        "I 12:00:00.0 0000 11 5c c6 68 # SCTP_PACKET\n",  # usrsctp and dcsctp
        "[1:2:INFO:socket.cc(3)] O 12:00:00.123456 0000 11 5c c6 68 # SCTP_PACKET\nanother line of the log\n",
    ],
)
def test_parses_hexadecimal_in_common_forms(text: str) -> None:
    assert parse_packets(text) == [bytes.fromhex("115cc668")]


LONG = bytes(range(48)) + bytes(64) + b"\x7f" * 5


@pytest.mark.parametrize("repeated", ["all rows", "marked"])
@pytest.mark.parametrize(("base", "digits"), [("x", 6), ("o", 7), ("d", 7)])
def test_parses_dumps_with_offsets_in_any_base(base: str, digits: int, repeated: str) -> None:
    lines, previous = [], b""
    for start in range(0, len(LONG), 16):
        row = LONG[start : start + 16]
        if row == previous and repeated == "marked":
            if lines[-1] != "*":
                lines.append("*")
        else:
            lines.append(f"{start:0{digits}{base}} {row.hex(' ')}")
        previous = row
    lines.append(f"{len(LONG):0{digits}{base}}")
    assert parse_packets("\n".join(lines)) == [LONG]


def test_an_offset_of_zero_starts_the_next_packet_of_a_dump() -> None:
    text = "0000 11 5c\n0002 c6 68\n0000 11 5c c6 68\n"
    assert parse_packets(text) == [bytes.fromhex("115cc668")] * 2


def test_a_text_column_that_looks_like_hexadecimal_is_not_data() -> None:
    text = "00000000: 6162 6364 6566 6768  abcdefgh\n00000008: 6162 6364            abcd\n"
    assert parse_packets(text) == [b"abcdefghabcd"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("000000 11 5c c6 68\n000008 11\n", "offsets of the dump do not fit"),
        ("000000 11 5c\n*\n", "offsets of the dump do not fit"),
        ("000000 11 5c\n*\nffffffff\n", "offsets of the dump do not fit"),
        ("0000000 5c11 68c6\n0000004\n", "od -Ax -tx1"),
        ("X 12:00:00.0 0000 11 5c # SCTP_PACKET", "not of the form"),
    ],
)
def test_refuses_dumps_that_it_cannot_read(text: str, reason: str) -> None:
    with pytest.raises(NotHexadecimal, match=reason):
        parse_packets(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "nothing to decode"),
        ("  \n", "nothing to decode"),
        ("11 5g", "'g' is not"),
        ("115", "3 hexadecimal digits"),
    ],
)
def test_rejects_text_that_is_not_hexadecimal(text: str, reason: str) -> None:
    with pytest.raises(NotHexadecimal, match=reason):
        parse_packets(text)


@given(st.text("0123456789abcfx *:\n|", max_size=200))
def test_any_text_is_parsed_to_packets_or_raises_not_hexadecimal(text: str) -> None:
    with contextlib.suppress(NotHexadecimal):
        assert all(parse_packets(text))
