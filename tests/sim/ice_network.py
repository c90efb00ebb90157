"""A virtual network for ICE agents: hosts, NATs by the types of RFC 4787, relays, firewalls, delay and loss, by seed.

Addresses are plain strings. An address that begins with "10." exists once behind each NAT; all others are public.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from datachan.ice.copies import Copies
from datachan.ice_agent import (
    HOST,
    RELAY,
    SRFLX,
    AgentEvent,
    AgentOptions,
    Base,
    CandidatePair,
    Credentials,
    DoubtDispelled,
    IceAgent,
    IceSession,
    LocalCandidate,
    PairDoubted,
    PairSelected,
    PathLost,
    RemoteParameters,
    TransportAddress,
    make_candidate,
)

Dependence = Literal["independent", "address", "port"]
STUN_SERVER = ("192.0.2.1", 3478)
Receive = Callable[[bytes, TransportAddress], None]


@dataclass
class Nat:
    """A NAT with one public address.

    Attributes:
        mapping: what of the destination a mapping depends on (RFC 4787, 4.1).
        filtering: what of the source inbound datagrams are filtered by (RFC 4787, 5).
        hairpin: whether hosts behind it reach one another by their public addresses.
    """

    address: str
    mapping: Dependence = "independent"
    filtering: Dependence = "port"
    hairpin: bool = False
    _mappings: dict[object, int] = field(default_factory=dict)
    _inside: dict[int, TransportAddress] = field(default_factory=dict)
    _contacted: dict[int, set[TransportAddress]] = field(default_factory=dict)
    _next_port: int = 20_000

    def outbound(self, source: TransportAddress, destination: TransportAddress) -> TransportAddress:
        key = (source, *_depends(destination, self.mapping))
        if key not in self._mappings:
            self._next_port += 1
            self._mappings[key] = self._next_port
            self._inside[self._next_port] = source
            self._contacted[self._next_port] = set()
        port = self._mappings[key]
        self._contacted[port].add(destination)
        return self.address, port

    def inbound(self, source: TransportAddress, port: int) -> TransportAddress | None:
        if port not in self._inside:
            return None
        kept = {_depends(one, self.filtering) for one in self._contacted[port]}
        return self._inside[port] if _depends(source, self.filtering) in kept else None

    def rebind(self) -> None:
        """Forget all mappings, as a NAT that restarts does."""
        self._mappings.clear()
        self._inside.clear()
        self._contacted.clear()


def _depends(address: TransportAddress, on: Dependence) -> tuple[object, ...]:
    return {"independent": (), "address": (address[0],), "port": address}[on]


class Network:
    """Delivers datagrams and runs agents on a virtual clock.

    Args:
        seed: decides what is lost, and all that is random in the agents.
        delay: one-way, in seconds.
        loss: the share of datagrams that are lost.

    Attributes:
        blocked: returns whether a datagram between two realms' addresses is dropped by a firewall.
        now: the time.
    """

    def __init__(self, seed: int, *, delay: float = 0.02, loss: float = 0.0) -> None:
        self.random = random.Random(seed)
        self.delay = delay
        self.loss = loss
        self.now = 0.0
        self.blocked: Callable[[TransportAddress, TransportAddress], bool] = lambda source, destination: False
        self.peers: list[Peer] = []
        self.sent = 0
        self._sockets: dict[tuple[int, TransportAddress], Receive] = {}
        self._nats: dict[str, Nat] = {}
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def add_nat(self, nat: Nat) -> Nat:
        self._nats[nat.address] = nat
        return nat

    def open(self, realm: Nat | None, address: TransportAddress, receive: Receive) -> None:
        self._sockets[id(realm) if realm else 0, address] = receive

    def close(self, realm: Nat | None, address: TransportAddress) -> None:
        self._sockets.pop((id(realm) if realm else 0, address), None)

    def call_at(self, time: float, call: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (time, self._count, call))

    def send(self, realm: Nat | None, source: TransportAddress, destination: TransportAddress, data: bytes) -> None:
        """Send a datagram from a socket; it arrives a delay later, or never."""
        self.sent += 1
        if self.random.random() < self.loss:
            return
        if realm is not None and not destination[0].startswith("10."):
            outside = realm.outbound(source, destination)
            same = destination[0] == realm.address
            if same and not realm.hairpin:
                return
            self.call_at(self.now + self.delay, lambda: self._arrive(None, outside, destination, data))
        elif realm is not None or not destination[0].startswith("10."):
            self.call_at(self.now + self.delay, lambda: self._arrive(realm, source, destination, data))

    def _arrive(self, realm: Nat | None, source: TransportAddress, destination: TransportAddress, data: bytes) -> None:
        if self.blocked(source, destination):
            return
        nat = self._nats.get(destination[0]) if realm is None else None
        if nat is not None:
            inside = nat.inbound(source, destination[1])
            if inside is None:
                return
            realm, destination = nat, inside
        receive = self._sockets.get((id(realm) if realm else 0, destination))
        if receive is not None:
            receive(data, source)

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Run for a time, or until a condition holds; return whether it does."""
        end = self.now + seconds
        for peer in self.peers:
            peer.flush()
        while True:
            if until is not None and until():
                return True
            timers = [peer.next_timeout() for peer in self.peers]
            times = [time for time in timers if time is not None] + [entry[0] for entry in self._queue[:1]]
            if not times or min(times) > end:
                self.now = end
                return until is None or until()
            self.now = max(self.now, min(times))
            while self._queue and self._queue[0][0] <= self.now:
                heapq.heappop(self._queue)[2]()
            for peer in self.peers:
                peer.expire()


class Peer:
    """An agent with its sockets.

    Args:
        network: the network.
        name: the name, which is its username fragment.
        controlling: the role.
        options: times and bounds.

    Attributes:
        data: the datagrams received that are not STUN, each with its base and source.
        refused: the number of such datagrams from addresses that have proved nothing.
        history: the events of the agent.
    """

    def __init__(self, network: Network, name: str, *, controlling: bool, options: AgentOptions | None = None) -> None:
        self.network = network
        self.credentials = Credentials(name, name * 22)
        self.agent = IceAgent(
            credentials=self.credentials,
            controlling=controlling,
            entropy=network.random.randbytes,
            now=network.now,
            options=options,
        )
        self.candidates: list[LocalCandidate] = []
        self.realms: dict[Base, Nat | None] = {}
        self.relayed: dict[Base, set[str]] = {}
        self.data: list[tuple[bytes, Base, TransportAddress]] = []
        self.refused = 0
        self.history: list[AgentEvent] = []
        self.suspended = False
        self._copies = Copies()
        network.peers.append(self)

    # links

    def add_host(self, address: str, realm: Nat | None = None, *, port: int = 5000, rank: int = 0) -> Base:
        base = Base(address, port)
        self.realms[base] = realm
        self.network.open(realm, (address, port), lambda data, source: self._receive(data, source, base))
        self._add(make_candidate(HOST, (address, port), base, rank=rank))
        if realm is not None:
            mapped = realm.outbound((address, port), STUN_SERVER)
            self._add(make_candidate(SRFLX, mapped, base, rank=rank, related=(address, port)))
        return base

    def add_relay(self, address: str, port: int = 50_000) -> Base:
        base = Base(address, port, relayed=True)
        self.realms[base] = None
        permitted = self.relayed[base] = set()
        self.network.open(
            None,
            (address, port),
            lambda data, source: self._receive(data, source, base) if source[0] in permitted else None,
        )
        self._add(make_candidate(RELAY, (address, port), base))
        return base

    def remove(self, base: Base) -> None:
        self.network.close(self.realms[base], (base.address, base.port))
        self.candidates = [one for one in self.candidates if one.base is not base]
        self.agent.remove_base(base, self.network.now)
        self.flush()

    def _add(self, candidate: LocalCandidate) -> None:
        self.candidates.append(candidate)
        self.agent.add_local_candidate(candidate, self.network.now)

    # signaling

    def learn(
        self,
        other: Peer,
        *,
        renomination: bool = True,
        ice2: bool = True,
        lite: bool = False,
        embeds: bool = False,
    ) -> None:
        parameters = RemoteParameters(
            credentials=other.credentials, renomination=renomination, ice2=ice2, lite=lite, embeds=embeds
        )
        self.agent.set_remote(parameters, self.network.now)
        for candidate in other.candidates:
            self.hear(candidate)
        self.flush()

    def hear(self, candidate: LocalCandidate) -> None:
        """Take one signaled candidate."""
        self.agent.add_remote_candidate(candidate.candidate, self.network.now)
        for permitted in self.relayed.values():
            permitted.add(candidate.candidate.address)
        self.flush()

    # an ICE restart

    def prepare(self, name: str) -> IceSession:
        """Make new credentials, as the offer or answer of a restart does."""
        self.credentials = Credentials(name, name * 22)
        session = self.agent.prepare_restart(self.credentials, self.network.now)
        for candidate in self.candidates:
            session.add_local_candidate(candidate, self.network.now)
        self.flush()
        return session

    def restart(self, other: Peer, *, at_once: bool = False, lite: bool = False) -> None:
        """Take the credentials and candidates of the other side's description, which completes the negotiation."""
        parameters = RemoteParameters(credentials=other.credentials, renomination=True, ice2=True, lite=lite)
        self.agent.restart(parameters, self.network.now, at_once=at_once)
        for candidate in other.candidates:
            fragment = other.credentials.username_fragment
            self.agent.add_remote_candidate(candidate.candidate, self.network.now, fragment=fragment)
        self.flush()

    @property
    def fragment(self) -> str:
        """Our username fragment of the session in use."""
        return self.agent.current.username_fragment

    # the shell

    def _receive(self, data: bytes, source: TransportAddress, base: Base) -> None:
        if self.suspended:
            return
        now = self.network.now
        if data[:1] < b"\4":
            self.agent.receive_datagrams([(data, source)], base, now)
        elif self.agent.accepts(base, source, now):
            self.data.append((data, base, source))
        else:
            self.refused += 1
            self.agent.note_stranger(base, source, now)
        self.flush()

    def send(self, data: bytes) -> None:
        pair = self.agent.selected
        assert pair is not None
        self._send(pair.base, pair.destination, data)
        self._copies.note([data], self.network.now)
        if self.agent.watches_sending:
            self.agent.note_sending(self.network.now)
        self.flush()

    def _copy(self, event: AgentEvent) -> None:
        """Send copies while the pair in use is in doubt, as `datachan.ice.link` does."""
        if isinstance(event, PairDoubted):
            pair = event.alternative
            self._copies.start(
                lambda datagrams: [self._send(pair.base, pair.destination, one) for one in datagrams] and None,
                self.network.now - event.unanswered,
            )
        elif isinstance(event, DoubtDispelled):
            self._copies.stop()
        elif isinstance(event, PairSelected | PathLost):
            self._copies = Copies()

    def _send(self, base: Base, destination: TransportAddress, data: bytes) -> None:
        if base in self.relayed:
            self.relayed[base].add(destination[0])
        self.network.send(self.realms[base], (base.address, base.port), destination, data)

    def flush(self) -> None:
        if self.suspended:
            return
        while datagrams := self.agent.datagrams_to_send(self.network.now):
            for base, destination, data in datagrams:
                self._send(base, destination, data)
        events = self.agent.events()
        self.history += events
        for event in events:
            self._copy(event)

    def next_timeout(self) -> float | None:
        return None if self.suspended else self.agent.next_timeout()

    def expire(self) -> None:
        if not self.suspended:
            self.agent.handle_timeout(self.network.now)
            self.flush()

    @property
    def pair(self) -> CandidatePair | None:
        return self.agent.selected

    @property
    def selections(self) -> list[CandidatePair]:
        return [event.pair for event in self.history if isinstance(event, PairSelected)]

    @property
    def losses(self) -> list[str]:
        return [event.reason for event in self.history if isinstance(event, PathLost)]


def agree(network: Network, a: Peer, z: Peer) -> bool:
    """Return whether both have a pair, and data of each arrives at the other on the pair it uses itself."""
    if a.pair is None or z.pair is None:
        return False
    loss, network.loss = network.loss, 0.0
    marks = {a: network.random.randbytes(8), z: network.random.randbytes(8)}
    a.send(b"\x17" + marks[a])
    z.send(b"\x17" + marks[z])
    network.run(2.5 * network.delay)
    network.loss = loss
    return _arrived(z, marks[a]) and _arrived(a, marks[z])


def _arrived(peer: Peer, mark: bytes) -> bool:
    pair = peer.pair
    return pair is not None and (b"\x17" + mark, pair.base, pair.destination) in peer.data
