"""The curve of CUBIC (RFC 9438): how a window grows with the time since it was last reduced.

Windows are in packets. This module knows neither losses nor slow start.
"""

from __future__ import annotations

from typing import Final

BETA_CUBIC: Final = 0.7
C: Final = 0.4


class CubicCurve:
    """The growth of a window in congestion avoidance.

    Attributes:
        w_max: the window before the last reduction, or less with fast convergence.
    """

    __slots__ = ("_alpha", "_cwnd_prior", "_epoch_start", "_k", "_w_est", "w_max")

    def __init__(self) -> None:
        self.w_max = 0.0
        self._w_est = 0.0
        self._alpha = 1.0
        self._cwnd_prior = 0.0
        self._k = 0.0
        self._epoch_start = -1.0

    def restart(self) -> None:
        """Start a new epoch with the next growth."""
        self._epoch_start = -1.0

    def reduce(self, packets: float, beta: float) -> None:
        """Record that a window of `packets` is reduced to its `beta`-th part."""
        # RFC 9438, 4.7: a flow that did not reach its last maximum leaves room for other flows.
        self.w_max = packets * (1 + BETA_CUBIC) / 2 if packets < self.w_max else packets
        # Section 4.3: the growth at which a Reno flow with this reduction would have the share of one that halves.
        self._cwnd_prior = packets
        self._alpha = 3 * (1 - beta) / (1 + beta)
        self._epoch_start = -1.0

    def seconds_past_plateau(self, now: float) -> float:
        """Return the time since the window reached `w_max` again; negative before that, 0 without an epoch."""
        return now - self._epoch_start - self._k if self._epoch_start >= 0 else 0.0

    def grow(self, packets: float, share_acked: float, rtt: float, now: float) -> float:
        """Return the grown window.

        Args:
            packets: the window.
            share_acked: the part of it that was acknowledged.
            rtt: the round trip in seconds.
            now: monotonic seconds.
        """
        if self._epoch_start < 0:
            self._epoch_start = now
            self._w_est = packets
            self.w_max = max(self.w_max, packets)
            self._k = ((self.w_max - packets) / C) ** (1 / 3)
        t = now - self._epoch_start
        # RFC 9438, 4.2: W_cubic(t) = C * (t - K)^3 + W_max; the target is the window one round trip from now.
        target = C * (t + rtt - self._k) ** 3 + self.w_max
        target = min(max(target, packets), 1.5 * packets)
        # Section 4.3: the Reno-friendly region.
        alpha = 1.0 if self._w_est >= self._cwnd_prior else self._alpha
        self._w_est += alpha * share_acked
        if C * (t - self._k) ** 3 + self.w_max < self._w_est:
            return max(packets, self._w_est)
        return packets + (target - packets) * share_acked
