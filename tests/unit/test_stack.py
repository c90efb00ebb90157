"""DTLS, SCTP and channels as one machine, with a real stack on both sides."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from datachan.dcep import Channel, ChannelAnnounced, ChannelClosed, ChannelMessage, ChannelState, DataChannels
from datachan.dtls.certificate import Certificate
from datachan.dtls.connection import DtlsConnected, DtlsFailed, DtlsState
from datachan.sctp.association import AssociationState
from datachan.sctp.events import PathMtuChanged
from datachan.sctp.options import AssociationOptions, data_channel_options
from datachan.stack import RECORD_OVERHEAD, Stack, StackClosed, StackConnected
from tests.sim.network import Conditions, Network
from tests.sim.pair import Pair, Peer
from tests.sim.seeds import entropy

CERTIFICATES = tuple(Certificate.generate(datetime.now(UTC)) for _ in range(3))


def stack(mine: int, theirs: int, now: float = 0.0, **arguments: Any) -> Stack:
    options = arguments.pop("options", {})
    return Stack(
        certificate=CERTIFICATES[mine],
        is_dtls_client=mine == 0,
        remote_fingerprints=[CERTIFICATES[theirs].fingerprint("sha-256")],
        channels=arguments.pop("channels", None) or DataChannels(),
        sctp_options=AssociationOptions(**options),
        entropy=entropy(mine),
        now=now,
        **arguments,
    )


def pair(network: Network | None = None, *, start: bool = True, z_expects: int = 0, **arguments: Any) -> Pair:
    """Return a pair in which A is the DTLS client and Z the server."""
    machines = Pair(stack(0, 1, **arguments), stack(1, z_expects, **arguments), network)
    if start:
        machines.a.machine.start(0.0)
        machines.z.machine.start(0.0)
    return machines


def connected(network: Network | None = None, **arguments: Any) -> Pair:
    machines = pair(network, **arguments)
    machines.run_until(lambda: all(peer.of(StackConnected) for peer in (machines.a, machines.z)))
    return machines


def opened(machines: Pair, **options: Any) -> tuple[Channel, Channel]:
    channel = machines.a.machine.channels.create("x", **options)
    count = len(machines.z.of(ChannelAnnounced))
    machines.run_until(lambda: len(machines.z.of(ChannelAnnounced)) > count)
    assert channel.state is ChannelState.OPEN
    return channel, machines.z.of(ChannelAnnounced)[-1].channel


def closed(peer: Peer) -> StackClosed:
    """Return the peer's only `StackClosed`."""
    (event,) = peer.of(StackClosed)
    assert isinstance(event, StackClosed)
    return event


def data(peer: Peer) -> list[str | bytes]:
    return [event.data for event in peer.of(ChannelMessage)]


# -- beginning ---------------------------------------------------------------------------------------------------------


def test_connects_and_carries_messages_both_ways() -> None:
    machines = connected()
    channel, remote = opened(machines)
    machines.a.machine.channels.send(channel, "to Z", machines.now)
    machines.z.machine.channels.send(remote, b"to A", machines.now)
    machines.run(1)
    assert data(machines.z) == ["to Z"]
    assert data(machines.a) == [b"to A"]


def test_reports_dtls_connected_before_stack_connected() -> None:
    machines = connected()
    for peer in (machines.a, machines.z):
        assert [type(event) for event in peer.events] == [DtlsConnected, StackConnected]
        assert peer.of(StackConnected)[0].max_channels == 65535


def test_sends_nothing_before_start() -> None:
    machines = pair(start=False)
    machines.run(10)
    assert machines.a.machine.datagrams_to_send(10) == []
    assert machines.a.machine.next_timeout() is None
    machines.a.machine.start(10)
    assert machines.a.machine.datagrams_to_send(10)


def test_channels_created_before_the_start_open_and_deliver() -> None:
    channels = DataChannels()
    channel = channels.create("early")
    channels.send(channel, "first", 0.0)
    machines = Pair(stack(0, 1, channels=channels), stack(1, 0))
    for peer in (machines.a, machines.z):
        peer.machine.start(0.0)
    machines.run_until(lambda: bool(machines.z.of(ChannelMessage)))
    assert data(machines.z) == ["first"]


def test_client_has_even_ids_and_server_odd_ones() -> None:
    machines = connected()
    ids = {peer.name: [peer.machine.channels.create("x").id for _ in range(3)] for peer in (machines.a, machines.z)}
    assert ids == {"A": [0, 2, 4], "Z": [1, 3, 5]}


@pytest.mark.parametrize("mtu", [576, 1200, 1280, 9000])
def test_no_datagram_exceeds_the_mtu_and_full_ones_reach_it(mtu: int) -> None:
    machines = connected(mtu=mtu, options={"max_packet_size": 65535})
    channel, _ = opened(machines)
    machines.a.machine.channels.send(channel, bytes(100_000), machines.now)
    machines.run(5)
    assert data(machines.z) == [bytes(100_000)]
    longest = max(len(passage.datagram) for passage in machines.network.to_z.passages)
    assert mtu - 4 < longest <= mtu


def test_a_smaller_packet_size_in_the_options_is_kept() -> None:
    machine = stack(0, 1, options={"max_packet_size": 600})
    assert machine.association.stats().mtu == 600
    assert stack(0, 1).association.stats().mtu == (1200 - RECORD_OVERHEAD) & ~3


@pytest.mark.parametrize("zero_checksum", [True, False])
def test_sctp_packets_have_a_zero_checksum_unless_it_is_switched_off(zero_checksum: bool) -> None:
    machines = connected(zero_checksum=zero_checksum)
    machines.run(1)
    machines.a.machine.channels.create("x")
    machines.a.machine.channels.flush(machines.now)
    (packet,) = machines.a.machine.association.datagrams_to_send(machines.now)
    assert (packet[8:12] == bytes(4)) is zero_checksum


def test_counts_datagrams_and_bytes_of_the_transport() -> None:
    machines = connected()
    machines.run(5)
    a, z = machines.a.machine, machines.z.machine
    assert a.packets_sent == z.packets_received == len(machines.network.to_z.passages)
    assert a.bytes_sent == z.bytes_received == sum(len(p.datagram) for p in machines.network.to_z.passages)


def test_datagrams_that_are_not_dtls_are_ignored() -> None:
    machines = connected()
    machines.a.machine.receive_datagrams([b"", b"\x00\x01", b"\x16\xfe\xfd" + bytes(20), bytes(2000)], machines.now)
    channel, _ = opened(machines)
    assert channel.state is ChannelState.OPEN
    assert not machines.a.of(StackClosed)


# -- ending ------------------------------------------------------------------------------------------------------------


def test_graceful_close_delivers_queued_messages() -> None:
    machines = connected(Network(to_z=Conditions(latency=0.05)))
    channel, remote = opened(machines)
    sent = [f"{number}" * 100 for number in range(2000)]
    for message in sent:
        machines.a.machine.channels.send(channel, message, machines.now)
    machines.a.machine.close(machines.now)
    machines.z.on_event = lambda event, now: (
        machines.z.machine.channels.release_window(event.size) if isinstance(event, ChannelMessage) else None
    )
    machines.run_until(lambda: bool(machines.a.of(StackClosed) and machines.z.of(StackClosed)))
    assert data(machines.z) == sent
    assert closed(machines.a) == StackClosed(
        "this side closed the association, and everything was delivered", True, False
    )
    assert closed(machines.z) == StackClosed(
        "the peer closed the association, and everything was delivered", True, True
    )
    assert remote.state is ChannelState.CLOSED


def test_both_sides_may_close_at_the_same_time() -> None:
    machines = connected()
    channel, remote = opened(machines)
    machines.a.machine.channels.send(channel, "a", machines.now)
    machines.z.machine.channels.send(remote, "z", machines.now)
    machines.a.machine.close(machines.now)
    machines.z.machine.close(machines.now)
    machines.run_until_idle()
    assert closed(machines.a).graceful
    assert closed(machines.z).graceful


@pytest.mark.parametrize("end", ["close", "abort"])
def test_the_end_is_the_last_event_and_leaves_no_timer_or_datagram(end: str) -> None:
    machines = connected()
    channel, remote = opened(machines)
    getattr(machines.a.machine, end)(machines.now)
    machines.run_until_idle()
    for peer, its_channel in ((machines.a, channel), (machines.z, remote)):
        assert isinstance(peer.events[-1], StackClosed)
        assert len(peer.of(StackClosed)) == 1
        assert [event.channel for event in peer.of(ChannelClosed)] == [its_channel]
        assert its_channel.state is ChannelState.CLOSED
        assert peer.machine.next_timeout() is None
        assert peer.machine.dtls.state is DtlsState.CLOSED
        assert peer.machine.association.state is AssociationState.CLOSED
        for call in (peer.machine.close, peer.machine.handle_timeout):
            call(machines.now)
        peer.machine.abort(machines.now, "again")
        peer.machine.receive_datagrams([b"\x17\xfe\xfd" + bytes(40)], machines.now)
        assert peer.machine.datagrams_to_send(machines.now) == []
        assert peer.machine.events() == []


def test_an_abort_carries_the_reason_to_the_peer() -> None:
    machines = connected()
    _, remote = opened(machines)
    machines.a.machine.abort(machines.now, "the tab was closed")
    machines.run_until_idle()
    assert closed(machines.a) == StackClosed("the tab was closed", False, False)
    assert not closed(machines.z).graceful
    assert closed(machines.z).by_peer
    assert "the tab was closed" in closed(machines.z).reason
    assert remote.state is ChannelState.CLOSED


def test_abort_ends_a_graceful_close_at_once() -> None:
    machines = connected()
    opened(machines)
    machines.network.to_z.conditions = Conditions(loss=1.0)
    machines.a.machine.close(machines.now)
    machines.run(5)
    assert not machines.a.of(StackClosed)
    machines.a.machine.abort(machines.now)
    machines.drain()
    assert not closed(machines.a).graceful


def test_a_close_notify_closes_the_channels() -> None:
    machines = connected()
    channel, _ = opened(machines)
    machines.z.machine.dtls.close(machines.now)
    machines.run(1)
    assert closed(machines.a) == StackClosed("the peer closed the DTLS connection", False, True)
    assert channel.state is ChannelState.CLOSED
    assert machines.a.machine.association.state is AssociationState.CLOSED


def test_a_close_notify_replaces_a_lost_shutdown_complete() -> None:
    machines = connected()
    machines.a.machine.close(machines.now)
    machines.run_until(lambda: machines.z.machine.association.state is AssociationState.SHUTDOWN_ACK_SENT)
    machines.z.machine.receive_datagrams(_last_datagrams_without_the_first(machines), machines.now)
    machines.drain()
    assert closed(machines.z).graceful


def _last_datagrams_without_the_first(machines: Pair) -> list[bytes]:
    """Let A answer the SHUTDOWN ACK with two datagrams; drop the SHUTDOWN COMPLETE and return the other."""
    already = len(machines.network.to_z.passages)
    while not machines.a.of(StackClosed):
        machines.step()
    shutdown_complete, close_notify = [p.datagram for p in machines.network.to_z.passages[already:]]
    assert machines.network.to_z.arrived(float("inf")) == [shutdown_complete, close_notify]
    return [close_notify]


def test_a_peer_that_is_silent_after_everything_was_delivered_has_closed_gracefully() -> None:
    machines = connected()
    _, remote = opened(machines)
    machines.a.machine.close(machines.now)
    machines.run_until(lambda: machines.z.machine.association.state is AssociationState.SHUTDOWN_ACK_SENT)
    machines.network.to_z.conditions = Conditions(loss=1.0)
    machines.run_until_idle()
    assert closed(machines.z) == StackClosed(
        "the peer closed the association, and everything was delivered", True, True
    )
    assert [type(event).__name__ for event in machines.z.events if getattr(event, "channel", None) is remote] == [
        "ChannelAnnounced",
        "ChannelClosing",
        "ChannelClosed",
    ]


def test_closing_before_any_answer_ends_at_once() -> None:
    machine = stack(0, 1)
    channel = machine.channels.create("x")
    machine.start(0.0)
    machine.close(0.0)
    events = machine.events()
    assert channel.state is ChannelState.CLOSED
    assert isinstance(events[-1], StackClosed)
    assert events[-1].reason == "the connection was closed before it was established"
    assert machine.next_timeout() is None


def test_a_wrong_certificate_ends_both_sides_with_the_reason() -> None:
    machines = pair(z_expects=2)
    channel = machines.a.machine.channels.create("x")
    machines.run(60)
    assert machines.z.of(DtlsFailed)
    assert "fingerprint" in closed(machines.z).reason
    assert not machines.a.of(StackConnected)
    assert closed(machines.a).reason
    assert channel.state is ChannelState.CLOSED


def test_a_peer_that_never_answers_fails_with_a_reason() -> None:
    machine = stack(1, 0, handshake_timeout=3.0)
    machine.start(0.0)
    timeout = machine.next_timeout()
    assert timeout == 3.0
    machine.handle_timeout(3.0)
    (failed, end) = machine.events()
    assert isinstance(failed, DtlsFailed)
    assert end == StackClosed(failed.reason, False, False)
    assert "3 s" in failed.reason


def test_a_peer_that_stops_answering_is_detected() -> None:
    machines = connected(options={"association_max_retrans": 3, "rto_max": 2.0})
    channel, _ = opened(machines)
    machines.network.to_z.conditions = machines.network.to_a.conditions = Conditions(loss=1.0)
    machines.a.machine.channels.send(channel, "anybody there?", machines.now)
    machines.run_until(lambda: bool(machines.a.of(StackClosed)), limit=60)
    assert closed(machines.a).reason
    assert not closed(machines.a).by_peer
    assert channel.state is ChannelState.CLOSED


def test_another_association_replaces_the_first_over_the_same_dtls() -> None:
    machines = connected()
    channel, remote = opened(machines)
    for peer in (machines.a, machines.z):
        peer.machine.replace_association(machines.now, local_port=6000, remote_port=6000)
    waiting = machines.a.machine.channels.create("waits")
    machines.run_until(lambda: all(len(peer.of(StackConnected)) == 2 for peer in (machines.a, machines.z)))
    assert (channel.state, remote.state) == (ChannelState.CLOSED, ChannelState.CLOSED)
    machines.run(1)
    assert waiting.state is ChannelState.OPEN
    machines.a.machine.channels.send(waiting, "hello", machines.now)
    machines.run(1)
    assert data(machines.z) == ["hello"]
    assert [len(peer.of(DtlsConnected)) for peer in (machines.a, machines.z)] == [1, 1]


def lose_everything(machines: Pair, loss: float = 1.0) -> None:
    machines.network.to_z.conditions = machines.network.to_a.conditions = Conditions(loss=loss)


@pytest.mark.parametrize("outage", [31.0, 600.0, 86_400.0])
def test_a_lost_path_stops_all_timers_and_a_new_one_delivers_what_was_queued_once(outage: float) -> None:
    machines = connected(options=dataclasses.asdict(data_channel_options()))
    channel, remote = opened(machines)
    lose_everything(machines)
    machines.a.machine.channels.send(channel, "sent into the outage", machines.now)
    machines.z.machine.channels.send(remote, "from Z", machines.now)
    machines.run(30)
    for peer in (machines.a, machines.z):
        peer.machine.path_lost(machines.now)
    machines.a.machine.channels.send(channel, "queued without a path", machines.now)
    machines.run(outage)
    assert [peer.machine.next_timeout() for peer in (machines.a, machines.z)] == [None, None]
    assert machines.a.machine.datagrams_to_send(machines.now) == []

    lose_everything(machines, loss=0.0)
    for peer in (machines.a, machines.z):
        peer.machine.path_changed(machines.now)
    began = machines.now
    machines.run_until(lambda: len(data(machines.z)) == 2 and len(data(machines.a)) == 1)
    assert machines.now - began < 1
    machines.run(60)
    assert data(machines.z) == ["sent into the outage", "queued without a path"]
    assert data(machines.a) == ["from Z"]


def test_an_outage_without_a_lost_path_does_not_end_the_association() -> None:
    machines = connected(options=dataclasses.asdict(data_channel_options()))
    channel, _ = opened(machines)
    lose_everything(machines)
    machines.a.machine.channels.send(channel, "patient", machines.now)
    machines.run(3600)
    lose_everything(machines, loss=0.0)
    machines.run(20)
    assert data(machines.z) == ["patient"]


def test_the_handshake_timeout_does_not_run_while_the_path_is_silent() -> None:
    machine = stack(0, 1, handshake_timeout=3.0)
    machine.start(0.0)
    machine.path_silent(1.0)
    machine.handle_timeout(10.0)
    machine.path_lost(20.0)
    machine.handle_timeout(100.0)
    assert machine.events() == []
    machine.path_changed(101.0)
    machine.handle_timeout(102.9)
    assert machine.events() == []
    machine.handle_timeout(103.0)
    assert [type(event) for event in machine.events()] == [DtlsFailed, StackClosed]


def test_a_path_lost_in_the_last_step_of_a_shutdown_is_a_graceful_end() -> None:
    machines = connected()
    channel, _ = opened(machines)
    machines.z.machine.close(machines.now)
    machines.run_until(lambda: machines.a.machine.association.state is AssociationState.SHUTDOWN_ACK_SENT)
    machines.a.machine.path_lost(machines.now)
    machines.run(1)
    assert closed(machines.a) == StackClosed(
        "the peer closed the association, and everything was delivered", True, True
    )
    assert channel.state is ChannelState.CLOSED


# -- path MTU discovery ------------------------------------------------------------------------------------------------


def bulk(machines: Pair, size: int) -> None:
    channel, _ = opened(machines)
    message = bytes(60_000)
    for _ in range(size // len(message)):
        machines.a.machine.channels.send(channel, message, machines.now)
    machines.run_until(lambda: len(data(machines.z)) == size // len(message))
    assert set(data(machines.z)) == {message}


@pytest.mark.parametrize("path", [1280, 1500, 9000, 65535])
def test_datagrams_grow_to_the_path_mtu_and_records_stay_within_the_dtls_limit(path: int) -> None:
    """The overhead is that of IPv6 and a TURN channel, which leaves the least room."""
    overhead = 40 + 8 + 4
    network = Network(0, Conditions(latency=0.005, mtu=path - overhead))
    machines = connected(network, mtu=1228, max_mtu=path - overhead, overhead=overhead)
    bulk(machines, 2_400_000)
    lengths = [len(passage.datagram) for passage in network.to_z.passages]
    assert not [passage for passage in network.to_z.passages if passage.fate == "too big"]
    assert max(lengths) <= min(path - overhead, 16384 + RECORD_OVERHEAD)
    assert max(lengths) > min(path - overhead, 16384 + RECORD_OVERHEAD) - 16
    sizes = [event.mtu for event in machines.a.of(PathMtuChanged)]
    assert sizes == sorted(sizes)
    assert machines.a.machine.association.stats().mtu == max(lengths) - RECORD_OVERHEAD


def test_a_transport_that_fragments_gets_no_large_datagram() -> None:
    machines = connected(mtu=1228, max_mtu=0)
    bulk(machines, 600_000)
    assert max(len(passage.datagram) for passage in machines.network.to_z.passages) <= 1228
    assert not machines.a.machine.dont_fragment


def test_a_datagram_too_long_for_the_first_link_fails_its_probe_at_once() -> None:
    machines = connected(mtu=1228, max_mtu=1472)
    a = machines.a.machine
    channel, _ = opened(machines)
    a.channels.send(channel, bytes(60_000), machines.now)
    refused = []
    for _ in range(200):
        datagrams = a.datagrams_to_send(machines.now)
        taken = [datagram for datagram in datagrams if len(datagram) <= 1400]
        for datagram in datagrams:
            if len(datagram) > 1400:
                refused.append(len(datagram))
                a.datagram_too_long(len(datagram), machines.now)
        machines.a.out.send(taken, machines.now, dont_fragment=a.dont_fragment)
        machines.a.events += a.events()
        if not datagrams and not machines.step(machines.now + 1.0):
            break
    assert refused == sorted(set(refused), reverse=True)
    assert a.association.stats().mtu == (1420 - 28 - RECORD_OVERHEAD) & ~3
    assert machines.now < 1.5


def test_on_another_path_the_search_starts_over() -> None:
    machines = connected(mtu=1228, max_mtu=9000)
    bulk(machines, 1_200_000)
    assert machines.a.machine.association.stats().mtu > 8000
    machines.a.machine.path_changed(machines.now, 1400, 48)
    machines.run(0.0)
    assert machines.a.machine.association.stats().mtu == 1228 - RECORD_OVERHEAD & ~3
    channel = machines.a.machine.channels.create("y")
    machines.a.machine.channels.send(channel, bytes(200_000), machines.now)
    machines.run(5.0)
    assert machines.a.machine.association.stats().mtu == 1400 - RECORD_OVERHEAD & ~3
