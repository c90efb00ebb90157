"""Candidate pairs and the checklist: which pairs there are, in which order, at most how many; it sends nothing.

There is one data stream with one component, so nothing is frozen. Instead, pairs take turns by the kinds of their
candidates. Twenty bridges of a container host then do not hold up the one pair that leads to the peer.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from enum import Enum
from typing import Final

from datachan.sdp import IceCandidate

from .candidates import ACTIVE, PASSIVE, RELAY, Base, LocalCandidate, TransportAddress, pair_priority, without_scope

NEVER: Final = float("inf")
# The gain of the smoothed round-trip time (RFC 6298's).
_GAIN: Final = 1 / 8


class PairState(Enum):
    """The state of a pair (RFC 8445, 6.1.2.6), by W3C's names. No pair is ever frozen."""

    WAITING = "waiting"
    IN_PROGRESS = "in-progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class CandidatePair:
    """A local and a remote candidate, and the progress of their checks. Times are those of the machine's clock.

    Attributes:
        local, remote: the candidates. A candidate of the peer may be replaced by a signaled one with its address.
        shown: our candidate as the peer sees it, which a NAT may have made another one of the same base.
        destination: the address that checks are sent to; that of `remote`, unless its address is a name.
        state: the state of its checks.
        priority: the pair priority, which depends on the role.
        proven: whether the peer has authenticated itself from `destination`, by a check or a response.
        checked_by_peer: whether an authentic check of the peer has arrived on this pair.
        nominated: whether both sides know that the controlling one has chosen the pair.
        nomination: the number of the nomination; 0 without one or without a number.
        next_check: when to send the next check.
        interval: the time between the latest check and the next.
        unanswered: the number of checks since the latest answer.
        first_unanswered: when the first of them was sent.
        refused: whether the system has refused to send the latest check.
        triggers: the number of checks that checks of the peer have triggered since the latest success.
        role_conflicts: the number of 487 responses since the latest success.
        replaces: the pair that was in use when the peer came by another port of that pair's address.
        learned_at: when this happened.
        carries_data: whether data has come from there before the address was proven.
        heard_at, answered_at: when the latest sign of life, and the latest answer, arrived.
        round_trip_time: the smoothed round-trip time; None before the first answer.
    """

    def __init__(self, local: LocalCandidate, remote: IceCandidate, destination: TransportAddress) -> None:
        self.local = self.shown = local
        self.remote = remote
        self.destination = destination
        self.state = PairState.WAITING
        self.priority = 0
        self.proven = self.checked_by_peer = self.nominated = False
        self.nomination = 0
        self.next_check = NEVER
        self.interval = 0.0
        self.unanswered = 0
        self.first_unanswered = NEVER
        self.heard_at = self.answered_at = -NEVER
        self.refused = False
        self.replaces: CandidatePair | None = None
        self.learned_at = -NEVER
        self.carries_data = False
        self.role_conflicts = self.triggers = 0
        self.round_trip_time: float | None = None
        self.current_round_trip_time: float | None = None
        self.total_round_trip_time = 0.0
        self.requests_sent = self.requests_received = self.responses_sent = self.responses_received = 0
        self.consent_requests_sent = 0

    def __repr__(self) -> str:
        return f"<CandidatePair {self.base.address}:{self.base.port} → {self.destination} {self.state.value}>"

    @property
    def base(self) -> Base:
        """The link of the local candidate."""
        return self.local.base

    @property
    def valid(self) -> bool:
        """Whether a check of ours has succeeded and none has failed since."""
        return self.state is PairState.SUCCEEDED

    @property
    def relayed(self) -> bool:
        """Whether a TURN server is on the path."""
        return self.base.relayed or self.remote.type == RELAY

    @property
    def kinds(self) -> tuple[bool, str]:
        """The class in which this pair takes turns: whether we relay, and the kind of the peer's candidate."""
        return self.base.relayed, self.remote.type

    @property
    def alive_at(self) -> float:
        """When the peer has last given a sign of life on this pair."""
        return max(self.heard_at, self.answered_at)

    def note_answer(self, sent_at: float, now: float) -> None:
        """Count an answer to a check, and measure the round trip."""
        self.responses_received += 1
        self.answered_at = now
        self.unanswered = 0
        self.first_unanswered = NEVER
        measured = self.current_round_trip_time = now - sent_at
        self.total_round_trip_time += measured
        if self.round_trip_time is None:
            self.round_trip_time = measured
        else:
            self.round_trip_time += _GAIN * (measured - self.round_trip_time)

    def check_anew(self, now: float) -> None:
        """Plan checks as if the pair were new, the first of them now; a valid pair stays valid meanwhile."""
        self.unanswered, self.first_unanswered, self.interval = 0, NEVER, 0.0
        self.role_conflicts = self.triggers = 0
        self.next_check = now
        if not self.valid:
            self.state = PairState.IN_PROGRESS if self.requests_sent else PairState.WAITING


class Checklist:
    """The pairs, by base and destination.

    Args:
        max_pairs: the largest number of pairs.

    Attributes:
        pairs: the pairs.
    """

    def __init__(self, max_pairs: int) -> None:
        self._max_pairs = max_pairs
        self.pairs: dict[tuple[Base, TransportAddress], CandidatePair] = {}
        self._turns: dict[tuple[bool, str], int] = {}

    def __iter__(self) -> Iterator[CandidatePair]:
        return iter(self.pairs.values())

    def get(self, base: Base, destination: TransportAddress) -> CandidatePair | None:
        """Return the pair of a link and an address."""
        return self.pairs.get((base, destination))

    def add(self, pair: CandidatePair, *, controlling: bool, keep: CandidatePair | None) -> bool:
        """Add a pair if there is room, or if a worse one can go; return whether it was added.

        Args:
            pair: the pair. Another with its base and destination makes it redundant (RFC 8445, 6.1.2.4).
            controlling: our role.
            keep: the pair in use.
        """
        key = (pair.base, pair.destination)
        if key in self.pairs:
            return False
        set_priority(pair, controlling=controlling)
        self.pairs[key] = pair
        if len(self.pairs) > self._max_pairs:
            worst = self._least_useful(keep)
            del self.pairs[(worst.base, worst.destination)]
            return worst is not pair
        return True

    def _least_useful(self, keep: CandidatePair | None) -> CandidatePair:
        """Return the pair to drop: a failed one, else the worst of the kinds with most pairs; proven ones last."""
        counts: dict[tuple[bool, str], int] = {}
        for pair in self:
            counts[pair.kinds] = counts.get(pair.kinds, 0) + 1
        return min(
            (pair for pair in self if pair is not keep),
            key=lambda pair: (
                pair.proven,
                pair.state is not PairState.FAILED,
                -counts[pair.kinds],
                pair.priority,
            ),
        )

    def remove_base(self, base: Base) -> list[CandidatePair]:
        """Remove the pairs of a link and return them."""
        gone = [pair for pair in self if pair.base is base]
        for pair in gone:
            del self.pairs[(base, pair.destination)]
        return gone

    def remove_remote(self, remote: IceCandidate) -> None:
        """Remove the pairs of a candidate of the peer."""
        self.pairs = {key: pair for key, pair in self.pairs.items() if pair.remote is not remote}

    def set_role(self, *, controlling: bool) -> None:
        """Compute all priorities for a role."""
        for pair in self:
            set_priority(pair, controlling=controlling)

    def next_waiting(self) -> CandidatePair | None:
        """Return the pair whose first check is next: of the kinds that have had fewest turns, the best pair."""
        waiting = [pair for pair in self if pair.state is PairState.WAITING and pair.requests_sent == 0]
        return min(waiting, key=lambda pair: (self._turns.get(pair.kinds, 0), -pair.priority), default=None)

    def take_turn(self, pair: CandidatePair) -> None:
        """Count the first check of a pair as a turn of its kinds."""
        self._turns[pair.kinds] = self._turns.get(pair.kinds, 0) + 1


def set_priority(pair: CandidatePair, *, controlling: bool) -> None:
    """Compute the priority of a pair for our role."""
    ours, theirs = pair.local.candidate.priority, pair.remote.priority
    pair.priority = pair_priority(ours, theirs) if controlling else pair_priority(theirs, ours)


def can_pair(base: Base, candidate: IceCandidate, address: str) -> bool:
    """Return whether checks can go from a link to an address of a candidate.

    RFC 8445, 6.1.2.2 pairs candidates of one transport and address family; "IPv6 link-local addresses MUST NOT be
    paired with other than link-local addresses". RFC 6544, 6.2 pairs active with passive, and a passive candidate of
    ours waits for the peer's connection.
    """
    if base.transport != candidate.transport or base.tcp_type == PASSIVE:
        return False
    if base.tcp_type == ACTIVE and candidate.tcp_type != PASSIVE:
        return False
    ours, theirs = base.address, address
    if (":" in ours) != (":" in theirs):
        return False
    return _is_link_local(ours) == _is_link_local(theirs)


def _is_link_local(address: str) -> bool:
    return ":" in address and ipaddress.ip_address(without_scope(address)).is_link_local
