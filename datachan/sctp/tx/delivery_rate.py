"""Delivery rate samples for model-based congestion control.

The method is that of draft-cheng-iccrg-delivery-rate-estimation. Each chunk records how many bytes had been delivered
when it was sent. When the chunk is acknowledged, the bytes delivered since then are divided by the longer of two times:
the time taken to send them and the time taken to acknowledge them. Neither compressed acknowledgments nor pauses of the
application inflate such a sample.
"""

from __future__ import annotations


class DeliveryRate:
    """The sender's delivery accounting.

    Attributes:
        delivered: chunk bytes delivered so far.
        delivered_at: when `delivered` last grew.
        first_sent_at: when the first chunk of the current flight was sent.
        app_limited_until: a value of `delivered`; samples of chunks sent below it measure the application rather than
            the path. 0 when the application keeps the path busy.
    """

    __slots__ = ("app_limited_until", "delivered", "delivered_at", "first_sent_at")

    def __init__(self) -> None:
        self.delivered = 0
        self.delivered_at = 0.0
        self.first_sent_at = 0.0
        self.app_limited_until = 0

    def start_flight(self, now: float) -> None:
        """Restart both times because a chunk is sent while nothing is in flight."""
        self.first_sent_at = now
        self.delivered_at = now

    def note_app_limited(self, flight_size: int) -> None:
        """Record that the window has room and the application has nothing to send."""
        self.app_limited_until = self.delivered + max(flight_size, 1)

    def record_delivered(self, bytes_acked: int, now: float) -> None:
        """Add delivered bytes; end the application-limited period if it is over."""
        self.delivered += bytes_acked
        self.delivered_at = now
        if self.app_limited_until and self.delivered > self.app_limited_until:
            self.app_limited_until = 0
