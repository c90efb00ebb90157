"""Opening channels: in band (RFC 8832, section 6) and negotiated by the applications (RFC 8831, section 6.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from datachan.dcep import (
    ChannelAnnounced,
    ChannelLimits,
    ChannelNotOpen,
    ChannelState,
    DataChannels,
    IdInUse,
    InvalidChannelOptions,
    NoFreeId,
)
from datachan.dcep.control_messages import OpenMessage
from datachan.sctp import AssociationState
from datachan.sctp.wire.chunks import DataChunk
from datachan.sctp.wire.extensions import IDataChunk
from datachan.sctp.wire.packet import Packet
from tests.scenario.channel_pair import ChannelPair, connected, failures, kinds, messages, was_closed, was_opened
from tests.sim.network import Link

DCEP, STRING, BINARY = 50, 51, 53


def data_chunks(link: Link, stream_id: int) -> list[tuple[int, bool]]:
    """Return the PPIDs and U bits of the chunks sent on a stream."""
    packets = [passage.packet for passage in link.passages]
    return [
        (chunk.ppid, chunk.unordered)
        for packet in packets
        if packet is not None
        for chunk in packet.chunks
        if isinstance(chunk, DataChunk | IDataChunk) and chunk.stream_id == stream_id
    ]


def carrying(ppid: int) -> Callable[[Packet], bool]:
    return lambda packet: any(
        isinstance(chunk, DataChunk | IDataChunk) and chunk.ppid == ppid for chunk in packet.chunks
    )


# -- in band -----------------------------------------------------------------------------------------------------------


def test_opens_with_open_and_ack() -> None:
    pair = connected()
    channel = pair.a.machine.channels.create("chat")
    assert channel.state is ChannelState.CONNECTING
    pair.settle()
    # A -- OPEN --> Z
    # A <-- ACK --- Z
    assert data_chunks(pair.network.to_z, 0) == [(DCEP, False)]
    assert data_chunks(pair.network.to_a, 0) == [(DCEP, False)]
    assert kinds(pair.a, channel) == ["ChannelOpened"]
    (announced,) = pair.z.of(ChannelAnnounced)
    assert announced.channel.state is ChannelState.OPEN
    assert kinds(pair.z, announced.channel) == ["ChannelAnnounced"]


def test_the_creators_channel_is_open_before_the_ack() -> None:
    pair = connected()
    channel = pair.a.machine.channels.create("chat")
    pair.drain()
    assert was_opened(pair.a, channel)
    pair.send(pair.a, channel, "with the OPEN")
    assert not pair.z.of(ChannelAnnounced)
    pair.run(0.011)  # one way
    assert messages(pair.z) == ["with the OPEN"]


def test_a_channel_created_before_the_association_opens_with_the_cookie_echo() -> None:
    pair = ChannelPair()
    channel = pair.a.machine.channels.create("chat")
    pair.a.machine.association.connect(pair.now)
    pair.run_until(lambda: was_opened(pair.a, channel))
    assert pair.a.machine.association.state is AssociationState.COOKIE_ECHOED
    pair.send(pair.a, channel, "after the cookie")
    pair.run(0.011)  # one way
    (announced,) = pair.z.of(ChannelAnnounced)
    assert not pair.established(pair.a)
    pair.settle()
    assert messages(pair.z) == ["after the cookie"]
    assert kinds(pair.z, announced.channel)[0] == "ChannelAnnounced"
    assert kinds(pair.a, channel) == ["ChannelOpened"]


def test_a_channel_closed_before_the_cookie_ack_closes_at_both_ends() -> None:
    pair = ChannelPair()
    channels = [pair.a.machine.channels.create("chat"), pair.a.machine.channels.create("", negotiated=True, id=7)]
    pair.z.machine.channels.create("", negotiated=True, id=7)
    pair.a.machine.association.connect(pair.now)
    pair.run_until(lambda: was_opened(pair.a, channels[0]))
    for channel in channels:
        pair.a.machine.channels.close(channel, pair.now)
    pair.settle()
    assert [channel.state for channel in channels] == [ChannelState.CLOSED] * 2
    assert not pair.a.machine.channels.channels
    assert not pair.z.machine.channels.channels


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ordered": False},
        {"max_retransmits": 0},
        {"max_retransmits": 65535, "ordered": False},
        {"max_packet_life_time": 0},
        {"max_packet_life_time": 65535, "ordered": False},
        {"priority": 1024, "protocol": "größer"},
        {"priority": 0},
    ],
)
def test_the_other_side_has_the_same_properties(options: dict[str, Any]) -> None:
    pair = connected()
    channel, remote = pair.open(label="日本語", **options)
    for name in ("label", "protocol", "ordered", "max_retransmits", "max_packet_life_time", "priority", "id"):
        assert getattr(remote, name) == getattr(channel, name)
    assert remote.announced
    assert not remote.negotiated
    assert not channel.announced


def test_label_and_protocol_may_have_65535_bytes() -> None:
    pair = connected()
    channel, remote = pair.open(label="ä" * 32767 + "l", protocol="p" * 65535)
    assert (remote.label, remote.protocol) == (channel.label, channel.protocol)


def test_both_sides_may_open_a_channel_of_the_same_name_at_the_same_time() -> None:
    pair = connected()
    of_a = pair.a.machine.channels.create("x")
    of_z = pair.z.machine.channels.create("x")
    pair.settle()
    assert (of_a.id, of_z.id) == (0, 1)
    for peer, channel in ((pair.a, of_a), (pair.z, of_z)):
        assert was_opened(peer, channel)
        assert len(peer.of(ChannelAnnounced)) == 1


def test_ids_are_assigned_at_establishment_and_opens_are_sent_in_order() -> None:
    pair = ChannelPair()
    channels = [pair.a.machine.channels.create(str(number)) for number in range(3)]
    assert [channel.id for channel in channels] == [None, None, None]
    assert pair.a.machine.channels.max_channels is None
    pair.connect()
    assert [channel.id for channel in channels] == [0, 2, 4]
    assert [event.channel.label for event in pair.z.of(ChannelAnnounced)] == ["0", "1", "2"]
    assert pair.a.machine.channels.max_channels == 65535


def test_ids_of_negotiated_channels_are_skipped() -> None:
    pair = ChannelPair()
    pair.a.machine.channels.create("agreed", negotiated=True, id=2)
    channels = [pair.a.machine.channels.create("x") for _ in range(2)]
    pair.connect()
    assert [channel.id for channel in channels] == [0, 4]


def test_a_channel_without_a_stream_fails_when_the_streams_become_known() -> None:
    # Z accepts 3 streams; Chromium accepts 1024.
    pair = ChannelPair(z_options={"inbound_streams": 3})
    channels = [pair.a.machine.channels.create("x") for _ in range(3)]
    agreed = pair.a.machine.channels.create("agreed", negotiated=True, id=3)
    pair.connect()
    assert [channel.state for channel in channels] == [ChannelState.OPEN, ChannelState.OPEN, ChannelState.CLOSED]
    for channel in (channels[2], agreed):
        assert kinds(pair.a, channel) == ["ChannelFailed", "ChannelClosed"]
        assert "3 streams" in failures(pair.a, channel)[0]
    with pytest.raises(NoFreeId):
        pair.a.machine.channels.create("one more")
    with pytest.raises(NoFreeId):
        pair.a.machine.channels.create("one more", negotiated=True, id=3)
    assert len(pair.a.machine.channels.channels) == 2


def test_hundreds_of_channels_open_at_once() -> None:
    pair = ChannelPair()
    channels = [pair.a.machine.channels.create(str(number)) for number in range(500)]
    pair.connect()
    pair.settle(20)
    assert all(channel.state is ChannelState.OPEN for channel in channels)
    assert len(pair.z.machine.channels.channels) == 500


# -- messages before the answer ----------------------------------------------------------------------------------------


def test_messages_sent_before_the_association_arrive_after_the_open() -> None:
    pair = ChannelPair()
    channel = pair.a.machine.channels.create("early")
    pair.send(pair.a, channel, "one", "two")
    assert channel.buffered_amount == 6
    pair.connect()
    assert messages(pair.z) == ["one", "two"]
    assert channel.buffered_amount == 0


def test_messages_before_the_ack_are_ordered_and_after_it_unordered() -> None:
    pair = connected()
    channel = pair.a.machine.channels.create("u", ordered=False)
    pair.send(pair.a, channel, "before", "the ack")
    pair.settle()
    pair.send(pair.a, channel, "after")
    pair.settle()
    assert data_chunks(pair.network.to_z, 0) == [(DCEP, False), (STRING, False), (STRING, False), (STRING, True)]
    assert messages(pair.z) == ["before", "the ack", "after"]


def test_messages_do_not_overtake_a_lost_open() -> None:
    pair = connected()
    channel = pair.a.machine.channels.create("u", ordered=False)
    # A -- OPEN --> lost
    # A -- "one" -> Z
    pair.network.to_z.drop(carrying(DCEP), count=1)
    pair.drain()
    pair.send(pair.a, channel, "one")
    pair.settle()
    assert was_opened(pair.a, channel)
    assert messages(pair.z, pair.z.of(ChannelAnnounced)[0].channel) == ["one"]


def test_the_side_that_received_the_open_sends_unordered_at_once() -> None:
    pair = connected()
    _, remote = pair.open(ordered=False)
    pair.send(pair.z, remote, "reply")
    pair.settle()
    assert data_chunks(pair.network.to_a, 0) == [(DCEP, False), (STRING, True)]


def test_a_user_message_confirms_a_channel_like_an_ack() -> None:
    pair = connected()
    channel = pair.a.machine.channels.create("u", ordered=False)
    pair.drain()
    # A peer whose reply overtakes its ACK
    pair.z.machine.association.send(0, b"reply", ppid=STRING, now=pair.now)
    pair.z.drain(pair.now)
    pair.step()
    pair.step()
    assert was_opened(pair.a, channel)
    assert messages(pair.a, channel) == ["reply"]


# -- a peer that does not do as it should ------------------------------------------------------------------------------


def test_unordered_messages_that_overtake_their_open_are_held() -> None:
    pair = connected()
    pair.z.machine.association.send(1, b"one", ppid=STRING, now=pair.now, unordered=True)
    pair.z.machine.association.send(1, b"\0", ppid=57, now=pair.now, unordered=True)
    pair.settle()
    assert pair.a.events == []
    assert pair.a.machine.channels.bytes_held == 4
    pair.z.machine.association.send(1, OpenMessage(label="late").serialize(), ppid=DCEP, now=pair.now)
    pair.settle()
    (announced,) = pair.a.of(ChannelAnnounced)
    assert messages(pair.a, announced.channel) == ["one", b""]
    assert pair.a.machine.channels.bytes_held == 0
    assert pair.a.machine.association.stats().receive_buffered == 0


BAD_OPENS = {
    "wrong parity": (2, OpenMessage(label="x").serialize()),
    "unknown channel type": (1, b"\x03\x7f" + bytes(10)),
    "label past the end": (1, bytes.fromhex("0300 0100 00000000 0005 0000") + b"four"),
    "label no UTF-8": (1, bytes.fromhex("0300 0100 00000000 0001 0000") + b"\xff"),
    "unknown message type": (1, b"\x00"),
    "user message with an unknown PPID": (1, None),
}


@pytest.mark.parametrize("case", BAD_OPENS)
def test_a_bad_open_is_answered_by_resetting_the_stream(case: str) -> None:
    pair = connected()
    stream_id, data = BAD_OPENS[case]
    if data is None:
        pair.z.machine.association.send(stream_id, b"?", ppid=99, now=pair.now)
    else:
        pair.z.machine.association.send(stream_id, data, ppid=DCEP, now=pair.now)
    pair.settle()
    assert pair.a.events == []
    assert data_chunks(pair.network.to_z, stream_id) == []
    (reset,) = [event for event in pair.z.machine.sctp_events if type(event).__name__ == "IncomingStreamsReset"]
    assert reset.stream_ids == (stream_id,)
    # Messages on the stream are discarded, and other channels continue.
    pair.z.machine.association.send(stream_id, b"more", ppid=STRING, now=pair.now)
    pair.settle()
    assert pair.a.events == []
    assert pair.a.machine.association.stats().receive_buffered == 0
    pair.open(pair.a)
    # After the peer's reset, the stream can be used again.
    pair.z.machine.association.reset_streams([stream_id], pair.now)
    pair.settle()
    pair.z.machine.association.send(1, OpenMessage(label="good").serialize(), ppid=DCEP, now=pair.now)
    pair.settle()
    assert [event.channel.label for event in pair.a.of(ChannelAnnounced)] == ["good"]


def test_an_open_on_a_stream_in_use_closes_its_channel() -> None:
    pair = connected()
    channel, remote = pair.open(pair.z)
    pair.z.machine.association.send(1, OpenMessage(label="again").serialize(), ppid=DCEP, now=pair.now)
    pair.settle()
    assert failures(pair.a, remote) == ["the peer opened a channel on a stream that is in use"]
    assert kinds(pair.a, remote)[-1] == "ChannelClosed"
    assert kinds(pair.z, channel) == ["ChannelOpened", "ChannelClosing", "ChannelClosed"]


def test_a_channel_the_peer_refuses_fails() -> None:
    pair = connected(z_limits=ChannelLimits(max_announced_channels=0))
    channel = pair.a.machine.channels.create("x")
    pair.send(pair.a, channel, "lost")
    pair.settle()
    # A -- OPEN, "lost" --> Z
    # A <-- RE-CONFIG ----- Z
    assert kinds(pair.a, channel) == ["ChannelOpened", "ChannelFailed", "ChannelClosed"]
    assert failures(pair.a, channel) == ["the peer refused the channel"]
    assert pair.z.events == []
    assert pair.z.machine.association.stats().receive_buffered == 0


def test_an_ack_without_a_channel_is_ignored() -> None:
    pair = connected()
    pair.z.machine.association.send(0, b"\x02", ppid=DCEP, now=pair.now)
    channel, remote = pair.open(pair.z)
    pair.z.machine.association.send(1, b"\x02", ppid=DCEP, now=pair.now)
    pair.settle()
    assert kinds(pair.a, remote) == ["ChannelAnnounced"]
    assert channel.state is ChannelState.OPEN


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_open_channels_of_the_peer_are_limited() -> None:
    pair = connected(z_limits=ChannelLimits(max_announced_channels=3))
    channels = [pair.a.machine.channels.create("x") for _ in range(5)]
    pair.settle()
    assert [channel.state for channel in channels] == [ChannelState.OPEN] * 3 + [ChannelState.CLOSED] * 2
    pair.close(pair.a, channels[0])
    pair.settle()
    pair.open()
    assert len(pair.z.machine.channels.channels) == 3


def test_labels_of_announced_channels_are_limited_together() -> None:
    pair = connected(z_limits=ChannelLimits(max_announced_bytes=10))
    first = pair.a.machine.channels.create("1234", protocol="12")
    second = pair.a.machine.channels.create("12345")
    third = pair.a.machine.channels.create("1234")
    pair.settle()
    assert [channel.state.value for channel in (first, second, third)] == ["open", "closed", "open"]
    pair.close(pair.a, first)
    pair.settle()
    pair.open(label="123456")


@pytest.mark.parametrize("limits", [ChannelLimits(max_held_bytes=5000), ChannelLimits(max_held_messages=5)])
def test_messages_on_streams_without_a_channel_are_held_up_to_the_limit_and_then_refused(limits: ChannelLimits) -> None:
    pair = connected(a_limits=limits)
    for _ in range(20):
        pair.z.machine.association.send(1, bytes(1000), ppid=BINARY, now=pair.now, unordered=True)
    pair.settle()
    assert pair.a.events == []
    assert pair.a.machine.channels.bytes_held == 0
    assert pair.a.machine.association.stats().receive_buffered == 0
    assert any(type(event).__name__ == "IncomingStreamsReset" for event in pair.z.machine.sctp_events)


def test_held_messages_do_not_occupy_the_window() -> None:
    pair = connected(a_options={"receive_window": 20000})
    for _ in range(50):
        pair.z.machine.association.send(1, bytes(1000), ppid=BINARY, now=pair.now)
    pair.settle(20)
    assert pair.a.machine.channels.bytes_held == 50_000
    channel = pair.a.machine.channels.create("agreed", negotiated=True, id=1)
    pair.settle()
    assert messages(pair.a, channel) == [bytes(1000)] * 50
    assert pair.a.machine.association.stats().receive_buffered == 0


# -- negotiated --------------------------------------------------------------------------------------------------------


def test_negotiated_channels_open_with_the_association_and_send_no_open() -> None:
    pair = ChannelPair()
    of_a = pair.a.machine.channels.create("a", negotiated=True, id=5)
    of_z = pair.z.machine.channels.create("z", negotiated=True, id=5, ordered=False)
    pair.connect()
    assert kinds(pair.a, of_a) == kinds(pair.z, of_z) == ["ChannelOpened"]
    assert data_chunks(pair.network.to_z, 5) == data_chunks(pair.network.to_a, 5) == []
    pair.send(pair.a, of_a, "to z")
    pair.send(pair.z, of_z, "to a")
    pair.settle()
    assert (messages(pair.a, of_a), messages(pair.z, of_z)) == (["to a"], ["to z"])
    assert data_chunks(pair.network.to_a, 5) == [(STRING, True)]


def test_a_negotiated_channel_created_later_opens_at_once() -> None:
    pair = connected()
    channel = pair.a.machine.channels.create("x", negotiated=True, id=65534)
    pair.drain()
    assert kinds(pair.a, channel) == ["ChannelOpened"]


def test_messages_that_arrive_before_the_negotiated_channel_is_created_are_kept() -> None:
    pair = connected()
    of_a = pair.a.machine.channels.create("x", negotiated=True, id=7)
    pair.send(pair.a, of_a, "are you", "there?")
    pair.settle()
    of_z = pair.z.machine.channels.create("x", negotiated=True, id=7)
    pair.settle()
    assert messages(pair.z, of_z) == ["are you", "there?"]
    assert kinds(pair.z, of_z) == ["ChannelOpened"]


def test_an_id_in_use_cannot_be_negotiated() -> None:
    pair = connected()
    pair.open()
    pair.open(pair.z)
    for taken in (0, 1):
        with pytest.raises(IdInUse):
            pair.a.machine.channels.create("x", negotiated=True, id=taken)
    channels = DataChannels()
    channels.create("x", negotiated=True, id=3)
    with pytest.raises(IdInUse):
        channels.create("y", negotiated=True, id=3)


def test_an_id_is_ignored_unless_negotiated() -> None:
    assert DataChannels().create("x", id=70000).id is None


@pytest.mark.parametrize(
    "options",
    [
        {"negotiated": True},
        {"negotiated": True, "id": 65535},
        {"negotiated": True, "id": -1},
        {"max_retransmits": 1, "max_packet_life_time": 1},
        {"max_retransmits": 65536},
        {"max_retransmits": -1},
        {"max_packet_life_time": 65536},
        {"priority": 65536},
        {"protocol": "ä" * 32768},
    ],
)
def test_contradictory_options_and_numbers_out_of_range_raise(options: dict[str, Any]) -> None:
    channels = DataChannels()
    with pytest.raises(InvalidChannelOptions):
        channels.create("x", **options)
    assert channels.channels == ()


def test_a_label_of_65536_bytes_raises() -> None:
    with pytest.raises(InvalidChannelOptions, match="label"):
        DataChannels().create("ä" * 32768)


def test_no_channel_can_be_created_after_the_association() -> None:
    pair = connected()
    pair.z.machine.association.abort(pair.now, "enough")
    pair.settle()
    with pytest.raises(ChannelNotOpen, match="enough"):
        pair.a.machine.channels.create("x")


def test_no_channel_can_be_created_while_the_association_shuts_down() -> None:
    pair = connected()
    pair.a.machine.channels.begin_shutdown()
    with pytest.raises(ChannelNotOpen, match="shutting down"):
        pair.a.machine.channels.create("x")


def test_a_restart_closes_every_channel_and_new_ones_can_be_created() -> None:
    pair = connected()
    channel, _ = pair.open()
    # Z has lost its state and restarts the association.
    fresh = ChannelPair(pair.network, seed=7).z.machine
    pair.z.machine = fresh
    fresh.association.connect(pair.now)
    pair.settle()
    assert failures(pair.a, channel) == ["the peer restarted the association"]
    assert was_closed(pair.a, channel) == 1
    again, _ = pair.open()
    assert again.id == 0


def test_messages_on_streams_without_an_outgoing_stream_are_ignored() -> None:
    # A may send on 3 streams, Z on all of them.
    pair = connected(a_options={"outbound_streams": 3})
    for ppid, data in ((DCEP, OpenMessage(label="x").serialize()), (STRING, b"x"), (99, b"x")):
        pair.z.machine.association.send(5, data, ppid=ppid, now=pair.now)
    pair.settle()
    assert pair.a.events == []
    assert pair.a.machine.channels.bytes_held == 0
    assert pair.a.machine.association.stats().receive_buffered == 0
    pair.open(pair.z)
