"""The packet: common header, checksum, and chunks."""

from __future__ import annotations

import pytest

from datachan.sctp.checksum import crc32c
from datachan.sctp.errors import BadPacket
from datachan.sctp.wire.chunks import (
    Chunk,
    CookieAckChunk,
    CookieEchoChunk,
    DataChunk,
    SackChunk,
    ShutdownAckChunk,
    UnknownChunk,
)
from datachan.sctp.wire.packet import COMMON_HEADER_LENGTH, parse_packet_untrusted, serialize_packet

CAPTURED_SACK = bytes.fromhex("115cc66888e5e376883432df030000108a70484a00019ffa00000000")


def packet(*hexadecimal: str) -> bytes:
    return serialize_packet(5000, 5001, 0x01020304, [bytes.fromhex(part) for part in hexadecimal])


def chunks_of(data: bytes) -> list[Chunk]:
    return parse_packet_untrusted(data).chunks


def test_reads_a_captured_packet() -> None:
    parsed = parse_packet_untrusted(CAPTURED_SACK)
    assert parsed.source_port == 4444
    assert parsed.destination_port == 50792
    assert parsed.verification_tag == 0x88E5E376
    assert parsed.chunks == [SackChunk(2322614346, 106490, [], [])]


def test_writes_a_captured_packet() -> None:
    chunk = SackChunk(2322614346, 106490, [], []).serialize()
    assert serialize_packet(4444, 50792, 0x88E5E376, [chunk]) == CAPTURED_SACK


def test_the_checksum_covers_the_packet_with_a_zero_checksum_field() -> None:
    data = packet("0b000004")
    assert data[8:12] == crc32c(data[:8] + bytes(4) + data[12:]).to_bytes(4, "little")


def test_chunks_are_read_in_order() -> None:
    data = CookieEchoChunk(b"crumb"), DataChunk(1, 2, 3, 4, b"early"), SackChunk(1, 2, [(2, 2)], [])
    serialized = serialize_packet(1, 2, 3, [chunk.serialize() for chunk in data])
    assert chunks_of(serialized) == list(data)


@pytest.mark.parametrize("size", range(16))
def test_a_packet_that_is_too_short_is_refused(size: int) -> None:
    data = bytearray(size)
    if size >= COMMON_HEADER_LENGTH:
        data[8:12] = crc32c(bytes(data)).to_bytes(4, "little")
    with pytest.raises(BadPacket):
        parse_packet_untrusted(bytes(data))


@pytest.mark.parametrize("position", range(len(CAPTURED_SACK)))
@pytest.mark.parametrize("bit", range(8))
def test_any_flipped_bit_is_noticed_by_the_checksum(position: int, bit: int) -> None:
    damaged = bytearray(CAPTURED_SACK)
    damaged[position] ^= 1 << bit
    with pytest.raises(BadPacket):
        parse_packet_untrusted(bytes(damaged))


def test_a_zero_checksum_is_refused_unless_it_was_agreed_upon() -> None:
    data = serialize_packet(1, 2, 3, [CookieAckChunk().serialize()], zero_checksum=True)
    assert data[8:12] == bytes(4)
    with pytest.raises(BadPacket):
        parse_packet_untrusted(data)
    assert parse_packet_untrusted(data, zero_checksum_acceptable=True).chunks == [CookieAckChunk()]


def test_a_right_checksum_stays_acceptable_beside_zero_and_a_wrong_one_does_not() -> None:
    data = bytearray(packet("0b000004"))
    assert parse_packet_untrusted(bytes(data), zero_checksum_acceptable=True).chunks == [CookieAckChunk()]
    data[9] ^= 1
    with pytest.raises(BadPacket):
        parse_packet_untrusted(bytes(data), zero_checksum_acceptable=True)


@pytest.mark.parametrize(
    "hexadecimal",
    ["0b000003", "0b000000", "0b000008", "0b000004 0b000003", "0b000004 0a0000ff 00000000", "c5000005"],
)
def test_a_chunk_length_that_does_not_fit_is_refused(hexadecimal: str) -> None:
    with pytest.raises(BadPacket):
        chunks_of(packet(hexadecimal))


@pytest.mark.parametrize("padding", ["", "00", "0000", "000000"])
def test_the_last_chunk_may_lack_padding(padding: str) -> None:
    assert chunks_of(packet("00030011 00000001 0002 0003 00000033 78" + padding)) == [DataChunk(1, 2, 3, 51, b"x")]


@pytest.mark.parametrize("padding", ["00", "0000", "ffffff"])
def test_up_to_three_bytes_behind_the_last_chunk_are_ignored(padding: str) -> None:
    assert chunks_of(packet("0b000004" + padding)) == [CookieAckChunk()]


def test_more_bytes_behind_the_last_chunk_are_a_chunk_or_refused() -> None:
    with pytest.raises(BadPacket):
        chunks_of(packet("0b000004", "00000000"))


def test_the_content_of_padding_is_ignored() -> None:
    data = packet("00030011 00000001 0002 0003 00000033 78 ffffff", "0b000004")
    assert chunks_of(data) == [DataChunk(1, 2, 3, 51, b"x"), CookieAckChunk()]


@pytest.mark.parametrize("chunk_type", [0x10, 0x3F, 0x41, 0x7F])
def test_an_unknown_chunk_that_stops_processing_ends_the_packet(chunk_type: int) -> None:
    data = packet("0b000004", f"{chunk_type:02x}000008 01020304", "0b000003")
    assert chunks_of(data) == [CookieAckChunk(), UnknownChunk(chunk_type, 0, b"\1\2\3\4")]


@pytest.mark.parametrize("chunk_type", [0x81, 0xBF, 0xC5, 0xFF])
def test_processing_continues_after_an_unknown_chunk_to_skip(chunk_type: int) -> None:
    data = packet(f"{chunk_type:02x}a50005 01 000000", "08000004")
    assert chunks_of(data) == [UnknownChunk(chunk_type, 0xA5, b"\1"), ShutdownAckChunk()]


def test_one_malformed_chunk_makes_the_packet_malformed() -> None:
    with pytest.raises(BadPacket):
        chunks_of(packet("0b000004", "07000004"))


def test_a_datagram_as_long_as_udp_allows_is_read() -> None:
    chunk = DataChunk(1, 2, 3, 51, bytes(65507 - 28))
    assert chunks_of(serialize_packet(1, 2, 3, [chunk.serialize()])) == [chunk]
    many = serialize_packet(1, 2, 3, [CookieAckChunk().serialize()] * 16000)
    assert len(chunks_of(many)) == 16000
