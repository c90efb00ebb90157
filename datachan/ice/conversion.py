"""Converts our candidates to aioice's and back, field by field."""

from __future__ import annotations

from aioice import Candidate

from datachan.sdp import IceCandidate


def to_aioice(candidate: IceCandidate) -> Candidate:
    """Convert one of our candidates to aioice's class."""
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
    """Convert a candidate of aioice to ours; one that was learned from a check is of type prflx."""
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
