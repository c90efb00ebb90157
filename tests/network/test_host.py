"""A simulated process handles its socket and its timers late, as a real one does, and a transfer survives that."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.sim.host import Host, Load
from tests.sim.network import Conditions, Network
from tests.sim.pair import Pair


class Clockwork:
    """A machine with one timer after another, which records when each expired and when each datagram arrived."""

    def __init__(self, *timers: float) -> None:
        self.timers = list(timers)
        self.woken: list[float] = []
        self.batches: list[tuple[float, int]] = []
        self.out: list[bytes] = []

    def receive_datagrams(self, datagrams: Sequence[bytes], now: float) -> None:
        self.batches.append((now, len(datagrams)))

    def handle_timeout(self, now: float) -> None:
        while self.timers and self.timers[0] <= now:
            del self.timers[0]
            self.woken.append(now)

    def next_timeout(self) -> float | None:
        return self.timers[0] if self.timers else None

    def datagrams_to_send(self, now: float) -> list[bytes]:
        out, self.out = self.out, []
        return out

    def events(self) -> list[object]:
        return []


def run(load: Load, *timers: float, datagrams_at: Sequence[float] = (), seed: int = 0) -> Clockwork:
    """Run A for two seconds; datagrams for it arrive at these times."""
    a, z = Clockwork(*timers), Clockwork()
    pair = Pair(a, z, Network(0, Conditions()), hosts=(Host(load, seed), None))
    for arrival in datagrams_at:
        pair.network.to_a.inject(b"datagram", arrival)
    pair.run(2.0)
    return a


def test_a_timer_expires_at_the_next_whole_tick_after_the_process_fell_asleep() -> None:
    a = run(Load(tick=0.001, per_turn=0.0002), 0.0103, 0.0104, 0.0105)

    # The process wakes at 11 ms and is done 0.2 ms later: the first turn handles all three timers that are due.
    assert a.woken == pytest.approx([0.011] * 3)

    a = run(Load(tick=0.001, per_turn=0.0002), 0.0103, 0.0150)
    assert a.woken == pytest.approx([0.011, 0.0152])


def test_without_ticks_timers_expire_on_time() -> None:
    assert run(Load(tick=0.0), 0.0103, 0.0150).woken == [0.0103, 0.0150]


def test_datagrams_that_arrive_while_the_process_works_are_received_in_one_batch() -> None:
    load = Load(per_turn=0.0005, per_datagram=0.0001)
    a = run(load, datagrams_at=[0.0100, 0.0102, 0.0104, 0.0200])

    # The first datagram takes 0.6 ms; the two that arrive meanwhile are received together.
    assert [count for _, count in a.batches] == [1, 2, 1]
    assert [moment for moment, _ in a.batches] == pytest.approx([0.0100, 0.0106, 0.0200])


def test_an_arrival_wakes_a_process_that_then_handles_its_timer_too() -> None:
    a = run(Load(tick=0.001, per_turn=0.0), 0.0103, datagrams_at=[0.0105])

    assert a.batches == [(0.0105, 1)]
    assert a.woken == [0.0105]


def test_stalls_are_as_long_and_as_frequent_as_configured() -> None:
    load = Load(tick=0.0, per_turn=0.0, per_datagram=0.0, stall_every=0.02, stall=0.005)
    moments = [number / 10_000 for number in range(10_000)]
    a = run(load, datagrams_at=moments, seed=3)

    late = [count for _, count in a.batches if count > 5]
    assert sum(count for _, count in a.batches) == len(moments)
    # About a fifth of the time; some stalls are too short to be seen.
    assert 0.1 < sum(late) / len(moments) < 0.35
    assert 20 < len(late) < 60
    again = run(load, datagrams_at=moments, seed=3)
    assert again.batches == a.batches, "the same seed stalls alike"
