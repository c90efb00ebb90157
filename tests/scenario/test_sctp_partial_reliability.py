"""Messages that may be abandoned: RFC 3758 and the limited retransmissions of RFC 7496, step by step."""

from __future__ import annotations

import pytest

from datachan.sctp.events import AssociationEstablished, SendFailed, StreamProgress
from datachan.sctp.wire.chunks import DataChunk, SackChunk
from datachan.sctp.wire.extensions import ForwardTsnChunk

from .sctp_pair import Pair, changed, chunks, names, packet, read


def established() -> Pair:
    pair = Pair(changed(initial_cwnd=100_000, max_burst=100, tail_loss_probe=False)).establish()
    pair.send_a(b"first")
    pair.exchange()
    return pair


def test_abandons_a_lost_message_without_retransmissions() -> None:
    pair = established()
    pair.send_a(b"stale", max_retransmissions=0, context="c")
    lost = pair.from_a()
    # T3-rtx expires: A sends FORWARD TSN instead of the message.
    answer = pair.expire_a()
    (forward,) = chunks(answer, ForwardTsnChunk)
    assert chunks(answer, DataChunk) == []
    assert forward.new_cumulative_tsn == chunks(lost, DataChunk)[0].tsn
    assert forward.streams == [(1, 1)]
    pair.to_z(*answer)
    pair.send_a(b"fresh")
    pair.exchange()
    assert pair.received_by_z() == [b"first", b"fresh"]
    (failure,) = pair.a_saw(SendFailed)
    assert (failure.context, failure.sent) == ("c", True)
    assert "retransmissions ran out" in failure.reason


def test_max_retransmissions_of_one_allows_one_retransmission() -> None:
    pair = established()
    pair.send_a(b"twice at most", max_retransmissions=1)
    [first] = chunks(pair.from_a(), DataChunk)
    first.immediate = True  # the last packet asks for its SACK at once when it is sent again
    assert chunks(pair.expire_a(), DataChunk) == [first]
    given_up = pair.expire_a()
    assert chunks(given_up, DataChunk) == []
    assert len(chunks(given_up, ForwardTsnChunk)) == 1


def test_a_lifetime_that_ends_while_queued_drops_the_message_unsent() -> None:
    pair = Pair(changed(max_burst=2, tail_loss_probe=False)).establish()
    pair.send_a(bytes(3000))
    pair.from_a()
    pair.send_a(b"too late", lifetime=0.1, stream_id=2, context=7)
    moment = pair.a.next_timeout()
    assert moment is not None
    assert moment <= pair.now + 0.1
    pair.now += 0.2
    pair.a.handle_timeout(pair.now)
    pair.from_a()
    (failure,) = pair.a_saw(SendFailed)
    assert (failure.context, failure.sent, failure.size) == (7, False, 8)
    assert pair.a.buffered_amount(2) == 0
    assert (2, 8) in [(event.stream_id, event.bytes_left) for event in pair.a_saw(StreamProgress)]
    pair.exchange()
    pair.pass_time(20)
    assert b"too late" not in pair.received_by_z()


def test_a_lifetime_that_ends_in_flight_stops_the_retransmission() -> None:
    pair = established()
    pair.send_a(b"lost", lifetime=0.5)
    pair.from_a()
    answer = pair.expire_a()
    assert chunks(answer, DataChunk) == []
    assert len(chunks(answer, ForwardTsnChunk)) == 1


def test_a_message_within_its_lifetime_is_sent_again() -> None:
    pair = established()
    pair.send_a(b"still good", lifetime=5.0)
    pair.from_a()
    pair.to_z(*pair.expire_a())
    assert pair.received_by_z() == [b"first", b"still good"]


def test_abandoning_one_fragment_abandons_the_message() -> None:
    pair = established()
    pair.send_a(bytes(5 * 1172), max_retransmissions=0)
    pair.send_a(b"next")
    datagrams = pair.from_a()
    assert len(datagrams) == 6
    # The second fragment is lost, the rest arrives.
    pair.to_z(datagrams[0], *datagrams[2:])
    pair.to_a(*pair.from_z())
    answer = pair.from_a()
    (forward,) = chunks(answer, ForwardTsnChunk)
    assert forward.new_cumulative_tsn == chunks(datagrams, DataChunk)[4].tsn
    pair.to_z(*answer)
    pair.exchange()
    assert pair.received_by_z() == [b"first", b"next"]
    assert pair.z.stats().receive_buffered == 0


def test_forward_tsn_covers_a_message_abandoned_half_sent() -> None:
    pair = Pair(changed(max_burst=2, tail_loss_probe=False)).establish()
    pair.send_a(bytes(10 * 1172), lifetime=0.3)
    first = pair.from_a()
    assert len(first) < 10
    last = chunks(first, DataChunk)[-1]
    pair.to_z(*first)
    pair.now += 0.4
    pair.a.handle_timeout(pair.now)
    answer = pair.from_a()
    (forward,) = chunks(answer, ForwardTsnChunk)
    # One TSN more than was sent: the missing last fragment.
    assert forward.new_cumulative_tsn == last.tsn + 1
    pair.send_a(b"next")
    pair.to_z(*answer)
    pair.exchange()
    pair.pass_time(10)
    assert pair.received_by_z() == [b"next"]
    assert pair.z.stats().receive_buffered == 0


def test_unordered_messages_are_not_listed_in_forward_tsn() -> None:
    pair = established()
    pair.send_a(b"a", unordered=True, max_retransmissions=0)
    pair.send_a(b"b", stream_id=3, max_retransmissions=0)
    pair.send_a(b"c", stream_id=3, max_retransmissions=0)
    pair.from_a()
    (forward,) = chunks(pair.expire_a(), ForwardTsnChunk)
    assert forward.streams == [(3, 1)]


def test_a_lost_forward_tsn_is_sent_again() -> None:
    pair = established()
    pair.send_a(b"gone", max_retransmissions=0)
    pair.from_a()
    first = chunks(pair.expire_a(), ForwardTsnChunk)
    again = chunks(pair.expire_a(), ForwardTsnChunk)
    assert first == again


def test_forward_tsn_releases_messages_behind_the_abandoned_one() -> None:
    pair = established()
    pair.send_a(b"lost", max_retransmissions=0)
    lost = pair.from_a()
    for i in range(4):
        pair.send_a(bytes([i]))
    pair.to_z(*pair.from_a())
    assert pair.received_by_z() == [b"first"]
    pair.to_a(*pair.from_z())
    pair.exchange()
    pair.pass_time(3)
    assert pair.received_by_z() == [b"first", b"\x00", b"\x01", b"\x02", b"\x03"]
    # The late original is a duplicate now.
    pair.to_z(*lost)
    assert len(pair.received_by_z()) == 5


def test_an_out_of_date_forward_tsn_is_answered_with_a_sack_and_changes_nothing() -> None:
    pair = established()
    pair.send_a(b"second")
    datagrams = pair.from_a()
    tag, tsn = read(datagrams[0]).verification_tag, chunks(datagrams, DataChunk)[0].tsn
    pair.to_z(*datagrams)
    pair.from_z()
    pair.to_z(packet(tag, ForwardTsnChunk(tsn - 1, [(1, 0)])))
    (answer,) = pair.from_z()
    assert chunks([answer], SackChunk)[0].cumulative_tsn_ack == tsn


@pytest.mark.parametrize("ahead", [1 << 21, 1 << 30])
def test_a_forward_tsn_is_accepted_however_far_it_advances(ahead: int) -> None:
    # RFC 3758, 3.6: "When a FORWARD TSN chunk arrives, the data receiver MUST first update its cumulative TSN point to
    # the value carried in the FORWARD TSN chunk".
    pair = established()
    pair.send_a(b"second")
    datagrams = pair.from_a()
    tag, tsn = read(datagrams[0]).verification_tag, chunks(datagrams, DataChunk)[0].tsn
    far = tsn - 1 + ahead & 0xFFFFFFFF
    pair.to_z(packet(tag, ForwardTsnChunk(far, [])), *datagrams)
    assert pair.received_by_z() == [b"first"]
    assert chunks(pair.from_z(), SackChunk)[-1].cumulative_tsn_ack == far


@pytest.mark.parametrize("behind", [0, 1, 1000])
def test_a_forward_tsn_from_before_all_tsns_moved_is_out_of_date(behind: int) -> None:
    # RFC 6525, 5.2.4 moves the TSNs by 2**31.
    pair = established()
    pair.send_a(b"second")
    datagrams = pair.from_a()
    tag, tsn = read(datagrams[0]).verification_tag, chunks(datagrams, DataChunk)[0].tsn
    pair.to_z(packet(tag, ForwardTsnChunk(tsn - (1 << 31) - behind & 0xFFFFFFFF, [])), *datagrams)
    assert pair.received_by_z() == [b"first", b"second"]


def test_every_message_is_reliable_if_the_peer_lacks_the_extension() -> None:
    pair = Pair(None, changed(partial_reliability=False)).establish()
    for event in pair.a_saw(AssociationEstablished) + pair.z_saw(AssociationEstablished):
        assert not event.partial_reliability
    pair.send_a(b"important after all", max_retransmissions=0, lifetime=0.1)
    pair.from_a()
    pair.now += 0.5
    again = pair.expire_a()
    assert [names(datagram) for datagram in again] == [["Heartbeat", "Data"]]
    pair.to_z(*again)
    assert pair.received_by_z() == [b"important after all"]


def test_a_forward_tsn_that_was_not_negotiated_is_an_unknown_chunk() -> None:
    pair = Pair(None, changed(partial_reliability=False)).establish()
    pair.send_a(b"x")
    datagrams = pair.from_a()
    tag, tsn = read(datagrams[0]).verification_tag, chunks(datagrams, DataChunk)[0].tsn
    pair.to_z(packet(tag, ForwardTsnChunk(tsn, [])))
    assert [names(datagram) for datagram in pair.from_z()] == [["Error"]]
    pair.to_z(*datagrams)
    assert pair.received_by_z() == [b"x"]


def test_a_message_that_expires_before_cookie_ack_arms_no_more_timers() -> None:
    # A cannot send it: nothing may follow COOKIE ECHO before COOKIE ACK.
    pair = Pair()
    pair.send_a(b"in the packet with COOKIE ECHO")
    pair.a.connect(pair.now)
    pair.to_z(*pair.from_a())
    pair.to_a(*pair.from_z())
    pair.from_a()
    pair.send_a(b"too late", lifetime=0.5)
    pair.expire_a()
    moment = pair.a.next_timeout()
    assert moment is not None
    assert moment > pair.now
    assert [event.reason for event in pair.a_saw(SendFailed)] == ["its lifetime ended"]
