"""The states an ICE transport goes through, as W3C names them, and the one error it raises."""

from __future__ import annotations

from enum import Enum


class IceState(Enum):
    """RTCIceTransportState (W3C WebRTC, 5.6.4); the values are W3C's strings."""

    NEW = "new"
    CHECKING = "checking"
    CONNECTED = "connected"
    COMPLETED = "completed"
    DISCONNECTED = "disconnected"
    FAILED = "failed"
    CLOSED = "closed"


class IceError(ConnectionError):
    """ICE found no path, or lost it; the message lists what was tried."""
