"""The phases of Careful Resume (RFC 9959), one acknowledgment at a time."""

from __future__ import annotations

import pytest

from datachan.sctp import PathHistory
from datachan.sctp.congestion import AckSample, Adaptive, CarefulResume, CongestionController, NewReno
from datachan.sctp.congestion.careful_resume import NORMAL, RECONNAISSANCE, SAFE_RETREAT, UNVALIDATED, VALIDATING

NAME = ("192.0.2.1", "192.0.2.2")
PACKET = 1200
SAVED = 200_000
ROUND_TRIP = 0.04


class Path:
    """One path with `CarefulResume`, on which a test reports acknowledgments."""

    def __init__(self, controller: type[CongestionController] = NewReno, saved: int = SAVED) -> None:
        self.history = PathHistory()
        if saved:
            self.history.record(NAME, saved, ROUND_TRIP, 0.0)
        self.congestion = controller(PACKET, 10 * PACKET)
        self.resume = CarefulResume(self.history, NAME)
        self.now = 1.0
        self.delivered = 0

    def acknowledge(self, acked: int, flight: int, *, sent: float = -1.0, lost: int = 0) -> None:
        """Report a SACK for a packet sent at `sent`, by default a round trip ago."""
        sample = AckSample(self.now, acked, flight + acked, flight)
        sample.round_trip = ROUND_TRIP if sent < 0 else self.now - sent
        sample.min_rtt = ROUND_TRIP
        self.delivered += acked
        sample.delivered = self.delivered
        sample.bytes_lost = lost
        self.resume.on_acknowledged(sample, self.congestion)

    def jump(self, round_trip: float = ROUND_TRIP) -> bool:
        """Confirm the path with ten packets, and let the window hold back data."""
        self.acknowledge(10 * PACKET, 0)
        assert self.resume.ready
        return self.resume.start_jump(self.congestion, 0, round_trip, self.now)


def test_waits_for_the_acknowledgment_of_all_initial_data() -> None:
    path = Path()
    path.acknowledge(2 * PACKET, 8 * PACKET)
    assert path.resume.phase == RECONNAISSANCE
    assert not path.resume.ready
    path.acknowledge(8 * PACKET, 0)
    assert path.resume.ready


def test_jumps_to_half_of_what_the_path_carried() -> None:
    path = Path()
    assert path.jump()
    assert path.resume.phase == UNVALIDATED
    assert path.congestion.cwnd == SAVED // 2
    assert path.history.get(NAME, path.now) is None


@pytest.mark.parametrize(("round_trip", "jumps"), [(0.5, False), (0.51, True), (10.0, True), (10.1, False)])
def test_jumps_only_if_the_round_trip_is_that_of_the_path(round_trip: float, jumps: bool) -> None:
    path = Path()
    assert path.jump(round_trip * ROUND_TRIP) is jumps
    assert (path.resume.phase == UNVALIDATED) is jumps


def test_does_not_jump_to_a_window_that_is_no_larger() -> None:
    path = Path(saved=20 * PACKET)
    assert not path.jump()
    assert path.congestion.cwnd == 10 * PACKET


def test_does_not_jump_after_a_loss_of_the_initial_data() -> None:
    path = Path()
    path.acknowledge(2 * PACKET, 8 * PACKET)
    assert path.resume.on_congestion()
    path.acknowledge(8 * PACKET, 0)
    assert path.resume.phase == NORMAL
    assert not path.resume.ready


def test_an_unknown_path_never_jumps() -> None:
    path = Path(saved=0)
    path.acknowledge(10 * PACKET, 0)
    assert path.resume.phase == NORMAL


def test_keeps_what_was_sent_and_is_normal_after_its_last_acknowledgment() -> None:
    path = Path()
    path.jump()
    entered = path.now
    path.now += ROUND_TRIP
    path.acknowledge(PACKET, 60 * PACKET, sent=entered)
    assert path.resume.phase == VALIDATING
    assert path.congestion.cwnd == 61 * PACKET
    path.now += 0.03
    path.acknowledge(PACKET, 60 * PACKET, sent=entered + 0.03)
    assert path.resume.phase == VALIDATING
    path.now += 0.02
    path.acknowledge(PACKET, 60 * PACKET, sent=entered + ROUND_TRIP + 0.01)
    assert path.resume.phase == NORMAL


def test_an_application_that_did_not_use_the_jump_does_not_keep_it() -> None:
    path = Path()
    path.jump()
    entered = path.now
    path.now += ROUND_TRIP
    path.acknowledge(5 * PACKET, 0, sent=entered)
    assert path.resume.phase == NORMAL
    assert path.congestion.cwnd == 5 * PACKET


@pytest.mark.parametrize("validating", [False, True])
def test_a_loss_halves_what_the_path_has_carried(validating: bool) -> None:
    path = Path()
    path.jump()
    entered = path.now
    path.now += ROUND_TRIP
    path.acknowledge(10 * PACKET, 60 * PACKET, sent=entered if validating else entered - 0.01)
    path.acknowledge(10 * PACKET, 50 * PACKET, sent=entered + 0.001, lost=PACKET)
    assert path.resume.phase == SAFE_RETREAT
    assert path.congestion.cwnd == 10 * PACKET
    assert not path.resume.on_congestion()
    path.acknowledge(30 * PACKET, 0, sent=path.now)
    assert path.resume.phase == NORMAL
    assert path.congestion.cwnd == 10 * PACKET
    assert path.congestion.ssthresh == 50 * PACKET
    assert path.history.get(NAME, path.now) is None


def test_the_default_controller_retreats_from_losses_that_are_more_than_usual() -> None:
    path = Path(Adaptive)
    path.jump()
    entered = path.now
    path.now += ROUND_TRIP
    path.acknowledge(40 * PACKET, 60 * PACKET, sent=entered, lost=5 * PACKET)
    assert path.resume.phase == VALIDATING
    path.acknowledge(20 * PACKET, 10 * PACKET, sent=entered + 0.01, lost=20 * PACKET)
    assert path.resume.phase == SAFE_RETREAT
    assert path.congestion.cwnd == 30 * PACKET


def test_a_timeout_ends_it() -> None:
    path = Path()
    path.jump()
    path.resume.on_timeout()
    assert path.resume.phase == NORMAL
