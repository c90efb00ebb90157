"""W3C's transport objects, `pc.sctp` and those below it: read-only views of the transport."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from datachan.dtls.connection import DtlsState
from datachan.ice import IceState, IceTransport
from datachan.sdp import RTCIceCandidate
from datachan.stack import Stack

from .event_target import EventHandler, EventTarget
from .peer_transport import PeerTransport


@dataclass(frozen=True)
class RTCIceParameters:
    """The ICE credentials of one side.

    Attributes:
        usernameFragment: the username fragment.
        password: the password.
        iceLite: whether this side is an ICE-lite agent, which only answers checks.
    """

    usernameFragment: str
    password: str
    iceLite: bool = False


@dataclass(frozen=True)
class RTCIceCandidatePair:
    """The pair of candidates that carries the datagrams."""

    local: RTCIceCandidate
    remote: RTCIceCandidate


class RTCIceTransport(EventTarget[Literal["statechange", "gatheringstatechange", "selectedcandidatepairchange"]]):
    """The ICE transport. Events: `statechange`, `gatheringstatechange`, `selectedcandidatepairchange`."""

    onstatechange = EventHandler()
    ongatheringstatechange = EventHandler()
    onselectedcandidatepairchange = EventHandler()

    def __init__(self, transport: PeerTransport) -> None:
        super().__init__()
        self._transport = transport
        self._gathering_state = transport.gathering_state

    @property
    def _ice(self) -> IceTransport:
        return self._transport.ice

    @property
    def component(self) -> str:
        """The component: always "rtp", the only one."""
        return "rtp"

    @property
    def role(self) -> str:
        """Our ICE role: "controlling", which selects the pair, or "controlled"."""
        return "controlling" if self._ice.is_controlling else "controlled"

    @property
    def state(self) -> str:
        """The state: W3C's RTCIceTransportState."""
        return self._transport.ice_state.value

    @property
    def gatheringState(self) -> str:
        """The state of gathering: "new", "gathering" or "complete"."""
        return self._gathering_state

    def _set_gathering_state(self, state: str) -> None:
        self._gathering_state = state
        self.emit("gatheringstatechange")

    def getLocalCandidates(self) -> list[RTCIceCandidate]:
        """Return our candidates so far."""
        return [RTCIceCandidate.from_ice(candidate) for candidate in self._ice.local_candidates]

    def getRemoteCandidates(self) -> list[RTCIceCandidate]:
        """Return the peer's candidates so far."""
        return [RTCIceCandidate.from_ice(candidate) for candidate in self._ice.remote_candidates]

    def getSelectedCandidatePair(self) -> RTCIceCandidatePair | None:
        """Return the pair in use, or None."""
        pair = self._ice.selected_pair
        if pair is None:
            return None
        return RTCIceCandidatePair(RTCIceCandidate.from_ice(pair.local), RTCIceCandidate.from_ice(pair.remote))

    def getLocalParameters(self) -> RTCIceParameters:
        """Return our ICE credentials."""
        return RTCIceParameters(self._ice.username_fragment, self._ice.password)

    def getRemoteParameters(self) -> RTCIceParameters | None:
        """Return the peer's ICE credentials; None before its description is set."""
        remote = self._transport.remote
        if remote is None or remote.transport is None:
            return None
        return RTCIceParameters(remote.transport.ice_ufrag, remote.transport.ice_pwd, remote.transport.ice_lite)


class RTCDtlsTransport(EventTarget[Literal["statechange"]]):
    """The DTLS transport. Event: `statechange`."""

    onstatechange = EventHandler()

    def __init__(self, transport: PeerTransport) -> None:
        super().__init__()
        self._transport = transport
        self._ice_transport = RTCIceTransport(transport)
        self._state = self._present_state()

    @property
    def _stack(self) -> Stack | None:
        return self._transport.stack

    @property
    def iceTransport(self) -> RTCIceTransport:
        """The ICE transport that carries the DTLS datagrams."""
        return self._ice_transport

    @property
    def transport(self) -> RTCIceTransport:
        """The same as `iceTransport`, by aiortc's name."""
        return self._ice_transport

    @property
    def state(self) -> str:
        """The state: W3C's RTCDtlsTransportState."""
        return self._state

    def _present_state(self) -> str:
        if self._stack is not None:
            state = self._stack.dtls.state
            # A server that waits for the client's first flight is "connecting", too, by W3C.
            return DtlsState.CONNECTING.value if state is DtlsState.NEW else str(state.value)
        return "closed" if self._ice_transport.state == IceState.CLOSED.value else "new"

    def _set_state(self, state: str) -> None:
        """Enter a state and emit the event; "failed" and "closed" are final."""
        if state != self._state and self._state not in {"failed", "closed"}:
            self._state = state
            self.emit("statechange")

    def getRemoteCertificates(self) -> list[bytes]:
        """Return the peer's certificate in DER; an empty list before the handshake."""
        certificate = None if self._stack is None else self._stack.dtls.remote_certificate_der
        return [] if certificate is None else [certificate]


class RTCSctpTransport(EventTarget[Literal["statechange", "mtuchange"]]):
    """The SCTP transport that the data channels share. Events: `statechange`, `mtuchange`."""

    onstatechange = EventHandler()
    onmtuchange = EventHandler()

    def __init__(self, transport: PeerTransport, mid: str | None, dtls: RTCDtlsTransport | None = None) -> None:
        super().__init__()
        self._transport = transport
        self._dtls_transport = dtls or RTCDtlsTransport(transport)
        self._state = "connecting"
        self.mid = mid

    @property
    def transport(self) -> RTCDtlsTransport:
        """The DTLS transport that carries the SCTP packets."""
        return self._dtls_transport

    @property
    def state(self) -> str:
        """The state of the association: "connecting", "connected" or "closed"."""
        return self._state

    @property
    def maxMessageSize(self) -> float | None:
        """The longest message that `RTCDataChannel.send` accepts, in bytes; infinity without a limit.

        This is the smaller of both sides' a=max-message-size; None until both are known.
        """
        return None if self._transport.remote is None else self._transport.max_message_size

    @property
    def mtu(self) -> int | None:
        """The largest SCTP packet sent now, in bytes, common header included; None before SCTP starts."""
        stack = self._transport.stack
        return None if stack is None else stack.association.stats().mtu

    @property
    def maxChannels(self) -> int | None:
        """The maximum number of channels; None until SCTP is connected."""
        association = None if self._transport.stack is None else self._transport.stack.association
        if association is None or self._state != "connected":
            return None
        return min(association.inbound_streams, association.outbound_streams)

    def _set_state(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self.emit("statechange")
