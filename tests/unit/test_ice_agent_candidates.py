"""Priorities, foundations and the order of candidates and pairs."""

from __future__ import annotations

import itertools

import pytest

from datachan.ice_agent import (
    ACTIVE,
    HOST,
    PASSIVE,
    PRFLX,
    RELAY,
    SRFLX,
    Base,
    candidate_foundation,
    candidate_priority,
    interleave_families,
    make_candidate,
    pair_priority,
)
from datachan.ice_agent.candidates import peer_reflexive_priority


def test_priority_is_that_of_rfc_8445() -> None:
    assert candidate_priority(HOST) == (126 << 24) + (65535 << 8) + 255
    assert candidate_priority(RELAY, 3) == (65532 << 8) + 255


def test_kinds_are_preferred_in_order_whatever_the_rank() -> None:
    kinds = [HOST, PRFLX, SRFLX, RELAY]
    worst_then_best = [(candidate_priority(kind, 65535), candidate_priority(kind)) for kind in kinds]
    for (worst, _), (_, best_of_next) in itertools.pairwise(worst_then_best):
        assert worst > best_of_next


def test_direct_tcp_is_worse_than_direct_udp_and_better_than_a_relay() -> None:
    active = candidate_priority(HOST, transport="tcp", tcp_type=ACTIVE)
    passive = candidate_priority(HOST, transport="tcp", tcp_type=PASSIVE)
    assert candidate_priority(SRFLX, 65535) > active > passive > candidate_priority(RELAY)


@pytest.mark.parametrize("kind", [HOST, SRFLX, PRFLX, RELAY])
@pytest.mark.parametrize("rank", [0, 1, 65535, 100_000])
def test_priority_fits_31_bits(kind: str, rank: int) -> None:
    for transport, tcp_type in (("udp", None), ("tcp", ACTIVE), ("tcp", PASSIVE)):
        assert 1 <= candidate_priority(kind, rank, transport=transport, tcp_type=tcp_type) < 1 << 31


def test_priority_of_a_check_is_peer_reflexive() -> None:
    assert peer_reflexive_priority(candidate_priority(HOST, 7)) == candidate_priority(PRFLX, 7)
    assert peer_reflexive_priority((1 << 32) - 1) < 1 << 31


def test_pair_priority_is_that_of_rfc_8445() -> None:
    assert pair_priority(100, 200) == (100 << 32) + 400
    assert pair_priority(200, 100) == (100 << 32) + 401


def test_foundations_are_equal_for_the_same_kind_base_server_and_transport() -> None:
    assert candidate_foundation(SRFLX, "udp", "10.0.0.1", "s") == candidate_foundation(SRFLX, "udp", "10.0.0.1", "s")
    assert (
        len(
            {
                candidate_foundation(*parts)
                for parts in (
                    (SRFLX, "udp", "10.0.0.1", "s"),
                    (SRFLX, "udp", "10.0.0.1", "t"),
                    (SRFLX, "udp", "10.0.0.2", "s"),
                    (SRFLX, "tcp", "10.0.0.1", "s"),
                    (RELAY, "udp", "10.0.0.1", "s"),
                )
            }
        )
        == 5
    )


def test_address_families_take_turns() -> None:
    assert interleave_families(["10.0.0.1", "10.0.0.2", "fd00::1", "10.0.0.3"]) == [
        "fd00::1",
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.3",
    ]


def test_candidate_has_the_address_to_signal_and_the_base_it_belongs_to() -> None:
    base = Base("10.0.0.1", 4000)
    ours = make_candidate(SRFLX, ("198.51.100.1", 5000), base, rank=2, related=("10.0.0.1", 4000), server="192.0.2.1")
    assert ours.base is base
    assert (ours.candidate.address, ours.candidate.port, ours.candidate.type) == ("198.51.100.1", 5000, "srflx")
    assert (ours.candidate.related_address, ours.candidate.related_port) == ("10.0.0.1", 4000)
    assert ours.candidate.priority == candidate_priority(SRFLX, 2)


def test_bases_are_told_apart_by_identity() -> None:
    assert Base("10.0.0.1", 4000) != Base("10.0.0.1", 4000)
