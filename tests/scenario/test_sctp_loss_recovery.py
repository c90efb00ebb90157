"""Finding and repairing loss by time: RACK-TLP (RFC 8985), spurious retransmissions undone, pacing; step by step."""

from __future__ import annotations

import pytest

from datachan.sctp.wire.chunks import DataChunk, HeartbeatAckChunk, HeartbeatChunk, SackChunk

from .sctp_pair import Pair, S, changed, chunks, packet

FRAGMENT = 1172
RTT = 0.1


def in_flight(packets: int, **options: object) -> tuple[Pair, list[bytes]]:
    """Return a pair whose round trip is measured as RTT, and the full packets that A has just sent."""
    pair = Pair(changed(initial_cwnd=200_000, max_burst=100, rto_min=0.4, pacing=False, **options)).establish()
    for _ in range(3):
        pair.send_a(b"measure")
        datagrams = pair.from_a()
        pair.now += RTT
        pair.to_z(*datagrams)
        pair.z.handle_timeout(pair.now + 0.2)
        pair.to_a(*pair.from_z())
    pair.exchange()
    pair.send_a(bytes(packets * FRAGMENT))
    datagrams = pair.from_a()
    if len(datagrams) != packets:
        raise RuntimeError(f"{len(datagrams)} packets in flight")
    return pair, datagrams


def tsns(datagrams: list[bytes]) -> list[int]:
    return [chunk.tsn for chunk in chunks(datagrams, DataChunk)]


def test_a_late_packet_gets_a_quarter_round_trip_before_it_counts_as_lost() -> None:
    pair, datagrams = in_flight(3)
    pair.now += RTT
    # The first packet is missing; the two after it arrive.
    pair.to_z(*datagrams[1:])
    pair.to_a(*pair.from_z())
    assert pair.from_a() == []
    moment = pair.a.next_timeout()
    assert moment is not None
    assert moment - pair.now == pytest.approx(RTT / 4, abs=0.002)
    pair.now = moment
    pair.a.handle_timeout(pair.now)
    assert tsns(pair.from_a()) == tsns(datagrams[:1])


def test_a_packet_that_was_only_late_is_not_sent_again() -> None:
    pair, datagrams = in_flight(3)
    pair.now += RTT
    pair.to_z(*datagrams[1:])
    pair.to_a(*pair.from_z())
    pair.now += RTT / 8
    pair.to_z(datagrams[0])
    pair.to_a(*pair.from_z())
    pair.pass_time(3)
    assert pair.a.stats().retransmissions == 0


def test_a_lost_retransmission_is_found_without_a_timeout() -> None:
    pair, datagrams = in_flight(10)
    start = pair.now
    pair.now += RTT
    pair.to_z(*datagrams[1:5])
    pair.to_a(*pair.from_z())
    assert tsns(pair.from_a()) == tsns(datagrams[:1])  # lost as well
    pair.now += 0.001
    pair.to_z(*datagrams[5:])
    pair.to_a(*pair.from_z())
    # A continues; once data sent after the retransmission arrives, the retransmission counts as lost too.
    pair.send_a(bytes(4 * FRAGMENT))
    more = pair.from_a()
    pair.now += RTT
    pair.to_z(*more)
    pair.to_a(*pair.from_z())
    if not (again := pair.from_a()):
        again = pair.expire_a()
    assert tsns(again)[:1] == tsns(datagrams[:1])
    assert pair.now - start < 0.4  # RTO.Min
    pair.to_z(*again)
    pair.exchange()
    assert pair.received_by_z()[-2:] == [bytes(10 * FRAGMENT), bytes(4 * FRAGMENT)]


def test_a_lost_tail_is_probed_for_after_two_round_trips() -> None:
    pair, datagrams = in_flight(5)
    pair.now += RTT
    pair.to_z(*datagrams[:3])
    pair.to_a(*pair.from_z())
    acknowledged_at = pair.now
    probe = pair.expire_a()
    assert pair.now - acknowledged_at == pytest.approx(2 * RTT, abs=0.01)
    assert tsns(probe) == tsns(datagrams[4:])
    pair.now += RTT
    pair.to_z(*probe)
    pair.to_a(*pair.from_z())
    # The SACK of the probe shows that the other one is missing: RACK retransmits it.
    again = pair.from_a() or pair.expire_a()
    assert tsns(again) == tsns(datagrams[3:4])
    pair.to_z(*again)
    pair.exchange()
    assert pair.received_by_z()[-1] == bytes(5 * FRAGMENT)


def test_a_lost_retransmission_at_the_end_is_probed_for_in_recovery() -> None:
    pair, datagrams = in_flight(5)
    pair.now += RTT
    # Only the first packet is missing. Its retransmission is lost, and nothing is sent after it that would show that.
    pair.to_z(*datagrams[1:])
    pair.to_a(*pair.from_z())
    assert tsns(pair.from_a() or pair.expire_a()) == tsns(datagrams[:1])
    cwnd = pair.a.stats().cwnd
    sent_again_at = pair.now
    probe = pair.expire_a()
    # T3-rtx would expire after 0.4 s.
    assert pair.now - sent_again_at == pytest.approx(2 * RTT, abs=0.01)
    assert tsns(probe) == tsns(datagrams[:1])
    pair.now += RTT
    pair.to_z(*probe)
    pair.exchange()
    assert pair.received_by_z()[-1] == bytes(5 * FRAGMENT)
    assert pair.a.stats().cwnd >= cwnd, "the loss reduces the window once"


def test_a_tail_loss_probe_sends_new_data_if_there_is_any() -> None:
    pair, datagrams = in_flight(3, receive_window=1_000_000)
    pair.now += RTT
    pair.to_z(datagrams[0])
    pair.to_a(*pair.from_z())
    pair.send_a(b"new")
    (new,) = pair.from_a()
    probe = pair.expire_a()
    assert tsns(probe) == tsns([new])


def test_a_probe_for_data_that_was_not_lost_keeps_the_window() -> None:
    pair, datagrams = in_flight(3)
    cwnd = pair.a.stats().cwnd
    probe = pair.expire_a()
    assert tsns(probe) == tsns(datagrams[2:])
    pair.to_z(*datagrams)
    pair.to_a(*pair.from_z())
    pair.to_z(*probe)
    pair.exchange()
    assert pair.a.stats().cwnd >= cwnd


def test_a_probe_that_repaired_a_loss_halves_the_window() -> None:
    pair, datagrams = in_flight(3, congestion_control="newreno")
    cwnd = pair.a.stats().cwnd
    pair.now += RTT
    pair.to_z(*datagrams[:2])
    pair.to_a(*pair.from_z())
    pair.to_z(*pair.expire_a())
    pair.exchange()
    pair.send_a(bytes(3 * FRAGMENT))
    pair.exchange()
    assert pair.a.stats().cwnd <= cwnd // 2 + 3 * 1200


def test_superfluous_probes_come_later_until_the_round_trip_is_measured() -> None:
    pair, datagrams = in_flight(1)
    pair.to_z(*datagrams)
    pair.exchange()
    sent = []
    for _ in range(4):
        # The round trip has grown from 0.1 to 0.7 s, because one of the peers has too much to do.
        pair.send_a(b"alone")
        in_the_air = [(pair.now + 0.7, one) for one in pair.from_a()]
        sent.append(1)
        while in_the_air:
            moment = pair.a.next_timeout()
            if moment is not None and moment < in_the_air[0][0]:
                again = pair.expire_a()
                in_the_air += [(moment + 0.7, one) for one in again]
                sent[-1] += len(tsns(again))
                continue
            pair.now, arrived = in_the_air.pop(0)
            pair.to_z(arrived)
            pair.z.handle_timeout(pair.now + 0.2)
            pair.to_a(*pair.from_z())
    assert sent == [3, 1, 2, 1], "SRTT moves by an eighth with each measurement"


def test_messages_that_may_not_be_sent_again_are_not_used_as_probes() -> None:
    pair = Pair(changed(rto_min=0.4)).establish()
    pair.send_a(b"measure")
    pair.exchange()
    pair.send_a(b"once", max_retransmissions=0)
    first = pair.from_a()
    while pair.a.stats().flight_size:
        assert tsns(pair.expire_a()) == []
    assert len(tsns(first)) == 1


def test_restores_the_window_after_spurious_retransmissions() -> None:
    pair, datagrams = in_flight(20)
    cwnd = pair.a.stats().cwnd
    pair.now += RTT
    # Packets 0 and 1 take a detour longer than the reordering window.
    pair.to_z(*datagrams[2:])
    pair.to_a(*pair.from_z())
    again = pair.from_a()
    assert tsns(again) == tsns(datagrams[:2])
    assert pair.a.stats().cwnd < cwnd
    pair.now += RTT / 10
    pair.to_z(*datagrams[:2])
    pair.to_a(*pair.from_z())
    pair.now += RTT
    pair.to_z(*again)
    pair.to_a(*pair.from_z())
    stats = pair.a.stats()
    assert stats.cwnd >= cwnd
    assert stats.spurious_recoveries == 1


def test_a_spurious_timeout_is_undone() -> None:
    pair, datagrams = in_flight(4, tail_loss_probe=False)
    cwnd = pair.a.stats().cwnd
    [_, again] = pair.expire_a()  # the first expiration sends a HEARTBEAT to measure the round trip
    assert pair.a.stats().cwnd < 1200
    # All packets were late; none was lost.
    pair.to_z(*datagrams)
    pair.to_a(*pair.from_z())
    pair.to_z(again)
    pair.exchange()
    assert pair.a.stats().cwnd >= cwnd
    assert pair.a.state is S.ESTABLISHED


def test_recovers_a_lost_window_in_order_and_once() -> None:
    pair, datagrams = in_flight(40)
    pair.send_a(b"after")
    pair.from_a()
    for _ in range(200):
        pair.pass_time(0.05)
        if len(pair.received_by_z()) >= 5:
            break
    assert pair.received_by_z()[-2:] == [bytes(40 * FRAGMENT), b"after"]
    assert pair.a.stats().retransmissions <= 2 * (len(datagrams) + 1)


def test_pacing_spreads_a_window_over_the_round_trip() -> None:
    pair = Pair(changed(initial_cwnd=120_000, max_burst=100, rto_min=0.4)).establish()
    for _ in range(3):
        pair.send_a(b"measure")
        datagrams = pair.from_a()
        pair.now += RTT
        pair.to_z(*datagrams)
        pair.z.handle_timeout(pair.now + 0.2)
        pair.to_a(*pair.from_z())
    start = pair.now
    pair.send_a(bytes(90 * FRAGMENT))
    bursts = [len(pair.from_a())]
    while sum(bursts) < 90:
        moment = pair.a.next_timeout()
        assert moment is not None
        assert moment > pair.now
        pair.now = moment
        pair.a.handle_timeout(pair.now)
        bursts.append(len(pair.from_a()))
    assert max(bursts) <= 8
    # Slow start paces at twice the window per round trip: 90 of 101 packets take not quite half a round trip.
    assert 0.3 * RTT < pair.now - start < 0.7 * RTT


@pytest.mark.parametrize("algorithm", ["newreno", "cubic", "adaptive"])
def test_every_controller_transfers_and_grows(algorithm: str) -> None:
    pair = Pair(changed(congestion_control=algorithm, slow_start_limit=64, max_burst=64, pacing=False)).establish()
    pair.send_a(bytes(2_000_000))
    for _ in range(3000):
        datagrams = pair.from_a()
        pair.now += 0.01
        pair.to_z(*datagrams)
        answers = pair.from_z()
        pair.now += 0.01
        pair.to_a(*answers)
        pair.a.handle_timeout(pair.now)
        pair.z.handle_timeout(pair.now)
        if pair.received_by_z():
            break
    assert pair.received_by_z() == [bytes(2_000_000)]
    assert pair.a.stats().cwnd > 10_000


def test_an_unknown_controller_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="newreno, cubic, adaptive"):
        changed(congestion_control="vegas")


def sack(pair: Pair, cumulative_tsn_ack: int, blocks: list[tuple[int, int]]) -> None:
    """Deliver a SACK to A."""
    pair.to_a(packet(pair.a.local_tag, SackChunk(cumulative_tsn_ack & 0xFFFFFFFF, 1_000_000, blocks, [])))


def test_does_not_treat_tsns_beyond_the_room_of_a_sack_as_reneged() -> None:
    # RFC 9260, 6.7: "This single SACK chunk MUST report the Gap Ack Blocks from the lowest to highest TSNs, within the
    # size limit set by the PMTU, and leave the remaining highest TSN numbers unacknowledged."
    pair, datagrams = in_flight(60)
    before = tsns(datagrams)[0] - 1
    pair.now += RTT
    # Every second packet is lost. Of the others, the last ones overtake the first. The peer reports at most 20 blocks.
    sack(pair, before, [(offset, offset) for offset in range(22, 61, 2)])
    measured = pair.a.stats().srtt
    assert measured == pytest.approx(RTT)
    pair.now += 0.001
    sack(pair, before, [(offset, offset) for offset in range(2, 41, 2)])
    # Half of the chunks have arrived and half are lost: none of them is in flight again.
    assert pair.a.stats().flight_size == 0
    assert len(pair.from_a()) == 30
    pair.now += 0.001
    sack(pair, before, [(offset, offset) for offset in range(2, 61, 2)])
    assert pair.a.stats().srtt == measured
    sack(pair, before + 60, [])
    assert (pair.a.stats().flight_size, pair.a.stats().retransmissions) == (0, 30)


def test_a_reneged_chunk_measures_no_round_trip_when_acknowledged_again() -> None:
    pair, datagrams = in_flight(10, congestion_control="adaptive")
    before = tsns(datagrams)[0] - 1
    pair.now += RTT
    sack(pair, before, [(2, 10)])
    stats = pair.a.stats()
    sack(pair, before, [(2, 2)])
    assert pair.a.stats().flight_size == stats.flight_size + 8 * (FRAGMENT + 16)
    pair.now += 0.001
    sack(pair, before, [(2, 10)])
    again = pair.a.stats()
    assert (again.srtt, again.flight_size) == (stats.srtt, stats.flight_size)
    assert again.cwnd <= stats.cwnd


def test_a_running_t3_rtx_is_extended_when_the_path_becomes_slower() -> None:
    pair, datagrams = in_flight(3)
    started = pair.now
    assert pair.a.stats().paths[0].t3_rtx_expires_at == pytest.approx(started + 0.4)
    # A queue has grown: the answer takes four round trips. The first packet is missing.
    pair.now += 4 * RTT - 0.01
    pair.to_z(*datagrams[1:])
    pair.to_a(*pair.from_z())
    rto = pair.a.stats().rto
    assert rto > 0.42
    assert pair.a.stats().paths[0].t3_rtx_expires_at == pytest.approx(started + rto)


def timed_out(pair: Pair, times: int) -> list[bytes]:
    """Let T3-rtx expire `times` times without any delivery; return the packets that A sends at the last one."""
    sent: list[bytes] = []
    while pair.a.stats().paths[0].t3_rtx_expirations < times:
        sent = pair.expire_a()
    return sent


def test_a_heartbeat_sent_with_retransmissions_measures_the_path_and_ends_the_backoff() -> None:
    pair, _ = in_flight(1)
    before = pair.a.stats()
    sent = timed_out(pair, 4)
    assert pair.a.stats().rto == pytest.approx(before.rto * 16)
    assert tsns(sent)
    assert len(chunks(sent, HeartbeatChunk)) == 1
    pair.now += RTT
    pair.to_z(*sent)
    pair.send_a(b"the last message")
    pair.from_a()  # lost
    pair.to_a(*pair.from_z())
    after = pair.a.stats()
    assert after.srtt == pytest.approx(RTT, abs=0.01)
    assert after.rto == pytest.approx(before.rto)
    assert tsns(pair.from_a())
    # T3-rtx for outstanding data is no longer than for data sent now.
    assert pair.a.stats().paths[0].t3_rtx_expires_at == pytest.approx(pair.now + after.rto)


def test_progress_without_a_measurement_causes_one_heartbeat_per_round_trip() -> None:
    pair, datagrams = in_flight(4)
    first = tsns(datagrams)[0]
    timed_out(pair, 2)
    asked = []
    for progress in range(3):
        pair.now += RTT * 0.6
        sack(pair, first + progress, [])
        asked.append(len(chunks(pair.from_a(), HeartbeatChunk)))
    assert asked == [0, 1, 0]
    assert pair.a.stats().paths[0].backed_off


def test_a_heartbeat_ack_for_an_earlier_heartbeat_measures_nothing() -> None:
    pair, _ = in_flight(1)
    first = timed_out(pair, 1)
    timed_out(pair, 3)
    rto = pair.a.stats().rto
    pair.to_a(packet(pair.a.local_tag, *[HeartbeatAckChunk(chunk.info) for chunk in chunks(first, HeartbeatChunk)]))
    pair.to_a(packet(pair.a.local_tag, HeartbeatAckChunk(b"")))
    assert pair.a.stats().rto == rto


def test_unanswered_measurements_do_not_count_as_errors() -> None:
    pair, _ = in_flight(1)
    timed_out(pair, 3)
    assert pair.a.stats().paths[0].error_count == 3


# -- after an outage ---------------------------------------------------------------------------------------------------


def after_an_outage(seconds: float) -> Pair:
    """Return a pair in which A sent one message into an outage, and has backed off T3-rtx."""
    pair = Pair(changed(rto_min=0.4, heartbeat_interval=30.0)).establish()
    for _ in range(10):
        pair.send_a(b"measured")
        sent = pair.from_a()
        pair.now += 0.02  # a round trip of 20 ms
        pair.to_z(*sent)
        pair.exchange()
    pair.pass_time(1.0)  # the last delayed SACK
    pair.collect()
    pair.send_a(b"into the outage")
    pair.from_a()  # A -> DATA -> /lost/ Z
    end = pair.now + seconds
    while (moment := pair.a.next_timeout()) is not None and moment < end:
        pair.now = moment
        pair.a.handle_timeout(pair.now)
        pair.from_a()  # A -> retransmission -> /lost/ Z
    pair.now = end
    assert pair.a.stats().rto > 3.0
    return pair


def test_a_path_change_retransmits_at_once_despite_a_backed_off_timer() -> None:
    # RFC 8261, 6.1: "reset the congestion state to the initial state."
    pair = after_an_outage(13.0)
    pair.a.path_changed(pair.now)
    pair.to_z(*pair.from_a())
    assert pair.received_by_z()[-1] == b"into the outage"


def test_path_alive_retransmits_one_packet_at_once() -> None:
    pair = after_an_outage(13.0)
    pair.a.path_alive(pair.now)
    sent = pair.from_a()
    assert len(chunks(sent, DataChunk)) == 1
    pair.a.path_alive(pair.now + 1.0)
    assert pair.from_a() == []  # once between two expirations of T3-rtx
    pair.to_z(*sent)
    assert pair.received_by_z()[-1] == b"into the outage"


@pytest.mark.parametrize("sign", ["DATA", "HEARTBEAT"])
def test_the_first_packet_of_the_peer_after_a_silence_ends_the_back_off(sign: str) -> None:
    pair = after_an_outage(13.0)
    if sign == "DATA":
        pair.send_z(b"back again")
        pair.to_a(*pair.from_z())  # A <- DATA <- Z
    else:
        pair.to_a(packet(pair.a.local_tag, HeartbeatChunk(b"there?")))  # A <- HEARTBEAT <- Z
    pair.to_z(*pair.from_a())  # A -> DATA -> Z, no timer has expired
    assert pair.received_by_z()[-1] == b"into the outage"
    pair.exchange()
    assert pair.a.stats().rto < 1.0


def test_packets_without_a_silence_before_them_leave_the_back_off_alone() -> None:
    pair = after_an_outage(13.0)
    pair.to_a(packet(pair.a.local_tag, HeartbeatChunk(b"1")))
    pair.from_a()
    sent = []
    for number in range(50):
        # A's packets are lost, Z's packets arrive: A must not send a packet for each of them.
        pair.now += 0.01
        pair.to_a(packet(pair.a.local_tag, HeartbeatChunk(b"%d" % number)))
        sent += pair.from_a()
    assert len(chunks(sent, DataChunk)) <= 1


def test_path_alive_sends_nothing_on_an_idle_association() -> None:
    pair = Pair().establish()
    pair.now += 20.0
    pair.a.path_alive(pair.now)
    assert pair.from_a() == []
