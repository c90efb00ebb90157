"""Which pair carries data: rules over pairs, without state or time of their own.

A valid pair carries data at once (RFC 8445, 12.1: "An ICE agent MAY send data on any valid pair before selected pairs
have been produced for the data stream."). The controlling agent nominates the pair that it uses. The controlled one
follows the latest nomination if it has a number, else the nominated pair of highest priority, as RFC 5245, 8.1.1.2
lets both sides agree when several are nominated. Whatever is nominated, a pair that answers replaces one that does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto

from .pairs import CandidatePair


class Verdict(Enum):
    """What to do about a pair that has become valid or was nominated."""

    SELECT = auto()
    KEEP = auto()
    DOUBT = auto()
    """Keep the pair in use if it still answers: the other one may be the same path behind a rebound NAT."""


def judge(pair: CandidatePair, current: CandidatePair | None, *, controlling: bool, news: bool) -> Verdict:
    """Decide about a valid pair that a check, or a nomination of the peer, has drawn attention to.

    Args:
        pair: the valid pair.
        current: the pair in use.
        controlling: our role.
        news: whether the pair has just become valid, or the peer has just nominated it.
    """
    if pair is current:
        return Verdict.KEEP
    verdict = _judge_as_controlling(pair, current) if controlling else _judge_as_controlled(pair, current)
    return Verdict.KEEP if verdict is Verdict.DOUBT and not news else verdict


def _judge_as_controlled(pair: CandidatePair, current: CandidatePair | None) -> Verdict:
    if not pair.nominated:
        # Data that reaches the peer before it knows our description would be lost, and its repetition costs a second.
        # The check of the peer says that it knows.
        return Verdict.SELECT if current is None and pair.checked_by_peer else Verdict.KEEP
    if current is None or not current.nominated:
        return Verdict.SELECT
    if pair.nomination or current.nomination:
        return Verdict.SELECT if pair.nomination >= current.nomination else Verdict.KEEP
    return Verdict.SELECT if pair.priority > current.priority else Verdict.DOUBT


def _judge_as_controlling(pair: CandidatePair, current: CandidatePair | None) -> Verdict:
    if current is None or pair.priority > current.priority:
        return Verdict.SELECT
    # The peer has come by another address over the same link: its NAT may have rebound.
    same_link = pair.base is current.base and pair.checked_by_peer
    return Verdict.DOUBT if same_link and pair.answered_at > current.alive_at else Verdict.KEEP


def best_alternative(
    pairs: Iterable[CandidatePair], current: CandidatePair | None, since: float
) -> CandidatePair | None:
    """Return the best valid pair other than the one in use with an answer since a time; None if there is none."""
    answering = [pair for pair in pairs if pair is not current and pair.valid and pair.answered_at >= since]
    return max(answering, key=lambda pair: (pair.nominated, pair.priority), default=None)


def independent_alternative(
    pairs: Iterable[CandidatePair], current: CandidatePair, since: float
) -> CandidatePair | None:
    """Return the pair most likely to work when the one in use does not; None if no other has answered since a time.

    Either end's link may have died, so a pair that differs at both ends is best. A pair that differs in the peer's port
    only is the same path.
    """
    best: CandidatePair | None = None
    best_rank = (False, False, 0, 0)
    for one in pairs:
        ends = (one.base is not current.base) + (one.destination[0] != current.destination[0])
        if one.valid and one.answered_at >= since and ends:
            rank = (not one.unanswered, not one.relayed, ends, one.priority)
            if best is None or rank > best_rank:
                best, best_rank = one, rank
    return best


def rebound_pair(pairs: Iterable[CandidatePair], current: CandidatePair) -> CandidatePair | None:
    """Return a pair that answers at another port of the peer's address, while the pair in use does not answer."""
    if not current.unanswered:
        return None
    since = current.first_unanswered
    rebound = (one for one in pairs if one.replaces is current and one.valid and one.answered_at >= since)
    return next((one for one in rebound if current.heard_at < max(since, one.learned_at)), None)


def backups(pairs: Iterable[CandidatePair], current: CandidatePair | None, count: int) -> list[CandidatePair]:
    """Return the valid pairs to keep as alternatives: the best of each link first, as links fail as a whole."""
    valid = sorted((pair for pair in pairs if pair is not current and pair.valid), key=lambda pair: -pair.priority)
    of_links: dict[object, CandidatePair] = {}
    for pair in valid:
        of_links.setdefault(pair.base, pair)
    first = list(of_links.values())
    return (first + [pair for pair in valid if pair not in first])[:count]
