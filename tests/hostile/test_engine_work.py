"""Every loop over a peer's input costs at most 20 times the steps of an honest packet of the same size.

A step is an executed line of the engine. Each packet is as long as a DTLS record allows, and the state is as large as
the limits allow.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from typing import Final

import pytest

import datachan.sctp.association
from datachan.sctp import AssociationOptions
from datachan.sctp.wire.causes import ErrorCause
from datachan.sctp.wire.chunks import (
    Chunk,
    CookieAckChunk,
    DataChunk,
    ErrorChunk,
    HeartbeatAckChunk,
    HeartbeatChunk,
    InitChunk,
    SackChunk,
    ShutdownChunk,
    UnknownChunk,
)
from datachan.sctp.wire.extensions import ForwardTsnChunk, IDataChunk, IForwardTsnChunk, PadChunk, ReconfigChunk
from datachan.sctp.wire.parameters import OutgoingSsnResetRequest, UnknownParameter
from tests.scenario.sctp_pair import Pair, changed, packet, read
from tests.sim.steps import count_steps

pytestmark = pytest.mark.skipif(
    not str(datachan.sctp.association.__file__).endswith(".py"), reason="the compiled engine executes no lines to count"
)

SIZE = 16_000
HELD = 3000
OUTSTANDING = 8000
ALL_AT_ONCE: Final = {"initial_cwnd": 1 << 24, "max_burst": 1 << 20, "send_buffer": 1 << 24}

RATIO = 20


class Victim:
    """Z in an established association, and the numbers that a hostile A knows."""

    def __init__(self, options: AssociationOptions) -> None:
        self.pair = Pair(options).establish()
        self.pair.consume = False
        self.pair.send_a(b"x")
        [datagram] = self.pair.from_a()
        self.pair.to_z(datagram)
        self.pair.collect()
        sent = read(datagram)
        self.tag = sent.verification_tag
        [data] = [chunk for chunk in sent.chunks if isinstance(chunk, DataChunk | IDataChunk)]
        self.tsn = data.tsn + 1

    def receive(self, *chunks: Chunk) -> None:
        """Deliver a packet of these chunks to Z, and drain its packets and events."""
        self.pair.to_z(packet(self.tag, *chunks))
        self.pair.from_z()
        self.pair.z.events()

    def hold(self, chunks: list[Chunk]) -> None:
        """Deliver these chunks to Z in packets of 100."""
        for start in range(0, len(chunks), 100):
            self.receive(*chunks[start : start + 100])

    def send(self, count: int) -> int:
        """Have Z send `count` chunks that A does not acknowledge; return the TSN of the first."""
        for number in range(count):
            self.pair.send_z(b"y", number % 100)
        sent: list[bytes] = []
        while datagrams := self.pair.from_z():
            sent += datagrams
        assert self.pair.z.stats().unacknowledged_chunks == count
        [first, *_] = [chunk.tsn for chunk in read(sent[0]).chunks if isinstance(chunk, DataChunk)]
        return first


def fill(chunk: Callable[[int], Chunk]) -> list[Chunk]:
    """Return as many chunks as a packet has room for."""
    chunks: list[Chunk] = []
    room = SIZE
    while room > 0:
        chunks.append(chunk(len(chunks)))
        room -= len(chunks[-1].serialize()) + 3 & ~3
    return chunks[:-1]


@cache
def honest_steps() -> int:
    """Count the steps of a packet full of messages of 16 bytes."""
    victim = Victim(changed())
    chunks = fill(lambda n: DataChunk(victim.tsn + n, n % 16, n // 16 + 1, 51, bytes(16)))
    return count_steps(lambda: victim.receive(*chunks))


def check(victim: Victim, chunks: list[Chunk]) -> None:
    steps = count_steps(lambda: victim.receive(*chunks))
    assert steps <= RATIO * honest_steps(), f"{steps} steps, {steps / honest_steps():.1f} times an honest packet"
    assert steps > len(chunks), "the packet was not processed"


def test_sacks_that_acknowledge_and_renege() -> None:
    victim = Victim(changed(**ALL_AT_ONCE))
    first = victim.send(OUTSTANDING)
    all_of_them = [(2, OUTSTANDING - 10)]
    check(victim, fill(lambda n: SackChunk(first, 1 << 24, all_of_them if n % 2 else [], [])))
    check(victim, [SackChunk(first, 1 << 24, all_of_them, [])])
    assert victim.pair.z.stats().flight_size < 10 * (1 + 20)
    check(victim, [SackChunk(first, 1 << 24, [], [])])
    assert victim.pair.z.stats().flight_size > 0


def test_sacks_of_a_hundred_alternating_blocks() -> None:
    victim = Victim(changed(**ALL_AT_ONCE))
    first = victim.send(OUTSTANDING)
    check(victim, fill(lambda n: SackChunk(first, 1 << 24, [(2 * i + 2 + n % 2,) * 2 for i in range(100)], [])))


def test_a_sack_of_as_many_blocks_as_fit() -> None:
    victim = Victim(changed(**ALL_AT_ONCE))
    first = victim.send(OUTSTANDING)
    check(victim, [SackChunk(first, 1 << 24, [(2 * i + 2,) * 2 for i in range((SIZE - 100) // 4)], [])])


def test_a_sack_of_as_many_duplicates_as_fit() -> None:
    victim = Victim(changed(**ALL_AT_ONCE))
    first = victim.send(100)
    check(victim, [SackChunk(first, 1 << 24, [], [first] * ((SIZE - 100) // 4)), CookieAckChunk()])


def test_data_chunks_that_each_start_a_range_of_tsns() -> None:
    victim = Victim(changed())
    victim.hold([DataChunk(victim.tsn + 2 * n + 2, 1, n, 51, b"x", True) for n in range(4096)])
    check(victim, fill(lambda n: DataChunk(victim.tsn + 9000 + 2 * n, 1, n, 51, b"x", True)))
    check(victim, fill(lambda n: DataChunk(victim.tsn + 2 * n + 2, 1, n, 51, b"x", True)))
    check(victim, fill(lambda n: DataChunk(victim.tsn + n, 1, n, 51, b"x", True)))


def test_fragments_from_the_last_to_the_first() -> None:
    victim = Victim(changed())
    check(victim, fill(lambda n: DataChunk(victim.tsn + 1000 - n, 1, 2, 51, b"x", beginning=False, ending=False)))


def test_forward_tsns_that_each_advance_by_one() -> None:
    victim = Victim(changed())
    victim.hold([DataChunk(victim.tsn + 2 * n + 1, 1, n, 51, b"x", ending=False) for n in range(HELD)])
    check(victim, fill(lambda n: ForwardTsnChunk(victim.tsn + n, [(1, n)])))


def test_a_forward_tsn_that_lists_one_stream_repeatedly() -> None:
    victim = Victim(changed())
    victim.hold([DataChunk(victim.tsn + n + 1, 1, 2 * n + 3, 51, b"x") for n in range(HELD)])
    check(victim, [ForwardTsnChunk(victim.tsn, [(1, 2 * n + 2 & 0xFFFF) for n in range((SIZE - 8) // 4)])])


def test_i_forward_tsns_over_first_fragments_of_one_byte() -> None:
    victim = Victim(changed(interleaving=True))
    victim.hold([IDataChunk(victim.tsn + n + 1, 1, 2 + n, 51, b"x", ending=False) for n in range(HELD)])
    check(victim, [IForwardTsnChunk(victim.tsn, [(1, False, n) for n in range((SIZE - 8) // 8)])])
    check(victim, fill(lambda n: IForwardTsnChunk(victim.tsn + n, [(1, False, n)])))


def test_heartbeats_of_four_bytes() -> None:
    check(Victim(changed()), fill(lambda n: HeartbeatChunk(b"")))


def test_empty_heartbeat_acks() -> None:
    check(Victim(changed()), fill(lambda n: HeartbeatAckChunk(b"")))


def test_unknown_chunks_that_require_a_report() -> None:
    check(Victim(changed()), fill(lambda n: UnknownChunk(0xFE, 0, b"")))


def test_errors_of_many_causes() -> None:
    check(Victim(changed()), [ErrorChunk([ErrorCause(99, b"")] * ((SIZE - 8) // 4)), CookieAckChunk()])
    check(Victim(changed()), fill(lambda n: ErrorChunk([ErrorCause(99, b"")])))


def test_resets_of_many_streams() -> None:
    victim = Victim(changed())
    victim.hold([DataChunk(victim.tsn + n, n % 2000, n // 2000 + 2, 51, b"x") for n in range(HELD)])
    listed = tuple(range((SIZE - 100) // 2))
    check(victim, [ReconfigChunk([OutgoingSsnResetRequest(victim.tsn - 1, 0, victim.tsn + HELD - 1, listed)])])


def test_reset_requests_in_a_row() -> None:
    victim = Victim(changed())
    first = victim.tsn - 1
    check(victim, fill(lambda n: ReconfigChunk([OutgoingSsnResetRequest(first + n, 0, first, (1, 2, 3))])))


def test_unknown_parameters_of_a_reconfiguration() -> None:
    parameters = [UnknownParameter(0xC123, b"")] * ((SIZE - 8) // 4)
    check(Victim(changed()), [ReconfigChunk(parameters), CookieAckChunk()])


@pytest.mark.parametrize("chunk", [CookieAckChunk(), PadChunk(4)], ids=["cookie-ack", "pad"])
def test_chunks_without_effect(chunk: Chunk) -> None:
    check(Victim(changed()), fill(lambda n: chunk))


def test_shutdowns_that_each_acknowledge_one_chunk_more() -> None:
    victim = Victim(changed(**ALL_AT_ONCE))
    first = victim.send(OUTSTANDING)
    check(victim, fill(lambda n: ShutdownChunk(first + n)))


@pytest.mark.parametrize(
    "parameter",
    [struct.pack("!HH4s", 5, 8, bytes([192, 0, 2, 1])), struct.pack("!HH", 0xC123, 4), struct.pack("!HH", 0x8123, 4)],
    ids=["addresses", "reported", "skipped"],
)
def test_an_init_of_as_many_parameters_as_fit(parameter: bytes) -> None:
    victim = Victim(changed())
    body = struct.pack("!IIHHI", 1, 100_000, 10, 10, 1) + parameter * ((SIZE - 40) // len(parameter))
    init = UnknownChunk(InitChunk.type, 0, body)
    steps = count_steps(lambda: victim.pair.to_z(packet(0, init)))
    assert 100 < steps <= RATIO * honest_steps(), f"{steps / honest_steps():.1f}"
