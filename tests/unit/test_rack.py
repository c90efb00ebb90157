"""RACK tells the acknowledgment of a retransmission from that of what was sent at first, as well as can be told."""

from __future__ import annotations

from datachan.sctp.tx.rack import Rack


def standing_queue() -> Rack:
    """The shortest round trip was 1 ms; now a queue makes it 9 ms: the chunk acknowledged at 1.0 was sent at 0.991."""
    rack = Rack(1)
    rack.record_delivered(0.1, 1, False, 0.101)
    rack.record_delivered(0.991, 2, False, 1.0)
    return rack


def test_what_is_acknowledged_soon_after_it_was_sent_again_makes_nothing_lost() -> None:
    rack = standing_queue()

    rack.record_delivered(0.999, 3, True, 1.002)  # three shortest round trips, a third of the present one

    assert not rack.sent_before(0.998, 4)


def test_what_is_acknowledged_a_present_round_trip_after_it_was_sent_again_does() -> None:
    rack = standing_queue()

    rack.record_delivered(0.993, 3, True, 1.002)

    assert rack.sent_before(0.992, 4)


def test_a_queue_of_some_time_ago_says_nothing_of_the_present() -> None:
    rack = standing_queue()

    # No chunk sent once was acknowledged for two round trips: the queue may have drained.
    rack.record_delivered(1.020, 3, True, 1.023)

    assert rack.sent_before(1.019, 4)


def test_what_is_acknowledged_within_the_shortest_round_trip_never_counts() -> None:
    rack = standing_queue()

    rack.record_delivered(1.0295, 3, True, 1.030)

    assert not rack.sent_before(1.020, 4)
