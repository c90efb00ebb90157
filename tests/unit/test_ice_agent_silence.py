"""How soon the pair in use is doubted and left."""

from __future__ import annotations

import pytest

from datachan.ice_agent import HOST, AgentOptions, Base, CandidatePair, make_candidate
from datachan.ice_agent.pairs import NEVER
from datachan.ice_agent.silence import SilenceWatch

ROUND_TRIP = 0.04


def answered_pair() -> CandidatePair:
    base = Base("198.51.100.1", 5000)
    ours = make_candidate(HOST, ("198.51.100.1", 5000), base)
    theirs = make_candidate(HOST, ("198.51.100.2", 5000), Base("198.51.100.2", 5000))
    pair = CandidatePair(ours, theirs.candidate, ("198.51.100.2", 5000))
    pair.note_answer(0.0, ROUND_TRIP)
    return pair


def test_data_without_an_answer_is_doubted_after_one_and_a_half_round_trips_and_the_delay_of_a_sack() -> None:
    watch, pair = SilenceWatch(AgentOptions()), answered_pair()
    watch.note_sending(1.0, pair)
    assert watch.sending_deadline(pair) == pytest.approx(1.11)
    assert not watch.doubts_sending(pair, 1.1)
    assert watch.doubts_sending(pair, 1.12)
    assert watch.sending_deadline(pair) == NEVER


def test_data_that_was_answered_is_watched_anew_with_the_next_data() -> None:
    watch, pair = SilenceWatch(AgentOptions()), answered_pair()
    watch.note_sending(1.0, pair)
    assert not watch.was_answered(pair, 1.12)
    pair.heard_at = 1.05
    assert not watch.was_answered(pair, 1.1)
    assert watch.was_answered(pair, 1.12)
    assert watch.watches_sending
    assert watch.sending_deadline(pair) == NEVER
    watch.note_sending(1.2, pair)
    assert watch.sending_deadline(pair) == pytest.approx(1.31)


@pytest.mark.parametrize(("heard_at", "deadline"), [(1.02, 1.18), (1.1, 1.21)])
def test_in_a_stream_silence_counts_from_the_latest_sign_of_life_at_most_half_a_period_ago(
    heard_at: float, deadline: float
) -> None:
    watch, pair = SilenceWatch(AgentOptions()), answered_pair()
    watch.note_sending(1.0, pair)
    pair.heard_at = heard_at
    assert watch.was_answered(pair, 1.12)
    watch.note_sending(1.125, pair)
    assert watch.sending_deadline(pair) == pytest.approx(deadline, abs=0.001)


@pytest.mark.parametrize(("round_trip", "silence"), [(0.04, 0.07), (0.001, 0.05), (0.2, 0.27)])
def test_with_an_alternative_an_answer_is_missed_after_a_quarter_of_a_round_trip_and_a_message_of_a_stream(
    round_trip: float, silence: float
) -> None:
    watch, pair = SilenceWatch(AgentOptions()), answered_pair()
    watch.has_alternative, pair.round_trip_time = True, round_trip
    watch.note_sending(1.0, pair)
    assert watch.sending_deadline(pair) == pytest.approx(1.0 + silence)


def test_after_data_went_unanswered_a_pair_is_dead_when_four_checks_in_two_round_trips_are() -> None:
    watch, pair = SilenceWatch(AgentOptions()), answered_pair()
    watch.note_sending(1.0, pair)
    assert watch.probe_interval(pair) == 0.03
    assert watch.doubts_sending(pair, 1.12)
    assert watch.probe_interval(pair) == 0.01
    unanswered(pair, 4, 1.12)
    assert not watch.is_dead(pair, 1.19, controlling=True, rebound=False)
    assert watch.is_dead(pair, 1.21, controlling=True, rebound=False)
    unanswered(pair, 3, 1.12)
    assert not watch.is_dead(pair, 1.21, controlling=True, rebound=False)


def test_answered_periods_take_back_what_earlier_doubts_have_added() -> None:
    watch, pair = SilenceWatch(AgentOptions()), answered_pair()
    watch.note_sending(1.0, pair)
    assert watch.doubts_sending(pair, 1.12)
    watch.note_answer(pair, pair, 1.16)
    for period in range(2, 10):
        watch.note_sending(period, pair)
        assert watch.sending_deadline(pair) == pytest.approx(period + 0.11 * max(1.0, 2 * 0.9 ** (period - 2)))
        pair.heard_at = period + 0.04
        assert watch.was_answered(pair, period + 0.25)


def test_on_a_short_path_doubt_takes_a_tenth_of_a_second() -> None:
    watch, pair = SilenceWatch(AgentOptions()), answered_pair()
    pair.round_trip_time = 0.001
    watch.note_sending(1.0, pair)
    assert watch.sending_deadline(pair) == pytest.approx(1.1)


def test_an_unmeasured_pair_has_the_longest_time() -> None:
    watch, pair = SilenceWatch(AgentOptions()), answered_pair()
    pair.round_trip_time = None
    watch.note_sending(1.0, pair)
    assert watch.sending_deadline(pair) == 1.5
    assert watch.doubt_time(pair) == 1.0


def test_a_peer_that_acknowledges_late_is_doubted_less_and_less_often() -> None:
    watch, pair = SilenceWatch(AgentOptions()), answered_pair()
    times, now = [], 1.0
    for _ in range(6):
        watch.note_sending(now, pair)
        deadline = watch.sending_deadline(pair)
        times.append(deadline - now)
        assert watch.doubts_sending(pair, deadline)
        now = deadline + ROUND_TRIP + 0.01
        pair.note_answer(deadline, now - 0.01)
        watch.note_answer(pair, pair, now)
    assert times == pytest.approx([0.11, 0.22, 0.44, 0.5, 0.5, 0.5])


def unanswered(pair: CandidatePair, count: int, since: float) -> None:
    pair.unanswered, pair.first_unanswered = count, since


def test_a_pair_is_dead_when_the_answer_to_the_fourth_check_is_overdue() -> None:
    watch, pair = SilenceWatch(AgentOptions()), answered_pair()
    unanswered(pair, 4, 1.0)
    assert not watch.is_dead(pair, 1.13, controlling=True, rebound=False)
    assert watch.is_dead(pair, 1.15, controlling=True, rebound=False)
    assert not watch.is_dead(pair, 1.15, controlling=False, rebound=False)
    unanswered(pair, 8, 1.0)
    assert watch.is_dead(pair, 1.29, controlling=False, rebound=False)
    pair.heard_at = 1.45
    assert not watch.is_dead(pair, 1.5, controlling=True, rebound=False), "its data still arrives"
    assert watch.is_dead(pair, 1.6, controlling=True, rebound=False), "its data has arrived before the path died"
    assert watch.is_dead(pair, 6.1, controlling=True, rebound=False)


def test_one_lost_check_is_enough_when_the_peer_answers_at_another_port() -> None:
    watch, pair = SilenceWatch(AgentOptions()), answered_pair()
    unanswered(pair, 1, 1.0)
    assert not watch.is_dead(pair, 1.04, controlling=False, rebound=True)
    assert watch.is_dead(pair, 1.06, controlling=False, rebound=True)


def test_a_pair_that_was_left_too_soon_is_left_later_next_time() -> None:
    watch, pair, other = SilenceWatch(AgentOptions()), answered_pair(), answered_pair()
    times = []
    for moment in range(1, 9):
        times.append(watch.doubt_time(pair))
        watch.note_move(pair, float(moment), dead=True)
        watch.note_answer(pair, other, moment + 0.5)
    assert times == pytest.approx([0.14, 0.28, 0.56, 1.0, 1.0, 1.0, 1.0, 1.0])
    watch.note_move(pair, 100.0, dead=True)
    assert watch.doubt_time(pair) == pytest.approx(0.14)
