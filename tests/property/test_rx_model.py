"""The receiving half against a model: in any order of arrival the sent messages come out and the accounts balance."""

from __future__ import annotations

import random
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from datachan.sctp.events import Event, MessageReceived
from datachan.sctp.rx.data_tracker import DataTracker
from datachan.sctp.rx.interleaved import InterleavedReassembly
from datachan.sctp.rx.reassembly import ReassemblyQueue
from datachan.sctp.wire.chunks import DataChunk
from datachan.sctp.wire.extensions import IDataChunk

INITIAL_TSN = (1 << 33) - 20  # so that the 32-bit TSNs wrap


@dataclass(frozen=True)
class Message:
    stream_id: int
    unordered: bool
    fragments: int


messages = st.lists(st.builds(Message, st.integers(0, 2), st.booleans(), st.integers(1, 5)), min_size=1, max_size=25)


def chunks_of(sent: list[Message]) -> list[tuple[int, DataChunk]]:
    """Return the DATA chunks of messages sent one after the other, with their unwrapped TSNs."""
    result = []
    tsn = INITIAL_TSN
    next_ssn = {0: 0, 1: 0, 2: 0}
    for number, message in enumerate(sent):
        ssn = next_ssn[message.stream_id]
        if not message.unordered:
            next_ssn[message.stream_id] += 1
        for index in range(message.fragments):
            data = bytes([number, index])
            first, last = index == 0, index == message.fragments - 1
            chunk = DataChunk(tsn & 0xFFFFFFFF, message.stream_id, ssn, number, data, message.unordered, first, last)
            result.append((tsn, chunk))
            tsn += 1
    return result


def whole(number: int, message: Message) -> bytes:
    return b"".join(bytes([number, index]) for index in range(message.fragments))


def feed(chunks: list[tuple[int, DataChunk]]) -> tuple[DataTracker, ReassemblyQueue, list[Event]]:
    tracker, reassembly, out = DataTracker(INITIAL_TSN), ReassemblyQueue(), list[Event]()
    for tsn, chunk in chunks:
        if tracker.is_new(tsn):
            tracker.record(tsn)
            reassembly.add(chunk, tsn, tsn <= tracker.cumulative_tsn, out)
        tracker.check_invariants()
        reassembly.check_invariants()
    return tracker, reassembly, out


@settings(max_examples=200)
@given(messages, st.randoms(use_true_random=False), st.integers(0, 30))
def test_messages_are_delivered_once_and_in_order_for_any_order_of_arrival(
    sent: list[Message], chance: random.Random, duplicates: int
) -> None:
    chunks = chunks_of(sent)
    arriving = chunks + [chance.choice(chunks) for _ in range(duplicates)]
    chance.shuffle(arriving)
    tracker, reassembly, out = feed(arriving)
    received = [event for event in out if isinstance(event, MessageReceived)]
    assert sorted(event.ppid for event in received) == list(range(len(sent)))
    for event in received:
        assert event.data == whole(event.ppid, sent[event.ppid])
    for stream_id in range(3):
        ordered = [event.ppid for event in received if event.stream_id == stream_id and not event.unordered]
        assert ordered == sorted(ordered)
    assert reassembly.buffered == 0
    assert tracker.cumulative_tsn == tracker.highest_tsn == chunks[-1][0]
    assert not tracker.has_gaps


@settings(max_examples=200)
@given(messages, st.randoms(use_true_random=False))
def test_the_tracker_reports_exactly_what_is_missing(sent: list[Message], chance: random.Random) -> None:
    chunks = chunks_of(sent)
    arriving = chance.sample(chunks, chance.randrange(len(chunks) + 1))
    tracker, _, _ = feed(arriving)
    arrived = {tsn for tsn, _ in arriving}
    reported = {
        tracker.cumulative_tsn + offset
        for start, end in tracker.gap_ack_blocks(1000)
        for offset in range(start, end + 1)
    }
    assert reported == {tsn for tsn in arrived if tsn > tracker.cumulative_tsn}
    assert tracker.cumulative_tsn + 1 not in arrived
    assert all(tsn in arrived for tsn in range(INITIAL_TSN, tracker.cumulative_tsn + 1))


@settings(max_examples=200)
@given(messages, st.randoms(use_true_random=False))
def test_skipped_messages_leave_nothing_behind_and_all_others_arrive(
    sent: list[Message], chance: random.Random
) -> None:
    chunks = chunks_of(sent)
    skipped = {number for number in range(len(sent)) if chance.random() < 0.4}
    # Any part of an abandoned message may have arrived, but not all of it.
    arriving = []
    for tsn, chunk in chunks:
        is_last = chunk.ending
        if chunk.ppid not in skipped or (not is_last and chance.random() < 0.5):
            arriving.append((tsn, chunk))
    chance.shuffle(arriving)
    tracker, reassembly, out = feed(arriving)
    # The sender may skip only abandoned messages: it moves forward message by message, as SACKs allow.
    while tracker.cumulative_tsn < chunks[-1][0]:
        missing = chunks[tracker.cumulative_tsn + 1 - INITIAL_TSN][1]
        assert missing.ppid in skipped
        last = max(tsn for tsn, chunk in chunks if chunk.ppid == missing.ppid)
        stream = [] if missing.unordered else [(missing.stream_id, False, missing.ssn)]
        assert tracker.forward(last)
        reassembly.forward(last, stream, out)
        tracker.check_invariants()
        reassembly.check_invariants()
    received = [event for event in out if isinstance(event, MessageReceived)]
    assert {event.ppid for event in received} == set(range(len(sent))) - skipped
    assert len(received) == len(sent) - len(skipped)
    for stream_id in range(3):
        ordered = [event.ppid for event in received if event.stream_id == stream_id and not event.unordered]
        assert ordered == sorted(ordered)
    assert reassembly.buffered == 0


# -- I-DATA: the same, with messages of different streams mixed --------------------------------------------------------


def i_data_chunks_of(sent: list[Message], chance: random.Random) -> list[IDataChunk]:
    """Return the I-DATA chunks of these messages: one after the other on a stream, at random between streams."""
    queues: dict[int, list[IDataChunk]] = {0: [], 1: [], 2: []}
    next_mid: dict[tuple[int, bool], int] = {}
    for number, message in enumerate(sent):
        key = (message.stream_id, message.unordered)
        mid = next_mid.setdefault(key, 0)
        next_mid[key] += 1
        for fsn in range(message.fragments):
            data = bytes([number, fsn])
            last = fsn == message.fragments - 1
            chunk = IDataChunk(0, message.stream_id, mid, fsn or number, data, message.unordered, fsn == 0, last)
            queues[message.stream_id].append(chunk)
    result = []
    while any(queues.values()):
        result.append(chance.choice([queue for queue in queues.values() if queue]).pop(0))
    return result


@settings(max_examples=200)
@given(messages, st.randoms(use_true_random=False))
def test_interleaved_messages_are_delivered_for_any_order_of_arrival(
    sent: list[Message], chance: random.Random
) -> None:
    arriving = i_data_chunks_of(sent, chance)
    chance.shuffle(arriving)
    reassembly, out = InterleavedReassembly(0, chance.choice([0, 20_000])), list[Event]()
    for chunk in arriving:
        reassembly.add(chunk, 0, False, out)
        reassembly.check_invariants()
    check_received(sent, set(), out)
    assert reassembly.buffered == 0
    assert reassembly.uncounted(0) == (0, 0)


@settings(max_examples=200)
@given(messages, st.randoms(use_true_random=False))
def test_skipped_interleaved_messages_leave_nothing_behind_and_all_others_arrive(
    sent: list[Message], chance: random.Random
) -> None:
    chunks = i_data_chunks_of(sent, chance)
    skipped = {number for number in range(len(sent)) if chance.random() < 0.4}
    arriving = [
        chunk for chunk in chunks if chunk.data[0] not in skipped or (not chunk.ending and chance.random() < 0.5)
    ]
    chance.shuffle(arriving)
    late = {id(chunk) for chunk in arriving if chunk.data[0] in skipped and chance.random() < 0.3}
    reassembly, out = InterleavedReassembly(0, 20_000), list[Event]()
    for chunk in arriving:
        if id(chunk) not in late:
            reassembly.add(chunk, 0, False, out)
    for chunk in chunks:
        if chunk.ending and chunk.data[0] in skipped:
            reassembly.forward(0, [(chunk.stream_id, chunk.unordered, chunk.mid)], out)
            reassembly.check_invariants()
    for chunk in arriving:
        if id(chunk) in late:
            reassembly.add(chunk, 0, False, out)
    check_received(sent, skipped, out)
    assert reassembly.buffered == 0


def check_received(sent: list[Message], skipped: set[int], out: list[Event]) -> None:
    received = [event for event in out if isinstance(event, MessageReceived)]
    assert sorted(event.ppid for event in received) == [n for n in range(len(sent)) if n not in skipped]
    for event in received:
        assert event.data == whole(event.ppid, sent[event.ppid])
    for stream_id in range(3):
        ordered = [event.ppid for event in received if event.stream_id == stream_id and not event.unordered]
        assert ordered == sorted(ordered)
