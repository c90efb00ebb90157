"""RTCPeerConnection, RTCDataChannel and related objects, with the names and behavior of the W3C API.

    errors.py                    the exceptions
    event_target.py              callbacks for events
    rtc_session_description.py   RTCSessionDescription, and a description that was set
    signaling_state.py           the signaling states and the four descriptions
    negotiation.py               creating and setting descriptions
    rtc_certificate.py           RTCCertificate
    configuration.py             RTCConfiguration and its parts
    ice_error_event.py           RTCPeerConnectionIceErrorEvent
    added_candidate.py           the arguments of addIceCandidate
    operations_chain.py          one operation at a time, and the moment of negotiationneeded
    candidate_events.py          the time at which our candidates are emitted
    channel_options.py           the arguments of createDataChannel
    unread_messages.py           received messages that the application has not read
    rtc_data_channel.py          RTCDataChannel
    channel_registry.py          the channels of one connection
    transport_changes.py         what a new description changes in the transport
    peer_transport.py            the transport: ICE, DTLS, SCTP and data channels
    transport_views.py           RTCSctpTransport, RTCDtlsTransport, RTCIceTransport
    stats_report.py              getStats
    connection_summary.py        a few figures that cost little
    connection_attributes.py     the readable attributes of RTCPeerConnection
    peer_connection.py           RTCPeerConnection

Callbacks inside the package are named ``on_…``.
"""

from __future__ import annotations

from datachan.ice import TcpMux, UdpMux
from datachan.sdp import RTCIceCandidate, SdpError

from .configuration import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCIceServer,
    RTCIceTransportPolicy,
)
from .connection_summary import ConnectionSummary
from .errors import (
    ArgumentError,
    InternalError,
    InvalidAccessError,
    InvalidModificationError,
    InvalidStateError,
    MessageTooLargeError,
    NotSupportedError,
    OperationError,
    PeerError,
    RTCError,
)
from .ice_error_event import RTCPeerConnectionIceErrorEvent
from .peer_connection import RTCPeerConnection
from .rtc_certificate import RTCCertificate, RTCDtlsFingerprint
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
    "ConnectionSummary",
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
