"""The encoding of user messages as SCTP messages, and the buffered amount of a channel."""

from __future__ import annotations

import pytest

from datachan.dcep.channel import Channel
from datachan.dcep.payload import encode_payload


def test_text_is_sent_as_utf_8_with_ppid_51() -> None:
    assert encode_payload("ä") == (51, "ä".encode(), 2)


def test_bytes_are_sent_unchanged_with_ppid_53() -> None:
    assert encode_payload(b"\x00\x01") == (53, b"\x00\x01", 2)


@pytest.mark.parametrize("data", [bytearray(b"ab"), memoryview(b"ab")])
def test_bytes_like_objects_are_copied(data: bytearray | memoryview) -> None:
    ppid, payload, size = encode_payload(data)  # type: ignore[arg-type]
    assert (ppid, payload, size) == (53, b"ab", 2)
    assert type(payload) is bytes


def test_an_empty_message_is_one_zero_byte_and_counts_as_none() -> None:
    assert encode_payload("") == (56, b"\0", 0)
    assert encode_payload(b"") == (57, b"\0", 0)


@pytest.mark.parametrize("data", [None, 1, ["a"]])
def test_other_types_raise_type_error(data: object) -> None:
    with pytest.raises(TypeError, match="str or bytes"):
        encode_payload(data)  # type: ignore[arg-type]


def queue(channel: Channel, wire_bytes: int, user_bytes: int) -> None:
    channel.add_queued(wire_bytes, user_bytes)
    channel.buffered_amount += user_bytes


def test_only_user_bytes_reduce_the_buffered_amount() -> None:
    channel = Channel("x")
    queue(channel, 13, 0)  # the OPEN
    queue(channel, 100, 100)
    queue(channel, 1, 0)  # an empty message
    queue(channel, 50, 50)
    left = []
    for gone in (10, 4, 99, 1, 25, 25):
        channel.remove_queued(gone)
        left.append(channel.buffered_amount)
    assert left == [150, 149, 50, 50, 25, 0]


def test_more_bytes_than_were_queued_are_ignored() -> None:
    channel = Channel("x")
    channel.remove_queued(5)
    queue(channel, 5, 5)
    channel.remove_queued(500)
    assert channel.buffered_amount == 0
