"""A network on a virtual clock, itself a sans-IO machine: datagrams and time in, datagrams when their time has come.

A `Network` is two `Link`s, one per direction, each with its own `Conditions`. All chance comes from one seeded
generator, so that the same calls give the same network.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from datachan.sctp.errors import BadPacket
from datachan.sctp.wire.packet import Packet, parse_packet_untrusted

Predicate = Callable[[Packet], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What one direction does to datagrams.

    Attributes:
        latency: seconds every datagram takes.
        jitter: up to this many seconds more, without overtaking.
        rate: bytes per second the bottleneck lets through, 0 for no bottleneck.
        queue: bytes that may wait at the bottleneck; what does not fit is dropped at the tail. 0 for no limit.
        loss: the probability of a datagram being lost.
        duplication: the probability of a datagram coming twice.
        reordering: the probability of a datagram being held back so that later ones overtake it.
        reordering_delay: up to how many seconds it is held back.
        corruption: the probability of one bit being flipped.
        mtu: longer datagrams are dropped, 0 for no limit.
        outages: (start, end) times between which everything is dropped.
    """

    latency: float = 0.01
    jitter: float = 0.0
    rate: float = 0.0
    queue: int = 0
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    reordering_delay: float = 0.05
    corruption: float = 0.0
    mtu: int = 0
    outages: tuple[tuple[float, float], ...] = ()


PERFECT = Conditions()


def as_packet(datagram: bytes) -> Packet | None:
    """The datagram as an SCTP packet, or None when it is none; a zero checksum is fine."""
    try:
        return parse_packet_untrusted(datagram, zero_checksum_acceptable=True)
    except BadPacket:
        return None


@dataclass(frozen=True, slots=True)
class Passage:
    """One datagram's fate, for tests to look at and for people to read when one fails.

    Attributes:
        time: when it was sent.
        arrival: when it arrives, or None when it does not.
        datagram: what was sent.
        fate: a word or two.
    """

    time: float
    arrival: float | None
    datagram: bytes
    fate: str

    @property
    def packet(self) -> Packet | None:
        """What was sent as an SCTP packet, or None when it is none."""
        return as_packet(self.datagram)


class Link:
    """One direction of a network."""

    def __init__(self, conditions: Conditions, chance: random.Random) -> None:
        self.conditions = conditions
        self.passages: list[Passage] = []
        self._chance = chance
        self._under_way: list[tuple[float, int, bytes]] = []
        self._count = 0
        self._bottleneck_free_at = float("-inf")
        self._latest_arrival = float("-inf")
        self._filters: list[_Filter] = []
        self._replacements: list[tuple[Predicate, Callable[[bytes], bytes]]] = []

    def drop(self, predicate: Predicate = lambda packet: True, *, count: int | None = None) -> None:
        """Drops the next `count` SCTP packets for which the predicate is true; None drops all from now on."""
        self._filters.append(_Filter(predicate, count))

    def replace(self, predicate: Predicate, change: Callable[[bytes], bytes]) -> None:
        """Changes the next SCTP packet for which the predicate is true into another datagram."""
        self._replacements.append((predicate, change))

    def stop_dropping(self) -> None:
        """Forgets what `drop` was told."""
        self._filters.clear()

    def send(self, datagrams: Iterable[bytes], now: float) -> None:
        """Takes datagrams; some will come out of `arrived`, perhaps changed, perhaps twice."""
        for datagram in datagrams:
            datagram = self._replaced(datagram) if self._replacements else datagram
            self._send(datagram, now)
            while self._chance.random() < self.conditions.duplication:
                self._send(datagram, now, "duplicate")

    def inject(self, datagram: bytes, arrival: float) -> None:
        """Puts a datagram on the line that nobody sent, arriving at this time whatever the conditions."""
        self._schedule(datagram, arrival)

    def next_arrival(self) -> float | None:
        """When the next datagram arrives."""
        return self._under_way[0][0] if self._under_way else None

    def arrived(self, now: float) -> list[bytes]:
        """The datagrams that have arrived by now, in order of arrival."""
        datagrams = []
        while self._under_way and self._under_way[0][0] <= now:
            datagrams.append(heapq.heappop(self._under_way)[2])
        return datagrams

    def _send(self, datagram: bytes, now: float, fate: str = "") -> None:
        reason = self._why_dropped(datagram, now)
        if reason:
            self.passages.append(Passage(now, None, datagram, f"{fate} {reason}".strip()))
            return
        sent = datagram
        if self._chance.random() < self.conditions.corruption:
            position, bit = self._chance.randrange(len(datagram)), self._chance.randrange(8)
            changed = bytes([datagram[position] ^ (1 << bit)])
            datagram = datagram[:position] + changed + datagram[position + 1 :]
            fate = f"{fate} corrupt".strip()
        arrival = self._arrival(len(datagram), now)
        if self._chance.random() < self.conditions.reordering:
            arrival += self._chance.uniform(0, self.conditions.reordering_delay)
            fate = f"{fate} held back".strip()
        else:
            arrival = max(arrival, self._latest_arrival)
            self._latest_arrival = arrival
        self.passages.append(Passage(now, arrival, sent, fate))
        self._schedule(datagram, arrival)

    def _schedule(self, datagram: bytes, arrival: float) -> None:
        self._count += 1
        heapq.heappush(self._under_way, (arrival, self._count, datagram))

    def _arrival(self, size: int, now: float) -> float:
        conditions = self.conditions
        departure = now
        if conditions.rate:
            departure = max(now, self._bottleneck_free_at) + size / conditions.rate
            self._bottleneck_free_at = departure
        return departure + conditions.latency + self._chance.uniform(0, conditions.jitter)

    def _why_dropped(self, datagram: bytes, now: float) -> str:
        conditions = self.conditions
        if self._is_filtered(datagram):
            return "filtered"
        if conditions.mtu and len(datagram) > conditions.mtu:
            return "too big"
        if any(start <= now < end for start, end in conditions.outages):
            return "outage"
        if self._chance.random() < conditions.loss:
            return "lost"
        waiting = max(0.0, self._bottleneck_free_at - now) * conditions.rate
        if conditions.rate and conditions.queue and waiting + len(datagram) > conditions.queue:
            return "queue full"
        return ""

    def _replaced(self, datagram: bytes) -> bytes:
        packet = as_packet(datagram)
        for index, (predicate, change) in enumerate(self._replacements):
            if packet is not None and predicate(packet):
                del self._replacements[index]
                return change(datagram)
        return datagram

    def _is_filtered(self, datagram: bytes) -> bool:
        packet = as_packet(datagram) if self._filters else None
        return packet is not None and any(a_filter.takes(packet) for a_filter in self._filters)


class _Filter:
    def __init__(self, predicate: Predicate, count: int | None) -> None:
        self.predicate = predicate
        self.left = count

    def takes(self, packet: Packet) -> bool:
        if self.left == 0 or not self.predicate(packet):
            return False
        if self.left is not None:
            self.left -= 1
        return True


class Network:
    """Two links between A and Z.

    Args:
        seed: of all chance in this network.
        to_z: conditions from A to Z.
        to_a: conditions from Z to A; those from A to Z when left out.
    """

    def __init__(self, seed: int = 0, to_z: Conditions = PERFECT, to_a: Conditions | None = None) -> None:
        chance = random.Random(seed)
        self.seed = seed
        self.to_z = Link(to_z, random.Random(chance.getrandbits(64)))
        self.to_a = Link(to_a or to_z, random.Random(chance.getrandbits(64)))

    def next_arrival(self) -> float | None:
        """When the next datagram arrives, in either direction."""
        return earliest([self.to_z.next_arrival(), self.to_a.next_arrival()])

    def trace(self, last: int = 60) -> str:
        """What passed, a line per datagram."""
        lines = [(passage.time, "A -> Z", passage) for passage in self.to_z.passages]
        lines += [(passage.time, "A <- Z", passage) for passage in self.to_a.passages]
        lines.sort(key=lambda line: line[0])
        return "\n".join(
            f"{time:12.6f} {arrow} {passage.packet or passage.datagram.hex()} {passage.fate}"
            for time, arrow, passage in lines[-last:]
        )


def earliest(times: Sequence[float | None]) -> float | None:
    """The smallest of the times that are not None."""
    return min((time for time in times if time is not None), default=None)
