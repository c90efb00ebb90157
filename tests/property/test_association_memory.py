"""Memory stays within the receiver window, whatever a peer sends and however little the application reads."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator

import pytest

from datachan.sctp.events import AssociationClosed, AssociationLost, MessageReceived
from datachan.sctp.wire.chunks import Chunk, DataChunk, UserDataChunk
from datachan.sctp.wire.extensions import ForwardTsnChunk, IDataChunk, IForwardTsnChunk, ReconfigChunk
from datachan.sctp.wire.packet import serialize_packet
from datachan.sctp.wire.parameters import OutgoingSsnResetRequest
from tests.sim.associations import PATIENT, Traffic, consume, established, is_closed, rough_conditions
from tests.sim.network import Conditions, Network
from tests.sim.pair import Pair
from tests.sim.seeds import seeds

WINDOW = 64 * 1024
# RFC 9260, 6.1, A: a sender may always have one DATA chunk in flight: the probe of a closed window.
ONE_PACKET = 1500
LONGEST = 8000
STREAMS = 3


def delivered(pair: Pair) -> int:
    return sum(len(event.data) for event in pair.z.of(MessageReceived))


@seeds(12)
def test_a_receiver_that_does_not_read_stops_the_sender(seed: int) -> None:
    chance = random.Random(seed)
    interleaving = seed % 2 == 0
    network = Network(seed, rough_conditions(chance))
    pair = established(network, seed=seed, receive_window=WINDOW, interleaving=interleaving, **PATIENT)
    traffic = Traffic(pair.a, pair.z, chance)
    for _ in range(100):
        traffic.send(pair.now, chance.randrange(4, LONGEST), chance.randrange(STREAMS), unordered=chance.random() < 0.3)
    pair.run(900.0)
    assert not is_closed(pair.a)
    assert not is_closed(pair.z)
    # Incomplete messages hardly count against the window; otherwise a message longer than the window could never
    # arrive. With I-DATA there is one on each stream, otherwise one in all.
    under_way = STREAMS if interleaving else 1
    assert WINDOW // 2 < delivered(pair) <= WINDOW + under_way * LONGEST + ONE_PACKET
    traffic.check()
    # The application reads again, and all the rest arrives.
    for event in pair.z.of(MessageReceived):
        pair.z.machine.message_consumed(len(event.data), pair.now)
    consume(pair.z)
    pair.run_until(traffic.has_arrived)
    traffic.check_finished()


def test_a_closed_window_is_probed_until_it_opens() -> None:
    pair = established(Network(0, Conditions(latency=0.02)), receive_window=WINDOW)
    traffic = Traffic(pair.a, pair.z, random.Random(0))
    for _ in range(20):
        traffic.send(pair.now, 10_000)
    pair.run(4000.0)
    # RFC 9260, 6.1, A: a closed window is no failure as long as the peer answers.
    assert not pair.a.of(AssociationLost)
    for event in pair.z.of(MessageReceived):
        pair.z.machine.message_consumed(len(event.data), pair.now)
    consume(pair.z)
    pair.run_until(traffic.has_arrived, limit=120.0)


@seeds(6)
def test_a_message_longer_than_the_window_arrives(seed: int) -> None:
    chance = random.Random(seed)
    network = Network(seed, Conditions(latency=0.01, loss=0.02, reordering=0.05))
    pair = established(network, seed=seed, receive_window=WINDOW, **PATIENT)
    consume(pair.z)
    traffic = Traffic(pair.a, pair.z, chance)
    traffic.send(pair.now, 700_000, 1)
    traffic.send(pair.now, 300_000, 2, unordered=True)
    traffic.send(pair.now, 10, 1)
    pair.run_until(traffic.has_arrived)
    traffic.check_finished()


def test_shutdown_waits_for_a_receiver_that_does_not_read() -> None:
    pair = established(Network(0, Conditions(latency=0.02)), receive_window=WINDOW)
    traffic = Traffic(pair.a, pair.z, random.Random(0))
    for _ in range(20):
        traffic.send(pair.now, 10_000)
    pair.a.machine.shutdown(pair.now)
    pair.run(30.0)
    assert not pair.a.of(AssociationClosed)
    for event in pair.z.of(MessageReceived):
        pair.z.machine.message_consumed(len(event.data), pair.now)
    consume(pair.z)
    pair.run_until_idle()
    traffic.check_finished()
    assert pair.a.of(AssociationClosed)
    assert pair.z.of(AssociationClosed)


# -- a peer that keeps no rule -----------------------------------------------------------------------------------------


def hostile_i_data(start: int, kind: str) -> Iterator[Chunk]:
    """Return I-DATA of a sender that ignores the window."""
    payload = bytes(1000)
    for index in range(4000):
        match kind:
            case "I-DATA: a message that never ends":
                yield IDataChunk(start + index, 0, 0, index, payload, beginning=index == 0, ending=False)
            case "I-DATA: an unfinished message on every stream":
                yield IDataChunk(start + index, index, 0, 51, payload, ending=False)
            case "I-DATA: tiny beginnings":
                yield IDataChunk(start + index, index % 7, index, 51, b"x", unordered=True, ending=False)
            case "I-DATA: fragments in two":
                yield IDataChunk(start + index, 0, 0, 2 * index + 1, payload, beginning=False, ending=False)
            case "I-DATA: early messages":
                yield IDataChunk(start + index, index % 3, 1 + index, 51, payload)
            case "I-DATA: many long messages at once":
                yield IDataChunk(start + index, index % 50, 0, index // 50, payload, beginning=index < 50, ending=False)


def hostile_data(start: int, kind: str) -> Iterator[Chunk]:
    """Return DATA of a sender that ignores the window."""
    payload = bytes(1000)
    for index in range(5000):
        match kind:
            case "fragments of a message that never ends":
                yield DataChunk(start + index, 0, 0, 51, payload, beginning=index == 0, ending=False)
            case "a TSN in two":
                yield DataChunk(start + 1 + 2 * index, 0, index & 0xFFFF, 51, payload)
            case "an early SSN on every stream":
                yield DataChunk(start + index, index, 1, 51, payload)
            case "tiny early SSNs":
                yield DataChunk(start + index, 0, 1 + index & 0xFFFF, 51, b"x")
            case "tiny whole messages":
                yield DataChunk(start + index, 0, index & 0xFFFF, 51, b"x")
            case "beginnings without ends":
                yield DataChunk(start + 2 * index + 1, index, 0, 51, payload, ending=False, unordered=True)
            case "far ahead":
                yield DataChunk(start + (1 << 30) + index, 0, 0, 51, payload)
            case "one byte far ahead":
                yield DataChunk(start + 1 + (index * 7919) % 1_000_000, 0, 0, 51, b"x", unordered=True)


KINDS = [
    "fragments of a message that never ends",
    "a TSN in two",
    "an early SSN on every stream",
    "tiny early SSNs",
    "tiny whole messages",
    "beginnings without ends",
    "far ahead",
    "one byte far ahead",
    "I-DATA: a message that never ends",
    "I-DATA: an unfinished message on every stream",
    "I-DATA: tiny beginnings",
    "I-DATA: fragments in two",
    "I-DATA: early messages",
    "I-DATA: many long messages at once",
]


def forge(pair: Pair, chunk: Chunk) -> bytes:
    """Return a packet as A would send it to Z."""
    [packet] = [passage.packet for passage in pair.network.to_z.passages[-1:]]
    assert packet is not None
    return serialize_packet(packet.source_port, packet.destination_port, packet.verification_tag, [chunk.serialize()])


def next_tsn(pair: Pair) -> int:
    """Return the TSN that A would use next, judged by its DATA so far."""
    tsns = [
        chunk.tsn
        for passage in pair.network.to_z.passages
        for chunk in (passage.packet.chunks if passage.packet else [])
        if isinstance(chunk, UserDataChunk)
    ]
    return max(tsns) + 1


def quiet_pair(interleaving: bool = False) -> Pair:
    """Return a pair of which A has sent one message, with TSNs that are far from wrapping."""
    pair = established(
        receive_window=WINDOW,
        max_message_size=256 * 1024,
        interleaving=interleaving,
        source=lambda seed: random.Random(seed + 77).randbytes,
    )
    consume(pair.z)
    pair.a.machine.send(0, b"word", ppid=51, now=pair.now)
    pair.run(1.0)
    pair.z.on_event = lambda event, now: None
    pair.z.events.clear()
    return pair


@pytest.mark.parametrize("kind", KINDS)
def test_a_sender_that_ignores_the_window_cannot_fill_memory(kind: str) -> None:
    pair = quiet_pair(kind.startswith("I-DATA"))
    z = pair.z.machine
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        hostile = hostile_i_data if kind.startswith("I-DATA") else hostile_data
        for chunk in hostile(next_tsn(pair) % (1 << 30), kind):
            z.receive_datagrams([forge(pair, chunk)], pair.now)
            z.datagrams_to_send(pair.now)
            for event in z.events():
                pair.z.events.append(event)
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    # A few times the window covers the messages, the Python objects that hold them, and the record of TSNs.
    assert after - before < 40 * WINDOW, f"{after - before} bytes"
    assert delivered(pair) <= WINDOW + ONE_PACKET or is_closed(pair.z)


def test_forward_tsn_for_every_stream_costs_little_memory() -> None:
    pair = quiet_pair()
    z = pair.z.machine
    tsn = next_tsn(pair)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for index in range(600):
            streams = [((index * 250 + number) & 0xFFFF, index & 0xFFFF) for number in range(250)]
            z.receive_datagrams([forge(pair, ForwardTsnChunk(tsn + index & 0xFFFFFFFF, streams))], pair.now)
            z.datagrams_to_send(pair.now)
            z.events()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    # There are at most 65536 streams, whose next SSN has to be known.
    assert after - before < 65536 * 400


def test_i_forward_tsn_for_every_stream_costs_little_memory() -> None:
    pair = quiet_pair(interleaving=True)
    z = pair.z.machine
    tsn = next_tsn(pair)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for index in range(600):
            streams = [((index * 140 + number) & 0xFFFF, index % 2 == 0, index) for number in range(140)]
            z.receive_datagrams([forge(pair, IForwardTsnChunk(tsn + index & 0xFFFFFFFF, streams))], pair.now)
            z.datagrams_to_send(pair.now)
            z.events()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    # There are at most 65536 streams, whose next MIDs have to be known.
    assert after - before < 65536 * 450


def test_endless_reset_requests_cost_no_memory() -> None:
    pair = quiet_pair()
    z = pair.z.machine
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for index in range(1000):
            request = OutgoingSsnResetRequest(index, 0, next_tsn(pair) + 1000 + index & 0xFFFFFFFF, tuple(range(500)))
            z.receive_datagrams([forge(pair, ReconfigChunk([request]))], pair.now)
            z.datagrams_to_send(pair.now)
            z.events()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 1 << 20
