"""The readable attributes of a peer connection: states and descriptions (W3C WebRTC, 4.4); it changes nothing."""

from __future__ import annotations

import asyncio
import logging
from typing import Literal

from datachan.log_rate import get_limited_logger
from datachan.sdp import format_description, with_candidates

from .channel_registry import ChannelRegistry
from .configuration import RTCConfiguration
from .event_target import EventTarget
from .negotiation import Negotiation
from .peer_transport import PeerTransport
from .rtc_certificate import RTCCertificate
from .rtc_data_channel import RTCDataChannel
from .rtc_session_description import AppliedDescription, RTCSessionDescription
from .transport_views import RTCSctpTransport

_log = get_limited_logger("datachan.peer")

ConnectionEvent = Literal[
    "datachannel",
    "connectionstatechange",
    "iceconnectionstatechange",
    "icegatheringstatechange",
    "signalingstatechange",
    "icecandidate",
    "icecandidateerror",
    "negotiationneeded",
    "track",
]


class ConnectionAttributes(EventTarget[ConnectionEvent]):
    """The readable attributes of `RTCPeerConnection`.

    Args:
        configuration: the checked configuration.
    """

    def __init__(self, configuration: RTCConfiguration) -> None:
        super().__init__()
        self._configuration = configuration
        certificates = configuration.certificates
        self._certificate = certificates[0] if certificates else RTCCertificate.generateCertificate()
        self._negotiation = Negotiation()
        self._channels = ChannelRegistry(self._announce)
        self._transport: PeerTransport | None = None
        self._connection_state = "new"
        self._ice_connection_state = "new"
        self._ice_gathering_state = "new"
        self._failure: str | None = None
        self._failure_was_read = False
        self._over: str | None = None

    def __repr__(self) -> str:
        return f"<RTCPeerConnection {self._negotiation.session_id:x} {self._connection_state}>"

    # -- states --------------------------------------------------------------------------------------------------------

    @property
    def signalingState(self) -> str:
        """The state of offer and answer: W3C's RTCSignalingState."""
        return self._negotiation.signaling.state

    @property
    def connectionState(self) -> str:
        """The state of the connection: "new", "connecting", "connected", "disconnected", "failed" or "closed".

        The state is "closed" after `close`, and also when the peer has left. If the connection failed, or the peer left
        before everything was delivered, `failureReason` states the reason.
        """
        return self._connection_state

    @property
    def iceConnectionState(self) -> str:
        """The state of ICE: W3C's RTCIceConnectionState."""
        return self._ice_connection_state

    @property
    def iceGatheringState(self) -> str:
        """The state of gathering: "new", "gathering" or "complete"."""
        return self._ice_gathering_state

    @property
    def failureReason(self) -> str | None:
        """The reason why the connection failed or ended, as a sentence; None otherwise.

        A reason that the program has not read in the turn of the event loop after the events is logged as a warning.
        """
        self._failure_was_read = True
        return self._failure

    def _log_failure(self, what: str) -> None:
        """Log the failure soon, as a warning unless the program reads `failureReason` until then and reports it."""
        self._failure_was_read = False
        asyncio.get_running_loop().call_soon(self._log_failure_now, f"{what}: {self._failure}")

    def _log_failure_now(self, sentence: str) -> None:
        _log.log(logging.INFO if self._failure_was_read else logging.WARNING, "%r: %s", self, sentence)

    @property
    def sctp(self) -> RTCSctpTransport | None:
        """The transport of the data channels; None until a description with a data section is set."""
        return self._channels.sctp

    @property
    def canTrickleIceCandidates(self) -> bool | None:
        """Whether the peer accepts candidates after its description; None without a remote description."""
        remote = self._negotiation.signaling.remote
        if remote is None:
            return None
        data = remote.parsed.data
        return data is not None and data.transport is not None and data.transport.trickle

    # -- descriptions --------------------------------------------------------------------------------------------------

    @property
    def localDescription(self) -> RTCSessionDescription | None:
        """Our pending description, or else our current one, with all candidates gathered so far."""
        return self._local(self._negotiation.signaling.local)

    @property
    def currentLocalDescription(self) -> RTCSessionDescription | None:
        """Our description of the last complete negotiation."""
        return self._local(self._negotiation.signaling.current_local)

    @property
    def pendingLocalDescription(self) -> RTCSessionDescription | None:
        """Our description of the pending negotiation."""
        return self._local(self._negotiation.signaling.pending_local)

    @property
    def remoteDescription(self) -> RTCSessionDescription | None:
        """The peer's pending description, or else its current one, with all candidates added so far."""
        return _described(self._negotiation.signaling.remote)

    @property
    def currentRemoteDescription(self) -> RTCSessionDescription | None:
        """The peer's description of the last complete negotiation."""
        return _described(self._negotiation.signaling.current_remote)

    @property
    def pendingRemoteDescription(self) -> RTCSessionDescription | None:
        """The peer's description of the pending negotiation."""
        return _described(self._negotiation.signaling.pending_remote)

    def _announce(self, channel: RTCDataChannel) -> None:
        self.emit("datachannel", channel)

    def _local(self, description: AppliedDescription | None) -> RTCSessionDescription | None:
        if description is None:
            return None
        parsed = description.parsed
        if self._transport is not None and parsed.data is not None and parsed.data.transport is not None:
            candidates, complete = self._transport.local_candidates(parsed.data.transport.ice_ufrag)
            parsed = with_candidates(parsed, candidates, complete=complete)
        return RTCSessionDescription(sdp=format_description(parsed), type=description.type)


def _described(description: AppliedDescription | None) -> RTCSessionDescription | None:
    if description is None:
        return None
    return RTCSessionDescription(sdp=description.with_added_candidates(), type=description.type)
