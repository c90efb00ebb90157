"""Messages held for a channel, and the limits on them."""

from __future__ import annotations

from datachan.dcep.held_messages import HeldMessages
from datachan.sctp.events import MessageReceived


def message(stream_id: int, data: bytes) -> MessageReceived:
    return MessageReceived(stream_id, 53, data, False)


def test_returns_held_messages_in_order() -> None:
    held = HeldMessages(100, 10)
    first, second = message(1, b"a"), message(1, b"b")
    assert held.add(first)
    assert held.add_reset(1)
    assert held.add(message(3, b"z"))
    assert held.add(second)
    assert 1 in held
    assert held.take(1) == [first, None, second]
    assert 1 not in held
    assert held.take(1) == []
    assert held.bytes_held == 1


def test_bytes_are_limited_over_all_streams() -> None:
    held = HeldMessages(10, 10)
    assert held.add(message(1, b"12345"))
    assert held.add(message(3, b"12345"))
    assert not held.add(message(5, b"1"))
    assert 5 not in held
    held.take(1)
    assert held.add(message(5, b"1"))
    assert held.bytes_held == 6


def test_messages_and_resets_are_limited_over_all_streams() -> None:
    held = HeldMessages(10, 3)
    assert held.add(message(1, b""))
    assert held.add(message(3, b""))
    assert held.add_reset(3)
    assert not held.add(message(5, b""))
    assert not held.add_reset(1)
    held.take(3)
    assert held.add_reset(1)


def test_reserved_bytes_count_until_released() -> None:
    held = HeldMessages(10, 10)
    assert held.reserve(6)
    assert not held.add(message(1, b"12345"))
    held.release(6)
    assert held.add(message(1, b"12345"))
    assert not held.reserve(6)
