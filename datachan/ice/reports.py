"""Converts the agent's pairs to values for statistics, and to words for the sentence about the failure of ICE."""

from __future__ import annotations

from collections.abc import Sequence

from datachan.ice.ice_stats import CandidatePairStats, SelectedPair
from datachan.ice_agent import CandidatePair
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


def selected_pair(pair: CandidatePair, *, replaces_silent: bool = False) -> SelectedPair:
    """Return the candidates of a pair of the agent."""
    return SelectedPair(pair.shown.candidate, pair.remote, replaces_silent)


def pair_stats(pair: CandidatePair, *, selected: bool) -> CandidatePairStats:
    """Return the statistics of a pair of the agent."""
    return CandidatePairStats(
        local=pair.shown.candidate,
        remote=pair.remote,
        state=pair.state.value,
        nominated=pair.nominated,
        selected=selected,
        requests_sent=pair.requests_sent,
        requests_received=pair.requests_received,
        responses_sent=pair.responses_sent,
        responses_received=pair.responses_received,
        consent_requests_sent=pair.consent_requests_sent,
        total_round_trip_time=pair.total_round_trip_time,
        current_round_trip_time=pair.current_round_trip_time,
    )
