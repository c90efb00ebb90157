"""Peers that treat extensions otherwise than RFC 9260 says: Z is changed into one by rewriting its packets."""

from __future__ import annotations

from collections.abc import Callable

from datachan.sctp.wire.chunks import HeartbeatAckChunk, HeartbeatChunk, InitAckChunk, InitChunk
from datachan.sctp.wire.extensions import PAD, PadChunk
from datachan.sctp.wire.parameters import Parameter, SupportedExtensions
from tests.scenario.sctp_pair import Pair, S, changed, chunks, packet, read

Change = Callable[[list[Parameter]], list[Parameter]]


def rewrite(datagram: bytes, change: Change) -> bytes:
    """Return a packet with other parameters in its INIT or INIT ACK; any other packet as it is."""
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
    """Let A connect to Z, whose INIT ACK A sees changed."""
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


def test_a_peer_that_does_not_announce_pad_is_probed_with_a_long_heartbeat() -> None:
    # A peer such as werift ends its process at a chunk it does not know.
    pair = Pair(DISCOVERING)
    establish(pair, without_pad)
    before = pair.a.stats().mtu

    (probe,) = probes(pair)
    assert len(probe) > before
    assert [type(chunk) for chunk in read(probe).chunks] == [HeartbeatChunk]

    # A     [HEARTBEAT, long] ─▶ Z      A ◀─ [HEARTBEAT ACK, as long] Z
    (asked,) = chunks([probe], HeartbeatChunk)
    pair.now += 0.1
    pair.to_a(packet(pair.a.local_tag, HeartbeatAckChunk(asked.info)))
    assert pair.a.stats().mtu == len(probe)


def test_a_shortened_answer_to_a_long_heartbeat_proves_nothing() -> None:
    pair = Pair(DISCOVERING)
    establish(pair, without_pad)
    before = pair.a.stats().mtu

    (probe,) = probes(pair)
    (asked,) = chunks([probe], HeartbeatChunk)
    pair.to_a(packet(pair.a.local_tag, HeartbeatAckChunk(asked.info[:8])))

    assert pair.a.stats().mtu == before
