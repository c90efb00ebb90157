"""Patterns that programs on data channels write again and again, on the public API; docs/patterns.md shows each.

Each takes over one open or opening channel, on both sides. datachan.js has the same in `patterns.js`, with the same
messages, so that a browser can be the other side.
"""

from __future__ import annotations

from datachan.patterns.broadcast import Broadcast
from datachan.patterns.clock import Clock
from datachan.patterns.heartbeat import Heartbeat
from datachan.patterns.latest_values import LatestValues
from datachan.patterns.requests import RequestChannel, RequestError, RequestTimeout

__all__ = ["Broadcast", "Clock", "Heartbeat", "LatestValues", "RequestChannel", "RequestError", "RequestTimeout"]
