"""The send queue: the order of fragments, their numbers, and messages that are dropped or delayed."""

from __future__ import annotations

from datachan.sctp.tx.send_queue import OutgoingMessage, SendQueue


def queue(interleaving: bool = True, peer_window: int = 100_000) -> SendQueue:
    made = SendQueue()
    made.interleaving = interleaving
    made.peer_window = peer_window
    return made


def message(stream_id: int, size: int, *, unordered: bool = False) -> OutgoingMessage:
    return OutgoingMessage(stream_id, 51, bytes(size), unordered, None, None, None)


def take(made: SendQueue, most: int = 1000) -> tuple[int, int] | None:
    """Take the next fragment; return (stream, bytes)."""
    made.check_invariants()
    following = made.next_message()
    if following is None:
        return None
    size = min(most, following.remaining)
    made.take(following, size)
    made.check_invariants()
    return following.stream_id, size


def take_all(made: SendQueue) -> list[int]:
    streams = []
    while (taken := take(made)) is not None:
        streams.append(taken[0])
    return streams


def test_with_interleaving_streams_take_turns_by_fragments() -> None:
    made = queue()
    for stream_id in (1, 2):
        made.add(message(stream_id, 3000))
    assert take_all(made) == [1, 2, 1, 2, 1, 2]


def test_without_interleaving_streams_take_turns_by_messages() -> None:
    made = queue(interleaving=False)
    for stream_id in (1, 2, 1):
        made.add(message(stream_id, 3000))
    assert take_all(made) == [1, 1, 1, 2, 2, 2, 1, 1, 1]


def test_dropping_a_partly_taken_message_releases_the_next() -> None:
    for interleaving in (False, True):
        made = queue(interleaving)
        first = message(1, 5000)
        made.add(first)
        made.add(message(1, 10))
        made.add(message(2, 10))
        take(made)
        made.drop(first)
        assert sorted(take_all(made)) == [1, 2]


def test_long_messages_wait_while_started_ones_need_the_peers_window() -> None:
    made = queue(peer_window=10_000)
    for stream_id in (1, 2, 3):
        made.add(message(stream_id, 4000))
    made.add(message(4, 500))
    # The third would make 12,000 bytes of 10,000; the short one needs no room.
    assert take_all(made) == [1, 2, 4, 1, 2, 1, 2, 1, 2, 3, 3, 3, 3]


def test_a_message_held_back_can_be_dropped() -> None:
    made = queue(peer_window=10_000)
    held_back = message(3, 9000)
    for one in (message(1, 4000), held_back, message(3, 10)):
        made.add(one)
    assert [take(made), take(made)] == [(1, 1000), (1, 1000)]
    made.drop(held_back)
    assert take_all(made) == [1, 3, 1]


def test_other_messages_are_sent_beside_one_longer_than_the_window() -> None:
    made = queue(peer_window=10_000)
    made.add(message(1, 50_000))
    made.add(message(2, 2000))
    made.add(message(3, 2000))
    taken = take_all(made)
    assert taken[:4] == [1, 2, 1, 2]
    assert taken[4:8] == [1, 3, 1, 3]


def test_a_partly_taken_message_starts_over_after_a_restart() -> None:
    for interleaving in (False, True):
        made = queue(interleaving)
        half = message(1, 3000)
        made.add(half)
        made.add(message(2, 3000))
        take(made)
        take(made)
        made.restart()
        made.check_invariants()
        assert made.buffered == 6000
        assert (half.offset, half.fsn, half.ssn) == (0, 0, -1)
        assert len(take_all(made)) == 6


def test_ordered_and_unordered_messages_are_numbered_separately_only_with_interleaving() -> None:
    for interleaving, expected in ((False, [0, 1, 1]), (True, [0, 0, 1])):
        made = queue(interleaving)
        sent = [message(1, 10), message(1, 10, unordered=True), message(1, 10, unordered=interleaving)]
        for one in sent:
            made.add(one)
        take_all(made)
        assert [one.ssn for one in sent] == expected
