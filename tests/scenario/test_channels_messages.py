"""Messages on channels: types, reliability, buffered amount, the window, and errors of a peer (RFC 8831, 6.6)."""

from __future__ import annotations

import pytest

from datachan.dcep import BufferedAmountChanged, Channel, ChannelLimits, ChannelMessage, ChannelState
from datachan.sctp.errors import MessageTooLarge
from datachan.sctp.events import SendFailed
from datachan.sctp.wire.chunks import UserDataChunk
from datachan.sctp.wire.packet import Packet
from tests.scenario.channel_pair import ChannelPair, connected, failures, kinds, messages
from tests.sim.network import Conditions, Network

DCEP, STRING, BINARY_PARTIAL, BINARY, STRING_PARTIAL, STRING_EMPTY, BINARY_EMPTY = 50, 51, 52, 53, 54, 56, 57


def raw(pair: ChannelPair, channel: Channel, *messages: tuple[int, bytes]) -> None:
    """Send SCTP messages from Z on the channel's stream."""
    for ppid, data in messages:
        pair.z.machine.association.send(channel.id, data, ppid=ppid, now=pair.now)
    pair.settle()


def has_data(packet: Packet) -> bool:
    return any(isinstance(chunk, UserDataChunk) for chunk in packet.chunks)


def window_is_whole(pair: ChannelPair) -> bool:
    return all(peer.machine.association.stats().receive_buffered == 0 for peer in (pair.a, pair.z))


# -- kinds -------------------------------------------------------------------------------------------------------------


def test_text_bytes_and_empty_messages_keep_their_types() -> None:
    pair = connected()
    channel, remote = pair.open()
    sent = ["text", b"bytes", "", b"", "größe 日本 😀", b"\0", "\0", bytes(100_000)]
    pair.send(pair.a, channel, *sent)
    pair.send(pair.z, remote, *sent)
    pair.settle()
    assert messages(pair.z, remote) == messages(pair.a, channel) == sent
    assert [type(data) for data in messages(pair.z)] == [type(data) for data in sent]
    assert window_is_whole(pair)


def test_lone_surrogates_are_sent_as_replacement_characters() -> None:
    pair = connected()
    channel, _ = pair.open()
    pair.send(pair.a, channel, "a\udc00b")
    pair.settle()
    assert messages(pair.z) == ["a\ufffdb"]


def test_the_content_of_an_empty_message_is_ignored() -> None:
    pair = connected()
    channel, _ = pair.open()
    raw(pair, channel, (STRING_EMPTY, b"\xff junk"), (BINARY_EMPTY, b"junk"))
    assert messages(pair.a) == ["", b""]
    assert window_is_whole(pair)


def test_a_message_longer_than_the_peer_accepts_raises_and_the_channel_stays_usable() -> None:
    pair = connected()
    channel, _ = pair.open()
    pair.a.machine.channels.max_message_size = 10
    with pytest.raises(MessageTooLarge, match="the message has 11 bytes; the peer accepts at most 10"):
        pair.send(pair.a, channel, bytes(11))
    with pytest.raises(MessageTooLarge):
        pair.send(pair.a, channel, "ä" * 6)
    assert channel.buffered_amount == 0
    pair.send(pair.a, channel, bytes(10), "ä" * 5)
    pair.settle()
    assert messages(pair.z) == [bytes(10), "ä" * 5]


# -- reliability -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"max_retransmits": 0}, {"max_packet_life_time": 200}])
@pytest.mark.parametrize("ordered", [True, False])
def test_a_lost_message_is_abandoned_at_the_channels_limit(options: dict[str, int], ordered: bool) -> None:
    pair = connected()
    channel, _ = pair.open(ordered=ordered, **options)
    pair.network.to_z.drop(has_data, count=1)
    pair.send(pair.a, channel, "lost")
    pair.drain()
    pair.run(0.3)
    pair.send(pair.a, channel, "next")
    pair.settle(30)
    assert messages(pair.z) == ["next"]
    (failed,) = [event for event in pair.a.machine.sctp_events if isinstance(event, SendFailed)]
    assert failed.context is channel
    assert channel.buffered_amount == 0


@pytest.mark.parametrize("options", [{"max_retransmits": 1}, {"max_packet_life_time": 20_000}, {}])
def test_a_lost_message_is_retransmitted_within_the_channels_limit(options: dict[str, int]) -> None:
    pair = connected()
    channel, _ = pair.open(**options)
    pair.network.to_z.drop(has_data, count=1)
    pair.send(pair.a, channel, "again")
    pair.settle(30)
    assert messages(pair.z) == ["again"]


@pytest.mark.parametrize("options", [{"max_retransmits": 0}, {"max_packet_life_time": 0}])
def test_open_and_ack_are_reliable_on_every_channel(options: dict[str, int]) -> None:
    pair = connected()
    channel = pair.a.machine.channels.create("x", ordered=False, **options)
    pair.network.to_z.drop(has_data, count=2)
    pair.network.to_a.drop(has_data, count=2)
    pair.settle(60)
    assert channel.state is ChannelState.OPEN
    assert len(pair.z.machine.channels.channels) == 1


def test_a_message_with_zero_lifetime_is_sent_if_it_can_leave_at_once() -> None:
    pair = connected()
    channel, _ = pair.open(max_packet_life_time=0, ordered=False)
    pair.send(pair.a, channel, "now")
    pair.settle()
    assert messages(pair.z) == ["now"]


@pytest.mark.parametrize("seed", range(5))
def test_reliable_channels_deliver_everything_on_a_bad_network(seed: int) -> None:
    bad = Conditions(latency=0.02, jitter=0.02, loss=0.1, duplication=0.05, reordering=0.1)
    pair = connected(Network(seed, to_z=bad), seed=seed)
    ends = {"ordered": pair.open(label="ordered"), "unordered": pair.open(label="unordered", ordered=False)}
    sent: list[str | bytes] = [f"{number}" * 50 for number in range(200)]
    for channel, remote in ends.values():
        pair.send(pair.a, channel, *sent)
        pair.send(pair.z, remote, *sent)
    pair.settle(600)
    for name, (channel, remote) in ends.items():
        for received in (messages(pair.a, channel), messages(pair.z, remote)):
            assert (received if name == "ordered" else sorted(received, key=sent.index)) == sent
    assert window_is_whole(pair)


# -- accounts ----------------------------------------------------------------------------------------------------------


def test_buffered_amount_counts_user_bytes_until_they_are_sent() -> None:
    pair = connected(Network(to_z=Conditions(latency=0.05)))
    channel, _ = pair.open()
    pair.send(pair.a, channel, "äö", "", b"", bytes(50_000))
    assert channel.buffered_amount == 50_004
    seen = []
    pair.a.on_event = lambda event, now: seen.append(event) if isinstance(event, BufferedAmountChanged) else None
    pair.settle()
    amounts = [event.amount for event in seen]
    assert all(event.channel is channel for event in seen)
    assert amounts == sorted(set(amounts), reverse=True)
    assert len(amounts) > 1
    assert amounts[-1] == channel.buffered_amount == 0


def test_control_messages_and_empty_messages_do_not_count() -> None:
    pair = connected()
    channel = pair.a.machine.channels.create("a long label")
    pair.send(pair.a, channel, "", b"")
    assert channel.buffered_amount == 0
    pair.settle()
    assert pair.a.of(BufferedAmountChanged) == pair.z.of(BufferedAmountChanged) == []
    assert messages(pair.z) == ["", b""]


def test_buffered_amount_keeps_its_value_when_the_association_is_lost() -> None:
    pair = connected()
    channel, _ = pair.open()
    pair.network.to_z.drop()
    pair.send(pair.a, channel, bytes(100_000))
    pair.run(0.1)
    left = channel.buffered_amount
    assert left > 0
    pair.a.machine.association.abort(pair.now)
    pair.settle()
    assert channel.state is ChannelState.CLOSED
    assert channel.buffered_amount == left


def test_messages_abandoned_in_the_queue_reduce_buffered_amount() -> None:
    pair = connected()
    channel, _ = pair.open(max_packet_life_time=100)
    pair.network.to_z.drop(has_data)
    pair.send(pair.a, channel, *[bytes(10_000)] * 20)
    pair.settle(30)
    assert channel.buffered_amount == 0
    assert pair.a.of(BufferedAmountChanged)[-1].amount == 0


# -- the window --------------------------------------------------------------------------------------------------------


def test_unread_messages_close_the_window_and_reading_opens_it() -> None:
    pair = connected(z_options={"receive_window": 50_000})
    channel, remote = pair.open()
    pair.z.machine.reads = False
    sent: list[str | bytes] = [bytes([number]) * 1000 for number in range(200)]
    pair.send(pair.a, channel, *sent)
    pair.settle(60)
    stalled = pair.z.of(ChannelMessage)
    assert 0 < len(stalled) < 100
    assert channel.buffered_amount > 0
    pair.z.machine.reads = True
    for event in stalled:
        pair.z.machine.channels.release_window(event.size)
    pair.settle(60)
    assert messages(pair.z, remote) == sent
    assert window_is_whole(pair)


def test_messages_read_after_the_channel_closed_release_the_window() -> None:
    pair = connected()
    channel, remote = pair.open()
    pair.z.machine.reads = False
    pair.send(pair.a, channel, "one", "two")
    pair.close(pair.a, channel)
    pair.settle()
    assert remote.state is ChannelState.CLOSED
    assert not window_is_whole(pair)
    for event in pair.z.of(ChannelMessage):
        pair.z.machine.channels.release_window(event.size)
    pair.settle()
    assert window_is_whole(pair)


# -- errors of a peer --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ((STRING, b"\xff"), "the peer sent a text that is not UTF-8"),
        ((STRING, b"\xed\xa0\x80"), "the peer sent a text that is not UTF-8"),
        ((99, b"?"), "the peer sent a message with PPID 99"),
        ((0, b"?"), "the peer sent a message with PPID 0"),
        ((DCEP, b"\x01"), "the peer sent a control message of unknown type 0x01"),
    ],
)
def test_a_wrong_message_closes_its_channel_and_no_other(message: tuple[int, bytes], reason: str) -> None:
    pair = connected()
    channel, remote = pair.open()
    other, _ = pair.open()
    raw(pair, channel, (STRING, b"good"), message, (STRING, b"too late"))
    assert messages(pair.a, channel) == ["good"]
    assert failures(pair.a, channel) == [reason]
    assert kinds(pair.a, channel) == ["ChannelOpened", "ChannelFailed", "ChannelClosed"]
    assert kinds(pair.z, remote)[-2:] == ["ChannelClosing", "ChannelClosed"]
    assert other.state is ChannelState.OPEN
    assert window_is_whole(pair)


def test_parts_with_the_deprecated_ppids_are_reassembled() -> None:
    pair = connected()
    channel, _ = pair.open()
    raw(pair, channel, (BINARY_PARTIAL, b"a"), (BINARY_PARTIAL, b"b"), (BINARY, b"c"), (BINARY, b"whole"))
    raw(pair, channel, (STRING_PARTIAL, b"\xc3"), (STRING, b"\xa4"), (STRING, b"whole"))
    assert messages(pair.a) == [b"abc", b"whole", "ä", "whole"]
    assert pair.a.machine.channels.bytes_held == 0
    assert window_is_whole(pair)


def test_parts_of_messages_are_limited() -> None:
    pair = connected(a_limits=ChannelLimits(max_held_bytes=3000))
    channel, _ = pair.open()
    raw(pair, channel, *[(BINARY_PARTIAL, bytes(1000))] * 4, (BINARY, b"end"))
    assert messages(pair.a) == []
    assert failures(pair.a, channel) == ["the peer sent a message in parts that is too long together"]
    assert pair.a.machine.channels.bytes_held == 0
    assert window_is_whole(pair)


@pytest.mark.parametrize(
    "wrong", [(STRING, b"other kind"), (STRING_PARTIAL, b"other kind"), (BINARY_EMPTY, b"\0"), (STRING_EMPTY, b"\0")]
)
def test_parts_of_two_messages_are_not_mixed(wrong: tuple[int, bytes]) -> None:
    pair = connected()
    channel, _ = pair.open()
    raw(pair, channel, (BINARY_PARTIAL, b"a"), wrong)
    assert failures(pair.a, channel) == ["the peer began a message before it ended another"]
    assert messages(pair.a) == []
    assert pair.a.machine.channels.bytes_held == 0
    assert window_is_whole(pair)


@pytest.mark.parametrize("options", [{"ordered": False}, {"max_retransmits": 5}, {"max_packet_life_time": 500}])
def test_parts_are_accepted_on_reliable_ordered_channels_only(options: dict[str, int]) -> None:
    pair = connected()
    channel, _ = pair.open(**options)
    raw(pair, channel, (BINARY_PARTIAL, b"a"))
    assert failures(pair.a, channel) == [
        "the peer sent part of a message on a channel that is not reliable and ordered"
    ]


def test_closing_between_parts_of_a_message_is_a_failure() -> None:
    pair = connected()
    channel, remote = pair.open()
    raw(pair, channel, (BINARY_PARTIAL, b"a"))
    pair.close(pair.z, remote)
    pair.settle()
    assert failures(pair.a, channel) == ["the peer closed the channel in the middle of a message"]
    assert kinds(pair.a, channel)[-1] == "ChannelClosed"
    assert pair.a.machine.channels.bytes_held == 0


def test_messages_held_before_their_channel_may_be_in_parts() -> None:
    pair = connected()
    of_z = pair.z.machine.channels.create("x", negotiated=True, id=9)
    raw(pair, of_z, (BINARY_PARTIAL, b"a"), (BINARY, b"b"), (BINARY, b"c"))
    of_a = pair.a.machine.channels.create("x", negotiated=True, id=9)
    pair.settle()
    assert messages(pair.a, of_a) == [b"ab", b"c"]
    assert pair.a.machine.channels.bytes_held == 0
    assert window_is_whole(pair)
