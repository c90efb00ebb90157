"""Converts the agent's pairs to values for statistics, and to words for the sentence about the failure of ICE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from aioice.ice import CandidatePair

from datachan.ice.conversion import from_aioice
from datachan.ice.ice_stats import CandidatePairStats, IncomingChecks, PairCounters, SelectedPair
from datachan.ice.protocol import IceProtocol
from datachan.sdp import IceCandidate


def describe_kinds(candidates: Sequence[IceCandidate]) -> str:
    """Return how many candidates there are of each kind, such as "2 host, 1 relay"."""
    counts: dict[str, int] = {}
    for candidate in candidates:
        kind = candidate.type if candidate.transport == "udp" else f"{candidate.type} over {candidate.transport}"
        if candidate.is_mdns:
            kind += " (mDNS)"
        counts[kind] = counts.get(kind, 0) + 1
    return ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "none"


def selected_pair(pair: CandidatePair) -> SelectedPair:
    """Return the candidates of a pair of the agent."""
    return SelectedPair(from_aioice(pair.local_candidate), from_aioice(pair.remote_candidate))


def pair_stats(pair: CandidatePair, counters: PairCounters, selected: bool) -> CandidatePairStats:
    """Return the statistics of a pair of the agent."""
    incoming = cast(IceProtocol, pair.protocol).incoming_checks.get(pair.remote_addr, IncomingChecks())
    return CandidatePairStats(
        local=from_aioice(pair.local_candidate),
        remote=from_aioice(pair.remote_candidate),
        state=pair.state.name.lower().replace("_", "-"),
        nominated=pair.nominated,
        selected=selected,
        requests_sent=counters.requests_sent,
        requests_received=incoming.requests,
        responses_sent=incoming.responses,
        responses_received=counters.responses_received,
        consent_requests_sent=counters.consent_requests_sent,
        total_round_trip_time=counters.total_round_trip_time,
        current_round_trip_time=counters.current_round_trip_time,
    )
