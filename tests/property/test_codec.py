"""What is written is read back; input that cannot be parsed raises BadPacket and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datachan.sctp.checksum import crc32c
from datachan.sctp.errors import BadPacket
from datachan.sctp.wire import causes as error_causes
from datachan.sctp.wire.causes import describe
from datachan.sctp.wire.chunks import (
    AbortChunk,
    Chunk,
    CookieAckChunk,
    CookieEchoChunk,
    CwrChunk,
    DataChunk,
    EcneChunk,
    ErrorChunk,
    HeartbeatAckChunk,
    HeartbeatChunk,
    InitAckChunk,
    InitChunk,
    SackChunk,
    ShutdownAckChunk,
    ShutdownChunk,
    ShutdownCompleteChunk,
    UnknownChunk,
)
from datachan.sctp.wire.extensions import (
    AsconfAckChunk,
    AsconfChunk,
    AuthChunk,
    ForwardTsnChunk,
    IDataChunk,
    IForwardTsnChunk,
    PadChunk,
    ReconfigChunk,
)
from datachan.sctp.wire.packet import parse_packet_untrusted, serialize_packet
from datachan.sctp.wire.parameters import (
    AddIpAddress,
    CookiePreservative,
    ErrorCauseIndication,
    ForwardTsnSupported,
    IncomingSsnResetRequest,
    IPv4Address,
    OutgoingSsnResetRequest,
    ReconfigResponse,
    StateCookie,
    SuccessIndication,
    SupportedExtensions,
    UnknownParameter,
    ZeroChecksumAcceptable,
)

from .strategies import chunks, short_bytes, u16, u32

INIT_PARAMETERS = [
    IPv4Address(bytes(4)),
    CookiePreservative(5),
    ZeroChecksumAcceptable(),
    ForwardTsnSupported(),
    UnknownParameter(0xC123, b"x"),
    SupportedExtensions((130, 192, 64)),
]

SAMPLES: list[Chunk] = [
    DataChunk(1, 2, 3, 51, b"hello"),
    InitChunk(1, 2, 3, 4, 5, INIT_PARAMETERS),
    InitAckChunk(1, 2, 3, 4, 5, [StateCookie(b"c" * 10), *INIT_PARAMETERS]),
    SackChunk(1, 2, [(2, 3), (5, 9)], [4, 6]),
    HeartbeatChunk(b"now"),
    HeartbeatAckChunk(b"then"),
    AbortChunk([error_causes.user_initiated_abort("bye"), error_causes.no_user_data(1)]),
    ErrorChunk([error_causes.missing_mandatory_parameter([7]), error_causes.stale_cookie(1)]),
    ShutdownChunk(9),
    ShutdownAckChunk(),
    ShutdownCompleteChunk(),
    CookieEchoChunk(b"c" * 10),
    CookieAckChunk(),
    EcneChunk(5),
    CwrChunk(5),
    UnknownChunk(0xC5, 1, b"xyz"),
    ForwardTsnChunk(9, [(1, 2), (3, 4)]),
    ReconfigChunk([ReconfigResponse(7, 1, 2, 3), OutgoingSsnResetRequest(1, 7, 3, (4, 5, 6))]),
    ReconfigChunk([IncomingSsnResetRequest(1, (4,))]),
    IDataChunk(1, 2, 3, 51, b"hey"),
    IForwardTsnChunk(9, [(1, False, 2), (3, True, 4)]),
    PadChunk(10),
    AsconfChunk(9, IPv4Address(bytes(4)), [AddIpAddress(1, IPv4Address(bytes(4)))]),
    AsconfAckChunk(9, [SuccessIndication(1), ErrorCauseIndication(2, b"")]),
    AuthChunk(1, 3, bytes(32)),
]


def with_right_checksum(data: bytes) -> bytes:
    checksum = crc32c(data[:8] + bytes(4) + data[12:])
    return data[:8] + checksum.to_bytes(4, "little") + data[12:]


def read(data: bytes) -> None:
    """Parse a packet, write the result and describe it; let no exception but BadPacket pass."""
    try:
        packet = parse_packet_untrusted(data)
    except BadPacket:
        return
    serialized = [chunk.serialize() for chunk in packet.chunks]
    again = serialize_packet(packet.source_port, packet.destination_port, packet.verification_tag, serialized)
    assert parse_packet_untrusted(again).chunks == packet.chunks
    repr(packet)
    for chunk in packet.chunks:
        if isinstance(chunk, AbortChunk | ErrorChunk):
            assert all(describe(cause).isprintable() for cause in chunk.causes)


@given(u16, u16, u32, st.lists(chunks, min_size=1, max_size=6), st.booleans())
def test_every_packet_is_read_back_as_it_was_written(
    source_port: int, destination_port: int, tag: int, sent: list[Chunk], zero_checksum: bool
) -> None:
    serialized = [chunk.serialize() for chunk in sent]
    assert all(len(part) % 4 == 0 for part in serialized)
    data = serialize_packet(source_port, destination_port, tag, serialized, zero_checksum=zero_checksum)
    packet = parse_packet_untrusted(data, zero_checksum_acceptable=zero_checksum)
    assert (packet.source_port, packet.destination_port, packet.verification_tag) == (
        source_port,
        destination_port,
        tag,
    )
    assert packet.chunks == sent
    assert [type(chunk) for chunk in packet.chunks] == [type(chunk) for chunk in sent]


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_read_or_refused(data: bytes) -> None:
    read(data)
    if len(data) >= 12:
        read(with_right_checksum(data))


@given(st.sampled_from([*range(15), 64, 130, 132, 192, 194, 15, 0x7F, 0xC1]), u16, st.binary(max_size=100))
def test_arbitrary_bytes_in_a_chunk_of_any_type_are_read_or_refused(chunk_type: int, flags: int, body: bytes) -> None:
    chunk = bytes([chunk_type, flags & 0xFF]) + (4 + len(body)).to_bytes(2, "big") + body
    read(serialize_packet(1, 2, 3, [chunk]))


@given(st.sampled_from([1, 2, 130]), st.lists(st.tuples(u16, u16, short_bytes), max_size=4))
def test_arbitrary_parameters_are_read_or_refused(chunk_type: int, fields: list[tuple[int, int, bytes]]) -> None:
    fixed = b"" if chunk_type == 130 else bytes(16)
    known = [5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18, 0x8000, 0x8001, 0x8008, 0xC000, 0xC006]
    parameters = b"".join(
        known[kind % len(known)].to_bytes(2, "big") + (length % 40).to_bytes(2, "big") + value
        for kind, length, value in fields
    )
    body = fixed + parameters
    read(serialize_packet(1, 2, 3, [bytes([chunk_type, 0]) + (4 + len(body)).to_bytes(2, "big") + body]))


def damaged(data: bytes) -> Iterator[bytes]:
    for length in range(len(data)):
        yield data[:length]
    for position, original in enumerate(data):
        for value in range(256):
            if value != original:
                yield data[:position] + bytes([value]) + data[position + 1 :]


@pytest.mark.parametrize("chunk", SAMPLES, ids=lambda chunk: type(chunk).__name__)
def test_every_truncation_and_corruption_of_each_chunk_type_is_read_or_refused(chunk: Chunk) -> None:
    for data in damaged(serialize_packet(1, 2, 3, [chunk.serialize(), DataChunk(7, 8, 9, 10, b"x").serialize()])):
        with pytest.raises(BadPacket):  # CRC32c finds any error within 32 bits.
            parse_packet_untrusted(data)
        if len(data) >= 12:
            read(with_right_checksum(data))
