"""A peer, or an attacker that has its keys, sends anything about addresses to a multi-homed association."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from datachan.sctp.addresses import MAX_ADDRESSES
from datachan.sctp.association import AssociationState
from datachan.sctp.wire.chunks import Chunk, HeartbeatAckChunk, InitChunk
from datachan.sctp.wire.extensions import AsconfAckChunk, AsconfChunk
from datachan.sctp.wire.packet import serialize_packet
from datachan.sctp.wire.parameters import (
    AddIpAddress,
    DeleteIpAddress,
    ErrorCauseIndication,
    IPv4Address,
    IPv6Address,
    Parameter,
    SetPrimaryAddress,
    SuccessIndication,
    UnknownParameter,
)
from tests.sim.associations import Traffic, check_books, consume
from tests.sim.multihomed import PORT, MultiHomedPair, address
from tests.sim.network import PERFECT

IPS = [*[address(path, host)[0] for path in range(4) for host in (1, 2)], "0.0.0.0", "127.0.0.1", "224.0.0.1"]
ipv4 = st.sampled_from(IPS).map(lambda ip: IPv4Address(bytes(int(part) for part in ip.split("."))))
addresses = st.one_of(ipv4, st.builds(IPv6Address, st.binary(min_size=16, max_size=16)))
ids = st.integers(0, 3)
requests: st.SearchStrategy[Parameter] = st.one_of(
    st.builds(AddIpAddress, ids, addresses),
    st.builds(DeleteIpAddress, ids, addresses),
    st.builds(SetPrimaryAddress, ids, addresses),
    st.builds(ErrorCauseIndication, ids, st.binary(max_size=12)),
    st.builds(SuccessIndication, ids),
    st.builds(UnknownParameter, st.integers(0x8100, 0xFFFF).filter(lambda kind: kind >> 8 != 0xC0), st.binary()),
    addresses,
)
offsets = st.integers(-2, 6)


@st.composite
def steps(draw: st.DrawFn) -> tuple[str, int, object]:
    """Return steps of the attacker or of the application: (kind, path or offset, more)."""
    kind = draw(st.sampled_from(["asconf", "asconf", "asconf", "ack", "nonce", "init", "user", "time", "cut"]))
    if kind in ("asconf", "ack"):
        return kind, draw(offsets), (draw(addresses), draw(st.lists(requests, max_size=20)), draw(st.booleans()))
    if kind == "init":
        return kind, draw(st.integers(0, 3)), draw(st.lists(addresses, max_size=20))
    return kind, draw(st.integers(0, 3)), draw(st.integers(0, 5))


class Attack:
    """An established pair and an attacker that can authenticate as A."""

    def __init__(self, seed: int) -> None:
        self.pair = MultiHomedPair(
            [PERFECT] * 3, seed, authentication=True, dynamic_addresses=True, rto_min=0.2, rto_max=2.0
        )
        consume(self.pair.a)  # type: ignore[arg-type]
        consume(self.pair.z)  # type: ignore[arg-type]
        self.pair.connect(0)
        self.pair.run(6)
        self.traffic = Traffic(self.pair.a, self.pair.z, random.Random(seed))  # type: ignore[arg-type]
        assert self.pair.z.machine.extensions is not None
        self.first = self.pair.a.machine.local_initial_tsn
        self.answered = self.pair.z.machine.local_initial_tsn

    def forge(self, path: int, *carried: Chunk, signed: bool = True) -> None:
        """Pass Z a packet with the right tag, authenticated as A would."""
        a, z = self.pair.a.machine, self.pair.z
        auth = a.authenticator
        if auth is None:
            return
        wire = [chunk.serialize() for chunk in carried]
        if signed:
            wire.insert(0, auth.sign(wire, 0))
        source = address(path, 1)
        z.machine.receive_datagrams([serialize_packet(5000, 5000, a.peer_tag, wire)], self.pair.now, source)

    def take(self, kind: str, number: int, more: object) -> None:
        pair = self.pair
        if kind in ("asconf", "ack"):
            own, parameters, signed = more  # type: ignore[misc]
            path = number % 4
            if kind == "asconf":
                self.forge(path, AsconfChunk(self.first + number & 0xFFFFFFFF, own, parameters), signed=signed)
            else:
                self.forge(path, AsconfAckChunk(self.answered + number & 0xFFFFFFFF, parameters), signed=signed)
        elif kind == "init":
            init = InitChunk(7, 100_000, 1, 1, 1, more)  # type: ignore[arg-type]
            packet = serialize_packet(5000, 5000, 0, [init.serialize()])
            pair.z.machine.receive_datagrams([packet], pair.now, address(number, 1))
        elif kind == "nonce":
            self.forge(number, HeartbeatAckChunk(bytes(12)))
        elif kind == "user":
            self.act(number, int(str(more)))
        elif kind == "cut" and number < 3:
            pair.cut(number) if int(str(more)) % 2 else pair.mend(number)
        else:
            pair.run(int(str(more)) / 2)

    def act(self, path: int, choice: int) -> None:
        """Let Z's application do something allowed at this moment."""
        machine = self.pair.z.machine
        known = machine.peer_addresses()
        states = [found.state.value for found in machine.stats().paths]
        if choice == 0 and known and states[path % len(known)] != "unconfirmed":
            machine.set_primary(known[path % len(known)])
        elif choice == 1 and self.pair.a.machine.state is AssociationState.ESTABLISHED:
            self.traffic.send(self.pair.now, 3000, lifetime=1.0)
        elif choice == 2 and known:
            machine.set_path_parameters(known[0], self.pair.now, heartbeat_interval=path, max_retrans=path)


@settings(max_examples=150)
@given(script=st.lists(steps(), max_size=30), seed=st.integers(0, 1 << 16))
def test_no_claim_about_addresses_raises_or_exceeds_its_cost_bound(
    script: list[tuple[str, int, object]], seed: int
) -> None:
    attack = Attack(seed)
    for kind, number, more in script:
        attack.take(kind, number, more)
        machine = attack.pair.z.machine
        # A packet to an address that is not simulated is dropped.
        for _, packets in machine.packets_to_send(attack.pair.now):
            assert packets
        machine.events()
        check_books(attack.pair)  # type: ignore[arg-type]
        found = machine.peer_addresses()
        assert len(found) <= MAX_ADDRESSES
        assert len({ip for ip, _ in found}) == len(found)
        assert not {"0.0.0.0", "127.0.0.1", "224.0.0.1"} & {ip for ip, _ in found}
        stats = machine.stats()
        if stats.paths:
            assert sum(path.current for path in stats.paths) == 1
            assert sum(path.primary for path in stats.paths) == 1
        assert all(udp_port == PORT for _, udp_port in found)
