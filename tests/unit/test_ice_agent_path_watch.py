"""The watch over the pair in use, without an agent: consent, doubt, silence, and the alternatives that are kept."""

from __future__ import annotations

import pytest

from datachan.ice_agent import (
    HOST,
    AgentOptions,
    Base,
    CandidatePair,
    DoubtDispelled,
    PairDoubted,
    PairState,
    PeerAlive,
    PeerHeard,
    PeerSilent,
    make_candidate,
)
from datachan.ice_agent.events import AgentEvent
from datachan.ice_agent.pairs import NEVER, Checklist
from datachan.ice_agent.path_watch import PathWatch

ROUND_TRIP = 0.04
OPTIONS = AgentOptions()


class Watched:
    """A watch over pairs of one peer, one for each of our links, all of which have answered at time 0.04."""

    def __init__(self, links: int) -> None:
        self.checklist, self.events = Checklist(100), list[AgentEvent]()
        self.watch = PathWatch(OPTIONS, self.checklist, self.events, bytes)
        theirs = make_candidate(HOST, ("198.51.100.9", 5000), Base("198.51.100.9", 5000)).candidate
        self.pairs: list[CandidatePair] = []
        for rank in range(links):
            base = Base(f"198.51.100.{rank + 1}", 5000)
            ours = make_candidate(HOST, (base.address, 5000), base, rank=rank)
            pair = CandidatePair(ours, theirs, ("198.51.100.9", 5000))
            pair.state = PairState.SUCCEEDED
            pair.note_answer(0.0, ROUND_TRIP)
            self.checklist.add(pair, controlling=True, keep=None)
            self.pairs.append(pair)
        self.watch.use(self.pairs[0], ROUND_TRIP)

    def leave_unanswered(self, pair: CandidatePair, checks: int, since: float) -> None:
        pair.unanswered, pair.first_unanswered = checks, since


def test_consent_ends_30_seconds_after_the_latest_answer_on_the_pair_in_use() -> None:
    one = Watched(links=2)
    one.watch.note_answer(one.pairs[0], 10.0)
    one.watch.note_answer(one.pairs[1], 20.0)
    assert not one.watch.consent_expired(39.9)
    assert one.watch.consent_expired(40.0)
    assert one.events == [PeerAlive()]


def test_doubt_has_the_pair_and_its_alternative_checked_at_once() -> None:
    one = Watched(links=2)
    one.watch.keep_backups(ROUND_TRIP)
    assert one.pairs[1].next_check == pytest.approx(ROUND_TRIP + 0.8 * OPTIONS.backup_interval)
    one.watch.doubt(1.0)
    assert one.pairs[0].next_check == 1.0
    assert one.pairs[1].next_check == 1.0 + OPTIONS.pace


def test_a_dead_pair_is_replaced_only_by_one_that_has_answered_since() -> None:
    one = Watched(links=2)
    one.leave_unanswered(one.pairs[0], checks=4, since=1.0)
    assert one.watch.replacement(1.15, controlling=True) is None
    one.pairs[1].note_answer(1.05, 1.09)
    assert one.watch.replacement(1.15, controlling=True) is one.pairs[1]


def test_unanswered_data_names_a_pair_for_copies_until_the_pair_in_use_answers() -> None:
    one = Watched(links=2)
    one.watch.keep_backups(ROUND_TRIP)
    assert one.watch.has_alternative
    one.watch.note_sending(1.0)
    one.watch.watch_sending(1.06)
    assert one.events == []
    one.watch.watch_sending(1.08)
    assert [type(event) for event in one.events] == [PairDoubted]
    doubted = one.events.pop()
    assert isinstance(doubted, PairDoubted)
    assert doubted.alternative is one.pairs[1]
    assert doubted.unanswered == pytest.approx(1.08)
    one.watch.note_answer(one.pairs[1], 1.1)
    assert one.events == []
    one.watch.note_answer(one.pairs[0], 1.12)
    assert one.events == [PeerAlive(), DoubtDispelled()]


def test_a_pair_without_consent_gets_no_copies() -> None:
    one = Watched(links=2)
    one.watch.keep_backups(ROUND_TRIP)
    one.watch.renew_consent(25.0)
    one.watch.note_sending(31.0)
    one.watch.watch_sending(32.0)
    assert one.events == []
    one.watch.keep_backups(32.0)
    assert not one.watch.has_alternative


def test_a_check_of_the_peer_elsewhere_has_the_pair_in_use_checked_if_it_has_just_become_silent() -> None:
    one = Watched(links=2)
    planned = one.pairs[0].next_check
    for alive_at, doubted in ((0.95, False), (0.8, True), (-0.5, False)):
        one.pairs[0].answered_at = one.pairs[0].heard_at = alive_at
        one.pairs[0].next_check = planned
        one.watch.note_check(one.pairs[1], 1.0)
        assert (one.pairs[0].next_check == 1.0) is doubted


def test_a_long_silence_is_reported_once_and_so_is_its_end() -> None:
    one = Watched(links=1)
    one.leave_unanswered(one.pairs[0], checks=4, since=1.0)
    for now in (4.0, 5.5, 6.5):
        one.watch.replacement(now, controlling=True)
    assert one.events == [PeerSilent()]
    one.watch.note_life()
    one.watch.note_life()
    assert one.events == [PeerSilent(), PeerHeard()]


def test_failed_pairs_are_checked_again_while_no_pair_answers() -> None:
    one = Watched(links=2)
    one.pairs[1].state, one.pairs[1].next_check = PairState.FAILED, NEVER
    one.watch.leave(1.0)
    one.watch.recheck(5.9)
    assert one.pairs[1].next_check == NEVER
    one.watch.recheck(6.0)
    assert one.pairs[1].next_check == 6.0
