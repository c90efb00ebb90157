"""Bulk transfers through simulated links, including the rows of the table of links, and the share of the link they use.

The links are those that `make bench-links` measures with real sockets (tests/links/bench.py); here the clock is
virtual.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from datachan.sctp.association import Association, AssociationState
from datachan.sctp.events import AssociationEstablished, MessageReceived, StreamProgress
from datachan.sctp.options import data_channel_options
from tests.links.bench import ROWS

from .crowd import Crowd
from .host import Host, Load
from .network import Conditions, Network
from .pair import Pair
from .seeds import entropy

DEFAULT = data_channel_options().congestion_control
MESSAGE = bytes(65536)
AHEAD = 2_000_000
"""Bytes the application keeps queued."""


def conditions(row: str) -> Conditions:
    """Return one direction of a link of the table, by its name."""
    link = ROWS[row].link
    return Conditions(latency=link.delay, rate=link.rate / 8, queue=link.queue, loss=link.loss)


def channel_association(number: int, congestion_control: str = DEFAULT, **options: Any) -> Association:
    """Return an association with the options of data channels and entropy of its own."""
    chosen = replace(data_channel_options(congestion_control=congestion_control), **options)
    return Association(chosen, entropy(number))


class Bulk:
    """A transfer from A to Z, whose application reads at once.

    Args:
        pair: A and Z, not connected yet.
        answers: whether Z sends one message at the beginning, as DCEP does; otherwise it never sends data.
        total: the bytes of the transfer; 0 for an endless one.

    Attributes:
        received: bytes of complete messages at Z.
    """

    def __init__(self, pair: Pair, *, answers: bool = True, total: int = 0) -> None:
        self.received = 0
        self._endless = not total
        self._left = total
        self._answers = answers
        self._pair = pair
        pair.a.on_event = self._at_a
        pair.z.on_event = self._at_z
        pair.a.machine.connect(pair.now)
        self._refill()

    @property
    def established(self) -> bool:
        """Whether the handshake is complete at A."""
        return bool(self._pair.a.machine.state is AssociationState.ESTABLISHED)

    def add(self, size: int) -> None:
        """Transfer this number of bytes more."""
        self._left += size
        self._refill()

    def _refill(self) -> None:
        a = self._pair.a.machine
        while a.buffered_amount(1) < AHEAD and (self._endless or self._left):
            message = MESSAGE if self._endless else MESSAGE[: self._left]
            self._left -= len(message)
            a.send(1, message, ppid=53, now=self._pair.now)

    def _at_a(self, event: object, now: float) -> None:
        if isinstance(event, StreamProgress):
            self._refill()

    def _at_z(self, event: object, now: float) -> None:
        if isinstance(event, AssociationEstablished) and self._answers:
            self._pair.z.machine.send(1, b"\x02", ppid=50, now=now)
        if isinstance(event, MessageReceived):
            self.received += len(event.data)
            self._pair.z.machine.message_consumed(len(event.data), now)


def bulk_pair(
    row: str, congestion_control: str, seed: int = 5, load: Load | None = None, *, answers: bool = True, total: int = 0
) -> tuple[Pair, Bulk]:
    """Return a transfer on one link of the table, before its first packet, on hosts under this load."""
    way = conditions(row)
    a, z = (channel_association(number, congestion_control) for number in (1, 2))
    hosts = (None, None) if load is None else (Host(load, 2 * seed), Host(load, 2 * seed + 1))
    pair = Pair(a, z, Network(seed, way, way), hosts=hosts)
    return pair, Bulk(pair, answers=answers, total=total)


def share_of_link(
    row: str,
    congestion_control: str,
    warm_up: float,
    seconds: float,
    seed: int = 5,
    load: Load | None = None,
    *,
    answers: bool = True,
) -> float:
    """Return the share of a link of the table that a transfer uses, 0 to 1.

    Args:
        row: the link's name.
        congestion_control: the controller of both sides.
        warm_up: seconds before the measurement.
        seconds: the length of the measurement.
        seed: the seed of the link and the hosts.
        load: the delays of the hosts; None for none.
        answers: see `Bulk`.
    """
    pair, bulk = bulk_pair(row, congestion_control, seed, load, answers=answers)
    pair.run(warm_up)
    before = bulk.received
    pair.run(seconds)
    return (bulk.received - before) / seconds / conditions(row).rate


def share_of_transfer(row: str, congestion_control: str, size: int, seed: int = 5) -> float:
    """Return the share of a link of the table that a whole transfer of `size` bytes uses, from opening to last byte."""
    pair, bulk = bulk_pair(row, congestion_control, seed, total=size)
    pair.run_until(lambda: bulk.established)
    opened = pair.now
    pair.run_until(lambda: bulk.received >= size)
    return size / (pair.now - opened) / conditions(row).rate


def compete(controls: list[str], way: Conditions, stagger: float, warm_up: float, seconds: float) -> list[float]:
    """Run transfers through one bottleneck, each of which starts some time after the previous one.

    Args:
        controls: the congestion control of each transfer.
        way: both directions of the shared link.
        stagger: seconds between two starts.
        warm_up: seconds from the last start until the measurement.
        seconds: the length of the measurement.

    Returns:
        The share of the link that each transfer had.
    """
    machines = [
        (channel_association(2 * number + 1, control), channel_association(2 * number + 2, control))
        for number, control in enumerate(controls)
    ]
    crowd = Crowd(machines, Network(5, way, way))
    bulks = []
    for pair in crowd.pairs:
        bulks.append(Bulk(pair))
        crowd.run(stagger)
    crowd.run(warm_up)
    before = [bulk.received for bulk in bulks]
    crowd.run(seconds)
    return [(bulk.received - had) / seconds / way.rate for bulk, had in zip(bulks, before, strict=True)]
