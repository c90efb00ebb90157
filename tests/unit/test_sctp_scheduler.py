"""The schedulers of RFC 8260, section 3: the share of each stream, and how long it waits."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from datachan.sctp.options import SCHEDULERS
from datachan.sctp.tx.scheduler import StreamScheduler, make_scheduler
from datachan.sctp.tx.send_queue import OutgoingMessage, SendQueue

FRAGMENT = 1000


class Sending:
    """A send queue with a scheduler, emptied fragment by fragment."""

    def __init__(self, name: str, *, interleaving: bool = True) -> None:
        self.scheduler = make_scheduler(name)
        self.queue = SendQueue(self.scheduler)
        self.queue.interleaving = interleaving
        self.queue.peer_window = 1 << 30

    def add(self, stream_id: int, size: int) -> OutgoingMessage:
        message = OutgoingMessage(stream_id, 51, bytes(size), False, None, None, None)
        self.queue.add(message)
        return message

    def take(self) -> tuple[int, int] | None:
        message = self.queue.next_message()
        if message is None:
            return None
        size = min(FRAGMENT, message.remaining)
        self.queue.take(message, size)
        self.queue.check_invariants()
        return message.stream_id, size

    def streams(self, fragments: int = 1000) -> list[int]:
        """Return the streams of the next fragments."""
        result = []
        for _ in range(fragments):
            taken = self.take()
            if taken is None:
                break
            result.append(taken[0])
        return result

    def shares(self, fragments: int) -> Counter[int]:
        """Return the bytes by stream of the next fragments."""
        shares: Counter[int] = Counter()
        for _ in range(fragments):
            taken = self.take()
            assert taken is not None
            shares[taken[0]] += taken[1]
        return shares


@pytest.mark.parametrize("interleaving", [True, False])
def test_first_come_first_served_keeps_the_order_of_queueing(interleaving: bool) -> None:
    sending = Sending("fcfs", interleaving=interleaving)
    for stream_id, size in [(3, 2500), (1, 10), (3, 10), (2, 1500), (1, 10)]:
        sending.add(stream_id, size)
    assert sending.streams() == [3, 3, 3, 1, 3, 2, 2, 1]


def test_round_robin_gives_each_stream_a_turn() -> None:
    sending = Sending("round-robin")
    for stream_id, size in [(1, 3000), (2, 3000), (3, 500), (3, 500)]:
        sending.add(stream_id, size)
    assert sending.streams() == [1, 2, 3, 1, 2, 3, 1, 2]


def test_round_robin_per_packet_changes_streams_with_the_packet() -> None:
    sending = Sending("round-robin-per-packet")
    for stream_id in (1, 2):
        for _ in range(5):
            sending.add(stream_id, 100)
    packets = []
    while sending.queue.sendable:
        packets.append(sending.streams(3))
        sending.queue.start_packet()
    assert packets == [[1, 1, 1], [2, 2, 2], [1, 1], [2, 2]]


def test_strict_priority_interrupts_a_message_of_lower_priority() -> None:
    sending = Sending("priority")
    sending.scheduler.set_priority(1, 128)
    sending.scheduler.set_priority(2, 1024)
    sending.add(1, 5000)
    assert sending.streams(2) == [1, 1]
    sending.add(2, 2000)
    sending.add(3, 1000)
    assert sending.streams() == [2, 2, 3, 1, 1, 1]


def test_a_new_priority_applies_at_once_to_a_waiting_stream() -> None:
    sending = Sending("priority")
    sending.add(1, 3000)
    sending.add(2, 2000)
    sending.scheduler.set_priority(2, 300)
    assert sending.streams() == [2, 2, 1, 1, 1]


@pytest.mark.parametrize("interleaving", [True, False])
def test_fair_capacity_counts_bytes_not_messages(interleaving: bool) -> None:
    sending = Sending("fair-capacity", interleaving=interleaving)
    for _ in range(100):
        sending.add(1, 900)
    for _ in range(1000):
        sending.add(2, 100)
    shares = sending.shares(500)
    assert abs(shares[1] - shares[2]) <= 1000


@pytest.mark.parametrize("interleaving", [True, False])
def test_weighted_fair_queueing_shares_by_weight(interleaving: bool) -> None:
    sending = Sending("wfq", interleaving=interleaving)
    weights = {1: 128, 2: 256, 3: 512, 4: 1024}
    for stream_id, weight in weights.items():
        sending.scheduler.set_priority(stream_id, weight)
        for _ in range(400):
            sending.add(stream_id, 5 * FRAGMENT if interleaving else 700 + 50 * stream_id)
    shares = sending.shares(600)
    total = sum(shares.values())
    for stream_id, weight in weights.items():
        assert shares[stream_id] / total == pytest.approx(weight / sum(weights.values()), rel=0.02)


@pytest.mark.parametrize("name", ["wfq", "fair-capacity"])
def test_equal_weights_are_round_robin(name: str) -> None:
    fair, turns = Sending(name), Sending("round-robin")
    for sending in (fair, turns):
        for stream_id in (5, 2, 9):
            sending.add(stream_id, 10 * FRAGMENT)
    assert fair.streams() == turns.streams()


@pytest.mark.parametrize("name", ["wfq", "fair-capacity", "round-robin"])
def test_a_stream_that_was_idle_waits_for_one_fragment_at_most_and_gets_no_more_than_its_share(name: str) -> None:
    sending = Sending(name)
    sending.add(1, 1000 * FRAGMENT)
    sending.streams(500)
    sending.add(2, 100 * FRAGMENT)
    assert 2 in sending.streams(2)
    shares = sending.shares(100)
    assert abs(shares[1] - shares[2]) <= FRAGMENT


def test_an_occasional_small_message_precedes_bulk_data_of_a_higher_weight() -> None:
    sending = Sending("wfq")
    sending.scheduler.set_priority(1, 1024)
    sending.scheduler.set_priority(2, 128)
    sending.add(1, 1000 * FRAGMENT)
    for _ in range(50):
        sending.streams(15)
        sending.add(2, 20)
        assert 2 in sending.streams(2)


def test_accounts_are_reset_when_all_streams_are_idle() -> None:
    sending = Sending("wfq")
    sending.add(1, 100 * FRAGMENT)
    sending.streams()
    sending.add(1, 5 * FRAGMENT)
    sending.add(2, 5 * FRAGMENT)
    assert sending.streams() == [1, 2] * 5


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("interleaving", [True, False])
def test_every_message_is_sent_whatever_is_added_and_dropped(name: str, interleaving: bool) -> None:
    chance = random.Random(f"{name} {interleaving}")
    sending = Sending(name, interleaving=interleaving)
    waiting: dict[int, list[OutgoingMessage]] = {}
    for _ in range(5000):
        match chance.randrange(5):
            case 0 | 1:
                stream_id = chance.randrange(5)
                waiting.setdefault(stream_id, []).append(sending.add(stream_id, chance.choice([1, 500, 999, 4000])))
            case 2:
                left = [message for messages in waiting.values() for message in messages if message.remaining]
                if left:
                    sending.queue.drop(chance.choice(left))
            case 3:
                sending.scheduler.set_priority(chance.randrange(5), chance.choice([1, 256, 65535]))
            case _:
                sending.take()
        if chance.random() < 0.3:
            sending.queue.start_packet()
        sending.queue.check_invariants()
    while sending.queue.sendable:
        sending.queue.start_packet()
        assert sending.take() is not None
    assert sending.queue.empty
    for messages in waiting.values():
        assert not any(message.remaining for message in messages)


def test_a_stream_of_low_priority_that_comes_and_goes_costs_no_memory() -> None:
    scheduler: StreamScheduler = make_scheduler("priority")
    scheduler.set_priority(1, 1000)
    scheduler.activate(1, 0)
    for arrival in range(10_000):
        scheduler.activate(2, arrival)
        scheduler.deactivate(2)
    assert scheduler.choose() == 1
    scheduler.record_taken(1, 10, -1)
    assert scheduler.choose() is None


def test_an_unknown_scheduler_raises() -> None:
    with pytest.raises(ValueError, match="unknown scheduler 'lottery'"):
        make_scheduler("lottery")
