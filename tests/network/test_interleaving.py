"""A long message delays no other stream on simulated networks; the delay without I-DATA is measured, too."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from datachan.dcep import ChannelMessage
from datachan.sctp.association import Association
from datachan.sctp.events import MessageReceived
from datachan.sctp.options import data_channel_options
from datachan.sctp.wire.chunks import UserDataChunk
from tests.scenario.channel_pair import connected
from tests.sim.associations import consume, is_closed
from tests.sim.network import Conditions, Network, Passage
from tests.sim.pair import Pair
from tests.sim.seeds import entropy

GIGABYTE = 1 << 30
LINK = Conditions(latency=0.02, rate=12.5e6, queue=250_000)
BULK, PING = 1, 2


def browser_like(network: Network, **options: object) -> Pair:
    """Return two established associations with the options of data channels."""
    a_options = replace(data_channel_options(), zero_checksum=False, **options)  # type: ignore[arg-type]
    a, z = Association(a_options, entropy(1)), Association(replace(a_options, interleaving=True), entropy(2))
    pair = Pair(a, z, network)
    consume(pair.z)
    a.connect(0.0)
    pair.run(0.5)
    return pair


def user_data(passage: Passage) -> list[UserDataChunk]:
    packet = passage.packet
    return [] if packet is None else [chunk for chunk in packet.chunks if isinstance(chunk, UserDataChunk)]


def ping(pair: Pair, number: int) -> int:
    """Send a ping; return the number of packets with other data that leave before it does."""
    data = b"ping %d" % number
    passages = pair.network.to_z.passages
    looked_at = before = len(passages)
    found: list[int] = []
    pair.a.machine.send(PING, data, ppid=51, now=pair.now)

    def left() -> bool:
        nonlocal looked_at
        found.extend(
            index
            for index in range(looked_at, len(passages))
            if any(chunk.data == data for chunk in user_data(passages[index]))
        )
        looked_at = len(passages)
        return bool(found)

    pair.run_until(left, limit=60)
    return found[0] - before


@pytest.mark.parametrize("loss", [0.0, 0.01])
def test_a_message_of_a_gigabyte_delays_a_ping_by_no_more_than_a_packet(loss: float) -> None:
    pair = browser_like(Network(1, replace(LINK, loss=loss), Conditions(latency=0.02)))
    pair.a.machine.send(BULK, bytes(GIGABYTE), ppid=53, now=pair.now)
    pair.run(1.0)
    waits = []
    for number in range(20):
        waits.append(ping(pair, number))
        pair.run(0.037)
    pair.run(1.0)
    # Retransmissions go before new data (RFC 9260, 6.1, C). Without loss the ping is in the next packet or the one
    # after.
    assert max(waits) <= (1 if not loss else 20)
    assert sorted(waits)[10] <= 1
    assert [event.data for event in pair.z.of(MessageReceived)] == [b"ping %d" % number for number in range(20)]
    assert not is_closed(pair.a)
    # The long message has continued all the while.
    assert pair.z.machine.stats().bytes_received > (500_000 if loss else 3_000_000)


def test_without_interleaving_a_ping_waits_only_for_the_message_in_progress() -> None:
    pair = browser_like(Network(1, LINK, Conditions(latency=0.02)), interleaving=False)
    for _ in range(4):
        pair.a.machine.send(BULK, bytes(4_000_000), ppid=53, now=pair.now)
    pair.run(0.1)
    # The rest of 4 MB takes this long at 12.5 MB/s; the three messages behind it wait for the ping.
    assert 2000 < ping(pair, 0) < 5000


def test_a_short_message_waits_for_a_long_one_only_without_interleaving() -> None:
    delays = {}
    for interleaving in (True, False):
        pair = browser_like(Network(1, LINK, Conditions(latency=0.02)), interleaving=interleaving)
        pair.a.machine.send(BULK, bytes(20_000_000), ppid=53, now=pair.now)
        pair.run(0.5)
        asked = pair.now
        pair.a.machine.send(PING, b"ping", ppid=51, now=pair.now)
        pair.run_until(lambda pair=pair: len(pair.z.of(MessageReceived)) == 2)  # type: ignore[misc]
        arrival = min(
            passage.arrival
            for passage in pair.network.to_z.passages
            if any(chunk.data == b"ping" for chunk in user_data(passage)) and passage.arrival is not None
        )
        delays[interleaving] = arrival - asked
    # One way takes 20 ms; in both cases the packets in the bottleneck's queue are ahead of the message.
    assert delays[True] < 0.07
    assert delays[False] > 0.5


def test_capacity_is_shared_by_the_priorities_of_channels_on_both_sides() -> None:
    network = Network(1, replace(LINK, rate=2e6), replace(LINK, rate=2e6))
    options = {"scheduler": "wfq", "max_burst": 64, "slow_start_limit": 64}
    pair = connected(network, a_options=options, z_options=options)
    channels = [pair.open(label=str(priority), priority=priority) for priority in (128, 256, 512, 1024)]
    for own, other in channels:
        assert own.priority == other.priority
        for _ in range(200):
            pair.send(pair.a, own, bytes(40_000))
            pair.send(pair.z, other, bytes(40_000))
    before = {pair.a: len(pair.a.events), pair.z: len(pair.z.events)}
    pair.run(4.0)
    for peer, seen in before.items():
        shares: Counter[int] = Counter()
        for event in peer.events[seen:]:
            if isinstance(event, ChannelMessage):
                shares[event.channel.priority] += len(event.data)
        total = sum(shares.values())
        assert total > 2_000_000
        for priority, share in shares.items():
            assert share / total == pytest.approx(priority / 1920, abs=0.03)
