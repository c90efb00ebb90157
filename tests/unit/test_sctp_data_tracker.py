"""When a SACK is sent: at once, delayed, or with DATA that leaves earlier."""

from __future__ import annotations

from datachan.sctp.rx.data_tracker import DataTracker

DELAY = 0.2
FREQUENCY = 2


def tracker_after_first_sack() -> DataTracker:
    """Return a tracker that has acknowledged the first DATA of the association, TSN 100."""
    tracker = DataTracker(100)
    receive(tracker, 100)
    tracker.sack_sent()
    return tracker


def receive(tracker: DataTracker, *tsns: int, immediate: bool = False) -> None:
    """Record one packet with these TSNs, received alone at time 0."""
    new = [tsn for tsn in tsns if tracker.is_new(tsn)]
    for tsn in new:
        tracker.record(tsn)
    tracker.packet_received(immediate, not new, FREQUENCY)
    tracker.finish_batch(0.0, DELAY)


def test_acknowledges_the_first_data_at_once() -> None:
    # RFC 9260, 5.1: "After the reception of the first DATA chunk in an association, the endpoint MUST immediately
    # respond with a SACK chunk to acknowledge the DATA chunk."
    tracker = DataTracker(100)
    receive(tracker, 100)
    assert tracker.due()
    tracker.sack_sent()
    assert not tracker.due()


def test_delays_the_sack_for_a_lone_packet() -> None:
    tracker = tracker_after_first_sack()
    receive(tracker, 101)
    assert not tracker.due()
    assert tracker.is_delaying
    assert tracker.sack_timer.expires_at == DELAY
    tracker.handle_timeout(DELAY)
    assert tracker.due()


def test_sends_a_delayed_sack_with_data() -> None:
    tracker = tracker_after_first_sack()
    assert not tracker.due(with_data=True)
    receive(tracker, 101)
    assert tracker.due(with_data=True)


def test_acknowledges_every_second_packet() -> None:
    tracker = tracker_after_first_sack()
    receive(tracker, 101)
    receive(tracker, 102)
    assert tracker.due()


def test_acknowledges_a_gap_a_duplicate_and_the_i_bit_at_once() -> None:
    gap, duplicate, immediate = tracker_after_first_sack(), tracker_after_first_sack(), tracker_after_first_sack()
    receive(gap, 102)
    receive(duplicate, 100)
    receive(immediate, 101, immediate=True)
    assert gap.due()
    assert duplicate.due()
    assert duplicate.duplicate_tsns(10) == [100]
    assert immediate.due()


def test_acknowledges_at_once_on_request() -> None:
    tracker = tracker_after_first_sack()
    tracker.request_sack()
    assert tracker.due()
