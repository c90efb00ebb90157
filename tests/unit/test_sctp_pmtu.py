"""The search for the largest packet, without a network: which sizes are probed, when, and the effect of the answers."""

from __future__ import annotations

import pytest

from datachan.sctp.records.pmtu import (
    BASE,
    CONFIRMING,
    DISABLED,
    MAX_PROBES,
    PMTU_RAISE_TIMER,
    SEARCH_COMPLETE,
    SEARCHING,
    PathMtu,
)

OVERHEAD = 28
ETHERNET = 1500 - OVERHEAD
RTO = 0.4


class Road:
    """A path that carries packets up to a size, with a round trip of 10 ms, and the search on it."""

    def __init__(self, takes: int, *, maximum: int = 16384, base: int = 1200) -> None:
        self.takes = takes
        self.now = 0.0
        self.pmtu = PathMtu(base, maximum, OVERHEAD)
        self.probed: list[int] = []
        self.times: list[float] = []

    def search(self) -> int:
        """Send a full packet, then answer probes until there are no more."""
        self.pmtu.start_search(self.now)
        self.answer()
        return self.pmtu.size

    def answer(self) -> None:
        pmtu = self.pmtu
        while pmtu.due or (pmtu.timer.expires_at is not None and pmtu.state in (SEARCHING, CONFIRMING)):
            if pmtu.due:
                nonce = len(self.probed).to_bytes(8, "big")
                self.probed.append(pmtu.probe_size)
                self.times.append(self.now)
                pmtu.probe_sent(nonce, RTO, self.now)
                if self.probed[-1] <= self.takes:
                    self.now += 0.01
                    assert pmtu.probe_acknowledged(nonce, self.now)
                    continue
            self.expire()

    def expire(self) -> None:
        expires_at = self.pmtu.timer.expires_at
        assert expires_at is not None
        self.now = expires_at
        self.pmtu.handle_timeout(self.now)


def test_begins_at_the_base_size_without_a_probe() -> None:
    pmtu = PathMtu(1200, 16384, OVERHEAD)
    assert (pmtu.size, pmtu.state, pmtu.waiting, pmtu.due) == (1200, BASE, True, False)
    assert pmtu.timer.expires_at is None


@pytest.mark.parametrize("maximum", [0, 1199, 1200])
def test_does_not_search_if_the_limit_is_the_base_size(maximum: int) -> None:
    road = Road(9000, maximum=maximum)
    assert road.search() == 1200
    road.pmtu.peer_searches(0.0)
    road.pmtu.data_timed_out()
    road.pmtu.data_timed_out()
    road.pmtu.check_size(1200, 5.0)
    road.pmtu.packet_refused(1200, 5.0)
    assert (road.pmtu.state, road.probed, road.pmtu.dont_fragment) == (DISABLED, [], False)


def test_one_probe_is_enough_if_the_system_reports_the_mtu() -> None:
    road = Road(ETHERNET, maximum=ETHERNET)
    assert road.search() == ETHERNET
    assert road.probed == [ETHERNET]
    assert road.pmtu.timer.expires_at is None  # the maximum is reached: no later search


def test_probes_ethernet_sizes_until_the_peer_has_shown_that_it_accepts_more() -> None:
    road = Road(16384)
    assert road.search() == ETHERNET
    assert max(road.probed) == ETHERNET
    road.pmtu.peer_searches(road.now)
    road.answer()
    assert road.pmtu.size == 16384
    assert road.probed == [ETHERNET, 16384]


def test_a_probe_of_the_peer_starts_the_search() -> None:
    road = Road(16384)
    road.pmtu.peer_searches(road.now)
    road.answer()
    assert (road.pmtu.size, road.probed) == (16384, [16384])


@pytest.mark.parametrize("mtu", [1280, 1340, 1400, 1420, 1480, 1492, 1500, 4464, 9000, 9216, 16384 + OVERHEAD])
def test_finds_every_usual_mtu_exactly(mtu: int) -> None:
    road = Road(mtu - OVERHEAD)
    road.pmtu.peer_searches(road.now)
    road.answer()
    assert road.pmtu.size == mtu - OVERHEAD
    assert road.probed[1:] == sorted(road.probed[1:])


@pytest.mark.parametrize("mtu", [1229, 1300, 1439, 1499, 3000, 8999])
def test_finds_the_largest_usual_size_below_an_odd_mtu(mtu: int) -> None:
    road = Road(mtu - OVERHEAD)
    road.pmtu.peer_searches(road.now)
    road.answer()
    assert 0.66 * mtu - OVERHEAD <= road.pmtu.size <= mtu - OVERHEAD


def test_gives_up_after_a_number_of_lost_probes_of_any_size() -> None:
    road = Road(1200)
    assert road.search() == 1200
    assert (len(road.probed), road.pmtu.state) == (MAX_PROBES, SEARCH_COMPLETE)
    assert road.probed[0] == ETHERNET
    assert set(road.probed[1:]) == {1280 - OVERHEAD}


def test_lost_probes_are_at_least_a_second_apart() -> None:
    road = Road(1200)
    road.search()
    assert road.times == [0.0, 1.0, 2.0, 3.0]


def test_a_single_lost_probe_does_not_rule_out_its_size() -> None:
    road = Road(0)
    road.pmtu.start_search(0.0)
    road.pmtu.probe_sent(b"lost", RTO, 0.0)
    road.takes = ETHERNET
    road.answer()
    assert road.pmtu.size == ETHERNET


def test_the_answer_to_another_probe_is_ignored() -> None:
    pmtu = PathMtu(1200, 16384, OVERHEAD)
    assert not pmtu.probe_acknowledged(b"", 0.0)
    pmtu.start_search(0.0)
    pmtu.probe_sent(b"one", RTO, 0.0)
    assert not pmtu.probe_acknowledged(b"two", 0.1)
    assert not pmtu.probe_acknowledged(b"", 0.1)
    pmtu.handle_timeout(1.0)
    assert not pmtu.probe_acknowledged(b"one", 1.1)  # too late: that probe counts as lost
    assert pmtu.size == 1200


def test_searches_again_after_ten_minutes_but_only_when_there_is_data() -> None:
    road = Road(1420 - OVERHEAD)
    road.search()
    probes = len(road.probed)
    road.takes = ETHERNET
    road.pmtu.start_search(road.now + 1)
    assert not road.pmtu.due
    finished = road.now
    road.expire()
    assert road.now == finished + PMTU_RAISE_TIMER
    assert not road.pmtu.due
    assert road.pmtu.timer.expires_at is None
    assert road.search() == ETHERNET
    assert road.probed[probes:] == [ETHERNET]


def test_an_acknowledgment_resets_the_count_of_timeouts() -> None:
    road = Road(ETHERNET)
    road.search()
    for _ in range(5):
        road.pmtu.data_timed_out()
        road.pmtu.data_acknowledged()
    assert road.pmtu.size == ETHERNET


def test_two_timeouts_in_a_row_are_a_black_hole() -> None:
    road = Road(ETHERNET)
    road.search()
    road.pmtu.data_timed_out()
    assert road.pmtu.size == ETHERNET
    road.pmtu.data_timed_out()
    assert (road.pmtu.size, road.pmtu.state) == (1200, BASE)


def test_timeouts_at_the_base_size_are_no_black_hole() -> None:
    road = Road(1200)
    road.search()
    for _ in range(4):
        road.pmtu.data_timed_out()
    assert (road.pmtu.size, road.pmtu.state) == (1200, SEARCH_COMPLETE)


def test_does_not_search_while_chunks_that_are_too_long_are_outstanding() -> None:
    road = Road(ETHERNET)
    road.search()
    road.pmtu.data_timed_out()
    road.pmtu.data_timed_out()
    road.pmtu.held = True
    road.pmtu.start_search(road.now)
    assert not road.pmtu.due
    assert not road.pmtu.dont_fragment
    road.pmtu.held = False
    assert road.search() == ETHERNET


def test_a_size_at_which_only_probes_arrive_is_tried_twice_at_most() -> None:
    road = Road(ETHERNET)
    for _ in range(2):
        assert road.search() == ETHERNET
        road.pmtu.data_timed_out()
        road.pmtu.data_timed_out()
    assert road.search() == 1492 - OVERHEAD
    road.expire()
    assert road.search() == ETHERNET


@pytest.mark.parametrize(("takes", "left"), [(ETHERNET, ETHERNET), (1200, 1200)])
def test_a_suspected_black_hole_is_checked_with_a_probe_of_the_current_size(takes: int, left: int) -> None:
    road = Road(ETHERNET)
    road.search()
    road.now += 5
    road.takes = takes
    before = len(road.probed)
    road.pmtu.check_size(ETHERNET, road.now)
    assert road.pmtu.state == CONFIRMING
    road.answer()
    assert road.pmtu.size == left
    assert road.probed[before:] == [ETHERNET] * (1 if left == ETHERNET else MAX_PROBES)


def test_lost_short_packets_do_not_suggest_a_black_hole() -> None:
    road = Road(ETHERNET)
    road.search()
    road.pmtu.check_size(1200, road.now + 5)
    assert not road.pmtu.due


def test_a_size_that_the_system_refuses_is_not_probed_again() -> None:
    road = Road(1420 - OVERHEAD, maximum=ETHERNET)
    road.pmtu.start_search(0.0)
    while road.pmtu.due and road.pmtu.probe_size > road.takes:
        road.pmtu.probe_sent(b"refused", RTO, 0.0)
        road.pmtu.packet_refused(road.pmtu.probe_size, 0.0)
    road.answer()
    assert road.pmtu.size == 1420 - OVERHEAD
    assert road.now < 1.0  # without a single timeout


def test_the_mtu_that_the_system_reports_is_probed_next() -> None:
    pmtu = PathMtu(1200, 16384, OVERHEAD)
    pmtu.peer_searches(0.0)
    assert (pmtu.due, pmtu.probe_size) == (True, 16384)
    pmtu.probe_sent(bytes(8), RTO, 0.0)
    pmtu.packet_refused(16384, 0.0, 9301)
    assert (pmtu.due, pmtu.probe_size) == (True, 9300)
    pmtu.probe_sent(bytes(8), RTO, 0.0)
    assert pmtu.probe_acknowledged(bytes(8), 0.01)
    assert (pmtu.size, pmtu.state) == (9300, SEARCH_COMPLETE)


@pytest.mark.parametrize("link", [0, 16384, 20000])
def test_an_impossible_mtu_reported_by_the_system_is_ignored(link: int) -> None:
    pmtu = PathMtu(1200, 16384, OVERHEAD)
    pmtu.peer_searches(0.0)
    pmtu.probe_sent(bytes(8), RTO, 0.0)
    pmtu.packet_refused(16384, 0.0, link)
    assert (pmtu.due, pmtu.probe_size) == (True, 12288 - OVERHEAD)


def test_a_refusal_of_the_current_size_resets_it_to_the_base() -> None:
    road = Road(ETHERNET)
    road.search()
    road.pmtu.packet_refused(1100, road.now)
    assert road.pmtu.size == ETHERNET
    road.pmtu.packet_refused(ETHERNET - 4, road.now)
    assert road.pmtu.size == 1200


def test_dont_fragment_is_set_while_probing_and_above_the_base() -> None:
    road = Road(ETHERNET)
    assert not road.pmtu.dont_fragment
    road.pmtu.start_search(0.0)
    road.pmtu.probe_sent(b"probe", RTO, 0.0)
    assert road.pmtu.dont_fragment
    road.pmtu.probe_acknowledged(b"probe", 0.1)
    assert road.pmtu.dont_fragment
    road.pmtu.held = True
    assert not road.pmtu.dont_fragment


def test_a_path_change_resets_the_size_to_the_base() -> None:
    road = Road(ETHERNET)
    road.search()
    road.pmtu.reset(1400, 48)
    assert (road.pmtu.size, road.pmtu.state, road.pmtu.timer.expires_at) == (1200, BASE, None)
    assert road.search() == 1400
