"""CUBIC with a model of the path: the default congestion controller.

The window grows and shrinks as that of CUBIC (RFC 9438), so that it shares a path with other flows as TCP does. Four
rules differ:

- A loss is congestion if the queue is about as long as it gets, or if a large part of a round is lost. Other losses
  leave the window as it is. CUBIC's window is proportional to 1 / sqrt(loss), whatever the cause of the loss.
- A congested window shrinks to what the path holds without a queue, if that is more than CUBIC would leave.
- A queue of our own that is longer than a round trip is congestion, too.
- On a short path the queue is kept so short that small messages do not wait behind it, as long as it never empties.
- A window that finds no queue for a while probes for a path that carries more.
"""

from __future__ import annotations

from typing import Final

from .base import UNLIMITED, AckSample, CongestionController
from .cubic_curve import BETA_CUBIC, CubicCurve
from .path_model import INFINITE, PathModel
from .queue_owner import DRAIN_AFTER, QueueOwner
from .recent_flight import RecentFlight
from .standing_queue import StandingQueue
from .startup import LEAST_LOST_PACKETS as LEAST_START_LOSS
from .startup import PLAIN_LOSS, QUEUE_LOSS, Startup

FULL_QUEUE: Final = 0.75
"""Part of the longest queue from which on a loss is attributed to its overflow."""
LEAST_LOST_PACKETS: Final = 2
"""Packets that a round loses without being congested, whatever their share."""
USUAL_LOSS_FACTOR: Final = 1.5
CLEAN_LOSS: Final = 0.0003
"""The usual loss of a path up to which every loss is congestion."""
CLEAN_PART: Final = 0.9
"""Part of the path that a congested window fills there, so that flows with a short queue converge."""
PROBE_ROUNDS: Final = 6
PROBE_WAIT: Final = 1.0
"""Rounds without a queue, and seconds since the window has recovered from the last congestion, until it probes."""
PROBE_GROWTH: Final = 1 / 16
MOST_PROBE_GROWTH: Final = 1 / 4
"""The growth per round of a probe, which increases by the first value every other round up to the second one."""
LEAST_SHORT_WINDOW: Final = 400_000
"""Bytes that a standing queue leaves to the window: the batches that two processes of one host work on."""


class Adaptive(CongestionController):
    """CUBIC that tells congestion from other losses.

    Attributes:
        path: what is known of the path.
    """

    __slots__ = (
        "_curve",
        "_owner",
        "_probe_from",
        "_probe_round",
        "_react_after",
        "_recent",
        "_reduced_at",
        "_slow_start_limit",
        "_standing",
        "_startup",
        "_undo_cwnd",
        "path",
    )

    def __init__(self, max_payload: int, initial_cwnd: int = 0, slow_start_limit: int = 1) -> None:
        super().__init__(max_payload, initial_cwnd)
        self.path = PathModel()
        self._slow_start_limit = slow_start_limit
        self._startup = Startup(self.cwnd)
        self._curve = CubicCurve()
        self._owner = QueueOwner()
        self._recent = RecentFlight()
        self._standing = StandingQueue()
        self._react_after = 0  # the bytes to be delivered before the window may shrink again
        self._probe_from = 0  # the window before the probe; 0 without one
        self._probe_round = 0
        self._undo_cwnd = 0
        self._reduced_at = -1.0

    @property
    def searching(self) -> bool:
        """Whether nothing has shown yet what the path carries."""
        return self.ssthresh >= UNLIMITED

    @property
    def bandwidth(self) -> float:
        """The bytes per second that the path delivered in the last rounds."""
        return self.path.bandwidth

    def on_acknowledged(self, sample: AckSample) -> None:
        """Update the model and the window."""
        path = self.path
        self._recent.note(sample)
        new_round = path.update(sample)
        if new_round:
            path.learn_usual_loss(self.max_payload)
        if self._owner.draining:
            self._drain(sample)
        elif new_round and self._shorten_queue(sample):
            pass
        elif self.searching:
            self._search(sample, new_round)
        elif self._is_congested(sample, new_round):
            self._reduce(sample, path.bdp * (CLEAN_PART if path.usual_loss < CLEAN_LOSS else 1.0))
        elif new_round and self._is_queue_too_long():
            self._reduce(sample, path.round_rate * path.min_rtt, BETA_CUBIC / 2)
        elif self._recent.fills(self.cwnd, self.max_payload):
            self._grow(sample)
        else:
            # RFC 9438, 5.8: time in which the application did not fill the window does not count as growth.
            self._curve.restart()
        if new_round and self._should_drain(sample.now):
            self.cwnd = max(self._owner.start_draining(self.cwnd, path), 4 * self.max_payload)

    def _search(self, sample: AckSample, new_round: bool) -> None:
        startup, path = self._startup, self.path
        used = self._recent.fills_half(self.cwnd)
        if path.min_rtt == INFINITE:
            self.cwnd += sample.bytes_acked if used else 0
        elif new_round and startup.is_over(self.cwnd, path, self.max_payload):
            self.cwnd = max(startup.result(self.cwnd, path), 4 * self.max_payload)
            self.ssthresh = self.cwnd - 1
            self._curve.w_max = self.cwnd / self.max_payload
            self._react_after = sample.delivered + sample.flight_after
        else:
            self.cwnd = startup.grow(self.cwnd, sample, path, new_round=new_round, used=used)

    # -- congestion ----------------------------------------------------------------------------------------------------

    def _is_congested(self, sample: AckSample, new_round: bool) -> bool:
        """Return whether losses show that more was in flight than path and queue hold."""
        path = self.path
        if sample.prior_delivered < self._react_after:
            return False
        if sample.bytes_lost and path.is_queue(path.queue) and path.queue >= FULL_QUEUE * path.longest_queue:
            return True
        if not new_round or path.round_lost <= LEAST_LOST_PACKETS * self.max_payload:
            return False
        usual = QUEUE_LOSS + USUAL_LOSS_FACTOR * path.usual_loss
        return path.round_lost > path.round_bytes * (usual if path.is_queue(path.round_queue) else PLAIN_LOSS)

    def _is_queue_too_long(self) -> bool:
        """Return whether the queue is ours and too long; restore the window if it turned out to be that of others."""
        owner = self._owner
        was_foreign = owner.foreign
        if owner.is_too_long(self.cwnd, self.path):
            return True
        if owner.foreign and not was_foreign:
            self.cwnd = max(self.cwnd, owner.restore)
            self._curve.restart()
        return False

    def _shorten_queue(self, sample: AckSample) -> bool:
        """Shrink the window by what stands in the queue of a short path; return whether it did.

        That also ends the search. A sender that is as slow as its peer has always filled its window or never, and what
        it has not filled shows nothing.
        """
        excess = self._standing.excess(self.path, sample.now)
        if excess <= 0.0:
            return False
        used = self._recent.used_part(self.cwnd, sample.flight_before)
        shorter = max(used - int(excess * self.path.round_rate), used // 2, LEAST_SHORT_WINDOW)
        if shorter >= self.cwnd:
            return False
        self.cwnd = shorter
        self.ssthresh = shorter - 1
        self._probe_from = 0
        self._curve.w_max = shorter / self.max_payload
        self._curve.restart()
        return True

    def _reduce(self, sample: AckSample, path_holds: float, beta: float = BETA_CUBIC) -> None:
        """Shrink the window once per round trip, not below what the path holds if the queue is ours."""
        reference = self._recent.used_part(self.cwnd, sample.flight_before)
        least = BETA_CUBIC * reference
        if not self._owner.foreign:
            least = max(beta * reference, min(path_holds, reference))
        self._undo_cwnd = self.cwnd
        self._reduced_at = sample.now
        self._curve.reduce(self.cwnd / self.max_payload, least / self.cwnd)
        self.cwnd = max(int(least), 2 * self.max_payload)
        self.ssthresh = self.cwnd - 1
        self._react_after = sample.delivered + sample.flight_after
        self._probe_from = 0

    # -- growth --------------------------------------------------------------------------------------------------------

    def _grow(self, sample: AckSample) -> None:
        if self.in_slow_start:
            # A timeout has reduced the window below ssthresh.
            self.cwnd += min(sample.bytes_acked, self._slow_start_limit * self.max_payload)
            return
        path, curve = self.path, self._curve
        packets = self.cwnd / self.max_payload
        share_acked = sample.bytes_acked / self.cwnd
        grown = curve.grow(packets, share_acked, path.min_rtt, sample.now)
        if path.is_queue(path.queue):
            if self._probe_from:
                self._end_probe()
                return
        elif path.empty_rounds > PROBE_ROUNDS and curve.seconds_past_plateau(sample.now) > PROBE_WAIT:
            if not self._probe_from:
                self._probe_from = self.cwnd
                self._probe_round = path.round
            growth = PROBE_GROWTH * (1 + (path.round - self._probe_round) // 2)
            grown = max(grown, packets * (1 + min(growth, MOST_PROBE_GROWTH) * share_acked))
        self.cwnd = int(grown * self.max_payload)

    def _end_probe(self) -> None:
        """Return to what the path holds, because the probe has built a queue."""
        self.cwnd = max(self._probe_from, min(int(self.path.bdp), self.cwnd))
        self._probe_from = 0
        self._curve.restart()

    def _should_drain(self, now: float) -> bool:
        """Return whether the queue was not empty for so long that the shortest round trip may be outdated."""
        path = self.path
        if self.in_slow_start or self._owner.draining or not path.bdp:
            return False
        return now - path.near_min_at > DRAIN_AFTER

    def _drain(self, sample: AckSample) -> None:
        owner = self._owner
        owner.drain(self.cwnd, sample, self.path)
        if not owner.draining:
            self.cwnd = max(self.cwnd, owner.restore)
            self._curve.restart()

    # -- other events --------------------------------------------------------------------------------------------------

    def on_loss(self, now: float, flight_size: int) -> None:
        """Forget an earlier reduction: only that of this episode can be undone."""
        if self._reduced_at != now:
            self._undo_cwnd = 0

    def on_timeout(self, now: float, flight_size: int) -> None:
        """Restart slow start from one packet, up to what the path is known to hold (RFC 9438, 4.8).

        A second timeout without an acknowledgment in between carries no new information. ssthresh then stays, so that a
        path that was interrupted for seconds is filled as before once it works again.
        """
        if self.cwnd <= self.max_payload:
            return
        cwnd = max(self.cwnd, self._owner.restore) if self._owner.draining else self.cwnd
        least = max(BETA_CUBIC * cwnd, min(self.path.bdp, cwnd))
        self._curve.reduce(cwnd / self.max_payload, least / cwnd)
        self.ssthresh = max(int(least), 2 * self.max_payload)
        self.cwnd = self.max_payload
        self._probe_from = 0
        self._owner.cancel()

    def on_idle(self, intervals: int) -> None:
        """Decay an unused window; a search goes on after it."""
        searching = self.searching
        super().on_idle(intervals)
        if searching:
            self.ssthresh = UNLIMITED
        self._curve.restart()

    def on_spurious(self, cwnd: int, ssthresh: int) -> None:
        """Restore the window from before a false alarm."""
        super().on_spurious(max(cwnd, self._undo_cwnd), ssthresh)

    # -- Careful Resume ------------------------------------------------------------------------------------------------

    def is_start_congested(self, lost: int, total: int) -> bool:
        """Return whether losses since the jump exceed those that a path without congestion may have."""
        if lost <= LEAST_START_LOSS * self.max_payload:
            return False
        path = self.path
        return lost > total * (QUEUE_LOSS if path.is_queue(path.queue) else PLAIN_LOSS)

    def resume(self, cwnd: int, carried: int, rate: float) -> None:
        """Adopt a larger window; the search goes on from there."""
        self.cwnd = cwnd
        self._startup.resume(carried, rate)

    def retreat(self, cwnd: int, ssthresh: int) -> None:
        """Shrink the window and end the search; congestion avoidance goes on from what the path has carried."""
        super().retreat(cwnd, ssthresh)
        self._curve.w_max = ssthresh / self.max_payload
        self._curve.restart()

    def pacing_rate(self, srtt: float) -> float:
        """Return the bytes per second at which packets are sent, not less than the path has just delivered."""
        if self.searching:
            return self._startup.pacing_rate(self.cwnd, srtt)
        return max(super().pacing_rate(srtt), self.path.bandwidth)
