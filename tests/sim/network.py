"""A network on a virtual clock, a sans-IO machine itself: it returns datagrams when they have arrived.

A `Network` is two `Link`s, one per direction, each with its own `Conditions`. One seeded generator decides everything
random, so that the same calls give the same network.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from datachan.sctp.errors import BadPacket
from datachan.sctp.wire.packet import Packet, parse_packet_untrusted

from .queues import CoDel, GilbertElliott

RECORD_LIMIT = 16384
"""Bytes that a DTLS record holds. A longer SCTP packet cannot be sent over DTLS at all."""

Predicate = Callable[[Packet], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The properties of one direction.

    Attributes:
        latency: seconds every datagram takes.
        jitter: up to this many further seconds, without overtaking.
        rate: bytes per second of the bottleneck, 0 for no bottleneck.
        queue: bytes that may wait at the bottleneck; a datagram that does not fit is dropped at the tail. 0 for no
            limit.
        codel: whether the bottleneck's queue also drops as CoDel does (RFC 8289).
        policer: (bytes per second, bytes at once): a token bucket that drops what exceeds it, without a queue.
        loss: the probability that a datagram is lost.
        burst_loss: loss in bursts in addition, or None.
        duplication: the probability that a datagram arrives twice.
        reordering: the probability that a datagram is delayed so that later ones overtake it.
        reordering_delay: the longest such delay in seconds.
        corruption: the probability that one bit is flipped.
        mtu: longer datagrams are dropped, 0 for no limit.
        fragments: whether longer datagrams are fragmented instead, if their sender allows it.
        limit: longer datagrams are an error of the sender, as for a DTLS record; 0 for no limit.
        shrinks: (time, mtu): the MTU from that time on.
        outages: (start, end) times between which everything is dropped.
    """

    latency: float = 0.01
    jitter: float = 0.0
    rate: float = 0.0
    queue: int = 0
    codel: bool = False
    policer: tuple[float, int] | None = None
    loss: float = 0.0
    burst_loss: GilbertElliott | None = None
    duplication: float = 0.0
    reordering: float = 0.0
    reordering_delay: float = 0.05
    corruption: float = 0.0
    mtu: int = 0
    fragments: bool = False
    limit: int = 0
    shrinks: tuple[float, int] | None = None
    outages: tuple[tuple[float, float], ...] = ()


class TooLong(AssertionError):
    """A machine sent a datagram that its lower layer cannot carry at all."""


PERFECT = Conditions()


def as_packet(datagram: bytes) -> Packet | None:
    """Return the datagram as an SCTP packet, or None when it is not one; a zero checksum is accepted."""
    try:
        return parse_packet_untrusted(datagram, zero_checksum_acceptable=True)
    except BadPacket:
        return None


@dataclass(frozen=True, slots=True)
class Passage:
    """The record of one datagram, for tests to inspect and for people to read.

    Attributes:
        time: when it was sent.
        arrival: when it arrives, or None when it does not.
        datagram: its bytes as sent.
        fate: a word or two on what happened to it.
    """

    time: float
    arrival: float | None
    datagram: bytes
    fate: str

    @property
    def packet(self) -> Packet | None:
        """The datagram as an SCTP packet, or None when it is not one."""
        return as_packet(self.datagram)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A datagram in transit: when it was sent, its bytes as sent and as changed, and its flow."""

    time: float
    sent: bytes
    datagram: bytes
    flow: int
    fate: str


class Link:
    """One direction of a network."""

    def __init__(self, conditions: Conditions, chance: random.Random) -> None:
        self.conditions = conditions
        self.passages: list[Passage] = []
        self._chance = chance
        self._under_way: list[tuple[float, int, int, bytes]] = []
        self._codel: CoDel[_Waiting] = CoDel()
        self._in_burst = False
        self._whole = False
        self._count = 0
        self._bottleneck_free_at = float("-inf")
        self._tokens = conditions.policer[1] if conditions.policer else 0.0
        self._tokens_at = 0.0
        self._latest_arrival = float("-inf")
        self._filters: list[_Filter] = []
        self._replacements: list[tuple[Predicate, Callable[[bytes], bytes]]] = []

    def drop(self, predicate: Predicate = lambda packet: True, *, count: int | None = None) -> None:
        """Drop the next `count` SCTP packets for which the predicate is true; with None, all from now on."""
        self._filters.append(_Filter(predicate, count))

    def replace(self, predicate: Predicate, change: Callable[[bytes], bytes]) -> None:
        """Replace the next SCTP packet for which the predicate is true by another datagram."""
        self._replacements.append((predicate, change))

    def stop_dropping(self) -> None:
        """Cancel all calls of `drop`."""
        self._filters.clear()

    def send(self, datagrams: Iterable[bytes], now: float, flow: int = 0, *, dont_fragment: bool = False) -> None:
        """Accept datagrams; `arrived` returns them later, perhaps changed, perhaps twice.

        Args:
            datagrams: the datagrams.
            now: the time.
            flow: their flow, when several pairs use the link.
            dont_fragment: whether they must not be fragmented.
        """
        self._serve(now)
        self._whole = dont_fragment
        limit = self.conditions.limit
        for datagram in datagrams:
            if limit and len(datagram) > limit:
                raise TooLong(
                    f"a datagram of {len(datagram)} bytes exceeds the {limit} of the lower layer: {as_packet(datagram)}"
                )
            datagram = self._replaced(datagram) if self._replacements else datagram
            self._send(datagram, now, flow)
            while self._chance.random() < self.conditions.duplication:
                self._send(datagram, now, flow, "duplicate")

    def inject(self, datagram: bytes, arrival: float) -> None:
        """Add a datagram that no machine sent; it arrives at this time whatever the conditions."""
        self._schedule(datagram, arrival)

    def next_arrival(self) -> float | None:
        """Return when the next datagram arrives or the next waiting datagram may leave the queue."""
        arrival = self._under_way[0][0] if self._under_way else None
        return earliest([arrival, self._bottleneck_free_at]) if self._codel else arrival

    def arrived(self, now: float) -> list[bytes]:
        """Return the datagrams that have arrived by now, in order of arrival."""
        return [datagram for _, _, datagram in self.arrivals(now)]

    def arrivals(self, now: float) -> list[tuple[float, int, bytes]]:
        """Return the datagrams as `arrived` does, each with its arrival time and flow."""
        self._serve(now)
        arrivals = []
        while self._under_way and self._under_way[0][0] <= now:
            arrival, _, flow, datagram = heapq.heappop(self._under_way)
            arrivals.append((arrival, flow, datagram))
        return arrivals

    def _send(self, datagram: bytes, now: float, flow: int, fate: str = "") -> None:
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
        waiting = _Waiting(now, sent, datagram, flow, fate)
        conditions = self.conditions
        if conditions.codel and conditions.rate:
            self._codel.put(waiting, len(datagram), now)
            self._serve(now)
            return
        departure = now
        if conditions.rate:
            departure = max(now, self._bottleneck_free_at) + len(datagram) / conditions.rate
            self._bottleneck_free_at = departure
        self._travel(waiting, departure)

    def _has_tokens(self, policer: tuple[float, int], length: int, now: float) -> bool:
        """Take the tokens for a datagram from the policer's bucket; return whether there were enough."""
        rate, depth = policer
        self._tokens = min(self._tokens + (now - self._tokens_at) * rate, depth)
        self._tokens_at = now
        if self._tokens < length:
            return False
        self._tokens -= length
        return True

    def _serve(self, now: float) -> None:
        """Let the bottleneck send until now, when its queue decides about drops while it sends."""
        queue = self._codel
        while queue and self._bottleneck_free_at <= now:
            moment = max(self._bottleneck_free_at, queue.head_since)
            next_one = queue.take(moment)
            for waiting in queue.dropped:
                self.passages.append(Passage(waiting.time, None, waiting.sent, f"{waiting.fate} CoDel".strip()))
            queue.dropped.clear()
            if next_one is None:
                return
            waiting, size = next_one
            self._bottleneck_free_at = moment + size / self.conditions.rate
            self._travel(waiting, self._bottleneck_free_at)

    def _travel(self, waiting: _Waiting, departure: float) -> None:
        """Schedule the arrival of a datagram that has left the bottleneck."""
        conditions, fate = self.conditions, waiting.fate
        arrival = departure + conditions.latency + self._chance.uniform(0, conditions.jitter)
        if self._chance.random() < conditions.reordering:
            arrival += self._chance.uniform(0, conditions.reordering_delay)
            fate = f"{fate} held back".strip()
        else:
            arrival = max(arrival, self._latest_arrival)
            self._latest_arrival = arrival
        self.passages.append(Passage(waiting.time, arrival, waiting.sent, fate))
        self._schedule(waiting.datagram, arrival, waiting.flow)

    def _schedule(self, datagram: bytes, arrival: float, flow: int = 0) -> None:
        self._count += 1
        heapq.heappush(self._under_way, (arrival, self._count, flow, datagram))

    def _why_dropped(self, datagram: bytes, now: float) -> str:
        conditions = self.conditions
        if self._is_filtered(datagram):
            return "filtered"
        mtu = conditions.mtu
        if conditions.shrinks is not None and now >= conditions.shrinks[0]:
            mtu = conditions.shrinks[1]
        if mtu and len(datagram) > mtu and (self._whole or not conditions.fragments):
            return "too big"
        if any(start <= now < end for start, end in conditions.outages):
            return "outage"
        if self._chance.random() < conditions.loss:
            return "lost"
        if conditions.burst_loss:
            self._in_burst = conditions.burst_loss.next_state(self._in_burst, self._chance)
            if conditions.burst_loss.loses(self._in_burst, self._chance):
                return "lost in a burst"
        if conditions.policer and not self._has_tokens(conditions.policer, len(datagram), now):
            return "policed"
        if conditions.codel:
            return "queue full" if conditions.queue and self._codel.size + len(datagram) > conditions.queue else ""
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
        seed: the seed of everything random in this network.
        to_z: conditions from A to Z.
        to_a: conditions from Z to A; those from A to Z by default.
    """

    def __init__(self, seed: int = 0, to_z: Conditions = PERFECT, to_a: Conditions | None = None) -> None:
        chance = random.Random(seed)
        self.seed = seed
        self.to_z = Link(to_z, random.Random(chance.getrandbits(64)))
        self.to_a = Link(to_a or to_z, random.Random(chance.getrandbits(64)))

    def next_arrival(self) -> float | None:
        """Return when the next datagram arrives, in either direction."""
        return earliest([self.to_z.next_arrival(), self.to_a.next_arrival()])

    def cut(self) -> None:
        """Drop everything in both directions from now on."""
        self.to_z.drop()
        self.to_a.drop()

    def mend(self) -> None:
        """Stop dropping."""
        self.to_z.stop_dropping()
        self.to_a.stop_dropping()

    def trace(self, last: int = 60) -> str:
        """Return the datagrams that passed, a line for each."""
        lines = [(passage.time, "A -> Z", passage) for passage in self.to_z.passages]
        lines += [(passage.time, "A <- Z", passage) for passage in self.to_a.passages]
        lines.sort(key=lambda line: line[0])
        return "\n".join(
            f"{time:12.6f} {arrow} {passage.packet or passage.datagram.hex()} {passage.fate}"
            for time, arrow, passage in lines[-last:]
        )


def earliest(times: Sequence[float | None]) -> float | None:
    """Return the smallest of the times that are not None."""
    return min((time for time in times if time is not None), default=None)
