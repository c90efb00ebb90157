"""Error causes against hand-made bytes, and their description against hostile content."""

from __future__ import annotations

import pytest

from datachan.sctp.errors import BadPacket
from datachan.sctp.wire import causes
from datachan.sctp.wire.causes import ErrorCause, describe, parse_causes_untrusted
from datachan.sctp.wire.parameters import HostNameAddress, IPv4Address, UnknownParameter

KNOWN = [
    (causes.invalid_stream_identifier(5), "00010008 0005 0000", "Invalid Stream Identifier: stream 5"),
    (
        causes.missing_mandatory_parameter([7]),
        "0002000a 00000001 0007 0000",
        "Missing Mandatory Parameter: parameter type 0x0007",
    ),
    (causes.stale_cookie(1000), "00030008 000003e8", "Stale Cookie: by 1000 microseconds"),
    (causes.out_of_resource(), "00040004", "Out of Resource"),
    (
        causes.unresolvable_address(HostNameAddress(b"a.b\0")),
        "0005000c 000b0008 612e6200",
        "Unresolvable Address: parameter type 0x000b",
    ),
    (
        causes.unrecognized_chunk_type(bytes.fromhex("7f000004")),
        "00060008 7f000004",
        "Unrecognized Chunk Type: type 127",
    ),
    (causes.invalid_mandatory_parameter(), "00070004", "Invalid Mandatory Parameter"),
    (
        causes.unrecognized_parameters([UnknownParameter(0xC123, b"x"), UnknownParameter(0xC124, b"")]),
        "00080010 c123000578000000 c1240004",
        "Unrecognized Parameters: parameter type 0xc123",
    ),
    (causes.no_user_data(7), "00090008 00000007", "No User Data: TSN 7"),
    (causes.cookie_received_while_shutting_down(), "000a0004", "Cookie Received While Shutting Down"),
    (
        causes.restart_with_new_addresses([IPv4Address(b"\xc0\x00\x02\x01")]),
        "000b000c 00050008c0000201",
        "Restart of an Association with New Addresses",
    ),
    (causes.user_initiated_abort("enough"), "000c000a 656e6f756768 0000", "User-Initiated Abort: enough"),
    (causes.user_initiated_abort(""), "000c0004", "User-Initiated Abort"),
    (causes.protocol_violation("no"), "000d0006 6e6f 0000", "Protocol Violation: no"),
    (ErrorCause(0xABCD, b"\x01"), "abcd0005 01 000000", "Unknown error cause 43981"),
]


@pytest.mark.parametrize(("cause", "hexadecimal", "description"), KNOWN, ids=[row[2] for row in KNOWN])
def test_each_cause_has_the_bytes_of_the_rfc_and_words(cause: ErrorCause, hexadecimal: str, description: str) -> None:
    data = bytes.fromhex(hexadecimal)
    assert cause.serialize() == data
    assert parse_causes_untrusted(data, 0, len(data)) == [cause]
    assert describe(cause) == description


def test_several_causes_are_read_in_order() -> None:
    data = bytes.fromhex("000d0005 6e ffffff 00040004 000c0005 78")
    assert parse_causes_untrusted(data, 0, len(data)) == [
        causes.protocol_violation("n"),
        causes.out_of_resource(),
        causes.user_initiated_abort("x"),
    ]


@pytest.mark.parametrize("hexadecimal", ["00", "00040003", "00040000", "00040005", "00040004 00"])
def test_a_cause_that_does_not_fit_its_length_is_refused(hexadecimal: str) -> None:
    data = bytes.fromhex(hexadecimal)
    with pytest.raises(BadPacket):
        parse_causes_untrusted(data, 0, len(data))


def test_a_staleness_too_large_for_its_field_is_cut() -> None:
    assert causes.stale_cookie(1 << 40).info == b"\xff\xff\xff\xff"
    assert causes.stale_cookie(-1).info == bytes(4)


def test_an_unwrapped_tsn_is_cut_to_32_bits() -> None:
    assert causes.no_user_data((1 << 32) + 7) == causes.no_user_data(7)


def test_the_text_of_a_peer_is_shortened_and_made_printable() -> None:
    text = describe(ErrorCause(causes.USER_INITIATED_ABORT, b"\x1b[2Jbad\xff\n" + b"a" * 60000))
    assert text.isprintable()
    assert len(text) < 300
    assert "bad" in text


@pytest.mark.parametrize("code", range(15))
@pytest.mark.parametrize("size", range(9))
def test_a_cause_with_any_information_can_be_described(code: int, size: int) -> None:
    assert describe(ErrorCause(code, b"\xff" * size)).isprintable()
