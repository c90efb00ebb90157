"""The reaction of controllers to acknowledgments and losses; tests/network covers links and fairness."""

from __future__ import annotations

import pytest

from datachan.sctp.congestion import AckSample, Adaptive, CongestionController, Cubic, NewReno

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


def test_cubic_grows_less_than_reno_until_it_has_the_window_before_its_last_loss() -> None:
    # RFC 9438, 4.3: up to cwnd_prior by 0.53 packets per round trip. w_max is less than that by fast convergence.
    cubic = settled(Cubic(PACKET), 200)
    cubic.on_loss(1.0, 200 * PACKET)
    settled(cubic, 18)
    cubic.on_loss(2.0, 18 * PACKET)
    start = cubic.cwnd
    for number in range(10):
        acknowledge(cubic, 2.1 + number * ROUND_TRIP, cubic.cwnd, cubic.cwnd)

    assert start + 5 * PACKET < cubic.cwnd < start + 6 * PACKET


def test_cubic_does_not_grow_an_unused_window() -> None:
    cubic = settled(Cubic(PACKET), 200)
    for number in range(500):
        acknowledge(cubic, number * 0.01, 10 * PACKET, 100 * PACKET)

    assert cubic.cwnd == 200 * PACKET


class Acknowledged:
    """An adaptive controller and SACKs for it, each of which acknowledges a tenth of a window and ends a round."""

    def __init__(self, packets: int = 200) -> None:
        self.controller = Adaptive(PACKET)
        settled(self.controller, packets)
        self.now = 0.0
        self.delivered = 0

    def sack(self, round_trip: float = ROUND_TRIP, *, lost: int = 0, rate: float = 0.0) -> None:
        """Process one SACK a round trip later."""
        window = self.controller.cwnd
        self.now += round_trip
        sample = AckSample(self.now, window // 10, window, window - window // 10)
        self.delivered += window // 10
        sample.delivered = sample.prior_delivered = self.delivered + 1_000_000_000 * (1 + int(self.now * 1000))
        sample.round_trip = round_trip
        sample.min_rtt = ROUND_TRIP
        sample.delivery_rate = rate or window / round_trip
        sample.bytes_lost = lost * PACKET
        self.controller.on_acknowledged(sample)


def test_a_loss_without_a_queue_leaves_the_adaptive_window() -> None:
    flow = Acknowledged()
    for _ in range(20):
        flow.sack()
    window = flow.controller.cwnd

    flow.sack(lost=1)

    assert flow.controller.cwnd >= window


def test_a_loss_with_a_full_queue_shrinks_the_adaptive_window_to_what_the_path_holds() -> None:
    flow = Acknowledged()
    for _ in range(20):
        flow.sack(lost=1)
    for _ in range(20):
        flow.sack(1.25 * ROUND_TRIP, rate=200 * PACKET / ROUND_TRIP)
    holds = flow.controller.bandwidth * ROUND_TRIP
    assert flow.controller.cwnd > holds

    flow.sack(1.25 * ROUND_TRIP, lost=1, rate=200 * PACKET / ROUND_TRIP)

    assert flow.controller.cwnd == pytest.approx(max(holds, 0.7 * flow.controller.cwnd), rel=0.02)


def test_much_loss_is_congestion_without_a_queue_too() -> None:
    flow = Acknowledged()
    for _ in range(20):
        flow.sack(rate=100 * PACKET / ROUND_TRIP)
    window = flow.controller.cwnd

    flow.sack(lost=30, rate=100 * PACKET / ROUND_TRIP)

    assert flow.controller.cwnd == pytest.approx(0.7 * window, rel=0.02)


def test_a_reduction_that_was_a_false_alarm_is_undone() -> None:
    flow = Acknowledged()
    for _ in range(20):
        flow.sack(rate=100 * PACKET / ROUND_TRIP)
    window = flow.controller.cwnd
    flow.sack(lost=60, rate=100 * PACKET / ROUND_TRIP)
    flow.controller.on_loss(flow.now, window)
    assert flow.controller.cwnd < window

    flow.controller.on_spurious(flow.controller.cwnd, flow.controller.ssthresh)

    assert flow.controller.cwnd == window


def test_a_search_does_not_grow_a_window_that_the_sender_is_too_slow_to_fill() -> None:
    # The application always has data, so that no sample is application-limited.
    controller = Adaptive(PACKET, 12_000)
    flight = 20 * PACKET
    for number in range(200):
        acknowledge(controller, number * ROUND_TRIP, flight // 2, flight)

    assert controller.searching
    assert controller.cwnd < 3 * flight


def test_a_search_goes_on_after_a_pause() -> None:
    controller = Adaptive(PACKET, 12_000)
    controller.cwnd = 100_000
    controller.on_idle(10)
    assert controller.searching
    assert controller.cwnd == 12_000
