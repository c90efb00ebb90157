"""No packet exceeds the packet size of its path, whatever chunks are bundled, after that size has decreased."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest

from datachan.sctp.wire.chunks import HeartbeatChunk, UnknownChunk
from tests.scenario.sctp_pair import Pair, S, changed, packet, read
from tests.sim.network import RECORD_LIMIT

OPTIONS = changed(
    path_mtu_discovery=True,
    max_packet_size=RECORD_LIMIT,
    packet_overhead=65,
    interleaving=True,
    outbound_streams=1000,
    inbound_streams=1000,
)
BASE = OPTIONS.base_packet_size


class Fallen:
    """Return A and Z, with chunks of 16 KiB outstanding at A on a path that carries only the base size."""

    def __init__(self) -> None:
        self.pair = pair = Pair(OPTIONS).establish()
        for _ in range(40):
            pair.send_a(bytes(60_000))
            pair.send_z(bytes(60_000))
            pair.exchange()
            pair.pass_time(0.1)
        assert pair.a.stats().mtu == RECORD_LIMIT
        pair.send_a(bytes(60_000))
        assert max(map(len, pair.from_a())) > RECORD_LIMIT - 1000
        pair.a.packet_too_long(RECORD_LIMIT, pair.now)

    def sack(self) -> None:
        """Leave A with a SACK to send that has many Gap Ack Blocks."""
        self.pair.send_z(bytes(400_000))
        self.pair.to_a(*self.pair.from_z()[1::2])

    def heartbeat_ack(self) -> None:
        self.pair.to_a(packet(self.pair.a.local_tag, HeartbeatChunk(bytes(1000))))

    def error(self) -> None:
        self.pair.to_a(packet(self.pair.a.local_tag, UnknownChunk(0x7F, 0, bytes(900))))

    def reset(self) -> None:
        self.pair.a.reset_streams(range(2, 600), self.pair.now)

    def add_streams(self) -> None:
        self.pair.a.add_streams(self.pair.now, outgoing=5, incoming=5)

    def forward_tsn(self) -> None:
        """Abandon messages on many streams."""
        for stream in range(2, 400):
            self.pair.send_a(bytes(100), stream_id=stream, lifetime=0.01)
        self.pair.from_a()
        self.pair.now += 0.02

    def short_data(self) -> None:
        for _ in range(20):
            self.pair.send_a(b"short", stream_id=7)

    def shutdown(self) -> None:
        self.pair.a.shutdown(self.pair.now)


CAUSES: list[Callable[[Fallen], None]] = [
    Fallen.sack,
    Fallen.heartbeat_ack,
    Fallen.error,
    Fallen.reset,
    Fallen.add_streams,
    Fallen.forward_tsn,
    Fallen.short_data,
    Fallen.shutdown,
]


def check(datagrams: list[bytes]) -> None:
    """Check that only a chunk which alone exceeds the limit makes a packet exceed it, and none a DTLS record."""
    for datagram in datagrams:
        assert len(datagram) <= RECORD_LIMIT
        if len(datagram) > BASE:
            carried = read(datagram).chunks
            assert len(carried) == 1, [type(chunk).__name__ for chunk in carried]


@pytest.mark.parametrize(
    ("first", "second"), list(combinations(CAUSES, 2)), ids=lambda cause: getattr(cause, "__name__", None)
)
def test_bundled_chunks_stay_within_the_packet_size_of_the_path(
    first: Callable[[Fallen], None], second: Callable[[Fallen], None]
) -> None:
    fallen = Fallen()
    pair = fallen.pair
    first(fallen)
    second(fallen)
    sent = pair.from_a()
    for _ in range(4):
        sent += pair.expire_a()
        fallen.heartbeat_ack()
        sent += pair.from_a()
    assert max(map(len, sent)) > BASE  # the outstanding chunks were retransmitted
    check(sent)
    assert pair.a.state is not S.CLOSED
    pair.a.check_invariants()
