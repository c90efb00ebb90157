"""ICE restarts of two agents, A (controlling) and Z, on a virtual network: what happens to data, checks and roles."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from datachan.ice_agent import AgentOptions, OldSessionEnded, Restarted, RoleSwitched
from tests.sim.ice_network import Dependence, Nat, Network, Peer, agree

DELAY = 0.02
ROUND_TRIP = 2 * DELAY
OLD_LIFE = AgentOptions().old_session_life


def connected(
    seed: int, *, loss: float = 0.0, options: AgentOptions | None = None, z_lite: bool = False
) -> tuple[Network, Peer, Peer]:
    """Return two peers with public addresses that have agreed on a pair."""
    network = Network(seed, delay=DELAY, loss=loss)
    a = Peer(network, "a", controlling=True, options=options)
    z = Peer(network, "z", controlling=False, options=AgentOptions(lite=True) if z_lite else options)
    a.add_host("198.51.100.1")
    z.add_host("198.51.100.2")
    z.learn(a)
    a.learn(z, lite=z_lite)
    assert network.run(10, lambda: a.pair is not None and z.pair is not None)
    network.run(1)
    return network, a, z


class Stream:
    """Sends a numbered datagram each way every 5 ms."""

    def __init__(self, network: Network, a: Peer, z: Peer) -> None:
        self.network, self.peers = network, (a, z)
        self.sent = 0
        self.missing_pair = 0
        self.stopped = False
        self._tick()

    def _tick(self) -> None:
        if self.stopped:
            return
        for peer in self.peers:
            if peer.pair is None:
                self.missing_pair += 1
            else:
                peer.send(b"\x17" + self.sent.to_bytes(4, "big"))
        self.sent += 1
        self.network.call_at(self.network.now + 0.005, self._tick)

    def lost(self) -> int:
        """Stop, let everything arrive, and return the number of datagrams that have not."""
        self.stopped = True
        self.network.run(2 * DELAY)
        return 2 * self.sent - self.missing_pair - sum(len(peer.data) for peer in self.peers)


def negotiate(network: Network, offerer: Peer, answerer: Peer, name: str) -> None:
    """Exchange the offer and the answer of a restart, each of which takes a trip."""
    offerer.prepare(f"{name}-offer")
    network.run(DELAY)
    answerer.prepare(f"{name}-answer")
    answerer.restart(offerer)
    network.run(DELAY)
    offerer.restart(answerer)


@pytest.mark.parametrize("offerer", ["a", "z"])
def test_no_datagram_is_lost_and_the_new_session_is_in_use_after_a_round_trip(seed: int, offerer: str) -> None:
    network, a, z = connected(seed)
    stream = Stream(network, a, z)
    network.run(0.1)
    negotiate(network, *((a, z) if offerer == "a" else (z, a)), "new")
    began = network.now
    assert network.run(5, lambda: a.fragment.startswith("new") and z.fragment.startswith("new"))
    assert network.now - began <= 1.5 * ROUND_TRIP
    network.run(1)
    assert stream.lost() == 0
    assert stream.missing_pair == 0
    assert [event for event in a.history if isinstance(event, Restarted)] == [Restarted(a.fragment)]
    assert a.agent.controlling
    assert not z.agent.controlling
    assert not any(isinstance(event, RoleSwitched) for event in a.history + z.history)
    assert agree(network, a, z)


def test_the_old_pair_carries_data_and_keeps_consent_while_the_answer_is_awaited(seed: int) -> None:
    network, a, z = connected(seed)
    a.prepare("new")
    stream = Stream(network, a, z)
    network.run(60)
    assert stream.lost() == 0
    assert a.fragment == "a"
    assert a.losses == z.losses == []


def test_a_restart_without_a_path_leaves_the_old_pair_in_use(seed: int) -> None:
    network, a, z = connected(seed)
    stranger = Peer(network, "stranger", controlling=False)
    session = a.prepare("new")
    a.restart(stranger)
    stream = Stream(network, a, z)
    network.run(40)
    a.agent.discard(session)
    network.run(40)
    assert stream.lost() == 0
    assert a.fragment == "a"
    assert a.losses == z.losses == []


def test_old_checks_are_answered_for_a_while_after_the_restart(seed: int) -> None:
    network, a, z = connected(seed)
    a.prepare("new-a")
    z.prepare("new-z")
    a.restart(z, at_once=True)  # Z never gets the answer, so it stays in the old session
    stream = Stream(network, z, z)
    network.run(OLD_LIFE - 0.1)
    assert z.losses == []
    assert a.losses == []
    assert a.data, "the data of the old session is taken"
    stream.stopped = True
    assert network.run(1, lambda: OldSessionEnded() in a.history)
    network.run(40)
    assert z.losses == ["the peer has answered no check for 30 seconds"]


def test_a_withdrawn_restart_answers_nothing_and_changes_nothing(seed: int) -> None:
    network, a, z = connected(seed)
    session = a.prepare("withdrawn")
    z.prepare("new-z")
    z.restart(a)
    a.agent.discard(session)
    network.run(5)
    assert (a.fragment, z.fragment) == ("a", "z")
    assert a.losses == z.losses == []
    negotiate(network, a, z, "second")
    assert network.run(5, lambda: a.fragment == "second-offer" and z.fragment == "second-answer")
    network.run(1)
    assert agree(network, a, z)


def test_both_may_restart_at_the_same_time(seed: int) -> None:
    network, a, z = connected(seed)
    stream = Stream(network, a, z)
    a.prepare("of-a")
    withdrawn = z.prepare("of-z")  # the offers cross, and Z withdraws its own
    network.run(DELAY)
    z.agent.discard(withdrawn)
    z.prepare("answer")
    z.restart(a)
    network.run(DELAY)
    a.restart(z)
    assert network.run(5, lambda: a.fragment == "of-a" and z.fragment == "answer")
    network.run(1)
    assert stream.lost() == 0
    assert agree(network, a, z)


def test_a_restart_in_the_middle_of_a_restart_replaces_it(seed: int) -> None:
    network, a, z = connected(seed)
    negotiate(network, a, z, "first")
    negotiate(network, z, a, "second")
    assert network.run(5, lambda: a.fragment.startswith("second") and z.fragment.startswith("second"))
    network.run(OLD_LIFE + 1)
    assert agree(network, a, z)


def test_candidates_of_an_ended_session_are_ignored(seed: int) -> None:
    network, a, z = connected(seed)
    late = z.candidates[0].candidate
    negotiate(network, a, z, "new")
    network.run(1)
    before = len(a.agent.pairs)
    assert not a.agent.add_remote_candidate(late, network.now, address="198.51.100.99", fragment="z")
    assert len(a.agent.pairs) == before
    assert a.agent.add_remote_candidate(late, network.now, address="198.51.100.99", fragment="new-answer")


def test_a_lite_peer_follows_a_restart(seed: int) -> None:
    network, a, z = connected(seed, z_lite=True)
    stream = Stream(network, a, z)
    a.prepare("new-a")
    network.run(DELAY)
    z.prepare("new-z")
    z.restart(a)
    network.run(DELAY)
    a.restart(z, lite=True)
    assert network.run(5, lambda: a.fragment == "new-a" and z.fragment == "new-z")
    network.run(1)
    assert stream.lost() == 0
    assert agree(network, a, z)


def test_a_restart_after_the_path_was_lost_is_in_use_at_once(seed: int) -> None:
    network, a, z = connected(seed)
    network.blocked = lambda source, destination: True
    network.run(40)
    assert a.losses
    assert z.losses
    a.prepare("new-a")
    z.prepare("new-z")
    network.blocked = lambda source, destination: False
    z.restart(a, at_once=True)
    a.restart(z, at_once=True)
    assert (a.fragment, z.fragment) == ("new-a", "new-z")
    assert network.run(1, lambda: a.pair is not None and z.pair is not None)
    assert agree(network, a, z)


def test_two_sessions_together_keep_the_pace(seed: int) -> None:
    network, a, z = connected(seed)
    a.prepare("new-a")
    z.prepare("new-z")
    a.restart(z)
    times: list[float] = []
    for tick in range(2000):
        now = network.now + tick / 2000
        times += [now] * len(a.agent.datagrams_to_send(now))
    assert len(times) > 2
    assert min(later - sooner for sooner, later in pairwise(times)) >= AgentOptions().pace - 1e-9


@pytest.mark.parametrize("number", range(40))
def test_any_number_of_restarts_at_random_times_ends_with_a_pair_that_works(seed: int, number: int) -> None:
    draw = random.Random(seed + number)
    network = Network(seed + number, delay=DELAY, loss=draw.choice([0.0, 0.05, 0.2]))
    kinds: list[Dependence] = ["independent", "address", "port"]
    peers = []
    for name, address in (("a", "203.0.113.1"), ("z", "203.0.113.2")):
        peer = Peer(network, name, controlling=name == "a")
        if draw.random() < 0.5:
            peer.add_host("10.0.0.2", network.add_nat(Nat(address, filtering=draw.choice(kinds))))
        else:
            peer.add_host(address)
        if draw.random() < 0.5:
            peer.add_relay(f"192.0.2.{10 + len(peers)}")
        peers.append(peer)
    a, z = peers
    z.learn(a)
    a.learn(z)
    assert network.run(20, lambda: a.pair is not None and z.pair is not None), f"seed {seed}, number {number}"
    for turn in range(draw.randint(1, 4)):
        network.run(draw.choice([0.001, 0.05, 0.3, 2.0, 12.0]))
        negotiate(network, *((a, z) if draw.random() < 0.5 else (z, a)), f"{turn}")
        assert a.pair is not None
        assert z.pair is not None
    network.loss = 0.0
    network.run(20)
    assert a.fragment.startswith(f"{turn}"), f"seed {seed}, number {number}"
    assert z.fragment.startswith(f"{turn}"), f"seed {seed}, number {number}"
    assert a.losses == z.losses == []
    assert agree(network, a, z), f"seed {seed}, number {number}"
