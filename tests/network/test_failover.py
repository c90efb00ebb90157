"""The primary path fails under load, for good or for a while: delivery, the length of the gap, and the path used."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest

from datachan.sctp.events import AssociationLost, MessageReceived, PathStatus, StreamProgress
from datachan.sctp.stats import PathState
from tests.sim.associations import Traffic, check_books, consume
from tests.sim.multihomed import MultiHomedPair, address
from tests.sim.network import Conditions
from tests.sim.seeds import seeds

RATE = 2e5
WAYS = tuple([Conditions(latency=latency, rate=RATE, queue=20_000) for latency in (0.01, 0.02, 0.04)])
QUICK: dict[str, Any] = {"potentially_failed_max_retrans": 0, "rto_min": 0.3}
SIZE = 8_000


class Load:
    """An endless transfer from A to Z, whose application reads at once.

    Attributes:
        arrivals: when each message arrived.
    """

    def __init__(self, pair: MultiHomedPair) -> None:
        self.pair = pair
        self.arrivals: list[float] = []
        self.traffic = Traffic(pair.a, pair.z, random.Random(pair.seed))  # type: ignore[arg-type]
        self.sending = True
        pair.a.on_event = self._at_a
        pair.z.on_event = self._at_z

    def start(self) -> None:
        while self.sending and self.pair.a.machine.buffered_amount(0) < 10 * SIZE:
            self.traffic.send(self.pair.now, SIZE)

    def end(self) -> None:
        """Stop sending and wait until everything has arrived."""
        self.sending = False
        self.pair.run_until(self.traffic.has_arrived, 300)
        self.traffic.check_finished()

    def longest_silence(self, since: float) -> float:
        """Return the seconds of the longest gap between arrivals from that moment on."""
        moments = [since, *[moment for moment in self.arrivals if moment > since]]
        return max(later - earlier for earlier, later in pairwise(moments))

    def _at_a(self, event: Any, now: float) -> None:
        if isinstance(event, StreamProgress):
            self.start()

    def _at_z(self, event: Any, now: float) -> None:
        if isinstance(event, MessageReceived):
            self.arrivals.append(now)
            self.pair.z.machine.message_consumed(len(event.data), now)


def loaded(**options: Any) -> tuple[MultiHomedPair, Load]:
    """Return a pair with three verified paths and a transfer that has run for two seconds."""
    pair = MultiHomedPair(WAYS, seed=7, **options)
    pair.connect()
    pair.run_until(
        lambda: all(len(peer.machine.stats().paths) == 3 and verified(peer.machine) for peer in (pair.a, pair.z)), 30
    )
    load = Load(pair)
    load.start()
    pair.run(2)
    return pair, load


def verified(machine: Any) -> bool:
    return all(path.state is PathState.ACTIVE for path in machine.stats().paths)


def test_with_quick_failover_the_transfer_goes_on_within_a_second() -> None:
    pair, load = loaded(**QUICK)
    cut = pair.now
    pair.cut(0)
    pair.run(10)
    assert load.longest_silence(cut) < 1.0
    assert pair.a.statuses(0) == [PathStatus.POTENTIALLY_FAILED]
    # At its full speed, too.
    came = len([moment for moment in load.arrivals if moment > pair.now - 5])
    assert came * SIZE / 5 > 0.8 * RATE
    load.end()


def test_with_rfc_timers_failover_is_in_time_and_loses_nothing() -> None:
    # RTO.Min 1 s, doubled after each of Path.Max.Retrans + 1 timeouts: 1 + 2 + 4 + 8 + 16 + 32 s, and not much more.
    pair, load = loaded()
    cut = pair.now
    pair.cut(0)
    pair.run_until(lambda: PathStatus.UNREACHABLE in pair.a.statuses(0), 80)
    assert pair.now - cut < 70
    given_up = pair.now
    pair.run(5)
    assert len([moment for moment in load.arrivals if moment > given_up]) * SIZE / 5 > 0.8 * RATE
    # Before that, each chunk that timed out was retransmitted on another path.
    assert [moment for moment in load.arrivals if cut + 1 < moment < given_up]
    load.end()


def test_the_transfer_returns_to_the_primary_path_once_it_works_again() -> None:
    pair, load = loaded(**QUICK, heartbeat_interval=1.0)
    pair.cut(0)
    pair.run(10)
    pair.mend(0)
    pair.run_until(lambda: pair.a.statuses(0)[-1] is PathStatus.AVAILABLE, 60)
    pair.run(5)
    assert pair.a.machine.stats().paths[0].current
    sent = [path for time, path in pair.a.sent if time > pair.now - 2]
    assert sent.count(0) > 0.9 * len(sent)
    load.end()


def test_the_next_path_takes_over_when_the_second_fails_too() -> None:
    pair, load = loaded(**QUICK)
    pair.cut(0)
    pair.run(3)
    second = pair.now
    pair.cut(1)
    pair.run(5)
    assert load.longest_silence(second) < 1.0
    assert pair.a.machine.stats().paths[2].current
    load.end()


def test_transfer_continues_when_only_the_return_path_fails() -> None:
    # DATA arrives, its SACKs do not. The receiver sends the SACKs for duplicates on another path, and the sender
    # continues.
    pair, load = loaded(**QUICK)
    cut = pair.now
    pair.networks[0].to_a.drop()
    pair.run(10)
    assert load.longest_silence(cut) < 1.5
    load.end()


def test_an_intermittent_path_loses_no_message() -> None:
    pair, load = loaded(**QUICK, heartbeat_interval=0.5)
    for _ in range(6):
        pair.cut(0)
        pair.run(2.5)
        pair.mend(0)
        pair.run(4)
    assert not pair.a.of(AssociationLost)
    load.end()


@pytest.mark.parametrize("algorithm", ["newreno", "cubic", "adaptive"])
def test_every_congestion_controller_survives_the_change(algorithm: str) -> None:
    pair, load = loaded(**QUICK, congestion_control=algorithm)
    pair.cut(0)
    pair.run(5)
    moved = pair.now
    pair.run(5)
    assert len([moment for moment in load.arrivals if moment > moved]) * SIZE / 5 > 0.7 * RATE
    load.end()


@seeds(12)
def test_on_rough_paths_that_fail_and_recover_everything_arrives_once_and_in_order(seed: int) -> None:
    chance = random.Random(seed)
    ways = [
        Conditions(
            latency=chance.choice([0.001, 0.02, 0.1]),
            jitter=chance.choice([0.0, 0.01]),
            rate=chance.choice([0.0, 2e5, 2e6]),
            queue=60_000,
            loss=chance.choice([0.0, 0.01, 0.08]),
            duplication=chance.choice([0.0, 0.05]),
            reordering=chance.choice([0.0, 0.1]),
            corruption=chance.choice([0.0, 0.01]),
        )
        for _ in range(chance.choice([2, 3]))
    ]
    pair = MultiHomedPair(
        ways,
        seed,
        interleaving=chance.random() < 0.5,
        potentially_failed_max_retrans=chance.choice([None, 0, 1]),
        rto_min=chance.choice([0.2, 1.0]),
        rto_max=8.0,
        heartbeat_interval=chance.choice([0.5, 3.0]),
        association_max_retrans=200,
        max_init_retransmits=40,
        path_max_retrans=chance.choice([1, 3, 5]),
        congestion_control=chance.choice(["newreno", "cubic", "adaptive"]),
    )
    for peer in (pair.a, pair.z):
        consume(peer)  # type: ignore[arg-type]
    pair.connect(*range(len(ways)))
    there = Traffic(pair.a, pair.z, chance)  # type: ignore[arg-type]
    back = Traffic(pair.z, pair.a, chance)  # type: ignore[arg-type]
    dead: set[int] = set()
    for _ in range(40):
        for messages in (there, back):
            lifetime = chance.choice([None, None, None, 1.0])
            known = messages.sender.machine.peer_addresses()
            wanted = (
                {"destination": chance.choice(known)}
                if messages.sender.machine.extensions and chance.random() < 0.2
                else {}
            )
            size, stream = chance.choice([20, 2000, 30_000]), chance.randrange(3)
            messages.send(pair.now, size, stream, lifetime=lifetime, **wanted)
        if chance.random() < 0.2 and len(dead) < len(ways) - 1:
            path = chance.randrange(len(ways))
            dead.add(path)
            pair.cut(path)
        elif dead and chance.random() < 0.3:
            pair.mend(dead.pop())
        if chance.random() < 0.1 and pair.a.machine.extensions is not None:
            state = pair.a.machine.stats().paths
            choice = chance.randrange(len(state))
            if state[choice].state is not PathState.UNCONFIRMED:
                pair.a.machine.set_primary(address(choice, 2))
        pair.run(chance.choice([0.0, 0.05, 1.0]))
        check_books(pair)  # type: ignore[arg-type]
    for path in dead:
        pair.mend(path)
    pair.run_until(lambda: there.has_arrived() and back.has_arrived(), 3000)
    pair.run(30)
    check_books(pair)  # type: ignore[arg-type]
    there.check_finished()
    back.check_finished()
