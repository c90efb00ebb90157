"""The candidates of the peer: those that it has signaled, and those learned from its datagrams; it checks none.

Their number is bounded, and so is the rate at which ports of one address become candidates.
"""

from __future__ import annotations

from typing import Final

from datachan.sdp import IceCandidate

from .candidates import COMPONENT, PRFLX, Base, TransportAddress, candidate_foundation
from .pairs import NEVER, CandidatePair, Checklist

# Peer-reflexive candidates of one IP address that are taken at once; further ones follow at this interval, in seconds.
_MAX_PORTS_AT_ONCE: Final = 8
_PORT_INTERVAL: Final = 1.0
_MAX_ADDRESSES: Final = 256


class PeerCandidates:
    """The peer's candidates by transport and address.

    Args:
        most: the number of candidates that are kept.
        checklist: all pairs; those of a candidate that makes room are removed.
    """

    def __init__(self, most: int, checklist: Checklist) -> None:
        self._most = most
        self._checklist = checklist
        self._by_address: dict[tuple[str, TransportAddress], IceCandidate] = {}
        self._learned: dict[tuple[Base, str], tuple[int, float]] = {}

    def all(self) -> list[tuple[TransportAddress, IceCandidate]]:
        """Return the candidates, each with the address to use."""
        return [(address, candidate) for (_, address), candidate in self._by_address.items()]

    def get(self, transport: str, address: TransportAddress) -> IceCandidate | None:
        """Return the candidate of an address."""
        return self._by_address.get((transport, address))

    def add(self, candidate: IceCandidate, address: TransportAddress) -> bool:
        """Add a signaled candidate, or put it in place of a learned one.

        Returns:
            Whether it was added; not if it is known, or there are too many.
        """
        known = self.get(candidate.transport, address)
        if known is None and len(self._by_address) >= self._most:
            return False
        if known is not None and known.type != PRFLX:
            return False
        self._by_address[candidate.transport, address] = candidate
        return True

    def learn(
        self, base: Base, source: TransportAddress, priority: int, now: float, *, keep: CandidatePair | None
    ) -> IceCandidate | None:
        """Add the candidate that a datagram has come from (RFC 8445, 7.3.1.3).

        Args:
            base: the link on which it has come.
            source: its address, without a scope.
            priority: the priority of the candidate.
            now: the time.
            keep: the pair in use, whose candidate does not make room.

        Returns:
            The candidate; None if there are too many, or if they come too fast.
        """
        if not self._may_learn(base, source, now) or not self._has_room(keep):
            return None
        learned = IceCandidate(
            foundation=candidate_foundation(PRFLX, base.transport, source[0]),
            component=COMPONENT,
            transport=base.transport,
            priority=priority,
            address=source[0],
            port=source[1],
            type=PRFLX,
        )
        return self._by_address.setdefault((base.transport, source), learned)

    def _may_learn(self, base: Base, source: TransportAddress, now: float) -> bool:
        """Return whether another port of an address may become a candidate: some at once, later ones at intervals.

        Two NATs that map each destination to a new port make of each check a new candidate, whose check makes another.
        """
        count, latest = self._learned.get((base, source[0]), (0, -NEVER))
        if count >= _MAX_PORTS_AT_ONCE and now < latest + _PORT_INTERVAL:
            return False
        if len(self._learned) >= _MAX_ADDRESSES:
            self._learned.clear()
        self._learned[base, source[0]] = count + 1, now
        return True

    def _has_room(self, keep: CandidatePair | None) -> bool:
        """Make room for a candidate: the oldest peer-reflexive one without a valid pair goes if there are too many."""
        if len(self._by_address) < self._most:
            return True
        in_use = {id(pair.remote) for pair in self._checklist if pair.valid or pair is keep}
        for key, remote in self._by_address.items():
            if remote.type == PRFLX and id(remote) not in in_use:
                del self._by_address[key]
                self._checklist.remove_remote(remote)
                return True
        return False
