"""What an ICE transport counts, in the words of W3C's webrtc-stats; plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datachan.sdp import IceCandidate


@dataclass(frozen=True)
class SelectedPair:
    """The two candidates that datagrams travel between."""

    local: IceCandidate
    remote: IceCandidate


@dataclass(frozen=True)
class CandidatePairStats:
    """RTCIceCandidatePairStats for one pair.

    Attributes:
        state: one of frozen, waiting, in-progress, succeeded, failed.
        current_round_trip_time: seconds, of the last answered check; None before the first.
    """

    local: IceCandidate
    remote: IceCandidate
    state: str
    nominated: bool
    selected: bool
    requests_sent: int = 0
    responses_received: int = 0
    consent_requests_sent: int = 0
    total_round_trip_time: float = 0.0
    current_round_trip_time: float | None = None


@dataclass(frozen=True)
class IceStats:
    """A snapshot of an ICE transport.

    Attributes:
        bytes_sent, bytes_received, packets_sent, packets_received: datagrams handed down and up, without STUN.
        packets_discarded_on_send: what could not be sent (no path, or the system refused it).
        packets_discarded_on_receive: what came from an address that never proved itself by a check, or found no room.
    """

    bytes_sent: int
    bytes_received: int
    packets_sent: int
    packets_received: int
    packets_discarded_on_send: int
    packets_discarded_on_receive: int
    local_candidates: tuple[IceCandidate, ...]
    remote_candidates: tuple[IceCandidate, ...]
    pairs: tuple[CandidatePairStats, ...]


@dataclass
class PairCounters:
    """What was counted for one pair; seconds."""

    requests_sent: int = 0
    responses_received: int = 0
    consent_requests_sent: int = 0
    total_round_trip_time: float = 0.0
    current_round_trip_time: float | None = None

    def count_answer(self, round_trip_time: float) -> None:
        """Count one answer and its round trip."""
        self.responses_received += 1
        self.total_round_trip_time += round_trip_time
        self.current_round_trip_time = round_trip_time


@dataclass
class Traffic:
    """Running counts of datagrams and their bytes, without STUN."""

    packets_sent: int = 0
    bytes_sent: int = 0
    packets_received: int = 0
    bytes_received: int = 0
    discarded_on_send: int = 0
    discarded_on_receive: int = 0

    def sent(self, datagrams: Sequence[bytes]) -> None:
        """Count a batch that was handed down."""
        self.packets_sent += len(datagrams)
        self.bytes_sent += sum(map(len, datagrams))

    def received(self, datagrams: Sequence[bytes]) -> None:
        """Count a batch that was handed up."""
        self.packets_received += len(datagrams)
        self.bytes_received += sum(map(len, datagrams))
