"""The chunks of RFC 9260 against hand-made bytes."""

from __future__ import annotations

import pytest

from datachan.sctp.errors import BadPacket
from datachan.sctp.wire import causes
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
from datachan.sctp.wire.packet import parse_packet_untrusted, serialize_packet
from datachan.sctp.wire.parameters import ForwardTsnSupported, StateCookie, SupportedExtensions, UnknownParameter

KNOWN: list[tuple[Chunk, str]] = [
    (DataChunk(1, 2, 3, 51, b"hello"), "00030015 00000001 0002 0003 00000033 68656c6c6f 000000"),
    (DataChunk(0xFFFFFFFF, 65535, 65535, 0xFFFFFFFF, b"four"), "00030014 ffffffff ffff ffff ffffffff 666f7572"),
    (DataChunk(1, 2, 3, 51, b"a", beginning=False, ending=False), "00000011 00000001 0002 0003 00000033 61 000000"),
    (DataChunk(1, 2, 3, 51, b"ab", ending=False), "00020012 00000001 0002 0003 00000033 6162 0000"),
    (DataChunk(1, 2, 3, 51, b"abc", beginning=False), "00010013 00000001 0002 0003 00000033 616263 00"),
    (DataChunk(1, 2, 0, 51, b"x", unordered=True), "00070011 00000001 0002 0000 00000033 78 000000"),
    (DataChunk(1, 2, 3, 51, b"x", immediate=True), "000b0011 00000001 0002 0003 00000033 78 000000"),
    (DataChunk(1, 2, 3, 51, b""), "00030010 00000001 0002 0003 00000033"),
    (InitChunk(1, 2, 3, 4, 5), "01000014 00000001 00000002 0003 0004 00000005"),
    (
        InitAckChunk(1, 2, 3, 4, 5, [ForwardTsnSupported(), StateCookie(b"crumb")]),
        "02000021 00000001 00000002 0003 0004 00000005 c0000004 00070009 6372756d62 000000",
    ),
    (SackChunk(1, 2, [], []), "03000010 00000001 00000002 0000 0000"),
    (SackChunk(1, 2, [(2, 3), (5, 65535)], []), "03000018 00000001 00000002 0002 0000 00020003 0005ffff"),
    (SackChunk(1, 2, [], [7, 7]), "03000018 00000001 00000002 0000 0002 00000007 00000007"),
    (SackChunk(1, 2, [(2, 2)], [0xFFFFFFFF]), "03000018 00000001 00000002 0001 0001 00020002 ffffffff"),
    (HeartbeatChunk(b"now"), "0400000b 00010007 6e6f77 00"),
    (HeartbeatAckChunk(b"then"), "0500000c 00010008 7468656e"),
    (HeartbeatChunk(b""), "04000008 00010004"),
    (HeartbeatChunk(b"now", bytes.fromhex("8001000501")), "04000011 00010007 6e6f77 00 8001000501 000000"),
    (AbortChunk(), "06000004"),
    (AbortChunk(tag_reflected=True), "06010004"),
    (AbortChunk([causes.user_initiated_abort("bye")]), "0600000b 000c0007 627965 00"),
    (
        AbortChunk([causes.protocol_violation("x"), causes.out_of_resource()]),
        "06000010 000d0005 78000000 00040004",
    ),
    (ShutdownChunk(9), "07000008 00000009"),
    (ShutdownAckChunk(), "08000004"),
    (ErrorChunk([causes.stale_cookie(1)]), "0900000c 00030008 00000001"),
    (CookieEchoChunk(b"crumb"), "0a000009 6372756d62 000000"),
    (CookieEchoChunk(b""), "0a000004"),
    (CookieAckChunk(), "0b000004"),
    (EcneChunk(5), "0c000008 00000005"),
    (CwrChunk(5), "0d000008 00000005"),
    (ShutdownCompleteChunk(), "0e000004"),
    (ShutdownCompleteChunk(tag_reflected=True), "0e010004"),
    (UnknownChunk(0xC5, 0xA5, b"xyz"), "c5a50007 78797a 00"),
]


def parse(data: bytes) -> Chunk:
    [chunk] = parse_packet_untrusted(serialize_packet(1, 2, 3, [data])).chunks
    return chunk


@pytest.mark.parametrize(("chunk", "hexadecimal"), KNOWN, ids=[repr(row[0]) for row in KNOWN])
def test_each_chunk_has_the_bytes_of_the_rfc(chunk: Chunk, hexadecimal: str) -> None:
    data = bytes.fromhex(hexadecimal)
    assert chunk.serialize() == data
    parsed = parse(data)
    assert type(parsed) is type(chunk)
    assert parsed == chunk
    assert parsed.type == data[0]


@pytest.mark.parametrize(
    "hexadecimal",
    [
        "0003000f 00000001 0002 0003 000000",  # DATA below its header
        "00030004",
        "01000013 00000001 00000002 0003 0004 000000",
        "02000004",
        "01000016 00000001 00000002 0003 0004 00000005 c000",  # half a parameter header
        "01000018 00000001 00000002 0003 0004 00000005 c0000003",
        "01000018 00000001 00000002 0003 0004 00000005 c0000008",  # a parameter past the end
        "0300000c 00000001 00000002",
        "03000010 00000001 00000002 0001 0000",  # a gap block it does not hold
        "03000010 00000001 00000002 0000 ffff",
        "03000014 00000001 00000002 0000 0000 00000000",
        "03000012 00000001 00000002 0000 0000 0000",
        "04000004",
        "04000008 00020004",  # not a Heartbeat Info parameter
        "04000008 00010003",
        "04000008 00010005",
        "05000004",
        "06000008 000c0005",
        "06000005 00",
        "07000004",
        "0700000c 00000009 00000000",
        "08000008 00000000",
        "09000007 000300",
        "0b000005 00",
        "0c000004",
        "0d00000c 00000005 00000000",
        "0e000008 00000000",
    ],
)
def test_a_chunk_whose_parts_do_not_fit_is_refused(hexadecimal: str) -> None:
    with pytest.raises(BadPacket):
        parse(bytes.fromhex(hexadecimal))


def test_reads_the_init_of_chromium() -> None:
    data = bytes.fromhex("0100001ed340d29600500000ffffffffb0eb3f3dc00000048008000682c00000")
    chunk = parse(data)
    assert chunk == InitChunk(
        0xD340D296, 5242880, 65535, 65535, 0xB0EB3F3D, [ForwardTsnSupported(), SupportedExtensions((130, 192))]
    )
    assert chunk.serialize() == data


def test_reads_the_init_of_firefox() -> None:
    data = bytes.fromhex("01000020c9efe2f401000000ffffffff34242d80c00000048008000882c040c2")
    chunk = parse(data)
    assert chunk == InitChunk(
        0xC9EFE2F4,
        16777216,
        65535,
        65535,
        0x34242D80,
        [ForwardTsnSupported(), SupportedExtensions((130, 192, 64, 194))],
    )
    assert chunk.serialize() == data


def test_an_init_may_count_the_padding_of_its_last_parameter() -> None:
    # RFC 9260, 3.2: "A robust implementation is expected to accept the chunk whether or not the final padding has been
    # included in the Chunk Length."
    without = parse(bytes.fromhex("0100001ed340d29600500000ffffffffb0eb3f3dc00000048008000682c00000"))
    counted = parse(bytes.fromhex("01000020d340d29600500000ffffffffb0eb3f3dc00000048008000682c00000"))
    assert without == counted


def test_a_heartbeat_may_count_its_padding() -> None:
    assert parse(bytes.fromhex("0400000c 00010007 6e6f77 00")) == HeartbeatChunk(b"now")


def test_an_init_ends_at_a_parameter_that_stops_processing() -> None:
    chunk = parse(bytes.fromhex("01000020 00000001 00000002 0003 0004 00000005 3f000004 c0000004 ffff ffff"))
    assert isinstance(chunk, InitChunk)
    assert chunk.parameters == [UnknownParameter(0x3F00, b"")]


def test_reserved_bits_are_ignored() -> None:
    assert parse(bytes.fromhex("00f30011 00000001 0002 0003 00000033 78 000000")) == DataChunk(1, 2, 3, 51, b"x")
    assert parse(bytes.fromhex("06fe0004")) == AbortChunk()
    assert parse(bytes.fromhex("08ff0004")) == ShutdownAckChunk()
    assert parse(bytes.fromhex("03ff0010 00000001 00000002 0000 0000")) == SackChunk(1, 2, [], [])


@pytest.mark.parametrize(
    ("chunk_type", "stop_processing", "report"),
    [(0x3F, True, False), (0x7F, True, True), (0xBF, False, False), (0xFF, False, True)],
)
def test_the_two_high_bits_say_how_to_handle_an_unknown_type(
    chunk_type: int, stop_processing: bool, report: bool
) -> None:
    chunk = UnknownChunk(chunk_type, 0, b"")
    assert chunk.stop_processing is stop_processing
    assert chunk.report is report


def test_payloads_are_bytes() -> None:
    chunk = parse(DataChunk(1, 2, 3, 51, b"hello").serialize())
    assert isinstance(chunk, DataChunk)
    assert type(chunk.data) is bytes


def test_chunks_of_different_content_differ() -> None:
    assert SackChunk(1, 2, [], []) != SackChunk(1, 3, [], [])
    assert HeartbeatChunk(b"x") != HeartbeatAckChunk(b"x")
    assert DataChunk(1, 2, 3, 4, b"x") != DataChunk(1, 2, 3, 4, b"x", unordered=True)
    assert ShutdownAckChunk() != "SHUTDOWN ACK"
    assert len({SackChunk(1, 2, [], []), SackChunk(1, 2, [], []), CookieAckChunk()}) == 2
