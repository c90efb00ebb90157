"""RACK attributes an acknowledgment to a retransmission or to the first transmission as well as the times allow."""

from __future__ import annotations

from datachan.sctp.tx.rack import Rack


def standing_queue() -> Rack:
    """Return a state with a minimum round trip of 1 ms and a current one of 9 ms, because of a queue.

    The chunk acknowledged at 1.0 was sent at 0.991.
    """
    rack = Rack(1)
    rack.record_delivered(0.1, 1, False, 0.101)
    rack.record_delivered(0.991, 2, False, 1.0)
    return rack


def test_an_early_acknowledgment_of_a_retransmission_marks_nothing_lost() -> None:
    rack = standing_queue()

    rack.record_delivered(0.999, 3, True, 1.002)  # three times the minimum round trip, a third of the current one

    assert not rack.sent_before(0.998, 4)


def test_an_acknowledgment_a_round_trip_after_a_retransmission_marks_chunks_lost() -> None:
    rack = standing_queue()

    rack.record_delivered(0.993, 3, True, 1.002)

    assert rack.sent_before(0.992, 4)


def test_an_old_round_trip_is_not_compared_with_the_present_one() -> None:
    rack = standing_queue()

    # No chunk sent once was acknowledged for two round trips: the queue may have drained.
    rack.record_delivered(1.020, 3, True, 1.023)

    assert rack.sent_before(1.019, 4)


def test_an_acknowledgment_within_the_minimum_round_trip_never_counts() -> None:
    rack = standing_queue()

    rack.record_delivered(1.0295, 3, True, 1.030)

    assert not rack.sent_before(1.020, 4)
