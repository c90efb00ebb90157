"""Two stacks on bad networks: every delivery guarantee holds, also when both close right after sending."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

from datachan.dcep import (
    Channel,
    ChannelAnnounced,
    ChannelClosed,
    ChannelFailed,
    ChannelMessage,
    ChannelState,
    DataChannels,
)
from datachan.dtls.certificate import Certificate
from datachan.sctp.options import data_channel_options
from datachan.stack import Stack, StackClosed, StackConnected
from tests.sim.network import Conditions, Network
from tests.sim.pair import Pair, Peer
from tests.sim.seeds import entropy, seeds

CERTIFICATES = tuple(Certificate.generate(datetime.now(UTC)) for _ in range(2))

KINDS: dict[str, dict[str, Any]] = {
    "reliable": {},
    "unordered": {"ordered": False},
    "no retransmissions": {"ordered": False, "max_retransmits": 0},
    "ordered, once more": {"max_retransmits": 1},
    "ordered, for a while": {"max_packet_life_time": 200},
}


def connected(network: Network, seed: int) -> Pair:
    """Return a connected pair. The network becomes bad only then, as OpenSSL retransmits by a clock of its own."""
    machines = []
    for mine, theirs in ((0, 1), (1, 0)):
        machine = Stack(
            certificate=CERTIFICATES[mine],
            is_dtls_client=mine == 0,
            remote_fingerprints=[CERTIFICATES[theirs].fingerprint("sha-256")],
            channels=DataChannels(),
            sctp_options=data_channel_options(),
            entropy=entropy(2 * seed + mine),
            now=0.0,
        )
        machine.start(0.0)
        machines.append(machine)
    conditions = network.to_z.conditions, network.to_a.conditions
    network.to_z.conditions = network.to_a.conditions = Conditions(latency=0.01)
    pair = Pair(*machines, network)
    pair.run_until(lambda: bool(pair.a.of(StackConnected) and pair.z.of(StackConnected)))
    network.to_z.conditions, network.to_a.conditions = conditions
    for peer in (pair.a, pair.z):
        read_everything(peer)
    return pair


def read_everything(peer: Peer) -> None:
    def read(event: object, now: float) -> None:
        if isinstance(event, ChannelMessage):
            peer.machine.channels.release_window(event.size)

    peer.on_event = read


def received(peer: Peer, channel: Channel) -> list[str | bytes]:
    return [event.data for event in peer.of(ChannelMessage) if event.channel is channel]


def other_end(peer: Peer, channel: Channel) -> Channel:
    (found,) = [event.channel for event in peer.of(ChannelAnnounced) if event.channel.id == channel.id]
    assert isinstance(found, Channel)
    return found


def some_messages(chance: random.Random, count: int, first: int = 0) -> list[str | bytes]:
    """Return distinct messages from one byte to several packets long."""
    made: list[str | bytes] = []
    for number in range(first, first + count):
        filling = "x" * chance.choice((0, 1, 100, 1100, 1200, 5000))
        made.append(f"{number} {filling}" if chance.random() < 0.5 else f"{number} {filling}".encode())
    return made


def is_part_of(part: list[str | bytes], whole: list[str | bytes]) -> bool:
    """Return whether `part` is a subsequence of `whole`."""
    rest = iter(whole)
    return all(any(item == other for other in rest) for item in part)


def judge(channel: Channel, sent: list[str | bytes], arrived: list[str | bytes]) -> None:
    reliable = channel.max_retransmits is None and channel.max_packet_life_time is None
    if reliable and channel.ordered:
        assert arrived == sent
    elif reliable:
        assert sorted(arrived, key=sent.index) == sent
    elif channel.ordered:
        assert is_part_of(arrived, sent)
    else:
        assert len(set(arrived)) == len(arrived)
        assert set(arrived) <= set(sent)


BAD = Conditions(
    latency=0.03,
    jitter=0.02,
    loss=0.05,
    duplication=0.03,
    reordering=0.05,
    corruption=0.02,
    rate=500_000,
    queue=100_000,
)


@seeds(6)
def test_every_channel_type_keeps_its_guarantees_on_a_bad_network(seed: int) -> None:
    chance = random.Random(seed)
    pair = connected(Network(seed, to_z=BAD), seed)
    of_a = {kind: pair.a.machine.channels.create(kind, **options) for kind, options in KINDS.items()}
    of_z = {kind: pair.z.machine.channels.create(kind, **options) for kind, options in KINDS.items()}
    sent: dict[Channel, list[str | bytes]] = {}
    for _ in range(5):
        for peer, channels in ((pair.a, of_a), (pair.z, of_z)):
            for channel in channels.values():
                batch = some_messages(chance, 10, len(sent.setdefault(channel, [])))
                sent[channel] += batch
                for message in batch:
                    peer.machine.channels.send(channel, message, pair.now)
        pair.run(chance.uniform(0, 0.3))
    pair.run(120)
    for receiver, channels in ((pair.z, of_a), (pair.a, of_z)):
        for channel in channels.values():
            assert channel.state is ChannelState.OPEN
            assert channel.buffered_amount == 0
            judge(channel, sent[channel], received(receiver, other_end(receiver, channel)))
    for peer in (pair.a, pair.z):
        assert peer.machine.association.stats().receive_buffered == 0


@seeds(6)
def test_messages_sent_right_before_the_end_arrive(seed: int) -> None:
    chance = random.Random(seed)
    pair = connected(Network(seed, to_z=BAD), seed)
    sent = some_messages(chance, 100)
    channel = pair.a.machine.channels.create("last words")
    closed_before = pair.a.machine.channels.create("closed before")
    for message in sent:
        pair.a.machine.channels.send(channel, message, pair.now)
        pair.a.machine.channels.send(closed_before, message, pair.now)
    pair.a.machine.channels.close(closed_before, pair.now)
    pair.a.machine.close(pair.now)
    pair.run_until(lambda: bool(pair.a.of(StackClosed) and pair.z.of(StackClosed)))
    for end in (channel, closed_before):
        assert received(pair.z, other_end(pair.z, end)) == sent
    for peer in (pair.a, pair.z):
        (end,) = peer.of(StackClosed)
        assert end.graceful
        assert not peer.of(ChannelFailed)
        assert len(peer.of(ChannelClosed)) == 2


@seeds(4)
def test_channels_that_open_and_close_do_not_affect_each_other(seed: int) -> None:
    chance = random.Random(seed)
    pair = connected(Network(seed, to_z=BAD), seed)
    made: list[tuple[Channel, list[str | bytes], Peer]] = []
    for number in range(30):
        sender, receiver = (pair.a, pair.z) if chance.random() < 0.5 else (pair.z, pair.a)
        channel = sender.machine.channels.create(str(number))
        sent = some_messages(chance, 5)
        for message in sent:
            sender.machine.channels.send(channel, message, pair.now)
        sender.machine.channels.close(channel, pair.now)
        made.append((channel, sent, receiver))
        pair.run(chance.choice((0.0, 0.05, 0.5)))
    pair.run(120)
    for channel, sent, receiver in made:
        assert channel.state is ChannelState.CLOSED
        (remote,) = [event.channel for event in receiver.of(ChannelAnnounced) if event.channel.label == channel.label]
        assert received(receiver, remote) == sent
        assert remote.state is ChannelState.CLOSED
    assert not pair.a.of(ChannelFailed)
    assert not pair.z.of(ChannelFailed)


def test_an_outage_of_twenty_seconds_is_survived() -> None:
    pair = connected(Network(1, to_z=Conditions(latency=0.03)), 1)
    channel = pair.a.machine.channels.create("x")
    pair.run(1)
    start = pair.now
    pair.network.to_z.conditions = pair.network.to_a.conditions = Conditions(
        latency=0.03, outages=((start, start + 20.0),)
    )
    sent = some_messages(random.Random(1), 100)
    for message in sent:
        pair.a.machine.channels.send(channel, message, pair.now)
    pair.run(60)
    assert received(pair.z, other_end(pair.z, channel)) == sent
    assert not pair.a.of(StackClosed)
