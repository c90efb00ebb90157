"""The chunks of the extensions against hand-made bytes."""

from __future__ import annotations

import pytest

from datachan.sctp.errors import BadPacket
from datachan.sctp.wire.chunks import Chunk
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
    ErrorCauseIndication,
    IPv4Address,
    OutgoingSsnResetRequest,
    ReconfigResponse,
    SuccessIndication,
)

KNOWN: list[tuple[Chunk, str]] = [
    (ForwardTsnChunk(9, []), "c0000008 00000009"),
    (ForwardTsnChunk(9, [(1, 2), (65535, 65535)]), "c0000010 00000009 00010002 ffffffff"),
    (ReconfigChunk([ReconfigResponse(7, 1)]), "82000010 0010000c 00000007 00000001"),
    (
        ReconfigChunk([ReconfigResponse(7, 6), OutgoingSsnResetRequest(1, 7, 3, (4,))]),
        "82000022 0010000c 00000007 00000006 000d0012 00000001 00000007 00000003 0004 0000",
    ),
    (ReconfigChunk([]), "82000004"),
    (IDataChunk(1, 2, 3, 51, b"hey"), "40030017 00000001 0002 0000 00000003 00000033 686579 00"),
    (
        IDataChunk(1, 2, 3, 8, b"hey", unordered=True, beginning=False, ending=False, immediate=True),
        "400c0017 00000001 0002 0000 00000003 00000008 686579 00",
    ),
    (IDataChunk(1, 2, 3, 51, b""), "40030014 00000001 0002 0000 00000003 00000033"),
    (IForwardTsnChunk(9, []), "c2000008 00000009"),
    (IForwardTsnChunk(9, [(1, False, 2), (3, True, 4)]), "c2000018 00000009 0001000000000002 0003000100000004"),
    (AuthChunk(5, 3, bytes(range(32))), f"0f000028 0005 0003 {bytes(range(32)).hex()}"),
    (AuthChunk(0, 1, b"abcde"), "0f00000d 0000 0001 6162636465 000000"),
    (
        AsconfChunk(9, IPv4Address(b"\xc0\0\2\2"), [AddIpAddress(1, IPv4Address(b"\xc0\0\2\1"))]),
        "c1000020 00000009 00050008 c0000202 c0010010 00000001 00050008 c0000201",
    ),
    (AsconfAckChunk(9, []), "80000008 00000009"),
    (AsconfAckChunk(9, [SuccessIndication(1)]), "80000010 00000009 c0050008 00000001"),
    (
        AsconfAckChunk(9, [ErrorCauseIndication(1, bytes.fromhex("00a4 0005 78"))]),
        "80000015 00000009 c003000d 00000001 00a4000578 000000",
    ),
    (PadChunk(4), "84000004"),
    (PadChunk(10), "8400000a 000000000000 0000"),
]


def parse(data: bytes) -> Chunk:
    [chunk] = parse_packet_untrusted(serialize_packet(1, 2, 3, [data])).chunks
    return chunk


@pytest.mark.parametrize(("chunk", "hexadecimal"), KNOWN, ids=[repr(row[0]) for row in KNOWN])
def test_each_chunk_has_the_bytes_of_its_rfc(chunk: Chunk, hexadecimal: str) -> None:
    data = bytes.fromhex(hexadecimal)
    assert chunk.serialize() == data
    parsed = parse(data)
    assert type(parsed) is type(chunk)
    assert parsed == chunk
    assert parsed.type == data[0]


@pytest.mark.parametrize(
    "hexadecimal",
    [
        "0f000006 0000",
        "c1000004",
        "c1000008 00000009",
        "c1000010 00000009 c0050008 00000001",  # ASCONF that does not begin with an address
        "80000006 0000",
        "c0000004",
        "c000000a 00000009 0001",
        "82000006 0010",
        "82000010 000d000c 00000001 00000002",
        "40030013 00000001 0002 0000 00000003 000000",
        "c200000c 00000009 00010000",
        "c2000004",
    ],
)
def test_a_chunk_whose_parts_do_not_fit_is_refused(hexadecimal: str) -> None:
    with pytest.raises(BadPacket):
        parse(bytes.fromhex(hexadecimal))


def test_only_the_first_fragment_carries_the_payload_protocol_identifier() -> None:
    first = IDataChunk(1, 2, 3, 51, b"a", ending=False)
    second = IDataChunk(2, 2, 3, 1, b"b", beginning=False)
    assert (first.ppid, first.fsn) == (51, 0)
    assert (second.ppid, second.fsn) == (0, 1)


def test_reserved_bits_of_i_forward_tsn_are_ignored() -> None:
    assert parse(bytes.fromhex("c2ff0010 00000009 0001fffe00000002")) == IForwardTsnChunk(9, [(1, False, 2)])


def test_the_content_of_padding_is_ignored() -> None:
    assert parse(bytes.fromhex("84ff0008 deadbeef")) == PadChunk(8)
