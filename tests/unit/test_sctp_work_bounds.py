"""A peer's chunk costs work and memory in proportion to its size and to what it removes, never to their product.

Work is counted in executed lines, memory in bytes.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable

import pytest

from datachan.sctp.errors import BadPacket
from datachan.sctp.events import Event, MessageReceived
from datachan.sctp.rx.base import Reassembly
from datachan.sctp.rx.interleaved import PARTIAL_PIECES, InterleavedReassembly
from datachan.sctp.rx.reassembly import ReassemblyQueue
from datachan.sctp.tx.flight import MAX_SUSPECTS, Flight
from datachan.sctp.tx.outstanding import RENEGE_BUDGET, OutstandingData, split
from datachan.sctp.tx.send_queue import OutgoingMessage
from datachan.sctp.wire import packet
from datachan.sctp.wire.chunks import DataChunk
from datachan.sctp.wire.extensions import IDataChunk
from tests.sim.steps import count_steps

HELD = 4000
STEPS_EACH = 60
"""Lines that one entry of a chunk, or one message that it removes, may cost."""

STEPS_OF_ACKNOWLEDGED_CHUNK = 20
"""Lines that one chunk may cost which a SACK acknowledges."""


def hold(reassembly: Reassembly, chunks: Iterable[DataChunk | IDataChunk]) -> None:
    """Store these chunks, none of which completes a message that can be delivered."""
    out: list[Event] = []
    for chunk in chunks:
        reassembly.add(chunk, chunk.tsn, False, out)
    assert not out


def two_bytes(number: int) -> bytes:
    """Return a new object of two bytes."""
    return (number & 0xFFFF).to_bytes(2, "big")


def test_a_forward_tsn_costs_what_it_removes_of_the_runs_held() -> None:
    reassembly = ReassemblyQueue()
    hold(reassembly, (DataChunk(10 + 2 * n, 1, n & 0xFFFF, 51, b"x", ending=False) for n in range(HELD)))
    out: list[Event] = []

    def forward() -> None:
        for n in range(1000):
            reassembly.forward(11 + 2 * n, [], out)

    assert count_steps(forward) < 1000 * STEPS_EACH
    reassembly.check_invariants()
    assert reassembly.pieces == HELD - 1000


def test_entries_for_one_stream_of_a_forward_tsn_cost_what_they_deliver() -> None:
    reassembly = ReassemblyQueue()
    hold(reassembly, (DataChunk(10 + n, 1, 2 * n + 1, 51, b"x") for n in range(HELD)))
    out: list[Event] = []
    entries = [(1, False, 2 * n) for n in range(2000)]
    assert count_steps(lambda: reassembly.forward(9, entries, out)) < 4000 * STEPS_EACH
    reassembly.check_invariants()
    assert len(out) == 2000


@pytest.mark.parametrize("unordered", [False, True])
def test_entries_for_one_stream_of_an_i_forward_tsn_cost_what_they_drop(unordered: bool) -> None:
    reassembly = InterleavedReassembly(0, 1 << 20)
    first_fragments = (IDataChunk(10 + n, 1, 1 + n, 51, b"x", unordered=unordered, ending=False) for n in range(HELD))
    hold(reassembly, first_fragments)
    out: list[Event] = []
    entries = [(1, unordered, n) for n in range(2040)]
    assert count_steps(lambda: reassembly.forward(9, entries, out)) < 2 * 2040 * STEPS_EACH
    reassembly.check_invariants()
    assert reassembly.pieces == (HELD - 2039) * (1 + PARTIAL_PIECES)


def test_complete_messages_leave_no_memory_in_the_state_of_a_stream() -> None:
    plain, interleaved = ReassemblyQueue(), InterleavedReassembly(0, 1 << 20)
    out: list[Event] = []

    def exchange(first: int, count: int) -> None:
        for n in range(first, first + count):
            for part in (0, 1):
                beginning, ending, tsn = part == 0, part == 1, 10 + 2 * n + part
                data = DataChunk(tsn, 1, n & 0xFFFF, 51, b"x", False, beginning, ending)
                plain.add(data, tsn, True, out)
                i_data = IDataChunk(tsn, 1, n // 2, 51 if beginning else 1, b"x", n % 2 == 0, beginning, ending)
                interleaved.add(i_data, tsn, True, out)
            out.clear()

    exchange(0, 500)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        exchange(500, 5000)
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 20_000


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("unordered", [False, True])
def test_messages_that_are_begun_count_what_they_cost(unordered: bool, number: int) -> None:
    """The fragments are the first or the second of 20,000 messages on one stream."""
    reassembly = InterleavedReassembly(1 << 24, 1 << 21)
    first = number == 1
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        hold(
            reassembly,
            (
                IDataChunk(10 + n, 1, 1 + n, 51 if first else 1, two_bytes(n), unordered, first, False)
                for n in range(20_000)
            ),
        )
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert held < 1.5 * reassembly.buffered


@pytest.mark.parametrize("block", [1, 3000])
def test_tiny_fragments_of_one_message_cost_little_more_than_their_data(block: int) -> None:
    """Receive the fragments in order, and in blocks that each arrive from the last fragment to the first."""
    count = 120_000
    reassembly = ReassemblyQueue(max_message_size=1 << 24)
    out: list[Event] = []
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for start in range(0, count, block):
            for n in reversed(range(start, start + block)):
                reassembly.add(DataChunk(n, 1, 0, 51, two_bytes(n), beginning=n == 0, ending=False), n, n == start, out)
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    reassembly.check_invariants()
    assert after - before < 2 * (2 * count) + 200_000, f"{after - before} bytes"
    reassembly.add(DataChunk(count, 1, 0, 51, b"z", beginning=False), count, True, out)
    [message] = out
    assert isinstance(message, MessageReceived)
    assert message.data == b"".join(map(two_bytes, range(count))) + b"z"
    assert (reassembly.buffered, reassembly.pieces) == (0, 0)


def outstanding(count: int) -> OutstandingData:
    """Return outstanding data of `count` chunks in flight."""
    data = OutstandingData(1)
    data.add_flight(Flight(1))
    for number in range(count):
        message = OutgoingMessage(1, 51, b"x", False, None, None, None)
        message.arrival, message.offset = number, 1
        data.send_new(message, b"x", False, 0.0, 0, data.flights[0])
    return data


def test_the_budget_for_reneging_bounds_its_work_and_grows_with_progress() -> None:
    data = outstanding(1000)

    def renege() -> None:
        data.acknowledge(0, [(2, 1000)], 1.0)
        data.acknowledge(0, [], 1.0)

    renege()
    assert data.renege_budget == RENEGE_BUDGET - 999
    data.acknowledge(500, [], 1.0)
    assert data.renege_budget == RENEGE_BUDGET - 499
    data.acknowledge(1000, [], 1.0)
    assert data.renege_budget == RENEGE_BUDGET
    data.check_invariants()


def test_a_sack_of_one_block_costs_few_steps_for_each_chunk_that_it_acknowledges() -> None:
    data = outstanding(10_000)
    assert count_steps(lambda: data.acknowledge(0, [(2, 10_000)], 1.0)) < 10_000 * STEPS_OF_ACKNOWLEDGED_CHUNK
    data.check_invariants()
    assert data.flight_size == 20


def test_a_sack_costs_what_it_lists_of_the_blocks_known() -> None:
    data = outstanding(6002)
    data.acknowledge(0, [(2 * n, 2 * n) for n in range(1, 3001)], 1.0)
    lowest = [(2 * n, 2 * n) for n in range(1, 17)]

    def acknowledge() -> None:
        for _ in range(50):
            data.acknowledge(0, lowest, 1.0)

    assert count_steps(acknowledge) < 50 * len(lowest) * STEPS_EACH
    assert data.renege_budget == RENEGE_BUDGET
    data.acknowledge(0, [(2 * n, 2 * n) for n in range(1, 3000)], 1.0)
    data.acknowledge(0, [], 1.0)
    # The TSN above the blocks of the last SACK but one was recorded, and is reneged with the others.
    assert data.renege_budget == RENEGE_BUDGET - 3000
    data.check_invariants()


def test_a_shutdown_costs_what_it_acknowledges_of_the_blocks_known() -> None:
    data = outstanding(6002)
    data.acknowledge(0, [(2 * n, 2 * n) for n in range(1, 3001)], 1.0)

    def shut_down() -> None:
        for tsn in range(1, 101):
            data.acknowledge(tsn, None, 1.0)

    assert count_steps(shut_down) < 100 * STEPS_EACH
    assert data.renege_budget == RENEGE_BUDGET
    data.acknowledge(100, [], 1.0)
    assert data.renege_budget == RENEGE_BUDGET - 2950
    data.check_invariants()


@pytest.mark.parametrize("kind", [0, *packet._PARSERS, 254])
def test_a_parsed_packet_takes_memory_in_proportion_to_its_size(kind: int) -> None:
    """The packet is as long as UDP allows, and full of the shortest chunks of this type. No tag is checked before."""
    chunk = next((wire for wire in shortest_chunks(kind) if is_valid(wire)), b"")
    assert chunk, "no length makes a chunk of this type"
    datagram = packet_of(chunk * (65_000 // len(chunk)))
    tracemalloc.start()
    try:
        parsed = packet.parse_packet_untrusted(datagram, zero_checksum_acceptable=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert parsed.chunks
    assert peak < 80 * len(datagram), f"{peak / len(datagram):.0f} bytes for each byte"


def shortest_chunks(kind: int) -> Iterable[bytes]:
    """Return chunks of a type in ascending lengths: zeros, a HEARTBEAT's parameter, a number and an address."""
    bodies = [bytes(size) for size in range(0, 64, 4)] + [b"\0\1\0\4", bytes(4) + b"\0\5\0\x08" + bytes(4)]
    return (bytes([kind, 0]) + (4 + len(body)).to_bytes(2, "big") + body for body in bodies)


def packet_of(chunks: bytes) -> bytes:
    """Return a packet with a zero checksum."""
    return bytes(12) + chunks


def is_valid(chunk: bytes) -> bool:
    try:
        packet.parse_packet_untrusted(packet_of(chunk), zero_checksum_acceptable=True)
    except BadPacket:
        return False
    return True


def test_a_path_is_removed_without_a_visit_to_what_was_sent_on_it() -> None:
    data = outstanding(1000)
    [first] = data.flights
    second, third = Flight(1), Flight(1)
    data.add_flight(second)
    data.add_flight(third)
    message = OutgoingMessage(1, 51, b"x", False, None, None, None)
    message.arrival, message.offset = 1000, 1
    for _ in range(1000):
        data.send_new(message, b"x", False, 0.0, 0, second)
    data.acknowledge(0, [(1001, 2000)], 1.0)

    def remove() -> None:
        data.remove_flight(second, third)
        data.remove_flight(third, first)

    assert count_steps(remove) < 20
    data.acknowledge(0, [(1501, 2000)], 1.0)
    data.check_invariants()
    assert len(first.chunks) == 1500
    data.acknowledge(2000, [], 1.0)
    data.check_invariants()
    assert data.flight_size == 0


def test_a_sack_does_not_visit_every_chunk_in_the_reordering_window() -> None:
    data = outstanding(4000)
    [flight] = data.flights
    data.acknowledge(0, [(4000, 4000)], 1.0)
    assert count_steps(lambda: flight.find_lost(0.5, 1.25)) < MAX_SUSPECTS * 15
    assert flight.find_lost(0.5, 1.25) == ([], 0.25)
    lost, wait = flight.find_lost(0.5, 1.5)
    assert len(lost) == 3999
    assert wait == 0.0


@pytest.mark.parametrize(
    ("highest", "lower", "upper"),
    [
        (0, [], [(1, 3), (5, 5), (7, 9)]),
        (1, [(1, 1)], [(2, 3), (5, 5), (7, 9)]),
        (2, [(1, 2)], [(3, 3), (5, 5), (7, 9)]),
        (4, [(1, 3)], [(5, 5), (7, 9)]),
        (5, [(1, 3), (5, 5)], [(7, 9)]),
        (9, [(1, 3), (5, 5), (7, 9)], []),
    ],
)
def test_intervals_are_split_behind_a_number(
    highest: int, lower: list[tuple[int, int]], upper: list[tuple[int, int]]
) -> None:
    assert split([(1, 3), (5, 5), (7, 9)], highest) == (lower, upper)
