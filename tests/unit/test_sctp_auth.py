"""Keys, key vectors and HMACs of RFC 4895, against a calculation of the test's own."""

from __future__ import annotations

import hashlib

import pytest

from datachan.sctp.errors import InvalidState, UnknownKey
from datachan.sctp.records.keys import (
    HMAC_IDENTIFIERS,
    SHA1,
    SHA256,
    Authenticator,
    KeyRing,
    authentication_parameters,
    chosen_algorithm,
    key_vector,
    listed_chunks,
    make_authenticator,
    refuse_authentication,
)
from datachan.sctp.wire.causes import MISSING_MANDATORY_PARAMETER, PROTOCOL_VIOLATION
from datachan.sctp.wire.chunks import Chunk, CookieAckChunk, DataChunk, HeartbeatChunk
from datachan.sctp.wire.extensions import AuthChunk
from datachan.sctp.wire.packet import parse_packet_untrusted, serialize_packet
from datachan.sctp.wire.parameters import ChunkList, Parameter, Random, RequestedHmacAlgorithms

A_RANDOM, Z_RANDOM = bytes(range(32)), bytes(range(100, 132))
DATA_CHUNK = DataChunk(1, 2, 3, 51, b"signed")


def plain_hmac(name: str, key: bytes, data: bytes) -> bytes:
    """Return the HMAC as RFC 2104 defines it."""
    block = 64
    key = hashlib.new(name, key).digest() if len(key) > block else key
    key = key.ljust(block, b"\0")
    inner = hashlib.new(name, bytes(byte ^ 0x36 for byte in key) + data).digest()
    return hashlib.new(name, bytes(byte ^ 0x5C for byte in key) + inner).digest()


def authenticator(keys: KeyRing | None = None, chunks: tuple[int, ...] = (0,)) -> Authenticator:
    """Return the authenticator of A; Z lists the same chunks."""
    return make_authenticator(
        keys or KeyRing(), A_RANDOM, chunks, key_vector(authentication_parameters(Z_RANDOM, chunks))
    )


def received(auth: bytes, *chunks: Chunk) -> list[Chunk]:
    """Return the chunks of a packet as the receiver reads them."""
    return parse_packet_untrusted(serialize_packet(1, 2, 3, [auth, *[chunk.serialize() for chunk in chunks]])).chunks


def test_the_key_vector_is_the_three_parameters_without_padding() -> None:
    vector = key_vector([RequestedHmacAlgorithms((1,)), ChunkList((0, 0xC1, 0x80)), Random(b"r" * 32)])
    assert vector.hex() == "80020024" + b"r".hex() * 32 + "8003000700c180" + "800400060001"
    assert key_vector([]) == b""


@pytest.mark.parametrize(("hmac_id", "name"), [(SHA256, "sha256"), (SHA1, "sha1")])
@pytest.mark.parametrize("shared", [b"", b"a shared secret"])
def test_the_hmac_matches_rfc_2104(hmac_id: int, name: str, shared: bytes) -> None:
    ours = key_vector(authentication_parameters(A_RANDOM, (0,)))
    theirs = key_vector([Random(Z_RANDOM), RequestedHmacAlgorithms((hmac_id,))])
    signer = make_authenticator(KeyRing([(7, shared)]), A_RANDOM, (0,), theirs)
    wire = DATA_CHUNK.serialize()
    made = signer.sign([wire], 7)
    length = hashlib.new(name).digest_size
    header = bytes.fromhex(f"0f00{8 + length:04x}0007{hmac_id:04x}")
    # Z lists no chunks, so its vector is the shorter and, as a number, the smaller one.
    key = shared + theirs + ours
    assert made == header + plain_hmac(name, key, header + bytes(length) + wire)
    assert signer.overhead == len(made)


def test_both_sides_compute_the_same_key() -> None:
    a_vector, z_vector = (
        key_vector(authentication_parameters(A_RANDOM, (0,))),
        key_vector(authentication_parameters(Z_RANDOM, (0, 3))),
    )
    a = make_authenticator(KeyRing([(1, b"k")]), A_RANDOM, (0,), z_vector)
    z = make_authenticator(KeyRing([(1, b"k")]), Z_RANDOM, (0, 3), a_vector)
    assert z.admit(received(a.sign([DATA_CHUNK.serialize()], 1), DATA_CHUNK)) == [DATA_CHUNK]
    assert a.admit(received(z.sign([DATA_CHUNK.serialize()], 1), DATA_CHUNK)) == [DATA_CHUNK]
    assert (a.peer_chunks, z.peer_chunks) == ({0, 3}, {0})


def test_puts_the_shorter_of_two_equal_key_vectors_first() -> None:
    # RFC 4895, 6.1: "If the key vectors are equal as numbers but differ in length, then the concatenation order is the
    # endpoint shared key, followed by the shorter key vector, followed by the longer key vector."
    short, long = b"\1", b"\0\1"
    made = [
        Authenticator(KeyRing(), first, second, frozenset(), frozenset(), SHA256).sign([b"x" * 4], 0)
        for first, second in ((short, long), (long, short))
    ]
    header = bytes.fromhex("0f0000280000 0003")
    assert made == [header + plain_hmac("sha256", short + long, header + bytes(32) + b"xxxx")] * 2


def test_discards_only_unsigned_chunks_that_must_be_signed() -> None:
    assert authenticator().admit([CookieAckChunk(), DATA_CHUNK, HeartbeatChunk(b"x")]) == [
        CookieAckChunk(),
        HeartbeatChunk(b"x"),
    ]


def test_accepts_as_signed_only_chunks_behind_auth() -> None:
    auth = authenticator()
    first, *rest = received(auth.sign([DATA_CHUNK.serialize()], 0), DATA_CHUNK)
    assert auth.admit([DataChunk(9, 2, 3, 51, b"before"), first, *rest]) == [DATA_CHUNK]


@pytest.mark.parametrize("damage", range(44, 60))
def test_a_packet_changed_behind_the_auth_chunk_is_discarded_from_there(damage: int) -> None:
    auth = authenticator(chunks=(0, 4))
    wire = bytearray(auth.sign([DATA_CHUNK.serialize()], 0) + DATA_CHUNK.serialize())
    wire[damage] ^= 1
    packet = parse_packet_untrusted(serialize_packet(1, 2, 3, [CookieAckChunk().serialize(), bytes(wire)]))
    assert auth.admit(packet.chunks) == [CookieAckChunk()]


def test_a_wrong_hmac_an_unknown_key_and_an_unknown_algorithm_are_refused() -> None:
    auth = authenticator(KeyRing([(1, b"one"), (2, b"two")]))
    other = authenticator(KeyRing([(1, b"one"), (2, b"other"), (3, b"three")]))
    wire = DATA_CHUNK.serialize()
    assert auth.admit(received(other.sign([wire], 1), DATA_CHUNK)) == [DATA_CHUNK]
    assert auth.admit(received(other.sign([wire], 2), DATA_CHUNK)) == []
    assert auth.admit(received(other.sign([wire], 3), DATA_CHUNK)) == []
    assert auth.admit(received(AuthChunk(1, 2, bytes(32)).serialize(), DATA_CHUNK)) == []
    assert auth.admit(received(AuthChunk(1, SHA256, b"").serialize(), DATA_CHUNK)) == []


def test_a_second_auth_chunk_ends_the_packet() -> None:
    # RFC 4895, 5.1: "The control chunk AUTH MUST NOT appear more than once in an SCTP packet."
    auth = authenticator()
    wire = DATA_CHUNK.serialize()
    second = auth.sign([wire], 0)
    first = auth.sign([second, wire], 0)
    chunks = parse_packet_untrusted(serialize_packet(1, 2, 3, [first, second, wire])).chunks
    assert auth.admit(chunks) == []


def test_chooses_the_first_supported_algorithm() -> None:
    assert chosen_algorithm([RequestedHmacAlgorithms((9, 1, 3))]) == SHA1
    assert chosen_algorithm([RequestedHmacAlgorithms((9,))]) == 0
    assert chosen_algorithm([]) == 0
    assert SHA1 in HMAC_IDENTIFIERS


def test_types_that_cannot_be_signed_are_ignored_in_the_peers_list() -> None:
    # RFC 4895, 3.2: "if a CHUNKS parameter is received then the types for INIT, INIT-ACK, SHUTDOWN-COMPLETE, and AUTH
    # chunks MUST be ignored."
    assert listed_chunks([ChunkList((0, 1, 2, 14, 15, 193))]) == {0, 193}


@pytest.mark.parametrize(
    ("parameters", "required", "code"),
    [
        ([], (), None),
        ([], (0,), MISSING_MANDATORY_PARAMETER),
        ([Random(bytes(32))], (0,), MISSING_MANDATORY_PARAMETER),
        ([Random(bytes(31)), RequestedHmacAlgorithms((1,))], (), PROTOCOL_VIOLATION),
        ([Random(bytes(32)), RequestedHmacAlgorithms((1,))], (0,), None),
        ([Random(bytes(32)), RequestedHmacAlgorithms((1,) * 300)], (), PROTOCOL_VIOLATION),
    ],
)
def test_refuses_unusable_authentication_parameters(
    parameters: list[Parameter], required: tuple[int, ...], code: int | None
) -> None:
    cause = refuse_authentication(parameters, required)
    assert (None if cause is None else cause.code) == code


def test_keys_are_set_activated_deactivated_and_deleted() -> None:
    keys = KeyRing([(1, b"one")], active=1)
    with pytest.raises(ValueError, match="65536"):
        keys.set_key(65536, b"")
    with pytest.raises(UnknownKey):
        keys.activate(2)
    keys.set_key(2, b"two")
    keys.activate(2)
    with pytest.raises(InvalidState):
        keys.deactivate(2)
    with pytest.raises(InvalidState):
        keys.delete(1)
    keys.deactivate(1)
    with pytest.raises(UnknownKey):
        keys.activate(1)
    with pytest.raises(InvalidState):
        keys.delete(1)
    assert keys.release(set()) == [1]
    keys.delete(1)
    with pytest.raises(UnknownKey):
        keys.delete(1)
    assert keys.keys == {0: b"", 2: b"two"}
