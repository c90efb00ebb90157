"""A model-based controller in the manner of BBRv3: it measures the path's bandwidth and its minimum round trip.

It keeps their product in flight, so that loss without congestion does not slow it down. The model follows
draft-ietf-ccwg-bbr. STARTUP finds the bandwidth. DRAIN empties the queue that STARTUP built. Then four phases repeat:
DOWN drains, CRUISE keeps the rate and leaves room for other flows, REFILL fills the path for a round, UP probes for
more bandwidth. PROBE_RTT halves the data in flight to measure the minimum round trip.

A loss counts as congestion when more than `LOSS_THRESHOLD` of a round is lost while a queue lengthens the round trip.
The share that the path loses without a queue is measured and comes on top. A draft-conforming controller, which does
not make this difference, leaves a radio link with 5 % loss nearly empty.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from .base import AckSample, CongestionController

INITIAL_PACKETS: Final = 32
"""Packets of the initial window, which the pacer spreads over a third of the round trip, as in Chromium's QUIC. The
window of RFC 9260, four packets, takes three round trips longer to fill any path. `initial_cwnd` restores it."""
STARTUP_GAIN: Final = 2.77
DRAIN_GAIN: Final = 0.5
DOWN_GAIN: Final = 0.90
UP_GAIN: Final = 1.25
CWND_GAIN: Final = 2.0
UP_CWND_GAIN: Final = 2.25
FOREIGN_QUEUE: Final = 2.4
"""Flows of this controller lengthen the round trip to about twice the minimum. A queue that exceeds this factor belongs
to loss-based flows. Twice the path's product would then be a share that shrinks from cycle to cycle. So the window
follows the present round trip instead of the minimum."""
FOREIGN_QUEUE_MEMORY: Final = 8.0
"""Seconds since the last overflow of such a queue. Loss-based flows fill it until it overflows."""
MOST_QUEUE: Final = 6.0
"""Factor by which the window follows the round trip at most."""
HEADROOM: Final = 0.15
"""Share of the inflight limit that CRUISE leaves to other flows."""
BETA: Final = 0.7
LOSS_THRESHOLD: Final = 0.02
"""Share of a round's bytes, above the loss without a queue, whose loss is attributed to an overflowing queue."""
PLAIN_LOSS_THRESHOLD: Final = 0.12
"""The same share for rounds without a queue: a policer drops what exceeds its rate and has no queue."""
PLAIN_LOSS_PACKETS: Final = 1000
"""Packets over which the loss without a queue is averaged."""
NO_QUEUE: Final = 1.06
"""Factor by which the round trip may exceed the minimum without a queue."""
LEAST_QUEUE: Final = 0.001
"""Seconds by which the round trip may exceed the minimum without a queue: the batches of the receiver."""
FULL_BANDWIDTH_ROUNDS: Final = 3
FULL_BANDWIDTH_GROWTH: Final = 1.25
"""The path is full after `FULL_BANDWIDTH_ROUNDS` rounds in which the bandwidth grew by less than this factor."""
STANDING_QUEUE: Final = 1.25
"""A queue stands if the shortest round trip of a round exceeds the minimum by this factor."""
STARTUP_ROUNDS: Final = 3
"""Rounds of STARTUP before loss can end it."""
STARTUP_FULL_LOSSES: Final = 6
"""Packets that a round in STARTUP loses at least before the loss ends STARTUP."""
CALM_ROUNDS: Final = 4
"""Rounds without queue and without excessive loss after which the short-term limits end."""
PROBE_WAIT: Final = 2.0
"""Seconds, up to one more, after which the bandwidth is probed again."""
PROBE_ROUNDS: Final = 62
"""Rounds after which the bandwidth is probed at the latest, or one per packet of the path: a Reno flow that grows by a
packet per round recovers its halved window in this time."""
PROBE_RTT_INTERVAL: Final = 5.0
"""Seconds without a round trip near the minimum after which PROBE_RTT measures it."""
PROBE_RTT_DURATION: Final = 0.1
"""Seconds for which PROBE_RTT keeps half of the path empty; a round trip if that is longer."""
PROBE_RTT_GAIN: Final = 0.5
MIN_RTT_WINDOW: Final = 10.0
"""Seconds after which the minimum round trip is forgotten."""
AGGREGATION_ROUNDS: Final = 10
"""Rounds for which an excess of acknowledged bytes counts."""
INFINITE: Final = float("inf")


class Phase(Enum):
    """The activity of the controller."""

    STARTUP = "startup"
    DRAIN = "drain"
    DOWN = "down"
    CRUISE = "cruise"
    REFILL = "refill"
    UP = "up"
    PROBE_RTT = "probe-rtt"


class Bbr(CongestionController):
    """A congestion controller that follows bandwidth and round trip instead of loss.

    Attributes:
        phase: the current phase.
        bandwidth: bytes per second the path delivers.
        min_rtt: the path's round trip without a queue, in seconds.
        inflight_limit: bytes in flight above which the path's queue overflows; infinite before the first overflow.
    """

    __slots__ = (
        "_bandwidth_before",
        "_bandwidth_now",
        "_calm_rounds",
        "_cwnd_before",
        "_cycle_at",
        "_cycle_rounds",
        "_excess_at",
        "_excess_before",
        "_excess_bytes",
        "_excess_now",
        "_excess_round",
        "_full_bandwidth",
        "_full_rounds",
        "_latest_rate",
        "_min_rtt_at",
        "_near_min_at",
        "_next_round_delivered",
        "_overflow_at",
        "_pacing_gain",
        "_phase_round",
        "_plain_bytes",
        "_plain_lost",
        "_probe_feedback_until",
        "_probe_rtt_until",
        "_probe_wait",
        "_reacted",
        "_round",
        "_round_bytes",
        "_round_flight",
        "_round_lost",
        "_round_max_rtt",
        "_round_min_rtt",
        "_short_bandwidth",
        "_short_inflight",
        "_standing_rtt",
        "_up_rounds",
        "_up_rtt",
        "bandwidth",
        "inflight_limit",
        "min_rtt",
        "phase",
    )

    def __init__(self, max_payload: int, initial_cwnd: int = 0) -> None:
        super().__init__(max_payload, initial_cwnd or INITIAL_PACKETS * max_payload)
        # The pacing rate equals the bandwidth without a reserve, so the delay of a late timer has to be made up for.
        self.pacing_credit = 0.010
        self.phase = Phase.STARTUP
        self.bandwidth = 0.0
        self.min_rtt = INFINITE
        self.inflight_limit = INFINITE
        self._min_rtt_at = 0.0
        self._near_min_at = 0.0
        self._bandwidth_before = 0.0
        self._bandwidth_now = 0.0
        self._short_bandwidth = INFINITE
        self._short_inflight = INFINITE
        self._round = 0
        self._next_round_delivered = 0
        self._reset_round()
        self._full_bandwidth = 0.0
        self._full_rounds = 0
        self._pacing_gain = STARTUP_GAIN
        self._phase_round = 0
        self._probe_feedback_until = -1
        self._up_rounds = 0
        self._up_rtt = 0.0
        self._standing_rtt = 0.0
        self._overflow_at = -INFINITE
        self._cycle_at = 0.0
        self._cycle_rounds = 0
        self._probe_wait = PROBE_WAIT
        self._probe_rtt_until = 0.0
        self._cwnd_before = 0
        self._excess_at = 0.0
        self._excess_bytes = 0
        self._excess_before = 0.0
        self._excess_now = 0.0
        self._excess_round = 0

    def _reset_round(self) -> None:
        """Initialize what is measured per round."""
        self._calm_rounds = 0
        self._round_bytes = 0
        self._round_lost = 0
        self._round_flight = 0
        self._round_min_rtt = INFINITE
        self._round_max_rtt = 0.0
        self._latest_rate = 0.0
        self._plain_lost = 0.0
        self._plain_bytes = 0.0
        self._reacted = False

    @property
    def in_slow_start(self) -> bool:
        """Whether the phase is STARTUP, which corresponds to slow start."""
        return self.phase is Phase.STARTUP

    def on_acknowledged(self, sample: AckSample) -> None:
        """Update the model, the phase and the window."""
        self._update_bandwidth(sample)
        self._update_min_rtt(sample)
        self._update_aggregation(sample)
        self._round_bytes += sample.bytes_acked
        self._round_lost += sample.bytes_lost
        if sample.bytes_lost:
            self._judge_loss(sample)
        new_round = sample.prior_delivered >= self._next_round_delivered
        if new_round:
            self._end_round(sample)
        self._advance_phase(sample, new_round)
        self._set_cwnd(sample)
        if new_round:
            self._start_round(sample)

    # -- the model -----------------------------------------------------------------------------------------------------

    def _update_bandwidth(self, sample: AckSample) -> None:
        rate = sample.delivery_rate
        if rate > self._latest_rate:
            self._latest_rate = rate
        too_little_sent = sample.app_limited or self.phase is Phase.PROBE_RTT
        if rate <= 0 or (too_little_sent and rate < self.bandwidth):
            return
        if rate > self._bandwidth_now:
            self._bandwidth_now = rate
        self.bandwidth = max(self._bandwidth_before, self._bandwidth_now)

    def _forget_old_bandwidth(self) -> None:
        """Forget the bandwidth of the cycle before the last one."""
        if self._bandwidth_now > 0:
            self._bandwidth_before = self._bandwidth_now
            self._bandwidth_now = 0.0
            self.bandwidth = self._bandwidth_before

    def _update_min_rtt(self, sample: AckSample) -> None:
        measured = sample.round_trip
        if measured is None:
            return
        if measured < self._round_min_rtt:
            self._round_min_rtt = measured
        if measured > self._round_max_rtt:
            self._round_max_rtt = measured
        if measured <= self.min_rtt or sample.now - self._min_rtt_at > MIN_RTT_WINDOW:
            self.min_rtt = measured
            self._min_rtt_at = sample.now
        if measured <= NO_QUEUE * self.min_rtt:
            # The queue is empty: the minimum needs no measurement.
            self._near_min_at = self._min_rtt_at = sample.now

    def _update_aggregation(self, sample: AckSample) -> None:
        """Measure how far acknowledgments run ahead of the bandwidth (extra_acked)."""
        expected = self._rate() * (sample.now - self._excess_at)
        if self._excess_bytes <= expected:
            self._excess_bytes = 0
            self._excess_at = sample.now
            expected = 0.0
        self._excess_bytes += sample.bytes_acked
        excess = min(self._excess_bytes - expected, self.cwnd)
        if self._round - self._excess_round > AGGREGATION_ROUNDS // 2:
            self._excess_before = self._excess_now
            self._excess_now = 0.0
            self._excess_round = self._round
        if excess > self._excess_now:
            self._excess_now = excess

    def _has_queue(self) -> bool:
        """Return whether all round trips of this round were lengthened, by a queue and not by a late process."""
        least = self._round_min_rtt
        return max(NO_QUEUE * self.min_rtt, self.min_rtt + LEAST_QUEUE) < least < INFINITE

    def _plain_loss(self) -> float:
        """Return the share of bytes lost in rounds without a queue."""
        return self._plain_lost / self._plain_bytes if self._plain_bytes else 0.0

    def _is_excessive(self) -> bool:
        """Return whether the loss of this round so far indicates that too much was in flight."""
        total = max(self._round_flight, self._round_bytes + self._round_lost)
        threshold = LOSS_THRESHOLD + 1.5 * self._plain_loss() if self._has_queue() else PLAIN_LOSS_THRESHOLD
        return self._round_lost > threshold * total

    def _judge_loss(self, sample: AckSample) -> None:
        """Limit the data in flight once per probe if it lost too much."""
        if not self._is_excessive():
            return
        if self._round_max_rtt > FOREIGN_QUEUE * self.min_rtt:
            self._overflow_at = sample.now
        if self._reacted:
            return
        if self.phase is Phase.STARTUP:
            # The initial window may overflow a short queue before the bandwidth is known.
            if self._round >= STARTUP_ROUNDS and self._round_lost >= STARTUP_FULL_LOSSES * self.max_payload:
                self._reacted = True
                self.inflight_limit = max(
                    self._bdp(), min(self.bandwidth * self._round_max_rtt, BETA * self._round_flight)
                )
                self._enter_drain()
        elif self.phase is Phase.UP or self._round <= self._probe_feedback_until:
            self._reacted = True
            if not sample.app_limited:
                self.inflight_limit = max(
                    min(float(self._round_flight), self.bandwidth * self._round_max_rtt),
                    BETA * min(self._bdp(), self.cwnd),
                )
            if self.phase is Phase.UP:
                self._enter_down(sample.now)

    def _adapt_short_term(self) -> None:
        """Follow the delivery process after a round that lost too much although the bandwidth was not probed."""
        if self._round <= self._probe_feedback_until or self.phase in (Phase.STARTUP, Phase.REFILL, Phase.UP):
            return
        if not self._is_excessive():
            self._calm_rounds = 0 if self._has_queue() else self._calm_rounds + 1
            if self._calm_rounds >= CALM_ROUNDS:
                self._short_bandwidth = self._short_inflight = INFINITE
            return
        self._calm_rounds = 0
        bandwidth = min(self._short_bandwidth, self.bandwidth)
        inflight = min(self._short_inflight, float(self.cwnd))
        self._short_bandwidth = max(self._latest_rate, BETA * bandwidth)
        self._short_inflight = max(float(self._round_bytes), BETA * inflight)

    # -- rounds --------------------------------------------------------------------------------------------------------

    def _end_round(self, sample: AckSample) -> None:
        self._round += 1
        self._cycle_rounds += 1
        total = self._round_bytes + self._round_lost
        if total and not self._has_queue():
            share = self._round_lost / total
            if share < PLAIN_LOSS_THRESHOLD or total < 20 * self.max_payload:
                self._plain_lost += self._round_lost
                self._plain_bytes += total
                if self._plain_bytes > PLAIN_LOSS_PACKETS * self.max_payload:
                    self._plain_lost /= 2
                    self._plain_bytes /= 2
        self._adapt_short_term()
        if self.phase in (Phase.STARTUP, Phase.UP) and not sample.app_limited:
            if self._latest_rate >= self._full_bandwidth * FULL_BANDWIDTH_GROWTH:
                self._full_bandwidth = self._latest_rate
                self._full_rounds = 0
            elif self.phase is Phase.STARTUP and STANDING_QUEUE * self.min_rtt < self._round_min_rtt < INFINITE:
                # The queue stands, so the path is full. Two more rounds would overflow the queue.
                self._full_rounds = FULL_BANDWIDTH_ROUNDS
            else:
                self._full_rounds += 1
        if self._probe_feedback_until == self._round - 1:
            self._forget_old_bandwidth()

    def _start_round(self, sample: AckSample) -> None:
        self._next_round_delivered = sample.delivered
        self._standing_rtt = self._round_min_rtt if self._round_min_rtt < INFINITE else 0.0
        self._round_bytes = 0
        self._round_lost = 0
        self._round_flight = sample.flight_after
        self._round_min_rtt = INFINITE
        self._round_max_rtt = 0.0
        self._latest_rate = sample.delivery_rate

    # -- phases --------------------------------------------------------------------------------------------------------

    def _advance_phase(self, sample: AckSample, new_round: bool) -> None:
        phase = self.phase
        if phase is Phase.STARTUP:
            if self._full_rounds >= FULL_BANDWIDTH_ROUNDS:
                self._enter_drain()
        elif phase is Phase.DRAIN:
            if sample.flight_after <= self._target() or self._round > self._phase_round + 3:
                self._enter_down(sample.now)
        elif phase is not Phase.PROBE_RTT:
            self._advance_cycle(sample, new_round)
        if phase is Phase.PROBE_RTT:
            self._advance_probe_rtt(sample)
        elif sample.now - self._near_min_at > PROBE_RTT_INTERVAL and phase is not Phase.STARTUP:
            self._enter_probe_rtt()

    def _advance_cycle(self, sample: AckSample, new_round: bool) -> None:
        """Move on from DOWN, CRUISE, REFILL or UP when it is time."""
        phase = self.phase
        if phase is Phase.DOWN:
            if not self._probe_if_due(sample.now) and sample.flight_after <= self._bdp():
                self.phase = Phase.CRUISE
                self._pacing_gain = 1.0
        elif phase is Phase.CRUISE:
            self._probe_if_due(sample.now)
        elif phase is Phase.REFILL:
            if new_round and self._round > self._phase_round:
                self._enter_up(sample)
        else:
            self._advance_up(sample, new_round)

    def _enter_drain(self) -> None:
        self.phase = Phase.DRAIN
        self._probe_feedback_until = self._round + 2
        self._pacing_gain = DRAIN_GAIN
        self._phase_round = self._round

    def _enter_down(self, now: float) -> None:
        self.phase = Phase.DOWN
        self._pacing_gain = DOWN_GAIN
        self._probe_feedback_until = self._round + 2
        self._cycle_at = now
        self._cycle_rounds = 0
        # A pseudo-random part of a second keeps flows from probing together.
        self._probe_wait = PROBE_WAIT + (self._next_round_delivered * 2654435761 & 0xFFFF) / 0x10000

    def _probe_if_due(self, now: float) -> bool:
        """Enter REFILL when it is time to probe for bandwidth, by the clock or as a Reno flow would."""
        rounds = min(self._bdp() / self.max_payload, PROBE_ROUNDS)
        if now - self._cycle_at < self._probe_wait and self._cycle_rounds < rounds:
            return False
        self._short_bandwidth = self._short_inflight = INFINITE
        self.phase = Phase.REFILL
        self._pacing_gain = 1.0
        self._phase_round = self._round + 1
        return True

    def _enter_up(self, sample: AckSample) -> None:
        self.phase = Phase.UP
        self._pacing_gain = UP_GAIN
        self._reacted = False
        self._phase_round = self._round
        self._up_rounds = 0
        self._up_rtt = max(self._standing_rtt, self.min_rtt)
        self._full_bandwidth = sample.delivery_rate
        self._full_rounds = 0

    def _advance_up(self, sample: AckSample, new_round: bool) -> None:
        limited = sample.flight_before + 2 * self.max_payload >= self.cwnd + 1 >= self.inflight_limit
        if limited:
            # The limit grows by one packet in the first round, then by two, four and so on.
            self.inflight_limit += (sample.bytes_acked << min(self._up_rounds, 20)) * self.max_payload / self.cwnd
            self._full_rounds = 0
        if new_round:
            self._up_rounds += 1
        if limited and self._standing_rtt <= STANDING_QUEUE * self._up_rtt:
            return
        full = sample.flight_before >= UP_GAIN * self._rate() * self._present_rtt(sample.now) + self._excess()
        if (full and self._round > self._phase_round + 1) or self._full_rounds >= FULL_BANDWIDTH_ROUNDS:
            self._enter_down(sample.now)

    def _enter_probe_rtt(self) -> None:
        self.phase = Phase.PROBE_RTT
        self._pacing_gain = 1.0
        self._probe_rtt_until = 0.0
        self._cwnd_before = self.cwnd

    def _advance_probe_rtt(self, sample: AckSample) -> None:
        if self._probe_rtt_until == 0.0:
            if sample.flight_after <= self._probe_rtt_cwnd():
                self._probe_rtt_until = sample.now + max(PROBE_RTT_DURATION, self.min_rtt)
                self._phase_round = self._round
        elif sample.now >= self._probe_rtt_until and self._round > self._phase_round:
            self._near_min_at = sample.now
            self._short_bandwidth = self._short_inflight = INFINITE
            self.cwnd = max(self.cwnd, self._cwnd_before)
            self._enter_down(sample.now)

    # -- window and pace -----------------------------------------------------------------------------------------------

    def _rate(self) -> float:
        return min(self.bandwidth, self._short_bandwidth)

    def _bdp(self) -> float:
        """Return the bytes that the path holds without a queue."""
        if self.min_rtt == INFINITE or self.bandwidth == 0:
            return float(self.cwnd)
        return self._rate() * self.min_rtt

    def _present_rtt(self, now: float) -> float:
        """Return the minimum round trip, or the present one if the queue belongs to loss-based flows."""
        standing = self._standing_rtt
        if standing <= FOREIGN_QUEUE * self.min_rtt or now - self._overflow_at > FOREIGN_QUEUE_MEMORY:
            return self.min_rtt
        return min(standing, MOST_QUEUE * self.min_rtt)

    def _excess(self) -> float:
        """Return the bytes by which acknowledgments ran ahead, and three packets for the timers of both hosts."""
        return max(self._excess_before, self._excess_now) + 3 * self.max_payload

    def _target(self) -> float:
        return self._bdp() + self._excess()

    def _headroom(self) -> float:
        """Return the inflight limit without the part that is left to other flows."""
        return max((1 - HEADROOM) * self.inflight_limit, self._bdp(), 4.0 * self.max_payload)

    def _probe_rtt_cwnd(self) -> int:
        return max(int(PROBE_RTT_GAIN * self._bdp()), 4 * self.max_payload)

    def _set_cwnd(self, sample: AckSample) -> None:
        phase = self.phase
        floor = 4 * self.max_payload
        if phase is Phase.PROBE_RTT:
            self.cwnd = min(self.cwnd, self._probe_rtt_cwnd())
            return
        if phase is Phase.STARTUP:
            target = CWND_GAIN * self._bdp() + self._excess()
            if self.cwnd < target or self.bandwidth == 0:
                self.cwnd += sample.bytes_acked
            self.cwnd = max(self.cwnd, floor)
            return
        if phase is Phase.DRAIN:
            target = self._target()
        else:
            target = (UP_CWND_GAIN if phase is Phase.UP else CWND_GAIN) * self._bdp() + self._excess()
            gain = UP_GAIN if phase is Phase.UP else 1.0
            target = max(target, gain * self._rate() * self._present_rtt(sample.now))
        limit = self._headroom() if phase is Phase.CRUISE else self.inflight_limit
        target = min(target, limit, self._short_inflight)
        self.cwnd = max(min(self.cwnd + sample.bytes_acked, int(target)), floor)

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
        if self.phase is Phase.STARTUP:
            return STARTUP_GAIN * max(self.bandwidth, self.cwnd / srtt if self.bandwidth == 0 else 0.0)
        return self._pacing_gain * self._rate()
