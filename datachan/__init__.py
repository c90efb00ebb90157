"""WebRTC data channels for Python, with an SCTP stack of its own.

The names below are loaded when they are first used: a program that uses `datachan.sctp` alone does not load ICE and
DTLS.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datachan.peer import (
        ArgumentError,
        InternalError,
        InvalidAccessError,
        InvalidModificationError,
        InvalidStateError,
        MessageTooLargeError,
        NotSupportedError,
        OperationError,
        PeerError,
        RTCBundlePolicy,
        RTCCertificate,
        RTCConfiguration,
        RTCDataChannel,
        RTCDtlsFingerprint,
        RTCDtlsTransport,
        RTCError,
        RTCIceCandidate,
        RTCIceCandidatePair,
        RTCIceParameters,
        RTCIceServer,
        RTCIceTransport,
        RTCIceTransportPolicy,
        RTCPeerConnection,
        RTCPeerConnectionIceErrorEvent,
        RTCSctpTransport,
        RTCSessionDescription,
        RTCStatsReport,
        SdpError,
        TcpMux,
        UdpMux,
    )

__version__ = "0.1.0"

__all__ = [
    "ArgumentError",
    "InternalError",
    "InvalidAccessError",
    "InvalidModificationError",
    "InvalidStateError",
    "MessageTooLargeError",
    "NotSupportedError",
    "OperationError",
    "PeerError",
    "RTCBundlePolicy",
    "RTCCertificate",
    "RTCConfiguration",
    "RTCDataChannel",
    "RTCDtlsFingerprint",
    "RTCDtlsTransport",
    "RTCError",
    "RTCIceCandidate",
    "RTCIceCandidatePair",
    "RTCIceParameters",
    "RTCIceServer",
    "RTCIceTransport",
    "RTCIceTransportPolicy",
    "RTCPeerConnection",
    "RTCPeerConnectionIceErrorEvent",
    "RTCSctpTransport",
    "RTCSessionDescription",
    "RTCStatsReport",
    "SdpError",
    "TcpMux",
    "UdpMux",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(import_module("datachan.peer"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
