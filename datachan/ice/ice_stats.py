"""The statistics of an ICE transport, with the names of W3C's webrtc-stats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from datachan.ice.servers import ServerAddress
from datachan.sdp import IceCandidate


@dataclass(frozen=True)
class SelectedPair:
    """The two candidates that datagrams travel between.

    Attributes:
        replaces_silent: whether the pair before was silent, so that what was sent there last is probably lost.
    """

    local: IceCandidate
    remote: IceCandidate
    replaces_silent: bool = False


@dataclass(frozen=True)
class CandidatePairStats:
    """RTCIceCandidatePairStats for one pair.

    Attributes:
        state: one of waiting, in-progress, succeeded, failed; no pair is ever frozen.
        current_round_trip_time: of the latest check that was answered, in seconds; None before the first.
    """

    local: IceCandidate
    remote: IceCandidate
    state: str
    nominated: bool
    selected: bool
    requests_sent: int = 0
    requests_received: int = 0
    responses_sent: int = 0
    responses_received: int = 0
    consent_requests_sent: int = 0
    total_round_trip_time: float = 0.0
    current_round_trip_time: float | None = None


@dataclass(frozen=True)
class IceStats:
    """A snapshot of an ICE transport.

    Attributes:
        bytes_sent, bytes_received, packets_sent, packets_received: counts of datagrams, without STUN.
        packets_discarded_on_send: datagrams that could not be sent (no path, or the system refused them).
        bytes_discarded_on_send: the bytes in them.
        packets_discarded_on_receive: datagrams from an address that has proved nothing, and those without room.
        last_packet_sent, last_packet_received: the time of the latest datagram, on the clock of `time.monotonic`.
        servers: the STUN or TURN server of each local candidate that came from one.
    """

    bytes_sent: int
    bytes_received: int
    packets_sent: int
    packets_received: int
    packets_discarded_on_send: int
    bytes_discarded_on_send: int
    packets_discarded_on_receive: int
    last_packet_sent: float | None
    last_packet_received: float | None
    servers: Mapping[IceCandidate, ServerAddress]
    local_candidates: tuple[IceCandidate, ...]
    remote_candidates: tuple[IceCandidate, ...]
    pairs: tuple[CandidatePairStats, ...]
