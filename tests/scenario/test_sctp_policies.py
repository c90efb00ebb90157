"""The policies of RFC 7496: the send buffer, the messages abandoned to make room in it, and their counters."""

from __future__ import annotations

import pytest

from datachan.sctp.association import Association
from datachan.sctp.errors import InvalidStream, SendBufferFull
from datachan.sctp.events import SendFailed
from datachan.sctp.options import AssociationOptions
from datachan.sctp.tx.policies import AbandonedMessages
from datachan.sctp.wire.chunks import DataChunk
from datachan.sctp.wire.extensions import ForwardTsnChunk, IForwardTsnChunk

from .sctp_pair import Pair, changed, chunks, entropy


def buffered(send_buffer: int = 10_000, **options: object) -> Pair:
    """Return a pair whose send queue does not drain: the congestion window is full and no SACK arrives."""
    pair = Pair(changed(send_buffer=send_buffer, initial_cwnd=1200, tail_loss_probe=False, **options)).establish()
    pair.send_a(bytes(2 * 1172))
    pair.from_a()
    return pair


def failures(pair: Pair) -> list[object]:
    pair.from_a()
    return [event.context for event in pair.a_saw(SendFailed)]


def test_a_message_beyond_the_send_buffer_is_refused_and_fits_later() -> None:
    pair = buffered()
    for _ in range(10):
        pair.send_a(bytes(1000))
    with pytest.raises(SendBufferFull, match="10000 of 10000 bytes"):
        pair.send_a(b"x")
    pair.pass_time(30)
    pair.send_a(b"x")
    pair.exchange()
    assert len(pair.received_by_z()) == 12


def test_without_a_limit_every_message_is_accepted() -> None:
    pair = buffered(send_buffer=0)
    for _ in range(100):
        pair.send_a(bytes(10_000))
    assert pair.a.buffered_amount(1) == 1_000_000


def test_abandons_the_lowest_priority_first_and_of_equals_the_oldest() -> None:
    pair = buffered()
    for number, priority in enumerate([5, 1, 9, 9, None]):
        pair.send_a(bytes(2000), stream_id=number, drop_priority=priority, context=number)
    pair.send_a(bytes(2000), drop_priority=3, context="urgent")
    assert failures(pair) == [2]
    pair.send_a(bytes(3000), context="reliable")
    assert failures(pair) == [2, 3, 0]
    pair.exchange()
    pair.pass_time(30)
    assert failures(pair) == [2, 3, 0]
    assert sorted(len(message) for message in pair.received_by_z()) == [2000, 2000, 2000, 2344, 3000]


def test_abandons_nothing_when_it_would_not_make_enough_room() -> None:
    pair = buffered()
    pair.send_a(bytes(8000))
    pair.send_a(bytes(2000), drop_priority=5)
    for priority in (5, 9, 5000):
        with pytest.raises(SendBufferFull):
            pair.send_a(bytes(1000), drop_priority=priority)
    with pytest.raises(SendBufferFull):
        pair.send_a(bytes(3000))
    assert failures(pair) == []
    assert pair.a.buffered_amount(1) == 10_000


def test_abandons_nothing_for_a_message_longer_than_the_buffer() -> None:
    pair = buffered()
    pair.send_a(bytes(2000), drop_priority=5)
    with pytest.raises(SendBufferFull):
        pair.send_a(bytes(10_001))
    assert failures(pair) == []


@pytest.mark.parametrize("interleaving", [False, True])
def test_abandons_a_message_half_sent_with_forward_tsn(interleaving: bool) -> None:
    pair = Pair(changed(send_buffer=10_000, max_burst=2, tail_loss_probe=False, interleaving=interleaving)).establish()
    pair.send_a(bytes(10_000), drop_priority=1, context="half sent")
    first = pair.from_a()
    assert first
    pair.to_z(*first)
    pair.send_a(bytes(9000), context="reliable")
    kind = IForwardTsnChunk if interleaving else ForwardTsnChunk
    answer = pair.from_a()
    assert len(chunks(answer, kind)) == 1
    assert failures(pair) == ["half sent"]
    pair.to_z(*answer)
    pair.exchange()
    assert pair.received_by_z() == [bytes(9000)]
    assert pair.a.stats().abandoned == AbandonedMessages(priority_sent=1)


def test_abandons_only_unsent_messages_when_the_peer_lacks_partial_reliability() -> None:
    pair = Pair(
        changed(send_buffer=10_000, max_burst=2, tail_loss_probe=False), changed(partial_reliability=False)
    ).establish()
    pair.send_a(bytes(8000), drop_priority=9, context="begun")
    pair.from_a()
    room = 10_000 - pair.a.buffered_amount(1)
    pair.send_a(bytes(room), drop_priority=1, context="not begun")
    pair.send_a(bytes(room), context="reliable")
    assert failures(pair) == ["not begun"]
    with pytest.raises(SendBufferFull):
        pair.send_a(b"x")


def test_abandons_messages_before_the_handshake() -> None:
    association = Association(AssociationOptions(send_buffer=1000), entropy(1))
    association.send(0, bytes(800), ppid=51, now=0.0, drop_priority=2, context="early")
    association.send(0, bytes(800), ppid=51, now=0.0)
    (failure,) = [event for event in association.events() if isinstance(event, SendFailed)]
    assert (failure.context, failure.sent) == ("early", False)
    assert "higher priority" in failure.reason
    assert association.stats().abandoned == AbandonedMessages(priority_unsent=1)


def test_sent_messages_are_neither_abandoned_nor_kept() -> None:
    pair = Pair(changed(send_buffer=2000)).establish()
    for number in range(1000):
        pair.send_a(bytes(100), drop_priority=number % 7)
        pair.exchange()
    pair.send_a(bytes(2000))
    pair.exchange()
    assert failures(pair) == []
    assert len(pair.received_by_z()) == 1001


def test_abandoned_messages_are_counted_by_policy_and_by_sent_or_unsent() -> None:
    pair = buffered(send_buffer=5000)
    pair.send_a(bytes(4900), drop_priority=4)
    pair.send_a(bytes(4900))
    pair.send_a(b"late", lifetime=0.1)
    pair.now += 0.2
    pair.a.handle_timeout(pair.now)
    pair.exchange()
    pair.pass_time(30)
    pair.send_a(b"lost", max_retransmissions=0)
    pair.from_a()
    pair.expire_a()
    assert pair.a.stats().abandoned == AbandonedMessages(lifetime_unsent=1, retransmissions_sent=1, priority_unsent=1)
    assert (pair.a.stats().abandoned.unsent, pair.a.stats().abandoned.sent) == (2, 1)
    reasons = [event.reason for event in pair.a_saw(SendFailed)]
    assert [reason.split()[1] for reason in reasons] == ["message", "lifetime", "retransmissions"]


def test_priorities_of_streams_are_checked() -> None:
    pair = Pair(changed(outbound_streams=10, inbound_streams=10, scheduler="priority")).establish()
    for wrong in (0, -1, 65536):
        with pytest.raises(ValueError, match="priority"):
            pair.a.set_stream_priority(1, wrong)
    with pytest.raises(InvalidStream):
        pair.a.set_stream_priority(10, 256)
    with pytest.raises(ValueError, match="no scheduler 'lottery'"):
        changed(scheduler="lottery")


def test_the_scheduler_of_the_options_is_used() -> None:
    pair = Pair(changed(scheduler="priority", initial_cwnd=100_000, max_burst=100)).establish()
    pair.a.set_stream_priority(7, 1000)
    for stream_id in (1, 7, 2):
        pair.send_a(bytes(1100), stream_id=stream_id)
    assert [chunk.stream_id for chunk in chunks(pair.from_a(), DataChunk)] == [7, 1, 2]
