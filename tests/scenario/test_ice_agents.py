"""Two ICE agents, A (controlling) and Z, on a virtual network: how fast, over which pair, and through which faults."""

from __future__ import annotations

import pytest

from datachan.ice_agent import AgentOptions, ChecksDone, DtlsReceived, PeerHeard, PeerSilent, RoleSwitched, stun
from tests.sim.ice_network import Dependence, Nat, Network, Peer, agree

DELAY = 0.02
ROUND_TRIP = 2 * DELAY
TICK = 0.01


def two_public(network: Network) -> tuple[Peer, Peer]:
    a, z = Peer(network, "a", controlling=True), Peer(network, "z", controlling=False)
    a.add_host("198.51.100.1")
    z.add_host("198.51.100.2")
    return a, z


def behind(network: Network, name: str, nat: Nat, *, controlling: bool) -> Peer:
    peer = Peer(network, name, controlling=controlling)
    peer.add_host("10.0.0.2", network.add_nat(nat))
    return peer


def connect(network: Network, a: Peer, z: Peer, seconds: float = 5.0) -> float:
    """Signal everything, and return the seconds until both have a pair."""
    z.learn(a)
    a.learn(z)
    started = network.now
    assert network.run(seconds, lambda: a.pair is not None and z.pair is not None)
    return network.now - started


def test_connects_in_one_round_trip(seed: int) -> None:
    network = Network(seed, delay=DELAY)
    a, z = two_public(network)
    z.learn(a)
    network.run(DELAY)  # Z's first check is on its way when A learns of Z
    a.learn(z)
    assert network.run(5, lambda: a.pair is not None)
    assert network.now == pytest.approx(DELAY + ROUND_TRIP)
    assert network.run(5, lambda: z.pair is not None)
    assert network.now <= DELAY + ROUND_TRIP + DELAY
    network.run(1)
    assert agree(network, a, z)
    assert a.pair is not None
    assert a.pair.nominated
    assert ChecksDone() in a.history
    assert ChecksDone() in z.history


@pytest.mark.parametrize("filtering", ["independent", "address", "port"])
@pytest.mark.parametrize("other", ["independent", "address", "port"])
def test_cone_nats_connect_directly(seed: int, filtering: Dependence, other: Dependence) -> None:
    network = Network(seed, delay=DELAY)
    a = behind(network, "a", Nat("203.0.113.1", filtering=filtering), controlling=True)
    z = behind(network, "z", Nat("203.0.113.2", filtering=other), controlling=False)
    assert connect(network, a, z) <= 2.5 * ROUND_TRIP + 0.1
    network.run(1)
    assert agree(network, a, z)


@pytest.mark.parametrize("symmetric", ["a", "z"])
def test_a_symmetric_nat_reaches_an_address_restricted_one_by_a_peer_reflexive_candidate(
    seed: int, symmetric: str
) -> None:
    network = Network(seed, delay=DELAY)
    nats = {name: Nat(address, filtering="address") for name, address in (("a", "203.0.113.1"), ("z", "203.0.113.2"))}
    nats[symmetric].mapping = "port"
    a = behind(network, "a", nats["a"], controlling=True)
    z = behind(network, "z", nats["z"], controlling=False)
    connect(network, a, z)
    network.run(1)
    assert agree(network, a, z)
    other = z if symmetric == "a" else a
    assert other.pair is not None
    assert other.pair.remote.type == "prflx"


@pytest.mark.parametrize("relays", ["a", "z", "az"])
def test_symmetric_nats_connect_by_a_relay_at_either_side_as_fast_as_by_two(seed: int, relays: str) -> None:
    network = Network(seed, delay=DELAY)
    a = behind(network, "a", Nat("203.0.113.1", mapping="port"), controlling=True)
    z = behind(network, "z", Nat("203.0.113.2", mapping="port"), controlling=False)
    if "a" in relays:
        a.add_relay("192.0.2.10")
    if "z" in relays:
        z.add_relay("192.0.2.11")
    assert connect(network, a, z) <= 2.5 * ROUND_TRIP + 0.1
    network.run(3)
    assert agree(network, a, z)


def test_a_direct_path_replaces_the_relay_that_answered_first(seed: int) -> None:
    network = Network(seed, delay=DELAY)
    a, z = two_public(network)
    direct_from = 1.0
    network.blocked = lambda source, destination: (
        network.now < direct_from and source[0].startswith("198") and destination[0].startswith("198")
    )
    a.add_relay("192.0.2.10")
    z.add_relay("192.0.2.11")
    connect(network, a, z)
    network.run(0.5)
    assert a.pair is not None
    assert a.pair.relayed
    network.run(12)
    assert agree(network, a, z)
    assert not a.pair.relayed
    assert z.pair is not None
    assert not z.pair.relayed


def test_twenty_dead_bridges_on_each_side_cost_a_few_checks(seed: int) -> None:
    network = Network(seed, delay=DELAY)
    a = Peer(network, "a", controlling=True)
    z = Peer(network, "z", controlling=False)
    nats = [network.add_nat(Nat(f"203.0.113.{number}")) for number in (1, 2)]
    for peer, nat in zip((a, z), nats, strict=True):
        for bridge in range(20):
            peer.add_host(f"10.{bridge + 1}.0.1", rank=bridge)
        peer.add_host("10.0.0.2", nat, rank=20)
    assert connect(network, a, z) < 0.5
    assert len(a.agent.pairs) <= 100


def test_a_path_that_loses_every_third_datagram_connects_within_a_second(seed: int) -> None:
    network = Network(seed, delay=0.05, loss=0.33)
    a, z = two_public(network)
    assert connect(network, a, z, 3) < 2


def test_both_sides_controlling_agree_on_one(seed: int) -> None:
    network = Network(seed, delay=DELAY)
    a, z = two_public(network)
    z.agent.set_controlling(True)
    connect(network, a, z)
    network.run(1)
    assert a.agent.controlling is not z.agent.controlling
    assert sum(isinstance(event, RoleSwitched) for event in a.history + z.history) == 1
    assert agree(network, a, z)


def test_both_sides_controlled_agree_on_one(seed: int) -> None:
    network = Network(seed, delay=DELAY)
    a, z = two_public(network)
    a.agent.set_controlling(False)
    connect(network, a, z)
    network.run(1)
    assert a.agent.controlling is not z.agent.controlling
    assert agree(network, a, z)


@pytest.mark.parametrize("side", ["a", "z"])
@pytest.mark.parametrize("renomination", [True, False])
def test_both_follow_a_nat_that_rebinds_while_data_flows(seed: int, side: str, renomination: bool) -> None:
    network = Network(seed, delay=DELAY)
    nats = {"a": Nat("203.0.113.1"), "z": Nat("203.0.113.2", filtering="independent")}
    if side == "z":
        nats["a"].filtering, nats["z"].filtering = "independent", "port"
    a = behind(network, "a", nats["a"], controlling=True)
    z = behind(network, "z", nats["z"], controlling=False)
    z.learn(a, renomination=renomination, ice2=renomination)
    a.learn(z, renomination=renomination, ice2=renomination)
    network.run(3)
    assert agree(network, a, z)
    talk(network, a, z, 0.2)
    nats[side].rebind()
    network.run(DELAY / 2)
    # The first datagram from the new address takes half a round trip, its check a whole one, and the answer half a one.
    assert talk(network, a, z, 1.5, until_agreed=True) <= 2 * ROUND_TRIP + 3 * TICK
    talk(network, a, z, 40)
    assert agree(network, a, z)
    assert a.losses == z.losses == []
    assert len(a.selections) + len(z.selections) <= 3


def talk(network: Network, a: Peer, z: Peer, seconds: float, *, until_agreed: bool = False) -> float:
    """Let both send at short intervals, for a time or until they agree; return the seconds this took."""
    started = network.now
    while network.now < started + seconds:
        for peer in (a, z):
            if peer.pair is not None:
                peer.send(b"\x17tick")
        network.run(TICK)
        if until_agreed and a.pair is not None and z.pair is not None and both_hear(network, a, z):
            break
    return network.now - started


def both_hear(network: Network, a: Peer, z: Peer) -> bool:
    """Return whether the pair that each uses has just carried data of the other."""
    return all(peer.pair is not None and peer.pair.heard_at > network.now - 2 * TICK for peer in (a, z))


def two_interfaces(network: Network) -> tuple[Peer, Peer, str]:
    a, z = two_public(network)
    a.add_host("198.51.100.101", rank=1)
    connect(network, a, z)
    network.run(3)
    assert a.pair is not None
    return a, z, a.pair.base.address


def test_moves_when_one_of_two_interfaces_dies_silently(seed: int) -> None:
    network = Network(seed, delay=DELAY)
    a, z, dead = two_interfaces(network)
    network.blocked = lambda source, destination: dead in (source[0], destination[0])
    network.run(DELAY)
    assert talk(network, a, z, 1.5, until_agreed=True) <= 0.5
    talk(network, a, z, 40)
    assert a.losses == z.losses == []


# Seconds until an answer is late, see `datachan.ice_agent.silence`. It is the answer to one of the first messages after
# the latest sign of life.
NOTICED = 1.25 * ROUND_TRIP + 0.02 + 3 * TICK


@pytest.mark.parametrize("phase", [0.0, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("senders", ["az", "a", "z"])
def test_data_flows_half_a_round_trip_after_an_answer_is_late_when_one_of_two_interfaces_dies(
    seed: int, senders: str, phase: float
) -> None:
    network = Network(seed, delay=DELAY)
    a, z, dead = two_interfaces(network)
    sending = [peer for peer in (a, z) if peer.fragment in senders]
    answer(network, a, z, sending, 1.0)
    network.run(phase * TICK)
    cut = network.now
    network.blocked = lambda source, destination: dead in (source[0], destination[0])
    flows = answer(network, a, z, sending, 1.0)
    for peer in sending:
        other = z if peer is a else a
        assert flows[other] - cut <= NOTICED + DELAY
    for peer in (a, z):
        assert peer.pair is not None
        assert dead not in (peer.pair.base.address, peer.pair.destination[0])
    assert agree(network, a, z)


def answer(network: Network, a: Peer, z: Peer, sending: list[Peer], seconds: float) -> dict[Peer, float]:
    """Let some send at short intervals, and both acknowledge what arrives.

    Returns:
        When each has first received a message that was sent meanwhile.
    """
    started, flows = network.now, dict[Peer, float]()

    def look() -> bool:
        for peer in (a, z):
            latest = peer.data[-1][0] if peer.data else b""
            if latest[:2] == b"\x17t" and float(latest[2:]) >= started:
                flows.setdefault(peer, network.now)
        return False

    while network.now < started + seconds:
        before = {peer: len(peer.data) for peer in (a, z)}
        for peer in sending:
            peer.send(b"\x17t%f" % network.now)
        network.run(TICK, look)
        for peer in (a, z):
            if len(peer.data) > before[peer] and peer.pair is not None:
                peer.send(b"\x17sack")
    return flows


def test_a_link_that_pauses_now_and_then_is_left_ever_later(seed: int) -> None:
    network = Network(seed, delay=DELAY)
    a, z, pausing = two_interfaces(network)
    for _ in range(12):
        network.blocked = lambda source, destination: pausing in (source[0], destination[0])
        talk(network, a, z, 0.4)
        network.blocked = lambda source, destination: False
        talk(network, a, z, 1.5)
    assert a.pair is not None
    assert a.pair.base.address == pausing
    moves = len(a.selections) - 1
    assert 2 <= moves <= 6


def test_data_from_a_strangers_port_moves_nothing(seed: int) -> None:
    network = Network(seed, delay=DELAY)
    a, z = two_public(network)
    connect(network, a, z)
    assert a.pair is not None
    used, forged = a.pair, 0
    for port in range(1024, 1224):
        before = network.sent
        network.send(None, ("198.51.100.2", port), ("198.51.100.1", 5000), b"\x17forged")
        network.run(0.05)
        forged += network.sent - before - 1
    assert a.pair is used
    assert a.refused == 200
    # Eight addresses at once and one a second are checked, each a few times; and the pair in use, which answers.
    assert forged < 700


def test_moves_at_once_when_an_address_vanishes(seed: int) -> None:
    network = Network(seed, delay=DELAY)
    a, z, dead = two_interfaces(network)
    a.remove(next(pair.base for pair in a.agent.pairs if pair.base.address == dead))
    assert a.pair is not None
    assert a.pair.base.address != dead
    network.run(1.5 * ROUND_TRIP)
    assert agree(network, a, z)


def test_a_new_address_continues_a_path_that_was_lost_with_the_old_one(seed: int) -> None:
    network = Network(seed, delay=DELAY)
    a, z = two_public(network)
    connect(network, a, z)
    network.run(3)
    a.remove(next(iter(a.realms)))
    assert a.pair is None
    network.run(2)
    a.add_host("198.51.100.77")
    a.flush()
    assert network.run(2 * ROUND_TRIP, lambda: a.pair is not None)
    network.run(1)
    assert agree(network, a, z)


@pytest.mark.parametrize("outage", [5.0, 20.0, 40.0, 80.0])
@pytest.mark.parametrize("busy", [True, False])
def test_goes_on_after_an_outage(seed: int, outage: float, busy: bool) -> None:
    network = Network(seed, delay=DELAY)
    a, z = two_public(network)
    connect(network, a, z)
    network.run(3)
    network.blocked = lambda source, destination: True
    if busy:
        a.send(b"\x17")
    network.run(outage)
    assert bool(a.losses) is (outage > 30)
    if outage > 8:
        assert PeerSilent() in a.history
    network.blocked = lambda source, destination: False
    assert network.run(1, lambda: a.pair is not None and z.pair is not None)
    network.run(1)
    assert agree(network, a, z)
    if 8 < outage < 30:
        assert PeerHeard() in a.history


@pytest.mark.parametrize("sleep", [20.0, 40.0])
@pytest.mark.parametrize("sleeper", ["a", "z"])
def test_goes_on_after_one_side_has_slept(seed: int, sleep: float, sleeper: str) -> None:
    network = Network(seed, delay=DELAY)
    a, z = two_public(network)
    connect(network, a, z)
    network.run(3)
    asleep = a if sleeper == "a" else z
    asleep.suspended = True
    network.run(sleep)
    asleep.suspended = False
    network.run(1)
    assert agree(network, a, z)
    assert asleep.losses == []


def test_silence_is_reported_within_seven_seconds_and_six_if_data_is_sent(seed: int) -> None:
    for busy, limit in ((False, 7.5), (True, 6.1)):
        network = Network(seed, delay=DELAY)
        a, z = two_public(network)
        connect(network, a, z)
        network.run(3)
        network.blocked = lambda source, destination: True
        cut = network.now
        if busy:
            a.send(b"\x17")
        assert network.run(20, lambda a=a: PeerSilent() in a.history)
        assert network.now - cut <= limit


def test_a_lite_agent_answers_and_sends_no_check(seed: int) -> None:
    network = Network(seed, delay=DELAY)
    a = Peer(network, "a", controlling=True)
    z = Peer(network, "z", controlling=False, options=AgentOptions(lite=True))
    a.add_host("198.51.100.1")
    z.add_host("198.51.100.2")
    z.learn(a)
    a.learn(z, lite=True)
    network.run(60)
    assert agree(network, a, z)
    assert sum(pair.requests_sent for pair in z.agent.pairs) == 0
    assert a.losses == z.losses == []


def test_nothing_works_without_a_path_and_checks_become_rare(seed: int) -> None:
    network = Network(seed, delay=DELAY)
    network.blocked = lambda source, destination: True
    a, z = two_public(network)
    z.learn(a)
    a.learn(z)
    network.run(40)
    assert a.pair is None
    assert z.pair is None
    assert all(pair.requests_sent <= 25 for pair in a.agent.pairs)


def test_alternatives_are_kept_warm_and_few(seed: int) -> None:
    network = Network(seed, delay=DELAY)
    a, z = two_public(network)
    for number in range(10):
        a.add_host(f"198.51.100.{100 + number}", rank=number + 1)
    connect(network, a, z)
    network.run(5)
    before = {pair: pair.responses_received for pair in a.agent.pairs}
    network.run(40)
    kept = [pair for pair in a.agent.pairs if pair is not a.pair and pair.responses_received > before[pair]]
    assert len(kept) == AgentOptions().max_backups


def test_trickled_candidates_are_checked_as_they_come(seed: int) -> None:
    network = Network(seed, delay=DELAY)
    a, z = Peer(network, "a", controlling=True), Peer(network, "z", controlling=False)
    a.learn(z)
    z.learn(a)
    network.run(1)
    a.add_host("198.51.100.1")
    z.add_host("198.51.100.2")
    z.hear(a.candidates[0])
    assert network.run(2 * ROUND_TRIP, lambda: a.pair is not None and z.pair is not None)
    network.run(1)
    assert agree(network, a, z)


# -- DTLS in checks ----------------------------------------------------------------------------------------------------

EMBEDS = AgentOptions(embeds=True)
HELLO, FLIGHT = b"\x16" + bytes(170), b"\x16" + bytes(700)


def embedding_pair(network: Network, z_options: AgentOptions | None = EMBEDS) -> tuple[Peer, Peer]:
    a = Peer(network, "a", controlling=True, options=EMBEDS)
    z = Peer(network, "z", controlling=False, options=z_options)
    a.add_host("198.51.100.1")
    z.add_host("198.51.100.2")
    return a, z


def taken(peer: Peer) -> list[bytes]:
    return [event.datagram for event in peer.history if isinstance(event, DtlsReceived)]


def test_the_flight_of_the_server_arrives_with_the_first_check(seed: int) -> None:
    network = Network(seed, delay=DELAY)
    a, z = embedding_pair(network)
    z.agent.embed([HELLO], network.now)
    z.learn(a, embeds=True)
    network.run(DELAY + 0.001)
    assert taken(a) == [HELLO]  # before A knows Z's description
    started = network.now
    a.agent.embed([FLIGHT], network.now)
    a.learn(z, embeds=True)
    assert network.run(1, lambda: taken(z) == [FLIGHT])
    assert network.now - started <= DELAY + 0.01
    assert z.pair is not None, "the last flight would not find a path"
    network.run(3)
    assert (taken(a), taken(z)) == ([HELLO], [FLIGHT])
    assert agree(network, a, z)


@pytest.mark.parametrize("embedding_side", ["a", "z"])
def test_a_peer_without_it_is_not_slower(seed: int, embedding_side: str) -> None:
    network = Network(seed, delay=DELAY)
    a, z = embedding_pair(network, None)
    if embedding_side == "z":
        a, z = z, a
        a.agent.set_controlling(True)
        z.agent.set_controlling(False)
    (a if embedding_side == "a" else z).agent.embed([HELLO], network.now)
    z.learn(a, embeds=True)
    a.learn(z, embeds=True)
    assert network.run(5, lambda: a.pair is not None and z.pair is not None)
    assert network.now <= ROUND_TRIP + DELAY + 0.001
    assert taken(a) == taken(z) == []


@pytest.mark.parametrize("fate", ["dropped", "refused", "copied"])
def test_connects_with_a_peer_or_a_path_that_does_not_bear_it(seed: int, fate: str) -> None:
    network = Network(seed, delay=DELAY)
    a, z = embedding_pair(network, None)
    send = network.send

    def tamper(realm: object, source: object, destination: object, data: bytes) -> None:
        message = stun.parse_untrusted(data)
        if stun.DTLS_IN_STUN in message.attributes or (fate == "copied" and message.message_class == stun.SUCCESS):
            if fate == "dropped":
                return
            answering = message.message_class == stun.SUCCESS
            code = {stun.ERROR_CODE: stun.error_code(420, "Unknown Attribute")}
            attributes = code if fate == "refused" else message.attributes | {stun.DTLS_IN_STUN: HELLO}
            if fate == "refused":
                back = stun.Message(stun.BINDING + stun.ERROR, message.transaction_id, attributes)
                send(realm, destination, source, stun.serialize(back, z.credentials.password.encode()))
                return
            if answering:
                message.attributes = attributes
                data = stun.serialize(message, z.credentials.password.encode())
        send(realm, source, destination, data)

    network.send = tamper  # type: ignore[method-assign, assignment]
    a.agent.embed([HELLO], network.now)
    z.learn(a, embeds=True)
    a.learn(z, embeds=True)
    assert network.run(5, lambda: a.pair is not None and z.pair is not None)
    assert network.now <= 0.5
    assert taken(a) == []


@pytest.mark.parametrize("since_check", [-0.06, -0.04, -0.02, -0.005, 0.0, 0.01, 0.03])
def test_a_link_that_dies_silently_is_left_whenever_it_dies_around_a_consent_check(
    seed: int, since_check: float
) -> None:
    """Data that was on its way with the check arrives after the check was sent, and shows nothing."""
    network = Network(seed, delay=DELAY)
    a, z = Peer(network, "a", controlling=True), Peer(network, "z", controlling=False)
    wifi, mobile = a.add_host("198.51.100.1"), a.add_host("198.51.100.11", rank=1)
    z.add_host("198.51.100.2")
    connect(network, a, z)
    network.run(2)
    assert a.pair is not None
    assert a.pair.base is wifi
    stop = a.pair.next_check + 1

    def stream(peer: Peer) -> None:
        peer.send(b"\x17" + repr(network.now).encode())
        if network.now < stop:
            network.call_at(network.now + 0.01, lambda: stream(peer))

    stream(a)
    stream(z)
    network.run(a.pair.next_check + since_check - network.now)
    died = network.now
    network.blocked = lambda source, destination: wifi.address in (source[0], destination[0])

    def arrived(peer: Peer, links: set[str]) -> bool:
        return any(float(data[1:]) > died and {base.address, source[0]} & links for data, base, source in peer.data)

    assert network.run(5, lambda: arrived(z, {mobile.address}) and arrived(a, {mobile.address}))
    assert network.now - died <= 0.4
