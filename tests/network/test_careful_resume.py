"""A transfer over a known path starts faster, retreats safely where the path has changed, and harms no other flow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from datachan.sctp import PathHistory
from datachan.sctp.events import MessageReceived
from tests.sim.crowd import Crowd
from tests.sim.known_path import NAME, known, slowed, transfer
from tests.sim.links import DEFAULT, Bulk, channel_association, conditions
from tests.sim.multihomed import MultiHomedPair, address
from tests.sim.network import Conditions, Network

MB = 1_000_000
WAN = conditions("wan")
CARRIED = 500_000
"""The bytes that wan carries within a round trip."""


@pytest.mark.parametrize(
    ("row", "control", "size", "factor"),
    [
        pytest.param("wan", DEFAULT, MB, 1.35, id="1 MB over wan"),
        pytest.param("wan", DEFAULT, 10 * MB, 1.05, id="10 MB over wan"),
        pytest.param("wan", "cubic", MB, 2.2, id="1 MB over wan with cubic"),
        pytest.param("wan", "cubic", 10 * MB, 1.15, id="10 MB over wan with cubic"),
        pytest.param("lossy", DEFAULT, MB, 1.25, id="1 MB over lossy"),
        pytest.param("far", DEFAULT, MB, 1.8, id="1 MB over far"),
    ],
)
def test_a_second_transfer_is_faster(row: str, control: str, size: int, factor: float) -> None:
    first = transfer(size, conditions(row), PathHistory(), control)
    second = transfer(size, conditions(row), known(row, control), control)
    assert first.seconds / second.seconds > factor, f"{first.seconds:.3f} s, then {second.seconds:.3f} s"


@pytest.mark.parametrize("control", [DEFAULT, "cubic", "newreno"])
@pytest.mark.parametrize("queue", [500_000, 125_000, 50_000, 20_000])
def test_a_path_whose_rate_fell_to_a_tenth_loses_little_more_than_the_jump(control: str, queue: int) -> None:
    way = slowed(WAN, 10.0, queue)
    history = PathHistory()
    history.record(NAME, CARRIED, 2 * WAN.latency, 0.0)
    usual = transfer(4 * MB, way, None, control)
    resumed = transfer(4 * MB, way, history, control)
    # The jump is half of what the path carried, in packets of 1200 bytes. Some retransmissions meet the same queue.
    assert resumed.lost - usual.lost < 1.3 * CARRIED / 2 / 1200, f"{resumed.lost} lost instead of {usual.lost}"
    assert resumed.seconds < 1.15 * usual.seconds
    saved = history.get(NAME, 60.0)
    # The next transfer knows what the path carries now.
    assert saved is not None
    assert saved.cwnd < 0.15 * CARRIED


def test_a_jump_leaves_at_the_pace_of_one_window_per_round_trip() -> None:
    history = PathHistory()
    history.record(NAME, CARRIED, 2 * WAN.latency, 0.0)
    result = transfer(MB, replace(WAN, rate=100 * WAN.rate), history)
    passages = [one for one in result.pair.network.to_z.passages if len(one.datagram) > 1000]
    begin = passages[0].time
    pace = CARRIED / 2 / (2 * WAN.latency)
    # The pacer lets two milliseconds leave at once, and the initial window was not spent.
    for moment in (0.005, 0.01, 0.02, 0.03, 0.039):
        sent = sum(len(one.datagram) for one in passages if one.time <= begin + moment)
        assert sent < pace * (moment + 0.004) + 12_000, f"{sent} bytes after {moment} s"


@pytest.mark.parametrize("other", [DEFAULT, "cubic", "newreno"])
def test_a_jump_takes_no_more_from_another_flow_than_slow_start_does(other: str) -> None:
    way = Conditions(latency=0.02, rate=20e6 / 8, queue=100_000)
    usual, resumed = (_goodput_of_other(way, other, resumes=resumes) for resumes in (False, True))
    # In the two seconds after the start, in which an equal share is half.
    assert resumed > 0.4
    assert resumed > 0.85 * usual, f"{resumed:.2f} of the link instead of {usual:.2f}"


def _goodput_of_other(way: Conditions, other: str, *, resumes: bool) -> float:
    """Return the share of the link that a flow has in the two seconds after another one starts."""
    history = PathHistory()
    if resumes:
        history.record(NAME, int(way.rate * 2 * way.latency), 2 * way.latency, 0.0)
    machines = [
        (channel_association(1, other), channel_association(2, other)),
        (channel_association(3, path_history=history, path_name=NAME), channel_association(4)),
    ]
    crowd = Crowd(machines, Network(5, way, way))
    first = Bulk(crowd.pairs[0])
    crowd.run(5.0)
    before = first.received
    Bulk(crowd.pairs[1])
    crowd.run(2.0)
    return (first.received - before) / 2.0 / way.rate


@pytest.mark.parametrize("saved_round_trip", [0.5, 0.09, 0.003])
def test_another_round_trip_is_another_path(saved_round_trip: float) -> None:
    history = PathHistory()
    history.record(NAME, CARRIED, saved_round_trip, 0.0)
    assert transfer(MB, WAN, history).seconds == transfer(MB, WAN, None).seconds


def test_a_path_between_other_addresses_is_another_path() -> None:
    history = PathHistory()
    history.record((NAME[0], "192.0.2.99"), CARRIED, 2 * WAN.latency, 0.0)
    history.record(("192.0.2.98", NAME[1]), CARRIED, 2 * WAN.latency, 0.0)
    assert transfer(MB, WAN, history).seconds == transfer(MB, WAN, None).seconds


def test_nothing_is_used_after_an_hour() -> None:
    history = PathHistory()
    history.record(NAME, CARRIED, 2 * WAN.latency, 0.0)
    late = transfer(MB, WAN, history, start=3601.0)
    assert late.seconds == pytest.approx(transfer(MB, WAN, None, start=3601.0).seconds, abs=1e-6)


def test_a_new_path_of_the_lower_layer_is_known_by_its_own_name() -> None:
    history = PathHistory()
    history.record(NAME, CARRIED, 2 * WAN.latency, 0.0)
    a = channel_association(1, path_history=history, path_name=("192.0.2.1", "192.0.2.77"))
    crowd = Crowd([(a, channel_association(2))], Network(5, WAN, WAN))
    bulk = Bulk(crowd.pairs[0], total=1)
    crowd.run(0.5)
    a.path_changed(crowd.now, name=NAME)
    bulk.add(1)
    crowd.run(0.5)
    bulk.add(MB)
    crowd.run(0.001)
    assert a.stats().cwnd == CARRIED // 2
    a.path_changed(crowd.now)
    assert a.stats().cwnd < 20_000


def test_sockets_know_paths_by_the_peers_address() -> None:
    history = PathHistory()
    first, second = _seconds_over_sockets(history), _seconds_over_sockets(history)
    assert history.get((address(0, 1)[0], address(0, 2)[0]), 0.0) is not None
    assert first > 1.5 * second


def _seconds_over_sockets(history: PathHistory) -> float:
    """Return the duration of 1 MB between endpoints with addresses, after a first message."""
    pair = MultiHomedPair([WAN], a_options={"path_history": history, "max_burst": 16, "slow_start_limit": 8})
    pair.connect()
    pair.a.machine.send(0, b"hello", ppid=0, now=pair.now)
    pair.run(1.0)
    began = pair.now
    pair.a.machine.send(0, bytes(MB), ppid=0, now=pair.now)
    pair.run_until(lambda: len(pair.z.of(MessageReceived)) == 2, limit=60.0)
    return pair.now - began
