"""Channels close by stream reset (RFC 8831, section 6.7), or with their association."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from datachan.dcep import ChannelAnnounced, ChannelFailed, ChannelLimits, ChannelNotOpen, ChannelState, DataChannels
from datachan.dcep.control_messages import OpenMessage
from datachan.sctp.events import IncomingStreamsReset
from datachan.sctp.wire.extensions import ReconfigChunk
from datachan.sctp.wire.packet import Packet
from datachan.sctp.wire.parameters import OutgoingSsnResetRequest, ReconfigResponse
from tests.scenario.channel_pair import (
    ChannelPair,
    connected,
    failures,
    kinds,
    messages,
    was_closed,
)
from tests.sim.network import Conditions, Network


def having(parameter: type) -> Callable[[Packet], bool]:
    """Return a filter for packets with this parameter in a RE-CONFIG chunk."""
    return lambda packet: any(
        isinstance(chunk, ReconfigChunk) and any(isinstance(p, parameter) for p in chunk.parameters)
        for chunk in packet.chunks
    )


def resets(pair: ChannelPair) -> tuple[int, int]:
    """Return how many streams were reset at Z and at A."""
    counts = [
        sum(len(event.stream_ids) for event in peer.machine.sctp_events if isinstance(event, IncomingStreamsReset))
        for peer in (pair.z, pair.a)
    ]
    return counts[0], counts[1]


@pytest.mark.parametrize("closer", ["opener", "other"])
def test_closing_resets_both_streams_and_both_sides_report_it(closer: str) -> None:
    pair = connected()
    channel, remote = pair.open()
    if closer == "opener":
        pair.close(pair.a, channel)
    else:
        pair.close(pair.z, remote)
    pair.settle()
    assert resets(pair) == (1, 1)
    mine, theirs = ["ChannelOpened", "ChannelClosed"], ["ChannelAnnounced", "ChannelClosed"]
    (theirs if closer == "opener" else mine).insert(1, "ChannelClosing")
    assert kinds(pair.a, channel) == mine
    assert kinds(pair.z, remote) == theirs
    assert channel.state is remote.state is ChannelState.CLOSED
    assert pair.a.machine.channels.channels == pair.z.machine.channels.channels == ()


def test_messages_sent_before_closing_arrive_on_a_bad_network() -> None:
    pair = connected(Network(3, to_z=Conditions(latency=0.03, loss=0.2)))
    channel, remote = pair.open()
    sent: list[str | bytes] = [f"{number}" * 300 for number in range(300)]
    pair.send(pair.a, channel, *sent)
    pair.close(pair.a, channel)
    pair.settle(300)
    assert messages(pair.z, remote) == sent
    assert kinds(pair.z, remote) == ["ChannelAnnounced", "ChannelClosing", "ChannelClosed"]
    assert was_closed(pair.a, channel) == 1


def test_nothing_can_be_sent_after_closing() -> None:
    pair = connected()
    channel, remote = pair.open()
    pair.close(pair.a, channel)
    with pytest.raises(ChannelNotOpen, match="closing"):
        pair.send(pair.a, channel, "late")
    pair.settle()
    for peer, end in ((pair.a, channel), (pair.z, remote)):
        with pytest.raises(ChannelNotOpen, match="closed"):
            pair.send(peer, end, "late")


def test_messages_that_arrive_after_closing_are_discarded_and_release_the_window() -> None:
    pair = connected()
    channel, remote = pair.open()
    pair.send(pair.z, remote, *["crossing"] * 10)
    pair.close(pair.a, channel)
    pair.settle()
    assert messages(pair.a) == []
    assert pair.a.machine.association.stats().receive_buffered == 0


def test_both_may_close_at_the_same_time() -> None:
    pair = connected()
    channel, remote = pair.open()
    pair.close(pair.a, channel)
    pair.close(pair.z, remote)
    pair.settle()
    assert kinds(pair.a, channel) == ["ChannelOpened", "ChannelClosed"]
    assert kinds(pair.z, remote) == ["ChannelAnnounced", "ChannelClosed"]
    assert resets(pair) == (1, 1)


def test_closing_twice_does_nothing() -> None:
    pair = connected()
    channel, _ = pair.open()
    for _ in range(2):
        pair.close(pair.a, channel)
    pair.settle()
    pair.close(pair.a, channel)
    pair.settle()
    assert was_closed(pair.a, channel) == 1
    assert resets(pair) == (1, 1)


def test_many_channels_closed_together_need_few_requests() -> None:
    pair = connected()
    channels = [pair.open()[0] for _ in range(20)]
    before = len(pair.network.to_z.passages)
    for channel in channels:
        pair.close(pair.a, channel)
    pair.settle()
    requests = [
        p for p in pair.network.to_z.passages[before:] if p.packet and having(OutgoingSsnResetRequest)(p.packet)
    ]
    assert len(requests) == 1
    assert all(was_closed(pair.a, channel) == 1 for channel in channels)


# -- before it is open -------------------------------------------------------------------------------------------------


def test_closing_before_the_association_closes_at_once() -> None:
    channels = DataChannels()
    channel = channels.create("x")
    agreed = channels.create("y", negotiated=True, id=4)
    channels.close(channel, 0.0)
    channels.close(agreed, 0.0)
    assert [type(event).__name__ for event in channels.events()] == ["ChannelClosed", "ChannelClosed"]
    assert channels.channels == ()
    channels.create("z", negotiated=True, id=4)


def test_messages_of_a_channel_closed_before_the_association_are_delivered() -> None:
    pair = ChannelPair()
    channel = pair.a.machine.channels.create("x")
    pair.send(pair.a, channel, "kept")
    pair.close(pair.a, channel)
    assert channel.state is ChannelState.CLOSING
    pair.connect()
    assert messages(pair.z) == ["kept"]
    assert kinds(pair.a, channel) == ["ChannelClosed"]


def test_resets_the_stream_of_a_channel_only_after_its_ack() -> None:
    pair = connected()
    channel = pair.a.machine.channels.create("x")
    pair.send(pair.a, channel, "kept")
    pair.drain()
    pair.close(pair.a, channel)
    pair.drain()
    # A -- OPEN, "kept" --> Z
    assert [
        p for p in pair.network.to_z.passages if p.packet is not None and having(OutgoingSsnResetRequest)(p.packet)
    ] == []
    pair.settle()
    # A <------- ACK ------- Z
    # A ----- RE-CONFIG ---> Z
    # A <---- RE-CONFIG ---- Z
    assert messages(pair.z) == ["kept"]
    assert kinds(pair.a, channel) == ["ChannelOpened", "ChannelClosed"]
    (announced,) = pair.z.of(ChannelAnnounced)
    assert kinds(pair.z, announced.channel) == ["ChannelAnnounced", "ChannelClosing", "ChannelClosed"]


def test_closing_before_the_open_was_sent_sends_nothing() -> None:
    pair = connected()
    channel = pair.a.machine.channels.create("x")
    pair.close(pair.a, channel)
    pair.settle()
    assert kinds(pair.a, channel) == ["ChannelClosed"]
    assert pair.z.events == []


# -- the id afterwards -------------------------------------------------------------------------------------------------


def test_an_id_stays_in_use_until_both_streams_are_reset() -> None:
    pair = connected(a_options={"outbound_streams": 1})
    channel, _ = pair.open()
    # A -- RE-CONFIG request --> Z
    # A <- RE-CONFIG response -- Z     A's stream is reset
    # A <- RE-CONFIG request -X- Z     Z's stream is not
    pair.network.to_a.drop(having(OutgoingSsnResetRequest))
    pair.close(pair.a, channel)
    pair.settle()
    assert channel.state is ChannelState.CLOSING
    with pytest.raises(Exception, match="in use"):
        pair.a.machine.channels.create("too early")
    pair.network.to_a.stop_dropping()
    pair.settle(60)
    assert channel.state is ChannelState.CLOSED
    again, remote = pair.open(label="again")
    assert again.id == 0
    pair.send(pair.a, again, "fresh")
    pair.settle()
    assert messages(pair.z, remote) == ["fresh"]


def test_a_stream_can_be_reused_many_times() -> None:
    pair = connected(Network(5, to_z=Conditions(loss=0.1)), a_options={"outbound_streams": 1})
    for number in range(20):
        channel, remote = pair.open(label=str(number))
        pair.send(pair.a, channel, f"message {number}")
        pair.close(pair.a, channel)
        pair.settle(60)
        assert messages(pair.z, remote) == [f"message {number}"]
        assert was_closed(pair.a, channel) == was_closed(pair.z, remote) == 1
        assert failures(pair.a, channel) == []


def test_a_peer_may_reuse_a_stream_before_our_reset_is_confirmed() -> None:
    pair = connected(z_options={"outbound_streams": 2})
    first, mine = pair.open(pair.z)
    # Z -- RE-CONFIG request --> A
    # Z <- response, request --- A
    # Z -- response ------------X      for Z the stream is closed, for A it is not
    pair.network.to_a.drop(having(ReconfigResponse), count=2)
    pair.close(pair.z, first)
    pair.run_until(lambda: first.state is ChannelState.CLOSED)
    assert mine.state is ChannelState.CLOSING
    # Z -- OPEN, "second", RE-CONFIG --> A
    second = pair.z.machine.channels.create("second")
    assert second.id == first.id == 1
    pair.send(pair.z, second, "of the second")
    pair.drain()
    pair.step()
    assert len(pair.a.of(ChannelAnnounced)) == 1
    pair.settle(60)
    _, announced = pair.a.of(ChannelAnnounced)
    assert was_closed(pair.a, mine) == 1
    assert messages(pair.a, announced.channel) == ["of the second"]
    assert announced.channel.state is second.state is ChannelState.OPEN
    assert pair.a.machine.association.stats().receive_buffered == 0


def test_a_channel_that_opens_and_closes_before_our_reset_is_confirmed_is_reported() -> None:
    pair = connected(z_options={"outbound_streams": 2})
    first, mine = pair.open(pair.z)
    pair.network.to_a.drop(having(ReconfigResponse), count=1)
    pair.close(pair.z, first)
    pair.run_until(lambda: first.state is ChannelState.CLOSED)
    second = pair.z.machine.channels.create("second")
    pair.send(pair.z, second, "short")
    pair.close(pair.z, second)
    pair.settle(60)
    assert was_closed(pair.a, mine) == 1
    _, announced = pair.a.of(ChannelAnnounced)
    assert messages(pair.a, announced.channel) == ["short"]
    assert kinds(pair.a, announced.channel) == ["ChannelAnnounced", "ChannelClosing", "ChannelClosed"]
    assert second.state is ChannelState.CLOSED


def test_messages_held_for_a_reused_stream_are_limited() -> None:
    pair = connected(z_options={"outbound_streams": 2}, a_limits=ChannelLimits(max_held_bytes=1000))
    first, mine = pair.open(pair.z)
    pair.network.to_a.drop(having(ReconfigResponse), count=1)
    pair.close(pair.z, first)
    pair.run_until(lambda: first.state is ChannelState.CLOSED)
    second = pair.z.machine.channels.create("second")
    pair.send(pair.z, second, *[bytes(400)] * 5)
    pair.settle(60)
    assert was_closed(pair.a, mine) == 1
    assert failures(pair.z, second) == ["the peer refused the channel"]
    assert pair.a.machine.channels.bytes_held == 0
    assert pair.a.machine.association.stats().receive_buffered == 0
    third, _ = pair.open(pair.z, label="third")
    assert third.id == 1


def test_a_reset_of_a_channel_we_never_had_is_answered() -> None:
    pair = connected()
    channel = pair.z.machine.channels.create("agreed", negotiated=True, id=9)
    pair.send(pair.z, channel, "nobody there?")
    pair.settle()
    pair.close(pair.z, channel)
    pair.settle()
    assert kinds(pair.z, channel) == ["ChannelOpened", "ChannelClosed"]
    assert pair.a.events == []
    assert pair.a.machine.channels.bytes_held == 0


def test_a_reset_of_an_unused_stream_changes_nothing() -> None:
    pair = connected()
    pair.z.machine.association.reset_streams([1, 3], pair.now)
    pair.settle()
    assert resets(pair) == (0, 2)
    pair.open(pair.z)


# -- peers that do not reset -------------------------------------------------------------------------------------------


def test_without_stream_reset_a_channel_closes_locally_and_its_id_is_not_reused() -> None:
    pair = connected(z_options={"stream_reset": False})
    channel, _ = pair.open()
    pair.close(pair.a, channel)
    pair.settle()
    assert kinds(pair.a, channel) == ["ChannelOpened", "ChannelClosed"]
    assert pair.a.machine.channels.channels == ()
    with pytest.raises(Exception, match="id 0"):
        pair.a.machine.channels.create("x", negotiated=True, id=0)
    assert pair.open()[0].id == 2


# -- the association ends ----------------------------------------------------------------------------------------------


def test_a_lost_association_closes_every_channel_with_the_reason() -> None:
    pair = connected()
    of_a, remote = pair.open()
    connecting = pair.a.machine.channels.create("never")
    pair.z.machine.association.abort(pair.now, "gone")
    pair.settle()
    for channel in (of_a, connecting):
        assert "gone" in failures(pair.a, channel)[0]
        assert kinds(pair.a, channel)[-2:] == ["ChannelFailed", "ChannelClosed"]
    assert kinds(pair.z, remote)[-1] == "ChannelClosed"
    with pytest.raises(ChannelNotOpen):
        pair.send(pair.a, of_a, "x")
    pair.close(pair.a, of_a)
    pair.a.machine.channels.release_window(10)
    pair.a.machine.channels.close_all("again")
    assert was_closed(pair.a, of_a) == 1


def test_a_failure_has_the_cause_code_of_the_abort() -> None:
    pair = connected()
    channel, _ = pair.open()
    pair.z.machine.association.abort(pair.now, "enough")
    pair.settle()
    (failed,) = pair.a.of(ChannelFailed)
    assert failed.channel is channel
    assert failed.cause_code == 12  # RFC 9260, 3.3.10.12: User-Initiated Abort


def test_a_graceful_shutdown_closes_every_channel_without_a_failure() -> None:
    pair = connected()
    channel, remote = pair.open()
    pair.send(pair.a, channel, "last words")
    pair.a.machine.channels.begin_shutdown()
    pair.a.machine.association.shutdown(pair.now)
    pair.settle()
    assert messages(pair.z, remote) == ["last words"]
    assert kinds(pair.a, channel) == ["ChannelOpened", "ChannelClosed"]
    assert kinds(pair.z, remote) == ["ChannelAnnounced", "ChannelClosing", "ChannelClosed"]


def test_channels_created_before_an_association_that_fails_are_closed() -> None:
    channels = DataChannels()
    channel = channels.create("x")
    channels.send(channel, "x", 0.0)
    channels.close_all("the handshake failed")
    assert [type(event).__name__ for event in channels.events()] == ["ChannelFailed", "ChannelClosed"]
    assert channel.state is ChannelState.CLOSED
    with pytest.raises(ChannelNotOpen, match="the handshake failed"):
        channels.create("y")


def test_opens_in_one_batch_with_an_abort_do_no_harm() -> None:
    pair = connected()
    pair.z.machine.association.send(1, OpenMessage(label="x").serialize(), ppid=50, now=pair.now)
    pair.z.machine.association.send(3, b"\x03\x7f" + bytes(10), ppid=50, now=pair.now)
    datagrams = pair.z.machine.association.datagrams_to_send(pair.now)
    pair.z.machine.association.abort(pair.now, "gone")
    datagrams += pair.z.machine.association.datagrams_to_send(pair.now)
    pair.a.machine.receive_datagrams(datagrams, pair.now)
    pair.a.drain(pair.now)
    (announced,) = pair.a.of(ChannelAnnounced)
    assert kinds(pair.a, announced.channel) == ["ChannelAnnounced", "ChannelFailed", "ChannelClosed"]


def test_calls_before_the_event_of_a_lost_association_do_no_harm() -> None:
    pair = connected()
    channel, remote = pair.open()
    closing, _ = pair.open()
    pair.send(pair.z, remote, "hello")
    pair.settle()
    # The ABORT has been processed, but its event has not been drained.
    pair.z.machine.association.abort(pair.now, "gone")
    pair.a.machine.association.receive_datagrams(pair.z.machine.association.datagrams_to_send(pair.now), pair.now)
    made = pair.a.machine.channels.create("made")
    pair.send(pair.a, made, "lost")
    pair.close(pair.a, closing)
    pair.a.machine.channels.flush(pair.now)
    pair.drain()
    pair.a.machine.handle_timeout(pair.now)
    pair.settle()
    for end in (channel, closing, made):
        assert "gone" in failures(pair.a, end)[0]
        assert end.state is ChannelState.CLOSED


def test_sending_before_the_event_of_the_peers_shutdown_raises() -> None:
    pair = connected()
    channel, _ = pair.open()
    pair.z.machine.association.shutdown(pair.now)
    pair.a.machine.association.receive_datagrams(pair.z.machine.association.datagrams_to_send(pair.now), pair.now)
    with pytest.raises(ChannelNotOpen, match="shutdown"):
        pair.send(pair.a, channel, "late")
    assert channel.buffered_amount == 0
    opening = pair.a.machine.channels.create("too late")
    pair.settle()
    assert opening.state is ChannelState.CLOSED


def test_queued_messages_are_lost_when_the_association_shuts_down_at_once() -> None:
    pair = ChannelPair()
    channel = pair.a.machine.channels.create("x")
    pair.send(pair.a, channel, "lost")
    pair.a.machine.association.connect(pair.now)
    pair.a.machine.association.shutdown(pair.now)
    pair.settle()
    assert messages(pair.z) == []
    assert kinds(pair.a, channel)[-1] == "ChannelClosed"


def test_reuses_of_a_stream_that_is_still_closing_are_limited() -> None:
    pair = connected(z_options={"outbound_streams": 2}, a_limits=ChannelLimits(max_held_messages=2))
    first, mine = pair.open(pair.z)
    pair.network.to_a.drop(having(ReconfigResponse), count=1)
    pair.close(pair.z, first)
    pair.run_until(lambda: first.state is ChannelState.CLOSED)
    second = pair.z.machine.channels.create("second")
    pair.send(pair.z, second, "fills it up")
    pair.send(pair.z, second, "and is one too many")
    pair.close(pair.z, second)
    pair.settle(60)
    assert was_closed(pair.a, mine) == was_closed(pair.z, second) == 1
    assert len(pair.a.of(ChannelAnnounced)) == 1
    pair.open(pair.z, label="third")


def test_messages_that_overtake_the_open_on_a_reused_stream_are_held() -> None:
    pair = connected(z_options={"outbound_streams": 2})
    first, mine = pair.open(pair.z)
    pair.network.to_a.drop(having(ReconfigResponse), count=1)
    pair.close(pair.z, first)
    pair.run_until(lambda: first.state is ChannelState.CLOSED)
    pair.z.machine.association.send(1, b"early", ppid=51, now=pair.now, unordered=True)
    pair.z.machine.association.send(1, OpenMessage(label="second").serialize(), ppid=50, now=pair.now)
    pair.settle(60)
    assert was_closed(pair.a, mine) == 1
    assert messages(pair.a, pair.a.of(ChannelAnnounced)[1].channel) == ["early"]
    assert pair.a.machine.channels.bytes_held == 0
