"""Peers that handle extensions differently from RFC 9260. The tests rewrite Z's packets to imitate them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from datachan.sctp.wire.chunks import HeartbeatAckChunk, HeartbeatChunk, InitAckChunk, InitChunk
from datachan.sctp.wire.extensions import PAD, PadChunk
from datachan.sctp.wire.parameters import (
    ForwardTsnSupported,
    Parameter,
    StateCookie,
    SupportedExtensions,
    ZeroChecksumAcceptable,
)
from tests.scenario.sctp_pair import Pair, S, changed, chunks, packet, read

Change = Callable[[list[Parameter]], list[Parameter]]


def rewrite(datagram: bytes, change: Change) -> bytes:
    """Return a packet with other parameters in its INIT or INIT ACK; any other packet unchanged."""
    carried = read(datagram)
    first = carried.chunks[0]
    if not isinstance(first, (InitChunk, InitAckChunk)):
        return datagram
    first.parameters = change(list(first.parameters))
    return packet(carried.verification_tag, first)


def without_pad(parameters: list[Parameter]) -> list[Parameter]:
    """Return the parameters with PAD taken out of Supported Extensions."""
    return [
        SupportedExtensions(tuple(kind for kind in one.chunk_types if kind != PAD))
        if isinstance(one, SupportedExtensions)
        else one
        for one in parameters
    ]


def establish(pair: Pair, change: Change) -> None:
    """Let A connect to Z; A receives a changed INIT ACK."""
    pair.a.connect(pair.now)
    for _ in range(4):
        pair.to_z(*pair.from_a())
        pair.to_a(*(rewrite(datagram, change) for datagram in pair.from_z()))
    assert (pair.a.state, pair.z.state) == (S.ESTABLISHED, S.ESTABLISHED)


def probes(pair: Pair) -> list[bytes]:
    """Return the path MTU probes that A sends with full packets."""
    pair.send_a(bytes(20_000))
    pair.to_z(*pair.from_a())
    pair.to_a(*pair.from_z())
    found = [datagram for datagram in pair.from_a() if chunks([datagram], HeartbeatChunk)]
    assert found
    return found


DISCOVERING = changed(path_mtu_discovery=True, max_packet_size=1400, packet_overhead=65)


def test_a_peer_that_announces_pad_is_probed_with_pad() -> None:
    pair = Pair(DISCOVERING).establish()

    (probe,) = probes(pair)

    assert len(probe) > DISCOVERING.first_packet_size
    assert len(chunks([probe], PadChunk)) == 1


def test_a_peer_that_does_not_announce_pad_is_probed_with_heartbeats_alone() -> None:
    # A peer such as werift ends its process at a chunk it does not know.
    # Chromium answers no HEARTBEAT that is longer than its own packets.
    pair = Pair(DISCOVERING)
    establish(pair, without_pad)
    before = pair.a.stats().mtu

    (probe,) = probes(pair)
    assert len(probe) > before
    sent = read(probe).chunks
    assert [type(chunk) for chunk in sent] == [HeartbeatChunk] * 3
    assert max(len(chunk.serialize()) for chunk in sent) < 900

    # A     [HEARTBEAT, HEARTBEAT, HEARTBEAT] ─▶ Z      A ◀─ [HEARTBEAT ACK] Z, one of each
    pair.now += 0.1
    pair.to_a(*(packet(pair.a.local_tag, HeartbeatAckChunk(chunk.info)) for chunk in sent))
    assert pair.a.stats().mtu == len(probe)


def test_the_answer_to_the_filling_of_a_probe_does_not_confirm_its_size() -> None:
    pair = Pair(DISCOVERING)
    establish(pair, without_pad)
    before = pair.a.stats().mtu

    (probe,) = probes(pair)
    _, filling, _ = chunks([probe], HeartbeatChunk)
    pair.to_a(packet(pair.a.local_tag, HeartbeatAckChunk(filling.info)))

    assert pair.a.stats().mtu == before


# -- a peer that discards an INIT or INIT ACK with a parameter it does not know ----------------------------------------


def has(datagram: bytes, kind: type[Parameter]) -> bool:
    """Return whether a packet is an INIT or INIT ACK with a parameter of these types."""
    first = read(datagram).chunks[0]
    return isinstance(first, (InitChunk, InitAckChunk)) and any(isinstance(one, kind) for one in first.parameters)


def test_an_unanswered_init_is_repeated_without_optional_parameters() -> None:
    pair = Pair(changed(zero_checksum=True))
    pair.a.connect(pair.now)
    (first,) = chunks(pair.from_a(), InitChunk)

    # A     [INIT] ─▶ /discarded/
    (second,) = chunks(pair.expire_a(), InitChunk)

    assert {type(one) for one in first.parameters} == {ForwardTsnSupported, SupportedExtensions, ZeroChecksumAcceptable}
    assert second.parameters == []
    assert (second.initiate_tag, second.initial_tsn) == (first.initiate_tag, first.initial_tsn)


def test_a_peer_that_accepts_only_plain_inits_gets_a_plain_association() -> None:
    pair = Pair(changed(zero_checksum=True))
    pair.a.connect(pair.now)
    pair.from_a()

    # A     [INIT, plain] ─▶ Z      A ◀─ [INIT ACK, plain] Z
    pair.to_z(*pair.expire_a())
    pair.to_a(*(rewrite(datagram, only_cookie) for datagram in pair.from_z()))
    pair.exchange()

    assert pair.a.state is pair.z.state is S.ESTABLISHED
    extensions = pair.a.extensions
    assert extensions is not None
    assert not extensions.partial_reliability
    assert not extensions.stream_reset
    assert not extensions.zero_checksum
    pair.send_a(b"x")
    pair.exchange()
    assert pair.received_by_z() == [b"x"]


def only_cookie(parameters: list[Parameter]) -> list[Parameter]:
    """Return the parameters that RFC 9260 alone has."""
    return [one for one in parameters if isinstance(one, StateCookie)]


def test_extensions_of_a_lost_init_are_offered_again_if_the_peer_supports_them() -> None:
    pair = Pair(changed(zero_checksum=True, interleaving=True))
    pair.a.connect(pair.now)
    (lost,) = chunks(pair.from_a(), InitChunk)

    # A     [INIT, plain] ─▶ Z      A ◀─ [INIT ACK with extensions] Z      A [INIT with them] ─▶ Z
    pair.to_z(*pair.expire_a())
    late = pair.from_z()
    pair.to_a(*late)
    again = pair.from_a()
    (offer,) = chunks(again, InitChunk)
    assert {type(one) for one in offer.parameters} == {type(one) for one in lost.parameters}
    assert offer.initial_tsn == lost.initial_tsn
    # The answer to an INIT without the extensions is not an answer to this INIT.
    assert offer.initiate_tag != lost.initiate_tag
    pair.to_a(*late)
    assert pair.from_a() == []

    pair.to_z(*again)
    pair.exchange()
    assert pair.a.state is pair.z.state is S.ESTABLISHED
    for end in (pair.a, pair.z):
        assert end.extensions is not None
        assert end.extensions.zero_checksum
        assert end.extensions.partial_reliability
        assert end.extensions.stream_reset
        assert end.extensions.interleaving
    pair.send_a(bytes(5000))
    pair.send_z(b"y")
    pair.exchange()
    assert (pair.received_by_z(), pair.received_by_a()) == ([bytes(5000)], [b"y"])


def test_a_lost_init_does_not_turn_off_authentication() -> None:
    pair = Pair(changed(authentication=True))
    pair.a.connect(pair.now)
    (first,) = chunks(pair.from_a(), InitChunk)

    (second,) = chunks(pair.expire_a(), InitChunk)

    assert second.serialize() == first.serialize()


@pytest.mark.parametrize("offered", [True, False])
def test_an_init_ack_has_zero_checksum_acceptable_only_if_the_init_has_it(offered: bool) -> None:
    pair = Pair(changed(zero_checksum=offered), changed(zero_checksum=True))
    pair.a.connect(pair.now)
    pair.to_z(*pair.from_a())

    (answer,) = pair.from_z()

    assert has(answer, ZeroChecksumAcceptable) is offered


def test_two_peers_that_both_connect_and_lose_their_inits_have_all_extensions() -> None:
    pair = Pair(changed(interleaving=True))
    pair.a.connect(pair.now)
    pair.z.connect(pair.now)
    assert pair.from_a()
    assert pair.from_z()

    pair.pass_time(10)

    assert pair.a.state is pair.z.state is S.ESTABLISHED
    for end in (pair.a, pair.z):
        assert end.extensions is not None
        assert end.extensions.interleaving
    pair.send_a(b"x")
    pair.send_z(b"y")
    pair.exchange()
    assert (pair.received_by_z(), pair.received_by_a()) == ([b"x"], [b"y"])
