"""The window on a path between two processes of one host: it shrinks to what keeps both at work, and no further."""

from __future__ import annotations

from datachan.sctp.congestion import AckSample, Adaptive
from datachan.sctp.congestion.adaptive import LEAST_SHORT_WINDOW
from datachan.sctp.tx.pacer import MIN_BURST_PACKETS, SHORT_PATH_BURST, Pacer

PACKET = 1200
RATE = 300e6


class ShortPath:
    """A controller on a path whose peer processes `RATE` bytes per second, all that is in flight within a round."""

    def __init__(self, round_trip: float, cwnd: int) -> None:
        self.controller = Adaptive(PACKET)
        self.controller.cwnd = cwnd
        self.now = 1.0
        self.delivered = 0
        self.round(round_trip, app_limited=True)

    def round(self, round_trip: float, *, app_limited: bool) -> None:
        """Acknowledge a window after a round trip."""
        flight = self.controller.cwnd
        self.now += round_trip
        sample = AckSample(self.now, flight, flight, 0)
        sample.prior_delivered = self.delivered
        self.delivered += flight
        sample.delivered = self.delivered
        sample.round_trip = sample.min_rtt = round_trip
        sample.delivery_rate = RATE
        sample.app_limited = app_limited
        self.controller.on_acknowledged(sample)

    def run(self, seconds: float, least: float = 0.0, *, app_limited: bool = False) -> None:
        """Acknowledge windows for a while; each waits for the one before, and at least `least` seconds."""
        end = self.now + seconds
        while self.now < end:
            self.round(max(self.controller.cwnd / RATE, least), app_limited=app_limited)


def test_a_queue_that_stands_on_a_short_path_shrinks_the_window() -> None:
    path = ShortPath(0.0002, 2_400_000)
    path.controller.ssthresh = path.controller.cwnd - 1

    path.run(1.0)

    assert LEAST_SHORT_WINDOW <= path.controller.cwnd < 0.003 * RATE


def test_the_queue_also_shrinks_while_the_sender_is_as_slow_as_its_peer() -> None:
    path = ShortPath(0.0002, 5_000_000)

    path.run(1.0, app_limited=True)

    assert not path.controller.searching
    assert path.controller.cwnd < 0.003 * RATE


def test_a_window_that_takes_long_to_process_shrinks_within_a_few_rounds() -> None:
    path = ShortPath(0.0002, 12_000_000)
    path.controller.ssthresh = path.controller.cwnd - 1

    path.run(0.5)

    assert path.controller.cwnd < 0.003 * RATE


def test_late_processes_leave_the_window_if_the_queue_empties_in_between() -> None:
    path = ShortPath(0.0002, 1_000_000)
    for _ in range(20):
        path.run(0.03, least=0.008, app_limited=True)
        path.round(0.0004, app_limited=True)

    assert path.controller.cwnd >= 1_000_000


def test_a_small_window_never_shrinks_because_of_late_processes() -> None:
    path = ShortPath(0.0002, LEAST_SHORT_WINDOW)

    path.run(1.0, least=0.006, app_limited=True)

    assert path.controller.cwnd >= LEAST_SHORT_WINDOW


def test_a_path_that_is_not_short_keeps_its_window() -> None:
    path = ShortPath(0.004, 1_300_000)

    path.run(0.5, least=0.007, app_limited=True)

    assert path.controller.cwnd >= 1_300_000


def test_bursts_are_larger_on_a_path_that_was_short_once() -> None:
    released = {}
    for shortest in (0.0003, 0.004):
        pacer = Pacer(PACKET)
        pacer.set_rate(100_000.0, 0.05, 0.002, 1.0, shortest)
        released[shortest] = 0
        while pacer.allows(1.0):
            pacer.charge(PACKET)
            released[shortest] += 1

    assert released == {0.0003: -(-SHORT_PATH_BURST // PACKET), 0.004: MIN_BURST_PACKETS}
