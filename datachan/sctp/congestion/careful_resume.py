"""Careful Resume (RFC 9959): a transfer starts with half of what its path carried.

The path is confirmed first, by the acknowledgments and the round trip of the initial data (Reconnaissance). Then the
window jumps, and leaves at the pace of one window per round trip (Unvalidated). What arrives is kept (Validating); if
the path is congested, the window shrinks to half of what the path has carried (Safe Retreat).

A normal association records what its path carries. This module changes the window of a congestion controller, and sees
samples only. Every jump is bounded by what the same path carried: a peer that lies about what it received slows down
or floods only its own address, as with any acknowledgments.
"""

from __future__ import annotations

from typing import Final

from datachan.sctp.path_history import PathHistory, PathName

from .base import UNLIMITED, AckSample, CongestionController

RECONNAISSANCE: Final = 0
UNVALIDATED: Final = 1
VALIDATING: Final = 2
SAFE_RETREAT: Final = 3
NORMAL: Final = 4

SHORTEST: Final = 0.5
LONGEST: Final = 10.0
"""The round trips, as a multiple of the saved one, with which a path counts as the same."""
LEAST_WINDOW: Final = 4
"""Packets that remain of the window in Safe Retreat."""


class CarefulResume:
    """The use of one saved observation by one path of an association, and the observation of that path.

    Args:
        history: what paths carried before; None to start without it and to record nothing.
        name: the addresses of the path; None while they are unknown, to do as without a history.

    Attributes:
        phase: the phase of RFC 9959.
        jump: the window of the Unvalidated Phase in bytes, 0 before it.
    """

    __slots__ = (
        "_acked",
        "_confirmed_by",
        "_history",
        "_known",
        "_lost",
        "_most",
        "_name",
        "_pipe_size",
        "_rate",
        "_round_end",
        "_sent_from",
        "jump",
        "phase",
    )

    def __init__(self, history: PathHistory | None, name: PathName | None) -> None:
        self._history = None if name is None else history
        self._name = name or ("", "")
        self.phase = NORMAL if self._history is None else RECONNAISSANCE
        self.jump = 0
        self._known = False  # whether something is saved of a path that is confirmed
        self._confirmed_by = -1  # the bytes whose delivery confirms the path; -1 before the first acknowledgment
        self._sent_from = 0.0  # the acknowledgment of a packet sent from then on ends the phase
        self._pipe_size = 0
        self._acked = 0
        self._lost = 0
        self._most = 0  # bytes of the window in Safe Retreat
        self._round_end = 0
        self._rate = 0.0

    @property
    def ready(self) -> bool:
        """Whether the window may jump as soon as it holds back data.

        RFC 9959, 3.2: "When the sender has received an ACK that acknowledges all the initial data (usually the IW)
        without reported congestion, it MAY then enter the Unvalidated Phase".
        """
        return self.phase == RECONNAISSANCE and self._known

    def on_acknowledged(self, sample: AckSample, congestion: CongestionController) -> None:
        """Process one SACK, after the controller has."""
        phase = self.phase
        if phase == NORMAL:
            self._observe(sample, congestion)
            return
        if phase == RECONNAISSANCE:
            self._confirm(sample)
            return
        self._pipe_size += sample.bytes_acked
        self._acked += sample.bytes_acked
        self._lost += sample.bytes_lost
        is_awaited = sample.round_trip is not None and sample.now - sample.round_trip >= self._sent_from
        if phase == SAFE_RETREAT:
            congestion.cwnd = min(congestion.cwnd, self._most)
            if is_awaited:
                self.phase = NORMAL
                congestion.ssthresh = self._pipe(congestion)
        elif congestion.is_start_congested(self._lost, self._acked + self._lost):
            self._retreat(sample, congestion)
        elif phase == UNVALIDATED:
            if is_awaited or sample.now - self._sent_from > sample.min_rtt:
                self._validate(sample, congestion)
            else:
                congestion.cwnd = self.jump
        elif is_awaited:
            self.phase = NORMAL

    def on_congestion(self) -> bool:
        """Apply that a loss was found; return whether the controller is to react to it.

        Congestion in the Reconnaissance Phase ends Careful Resume (RFC 9959, 3.2). In Safe Retreat the window has
        already been reduced.
        """
        if self.phase == RECONNAISSANCE:
            self.phase = NORMAL
        return self.phase != SAFE_RETREAT

    def on_timeout(self) -> None:
        """Apply that T3-rtx has expired: the controller starts again from one packet (RFC 9959, 3.6)."""
        self.phase = NORMAL

    # -- the phases ----------------------------------------------------------------------------------------------------

    def _confirm(self, sample: AckSample) -> None:
        """Wait until the initial data is acknowledged, and then look up whether the path is known."""
        if self._confirmed_by < 0:
            self._confirmed_by = sample.delivered + sample.flight_after
        if self._known or sample.delivered < self._confirmed_by:
            return
        self._known = self._history is not None and self._history.get(self._name, sample.now) is not None
        if not self._known:
            self.phase = NORMAL

    def start_jump(self, congestion: CongestionController, flight: int, round_trip: float, now: float) -> bool:
        """Have the window jump because it holds back data; return whether it has.

        RFC 9959, 3.3: "jump_cwnd MUST be no more than half of the saved_cwnd". By 3.2, a round trip of half the saved
        one or less ends Careful Resume. 4.2.1: "A current RTT that is more than ten times the saved_rtt is indicative
        of a path change."

        Args:
            congestion: the controller whose window jumps.
            flight: bytes in flight.
            round_trip: the shortest round trip of this association in seconds.
            now: monotonic seconds.
        """
        self.phase = NORMAL
        saved = None if self._history is None else self._history.take(self._name, now)
        if saved is None or congestion.ssthresh < UNLIMITED:
            return False
        if not SHORTEST * saved.round_trip < round_trip <= LONGEST * saved.round_trip:
            return False
        jump = saved.cwnd // 2
        if jump <= congestion.cwnd:
            return False
        self.phase = UNVALIDATED
        self._sent_from = now
        self._pipe_size = flight
        self.jump = jump
        congestion.resume(jump, saved.cwnd, jump / round_trip)
        return True

    def _validate(self, sample: AckSample, congestion: CongestionController) -> None:
        """Keep what is in flight of the jump, until its last packet is acknowledged (RFC 9959, 3.3 and 3.4).

        If the application has not used the jump, the window is what the path has carried instead.
        """
        self._sent_from = sample.now
        if sample.flight_after <= self._pipe_size:
            self.phase = NORMAL
            congestion.cwnd = min(congestion.cwnd, self._pipe(congestion))
            return
        self.phase = VALIDATING
        congestion.cwnd = sample.flight_after + sample.bytes_acked

    def _retreat(self, sample: AckSample, congestion: CongestionController) -> None:
        """Reduce the window, and wait for the last packet of the jump.

        RFC 9959, 3.5: "The CWND MUST be reduced to no more than (PipeSize/2)", and on leaving the phase "ssthresh MUST
        be set to no larger than the most recently measured PipeSize * Beta". Beta is from 0.5 to 1, and 1 here. What
        was saved of the path has to be deleted; the jump has taken it from the history.
        """
        if self.phase == UNVALIDATED:
            self._sent_from = sample.now
        self.phase = SAFE_RETREAT
        self._most = max(self._pipe_size // 2, LEAST_WINDOW * congestion.max_payload)
        congestion.retreat(self._most, self._pipe(congestion))

    def _pipe(self, congestion: CongestionController) -> int:
        """Return the bytes that the path has carried since the jump, and not less than a few packets."""
        return max(self._pipe_size, LEAST_WINDOW * congestion.max_payload)

    # -- the observation -----------------------------------------------------------------------------------------------

    def _observe(self, sample: AckSample, congestion: CongestionController) -> None:
        """Record, once per round trip, what the path has delivered within its shortest round trip.

        A window that still grows, or an application with little to send, says only what the path carries at least.
        """
        history, name = self._history, self._name
        if history is None:
            return
        if sample.delivery_rate > self._rate:
            self._rate = sample.delivery_rate
        if sample.delivered < self._round_end:
            return
        self._round_end = sample.delivered + sample.flight_after
        cwnd = min(int(self._rate * min(sample.min_rtt, 60.0)), congestion.cwnd)
        self._rate = 0.0
        if cwnd <= 0:
            return
        if congestion.in_slow_start or sample.app_limited:
            known = history.get(name, sample.now)
            if known is not None and cwnd <= known.cwnd:
                return
        history.record(name, cwnd, sample.min_rtt, sample.now)
