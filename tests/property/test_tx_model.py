"""The sending half as a state machine: after any sequence of events the accounts balance and everything ends.

Messages are queued, taken, acknowledged, lost, reneged on or abandoned in any order. In the end every message is
acknowledged or abandoned. The other side is a set of TSNs: those received, those reported, and those dropped again.
"""

from __future__ import annotations

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from datachan.sctp.options import SCHEDULERS
from datachan.sctp.tx.flight import ABANDONED, Flight, OutstandingChunk
from datachan.sctp.tx.outstanding import OutstandingData
from datachan.sctp.tx.scheduler import make_scheduler
from datachan.sctp.tx.send_queue import OutgoingMessage, SendQueue

INITIAL_TSN = (1 << 33) - 30  # so that the 32-bit TSNs wrap
STREAMS = 4
PATHS = 2


class Sender(RuleBasedStateMachine):
    """A send queue, its outstanding data over two paths, and a peer."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.packet = 0
        self.outstanding = OutstandingData(INITIAL_TSN)
        for _ in range(PATHS):
            self.outstanding.add_flight(Flight(INITIAL_TSN))
        self.queue = SendQueue()
        self.messages: list[OutgoingMessage] = []
        self.taken: dict[int, int] = {}
        self.sent: list[tuple[OutstandingChunk, OutgoingMessage]] = []
        self.arrived: set[int] = set()
        self.cumulative = INITIAL_TSN - 1

    @rule(scheduler=st.sampled_from(sorted(SCHEDULERS)), interleaving=st.booleans())
    @precondition(lambda self: not self.messages)
    def choose(self, scheduler: str, interleaving: bool) -> None:
        self.queue = SendQueue(make_scheduler(scheduler))
        self.queue.interleaving = self.outstanding.interleaving = interleaving
        self.queue.peer_window = 20_000

    # -- the user ------------------------------------------------------------------------------------------------------

    @rule(chance=st.randoms(use_true_random=False), count=st.integers(1, 12), path=st.integers(0, PATHS - 1))
    def talk(self, chance: random.Random, count: int, path: int) -> None:
        """Queue some messages and send a part of the queue."""
        for _ in range(count):
            message = OutgoingMessage(
                chance.randrange(STREAMS),
                51,
                bytes(int(2 ** chance.uniform(0, 13))),
                chance.random() < 0.3,
                self.now + chance.uniform(0, 3) if chance.random() < 0.2 else None,
                chance.choice([None, None, 0, 2]),
                None,
            )
            self.messages.append(message)
            self.queue.add(message)
        self.send_new(chance.randrange(3 * count), path)

    @rule(index=st.integers(0, 1000))
    @precondition(lambda self: self.messages)
    def give_up(self, index: int) -> None:
        self.abandon(self.messages[index % len(self.messages)])

    def abandon(self, message: OutgoingMessage) -> None:
        if message.abandoned or (message.last_tsn >= 0 and self.all_acknowledged(message)):
            return
        self.outstanding.abandon(message)
        self.queue.drop(message)

    def all_acknowledged(self, message: OutgoingMessage) -> bool:
        return not message.remaining and message.last_tsn <= self.outstanding.cumulative_tsn_ack

    # -- sending -------------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 40), path=st.integers(0, PATHS - 1))
    def send_new(self, count: int, path: int) -> None:
        for _ in range(count):
            self.queue.start_packet()
            message = self.queue.next_message()
            if message is None:
                return
            fragment = self.queue.take(message, min(1000, message.remaining))
            assert fragment
            self.taken[id(message)] = self.taken.get(id(message), 0) + len(fragment)
            flight = self.outstanding.flights[path]
            chunk = self.outstanding.send_new(message, fragment, False, self.now, self.packet, flight)
            self.sent.append((chunk, message))
            self.packet += 1

    @rule(path=st.integers(0, PATHS - 1), count=st.integers(1, 12))
    def send_lost(self, path: int, count: int) -> None:
        for _ in range(count):
            chunk = self.outstanding.flights[path].next_lost()
            if chunk is None:
                return
            self.outstanding.retransmit(chunk, self.now, self.packet)
            self.packet += 1

    # -- the network and the peer --------------------------------------------------------------------------------------

    @rule(seconds=st.floats(0.001, 2.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for message in self.queue.expire(self.now):
            self.abandon(message)

    @rule(
        chance=st.randoms(use_true_random=False),
        share=st.sampled_from([0.1, 0.5, 0.9, 1.0]),
        blocks=st.sampled_from([0, 1, 4, 16, 20, 300]),
    )
    def arrive(self, chance: random.Random, share: float, blocks: int) -> None:
        """Let a share of the data in flight arrive and be acknowledged."""
        in_flight = [tsn for flight in self.outstanding.flights for tsn in flight.chunks]
        self.arrived |= {tsn for tsn in in_flight if chance.random() < share}
        self.acknowledge(blocks)

    @rule()
    def forward(self) -> None:
        point = self.outstanding.forward_tsn(1000)[0]
        self.cumulative = max(self.cumulative, point)

    @rule(chance=st.randoms(use_true_random=False))
    def renege(self, chance: random.Random) -> None:
        """Drop some chunks above the peer's Cumulative TSN Ack Point that it had reported."""
        self.acknowledge(300)
        self.arrived = {tsn for tsn in self.arrived if tsn <= self.cumulative or chance.random() < 0.7}
        self.acknowledge(300)

    def acknowledge(self, blocks: int) -> None:
        """Send a SACK with room for `blocks` Gap Ack Blocks."""
        self.take_cumulatively()
        gaps = self.islands()[:blocks]
        assert self.outstanding.is_valid_sack(self.cumulative, gaps)
        assert not self.outstanding.acknowledges_unsent(self.cumulative, gaps)
        self.now += 0.01
        info = self.outstanding.acknowledge(self.cumulative, gaps, self.now)
        self.outstanding.advance_peer_ack_point()
        assert info.bytes_acked >= 0
        for flight in self.outstanding.flights:
            assert flight.round_trip is None or flight.round_trip > 0
        assert self.outstanding.cumulative_tsn_ack == self.cumulative

    def take_cumulatively(self) -> None:
        while self.cumulative + 1 in self.arrived:
            self.cumulative += 1

    def islands(self) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        for tsn in sorted(tsn for tsn in self.arrived if tsn > self.cumulative):
            offset = tsn - self.cumulative
            if found and found[-1][1] == offset - 1:
                found[-1] = (found[-1][0], offset)
            else:
                found.append((offset, offset))
        return found

    # -- loss ----------------------------------------------------------------------------------------------------------

    @rule(path=st.integers(0, PATHS - 1), window=st.floats(0, 0.5))
    def detect(self, path: int, window: float) -> None:
        exhausted: list[OutgoingMessage] = []
        self.outstanding.detect_losses(self.outstanding.flights[path], window, self.now, exhausted)
        for message in exhausted:
            self.abandon(message)

    @rule(path=st.integers(0, PATHS - 1))
    def time_out(self, path: int) -> None:
        for message in self.outstanding.mark_all_lost(self.outstanding.flights[path]):
            self.abandon(message)

    @rule(path=st.integers(0, PATHS - 1))
    def fail_over(self, path: int) -> None:
        flights = self.outstanding.flights
        flights[path].move_lost(flights[1 - path])

    # -- what always holds ---------------------------------------------------------------------------------------------

    @invariant()
    def books_balance(self) -> None:
        self.queue.check_invariants()
        self.outstanding.check_invariants()
        assert self.outstanding.cumulative_tsn_ack <= self.outstanding.advanced_peer_ack_point
        assert self.outstanding.flight_payload >= 0

    def teardown(self) -> None:
        """Finish everything over a network that loses nothing, from any state."""
        for _ in range(400):
            for path in range(PATHS):
                self.time_out(path)
                self.send_lost(path, 10_000)
            self.send_new(10_000, 0)
            self.arrived |= {tsn for flight in self.outstanding.flights for tsn in flight.chunks}
            self.forward()
            self.acknowledge(300)
            if not len(self.outstanding) and self.queue.empty:
                break
        assert self.queue.empty
        assert not len(self.outstanding)
        assert self.outstanding.flight_size == self.outstanding.flight_payload == 0
        for message in self.messages:
            assert message.abandoned or self.taken[id(message)] == message.size
        for chunk, message in self.sent:
            assert chunk.state != ABANDONED or message.abandoned


TestSender = Sender.TestCase
TestSender.settings = settings(max_examples=60, stateful_step_count=40)
