"""WebRTC data channels for Python, with an SCTP stack of its own."""

__version__ = "0.1.0"
