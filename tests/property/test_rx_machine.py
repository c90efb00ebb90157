"""The receiving half as a state machine: tracker and both kinds of reassembly, under any order of arrival.

Chunks are duplicated, messages abandoned, and streams reset. The same chunks go to a reassembly of DATA and to one of
I-DATA; both must deliver the same.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from datachan.sctp.events import Event, MessageReceived
from datachan.sctp.rx.base import Reassembly
from datachan.sctp.rx.data_tracker import DataTracker
from datachan.sctp.rx.interleaved import InterleavedReassembly
from datachan.sctp.rx.reassembly import ReassemblyQueue
from datachan.sctp.wire.chunks import DataChunk
from datachan.sctp.wire.extensions import IDataChunk

INITIAL_TSN = (1 << 33) - 40  # so that the 32-bit TSNs wrap
STREAMS = 3


@dataclass
class Message:
    """One message and the TSNs of its fragments."""

    number: int
    stream_id: int
    unordered: bool
    ssn: int
    mid: int
    first_tsn: int
    fragments: int

    @property
    def last_tsn(self) -> int:
        return self.first_tsn + self.fragments - 1

    def fragment(self, index: int) -> bytes:
        return self.number.to_bytes(4, "big") + bytes([index])

    @property
    def data(self) -> bytes:
        return b"".join(self.fragment(index) for index in range(self.fragments))


@dataclass
class Numbers:
    """The counters of one stream at the sender."""

    ssn: int = 0
    mids: dict[bool, int] = field(default_factory=lambda: {False: 0, True: 0})


class Receiver(RuleBasedStateMachine):
    """The chunks the peer sent, those that arrived, and the messages delivered."""

    def __init__(self) -> None:
        super().__init__()
        self.tracker = DataTracker(INITIAL_TSN)
        self.plain, self.interleaved = ReassemblyQueue(), InterleavedReassembly(0, 20_000)
        self.reported: dict[int, list[Event]] = {id(self.plain): [], id(self.interleaved): []}
        self.sent: list[Message] = []
        self.given_up: set[int] = set()
        self.arrived: set[int] = set()
        self.next_tsn = INITIAL_TSN
        self.numbers = [Numbers() for _ in range(STREAMS)]

    @property
    def both(self) -> tuple[Reassembly, Reassembly]:
        return self.plain, self.interleaved

    @rule(stream_id=st.integers(0, STREAMS - 1), unordered=st.booleans(), fragments=st.integers(1, 5))
    def send(self, stream_id: int, unordered: bool, fragments: int) -> None:
        numbers = self.numbers[stream_id]
        message = Message(
            len(self.sent), stream_id, unordered, numbers.ssn, numbers.mids[unordered], self.next_tsn, fragments
        )
        numbers.ssn += not unordered
        numbers.mids[unordered] += 1
        self.next_tsn += fragments
        self.sent.append(message)

    @rule(chance=st.randoms(use_true_random=False), count=st.integers(1, 12))
    @precondition(lambda self: self.sent)
    def arrive(self, chance: random.Random, count: int) -> None:
        """Receive any chunk ever sent, including those that arrived before."""
        for _ in range(count):
            message = chance.choice(self.sent[-12:])
            self.take(message, chance.randrange(message.fragments))

    def take(self, message: Message, index: int) -> None:
        tsn = message.first_tsn + index
        new = tsn not in self.arrived and tsn > self.tracker.cumulative_tsn
        assert self.tracker.is_new(tsn) == new
        if not new:
            return
        self.arrived.add(tsn)
        contiguous = tsn == self.tracker.cumulative_tsn + 1
        self.tracker.record(tsn)
        first, last = index == 0, index == message.fragments - 1
        wire, data = tsn & 0xFFFFFFFF, message.fragment(index)
        stream_id, unordered, number = message.stream_id, message.unordered, message.number
        plain = DataChunk(wire, stream_id, message.ssn & 0xFFFF, number, data, unordered, first, last)
        self.plain.add(plain, tsn, contiguous, self.reported[id(self.plain)])
        chunk = IDataChunk(wire, stream_id, message.mid, index or number, data, unordered, first, last)
        self.interleaved.add(chunk, tsn, contiguous, self.reported[id(self.interleaved)])

    @rule()
    @precondition(lambda self: self.tracker.cumulative_tsn + 1 < self.next_tsn)
    def give_up(self) -> None:
        """Abandon the message of the first missing fragment, and send a FORWARD TSN."""
        missing = self.tracker.cumulative_tsn + 1
        [message] = [one for one in self.sent if one.first_tsn <= missing <= one.last_tsn]
        self.given_up.add(message.number)
        assert self.tracker.forward(message.last_tsn)
        assert not self.tracker.forward(message.last_tsn)
        ordered = [] if message.unordered else [(message.stream_id, False, message.ssn & 0xFFFF)]
        self.plain.forward(message.last_tsn, ordered, self.reported[id(self.plain)])
        skipped = [(message.stream_id, message.unordered, message.mid)]
        self.interleaved.forward(message.last_tsn, skipped, self.reported[id(self.interleaved)])

    @rule(stream_id=st.integers(0, STREAMS - 1))
    @precondition(lambda self: self.tracker.cumulative_tsn + 1 == self.next_tsn)
    def reset(self, stream_id: int) -> None:
        """Reset a stream once everything has arrived."""
        for reassembly in self.both:
            reassembly.reset_streams([stream_id])
        self.numbers[stream_id] = Numbers()

    @rule(blocks=st.integers(0, 300))
    def acknowledge(self, blocks: int) -> None:
        base = self.tracker.cumulative_tsn
        reported = {
            base + offset for start, end in self.tracker.gap_ack_blocks(blocks) for offset in range(start, end + 1)
        }
        above = {tsn for tsn in self.arrived if tsn > base}
        assert reported <= above
        assert blocks < 300 or reported == above
        self.tracker.sack_sent()

    @invariant()
    def books_balance(self) -> None:
        self.tracker.check_invariants()
        for reassembly in self.both:
            reassembly.check_invariants()
            assert reassembly.buffered >= 0

    @invariant()
    def what_came_out_is_right_and_once(self) -> None:
        for reported in self.reported.values():
            messages = [event for event in reported if isinstance(event, MessageReceived)]
            numbers = [event.ppid for event in messages]
            assert len(set(numbers)) == len(numbers)
            for event in messages[-5:]:
                sent = self.sent[event.ppid]
                assert (event.data, event.stream_id, event.unordered) == (sent.data, sent.stream_id, sent.unordered)
            for stream_id in range(STREAMS):
                ordered = [event.ppid for event in messages if event.stream_id == stream_id and not event.unordered]
                assert ordered == sorted(ordered)

    def teardown(self) -> None:
        """Let everything that is not abandoned arrive, and check that nothing is left behind."""
        for message in self.sent:
            for index in range(message.fragments):
                self.take(message, index)
        self.what_came_out_is_right_and_once()
        expected = {message.number for message in self.sent} - self.given_up
        for reassembly in self.both:
            numbers = {event.ppid for event in self.reported[id(reassembly)] if isinstance(event, MessageReceived)}
            assert numbers == expected
            assert reassembly.buffered == 0
        assert self.tracker.cumulative_tsn == self.next_tsn - 1


TestReceiver = Receiver.TestCase
TestReceiver.settings = settings(max_examples=80, stateful_step_count=40)
