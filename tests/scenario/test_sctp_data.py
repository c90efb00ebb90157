"""Moving data: acknowledgment, loss, windows and order (RFC 9260, sections 6 and 7), step by step."""

from __future__ import annotations

import gc
from weakref import ref

import pytest

from datachan.sctp.events import AssociationLost, PathStatus, PathStatusChanged, SenderDry, SendFailed, StreamProgress
from datachan.sctp.options import DATA_CHANNEL_INITIAL_CWND, data_channel_options
from datachan.sctp.tx.outstanding import RENEGE_BUDGET
from datachan.sctp.wire import causes
from datachan.sctp.wire.chunks import (
    AbortChunk,
    DataChunk,
    ErrorChunk,
    HeartbeatAckChunk,
    HeartbeatChunk,
    SackChunk,
    UnknownChunk,
)
from datachan.sctp.wire.extensions import PadChunk

from .sctp_pair import Pair, S, changed, chunks, names, packet, read

FRAGMENT = 1172  # the user bytes of a full packet of 1200


def tags(pair: Pair) -> tuple[int, int]:
    """Return the tag that Z expects and the next TSN of A; A sends a message to learn them."""
    pair.send_a(b"probe")
    datagrams = pair.from_a()
    pair.to_z(*datagrams)
    pair.exchange()
    return read(datagrams[0]).verification_tag, chunks(datagrams, DataChunk)[0].tsn + 1 & 0xFFFFFFFF


def test_a_message_arrives_with_its_stream_and_ppid() -> None:
    pair = Pair().establish()
    pair.a.send(7, b"hello", ppid=51, now=pair.now)
    pair.exchange()
    (message,) = [event for event in pair.z_events if hasattr(event, "ppid")]
    assert (message.stream_id, message.ppid, message.data, message.unordered) == (7, 51, b"hello", False)
    assert pair.a_saw(SenderDry) == [SenderDry()]
    assert [(event.stream_id, event.bytes_left) for event in pair.a_saw(StreamProgress)] == [(7, 5)]


@pytest.mark.parametrize("size", [1, 2, 3, 4, FRAGMENT - 1, FRAGMENT, FRAGMENT + 1, 65_536, 10_000_000])
def test_delivers_messages_of_every_size(size: int) -> None:
    pair = Pair(changed(receive_window=300_000, slow_start_limit=100, max_burst=100)).establish()
    message = bytes(i * 31 & 0xFF for i in range(min(size, 1000))) * (size // 1000 + 1)
    message = message[:size]
    pair.send_a(message)
    for _ in range(400):
        pair.exchange(2000)
        if pair.received_by_z():
            break
        pair.pass_time(1)
    assert pair.received_by_z() == [message]


def test_datagrams_to_send_returns_at_most_bytes_at_once() -> None:
    pair = Pair(changed(bytes_at_once=4800, slow_start_limit=100, max_burst=100, initial_cwnd=20_000)).establish()
    pair.send_a(bytes(12 * FRAGMENT))
    parts = [pair.from_a() for _ in range(5)]
    assert [len(part) for part in parts] == [4, 4, 4, 0, 0]
    pair.to_z(*[datagram for part in parts for datagram in part])
    assert pair.received_by_z() == [bytes(12 * FRAGMENT)]


def test_small_messages_share_a_packet() -> None:
    pair = Pair().establish()
    for i in range(20):
        pair.send_a(bytes([i]), stream_id=i)
    (datagram,) = pair.from_a()
    assert names(datagram) == ["Data"] * 20


def test_the_packets_of_long_messages_have_one_size() -> None:
    pair = Pair(changed(initial_cwnd=40_000, max_burst=100)).establish()
    messages = [bytes([i]) * (3 * FRAGMENT + 100) for i in range(4)]
    for message in messages:
        pair.send_a(message)
    datagrams = pair.from_a()
    assert len({len(datagram) for datagram in datagrams[:-1]}) == 1
    pair.to_z(*datagrams)
    assert pair.received_by_z() == messages


def test_an_association_dropped_with_data_in_flight_is_freed() -> None:
    class Sender:
        def __init__(self) -> None:
            self.pair = Pair().establish()  # with its context, the association is part of a cycle
            self.pair.a.send(1, bytes(3 * FRAGMENT), ppid=51, now=self.pair.now, context=self)
            assert self.pair.from_a()

    dropped = ref(Sender())
    gc.collect()
    assert dropped() is None


def test_a_message_that_fits_a_packet_is_not_divided_to_fill_another() -> None:
    pair = Pair(changed(initial_cwnd=40_000, max_burst=100)).establish()
    pair.send_a(bytes(100))
    pair.send_a(bytes(FRAGMENT))
    assert [names(datagram) for datagram in pair.from_a()] == [["Data"], ["Data"]]


def test_the_first_data_is_acknowledged_at_once_then_every_second_packet() -> None:
    pair = Pair().establish()
    pair.send_a(b"1")
    pair.to_z(*pair.from_a())
    assert [names(datagram) for datagram in pair.from_z()] == [["Sack"]]
    pair.exchange()
    pair.send_a(b"2")
    pair.to_z(*pair.from_a())
    assert pair.from_z() == []
    pair.send_a(b"3")
    pair.to_z(*pair.from_a())
    assert [names(datagram) for datagram in pair.from_z()] == [["Sack"]]


def test_a_single_packet_is_acknowledged_after_the_sack_delay() -> None:
    pair = Pair().establish()
    tags(pair)
    pair.send_a(b"alone")
    pair.to_z(*pair.from_a())
    assert pair.from_z() == []
    moment = pair.z.next_timeout()
    assert moment is not None
    assert moment - pair.now == pytest.approx(0.2)
    pair.now = moment
    pair.z.handle_timeout(pair.now)
    assert [names(datagram) for datagram in pair.from_z()] == [["Sack"]]


def test_a_batch_of_packets_is_acknowledged_once() -> None:
    pair = Pair(changed(initial_cwnd=100_000, max_burst=50)).establish()
    pair.send_a(bytes(40 * FRAGMENT))
    datagrams = pair.from_a()
    assert len(datagrams) == 40
    pair.to_z(*datagrams)
    assert [names(datagram) for datagram in pair.from_z()] == [["Sack"]]


def test_the_i_bit_requests_an_immediate_sack() -> None:
    pair = Pair().establish()
    tag, tsn = tags(pair)
    pair.to_z(packet(tag, DataChunk(tsn, 1, 1, 51, b"x", immediate=True)))
    assert [names(datagram) for datagram in pair.from_z()] == [["Sack"]]


def test_a_gap_and_a_duplicate_are_reported_at_once() -> None:
    pair = Pair().establish()
    tag, tsn = tags(pair)
    # A -- TSN 2 --> Z, TSN 1 is missing
    pair.to_z(packet(tag, DataChunk(tsn + 1, 1, 2, 51, b"b")))
    (sack,) = chunks(pair.from_z(), SackChunk)
    assert (sack.cumulative_tsn_ack, sack.gap_ack_blocks) == (tsn - 1, [(2, 2)])
    pair.to_z(packet(tag, DataChunk(tsn + 1, 1, 2, 51, b"b")))
    (sack,) = chunks(pair.from_z(), SackChunk)
    assert sack.duplicate_tsns == [tsn + 1]
    pair.to_z(packet(tag, DataChunk(tsn, 1, 1, 51, b"a")))
    assert pair.received_by_z()[1:] == [b"a", b"b"]


def test_ordered_messages_wait_for_each_other_within_a_stream_only() -> None:
    pair = Pair().establish()
    tag, tsn = tags(pair)
    # TSN tsn, stream 1, is lost; everything else arrives.
    pair.to_z(packet(tag, DataChunk(tsn + 1, 1, 2, 51, b"second on 1")))
    pair.to_z(packet(tag, DataChunk(tsn + 2, 2, 0, 51, b"first on 2")))
    pair.to_z(packet(tag, DataChunk(tsn + 3, 1, 0, 51, b"unordered on 1", unordered=True)))
    assert pair.received_by_z()[1:] == [b"first on 2", b"unordered on 1"]
    pair.to_z(packet(tag, DataChunk(tsn, 1, 1, 51, b"first on 1")))
    assert pair.received_by_z()[3:] == [b"first on 1", b"second on 1"]


def test_a_lost_packet_is_sent_again_once_three_later_ones_have_arrived() -> None:
    pair = Pair(changed(initial_cwnd=100_000, max_burst=50, congestion_control="newreno")).establish()
    pair.send_a(bytes(5 * FRAGMENT))
    datagrams = pair.from_a()
    cwnd = pair.a.stats().cwnd
    lost = chunks(datagrams[:1], DataChunk)[0]
    pair.now += 0.1
    for i, datagram in enumerate(datagrams[1:4]):
        pair.now += 0.001
        pair.to_z(datagram)
        pair.to_a(*pair.from_z())
        again = pair.from_a()
        assert [chunk.tsn for chunk in chunks(again, DataChunk)] == ([lost.tsn] if i == 2 else [])
    stats = pair.a.stats()
    assert (stats.cwnd, stats.ssthresh, stats.retransmissions) == (cwnd // 2, cwnd // 2, 1)
    pair.to_z(*again)
    pair.exchange()
    pair.to_z(datagrams[4])
    pair.exchange()
    assert pair.received_by_z() == [bytes(5 * FRAGMENT)]
    assert pair.a.stats().cwnd >= cwnd // 2


def test_a_whole_batch_acknowledged_by_one_sack_shows_the_loss_at_once() -> None:
    pair = Pair(changed(initial_cwnd=100_000, max_burst=50)).establish()
    pair.send_a(bytes(10 * FRAGMENT))
    datagrams = pair.from_a()
    pair.to_z(*datagrams[:2], *datagrams[3:])
    pair.to_a(*pair.from_z())
    (again,) = chunks(pair.from_a(), DataChunk)
    assert again.tsn == chunks(datagrams[2:3], DataChunk)[0].tsn


def test_reordering_by_two_packets_causes_no_retransmission() -> None:
    pair = Pair(changed(initial_cwnd=100_000, max_burst=50)).establish()
    pair.send_a(bytes(10 * FRAGMENT))
    datagrams = pair.from_a()
    for datagram in [datagrams[1], datagrams[2], datagrams[0], *datagrams[3:]]:
        pair.to_z(datagram)
        pair.to_a(*pair.from_z())
    pair.exchange()
    assert pair.a.stats().retransmissions == 0
    assert pair.received_by_z() == [bytes(10 * FRAGMENT)]


def test_t3_rtx_backs_off_resends_one_packet_and_enters_slow_start() -> None:
    pair = Pair(changed(initial_cwnd=100_000, max_burst=50, tail_loss_probe=False)).establish()
    pair.send_a(bytes(10 * FRAGMENT))
    first = pair.from_a()
    start = pair.now
    again = pair.expire_a()
    assert pair.now - start == pytest.approx(1.0)
    assert chunks(again, DataChunk) == chunks(first[:1], DataChunk)
    assert pair.a.stats().cwnd < 1200
    assert pair.a.stats().rto == 2.0
    pair.expire_a()
    assert pair.now - start == pytest.approx(3.0)
    pair.exchange()
    pair.pass_time(30)
    assert pair.received_by_z() == [bytes(10 * FRAGMENT)]


def test_gives_up_a_silent_peer_after_association_max_retrans() -> None:
    pair = Pair(changed(association_max_retrans=3, path_max_retrans=1)).establish()
    pair.send_a(b"into the void", context=42)
    pair.from_a()
    for _ in range(4):
        pair.expire_a()
    assert pair.a.state is S.CLOSED
    assert pair.a_saw(AssociationLost)[0].by_peer is False
    assert [(event.context, event.sent) for event in pair.a_saw(SendFailed)] == [(42, True)]
    assert pair.a_saw(PathStatusChanged) == [PathStatusChanged(None, PathStatus.UNREACHABLE)]


def test_round_trips_set_the_rto_within_its_bounds() -> None:
    pair = Pair(changed(rto_min=0.1, rto_max=5.0)).establish()
    for _ in range(20):
        pair.send_a(b"x")
        datagrams = pair.from_a()
        pair.now += 0.05
        pair.to_z(*datagrams)
        answers = pair.from_z()
        pair.now += 0.05
        pair.to_a(*answers)
    stats = pair.a.stats()
    assert stats.srtt is not None
    assert stats.srtt == pytest.approx(0.1, rel=0.01)
    assert 0.1 <= stats.rto <= 5.0


def test_the_congestion_window_limits_the_flight() -> None:
    pair = Pair().establish()
    pair.send_a(bytes(100_000))
    pair.from_a()
    stats = pair.a.stats()
    assert stats.cwnd == 4404
    # RFC 9260, 6.1, B: the last packet may exceed cwnd.
    assert stats.cwnd <= stats.flight_size < stats.cwnd + 1200


def test_data_channels_start_with_ten_packets_paced_by_the_round_trip_of_the_handshake() -> None:
    pair = Pair(data_channel_options())
    pair.a.connect(pair.now)
    for _ in range(2):
        pair.to_z(*pair.from_a())
        pair.now += 0.1
        pair.to_a(*pair.from_z())
    assert pair.a.stats().srtt == pytest.approx(0.1)
    pair.send_a(bytes(100_000))
    sent_at = [pair.now for _ in pair.from_a()]
    assert len(sent_at) == 4
    while pair.a.stats().flight_size < pair.a.stats().cwnd:
        sent_at += [pair.now for _ in pair.expire_a()]
    # Eight windows per round trip, so that acknowledgments show what the path carries: six packets take a tenth.
    assert len(sent_at) in (10, 11)
    assert 0.006 < sent_at[-1] - sent_at[0] < 0.013


def test_slow_start_grows_by_acknowledged_bytes_and_idle_windows_shrink() -> None:
    pair = Pair(changed(slow_start_limit=100, max_burst=100)).establish()
    pair.send_a(bytes(300_000))
    pair.exchange(2000)
    grown = pair.a.stats().cwnd
    assert grown > 50_000
    pair.now += 10
    pair.send_a(b"after a while")
    pair.from_a()
    assert pair.a.stats().cwnd < 5000


def test_an_idle_window_does_not_shrink_below_the_initial_one() -> None:
    pair = Pair(changed(initial_cwnd=DATA_CHANNEL_INITIAL_CWND, slow_start_limit=100, max_burst=100)).establish()
    pair.send_a(bytes(300_000))
    pair.exchange(2000)
    assert pair.a.stats().cwnd > 50_000
    pair.now += 10
    pair.send_a(b"after a while")
    pair.from_a()
    assert pair.a.stats().cwnd == DATA_CHANNEL_INITIAL_CWND


def test_max_burst_limits_the_packets_sent_at_once() -> None:
    pair = Pair(changed(initial_cwnd=100_000, max_burst=4)).establish()
    pair.send_a(bytes(100_000))
    assert len(pair.from_a()) == 4


def test_an_unread_receiver_closes_its_window_and_reading_opens_it() -> None:
    pair = Pair(changed(receive_window=50_000, initial_cwnd=200_000, max_burst=200)).establish()
    pair.consume = False
    for _ in range(100):
        pair.send_a(bytes(1000))
    pair.exchange()
    received = len(pair.received_by_z())
    assert 30 < received <= 50
    # The window's bytes, and 128 bytes of overhead for each message held.
    assert pair.z.stats().receive_buffered <= 50_000 + 50 * 128
    assert pair.a.stats().peer_rwnd < 1200
    # Z reads one message after the other: the window opens in steps, not with every message.
    updates = 0
    for _ in range(received):
        pair.z.message_consumed(1000, pair.now)
        sacks = pair.from_z()
        updates += len(sacks)
        pair.to_a(*sacks)
    assert 1 <= updates <= 5
    pair.consume = True
    pair.exchange()
    assert len(pair.received_by_z()) == 100


def test_a_closed_window_is_probed_with_backoff_and_never_ends_the_association() -> None:
    pair = Pair(
        changed(receive_window=20_000, initial_cwnd=200_000, max_burst=200, association_max_retrans=3)
    ).establish()
    pair.consume = False
    for _ in range(40):
        pair.send_a(bytes(1000))
    pair.exchange()
    before = pair.a.stats().data_chunks_sent
    pair.pass_time(600)
    probes = pair.a.stats().data_chunks_sent - before
    assert pair.a.state is S.ESTABLISHED
    # Probes are 1, 2, 4, 8 and 16 s apart. A heartbeat (every 30 s) measures the path, and the sequence starts again.
    assert 5 <= probes <= 5 * 600 / 30
    taken = len(pair.received_by_z())
    for _ in range(taken):
        pair.z.message_consumed(1000, pair.now)
    pair.consume = True
    pair.pass_time(120)
    assert len(pair.received_by_z()) == 40


def test_data_beyond_the_window_is_dropped() -> None:
    pair = Pair(changed(receive_window=10_000)).establish()
    pair.consume = False
    tag, tsn = tags(pair)
    for i in range(100):
        pair.to_z(packet(tag, DataChunk(tsn + i & 0xFFFFFFFF, 1, 1 + i, 51, bytes(1000))))
        pair.from_z()
    assert pair.z.stats().receive_buffered < 12_000


def test_a_hole_and_data_far_ahead_bound_memory() -> None:
    pair = Pair(changed(receive_window=10_000)).establish()
    tag, tsn = tags(pair)
    for i in range(1, 3000):
        pair.to_z(packet(tag, DataChunk(tsn + 2 * i & 0xFFFFFFFF, 1, 0, 51, b"x", beginning=True, ending=False)))
        pair.from_z()
    # The hard limit is three times the window, overhead included.
    assert pair.z.stats().receive_buffered < 3 * 10_000 + 200


def test_a_data_chunk_without_data_ends_the_association_with_its_cause() -> None:
    pair = Pair().establish()
    tag, tsn = tags(pair)
    pair.to_z(packet(tag, DataChunk(tsn, 1, 1, 51, b"")))
    (abort,) = chunks(pair.from_z(), AbortChunk)
    assert (abort.causes[0].code, abort.causes[0].info) == (causes.NO_USER_DATA, tsn.to_bytes(4, "big"))
    assert pair.z.state is S.CLOSED


def test_an_invalid_stream_is_acknowledged_and_reported() -> None:
    pair = Pair(None, changed(inbound_streams=10)).establish()
    tag, tsn = tags(pair)
    pair.to_z(packet(tag, DataChunk(tsn, 10, 0, 51, b"x")), packet(tag, DataChunk(tsn + 1, 9, 0, 51, b"y")))
    answers = pair.from_z()
    assert chunks(answers, SackChunk)[0].cumulative_tsn_ack == tsn + 1
    assert chunks(answers, ErrorChunk)[0].causes == [causes.invalid_stream_identifier(10)]
    assert pair.received_by_z()[1:] == [b"y"]


def test_fragments_of_one_message_on_two_streams_end_the_association() -> None:
    pair = Pair().establish()
    tag, tsn = tags(pair)
    pair.to_z(packet(tag, DataChunk(tsn, 1, 1, 51, b"x", ending=False)))
    pair.to_z(packet(tag, DataChunk(tsn + 1, 2, 1, 51, b"y", beginning=False)))
    assert chunks(pair.from_z(), AbortChunk)[0].causes[0].code == causes.PROTOCOL_VIOLATION
    assert "on stream 1 with SSN 1 and on stream 2 with SSN 1" in pair.z_saw(AssociationLost)[0].reason


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_fragments_of_one_message_with_different_ssns_end_the_association(order: tuple[int, int]) -> None:
    pair = Pair().establish()
    tag, tsn = tags(pair)
    fragments = [DataChunk(tsn, 1, 1, 51, b"x", ending=False), DataChunk(tsn + 1, 1, 2, 51, b"y", beginning=False)]
    for index in order:
        pair.to_z(packet(tag, fragments[index]))
    answers = chunks(pair.from_z(), AbortChunk)
    assert answers[0].causes[0].code == causes.PROTOCOL_VIOLATION
    assert "with SSN 1 and on stream 1 with SSN 2" in pair.z_saw(AssociationLost)[0].reason


def test_the_ssn_of_unordered_fragments_is_ignored() -> None:
    pair = Pair().establish()
    tag, tsn = tags(pair)
    pair.to_z(packet(tag, DataChunk(tsn, 1, 1, 51, b"x", unordered=True, ending=False)))
    pair.to_z(packet(tag, DataChunk(tsn + 1, 1, 2, 51, b"y", unordered=True, beginning=False)))
    assert pair.received_by_z()[1:] == [b"xy"]


def test_endless_reneging_ends_the_association() -> None:
    pair = Pair(changed(initial_cwnd=100_000, delay_small_packets=False)).establish()
    pair.exchange()
    for _ in range(1000):
        pair.send_a(b"x")
    sent = chunks(pair.from_a(), DataChunk)
    count = len(sent)
    assert count > 200
    tag, base = pair.a.local_tag, sent[0].tsn - 1 & 0xFFFFFFFF
    everything = packet(tag, SackChunk(base, 100_000, [(2, count)], []))
    nothing = packet(tag, SackChunk(base, 100_000, [], []))
    rounds = 0
    while pair.a.state is S.ESTABLISHED:
        pair.to_a(everything, nothing)
        rounds += 1
    assert rounds == RENEGE_BUDGET // (count - 1) + 1
    assert "renege" in pair.a_saw(AssociationLost)[0].reason


def test_a_message_longer_than_announced_ends_the_association_before_it_fills_memory() -> None:
    pair = Pair(None, changed(max_message_size=5000)).establish()
    pair.send_a(bytes(5000))
    pair.exchange()
    assert len(pair.received_by_z()) == 1
    pair.send_a(bytes(5001))
    pair.exchange()
    assert pair.z.state is S.CLOSED
    assert "maximum message size of 5000 bytes" in pair.z_saw(AssociationLost)[0].reason


@pytest.mark.parametrize(
    "sack",
    [
        SackChunk(0, 100_000, [], []),
        SackChunk(50, 100_000, [], []),
        SackChunk(-1, 100_000, [(2, 60_000)], []),
        SackChunk(-1, 100_000, [(2, 3), (2, 3)], []),
    ],
)
def test_a_sack_for_a_tsn_never_sent_aborts_the_association(sack: SackChunk) -> None:
    """RFC 9260, 12.4: "An SCTP implementation MUST abort the association if it receives a SACK chunk acknowledging a
    TSN that has not been sent."
    """
    pair = Pair().establish()
    pair.send_a(b"x")
    datagrams = pair.from_a()
    tsn = chunks(datagrams, DataChunk)[0].tsn
    tag_of_a = read_tag_of_a(pair)
    sack.cumulative_tsn_ack = tsn + 1 + sack.cumulative_tsn_ack & 0xFFFFFFFF
    pair.to_a(packet(tag_of_a, sack))
    (answer,) = chunks(pair.from_a(), AbortChunk)
    assert answer.causes[0].code == causes.PROTOCOL_VIOLATION
    assert pair.a.state is S.CLOSED
    assert "was not sent" in pair.a_saw(AssociationLost)[0].reason


@pytest.mark.parametrize("gaps", [[(0, 0)], [(1, 1), (1, 1)]])
def test_ignores_a_sack_with_impossible_gap_ack_blocks(gaps: list[tuple[int, int]]) -> None:
    pair = Pair(changed(initial_cwnd=100_000)).establish()
    pair.send_a(bytes(3 * FRAGMENT))
    datagrams = pair.from_a()
    tsn = chunks(datagrams, DataChunk)[0].tsn
    tag_of_a = read_tag_of_a(pair)
    before = pair.a.stats().flight_size
    pair.to_a(packet(tag_of_a, SackChunk(tsn, 100_000, gaps, [])))
    assert (pair.a.stats().flight_size, pair.a.state) == (before, S.ESTABLISHED)
    pair.to_z(*datagrams)
    pair.exchange()
    assert pair.received_by_z() == [bytes(3 * FRAGMENT)]


def test_an_old_sack_is_dropped() -> None:
    pair = Pair(changed(initial_cwnd=100_000)).establish()
    pair.send_a(b"1")
    pair.to_z(*pair.from_a())
    old = pair.from_z()
    pair.to_a(*old)
    pair.send_a(bytes(3 * FRAGMENT))
    pair.exchange()
    before = pair.a.stats()
    pair.to_a(*old)
    assert pair.a.stats().peer_rwnd == before.peer_rwnd


def test_a_receiver_that_reneges_gets_the_data_again() -> None:
    pair = Pair(changed(initial_cwnd=100_000, max_burst=50)).establish()
    pair.send_a(bytes(4 * FRAGMENT))
    datagrams = pair.from_a()
    tag_of_a = read_tag_of_a(pair)
    first = chunks(datagrams, DataChunk)[0].tsn
    pair.to_a(packet(tag_of_a, SackChunk(first, 100_000, [(2, 3)], [])))
    in_flight = pair.a.stats().flight_size
    pair.to_a(packet(tag_of_a, SackChunk(first, 100_000, [], [])))
    assert pair.a.stats().flight_size > in_flight
    pair.pass_time(30)
    pair.to_z(*datagrams)
    pair.exchange()
    assert pair.received_by_z()[-1:] == [bytes(4 * FRAGMENT)]


def read_tag_of_a(pair: Pair) -> int:
    """Return the Verification Tag that A expects."""
    pair.send_z(b"tag")
    (datagram,) = pair.from_z()
    pair.to_a(datagram)
    return read(datagram).verification_tag


def test_sends_heartbeats_on_an_idle_path() -> None:
    pair = Pair().establish()
    start = pair.now
    (datagram,) = pair.expire_a()
    assert names(datagram) == ["Heartbeat"]
    assert 30 < pair.now - start < 32
    pair.to_z(datagram)
    (answer,) = pair.from_z()
    assert chunks([answer], HeartbeatAckChunk)[0].info == chunks([datagram], HeartbeatChunk)[0].info
    pair.now += 0.08
    pair.to_a(answer)
    assert pair.a.stats().srtt == pytest.approx(0.08)


@pytest.mark.parametrize("info", [b"now", b"then"])
def test_returns_all_parameters_of_a_heartbeat_unchanged(info: bytes) -> None:
    # RFC 9260, 8.3: "a HEARTBEAT ACK chunk that contains the Heartbeat Information TLV, together with any other
    # received TLVs, copied unchanged from the received HEARTBEAT chunk."
    pair = Pair().establish()
    others = bytes.fromhex("80010006 abcd0000 c0020005 01")
    heartbeat = HeartbeatChunk(info, others)
    pair.to_a(packet(read_tag_of_a(pair), heartbeat))
    (answer,) = pair.from_a()
    assert chunks([answer], HeartbeatAckChunk) == [HeartbeatAckChunk(info, others)]


def test_unanswered_heartbeats_end_the_association() -> None:
    pair = Pair(changed(association_max_retrans=3, path_max_retrans=1)).establish()
    for _ in range(8):
        if pair.a.next_timeout() is not None:
            pair.expire_a()
    assert pair.a.state is S.CLOSED
    assert pair.a_saw(PathStatusChanged) == [PathStatusChanged(None, PathStatus.UNREACHABLE)]


def test_a_heartbeat_ack_without_a_heartbeat_is_ignored() -> None:
    pair = Pair().establish()
    tag = read_tag_of_a(pair)
    pair.to_a(packet(tag, HeartbeatAckChunk(b"12345678")), packet(tag, HeartbeatAckChunk(b"")))
    assert pair.a.stats().srtt is None


@pytest.mark.parametrize(
    ("chunk_type", "reported", "rest_processed"),
    [(0x3F, False, False), (0x7F, True, False), (0xBF, False, True), (0xFF, True, True)],
)
def test_unknown_chunks_are_handled_as_their_high_bits_require(
    chunk_type: int, reported: bool, rest_processed: bool
) -> None:
    pair = Pair().establish()
    tag, tsn = tags(pair)
    pair.to_z(packet(tag, UnknownChunk(chunk_type, 0, b"what"), DataChunk(tsn, 1, 1, 51, b"rest")))
    assert (pair.received_by_z()[1:] == [b"rest"]) is rest_processed
    errors = chunks(pair.from_z(), ErrorChunk)
    assert [error.causes[0].code for error in errors] == ([causes.UNRECOGNIZED_CHUNK_TYPE] if reported else [])


def test_padding_chunks_are_ignored() -> None:
    pair = Pair().establish()
    tag, tsn = tags(pair)
    pair.to_z(packet(tag, PadChunk(100), DataChunk(tsn, 1, 1, 51, b"rest")))
    assert pair.received_by_z()[1:] == [b"rest"]


def test_messages_of_several_streams_take_turns() -> None:
    pair = Pair(changed(initial_cwnd=1_000_000, max_burst=1000)).establish()
    for _ in range(3):
        pair.send_a(bytes(5000), stream_id=1)
    pair.send_a(b"ping", stream_id=2)
    order = [chunk.stream_id for chunk in chunks(pair.from_a(), DataChunk) if chunk.beginning]
    assert order == [1, 2, 1, 1]


def test_sending_an_empty_message_raises() -> None:
    pair = Pair().establish()
    with pytest.raises(ValueError, match="at least one byte"):
        pair.send_a(b"")
