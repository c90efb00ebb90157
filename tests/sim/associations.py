"""Pairs of SCTP associations on a simulated network, and traffic whose delivery can be judged.

Every message carries its own number, so that what arrived can be compared with what was sent: `Traffic` sends,
collects and judges.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from datachan.sctp.association import Association, AssociationState
from datachan.sctp.events import (
    AssociationClosed,
    AssociationEstablished,
    AssociationLost,
    MessageReceived,
    SendFailed,
)
from datachan.sctp.options import AssociationOptions

from .network import Conditions, Network
from .pair import Pair, Peer
from .seeds import entropy

# Chance shall not end an association that a little patience would have saved: limits far above the defaults.
PATIENT: dict[str, Any] = {"max_init_retransmits": 40, "association_max_retrans": 60, "rto_max": 60.0}

Entropy = Callable[[int], Callable[[int], bytes]]


def associations(
    network: Network | None = None,
    *,
    seed: int = 0,
    now: float = 0.0,
    a_options: dict[str, Any] | None = None,
    z_options: dict[str, Any] | None = None,
    source: Entropy = entropy,
    **options: Any,
) -> Pair:
    """Two associations that do not know each other yet.

    Args:
        network: what is between them; a perfect one when left out.
        seed: of their entropy.
        now: where the clock begins.
        a_options: options of A alone.
        z_options: options of Z alone.
        source: makes an entropy source of a seed.
        **options: options of both.
    """
    a = Association(AssociationOptions(**{**options, **(a_options or {})}), source(2 * seed))
    z = Association(AssociationOptions(**{**options, **(z_options or {})}), source(2 * seed + 1))
    return Pair(a, z, network, now)


def established(network: Network | None = None, **options: Any) -> Pair:
    """Two associations that have finished their handshake, A having begun it."""
    pair = associations(network, **options)
    pair.a.machine.connect(pair.now)
    pair.run_until(lambda: both_told(pair, AssociationEstablished))
    return pair


def both_told(pair: Pair, kind: type) -> bool:
    """Whether both sides have had an event of this kind."""
    return bool(pair.a.of(kind)) and bool(pair.z.of(kind))


def ended(peer: Peer) -> bool:
    """Whether this side's association is over, gracefully or not."""
    return bool(peer.of(AssociationClosed) or peer.of(AssociationLost))


def is_closed(peer: Peer) -> bool:
    """Whether this side's association is in the state CLOSED."""
    return bool(peer.machine.state == AssociationState.CLOSED)


def consume(peer: Peer) -> None:
    """Makes this side give every message back at once, as an application that reads."""

    def on_event(event: Any, now: float) -> None:
        if isinstance(event, MessageReceived):
            peer.machine.message_consumed(len(event.data), now)

    peer.on_event = on_event


def check_books(pair: Pair) -> None:
    """Asks every part of both associations that keeps accounts whether they balance.

    Raises:
        AssertionError: they do not.
    """
    for peer in (pair.a, pair.z):
        peer.machine.queue.check_invariants()
        tcb = peer.machine.tcb
        if tcb is not None:
            tcb.tracker.check_invariants()
            tcb.reassembly.check_invariants()
            tcb.sender.outstanding.check_invariants()


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that was given to `send`."""

    number: int
    stream_id: int
    ppid: int
    data: bytes
    unordered: bool
    reliable: bool


class Traffic:
    """Messages from one side to the other, and the judgment of what arrived.

    Args:
        sender: sends; its `SendFailed` events are taken for what they say.
        receiver: receives.
        chance: where sizes, streams and content come from.
    """

    def __init__(self, sender: Peer, receiver: Peer, chance: random.Random) -> None:
        self.sender = sender
        self.receiver = receiver
        self.sent: list[Sent] = []
        self._chance = chance

    def send(
        self,
        now: float,
        size: int,
        stream_id: int = 0,
        *,
        unordered: bool = False,
        lifetime: float | None = None,
        max_retransmissions: int | None = None,
        **more: Any,
    ) -> None:
        """Sends one message of this size; at least four bytes, which tell its number."""
        number = len(self.sent)
        data = number.to_bytes(4, "big") + self._chance.randbytes(max(0, size - 4))
        ppid = self._chance.choice([51, 53, 0, 0xFFFFFFFF])
        reliable = lifetime is None and max_retransmissions is None
        self.sent.append(Sent(number, stream_id, ppid, data, unordered, reliable))
        self.sender.machine.send(
            stream_id,
            data,
            ppid=ppid,
            now=now,
            unordered=unordered,
            lifetime=lifetime,
            max_retransmissions=max_retransmissions,
            context=number,
            **more,
        )

    def received(self) -> list[Sent]:
        """What arrived, as what was sent.

        Raises:
            AssertionError: something arrived that was never sent, or not so.
        """
        arrived = []
        for event in self.receiver.of(MessageReceived):
            number = int.from_bytes(event.data[:4], "big")
            assert number < len(self.sent), f"{event} was never sent"
            sent = self.sent[number]
            assert (event.stream_id, event.ppid, event.unordered) == (sent.stream_id, sent.ppid, sent.unordered)
            assert event.data == sent.data, f"message {number} was changed on its way"
            arrived.append(sent)
        return arrived

    def has_arrived(self) -> bool:
        """Whether every reliable message is there."""
        return len({sent.number for sent in self.received()}.intersection(self._reliable())) == len(self._reliable())

    def check(self) -> None:
        """Judges what arrived so far: nothing twice, ordered messages in order of their stream.

        Raises:
            AssertionError: it was not so.
        """
        arrived = self.received()
        numbers = [sent.number for sent in arrived]
        assert len(set(numbers)) == len(numbers), "a message arrived twice"
        for stream_id in {sent.stream_id for sent in self.sent}:
            in_order = [sent.number for sent in arrived if sent.stream_id == stream_id and not sent.unordered]
            assert in_order == sorted(in_order), f"stream {stream_id} is out of order"

    def check_finished(self) -> None:
        """Judges what arrived in the end: all that is reliable, and of the rest what was not reported as failed.

        Raises:
            AssertionError: it was not so.
        """
        self.check()
        arrived = {sent.number for sent in self.received()}
        assert self._reliable() <= arrived, f"lost: {sorted(self._reliable() - arrived)}"
        failed = {event.context for event in self.sender.of(SendFailed)}
        assert not failed & self._reliable(), "a reliable message was reported as failed"
        missing = {sent.number for sent in self.sent} - arrived - failed
        assert not missing, f"neither arrived nor failed: {sorted(missing)}"

    def _reliable(self) -> set[int]:
        return {sent.number for sent in self.sent if sent.reliable}


def rough_conditions(chance: random.Random) -> Conditions:
    """A network as bad as networks get, but not broken."""
    rate = chance.choice([0.0, 0.0, 20e3, 200e3, 2e6])
    return Conditions(
        latency=chance.choice([0.0, 0.001, 0.02, 0.15]),
        jitter=chance.choice([0.0, 0.0, 0.005, 0.1]),
        rate=rate,
        queue=chance.choice([0, 6000, 30000]) if rate else 0,
        loss=chance.choice([0.0, 0.0, 0.01, 0.05, 0.12]),
        duplication=chance.choice([0.0, 0.0, 0.02, 0.2]),
        reordering=chance.choice([0.0, 0.0, 0.05, 0.3]),
        reordering_delay=chance.choice([0.005, 0.05, 0.5]),
        corruption=chance.choice([0.0, 0.0, 0.01, 0.04]),
    )
