"""What can be read from a peer connection: states and descriptions (W3C WebRTC, 4.4); nothing is done here."""

from __future__ import annotations

from datachan.sdp import format_description, with_candidates

from .channel_registry import ChannelRegistry
from .configuration import RTCCertificate, RTCConfiguration
from .event_target import EventTarget
from .negotiation import Negotiation
from .rtc_data_channel import RTCDataChannel
from .rtc_session_description import AppliedDescription, RTCSessionDescription
from .transport_views import RTCSctpTransport
from .transports import PeerTransports


class ConnectionAttributes(EventTarget):
    """The readable half of `RTCPeerConnection`.

    Args:
        configuration: checked already.
    """

    def __init__(self, configuration: RTCConfiguration) -> None:
        super().__init__()
        self._configuration = configuration
        certificates = configuration.certificates
        self._certificate = certificates[0] if certificates else RTCCertificate.generateCertificate()
        self._negotiation = Negotiation()
        self._channels = ChannelRegistry(self._announce)
        self._transports: PeerTransports | None = None
        self._sctp: RTCSctpTransport | None = None
        self._connection_state = "new"
        self._ice_connection_state = "new"
        self._ice_gathering_state = "new"
        self._failure: str | None = None
        self._over: str | None = None

    def __repr__(self) -> str:
        return f"<RTCPeerConnection {self._negotiation.session_id:x} {self._connection_state}>"

    # -- states -------------------------------------------------------------------------------------------------

    @property
    def signalingState(self) -> str:
        """Where offer and answer stand: W3C's RTCSignalingState."""
        return self._negotiation.signaling.state

    @property
    def connectionState(self) -> str:
        """How the connection is: "new", "connecting", "connected", "disconnected", "failed" or "closed".

        It is "closed" after `close`, and also once the peer has left. When it is "failed", or the peer left without
        delivering everything, `failureReason` says why.
        """
        return self._connection_state

    @property
    def iceConnectionState(self) -> str:
        """How ICE is doing: W3C's RTCIceConnectionState."""
        return self._ice_connection_state

    @property
    def iceGatheringState(self) -> str:
        """How far gathering is: "new", "gathering" or "complete"."""
        return self._ice_gathering_state

    @property
    def failureReason(self) -> str | None:
        """Why the connection failed or ended, in a sentence; None while it did not."""
        return self._failure

    @property
    def sctp(self) -> RTCSctpTransport | None:
        """The transport that data channels share; None until a description with a data section is set."""
        return self._sctp

    @property
    def canTrickleIceCandidates(self) -> bool | None:
        """Whether the peer takes candidates after its description; None before there is one."""
        remote = self._negotiation.signaling.remote
        if remote is None:
            return None
        data = remote.parsed.data
        return data is not None and data.transport is not None and data.transport.trickle

    # -- descriptions -------------------------------------------------------------------------------------------

    @property
    def localDescription(self) -> RTCSessionDescription | None:
        """Ours: the pending one, or else the current one, with all candidates found so far."""
        return self._local(self._negotiation.signaling.local)

    @property
    def currentLocalDescription(self) -> RTCSessionDescription | None:
        """Ours of the last complete negotiation."""
        return self._local(self._negotiation.signaling.current_local)

    @property
    def pendingLocalDescription(self) -> RTCSessionDescription | None:
        """Ours of the negotiation under way."""
        return self._local(self._negotiation.signaling.pending_local)

    @property
    def remoteDescription(self) -> RTCSessionDescription | None:
        """The peer's: the pending one, or else the current one, with all candidates added so far."""
        return _described(self._negotiation.signaling.remote)

    @property
    def currentRemoteDescription(self) -> RTCSessionDescription | None:
        """The peer's of the last complete negotiation."""
        return _described(self._negotiation.signaling.current_remote)

    @property
    def pendingRemoteDescription(self) -> RTCSessionDescription | None:
        """The peer's of the negotiation under way."""
        return _described(self._negotiation.signaling.pending_remote)

    def _announce(self, channel: RTCDataChannel) -> None:
        self.emit("datachannel", channel)

    def _local(self, description: AppliedDescription | None) -> RTCSessionDescription | None:
        if description is None:
            return None
        parsed = description.parsed
        if self._transports is not None and parsed.data is not None and parsed.data.transport is not None:
            candidates, complete = self._transports.local_candidates(parsed.data.transport.ice_ufrag)
            parsed = with_candidates(parsed, candidates, complete=complete)
        return RTCSessionDescription(sdp=format_description(parsed), type=description.type)


def _described(description: AppliedDescription | None) -> RTCSessionDescription | None:
    if description is None:
        return None
    return RTCSessionDescription(sdp=description.with_added_candidates(), type=description.type)
