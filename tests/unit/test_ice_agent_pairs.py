"""Pairs and the checklist, and the rules by which one pair is used."""

from __future__ import annotations

import pytest

from datachan.ice_agent import ACTIVE, PASSIVE, Base, CandidatePair, PairState, make_candidate
from datachan.ice_agent.pairs import Checklist, can_pair, set_priority
from datachan.ice_agent.selection import Verdict, backups, best_alternative, independent_alternative, judge
from datachan.sdp import IceCandidate


def remote(kind: str = "host", *, priority: int = 1000, tcp_type: str | None = None) -> IceCandidate:
    transport = "udp" if tcp_type is None else "tcp"
    return IceCandidate(
        foundation="1",
        transport=transport,
        priority=priority,
        address="198.51.100.2",
        port=1,
        type=kind,
        tcp_type=tcp_type,
    )


def pair(kind: str = "host", port: int = 1, *, base: Base | None = None, priority: int = 1000) -> CandidatePair:
    base = base or Base("198.51.100.1", 4000)
    local = make_candidate("relay" if base.relayed else "host", (base.address, base.port), base)
    made = CandidatePair(local, remote(kind, priority=priority), ("198.51.100.2", port))
    set_priority(made, controlling=True)
    return made


@pytest.mark.parametrize(
    ("base", "candidate", "address", "possible"),
    [
        (Base("10.0.0.1", 1), remote(), "198.51.100.2", True),
        (Base("10.0.0.1", 1), remote(), "2001:db8::1", False),
        (Base("2001:db8::2", 1), remote(), "2001:db8::1", True),
        (Base("fe80::2%eth0", 1), remote(), "fe80::1", True),
        (Base("fe80::2%eth0", 1), remote(), "2001:db8::1", False),
        (Base("2001:db8::2", 1), remote(), "fe80::1", False),
        (Base("10.0.0.1", 9, "tcp", ACTIVE), remote(tcp_type=PASSIVE), "198.51.100.2", True),
        (Base("10.0.0.1", 9, "tcp", ACTIVE), remote(tcp_type=ACTIVE), "198.51.100.2", False),
        (Base("10.0.0.1", 9, "tcp", PASSIVE), remote(tcp_type=ACTIVE), "198.51.100.2", False),
        (Base("10.0.0.1", 1), remote(tcp_type=PASSIVE), "198.51.100.2", False),
    ],
)
def test_pairs_have_one_transport_family_and_scope(
    base: Base, candidate: IceCandidate, address: str, possible: bool
) -> None:
    assert can_pair(base, candidate, address) is possible


def test_kinds_take_turns_and_the_best_of_each_comes_first() -> None:
    checklist = Checklist(100)
    bases = [Base(f"10.0.0.{number}", 1) for number in range(5)]
    for number, base in enumerate(bases):
        checklist.add(pair("host", base=base, priority=100 - number), controlling=True, keep=None)
        checklist.add(pair("srflx", 2, base=base, priority=50 - number), controlling=True, keep=None)
    order = []
    while (following := checklist.next_waiting()) is not None:
        following.requests_sent = 1
        checklist.take_turn(following)
        order.append((following.remote.type, following.base))
    assert order[:4] == [("host", bases[0]), ("srflx", bases[0]), ("host", bases[1]), ("srflx", bases[1])]
    assert len(order) == 10


def test_a_pair_with_the_same_base_and_destination_is_redundant() -> None:
    checklist = Checklist(100)
    base = Base("10.0.0.1", 1)
    assert checklist.add(pair(base=base), controlling=True, keep=None)
    assert not checklist.add(pair("srflx", base=base), controlling=True, keep=None)
    assert len(list(checklist)) == 1


def test_a_full_checklist_drops_failed_pairs_first_then_the_worst_of_the_most_frequent_kinds() -> None:
    checklist = Checklist(4)
    base = Base("10.0.0.1", 1)
    kept = pair(port=1, base=base, priority=1)
    failed = pair(port=2, base=base, priority=9)
    failed.state = PairState.FAILED
    relayed = pair("relay", 3, base=base, priority=2)
    for one in (kept, failed, relayed, pair(port=4, base=base, priority=5)):
        checklist.add(one, controlling=True, keep=kept)
    assert checklist.add(pair(port=5, base=base, priority=6), controlling=True, keep=kept)
    assert failed not in list(checklist)
    assert not checklist.add(pair(port=6, base=base, priority=4), controlling=True, keep=kept)
    assert {one.destination[1] for one in checklist} == {1, 3, 4, 5}


def valid(made: CandidatePair, *, nominated: bool = False, nomination: int = 0, heard: float = 1.0) -> CandidatePair:
    made.state = PairState.SUCCEEDED
    made.nominated, made.nomination = nominated, nomination
    made.answered_at = made.heard_at = heard
    return made


def test_the_controlling_side_uses_the_first_valid_pair_and_moves_up_only() -> None:
    low, high = valid(pair(priority=1)), valid(pair(port=2, priority=2))
    assert judge(low, None, controlling=True, news=True) is Verdict.SELECT
    assert judge(high, low, controlling=True, news=True) is Verdict.SELECT
    assert judge(low, high, controlling=True, news=True) is Verdict.KEEP
    assert judge(low, low, controlling=True, news=True) is Verdict.KEEP


def test_the_controlling_side_doubts_its_pair_when_the_peer_comes_by_another_address_of_the_same_link() -> None:
    current = valid(pair(priority=2), heard=1.0)
    other = valid(pair(port=2, priority=1, base=current.base), heard=2.0)
    other.checked_by_peer = True
    assert judge(other, current, controlling=True, news=True) is Verdict.DOUBT
    assert judge(other, current, controlling=True, news=False) is Verdict.KEEP


def test_the_controlled_side_waits_for_a_check_of_the_peer() -> None:
    made = valid(pair())
    assert judge(made, None, controlling=False, news=True) is Verdict.KEEP
    made.checked_by_peer = True
    assert judge(made, None, controlling=False, news=True) is Verdict.SELECT


def test_the_controlled_side_follows_numbers_and_else_priorities() -> None:
    low, high = valid(pair(priority=1), nominated=True), valid(pair(port=2, priority=2), nominated=True)
    assert judge(high, low, controlling=False, news=True) is Verdict.SELECT
    assert judge(low, high, controlling=False, news=True) is Verdict.DOUBT
    low.nomination, high.nomination = 2, 1
    assert judge(low, high, controlling=False, news=True) is Verdict.SELECT
    assert judge(high, low, controlling=False, news=True) is Verdict.KEEP
    unnominated = valid(pair(port=3, priority=3))
    assert judge(low, unnominated, controlling=False, news=True) is Verdict.SELECT


def test_the_best_alternative_has_answered_lately() -> None:
    current, old, new = (
        valid(pair(priority=3)),
        valid(pair(port=2, priority=2)),
        valid(pair(port=3, priority=1), heard=5.0),
    )
    assert best_alternative([current, old, new], current, 4.0) is new
    assert best_alternative([current, old, new], current, 0.0) is old
    assert best_alternative([current], current, 0.0) is None


def test_backups_are_of_other_links_first() -> None:
    one, other = Base("10.0.0.1", 1), Base("10.0.0.2", 1)
    pairs = [valid(pair(port=port, base=one, priority=9 - port)) for port in range(1, 4)]
    alternative = valid(pair(port=4, base=other, priority=1))
    assert backups([*pairs, alternative], pairs[0], 2) == [pairs[1], alternative]


def test_copies_go_over_a_direct_pair_that_differs_at_both_ends_if_there_is_one() -> None:
    ours, other, relay = Base("10.0.0.1", 1), Base("10.0.0.2", 1), Base("192.0.2.1", 1, relayed=True)
    current = valid(pair(base=ours, priority=9))
    rebound, relayed = valid(pair(port=2, base=ours, priority=8)), valid(pair(base=relay, priority=1))
    one_end, both_ends = valid(pair(base=other, priority=7)), valid(pair(base=other, priority=2))
    both_ends.destination = ("198.51.100.9", 1)
    ranked = [both_ends, one_end, relayed]
    while ranked:
        assert independent_alternative([*reversed(ranked), rebound, current], current, 0.0) is ranked.pop(0)
    assert independent_alternative([rebound, current], current, 0.0) is None
    assert independent_alternative([one_end], current, 99.0) is None
    one_end.unanswered = 1
    assert independent_alternative([one_end, relayed], current, 0.0) is relayed
