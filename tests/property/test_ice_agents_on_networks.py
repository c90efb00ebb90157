"""Two ICE agents on random networks: they agree on a pair that works if one exists, and keep it through changes."""

from __future__ import annotations

import random

import pytest

from datachan.ice_agent import AgentOptions
from tests.sim.ice_network import Dependence, Nat, Network, Peer, agree

NETWORKS = 40
DEPENDENCE: list[Dependence] = ["independent", "address", "port"]


def _side(network: Network, choose: random.Random, name: str, number: int, *, controlling: bool) -> Peer:
    """Add a peer with one to three hosts: public ones, and ones behind NATs of random types."""
    peer = Peer(network, name, controlling=controlling, options=AgentOptions())
    for index in range(choose.randint(1, 3)):
        if choose.random() < 0.35:
            peer.add_host(f"198.51.{number}.{index + 1}", rank=index)
        else:
            nat = Nat(f"203.0.{number}.{index + 1}", choose.choice(DEPENDENCE), choose.choice(DEPENDENCE))
            peer.add_host(f"10.{number}.{index}.2", network.add_nat(nat), rank=index)
    return peer


def _signal(network: Network, choose: random.Random, one: Peer, other: Peer, options: dict[str, bool]) -> None:
    """Let one peer learn the other's description, then its candidates one by one, in random order."""
    candidates = other.candidates[:]
    choose.shuffle(candidates)
    start = network.now + choose.random() * 0.3
    other.candidates, kept = [], other.candidates
    one.learn(other, **options)
    other.candidates = kept
    for candidate in candidates:
        start += choose.random() * 0.05
        network.call_at(start, lambda candidate=candidate: one.hear(candidate))


def _works_for_sure(a: Peer, z: Peer) -> bool:
    """Return whether theory promises a path: a relay, or hosts that are public or behind an independent mapping."""
    if a.relayed or z.relayed:
        return True
    nats = [[nat for nat in peer.realms.values() if nat is None or nat.mapping == "independent"] for peer in (a, z)]
    return all(nats)


def _agree_soon(network: Network, a: Peer, z: Peer) -> None:
    """Run until both use the same pair, which takes as long as finding out that another one is dead."""
    for _ in range(20):
        if agree(network, a, z):
            return
        network.run(1)
    raise AssertionError(f"A uses {a.pair}, Z uses {z.pair}")


LOSSY = 12


@pytest.mark.parametrize("number", range(LOSSY))
def test_random_loss_moves_no_healthy_pair(seed: int, number: int) -> None:
    choose = random.Random(seed * LOSSY + number)
    network = Network(choose.getrandbits(32), delay=choose.uniform(0.001, 0.1))
    a = Peer(network, "a", controlling=True)
    z = Peer(network, "z", controlling=False)
    for rank in range(choose.randint(2, 3)):
        a.add_host(f"198.51.100.{rank + 1}", rank=rank)
    z.add_host("198.51.100.9")
    a.learn(z)
    z.learn(a)
    network.run(3)
    _agree_soon(network, a, z)
    used = a.pair, z.pair
    network.loss = 0.05
    interval = choose.choice([0.01, 0.03, 0.1, 0.3])
    for _ in range(int(30 / interval)):
        for peer in choose.choice([(a, z), (a,), (z,)]):
            peer.send(b"\x17")
        network.run(interval)
    assert (a.pair, z.pair) == used
    assert a.losses == z.losses == []


@pytest.mark.parametrize("number", range(NETWORKS))
def test_both_agree_on_a_pair_that_works(seed: int, number: int) -> None:
    choose = random.Random(seed * NETWORKS + number)
    network = Network(choose.getrandbits(32), delay=choose.uniform(0.001, 0.15), loss=choose.choice([0, 0, 0.05, 0.1]))
    roles = choose.choice([(True, False)] * 4 + [(True, True), (False, False)])
    a = _side(network, choose, "a", 1, controlling=roles[0])
    z = _side(network, choose, "z", 2, controlling=roles[1])
    for peer, address in ((a, "192.0.2.10"), (z, "192.0.2.11")):
        if choose.random() < 0.4:
            peer.add_relay(address)
    knows = choose.random() < 0.6
    options = {"renomination": knows, "ice2": knows or choose.random() < 0.5}
    _signal(network, choose, a, z, options)
    _signal(network, choose, z, a, options)
    network.run(4)
    if _works_for_sure(a, z):
        assert a.pair is not None
    assert (a.pair is None) is (z.pair is None)
    if a.pair is None:
        return
    assert a.agent.controlling is not z.agent.controlling
    _agree_soon(network, a, z)
    # A link of one side dies without a word. If another pair works, both move.
    victim = choose.choice([a, z])
    pair = victim.pair
    assert pair is not None
    others = [one for one in victim.agent.pairs if one.valid and one.base is not pair.base]
    dead = pair.base
    network.close(victim.realms[dead], (dead.address, dead.port))
    if others:
        _agree_soon(network, a, z)
        assert a.losses == z.losses == []
