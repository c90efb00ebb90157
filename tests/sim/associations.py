"""Pairs of SCTP associations on a simulated network, and traffic with a check of its delivery.

Every message carries its own number, so that received and sent messages can be compared. `Traffic` sends, collects and
checks them.
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

# Random losses must not end an association that a little patience would have saved: the limits are far above the
# defaults.
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
    """Return two associations that have not exchanged a packet yet.

    Args:
        network: the network between them; a perfect one by default.
        seed: the seed of their entropy.
        now: the time at which the clock starts.
        a_options: options of A alone.
        z_options: options of Z alone.
        source: makes an entropy source from a seed.
        **options: options of both.
    """
    a = Association(AssociationOptions(**{**options, **(a_options or {})}), source(2 * seed))
    z = Association(AssociationOptions(**{**options, **(z_options or {})}), source(2 * seed + 1))
    return Pair(a, z, network, now)


def established(network: Network | None = None, **options: Any) -> Pair:
    """Return two associations whose handshake, started by A, is complete."""
    pair = associations(network, **options)
    pair.a.machine.connect(pair.now)
    pair.run_until(lambda: both_reported(pair, AssociationEstablished))
    return pair


def both_reported(pair: Pair, kind: type) -> bool:
    """Return whether both sides have reported an event of this kind."""
    return bool(pair.a.of(kind)) and bool(pair.z.of(kind))


def ended(peer: Peer) -> bool:
    """Return whether this side's association is over, gracefully or not."""
    return bool(peer.of(AssociationClosed) or peer.of(AssociationLost))


def is_closed(peer: Peer) -> bool:
    """Return whether this side's association is in the state CLOSED."""
    return bool(peer.machine.state == AssociationState.CLOSED)


def consume(peer: Peer) -> None:
    """Make this side consume every message at once, as an application that reads."""

    def on_event(event: Any, now: float) -> None:
        if isinstance(event, MessageReceived):
            peer.machine.message_consumed(len(event.data), now)

    peer.on_event = on_event


def check_books(pair: Pair) -> None:
    """Check every account that the two associations keep.

    Raises:
        AssertionError: an account does not balance.
    """
    for peer in (pair.a, pair.z):
        peer.machine.check_invariants()


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that was passed to `send`."""

    number: int
    stream_id: int
    ppid: int
    data: bytes
    unordered: bool
    reliable: bool


class Traffic:
    """Messages from one side to the other, and the check of their delivery.

    Args:
        sender: the sending side; its `SendFailed` events count as failures.
        receiver: the receiving side.
        chance: the generator of sizes, streams and content.
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
        """Send one message of this size; at least four bytes, which carry its number."""
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
        """Return the received messages as the messages that were sent.

        Raises:
            AssertionError: a message arrived that was never sent, or it was changed.
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
        """Return whether every reliable message has arrived."""
        return len({sent.number for sent in self.received()}.intersection(self._reliable())) == len(self._reliable())

    def check(self) -> None:
        """Check the messages that arrived so far: none twice, and ordered messages in the order of their stream.

        Raises:
            AssertionError: a message arrived twice or out of order.
        """
        arrived = self.received()
        numbers = [sent.number for sent in arrived]
        assert len(set(numbers)) == len(numbers), "a message arrived twice"
        for stream_id in {sent.stream_id for sent in self.sent}:
            in_order = [sent.number for sent in arrived if sent.stream_id == stream_id and not sent.unordered]
            assert in_order == sorted(in_order), f"stream {stream_id} is out of order"

    def check_finished(self) -> None:
        """Check the delivery at the end: all reliable messages arrived, and every other message arrived or failed.

        Raises:
            AssertionError: a message is missing.
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
    """Return conditions as bad as networks get that still carry data."""
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
