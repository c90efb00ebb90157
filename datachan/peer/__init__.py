"""RTCPeerConnection, RTCDataChannel and friends, named and behaving as W3C has them.

`peer_connection` knows offers, answers and states; `transports` knows how bytes travel; `channels` and `data_channel`
are the application's side of `datachan.dcep`. The rest are values: configuration, descriptions, candidates, statistics.
"""

from __future__ import annotations

from datachan.sdp import RTCIceCandidate, SdpError

from .configuration import (
    RTCBundlePolicy,
    RTCCertificate,
    RTCConfiguration,
    RTCDtlsFingerprint,
    RTCIceServer,
    RTCIceTransportPolicy,
)
from .errors import (
    ArgumentError,
    InternalError,
    InvalidAccessError,
    InvalidModificationError,
    InvalidStateError,
    MessageTooLargeError,
    OperationError,
    PeerError,
)
from .peer_connection import RTCPeerConnection
from .rtc_data_channel import RTCDataChannel
from .rtc_session_description import RTCSessionDescription
from .stats_report import RTCStatsReport
from .transport_views import (
    RTCDtlsTransport,
    RTCIceCandidatePair,
    RTCIceParameters,
    RTCIceTransport,
    RTCSctpTransport,
)

__all__ = [
    "ArgumentError",
    "InternalError",
    "InvalidAccessError",
    "InvalidModificationError",
    "InvalidStateError",
    "MessageTooLargeError",
    "OperationError",
    "PeerError",
    "RTCBundlePolicy",
    "RTCCertificate",
    "RTCConfiguration",
    "RTCDataChannel",
    "RTCDtlsFingerprint",
    "RTCDtlsTransport",
    "RTCIceCandidate",
    "RTCIceCandidatePair",
    "RTCIceParameters",
    "RTCIceServer",
    "RTCIceTransport",
    "RTCIceTransportPolicy",
    "RTCPeerConnection",
    "RTCSctpTransport",
    "RTCSessionDescription",
    "RTCStatsReport",
    "SdpError",
]
