"""The statistics of an ICE transport, with the names of W3C's webrtc-stats."""

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
        current_round_trip_time: of the latest check that was answered, in seconds; None before the first.
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
        bytes_sent, bytes_received, packets_sent, packets_received: counts of datagrams, without STUN.
        packets_discarded_on_send: datagrams that could not be sent (no path, or the system refused them).
        packets_discarded_on_receive: datagrams from an address that has proved nothing, and those without room.
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
    """The counters of one pair; times in seconds."""

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
    """Counters of datagrams and their bytes, without STUN."""

    packets_sent: int = 0
    bytes_sent: int = 0
    packets_received: int = 0
    bytes_received: int = 0
    discarded_on_send: int = 0
    discarded_on_receive: int = 0

    def sent(self, datagrams: Sequence[bytes]) -> None:
        """Count a batch that was sent."""
        self.packets_sent += len(datagrams)
        self.bytes_sent += sum(map(len, datagrams))

    def received(self, datagrams: Sequence[bytes]) -> None:
        """Count a batch that was received."""
        self.packets_received += len(datagrams)
        self.bytes_received += sum(map(len, datagrams))
