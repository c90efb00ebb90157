"""RTCIceCandidate: an ICE candidate with the names of the W3C API and of aiortc."""
# ruff: noqa: N802, N803, N815

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .candidate import IceCandidate, format_candidate, parse_candidate_untrusted


@dataclass(init=False)
class RTCIceCandidate:
    """One ICE candidate, created from its text as in browsers, or from its parts as in aiortc.

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

    Args:
        candidate: the text, ``candidate:…``, in place of the parts.

    Raises:
        SdpError: the text does not follow the grammar of RFC 8839, section 5.1.
        TypeError: a part is missing, or a candidate from a text has neither sdpMid nor sdpMLineIndex.
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
    _text: str | None = field(default=None, compare=False, repr=False)
    _parsed: IceCandidate | None = field(default=None, compare=False, repr=False)

    def __init__(
        self,
        component: int | None = None,
        foundation: str | None = None,
        ip: str | None = None,
        port: int | None = None,
        priority: int | None = None,
        protocol: str | None = None,
        type: str | None = None,  # noqa: A002 (W3C's name)
        relatedAddress: str | None = None,
        relatedPort: int | None = None,
        sdpMid: str | None = None,
        sdpMLineIndex: int | None = None,
        tcpType: str | None = None,
        usernameFragment: str | None = None,
        *,
        candidate: str | None = None,
    ) -> None:
        self.sdpMid, self.sdpMLineIndex = sdpMid, sdpMLineIndex
        self._text, self._parsed = candidate, None
        if candidate is not None:
            self._parse(candidate, usernameFragment)
            return
        if (
            component is None
            or foundation is None
            or ip is None
            or port is None
            or priority is None
            or protocol is None
            or type is None
        ):
            raise TypeError("a candidate needs its text, or component, foundation, ip, port, priority, protocol, type")
        self.component, self.foundation, self.ip, self.port = component, foundation, ip, port
        self.priority, self.protocol, self.type = priority, protocol, type
        self.relatedAddress, self.relatedPort, self.tcpType = relatedAddress, relatedPort, tcpType
        self.usernameFragment = usernameFragment

    def _parse(self, text: str, username_fragment: str | None) -> None:
        if self.sdpMid is None and self.sdpMLineIndex is None:
            raise TypeError("Candidate must have either sdpMid or sdpMLineIndex")
        candidate = self._parsed = parse_candidate_untrusted(text)
        self.usernameFragment = username_fragment or candidate.username_fragment
        self.component, self.foundation = candidate.component, candidate.foundation
        self.ip, self.port, self.priority = candidate.address, candidate.port, candidate.priority
        self.protocol, self.type, self.tcpType = candidate.transport, candidate.type, candidate.tcp_type
        self.relatedAddress, self.relatedPort = candidate.related_address, candidate.related_port

    @property
    def address(self) -> str:
        """The same as `ip`, by its W3C name."""
        return self.ip

    @property
    def candidate(self) -> str:
        """The candidate as ``candidate:…``, for signaling; the text it was created from unless a part was changed."""
        current = self.to_ice()
        if self._text is not None and self._parsed is not None and current == self._with_fragment(self._parsed):
            return self._text
        return format_candidate(current)

    def toJSON(self) -> dict[str, Any]:
        """Return the dictionary that browsers accept as RTCIceCandidateInit."""
        return {
            "candidate": self.candidate,
            "sdpMid": self.sdpMid,
            "sdpMLineIndex": self.sdpMLineIndex,
            "usernameFragment": self.usernameFragment,
        }

    @classmethod
    def from_dict(cls, init: Mapping[str, Any]) -> RTCIceCandidate | None:
        """Create a candidate from the dictionary that browsers send; None for an empty one, the end of candidates.

        Raises:
            SdpError: the text does not follow the grammar of RFC 8839, section 5.1.
            TypeError: the candidate has neither sdpMid nor sdpMLineIndex.
        """
        if not init.get("candidate"):
            return None
        return cls(
            candidate=init["candidate"],
            sdpMid=init.get("sdpMid"),
            sdpMLineIndex=init.get("sdpMLineIndex"),
            usernameFragment=init.get("usernameFragment"),
        )

    def to_ice(self) -> IceCandidate:
        """Return the candidate as an `IceCandidate`."""
        return self._with_fragment(
            IceCandidate(
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
                extensions={} if self._parsed is None else self._parsed.extensions,
            )
        )

    def _with_fragment(self, candidate: IceCandidate) -> IceCandidate:
        if self.usernameFragment is None:
            return candidate
        return replace(candidate, extensions={**candidate.extensions, "ufrag": self.usernameFragment})

    @classmethod
    def from_ice(
        cls,
        candidate: IceCandidate,
        *,
        sdpMid: str | None = None,
        sdpMLineIndex: int | None = None,
        usernameFragment: str | None = None,
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
            usernameFragment=usernameFragment or candidate.username_fragment,
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
