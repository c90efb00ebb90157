"""Numbers that wrap: TSNs at 2**32 and stream sequence numbers at 2**16 change nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from datachan.sctp.association import Association
from datachan.sctp.wire.chunks import DataChunk, SackChunk

from .sctp_pair import Pair, changed, chunks, entropy


def starting_at(initial_tsn: int, seed: int) -> Callable[[int], bytes]:
    """Entropy that returns a given Initial TSN, its second value of four bytes."""
    random = entropy(seed)
    draws = 0

    def draw(length: int) -> bytes:
        nonlocal draws
        if length == 4:
            draws += 1
            if draws == 2:
                return initial_tsn.to_bytes(4, "big")
        return random(length)

    return draw


def wrapping_pair(initial_tsn: int) -> Pair:
    pair = Pair(changed(initial_cwnd=1_000_000, max_burst=1000, outbound_streams=20, inbound_streams=20))
    pair.a = Association(pair.options, starting_at(initial_tsn, 1))
    return pair.establish()


@pytest.mark.parametrize("before", [0, 1, 2, 5, 30])
def test_transfer_loss_and_recovery_across_the_tsn_wrap(before: int) -> None:
    pair = wrapping_pair((1 << 32) - 1 - before)
    pair.send_a(bytes(20 * 1172))
    datagrams = pair.from_a()
    tsns = [chunk.tsn for chunk in chunks(datagrams, DataChunk)]
    assert tsns[0] == (1 << 32) - 1 - before
    assert all(tsn == tsns[0] + i & 0xFFFFFFFF for i, tsn in enumerate(tsns))
    pair.to_z(*[datagram for i, datagram in enumerate(datagrams) if i not in (0, before, before + 1, 7)])
    pair.exchange()
    pair.pass_time(10)
    assert pair.received_by_z() == [bytes(20 * 1172)]


def test_messages_are_abandoned_across_the_tsn_wrap() -> None:
    pair = wrapping_pair((1 << 32) - 3)
    for i in range(6):
        pair.send_a(bytes([i]) * 1100, max_retransmissions=0)
    pair.from_a()
    pair.exchange()
    pair.pass_time(10)
    pair.send_a(b"after")
    pair.exchange()
    assert pair.received_by_z() == [b"after"]


def test_resetting_a_stream_across_the_tsn_wrap() -> None:
    pair = wrapping_pair((1 << 32) - 2)
    for _ in range(5):
        pair.send_a(b"x", stream_id=4)
    pair.a.reset_streams([4], pair.now)
    pair.exchange()
    pair.send_a(b"y", stream_id=4)
    pair.exchange()
    assert pair.received_by_z() == [b"x"] * 5 + [b"y"]


def test_a_sack_from_before_the_wrap_is_old_after_it() -> None:
    pair = wrapping_pair((1 << 32) - 1)
    pair.send_a(b"1")
    pair.to_z(*pair.from_a())
    old = pair.from_z()
    assert chunks(old, SackChunk)[0].cumulative_tsn_ack == (1 << 32) - 1
    pair.to_a(*old)
    pair.send_a(b"2")
    pair.exchange()
    in_flight = pair.a.stats().flight_size
    pair.to_a(*old)
    assert pair.a.stats().flight_size == in_flight


def test_stream_sequence_numbers_wrap_after_65536_messages() -> None:
    pair = wrapping_pair(1)
    sent = 0
    while sent < 65_536 + 200:
        for _ in range(1000):
            pair.send_a(sent.to_bytes(4, "big"), stream_id=2)
            sent += 1
        pair.exchange()
    assert [int.from_bytes(message, "big") for message in pair.received_by_z()] == list(range(sent))


def test_reordering_at_the_ssn_wrap_keeps_the_order() -> None:
    pair = wrapping_pair(1)
    for i in range(65_530):
        pair.send_a(b"x", stream_id=2)
        if i % 5000 == 0:
            pair.exchange()
    pair.exchange()
    before = len(pair.received_by_z())
    batches = []
    for i in range(12):
        pair.send_a(i.to_bytes(4, "big"), stream_id=2)
        batches.append(pair.from_a())
    for batch in reversed(batches):
        pair.to_z(*batch)
    assert [int.from_bytes(message, "big") for message in pair.received_by_z()[before:]] == list(range(12))
