"""RTCIceCandidate: an ICE candidate with the names of the W3C API and of aiortc."""
# ruff: noqa: N802, N803, N815

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .candidate import IceCandidate, format_candidate, parse_candidate_untrusted


@dataclass
class RTCIceCandidate:
    """One ICE candidate.

    Attributes:
        component: 1 for RTP and data.
        foundation: equal for candidates that freeze and unfreeze together.
        ip: the IP address, or an mDNS name.
        port: the port.
        priority: the priority; the larger is preferred.
        protocol: "udp" or "tcp".
        type: "host", "srflx", "prflx" or "relay".
        relatedAddress: the address that the candidate was derived from, or None.
        relatedPort: the port of the related address, or None.
        sdpMid: the a=mid of the candidate's section, or None.
        sdpMLineIndex: the index of that section, from 0, or None.
        tcpType: "active", "passive" or "so" for TCP.
        usernameFragment: the ufrag of the candidate's ICE generation, or None.
    """

    component: int
    foundation: str
    ip: str
    port: int
    priority: int
    protocol: str
    type: str
    relatedAddress: str | None = None
    relatedPort: int | None = None
    sdpMid: str | None = None
    sdpMLineIndex: int | None = None
    tcpType: str | None = None
    usernameFragment: str | None = None

    @property
    def address(self) -> str:
        """The same as `ip`, by its W3C name."""
        return self.ip

    @property
    def candidate(self) -> str:
        """The candidate as ``candidate:…``, for signaling."""
        return format_candidate(self.to_ice())

    def toJSON(self) -> dict[str, Any]:
        """Return the dictionary that browsers accept as RTCIceCandidateInit."""
        return {
            "candidate": self.candidate,
            "sdpMid": self.sdpMid,
            "sdpMLineIndex": self.sdpMLineIndex,
            "usernameFragment": self.usernameFragment,
        }

    def to_ice(self) -> IceCandidate:
        """Return the candidate as an `IceCandidate`."""
        extensions = {} if self.usernameFragment is None else {"ufrag": self.usernameFragment}
        return IceCandidate(
            foundation=self.foundation,
            component=self.component,
            transport=self.protocol.lower(),
            priority=self.priority,
            address=self.ip,
            port=self.port,
            type=self.type,
            related_address=self.relatedAddress,
            related_port=self.relatedPort,
            tcp_type=self.tcpType,
            extensions=extensions,
        )

    @classmethod
    def from_ice(
        cls, candidate: IceCandidate, *, sdpMid: str | None = None, sdpMLineIndex: int | None = None
    ) -> RTCIceCandidate:
        """Create a candidate from an `IceCandidate`."""
        return cls(
            component=candidate.component,
            foundation=candidate.foundation,
            ip=candidate.address,
            port=candidate.port,
            priority=candidate.priority,
            protocol=candidate.transport,
            type=candidate.type,
            relatedAddress=candidate.related_address,
            relatedPort=candidate.related_port,
            sdpMid=sdpMid,
            sdpMLineIndex=sdpMLineIndex,
            tcpType=candidate.tcp_type,
            usernameFragment=candidate.username_fragment,
        )


def candidate_from_sdp(sdp: str) -> RTCIceCandidate:
    """Read a candidate from its text, with or without ``candidate:`` before it.

    Raises:
        SdpError: the text does not follow the grammar of RFC 8839, section 5.1.
    """
    text = sdp.strip().removeprefix("a=").removeprefix("candidate:")
    return RTCIceCandidate.from_ice(parse_candidate_untrusted("candidate:" + text))


def candidate_to_sdp(candidate: RTCIceCandidate) -> str:
    """Return the text of a candidate, without ``candidate:`` before it."""
    return candidate.candidate.removeprefix("candidate:")
