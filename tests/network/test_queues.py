"""CoDel, losses in bursts, and links that several pairs share behave as their models say."""

from __future__ import annotations

import random

from tests.sim.crowd import Crowd, jain
from tests.sim.network import Conditions, Network
from tests.sim.queues import INTERVAL, TARGET, CoDel, GilbertElliott
from tests.sim.seeds import entropy

from .test_pair import Metronome

RATE = 1.25e6
PACKET = bytes(1250)  # a millisecond of the bottleneck's rate


def delays(codel: bool, seconds: float, load: float) -> tuple[list[float], int]:
    """Return each packet's wait when packets arrive `load` times as fast as they leave, and the number dropped."""
    link = Network(1, Conditions(latency=0.0, rate=RATE, queue=400_000, codel=codel)).to_z
    for index in range(int(seconds * 1000 * load)):
        link.send([PACKET], index * 0.001 / load)
    link.arrived(1e9)
    waits = [passage.arrival - passage.time for passage in link.passages if passage.arrival is not None]
    return waits, sum(passage.fate == "CoDel" for passage in link.passages)


def test_codel_drops_nothing_from_a_short_queue() -> None:
    waits, dropped = delays(codel=True, seconds=3.0, load=0.99)
    assert dropped == 0
    assert max(waits) < TARGET


def test_codel_drops_nothing_from_a_burst_that_drains_within_its_interval() -> None:
    link = Network(1, Conditions(latency=0.0, rate=RATE, codel=True)).to_z
    link.send([PACKET] * 90, 0.0)
    assert len(link.arrived(1.0)) == 90


def test_codel_drops_from_a_standing_queue_faster_and_faster() -> None:
    _, dropped = delays(codel=True, seconds=1.0, load=1.1)
    _, dropped_later = delays(codel=True, seconds=4.0, load=1.1)
    # The first drop comes after an interval, the next ones at intervals divided by the square root of their count.
    # count.
    assert 10 < dropped < 40
    assert dropped_later > 6 * dropped


def test_codel_keeps_the_queue_shorter_than_drop_tail_does() -> None:
    held, _ = delays(codel=True, seconds=20.0, load=1.1)
    full, dropped = delays(codel=False, seconds=20.0, load=1.1)
    assert dropped == 0
    assert max(full) > 0.3
    assert max(held[-1000:]) < 0.03


def test_codel_spaces_drops_by_its_control_law() -> None:
    queue: CoDel[int] = CoDel()
    for number in range(5000):
        queue.put(number, 1250, 0.0)
    moments = []
    for tick in range(10, 1000):
        queue.take(tick / 1000)
        moments += [tick / 1000] * len(queue.dropped)
        queue.dropped.clear()
    # The next drop comes INTERVAL / sqrt(count) after the last.
    expected = [0.010 + INTERVAL]
    for count in range(1, 8):
        expected.append(expected[-1] + INTERVAL / count**0.5)
    assert all(abs(one - other) < 0.002 for one, other in zip(moments, expected, strict=False))


def test_codel_also_drops_at_the_tail_of_a_full_queue() -> None:
    link = Network(1, Conditions(rate=RATE, queue=12_500, codel=True)).to_z
    link.send([PACKET] * 20, 0.0)
    assert [passage.fate for passage in link.passages].count("queue full") == 9


def test_loss_in_bursts_takes_its_share_and_comes_in_bursts() -> None:
    model = GilbertElliott(to_bad=0.01, to_good=0.2)
    link = Network(3, Conditions(latency=0.0, burst_loss=model)).to_z
    link.send([PACKET] * 40_000, 0.0)
    lost = [passage.arrival is None for passage in link.passages]
    assert abs(sum(lost) / len(lost) - model.loss) < 0.01
    begins = sum(now and not before for before, now in zip([False, *lost], lost, strict=False))
    assert 4.0 < sum(lost) / begins < 6.0


def test_the_bad_state_may_deliver_datagrams() -> None:
    model = GilbertElliott(to_bad=1.0, to_good=0.0, loss_in_bad=0.3)
    assert model.loss == 0.3
    chance = random.Random(1)
    lost = sum(model.loses(model.next_state(True, chance), chance) for _ in range(10_000))
    assert 2800 < lost < 3200


def test_pairs_share_the_bottleneck_and_receive_only_their_own_datagrams() -> None:
    machines = [(Metronome(0.5, 10), Metronome(1.0, 0)) for _ in range(3)]
    crowd = Crowd(machines, Network(0, Conditions(latency=0.0, rate=20.0)))
    crowd.run(30.0)
    assert [len(pair.z.events) for pair in crowd.pairs] == [10, 10, 10]
    # Each datagram takes a tenth of a second; those of the second and third pair wait for the others.
    assert [round(pair.z.events[0][0], 3) for pair in crowd.pairs] == [0.6, 0.7, 0.8]
    assert all(pair.now == crowd.now == 30.0 for pair in crowd.pairs)
    assert not any(pair.a.events for pair in crowd.pairs)


def test_the_same_seed_gives_the_same_bursts() -> None:
    def fates(seed: int) -> list[str]:
        link = Network(seed, Conditions(burst_loss=GilbertElliott(to_bad=0.1, to_good=0.3))).to_z
        link.send([entropy(1)(40) for _ in range(200)], 0.0)
        return [passage.fate for passage in link.passages]

    assert fates(1) == fates(1)
    assert fates(1) != fates(2)


def test_jains_index_tells_equal_from_greedy() -> None:
    assert jain([0.5, 0.5]) == 1.0
    assert jain([1.0, 0.0]) == 0.5
