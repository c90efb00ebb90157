"""Our candidates to aioice's and back; nothing but fields."""

from __future__ import annotations

from aioice import Candidate

from datachan.sdp import IceCandidate


def to_aioice(candidate: IceCandidate) -> Candidate:
    """Our candidate as aioice wants it."""
    return Candidate(
        foundation=candidate.foundation,
        component=candidate.component,
        transport=candidate.transport,
        priority=candidate.priority,
        host=candidate.address,
        port=candidate.port,
        type=candidate.type,
        related_address=candidate.related_address,
        related_port=candidate.related_port,
        tcptype=candidate.tcp_type,
    )


def from_aioice(candidate: Candidate) -> IceCandidate:
    """A candidate of aioice's as ours. One learned by its checks is of type prflx."""
    return IceCandidate(
        foundation=candidate.foundation,
        component=candidate.component,
        transport=candidate.transport,
        priority=candidate.priority,
        address=candidate.host,
        port=candidate.port,
        type=candidate.type,
        related_address=candidate.related_address,
        related_port=candidate.related_port,
        tcp_type=candidate.tcptype,
    )
