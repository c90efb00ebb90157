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
from datachan.sctp.addresses import MAX_ADDRESSES, address_parameter
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
from datachan.sctp.wire.extensions import (
    AsconfAckChunk,
    AsconfChunk,
    ForwardTsnChunk,
    IDataChunk,
    IForwardTsnChunk,
    PadChunk,
    ReconfigChunk,
)
from datachan.sctp.wire.packet import serialize_packet
from datachan.sctp.wire.parameters import (
    AddIpAddress,
    DeleteIpAddress,
    OutgoingSsnResetRequest,
    Parameter,
    SetPrimaryAddress,
    UnknownParameter,
)
from tests.scenario.sctp_pair import A_SEED, PORT, Z_SEED, Pair, changed, packet, read
from tests.scenario.test_sctp_dynamic_addresses import UDP, Z1, Host, Net
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


# -- changes of addresses ----------------------------------------------------------------------------------------------

ADDRESSES = [f"192.0.2.{10 + number}" for number in range(MAX_ADDRESSES)]


class Multihomed:
    """Z, to which a hostile A with all the addresses that it may have signs ASCONFs; Z has data outstanding."""

    def __init__(self, addresses: int) -> None:
        self.source = ADDRESSES[addresses - 1]
        self.net = Net(Host(A_SEED, *ADDRESSES[:addresses]), Host(Z_SEED, Z1, **ALL_AT_ONCE)).establish()
        self.net.pass_time(60)
        self.z = self.net.z.machine
        for number in range(OUTSTANDING):
            self.z.send(number % 10, b"y", ppid=51, now=self.net.now)
        while self.z.packets_to_send(self.net.now):
            pass
        assert self.z.stats().unacknowledged_chunks == OUTSTANDING
        self.tcb = self.net.a.machine._core.tcb
        self.number = self.tcb.asconf._next_number

    def asconf(self, number: int, *requests: Parameter) -> Chunk:
        return AsconfChunk(self.number + number, address_parameter(self.source), requests)

    def check(self, chunks: list[Chunk]) -> None:
        wires = [chunk.serialize() for chunk in chunks]
        signature = self.tcb.auth.sign(wires, self.tcb.auth.active_key)
        datagram = serialize_packet(PORT, PORT, self.tcb.peer_tag, [signature, *wires])
        steps = count_steps(lambda: self.z.receive_datagrams([datagram], self.net.now, (self.source, UDP)))
        assert len(chunks) < steps <= RATIO * honest_steps(), f"{steps / honest_steps():.1f} times an honest packet"


def adding(number: int) -> Parameter:
    return AddIpAddress(number, address_parameter(f"10.0.0.{number}"))


def deleting(number: int) -> Parameter:
    return DeleteIpAddress(number, address_parameter(f"10.0.0.{number}"))


def test_asconfs_that_add_and_delete_addresses_again_and_again() -> None:
    victim = Multihomed(1)
    both = [request for number in range(1, 31) for request in (adding(number), deleting(number))]
    victim.check(fill(lambda n: victim.asconf(n, *both)))
    assert len(victim.z.stats().paths) == 1


def test_asconfs_that_add_all_addresses_and_delete_them_at_once() -> None:
    victim = Multihomed(1)
    requests = [adding(number) for number in range(1, MAX_ADDRESSES)]
    requests.append(DeleteIpAddress(0, address_parameter("0.0.0.0")))
    victim.check(fill(lambda n: victim.asconf(n, *requests)))
    assert len(victim.z.stats().paths) == 1


def test_an_asconf_that_deletes_every_path_but_one_moves_what_is_outstanding_once() -> None:
    victim = Multihomed(MAX_ADDRESSES)
    requests = [DeleteIpAddress(n, address_parameter(ip)) for n, ip in enumerate(ADDRESSES[:-1])]
    victim.check([victim.asconf(0, *requests)])
    [path] = victim.z.stats().paths
    assert path.address == (victim.source, UDP)


@pytest.mark.parametrize(
    "make",
    [
        lambda victim, n: victim.asconf(n),
        lambda victim, n: victim.asconf(0),
        lambda victim, n: victim.asconf(n, *[SetPrimaryAddress(1, address_parameter(victim.source))] * 64),
        lambda victim, n: victim.asconf(n, *[UnknownParameter(0xC123, b"")] * 64),
        lambda victim, n: AsconfAckChunk(victim.number - 1, [UnknownParameter(0xC123, b"")] * 1000),
    ],
    ids=["empty", "repeated", "primary", "unknown", "answers"],
)
def test_asconfs_of_other_requests(make: Callable[[Multihomed, int], Chunk]) -> None:
    victim = Multihomed(2)
    victim.check(fill(lambda n: make(victim, n)))


def test_an_asconf_of_as_many_requests_as_fit() -> None:
    victim = Multihomed(1)
    victim.check([victim.asconf(0, *[UnknownParameter(0xC123, b"")] * ((SIZE - 100) // 4))])


@pytest.mark.parametrize(
    "make",
    [lambda n: HeartbeatAckChunk(n.to_bytes(16, "big")), lambda n: HeartbeatChunk(b""), lambda n: ErrorChunk([])],
    ids=["heartbeat-ack", "heartbeat", "error"],
)
def test_chunks_to_an_association_with_all_addresses(make: Callable[[int], Chunk]) -> None:
    Multihomed(MAX_ADDRESSES).check(fill(make))


def test_data_and_sacks_to_an_association_with_all_addresses() -> None:
    victim = Multihomed(MAX_ADDRESSES)
    first = victim.z._core.tcb.sender.outstanding.cumulative_tsn_ack + 1 & 0xFFFFFFFF
    tsn = victim.tcb.sender.outstanding.next_tsn & 0xFFFFFFFF
    victim.check(fill(lambda n: DataChunk(tsn + n, n % 10, 1 + n // 10, 51, b"x")))
    victim.check([SackChunk(first, 1 << 24, [(2 * i + 2,) * 2 for i in range((SIZE - 100) // 4)], [])])
