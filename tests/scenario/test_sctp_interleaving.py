"""Interleaved messages (RFC 8260, section 2), step by step: negotiation, I-DATA, I-FORWARD-TSN, stream reset."""

from __future__ import annotations

from dataclasses import replace

import pytest

from datachan.sctp.association import Association, AssociationState
from datachan.sctp.events import AssociationLost, SendFailed
from datachan.sctp.options import AssociationOptions
from datachan.sctp.wire import causes
from datachan.sctp.wire.chunks import AbortChunk, Chunk, DataChunk, InitAckChunk, InitChunk, SackChunk
from datachan.sctp.wire.extensions import (
    FORWARD_TSN,
    I_DATA,
    I_FORWARD_TSN,
    PAD,
    RE_CONFIG,
    ForwardTsnChunk,
    IDataChunk,
    IForwardTsnChunk,
)
from datachan.sctp.wire.parameters import SupportedExtensions

from .sctp_pair import Pair, changed, chunks, packet, read
from .test_sctp_wrap import starting_at

FRAGMENT = 1168
"""User bytes of a full I-DATA chunk in a packet of 1200 bytes."""

INTERLEAVING = changed(interleaving=True, initial_cwnd=1_000_000, max_burst=1000, tail_loss_probe=False)


def interleaved(**keywords: object) -> Pair:
    return Pair(replace(INTERLEAVING, **keywords)).establish()  # type: ignore[arg-type]


def extensions(chunk: InitChunk) -> tuple[int, ...]:
    return next(p.chunk_types for p in chunk.parameters if isinstance(p, SupportedExtensions))


def forged(pair: Pair, chunk: Chunk) -> bytes:
    """Return a packet with this chunk, with A's ports and the tag that Z expects."""
    pair.send_a(b"?", stream_id=99)
    return packet(read(pair.from_a()[0]).verification_tag, chunk)


def assert_protocol_violation(pair: Pair) -> None:
    (abort,) = chunks(pair.from_z(), AbortChunk)
    assert [cause.code for cause in abort.causes] == [causes.PROTOCOL_VIOLATION]
    assert pair.z.state is AssociationState.CLOSED
    assert "broke the protocol" in pair.z_saw(AssociationLost)[0].reason


# -- negotiation -------------------------------------------------------------------------------------------------------


def test_i_data_is_announced_by_default_and_used_if_both_sides_announce_it() -> None:
    pair = Pair(AssociationOptions())
    pair.a.connect(pair.now)
    init = pair.from_a()
    assert extensions(chunks(init, InitChunk)[0]) == (FORWARD_TSN, RE_CONFIG, I_DATA, I_FORWARD_TSN, PAD)
    pair.to_z(*init)
    answer = pair.from_z()
    assert extensions(chunks(answer, InitAckChunk)[0]) == (FORWARD_TSN, RE_CONFIG, I_DATA, I_FORWARD_TSN, PAD)
    pair.to_a(*answer)
    pair.exchange()
    pair.send_a(b"x")
    pair.send_z(b"y")
    from_a, from_z = pair.from_a(), pair.from_z()
    assert len(chunks(from_a, IDataChunk)) == len(chunks(from_z, IDataChunk)) == 1
    pair.to_z(*from_a)
    pair.to_a(*from_z)
    assert (pair.received_by_z(), pair.received_by_a()) == ([b"x"], [b"y"])


@pytest.mark.parametrize("a_does", [True, False])
def test_uses_data_with_a_peer_that_does_not_announce_i_data(a_does: bool) -> None:
    pair = Pair(changed(interleaving=a_does), changed(interleaving=not a_does)).establish()
    pair.send_a(bytes(5000), max_retransmissions=0)
    pair.send_z(b"y")
    from_a, from_z = pair.from_a(), pair.from_z()
    assert chunks(from_a, IDataChunk) == chunks(from_z, IDataChunk) == []
    lost = len(from_a)
    pair.to_a(*from_z)
    answer = pair.expire_a()
    assert lost
    assert len(chunks(answer, ForwardTsnChunk)) == 1
    assert chunks(answer, IForwardTsnChunk) == []


def test_without_partial_reliability_only_i_data_is_announced() -> None:
    pair = Pair(AssociationOptions(partial_reliability=False))
    pair.a.connect(pair.now)
    assert extensions(chunks(pair.from_a(), InitChunk)[0]) == (RE_CONFIG, I_DATA, PAD)


def test_with_i_data_but_without_i_forward_tsn_everything_is_reliable() -> None:
    pair = Pair(INTERLEAVING, replace(INTERLEAVING, partial_reliability=False)).establish()
    pair.send_a(b"important after all", max_retransmissions=0)
    pair.from_a()
    pair.to_z(*pair.expire_a())
    assert pair.received_by_z() == [b"important after all"]


@pytest.mark.parametrize("interleaving", [True, False])
def test_the_wrong_kind_of_data_ends_the_association(interleaving: bool) -> None:
    pair = Pair(changed(interleaving=interleaving)).establish()
    wrong = DataChunk(5, 1, 0, 51, b"x") if interleaving else IDataChunk(5, 1, 0, 51, b"x")
    pair.to_z(forged(pair, wrong))
    assert_protocol_violation(pair)


@pytest.mark.parametrize("interleaving", [True, False])
def test_the_wrong_kind_of_forward_tsn_ends_the_association(interleaving: bool) -> None:
    pair = Pair(changed(interleaving=interleaving)).establish()
    wrong = ForwardTsnChunk(5, []) if interleaving else IForwardTsnChunk(5, [])
    pair.to_z(forged(pair, wrong))
    assert_protocol_violation(pair)


def test_an_i_forward_tsn_that_was_not_negotiated_ends_the_association() -> None:
    pair = interleaved(partial_reliability=False)
    pair.to_z(forged(pair, IForwardTsnChunk(5, [])))
    assert_protocol_violation(pair)


# -- I-DATA ------------------------------------------------------------------------------------------------------------


def test_fragments_are_numbered_and_the_first_has_the_ppid_instead() -> None:
    pair = interleaved()
    pair.send_a(bytes(2 * FRAGMENT + 10))
    sent = chunks(pair.from_a(), IDataChunk)
    assert [(chunk.beginning, chunk.ending, chunk.ppid_or_fsn, len(chunk.data)) for chunk in sent] == [
        (True, False, 51, FRAGMENT),
        (False, False, 1, FRAGMENT),
        (False, True, 2, 10),
    ]
    assert {chunk.mid for chunk in sent} == {0}


def test_ordered_and_unordered_messages_of_a_stream_are_numbered_apart() -> None:
    pair = interleaved()
    for unordered in (False, True, True, False, True):
        pair.send_a(b"x", stream_id=3, unordered=unordered)
    pair.send_a(b"x", stream_id=4)
    sent = chunks(pair.from_a(), IDataChunk)
    numbers = [(chunk.unordered, chunk.mid) for chunk in sent if chunk.stream_id == 3]
    assert numbers == [(False, 0), (True, 0), (True, 1), (False, 1), (True, 2)]
    assert [chunk.mid for chunk in sent if chunk.stream_id == 4] == [0]


def test_a_short_message_is_not_held_up_by_a_long_one_of_another_stream() -> None:
    pair = interleaved()
    pair.send_a(bytes(20 * FRAGMENT), stream_id=1)
    pair.send_a(b"ping", stream_id=2)
    first, second, *_ = pair.from_a()
    assert [chunk.stream_id for chunk in chunks([first, second], IDataChunk)][:2] == [1, 2]
    pair.to_z(first, second)
    assert pair.received_by_z() == [b"ping"]


@pytest.mark.parametrize("immediate", [False, True])
def test_i_data_with_the_i_bit_is_acknowledged_at_once(immediate: bool) -> None:
    pair = interleaved()
    pair.send_a(b"first")
    pair.exchange()
    pair.send_a(b"second")
    datagrams = pair.from_a()
    (sent,) = chunks(datagrams, IDataChunk)
    sent.immediate = immediate
    pair.to_z(packet(read(datagrams[0]).verification_tag, sent))
    assert len(chunks(pair.from_z(), SackChunk)) == immediate


def test_messages_of_one_stream_are_not_mixed() -> None:
    pair = interleaved()
    pair.send_a(bytes(5 * FRAGMENT))
    pair.send_a(b"u", unordered=True)
    pair.send_a(bytes(3 * FRAGMENT))
    sent = chunks(pair.from_a(), IDataChunk)
    # A fragment of the last message fills the packet of the short one.
    assert [(chunk.unordered, chunk.mid) for chunk in sent] == [(False, 0)] * 5 + [(True, 0)] + [(False, 1)] * 4


def test_fragments_may_arrive_in_any_order() -> None:
    pair = interleaved()
    long = bytes(range(256)) * 40
    pair.send_a(long, stream_id=1)
    pair.send_a(long[::-1], stream_id=2, unordered=True)
    pair.send_a(b"third", stream_id=1)
    for datagram in reversed(pair.from_a()):
        pair.to_z(datagram)
    assert pair.received_by_z() == [long[::-1], long, b"third"]
    assert pair.z.stats().receive_buffered == 0


@pytest.mark.parametrize(
    "second",
    [
        IDataChunk(1, 1, 0, 51, b"x", ending=False),
        IDataChunk(1, 1, 0, 51, b"x"),
        IDataChunk(1, 1, 0, 0, b"x", beginning=False, ending=False),
        IDataChunk(1, 1, 0, 5, b"x", beginning=False),
        IDataChunk(1, 1, 0, 3, b"x", beginning=False, ending=False),
    ],
    ids=["two first fragments", "whole and in fragments", "number 0 without B", "ends twice", "a number used twice"],
)
def test_contradictory_fragments_end_the_association(second: IDataChunk) -> None:
    pair = interleaved()
    pair.send_a(b"?")
    datagrams = pair.from_a()
    tag, tsn = read(datagrams[0]).verification_tag, chunks(datagrams, IDataChunk)[0].tsn
    pair.to_z(*datagrams)
    pair.from_z()
    rest = [
        IDataChunk(tsn + 1, 1, 1, 51, b"a", ending=False),
        IDataChunk(tsn + 2, 1, 1, 3, b"d", beginning=False, ending=False),
        IDataChunk(tsn + 3, 1, 1, 4, b"e", beginning=False),
    ]
    second.tsn, second.mid = tsn + 4, 1
    pair.to_z(packet(tag, *rest))
    assert pair.z.state is AssociationState.ESTABLISHED
    pair.from_z()
    pair.to_z(packet(tag, second))
    assert_protocol_violation(pair)


def test_a_message_longer_than_announced_ends_the_association() -> None:
    pair = interleaved(max_message_size=3000)
    pair.send_a(bytes(3001))
    pair.exchange()
    assert "exceeds the maximum message size of 3000 bytes" in pair.z_saw(AssociationLost)[0].reason


def test_without_user_data_the_association_ends() -> None:
    pair = interleaved()
    pair.to_z(forged(pair, IDataChunk(5, 1, 0, 51, b"")))
    (abort,) = chunks(pair.from_z(), AbortChunk)
    assert [cause.code for cause in abort.causes] == [causes.NO_USER_DATA]


# -- the receiver window -----------------------------------------------------------------------------------------------


def test_messages_longer_than_the_window_arrive_interleaved_with_others() -> None:
    pair = interleaved(receive_window=100_000)
    pair.send_a(bytes(1_000_000), stream_id=1)
    for stream_id in range(2, 12):
        pair.send_a(bytes([stream_id]) * 10_000, stream_id=stream_id)
    for _ in range(50):
        if len(pair.received_by_z()) == 11:
            break
        pair.exchange(5000)
        pair.pass_time(0.01)
    lengths = [len(message) for message in pair.received_by_z()]
    assert sorted(lengths) == [10_000] * 10 + [1_000_000]
    assert lengths[-1] == 1_000_000
    assert pair.z.stats().receive_buffered == 0


def test_starts_no_more_messages_than_the_peer_can_hold() -> None:
    pair = interleaved(receive_window=100_000)
    for stream_id in range(20):
        pair.send_a(bytes(20_000), stream_id=stream_id)
    most = 0
    under_way: dict[int, int] = {}
    for _ in range(500):
        datagrams = pair.from_a()
        for chunk in chunks(datagrams, IDataChunk):
            under_way[chunk.stream_id] = under_way.get(chunk.stream_id, 0) + len(chunk.data)
            if chunk.ending:
                del under_way[chunk.stream_id]
            most = max(most, len(under_way))
        pair.to_z(*datagrams)
        pair.collect()
        pair.to_a(*pair.from_z())
        if len(pair.received_by_z()) == 20:
            break
        pair.pass_time(0.01)
    assert len(pair.received_by_z()) == 20
    assert 2 <= most <= 5


def test_aborts_a_peer_that_fills_the_window_with_unfinished_messages() -> None:
    pair = interleaved(receive_window=100_000)
    pair.send_a(b"?")
    datagrams = pair.from_a()
    tag, tsn = read(datagrams[0]).verification_tag, chunks(datagrams, IDataChunk)[0].tsn
    pair.to_z(*datagrams)
    pair.collect()
    for i in range(200):
        pair.to_z(packet(tag, IDataChunk(tsn + 1 + i, i, 7, 51, bytes(1000), ending=False)))
        answers = pair.from_z()
        if pair.z.state is AssociationState.CLOSED:
            break
    (abort,) = chunks(answers, AbortChunk)
    assert [cause.code for cause in abort.causes] == [causes.OUT_OF_RESOURCE]
    assert "cannot be finished" in pair.z_saw(AssociationLost)[0].reason


# -- I-FORWARD-TSN -----------------------------------------------------------------------------------------------------


def test_i_forward_tsn_lists_unordered_messages_too() -> None:
    pair = interleaved()
    pair.send_a(b"a", unordered=True, max_retransmissions=0)
    pair.send_a(b"b", stream_id=3, max_retransmissions=0)
    pair.send_a(b"c", stream_id=3, max_retransmissions=0)
    lost = chunks(pair.from_a(), IDataChunk)
    (forward,) = chunks(pair.expire_a(), IForwardTsnChunk)
    assert forward.new_cumulative_tsn == lost[-1].tsn
    assert sorted(forward.streams) == [(1, True, 0), (3, False, 1)]


@pytest.mark.parametrize("unordered", [False, True])
def test_drops_the_fragments_of_an_abandoned_message_only(unordered: bool) -> None:
    pair = interleaved()
    pair.send_a(bytes(4 * FRAGMENT), stream_id=1, unordered=unordered, max_retransmissions=0, context="given up")
    pair.send_a(bytes(4 * FRAGMENT), stream_id=2)
    datagrams = pair.from_a()
    # The fourth packet carries the second fragment on stream 2: the third, on stream 1, is lost.
    assert [chunk.stream_id for chunk in chunks(datagrams[:4], IDataChunk)] == [1, 2, 1, 2]
    pair.to_z(*datagrams[:2], *datagrams[3:])
    pair.exchange()
    pair.pass_time(10)
    assert [event.context for event in pair.a_saw(SendFailed)] == ["given up"]
    pair.send_a(b"next", stream_id=1, unordered=unordered)
    pair.exchange()
    assert pair.received_by_z() == [bytes(4 * FRAGMENT), b"next"]
    assert pair.z.stats().receive_buffered == 0


@pytest.mark.parametrize("unordered", [False, True])
def test_the_receiver_drops_a_message_abandoned_half_sent(unordered: bool) -> None:
    pair = interleaved(max_burst=2, initial_cwnd=0)
    pair.send_a(bytes(10 * FRAGMENT), lifetime=0.3, unordered=unordered)
    first = pair.from_a()
    assert len(first) < 10
    pair.to_z(*first)
    pair.to_a(*pair.from_z())
    pair.now += 0.4
    pair.a.handle_timeout(pair.now)
    answer = pair.from_a()
    (forward,) = chunks(answer, IForwardTsnChunk)
    assert forward.streams == [(1, unordered, 0)]
    assert pair.z.stats().receive_buffered > 0
    pair.to_z(*answer)
    assert pair.z.stats().receive_buffered == 0
    pair.send_a(b"next", unordered=unordered)
    pair.exchange()
    assert pair.received_by_z() == [b"next"]


@pytest.mark.parametrize("unordered", [False, True])
def test_discards_a_late_fragment_of_an_abandoned_message(unordered: bool) -> None:
    pair = interleaved()
    pair.send_a(b"?", stream_id=9)
    datagrams = pair.from_a()
    tag, tsn = read(datagrams[0]).verification_tag, chunks(datagrams, IDataChunk)[0].tsn
    pair.to_z(*datagrams)
    pair.to_z(packet(tag, IForwardTsnChunk(tsn + 1, [(1, unordered, 4)])))
    pair.collect()
    late = IDataChunk(tsn + 2, 1, 4, 2, b"late", unordered, beginning=False, ending=False)
    fresh = IDataChunk(tsn + 3, 1, 5, 51, b"fresh", unordered)
    pair.to_z(packet(tag, late, fresh))
    assert pair.received_by_z() == [b"?", b"fresh"]
    assert pair.z.stats().receive_buffered == 0


def test_i_forward_tsn_releases_waiting_messages() -> None:
    pair = interleaved()
    pair.send_a(b"lost", max_retransmissions=0)
    pair.from_a()
    pair.send_a(b"one")
    pair.send_a(b"two")
    pair.to_z(*pair.from_a())
    assert pair.received_by_z() == []
    pair.exchange()
    pair.pass_time(3)
    assert pair.received_by_z() == [b"one", b"two"]


# -- stream reset and wraps --------------------------------------------------------------------------------------------


def test_a_stream_reset_restarts_both_kinds_of_message_identifiers() -> None:
    pair = interleaved()
    for unordered in (False, True):
        pair.send_a(b"old", stream_id=5, unordered=unordered)
    pair.exchange()
    pair.a.reset_streams([5], pair.now)
    pair.exchange()
    for unordered in (False, True):
        pair.send_a(b"new", stream_id=5, unordered=unordered)
    datagrams = pair.from_a()
    assert [chunk.mid for chunk in chunks(datagrams, IDataChunk)] == [0, 0]
    pair.to_z(*datagrams)
    assert pair.received_by_z() == [b"old", b"old", b"new", b"new"]


@pytest.mark.parametrize("before", [0, 1, 2, 5, 30])
def test_interleaved_messages_lost_and_recovered_across_the_tsn_wrap(before: int) -> None:
    pair = Pair(INTERLEAVING)
    pair.a = Association(pair.options, starting_at((1 << 32) - 1 - before, 1))
    pair.establish()
    for stream_id in (1, 2, 3):
        pair.send_a(bytes([stream_id]) * 10 * FRAGMENT, stream_id=stream_id)
    datagrams = pair.from_a()
    pair.to_z(*[datagram for i, datagram in enumerate(datagrams) if i not in (0, before, before + 1, 7)])
    pair.exchange()
    pair.pass_time(10)
    assert sorted(pair.received_by_z()) == [bytes([stream_id]) * 10 * FRAGMENT for stream_id in (1, 2, 3)]


@pytest.mark.parametrize("unordered", [False, True])
def test_message_identifiers_wrap(unordered: bool) -> None:
    pair = interleaved()
    pair.send_a(b"?", stream_id=9)
    datagrams = pair.from_a()
    tag, tsn = read(datagrams[0]).verification_tag, chunks(datagrams, IDataChunk)[0].tsn
    pair.to_z(*datagrams)
    for i, skipped in enumerate((0x7FFFFFF0, 0xEFFFFFF0, 0xFFFFFFFD)):
        pair.to_z(packet(tag, IForwardTsnChunk(tsn + 1 + i, [(1, unordered, skipped)])))
    mids = [0xFFFFFFFE, 0xFFFFFFFF, 0, 1]
    sent = [IDataChunk(tsn + 4 + i, 1, mid, 51, bytes([i]), unordered) for i, mid in enumerate(mids)]
    for chunk in sent if unordered else reversed(sent):
        pair.to_z(packet(tag, chunk))
    assert pair.received_by_z() == [b"?", b"\0", b"\1", b"\2", b"\3"]
