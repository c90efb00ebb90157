"""Counters of what the links of one ICE transport carry; they know no link."""

from __future__ import annotations

import time
from collections.abc import Sequence


class Traffic:
    """Counters of datagrams and their bytes, without STUN, and the times of the latest, by `time.monotonic`."""

    def __init__(self) -> None:
        self.packets_sent = self.bytes_sent = 0
        self.packets_received = self.bytes_received = 0
        self.discarded_on_send = self.bytes_discarded_on_send = 0
        self.discarded_on_receive = 0
        self.last_sent: float | None = None
        self.last_received: float | None = None

    def sent(self, datagrams: Sequence[bytes]) -> None:
        """Count a batch that was sent."""
        self.packets_sent += len(datagrams)
        self.bytes_sent += sum(map(len, datagrams))
        self.last_sent = time.monotonic()

    def received(self, datagrams: Sequence[bytes]) -> None:
        """Count a batch that was received."""
        self.packets_received += len(datagrams)
        self.bytes_received += sum(map(len, datagrams))
        self.last_received = time.monotonic()
