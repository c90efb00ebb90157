"""Packets of every chunk type are damaged in transit: the association continues, or ends with a cause; it never raises.

An association's life is replayed with one packet of a type replaced by a damaged copy. With the old checksum the damage
equals a loss. With a corrected checksum it comes from a faulty or hostile peer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datachan.sctp.association import AssociationState
from datachan.sctp.checksum import crc32c
from datachan.sctp.events import AssociationClosed, AssociationEstablished, AssociationLost
from datachan.sctp.wire import causes, chunks, extensions
from datachan.sctp.wire.chunks import AbortChunk, Chunk, DataChunk, UnknownChunk
from datachan.sctp.wire.extensions import IDataChunk
from datachan.sctp.wire.packet import Packet, serialize_packet
from tests.property.strategies import chunks as any_chunk
from tests.sim.associations import Traffic, associations, consume, ended, established, is_closed
from tests.sim.network import Conditions, Network
from tests.sim.pair import Pair
from tests.sim.seeds import seeds

ABANDONED_PPID = 99
UNKNOWN_TYPE = 0xC5

FROM_A = {
    "INIT": chunks.INIT,
    "COOKIE ECHO": chunks.COOKIE_ECHO,
    "DATA": chunks.DATA,
    "FORWARD TSN": extensions.FORWARD_TSN,
    "I-DATA": extensions.I_DATA,
    "I-FORWARD-TSN": extensions.I_FORWARD_TSN,
    "RE-CONFIG request": extensions.RE_CONFIG,
    "HEARTBEAT": chunks.HEARTBEAT,
    "SHUTDOWN": chunks.SHUTDOWN,
    "SHUTDOWN COMPLETE": chunks.SHUTDOWN_COMPLETE,
    "ABORT": chunks.ABORT,
}
FROM_Z = {
    "INIT ACK": chunks.INIT_ACK,
    "COOKIE ACK": chunks.COOKIE_ACK,
    "SACK": chunks.SACK,
    "RE-CONFIG response": extensions.RE_CONFIG,
    "HEARTBEAT ACK": chunks.HEARTBEAT_ACK,
    "ERROR": chunks.ERROR,
    "SHUTDOWN ACK": chunks.SHUTDOWN_ACK,
}
KINDS = [*FROM_A, *FROM_Z]


class Life:
    """An association's life with everything in it, from INIT to SHUTDOWN COMPLETE or ABORT.

    Args:
        kind: the packet to damage.
        change: makes the damage; None drops the packet and ends the life there.
    """

    def __init__(self, kind: str, change: Callable[[bytes], bytes] | None) -> None:
        self.pair = associations(
            Network(0, Conditions(latency=0.02)),
            receive_window=20_000,
            max_message_size=50_000,
            interleaving=kind.startswith("I-"),
        )
        self.captured: bytes | None = None
        self.kind = kind
        self._change = change
        chunk_type = FROM_A.get(kind, FROM_Z.get(kind))
        link = self.pair.network.to_z if kind in FROM_A else self.pair.network.to_a
        link.replace(lambda packet: any(chunk.type == chunk_type for chunk in packet.chunks), self._damage)
        consume(self.pair.a)
        consume(self.pair.z)
        self.a_to_z = Traffic(self.pair.a, self.pair.z, random.Random(1))
        self.z_to_a = Traffic(self.pair.z, self.pair.a, random.Random(2))

    def _damage(self, datagram: bytes) -> bytes:
        self.captured = datagram
        return b"" if self._change is None else self._change(datagram)

    def play(self) -> None:
        """Continue to the end, or until the packet is captured if no change is to be made."""
        for act in self._acts():
            if act():
                self._pass(3.0)
            if self.captured is not None and self._change is None:
                return
        if self._change is not None:
            self.pair.run_until(self.is_over)

    def _acts(self) -> list[Callable[[], bool]]:
        """Return the steps of a whole life, or of a short one for a packet at its end: thousands are replayed."""
        if self.kind in {"ABORT", "SHUTDOWN", "SHUTDOWN ACK", "SHUTDOWN COMPLETE"}:
            return [self._connect, self._talk, self._end]
        return [self._connect, self._talk, self._give_up, self._reset, self._idle, self._err, self._end]

    def is_over(self) -> bool:
        """Return whether both sides have ended or never started."""
        return is_closed(self.pair.a) and is_closed(self.pair.z)

    def _pass(self, seconds: float) -> None:
        end = self.pair.now + seconds
        while self.pair.step(end):
            if self.captured is not None and self._change is None:
                return

    def _is_up(self) -> bool:
        up = AssociationState.ESTABLISHED
        return bool(self.pair.a.machine.state == self.pair.z.machine.state == up)

    def _connect(self) -> bool:
        self.pair.a.machine.connect(self.pair.now)
        return True

    def _talk(self) -> bool:
        if self._is_up():
            for size in (10, 3000, 20):
                self.a_to_z.send(self.pair.now, size, 1)
                self.z_to_a.send(self.pair.now, size, 2, unordered=True)
        return True

    def _give_up(self) -> bool:
        if not self._is_up():
            return False

        def is_abandoned(packet: Packet) -> bool:
            return any(
                isinstance(chunk, DataChunk | IDataChunk) and chunk.ppid == ABANDONED_PPID for chunk in packet.chunks
            )

        self.pair.network.to_z.drop(is_abandoned)
        self.pair.a.machine.send(3, b"late", ppid=ABANDONED_PPID, now=self.pair.now, lifetime=0.5)
        return True

    def _reset(self) -> bool:
        if self._is_up():
            self.pair.a.machine.reset_streams([1, 3], self.pair.now)
        return True

    def _idle(self) -> bool:
        self._pass(60.0)
        return True

    def _err(self) -> bool:
        if self._is_up():
            unknown = forged(self.pair, UnknownChunk(UNKNOWN_TYPE, 0, b"?").serialize())
            self.pair.network.to_z.inject(unknown, self.pair.now)
        return True

    def _end(self) -> bool:
        for peer in (self.pair.a, self.pair.z):
            if not is_closed(peer):
                if self.kind == "ABORT":
                    peer.machine.abort(self.pair.now)
                else:
                    peer.machine.shutdown(self.pair.now)
                    self._pass(0.001)
                self._pass(0.0)
        return True


def forged(pair: Pair, *serialized: bytes, from_a: bool = True) -> bytes:
    """Return a packet that the receiver accepts as one of its peer."""
    link = pair.network.to_z if from_a else pair.network.to_a
    packet = next(passage.packet for passage in reversed(link.passages) if passage.packet is not None)
    return serialize_packet(packet.source_port, packet.destination_port, packet.verification_tag, serialized)


def with_right_checksum(data: bytes) -> bytes:
    if len(data) < 12:
        return data
    checksum = crc32c(data[:8] + bytes(4) + data[12:])
    return data[:8] + checksum.to_bytes(4, "little") + data[12:]


def truncations(data: bytes) -> Iterator[bytes]:
    for length in range(len(data)):
        yield data[:length]


def corruptions(data: bytes) -> Iterator[bytes]:
    for position, original in enumerate(data):
        for value in range(256):
            if value != original:
                yield data[:position] + bytes([value]) + data[position + 1 :]


ALLOWED_CAUSES = {
    # An association whose peer never answered, or no longer answers, has no cause to give.
    0,
    causes.STALE_COOKIE,
    causes.INVALID_MANDATORY_PARAMETER,
    causes.MISSING_MANDATORY_PARAMETER,
    causes.UNRESOLVABLE_ADDRESS,
    causes.NO_USER_DATA,
    causes.PROTOCOL_VIOLATION,
}


def check_end(life: Life) -> None:
    """Check that each side ended once, and that a side that ended by itself gave the reason in an ABORT."""
    for peer, link in ((life.pair.a, life.pair.network.to_z), (life.pair.z, life.pair.network.to_a)):
        lost = peer.of(AssociationLost)
        if peer.of(AssociationEstablished) or peer is life.pair.a:
            assert len(lost) + len(peer.of(AssociationClosed)) == 1
        for event in lost:
            if event.by_peer or life.kind == "ABORT":
                continue
            assert event.reason
            assert event.cause_code in ALLOWED_CAUSES, event
            if event.cause_code:
                assert has_abort(link.passages[-1].packet, event.cause_code), event


def has_abort(packet: Packet | None, code: int) -> bool:
    found = [chunk for chunk in packet.chunks if isinstance(chunk, AbortChunk)] if packet else []
    return any(cause.code == code for chunk in found for cause in chunk.causes)


@pytest.mark.parametrize("kind", KINDS)
def test_a_life_has_a_packet_of_each_type(kind: str) -> None:
    life = Life(kind, None)
    life.play()
    assert life.captured is not None


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_packet_with_the_old_checksum_counts_as_lost(kind: str) -> None:
    first = Life(kind, None)
    first.play()
    assert first.captured is not None
    chance = random.Random(kind)
    damaged = [*truncations(first.captured), *chance.sample(list(corruptions(first.captured)), 30)]
    for data in chance.sample(damaged, 20):
        life = Life(kind, lambda _, data=data: data)  # type: ignore[misc]
        life.play()
        if kind == "ABORT":
            continue
        for peer in (life.pair.a, life.pair.z):
            assert not peer.of(AssociationLost), data.hex()
        life.a_to_z.check_finished()
        life.z_to_a.check_finished()


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_packet_with_a_right_checksum_leaves_a_working_association_or_ends_it_with_a_cause(kind: str) -> None:
    first = Life(kind, None)
    first.play()
    assert first.captured is not None
    chance = random.Random(kind)
    damaged = chance.sample(list(truncations(first.captured)), 12)
    damaged += chance.sample(list(corruptions(first.captured)), 48)
    for data in damaged:
        life = Life(kind, lambda _, data=data: with_right_checksum(data))  # type: ignore[misc]
        try:
            life.play()
            check_end(life)
        except Exception as error:
            error.add_note(f"{kind} replaced by {with_right_checksum(data).hex()}")
            raise


@pytest.mark.parametrize("kind", KINDS)
def test_every_truncation_and_corruption_of_each_chunk_type_is_survived(kind: str) -> None:
    first = Life(kind, None)
    first.play()
    captured = first.captured
    assert captured is not None
    life = first
    for data in [*truncations(captured), *corruptions(captured)]:
        peer = life.pair.z if kind in FROM_A else life.pair.a
        try:
            peer.machine.receive_datagrams([with_right_checksum(data)], life.pair.now)
            peer.machine.datagrams_to_send(life.pair.now)
            peer.events.extend(peer.machine.events())
            timeout = peer.machine.next_timeout()
        except Exception as error:
            error.add_note(f"{kind} replaced by {with_right_checksum(data).hex()}")
            raise
        if ended(peer):
            assert timeout is None
            life = Life(kind, None)
            life.play()


# -- arbitrary packets in every state ----------------------------------------------------------------------------------


def pair_in(state: AssociationState, seed: int = 0) -> Pair:
    """Return a pair with Z in this state, after a packet from A has passed so that its tag is known."""
    network = Network(seed, Conditions(latency=0.02))
    options: dict[str, Any] = {"receive_window": 20_000, "max_message_size": 50_000}
    if state in {AssociationState.COOKIE_WAIT, AssociationState.COOKIE_ECHOED, AssociationState.CLOSED}:
        pair = associations(network, seed=seed, **options)
        kind = {AssociationState.COOKIE_WAIT: chunks.INIT_ACK, AssociationState.COOKIE_ECHOED: chunks.COOKIE_ACK}
        network.to_z.drop(lambda packet: packet.chunks[0].type == kind.get(state))
        if state == AssociationState.CLOSED:
            pair.a.machine.connect(0.0)
        else:
            pair.z.machine.connect(0.0)
        pair.run(0.015 if state == AssociationState.CLOSED else 0.2)
    else:
        pair = established(network, seed=seed, **options)
        consume(pair.a)
        consume(pair.z)
        pair.a.machine.send(0, b"word", ppid=51, now=pair.now)
        pair.run(1.0)
        enter_shutdown(pair, state)
    assert pair.z.machine.state == state
    return pair


def enter_shutdown(pair: Pair, state: AssociationState) -> None:
    if state in {AssociationState.SHUTDOWN_PENDING, AssociationState.SHUTDOWN_SENT}:
        if state == AssociationState.SHUTDOWN_PENDING:
            pair.z.machine.send(0, b"word", ppid=51, now=pair.now)
        pair.network.to_a.drop()
        pair.z.machine.shutdown(pair.now)
    elif state == AssociationState.SHUTDOWN_RECEIVED:
        pair.network.to_a.drop()
        pair.z.machine.send(0, b"word", ppid=51, now=pair.now)
        pair.a.machine.shutdown(pair.now)
    elif state == AssociationState.SHUTDOWN_ACK_SENT:
        pair.network.to_a.drop()
        pair.a.machine.shutdown(pair.now)
    pair.run(0.1)


STATES = list(AssociationState)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_each_state_can_be_reached(state: AssociationState) -> None:
    pair_in(state)


@settings(max_examples=150)
@given(st.sampled_from(STATES), st.lists(st.lists(any_chunk, min_size=1, max_size=4), min_size=1, max_size=8))
def test_arbitrary_chunks_in_any_state_never_raise(state: AssociationState, packets: list[list[Chunk]]) -> None:
    pair = pair_in(state)
    for content in packets:
        datagram = forged(pair, *[chunk.serialize() for chunk in content])
        pair.network.to_z.inject(datagram, pair.now + 0.01)
        pair.run(0.02)
    pair.network.mend()
    pair.run(300.0)


@settings(max_examples=100)
@given(st.sampled_from(STATES), st.lists(st.binary(max_size=80), min_size=1, max_size=8))
def test_arbitrary_bytes_in_any_state_change_nothing(state: AssociationState, datagrams: list[bytes]) -> None:
    pair = pair_in(state)
    z = pair.z.machine
    before = z.next_timeout()
    z.receive_datagrams(datagrams, pair.now)
    z.receive_datagrams([with_right_checksum(data) for data in datagrams], pair.now)
    assert z.state == state
    assert z.next_timeout() == before
    assert list(z.events()) == []


@seeds(60)
def test_near_misses_in_any_state_never_raise(seed: int) -> None:
    """Send chunks whose TSNs and sequence numbers are nearly right, which reach further than arbitrary ones."""
    chance = random.Random(seed)
    pair = pair_in(chance.choice(STATES), seed)
    for _ in range(30):
        passage = chance.choice(pair.network.to_z.passages)
        data = bytearray(passage.datagram)
        for _ in range(chance.randrange(1, 4)):
            position = chance.randrange(12, len(data))
            data[position] = (data[position] + chance.choice([1, -1, 2, 16, 128, 255])) & 0xFF
        if chance.random() < 0.5:
            data[4:8] = forged(pair)[4:8]
        pair.network.to_z.inject(with_right_checksum(bytes(data)), pair.now + 0.01)
        pair.run(chance.choice([0.0, 0.02, 1.0]))
    pair.network.mend()
    pair.run(300.0)
