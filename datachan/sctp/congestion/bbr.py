"""A model-based controller similar to BBR: it measures the path's bandwidth and its minimum round trip.

It keeps their product in flight, so that loss without congestion does not slow it down. The model follows the first
version of draft-cardwell-iccrg-bbr-congestion-control. STARTUP finds the bandwidth. DRAIN empties the queue that
STARTUP built. PROBE_BW cycles around the bandwidth. PROBE_RTT empties the path to measure the minimum round trip.

Loss above what radio links have (`LOSS_THRESHOLD`) is attributed to an overflowing queue and limits the data in flight.
Where round trips show a standing queue, a small loss is enough. Otherwise a flow that fills a short queue, whose own
loss is small, would never make room for a later flow that finds the queue full.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Final

from .base import AckSample, CongestionController

STARTUP_GAIN: Final = 2.885
DRAIN_GAIN: Final = 1 / 2.885
CWND_GAIN: Final = 2.0
# Not Final: code compiled by mypyc 2.4 treats a Final tuple of floats as not set.
CYCLE = (1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
BANDWIDTH_WINDOW: Final = 10
"""Rounds over which the highest delivery rate is the bandwidth."""
MIN_RTT_WINDOW: Final = 10.0
"""Seconds after which the minimum round trip is measured again."""
PROBE_RTT_DURATION: Final = 0.2
"""Seconds for which PROBE_RTT keeps the path empty."""
FULL_BANDWIDTH_ROUNDS: Final = 3
FULL_BANDWIDTH_GROWTH: Final = 1.25
"""The path is full after `FULL_BANDWIDTH_ROUNDS` rounds in which the bandwidth grew by less than this factor."""
LOSS_THRESHOLD: Final = 0.12
"""Share of a round's bytes whose loss is attributed to congestion."""
QUEUE_LOSS_THRESHOLD: Final = 0.02
"""The same share for a round with a standing queue, which then caused the loss, not the radio."""
STANDING_QUEUE: Final = 1.25
"""A queue stands if the shortest round trip of a round exceeds the path's minimum by this factor."""
LOSS_BETA: Final = 0.85
LIMIT_HELD: Final = 16
"""Rounds for which a limit on the data in flight stays before it grows: two cycles, in which other flows can grow."""
LIMIT_GROWTH: Final = 4
"""Packets per round by which the limit grows."""


class Phase(Enum):
    """The quantity that the controller measures."""

    STARTUP = "startup"
    DRAIN = "drain"
    PROBE_BW = "probe-bw"
    PROBE_RTT = "probe-rtt"


class Bbr(CongestionController):
    """A congestion controller that follows bandwidth and round trip instead of loss.

    Attributes:
        phase: the current phase.
        bandwidth: bytes per second the path delivers.
        min_rtt: the path's round trip without a queue, in seconds.
    """

    __slots__ = (
        "_cwnd_before_probe_rtt",
        "_cycle_at",
        "_cycle_index",
        "_full_bandwidth",
        "_full_rounds",
        "_inflight_limit",
        "_limit_held_until",
        "_min_rtt_at",
        "_next_round_delivered",
        "_pacing_gain",
        "_probe_rtt_until",
        "_rates",
        "_round",
        "_round_bytes",
        "_round_lost",
        "_round_min_rtt",
        "bandwidth",
        "min_rtt",
        "phase",
    )

    def __init__(self, max_payload: int, initial_cwnd: int = 0) -> None:
        super().__init__(max_payload, initial_cwnd)
        # The pacing rate equals the bandwidth without a reserve, so the delay of a late timer has to be made up for.
        self.pacing_credit = 0.010
        self.phase = Phase.STARTUP
        self.bandwidth = 0.0
        self.min_rtt = float("inf")
        self._min_rtt_at = 0.0
        self._rates: deque[tuple[int, float]] = deque()  # (round, rate), rates falling
        self._round = 0
        self._next_round_delivered = 0
        self._full_bandwidth = 0.0
        self._full_rounds = 0
        self._pacing_gain = STARTUP_GAIN
        self._cycle_index = 0
        self._cycle_at = 0.0
        self._probe_rtt_until = 0.0
        self._cwnd_before_probe_rtt = 0
        self._round_bytes = 0
        self._round_lost = 0
        self._round_min_rtt = float("inf")
        self._inflight_limit = float("inf")
        self._limit_held_until = 0

    @property
    def in_slow_start(self) -> bool:
        """Whether the phase is STARTUP, which corresponds to slow start."""
        return self.phase is Phase.STARTUP

    def on_acknowledged(self, sample: AckSample) -> None:
        """Update the model, the phase and the window."""
        new_round = sample.prior_delivered >= self._next_round_delivered
        if new_round:
            self._next_round_delivered = sample.delivered
            if self.phase is not Phase.PROBE_RTT:
                # Rounds in PROBE_RTT do not measure the bandwidth and must not expire the rounds that did.
                self._round += 1
        self._round_bytes += sample.bytes_acked
        self._round_lost += sample.bytes_lost
        self._update_bandwidth(sample)
        self._update_min_rtt(sample)
        if new_round:
            self._judge_loss()
            self._check_full_pipe(sample)
        self._move_on(sample)
        self._set_cwnd(sample)

    def _update_bandwidth(self, sample: AckSample) -> None:
        rate = sample.delivery_rate
        too_little_sent = sample.app_limited or self.phase is Phase.PROBE_RTT
        if rate <= 0 or (too_little_sent and rate < self.bandwidth):
            return
        rates = self._rates
        while rates and rates[-1][1] <= rate:
            rates.pop()
        rates.append((self._round, rate))
        while rates[0][0] <= self._round - BANDWIDTH_WINDOW:
            rates.popleft()
        self.bandwidth = rates[0][1]

    def _update_min_rtt(self, sample: AckSample) -> None:
        expired = sample.now - self._min_rtt_at > MIN_RTT_WINDOW
        measured = sample.round_trip
        if measured is not None and measured < self._round_min_rtt:
            self._round_min_rtt = measured
        if measured is not None and (measured <= self.min_rtt or expired):
            self.min_rtt = measured
            self._min_rtt_at = sample.now
        if expired and self.phase is not Phase.PROBE_RTT and self.phase is not Phase.STARTUP:
            self.phase = Phase.PROBE_RTT
            self._pacing_gain = 1.0
            self._probe_rtt_until = 0.0
            self._cwnd_before_probe_rtt = self.cwnd

    def _judge_loss(self) -> None:
        """Limit the data in flight if the round's loss indicates an overflowing queue."""
        total = self._round_bytes + self._round_lost
        # In STARTUP the flow builds the queue itself. A queue that stands later shows that our share is too large.
        make_room = self.phase is Phase.PROBE_BW and STANDING_QUEUE * self.min_rtt < self._round_min_rtt < float("inf")
        threshold = QUEUE_LOSS_THRESHOLD if make_room else LOSS_THRESHOLD
        if total > 20 * self.max_payload and self._round_lost > threshold * total:
            floor = self._bdp() * (LOSS_BETA if make_room else 1.0)
            self._inflight_limit = max(LOSS_BETA * min(self._inflight_limit, self.cwnd), floor)
            if make_room:
                self._limit_held_until = self._round + LIMIT_HELD
            if self.phase is Phase.STARTUP and self._round_lost > 2 * LOSS_THRESHOLD * total:
                self._full_rounds = FULL_BANDWIDTH_ROUNDS
        elif self._inflight_limit != float("inf") and self._round >= self._limit_held_until:
            # All flows grow by the same number of packets; otherwise their shares would never become equal.
            self._inflight_limit += LIMIT_GROWTH * self.max_payload + 0.01 * self._inflight_limit
        self._round_bytes = self._round_lost = 0
        self._round_min_rtt = float("inf")

    def _check_full_pipe(self, sample: AckSample) -> None:
        if self.phase is not Phase.STARTUP or sample.app_limited:
            return
        if self.bandwidth >= self._full_bandwidth * FULL_BANDWIDTH_GROWTH:
            self._full_bandwidth = self.bandwidth
            self._full_rounds = 0
        else:
            self._full_rounds += 1

    def _move_on(self, sample: AckSample) -> None:
        now = sample.now
        if self.phase is Phase.STARTUP and self._full_rounds >= FULL_BANDWIDTH_ROUNDS:
            self.phase = Phase.DRAIN
            self._pacing_gain = DRAIN_GAIN
        if self.phase is Phase.DRAIN and sample.flight_after <= self._bdp():
            self._enter_probe_bw(now)
        if self.phase is Phase.PROBE_BW:
            self._cycle(sample)
        elif self.phase is Phase.PROBE_RTT:
            self._probe_rtt(sample)

    def _enter_probe_bw(self, now: float) -> None:
        self.phase = Phase.PROBE_BW
        self._cycle_index = 2
        self._cycle_at = now
        self._pacing_gain = CYCLE[2]

    def _cycle(self, sample: AckSample) -> None:
        elapsed = sample.now - self._cycle_at >= self.min_rtt
        if self._pacing_gain > 1.0:
            full = sample.bytes_lost > 0 or sample.flight_before >= self._pacing_gain * self._bdp()
            advance = elapsed and full
        elif self._pacing_gain < 1.0:
            advance = elapsed or sample.flight_after <= self._bdp()
        else:
            advance = elapsed
        if advance:
            self._cycle_index = (self._cycle_index + 1) % len(CYCLE)
            self._cycle_at = sample.now
            self._pacing_gain = CYCLE[self._cycle_index]

    def _probe_rtt(self, sample: AckSample) -> None:
        if self._probe_rtt_until == 0.0:
            if sample.flight_after <= 4 * self.max_payload:
                self._probe_rtt_until = sample.now + max(PROBE_RTT_DURATION, self.min_rtt)
        elif sample.now >= self._probe_rtt_until:
            self._min_rtt_at = sample.now
            self.cwnd = max(self.cwnd, self._cwnd_before_probe_rtt)
            self._enter_probe_bw(sample.now)

    def _bdp(self) -> float:
        """Return the bandwidth-delay product: the bytes in flight that fill the path without a queue."""
        if self.min_rtt == float("inf") or self.bandwidth == 0:
            return float(self.cwnd)
        return self.bandwidth * self.min_rtt

    def _set_cwnd(self, sample: AckSample) -> None:
        if self.phase is Phase.PROBE_RTT:
            self.cwnd = 4 * self.max_payload
            return
        gain = STARTUP_GAIN if self.phase is Phase.STARTUP else CWND_GAIN
        # 16 further packets keep a short path busy while the receiver collects a batch to acknowledge.

        target = int(min(gain * self._bdp() + 16 * self.max_payload, self._inflight_limit))
        if self.phase is Phase.STARTUP:
            self.cwnd = max(self.cwnd, min(self.cwnd + sample.bytes_acked, max(target, 4 * self.max_payload)))
        else:
            self.cwnd = max(min(self.cwnd + sample.bytes_acked, target), 4 * self.max_payload)

    def on_timeout(self, now: float, flight_size: int) -> None:
        """Reduce the window to four packets and keep the model."""
        self.cwnd = 4 * self.max_payload

    def on_idle(self, intervals: int) -> None:
        """Keep the model after a pause; pacing prevents a burst."""

    def on_spurious(self, cwnd: int, ssthresh: int) -> None:
        """Restore the window, which only a timeout had changed."""
        self.cwnd = max(self.cwnd, cwnd)

    def pacing_rate(self, srtt: float) -> float:
        """Return the measured bandwidth times the gain of the phase."""
        if self.bandwidth == 0:
            return STARTUP_GAIN * self.cwnd / srtt
        return self._pacing_gain * self.bandwidth
