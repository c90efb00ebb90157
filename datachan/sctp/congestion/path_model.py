"""What acknowledgments say about a path: its shortest round trip, its bandwidth, its queue and its losses.

A round is the time in which the data that is in flight at its beginning is delivered. This module measures. It knows no
windows and decides nothing.
"""

from __future__ import annotations

from typing import Final

from .base import AckSample

INFINITE: Final = float("inf")
LEAST_ROUND_TRIP: Final = 1e-6
"""Seconds that a round trip takes at least: a clock may not advance meanwhile."""
NO_QUEUE: Final = 0.05
"""Part of the shortest round trip by which others are longer without a queue."""
LEAST_QUEUE: Final = 0.001
"""Seconds by which they are longer: the batches of the receiver."""
BANDWIDTH_ROUNDS: Final = 8
BANDWIDTH_TIME: Final = 0.25
"""The highest delivery rate counts for one to two times as many rounds, each time at least these seconds."""
QUEUE_WINDOW: Final = 10.0
"""The longest queue counts for one to two times these seconds."""
USUAL_LOSS_PACKETS: Final = 1000
"""Packets over which the usual loss is averaged."""
MOST_USUAL_LOSS: Final = 0.12
SHORT_ROUND_TRIP: Final = 0.002
"""Seconds below which the shortest round trip of a path makes it a short one."""


class PathModel:
    """The measurements of one path.

    Attributes:
        min_rtt: the shortest round trip; infinite before the first measurement.
        near_min_at: when a round trip was last nearly as short as `min_rtt`.
        queue: seconds that the latest packets waited: the shorter wait of the last two samples, as one may be a process
            that was late.
        round: the number of rounds.
        round_bytes: bytes that the last complete round delivered or lost.
        round_lost: bytes that it lost.
        round_min_rtt: its shortest round trip; infinite without a measurement.
        round_rate: its highest delivery rate.
        empty_rounds: consecutive rounds without a queue until now.
        usual_loss: the share of packets lost in rounds without a queue.
    """

    __slots__ = (
        "_bandwidth_at",
        "_bandwidth_before",
        "_bandwidth_now",
        "_bandwidth_round",
        "_bytes",
        "_last_rtt",
        "_longest_before",
        "_longest_now",
        "_lost",
        "_min",
        "_next_round_delivered",
        "_queue_at",
        "_rate",
        "_samples",
        "_sum",
        "empty_rounds",
        "min_rtt",
        "near_min_at",
        "queue",
        "round",
        "round_bytes",
        "round_lost",
        "round_min_rtt",
        "round_rate",
        "usual_loss",
    )

    def __init__(self) -> None:
        self.min_rtt = INFINITE
        self.near_min_at = 0.0
        self.queue = 0.0
        self.round = 0
        self.round_bytes = 0
        self.round_lost = 0
        self.round_min_rtt = INFINITE
        self.round_rate = 0.0
        self.empty_rounds = 0
        self.usual_loss = 0.0
        self._next_round_delivered = 0
        self._last_rtt = INFINITE
        self._bandwidth_before = 0.0
        self._bandwidth_now = 0.0
        self._bandwidth_round = 0
        self._bandwidth_at = 0.0
        self._longest_before = 0.0
        self._longest_now = 0.0
        self._queue_at = 0.0
        self._start_round()

    def _start_round(self) -> None:
        self._bytes = 0
        self._lost = 0
        self._min = INFINITE
        self._sum = 0.0
        self._samples = 0
        self._rate = 0.0

    @property
    def bandwidth(self) -> float:
        """The bytes per second that the path delivered at most in the last rounds."""
        return max(self._bandwidth_before, self._bandwidth_now)

    @property
    def bdp(self) -> float:
        """The bytes that the path holds without a queue; 0 before anything was measured."""
        return self.bandwidth * self.min_rtt if self.min_rtt < INFINITE else 0.0

    @property
    def longest_queue(self) -> float:
        """The longest wait of the last seconds."""
        longest = max(self._longest_before, self._longest_now)
        return max(longest - self.min_rtt, 0.0) if longest else 0.0

    @property
    def is_short(self) -> bool:
        """Whether both ends are on one host or a fast network: a window takes longer to process than to travel."""
        return self.min_rtt < SHORT_ROUND_TRIP

    @property
    def round_queue(self) -> float:
        """The seconds that every packet of the last round waited at least."""
        return self.round_min_rtt - self.min_rtt if self.round_min_rtt < INFINITE else 0.0

    def is_queue(self, wait: float) -> bool:
        """Return whether packets that waited `wait` seconds met a queue."""
        return wait > max(NO_QUEUE * self.min_rtt, LEAST_QUEUE)

    def update(self, sample: AckSample) -> bool:
        """Account for one SACK; return whether it ends a round."""
        self._bytes += sample.bytes_acked
        self._lost += sample.bytes_lost
        if sample.round_trip is not None:
            self._add_round_trip(sample.round_trip, sample.now)
        rate = sample.delivery_rate
        if rate > self._rate:
            self._rate = rate
        if rate > self._bandwidth_now and (not sample.app_limited or rate > self.bandwidth):
            self._bandwidth_now = rate
        if sample.prior_delivered < self._next_round_delivered:
            return False
        self._next_round_delivered = sample.delivered
        self._end_round(sample.now)
        return True

    def _add_round_trip(self, measured: float, now: float) -> None:
        measured = max(measured, LEAST_ROUND_TRIP)
        if measured < self.min_rtt:
            self.min_rtt = measured
        if not self.is_queue(measured - self.min_rtt):
            self.near_min_at = now
        without_outlier = min(measured, self._last_rtt)
        self.queue = max(without_outlier - self.min_rtt, 0.0)
        self._last_rtt = measured
        self._min = min(self._min, measured)
        self._sum += measured
        self._samples += 1
        if now - self._queue_at > QUEUE_WINDOW:
            self._longest_before = self._longest_now
            self._longest_now = 0.0
            self._queue_at = now
        self._longest_now = max(self._longest_now, without_outlier)

    def replace_min_rtt(self, measured: float, now: float) -> None:
        """Adopt a shortest round trip that was measured on a drained path."""
        self.min_rtt = measured
        self.near_min_at = now

    def _end_round(self, now: float) -> None:
        self.round += 1
        self.round_bytes = self._bytes + self._lost
        self.round_lost = self._lost
        self.round_min_rtt = self._min
        self.round_rate = self._rate
        if self._samples:
            # The mean decides, because the first packet of each window may find no queue.
            empty = not self.is_queue(self._sum / self._samples - self.min_rtt)
            self.empty_rounds = self.empty_rounds + 1 if empty else 0
        self._start_round()
        if self.round - self._bandwidth_round >= BANDWIDTH_ROUNDS and now - self._bandwidth_at > BANDWIDTH_TIME:
            if self._bandwidth_now > 0:
                self._bandwidth_before = self._bandwidth_now
            self._bandwidth_now = 0.0
            self._bandwidth_round = self.round
            self._bandwidth_at = now

    def learn_usual_loss(self, max_payload: int) -> None:
        """Average the loss of the round that has ended, if it had no queue."""
        if self.empty_rounds and self.round_bytes:
            share = min(self.round_lost / self.round_bytes, MOST_USUAL_LOSS)
            weight = min(self.round_bytes / (USUAL_LOSS_PACKETS * max_payload), 0.5)
            self.usual_loss += weight * (share - self.usual_loss)
