"""The reaction of controllers to acknowledgments and losses; tests/network covers links and fairness."""

from __future__ import annotations

import pytest

from datachan.sctp.congestion import AckSample, CongestionController, Cubic, NewReno

PACKET = 1200
ROUND_TRIP = 0.04


def settled(controller: CongestionController, packets: int) -> CongestionController:
    """Return the controller in congestion avoidance with a window of `packets`."""
    controller.cwnd = packets * PACKET
    controller.ssthresh = controller.cwnd - 1
    return controller


def acknowledge(controller: CongestionController, now: float, acked: int, flight: int) -> None:
    """Process one SACK outside of recovery."""
    sample = AckSample(now, acked, flight, flight - acked)
    sample.round_trip = sample.min_rtt = ROUND_TRIP
    controller.on_acknowledged(sample)


@pytest.mark.parametrize("kind", [NewReno, Cubic])
def test_the_pacing_rate_is_twice_the_window_in_slow_start_and_little_more_than_one_afterwards(
    kind: type[CongestionController],
) -> None:
    controller = kind(PACKET)
    assert controller.pacing_rate(ROUND_TRIP) == pytest.approx(2 * controller.cwnd / ROUND_TRIP)

    settled(controller, 200)

    assert 1.0 < controller.pacing_rate(ROUND_TRIP) * ROUND_TRIP / controller.cwnd <= 1.1


@pytest.mark.parametrize("kind", [NewReno, Cubic])
def test_loss_recovery_is_not_paced_like_slow_start(kind: type[CongestionController]) -> None:
    controller = settled(kind(PACKET), 200)
    controller.on_loss(1.0, 200 * PACKET)

    # cwnd equals ssthresh now; twice the window per round trip would overflow the queue again at once.
    assert controller.pacing_rate(ROUND_TRIP) * ROUND_TRIP / controller.cwnd <= 1.1


def test_a_loss_after_a_stall_costs_cubic_no_more_than_any_other() -> None:
    cubic = settled(Cubic(PACKET), 200)
    window = cubic.cwnd
    acknowledge(cubic, 1.0, PACKET, window)
    # The process did not run for a while. All acknowledgments arrive at once, and the burst sent then overflows the
    # queue.
    for flight in range(window, 100 * PACKET, -20 * PACKET):
        acknowledge(cubic, 1.08, 20 * PACKET, flight)

    cubic.on_loss(1.12, 90 * PACKET)

    assert cubic.cwnd == pytest.approx(0.7 * window, abs=PACKET)


def test_an_unused_window_does_not_soften_the_reaction_to_a_loss() -> None:
    cubic = settled(Cubic(PACKET), 200)
    acknowledge(cubic, 1.0, PACKET, cubic.cwnd)
    for second in range(2, 5):
        acknowledge(cubic, float(second), PACKET, 120 * PACKET)

    cubic.on_loss(5.0, 110 * PACKET)

    assert cubic.cwnd == pytest.approx(0.7 * 120 * PACKET, abs=1)
    assert cubic.ssthresh == cubic.cwnd


def test_cubic_reduces_its_window_by_two_thirds_at_most() -> None:
    cubic = settled(Cubic(PACKET), 200)
    acknowledge(cubic, 5.0, PACKET, 2 * PACKET)

    cubic.on_loss(5.0, 2 * PACKET)

    assert cubic.cwnd == pytest.approx(0.35 * 200 * PACKET, abs=1)


def test_cubic_does_not_grow_an_unused_window() -> None:
    cubic = settled(Cubic(PACKET), 200)
    for number in range(500):
        acknowledge(cubic, number * 0.01, 10 * PACKET, 100 * PACKET)

    assert cubic.cwnd == 200 * PACKET
