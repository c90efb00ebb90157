"""Parameters against hand-made bytes."""

from __future__ import annotations

import pytest

from datachan.sctp.errors import BadPacket
from datachan.sctp.wire.parameters import (
    AdaptationIndication,
    AddIncomingStreamsRequest,
    AddIpAddress,
    AddOutgoingStreamsRequest,
    ChunkList,
    CookiePreservative,
    DeleteIpAddress,
    EcnCapable,
    ErrorCauseIndication,
    ForwardTsnSupported,
    HostNameAddress,
    IncomingSsnResetRequest,
    IPv4Address,
    IPv6Address,
    OutgoingSsnResetRequest,
    Parameter,
    Random,
    ReconfigResponse,
    RequestedHmacAlgorithms,
    SetPrimaryAddress,
    SsnTsnResetRequest,
    StateCookie,
    SuccessIndication,
    SupportedAddressTypes,
    SupportedExtensions,
    UnknownParameter,
    UnrecognizedParameter,
    ZeroChecksumAcceptable,
    parse_parameters_untrusted,
)

KNOWN = [
    (IPv4Address(b"\xc0\x00\x02\x01"), "00050008 c0000201"),
    (IPv6Address(bytes(15) + b"\x01"), "00060014 00000000000000000000000000000001"),
    (StateCookie(b"crumb"), "00070009 6372756d62 000000"),
    (UnrecognizedParameter(bytes.fromhex("40010004")), "00080008 40010004"),
    (CookiePreservative(1000), "00090008 000003e8"),
    (HostNameAddress(b"a.b\0"), "000b0008 612e6200"),
    (SupportedAddressTypes((5, 6)), "000c0008 00050006"),
    (SupportedAddressTypes((6,)), "000c0006 0006 0000"),
    (OutgoingSsnResetRequest(1, 2, 3), "000d0010 00000001 00000002 00000003"),
    (OutgoingSsnResetRequest(1, 2, 3, (4,)), "000d0012 00000001 00000002 00000003 0004 0000"),
    (OutgoingSsnResetRequest(1, 2, 3, (4, 65535)), "000d0014 00000001 00000002 00000003 0004ffff"),
    (IncomingSsnResetRequest(1), "000e0008 00000001"),
    (IncomingSsnResetRequest(1, (9,)), "000e000a 00000001 0009 0000"),
    (SsnTsnResetRequest(7), "000f0008 00000007"),
    (ReconfigResponse(7, 1), "0010000c 00000007 00000001"),
    (ReconfigResponse(7, 1, 8, 9), "00100014 00000007 00000001 00000008 00000009"),
    (AddOutgoingStreamsRequest(7, 3), "0011000c 00000007 0003 0000"),
    (AddIncomingStreamsRequest(7, 3), "0012000c 00000007 0003 0000"),
    (EcnCapable(), "80000004"),
    (ZeroChecksumAcceptable(), "80010008 00000001"),
    (SupportedExtensions((130, 192)), "80080006 82c0 0000"),
    (ForwardTsnSupported(), "c0000004"),
    (AdaptationIndication(0xDEADBEEF), "c0060008 deadbeef"),
    (Random(b"abcde"), "80020009 6162636465 000000"),
    (ChunkList((0xC1, 0x80, 0)), "80030007 c18000 00"),
    (RequestedHmacAlgorithms((3, 1)), "80040008 00030001"),
    (RequestedHmacAlgorithms((1,)), "80040006 0001 0000"),
    # The example of RFC 5061, 4.2.1.
    (AddIpAddress(0x01023474, IPv4Address(b"\xc0\0\2\1")), "c0010010 01023474 00050008 c0000201"),
    (DeleteIpAddress(0x01023476, IPv4Address(b"\xc0\0\2\1")), "c0020010 01023476 00050008 c0000201"),
    (
        ErrorCauseIndication(0x01023476, bytes.fromhex("00a00014c0020010010234760005 0008c0000201")),
        "c003001c 01023476 00a00014 c0020010 01023476 00050008 c0000201",
    ),
    (SetPrimaryAddress(7, IPv6Address(bytes(15) + b"\1")), f"c004001c 00000007 00060014 {bytes(15).hex()}01"),
    (SuccessIndication(7), "c0050008 00000007"),
    (UnknownParameter(0xC123, b"xyz"), "c1230007 78797a 00"),
]


def parse(data: bytes) -> list[Parameter]:
    return parse_parameters_untrusted(data, 0, len(data))


@pytest.mark.parametrize(("parameter", "hexadecimal"), KNOWN, ids=lambda value: type(value).__name__)
def test_each_parameter_has_the_bytes_of_its_rfc(parameter: Parameter, hexadecimal: str) -> None:
    data = bytes.fromhex(hexadecimal)
    assert parameter.serialize() == data
    assert parse(data) == [parameter]


@pytest.mark.parametrize(
    "hexadecimal",
    [
        "00050009 c000020100",  # IPv4 address of five bytes
        "00050007 c00002",
        "00060008 c0000201",
        "00090006 0000",
        "00090004",
        "000c0007 000500",
        "000d000e 00000001000000020000",
        "000d0011 00000001 00000002 00000003 00",
        "000e0006 0000",
        "000f000c 00000001 00000002",
        "00100010 00000007 00000001 00000008",  # one next TSN without the other
        "00110008 00000007",
        "00120010 00000007 0003 0000 00000000",
        "80000008 00000000",
        "80010004",
        "c0000005 00",
        "80040005 00",
        "c0010008 00000001",
        "c001000c 00000001 00050004",  # an address request without, with half, and with two addresses
        "c001000f 00000001 00050007 c0000200",
        "c0010018 00000001 00050008 c0000201 00050008 c0000202",
        "c0010018 00000001 c0010010 00000001 00050008 c0000201",  # a request inside a request
        "c0030006 0000",
        "c0050004",
    ],
)
def test_a_known_parameter_of_the_wrong_length_is_refused(hexadecimal: str) -> None:
    with pytest.raises(BadPacket):
        parse(bytes.fromhex(hexadecimal))


@pytest.mark.parametrize("hexadecimal", ["c1230003", "c1230000", "c123", "c12300", "c1230005", "c1230008000000"])
def test_a_parameter_that_does_not_fit_its_length_is_refused(hexadecimal: str) -> None:
    with pytest.raises(BadPacket):
        parse(bytes.fromhex(hexadecimal))


def test_the_padding_of_the_last_parameter_may_be_missing() -> None:
    assert parse(bytes.fromhex("80080006 82c0")) == [SupportedExtensions((130, 192))]


def test_the_padding_of_the_last_parameter_may_be_counted() -> None:
    assert parse(bytes.fromhex("80080006 82c0 0000")) == [SupportedExtensions((130, 192))]


def test_the_content_of_padding_between_parameters_is_ignored() -> None:
    data = bytes.fromhex("80080005 82 ffffff c0000004")
    assert parse(data) == [SupportedExtensions((130,)), ForwardTsnSupported()]


@pytest.mark.parametrize(
    ("parameter_type", "stop_processing", "report"),
    [(0x3F00, True, False), (0x7F00, True, True), (0xBF00, False, False), (0xFF00, False, True)],
)
def test_the_two_high_bits_say_how_to_handle_an_unknown_type(
    parameter_type: int, stop_processing: bool, report: bool
) -> None:
    parameter = UnknownParameter(parameter_type, b"")
    assert parameter.stop_processing is stop_processing
    assert parameter.report is report


def test_an_unknown_parameter_that_stops_processing_ends_the_parameters() -> None:
    assert parse(bytes.fromhex("7f000004 c0000004 0000")) == [UnknownParameter(0x7F00, b"")]


def test_processing_continues_after_an_unknown_parameter_to_skip() -> None:
    assert parse(bytes.fromhex("bf000004 c0000004")) == [UnknownParameter(0xBF00, b""), ForwardTsnSupported()]


def test_reading_is_bounded_by_the_end_of_the_chunk() -> None:
    data = bytes.fromhex("ffff c0000004 c0000004 ffff")
    assert parse_parameters_untrusted(data, 2, 6) == [ForwardTsnSupported()]
    with pytest.raises(BadPacket):
        parse_parameters_untrusted(bytes.fromhex("c1230008 00000000"), 0, 6)
