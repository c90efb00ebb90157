"""The driver keeps the contract of the machines: batches, timers, and a clock that jumps."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.sim.network import Conditions, Network
from tests.sim.pair import Pair, Stuck


class Metronome:
    """A machine that sends a numbered datagram every `period` seconds and reports the datagrams it receives."""

    def __init__(self, period: float, count: int) -> None:
        self.period = period
        self.left = count
        self.next: float | None = period if count else None
        self.out: list[bytes] = []
        self.reported: list[object] = []
        self.late = 0.0

    def receive_datagrams(self, datagrams: Sequence[bytes], now: float) -> None:
        self.reported.extend((now, datagram) for datagram in datagrams)

    def handle_timeout(self, now: float) -> None:
        if self.next is None:
            return
        self.late = max(self.late, now - self.next)
        self.out.append(self.left.to_bytes(2, "big"))
        self.left -= 1
        self.next = self.next + self.period if self.left else None

    def next_timeout(self) -> float | None:
        return self.next

    def datagrams_to_send(self, now: float) -> list[bytes]:
        out, self.out = self.out, []
        return out

    def events(self) -> list[object]:
        reported, self.reported = self.reported, []
        return reported


class Babbler(Metronome):
    """A machine that always has something to send."""

    def datagrams_to_send(self, now: float) -> list[bytes]:
        return [b"bla"]


def test_an_hour_passes_at_once_and_every_wakeup_is_on_time() -> None:
    a, z = Metronome(60.0, 60), Metronome(90.0, 40)
    pair = Pair(a, z, Network(0, Conditions(latency=0.25)))
    pair.run_until_idle(3601.0)
    assert pair.now == pytest.approx(3600.25)
    assert len(pair.z.events) == 60
    assert len(pair.a.events) == 40
    assert pair.z.events[0] == (60.25, (60).to_bytes(2, "big"))
    assert a.late == z.late == 0.0


def test_running_for_a_while_ends_on_time_and_leaves_the_rest() -> None:
    pair = Pair(Metronome(1.0, 5), Metronome(1.0, 0))
    pair.run(2.5)
    assert pair.now == 2.5
    assert len(pair.z.events) == 2
    pair.run(10)
    assert len(pair.z.events) == 5
    assert pair.now == 12.5


def test_runs_until_a_condition_holds() -> None:
    pair = Pair(Metronome(1.0, 5), Metronome(1.0, 0), Network(0, Conditions(latency=0.0)))
    pair.run_until(lambda: len(pair.z.events) == 3)
    assert pair.now == 3.0


def test_complains_with_seed_and_packets_when_the_condition_never_holds() -> None:
    pair = Pair(Metronome(1.0, 5), Metronome(1.0, 0), Network(4711))
    with pytest.raises(Stuck, match=r"seed 4711[\s\S]*A -> Z 0001"):
        pair.run_until(lambda: len(pair.z.events) == 6)


def test_complains_when_the_condition_takes_too_long() -> None:
    pair = Pair(Metronome(1.0, 50), Metronome(1.0, 0))
    with pytest.raises(Stuck, match="within 10"):
        pair.run_until(lambda: len(pair.z.events) == 20, limit=10.0)
    assert pair.now == 10.0


def test_complains_about_a_machine_that_always_asks_to_be_woken_at_once() -> None:
    pair = Pair(Metronome(0.0, 60_000), Metronome(1.0, 0))
    with pytest.raises(Stuck, match="clock"):
        pair.run(1.0)


def test_complains_about_a_machine_that_never_stops_sending() -> None:
    pair = Pair(Babbler(1.0, 0), Metronome(1.0, 0))
    with pytest.raises(Stuck, match="A always has something to send"):
        pair.run(1.0)


def test_datagrams_that_arrive_together_come_as_one_batch() -> None:
    batches = []

    class Listener(Metronome):
        def receive_datagrams(self, datagrams: Sequence[bytes], now: float) -> None:
            batches.append(list(datagrams))

    sender = Metronome(1.0, 0)
    sender.out = [b"one", b"two", b"three"]
    Pair(sender, Listener(1.0, 0)).run_until_idle()
    assert batches == [[b"one", b"two", b"three"]]


def test_an_event_may_be_answered_at_once() -> None:
    a, z = Metronome(1.0, 1), Metronome(1.0, 0)
    pair = Pair(a, z, Network(0, Conditions(latency=0.5)))
    pair.z.on_event = lambda event, now: z.out.append(b"answer")
    pair.run_until_idle()
    assert pair.a.of(tuple) == [(2.0, b"answer")]
    assert pair.a.of(str) == []


def test_the_clock_may_begin_anywhere() -> None:
    sender = Metronome(1.0, 1)
    sender.next = 1e9 + 1
    pair = Pair(sender, Metronome(1.0, 0), now=1e9)
    pair.run_until(lambda: bool(pair.z.events))
    assert pair.now == pytest.approx(1e9 + 1.01)
