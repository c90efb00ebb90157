"""The STUN codec, with the test vectors of RFC 5769, and whatever bytes arrive."""

from __future__ import annotations

import random
import zlib

import pytest

from datachan.ice_agent import BadPacket, stun

PASSWORD = b"VOkJxbRl1RmTxUk/WvJxBt"
# RFC 5769, 2.1.
REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff80290008932f"
    "f9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf"
)
# RFC 5769, 2.2 and 2.3.
RESPONSE_V4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643000800142b91"
    "f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96"
)
RESPONSE_V6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9faa5d3f179bc25"
    "f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c"
)


def test_reads_the_request_of_rfc_5769() -> None:
    message = stun.parse_untrusted(REQUEST)
    assert (message.method, message.message_class) == (stun.BINDING, stun.REQUEST)
    assert message.attributes[stun.USERNAME] == b"evtj:h6vY"
    assert message.number(stun.PRIORITY) == 0x6E0001FF
    assert message.number(stun.ICE_CONTROLLED) == 0x932FF9B151263B36
    assert message.is_signed_with(PASSWORD)
    assert not message.is_signed_with(PASSWORD + b"x")
    assert message.unknown_attributes() == []


@pytest.mark.parametrize(
    ("response", "address"),
    [(RESPONSE_V4, ("192.0.2.1", 32853)), (RESPONSE_V6, ("2001:db8:1234:5678:11:2233:4455:6677", 32853))],
)
def test_reads_the_responses_of_rfc_5769(response: bytes, address: tuple[str, int]) -> None:
    message = stun.parse_untrusted(response)
    assert message.message_class == stun.SUCCESS
    assert message.address(stun.XOR_MAPPED_ADDRESS) == address
    assert message.is_signed_with(PASSWORD)


@pytest.mark.parametrize("address", [("192.0.2.1", 32853), ("2001:db8::1", 1), ("0.0.0.0", 0)])
def test_writes_what_it_reads(address: tuple[str, int]) -> None:
    identity = bytes(range(12))
    attributes = {stun.XOR_MAPPED_ADDRESS: stun.xor_address(address, identity), stun.USERNAME: b"a:b"}
    data = stun.serialize(stun.Message(stun.BINDING + stun.SUCCESS, identity, attributes), b"key")
    read = stun.parse_untrusted(data)
    assert read.address(stun.XOR_MAPPED_ADDRESS) == address
    assert read.attributes[stun.USERNAME] == b"a:b"
    assert read.is_signed_with(b"key")


def test_writes_errors_with_their_reason() -> None:
    attributes = {stun.ERROR_CODE: stun.error_code(487, "Role Conflict")}
    read = stun.parse_untrusted(stun.serialize(stun.Message(stun.BINDING + stun.ERROR, bytes(12), attributes)))
    assert (read.error_code, read.reason) == (487, "Role Conflict")
    assert not read.is_signed_with(b"")


def test_ignores_attributes_behind_message_integrity() -> None:
    request = stun.Message(stun.BINDING, bytes(12), {stun.USERNAME: b"a:b"})
    signed = stun.serialize(request, b"key", fingerprint=False)
    read = stun.parse_untrusted(lengthened(signed, bytes.fromhex("00250000")))
    assert stun.USE_CANDIDATE not in read.attributes
    assert read.is_signed_with(b"key")


def test_names_unknown_attributes_that_must_be_understood() -> None:
    request = stun.Message(stun.BINDING, bytes(12), {0x7FFF: b"", 0x8FFF: b"", stun.NOMINATION: bytes(4)})
    assert stun.parse_untrusted(stun.serialize(request)).unknown_attributes() == [0x7FFF]


@pytest.mark.parametrize("position", [*range(20), 24, 40, 107])
def test_changed_bytes_do_not_pass_the_fingerprint(position: int) -> None:
    changed = bytearray(REQUEST)
    changed[position] ^= 1
    with pytest.raises(BadPacket):
        stun.parse_untrusted(bytes(changed))


def test_whatever_arrives_raises_bad_packet_only(seed: int) -> None:
    choose = random.Random(seed)
    for _ in range(3000):
        data = bytearray(choose.choice((REQUEST, RESPONSE_V4, RESPONSE_V6))[:-8])
        data[2:4] = (len(data) - 20).to_bytes(2, "big")
        for _ in range(choose.randrange(1, 6)):
            data[choose.randrange(len(data))] = choose.randrange(256)
        damaged = bytes(data[: choose.randrange(len(data) + 1)]) if choose.random() < 0.3 else bytes(data)
        try:
            message = stun.parse_untrusted(damaged)
        except BadPacket:
            continue
        message.address(stun.XOR_MAPPED_ADDRESS)
        message.number(stun.PRIORITY)
        assert message.error_code is None or 0 <= message.error_code < 800
        message.is_signed_with(PASSWORD)
        message.unknown_attributes()


def lengthened(message: bytes, further: bytes) -> bytes:
    """Return a message with further attributes at its end."""
    return message[:2] + (len(message) - 20 + len(further)).to_bytes(2, "big") + message[4:] + further


def test_a_message_has_a_bounded_number_of_attributes() -> None:
    request = stun.Message(stun.BINDING, bytes(12), {0x9000 + index: b"" for index in range(65)})
    with pytest.raises(BadPacket, match="attributes"):
        stun.parse_untrusted(stun.serialize(request))


def test_attributes_that_are_ignored_count_too() -> None:
    signed = stun.serialize(stun.Message(stun.BINDING, bytes(12)), b"key", fingerprint=False)
    stun.parse_untrusted(lengthened(signed, bytes.fromhex("90000000") * 63))
    with pytest.raises(BadPacket, match="attributes"):
        stun.parse_untrusted(lengthened(signed, bytes.fromhex("90000000") * 64))


def test_nothing_follows_the_fingerprint() -> None:
    """Otherwise a stranger could have each of 8,000 fingerprints computed over all the bytes before it."""
    with pytest.raises(BadPacket, match="last attribute"):
        stun.parse_untrusted(with_fingerprint(with_fingerprint(REQUEST[:-8])))


def with_fingerprint(message: bytes) -> bytes:
    """Return a message with a FINGERPRINT that matches at its end."""
    prefix = lengthened(message, bytes(8))[:-8]
    return lengthened(message, bytes.fromhex("80280004") + (zlib.crc32(prefix) ^ 0x5354554E).to_bytes(4, "big"))


def test_a_fingerprint_at_the_end_matches() -> None:
    assert with_fingerprint(REQUEST[:-8]) == REQUEST
