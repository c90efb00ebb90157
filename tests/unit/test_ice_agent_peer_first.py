"""A controlled agent that leaves the first check to its peer, for some time."""

from __future__ import annotations

import random

import pytest

from datachan.ice_agent import AgentOptions, Base, Credentials, IceAgent, RemoteParameters, make_candidate, stun

OURS, THEIRS = Credentials("ours", "o" * 22), Credentials("theirs", "t" * 22)
HERE, THERE = Base("198.51.100.1", 4000), Base("198.51.100.2", 5000)
HERE_ADDRESS, THERE_ADDRESS = ("198.51.100.1", 4000), ("198.51.100.2", 5000)


def make_agent(*, controlling: bool) -> IceAgent:
    """Return the peer, or the agent that waits for its first check; each knows the other from the time 0 on."""
    us, them = (THEIRS, OURS) if controlling else (OURS, THEIRS)
    base, address, other = (THERE, THERE_ADDRESS, HERE) if controlling else (HERE, HERE_ADDRESS, THERE)
    agent = IceAgent(
        credentials=us,
        controlling=controlling,
        entropy=random.Random(1).randbytes,
        now=0.0,
        options=AgentOptions(peer_first=0.2),
    )
    agent.add_local_candidate(make_candidate("host", address, base), 0.0)
    agent.set_remote(RemoteParameters(credentials=them), 0.0)
    destination = (other.address, other.port)
    agent.add_remote_candidate(make_candidate("host", destination, other).candidate, 0.0)
    return agent


def sent(agent: IceAgent, now: float) -> list[bytes]:
    return [datagram for _, _, datagram in agent.datagrams_to_send(now)]


def kinds(datagrams: list[bytes]) -> list[int]:
    return [stun.parse_untrusted(datagram).message_class for datagram in datagrams]


def test_checks_after_the_time_if_the_peer_has_sent_none() -> None:
    agent = make_agent(controlling=False)
    assert sent(agent, 0.0) == []
    assert agent.next_timeout() == 0.2
    assert sent(agent, 0.19) == []
    assert kinds(sent(agent, 0.2)) == [stun.REQUEST]


def test_answers_the_first_check_and_checks_back_at_once() -> None:
    agent, peer = make_agent(controlling=False), make_agent(controlling=True)
    assert sent(agent, 0.0) == []
    [check] = sent(peer, 0.01)
    agent.receive_datagrams([(check, THERE_ADDRESS)], HERE, 0.02)
    answers = sent(agent, 0.02)
    assert kinds(answers) == [stun.SUCCESS, stun.REQUEST]
    peer.receive_datagrams([(answer, HERE_ADDRESS) for answer in answers], THERE, 0.03)
    agent.receive_datagrams([(datagram, THERE_ADDRESS) for datagram in sent(peer, 0.03)], HERE, 0.04)
    assert agent.selected is not None


@pytest.mark.parametrize("forged", [True, False])
def test_only_an_authenticated_check_ends_the_wait(forged: bool) -> None:
    agent, peer = make_agent(controlling=False), make_agent(controlling=True)
    [check] = sent(peer, 0.01)
    datagram = check[:-30] + bytes([check[-30] ^ 1]) + check[-29:] if forged else check
    agent.receive_datagrams([(datagram, THERE_ADDRESS)], HERE, 0.02)
    assert (stun.REQUEST in kinds(sent(agent, 0.02))) is not forged


def test_the_controlling_side_does_not_wait() -> None:
    assert kinds(sent(make_agent(controlling=True), 0.0)) == [stun.REQUEST]
