"""Our candidates: those that the shell has added, and those that the peer sees; it pairs none."""

from __future__ import annotations

from dataclasses import replace

from .candidates import (
    PRFLX,
    Base,
    LocalCandidate,
    TransportAddress,
    candidate_foundation,
    peer_reflexive_priority,
)
from .pairs import CandidatePair


class OwnCandidates:
    """Our candidates by base, and by the address under which each base can be reached."""

    def __init__(self) -> None:
        self._by_base: dict[Base, LocalCandidate] = {}
        self._by_address: dict[tuple[Base, str, int], LocalCandidate] = {}

    def __contains__(self, base: Base) -> bool:
        return base in self._by_base

    def add(self, candidate: LocalCandidate) -> bool:
        """Add a candidate; return whether it is the first of its base, which is the one that is checked from."""
        ours = candidate.candidate
        self._by_address[candidate.base, ours.address, ours.port] = candidate
        return self._by_base.setdefault(candidate.base, candidate) is candidate

    def remove_base(self, base: Base) -> None:
        """Forget the candidates of a link."""
        self._by_base.pop(base, None)
        self._by_address = {key: candidate for key, candidate in self._by_address.items() if key[0] is not base}

    def all(self) -> list[LocalCandidate]:
        """Return the first candidate of each base."""
        return list(self._by_base.values())

    def of(self, base: Base) -> LocalCandidate:
        """Return the first candidate of a base."""
        return self._by_base[base]

    def seen_as(self, pair: CandidatePair, mapped: TransportAddress | None) -> LocalCandidate:
        """Return our candidate with the address that the peer sees, peer-reflexive if need be (RFC 8445, 7.2.5.3.1)."""
        if mapped is None or mapped == (pair.shown.candidate.address, pair.shown.candidate.port):
            return pair.shown
        known = self._by_address.get((pair.base, *mapped))
        if known is not None:
            return known
        ours = pair.local.candidate
        reflexive = replace(
            ours,
            foundation=candidate_foundation(PRFLX, pair.base.transport, pair.base.address),
            priority=peer_reflexive_priority(ours.priority),
            address=mapped[0],
            port=mapped[1],
            type=PRFLX,
            related_address=ours.address,
            related_port=ours.port,
        )
        return LocalCandidate(reflexive, pair.base)
