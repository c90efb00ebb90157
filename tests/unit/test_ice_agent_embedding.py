"""DTLS in checks: what is attached, what is taken, and how a peer that does not take part ends it."""

from __future__ import annotations

import zlib

import pytest

from datachan.ice_agent import stun
from datachan.ice_agent.embedding import MAX_CHECK, Embedding, Support

HELLO, FLIGHT, LONG = b"\x16" + bytes(200), b"\x16" + bytes(900), b"\x16" + bytes(1100)
ROOM = MAX_CHECK - 120


def crc(*datagrams: bytes) -> bytes:
    return b"".join(zlib.crc32(one).to_bytes(4, "big") for one in datagrams)


def check(datagram: bytes | None = None, acknowledged: bytes | None = None) -> stun.Message:
    given = {stun.DTLS_IN_STUN: datagram, stun.DTLS_IN_STUN_ACK: acknowledged}
    return stun.Message(stun.BINDING, bytes(12), {kind: value for kind, value in given.items() if value is not None})


def take(embedding: Embedding, message: stun.Message, *, answers_ours: bool = False) -> bytes | None:
    return embedding.take_untrusted(message, answers_ours=answers_ours)


def attached(embedding: Embedding, *, room: int = ROOM, now: float = 0.0, proven: bool = True) -> dict[int, bytes]:
    return embedding.attributes(room, now, proven=proven)


def test_attaches_the_datagrams_of_a_flight_in_turns_until_they_are_acknowledged() -> None:
    embedding = Embedding(enabled=True)
    embedding.set_flight([HELLO, FLIGHT])
    assert [attached(embedding)[stun.DTLS_IN_STUN] for _ in range(3)] == [HELLO, FLIGHT, HELLO]
    take(embedding, check(acknowledged=crc(HELLO)))
    assert [attached(embedding)[stun.DTLS_IN_STUN] for _ in range(2)] == [FLIGHT, FLIGHT]
    take(embedding, check(acknowledged=crc(FLIGHT, HELLO)))
    assert attached(embedding) == {stun.DTLS_IN_STUN_ACK: b""}


def test_hands_up_each_datagram_once_and_acknowledges_it() -> None:
    embedding = Embedding(enabled=True)
    assert take(embedding, check(HELLO, b"")) == HELLO
    assert take(embedding, check(HELLO, b"")) is None
    assert attached(embedding) == {stun.DTLS_IN_STUN_ACK: crc(HELLO)}
    assert embedding.support is Support.YES
    assert embedding.taken == 1


@pytest.mark.parametrize("datagram", [b"", b"\x00stun", b"\xff", b"GET / HTTP/1.1"])
def test_takes_nothing_but_dtls(datagram: bytes) -> None:
    embedding = Embedding(enabled=True)
    assert take(embedding, check(datagram, b"")) is None
    assert attached(embedding) == {stun.DTLS_IN_STUN_ACK: b""}


@pytest.mark.parametrize("acknowledged", [b"\1", b"\1\2\3\4\5", bytes(4096)])
def test_bears_a_malformed_acknowledgment(acknowledged: bytes) -> None:
    embedding = Embedding(enabled=True)
    embedding.set_flight([HELLO])
    take(embedding, check(acknowledged=acknowledged))
    assert attached(embedding)[stun.DTLS_IN_STUN] == HELLO


def test_remembers_a_bounded_number_of_datagrams() -> None:
    embedding = Embedding(enabled=True)
    for number in range(1000):
        take(embedding, check(b"\x16" + number.to_bytes(2, "big")))
    assert len(attached(embedding)[stun.DTLS_IN_STUN_ACK]) == 4 * 16


def test_to_an_unproven_address_goes_a_client_hello_and_no_certificate() -> None:
    embedding = Embedding(enabled=True)
    embedding.set_flight([HELLO])
    assert stun.DTLS_IN_STUN in attached(embedding, proven=False)
    embedding.set_flight([FLIGHT])
    assert stun.DTLS_IN_STUN not in attached(embedding, proven=False)
    assert stun.DTLS_IN_STUN in attached(embedding)


def test_what_makes_a_check_too_long_is_left_out() -> None:
    embedding = Embedding(enabled=True)
    embedding.set_flight([LONG])
    assert attached(embedding) == {stun.DTLS_IN_STUN_ACK: b""}
    assert attached(embedding, room=3) == {}


def test_an_answer_without_the_attributes_ends_it() -> None:
    embedding = Embedding(enabled=True)
    embedding.set_flight([HELLO])
    take(embedding, check(), answers_ours=False)  # a check of a peer that attaches to every second one
    assert embedding.support is Support.UNKNOWN
    take(embedding, check(), answers_ours=True)
    assert attached(embedding) == {}
    assert take(embedding, check(HELLO, b"")) is None


def test_a_peer_that_copies_the_attributes_ends_it() -> None:
    embedding = Embedding(enabled=True)
    embedding.set_flight([HELLO])
    copied = attached(embedding)
    assert take(embedding, check(copied[stun.DTLS_IN_STUN], copied[stun.DTLS_IN_STUN_ACK]), answers_ours=True) is None
    assert attached(embedding) == {}


def test_the_last_flight_is_repeated_until_it_is_acknowledged_or_ten_seconds_have_passed() -> None:
    for acknowledged, now in ((True, 1.0), (False, 10.0)):
        embedding = Embedding(enabled=True)
        embedding.set_flight([HELLO])
        embedding.handshake_complete(0.0, last_flight_is_ours=True)
        assert attached(embedding, now=0.9)[stun.DTLS_IN_STUN] == HELLO
        if acknowledged:
            take(embedding, check(acknowledged=crc(HELLO)))
        assert attached(embedding, now=now) == {}


def test_the_side_that_has_the_last_flight_needs_nothing_more() -> None:
    embedding = Embedding(enabled=True)
    embedding.set_flight([HELLO])
    embedding.handshake_complete(0.0, last_flight_is_ours=False)
    assert attached(embedding) == {}


def test_is_off_unless_it_is_enabled() -> None:
    embedding = Embedding(enabled=False)
    embedding.set_flight([HELLO])
    assert attached(embedding) == {}
    assert take(embedding, check(HELLO, b"")) is None
