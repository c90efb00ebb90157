"""How fast data arrives: delivery rate samples for model-based congestion control.

The method of draft-cheng-iccrg-delivery-rate-estimation: each chunk remembers how much had been delivered when it was
sent; when it is acknowledged, what was delivered since, over the longer of the times taken to send and to acknowledge
it, is a sample that neither compressed acknowledgments nor pauses of the application inflate.
"""

from __future__ import annotations


class DeliveryRate:
    """The sender's delivery accounting.

    Attributes:
        delivered: chunk bytes delivered so far.
        delivered_at: when that last grew.
        first_sent_at: when the first chunk of the present flight was sent.
        app_limited_until: samples of chunks sent before so much is delivered say more of the application than of the
            path; 0 when the application keeps the path busy.
    """

    __slots__ = ("app_limited_until", "delivered", "delivered_at", "first_sent_at")

    def __init__(self) -> None:
        self.delivered = 0
        self.delivered_at = 0.0
        self.first_sent_at = 0.0
        self.app_limited_until = 0

    def flight_begins(self, now: float) -> None:
        """A chunk is sent while nothing is in flight."""
        self.first_sent_at = now
        self.delivered_at = now

    def note_app_limited(self, flight_size: int) -> None:
        """There is room in the window and nothing to send."""
        self.app_limited_until = self.delivered + max(flight_size, 1)

    def acknowledged(self, bytes_acked: int, now: float) -> None:
        """So many bytes were delivered."""
        self.delivered += bytes_acked
        self.delivered_at = now
        if self.app_limited_until and self.delivered > self.app_limited_until:
            self.app_limited_until = 0
