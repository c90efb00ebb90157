"""After an outage nothing waits for a backed-off timer: the first sign of life has it sent at once.

A sign of life is an answered check of the lower layer, a HEARTBEAT ACK, or any packet of the peer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from datachan.sctp.association import AssociationState
from datachan.sctp.events import AssociationClosed, MessageReceived, PathStatus
from datachan.sctp.options import data_channel_options
from datachan.sctp.wire.chunks import Chunk, CookieEchoChunk, InitChunk, ShutdownChunk, UserDataChunk
from datachan.sctp.wire.extensions import AsconfChunk, ReconfigChunk
from tests.sim.links import Bulk, channel_association
from tests.sim.multihomed import MultiHomedPair, address
from tests.sim.network import Conditions, Network
from tests.sim.pair import Pair

ROUND_TRIP = 0.04
WAY = Conditions(latency=ROUND_TRIP / 2, rate=2.5e6, queue=100_000)
OUTAGES = pytest.mark.parametrize("outage", [5.0, 20.0])


def arrived(network: Network, kind: type[Chunk], since: float) -> list[float]:
    """Return when packets with such a chunk, sent by A since this moment over this network, arrive at Z."""
    return [
        passage.arrival
        for passage in network.to_z.passages
        if passage.time >= since
        and passage.arrival is not None
        and passage.packet is not None
        and any(isinstance(chunk, kind) for chunk in passage.packet.chunks)
    ]


def wait_for_longest_pause(pair: Pair | MultiHomedPair, timer: Callable[[], float | None]) -> float:
    """Advance to just after the next expiration of a timer that is backed off; return when it expires next."""
    due = timer()
    assert due is not None
    pair.run(due - pair.now + 0.001)
    following = timer()
    assert following is not None
    return following


def end_outage(pair: Pair, outage: float, timer: Callable[[], float | None]) -> float:
    """Let an outage last until a timer of A has just expired, and end it; return when the timer expires next."""
    pair.run(outage)
    due = wait_for_longest_pause(pair, timer)
    pair.network.mend()
    return due


def t3(pair: Pair | MultiHomedPair) -> Callable[[], float | None]:
    """Return a function that returns when T3-rtx of A expires."""
    return lambda: pair.a.machine.stats().paths[0].t3_rtx_expires_at


@OUTAGES
@pytest.mark.parametrize("control", ["adaptive", "cubic"])
@pytest.mark.parametrize("sign", ["check", "packet"])
def test_data_arrives_within_a_round_trip_of_the_first_sign(outage: float, control: str, sign: str) -> None:
    pair = Pair(channel_association(1, control), channel_association(2, control), Network(3, WAY, WAY))
    bulk = Bulk(pair)
    pair.run(2.0)
    pair.network.cut()
    due = end_outage(pair, outage, t3(pair))
    if sign == "check":
        pair.a.machine.path_alive(pair.now)
    else:
        pair.z.machine.send(1, b"are you there?", ppid=51, now=pair.now)
        pair.run_until(lambda: len(pair.a.of(MessageReceived)) == 2)
    assert due > pair.now + 2 * ROUND_TRIP
    began, before = pair.now, bulk.received
    pair.run(ROUND_TRIP)
    assert arrived(pair.network, UserDataChunk, began)
    # Slow start goes on from there without a timer.
    pair.run(10 * ROUND_TRIP)
    assert bulk.received > before + 100_000


@OUTAGES
def test_a_heartbeat_ack_is_a_sign_of_life(outage: float) -> None:
    pair = MultiHomedPair([WAY], congestion_control="adaptive", rto_min=0.4, association_max_retrans=100)
    pair.connect()
    pair.run(1.0)
    pair.cut(0)
    pair.a.machine.send(0, bytes(50_000), ppid=0, now=pair.now)
    pair.run(outage)
    due = wait_for_longest_pause(pair, t3(pair))
    pair.mend(0)
    pair.a.machine.request_heartbeat(address(0, 2), pair.now)
    pair.run(ROUND_TRIP + 0.001)
    began = pair.now
    assert due > began + 2 * ROUND_TRIP
    pair.run(ROUND_TRIP)
    assert arrived(pair.networks[0], UserDataChunk, began - 0.001)
    pair.run_until(lambda: bool(pair.z.of(MessageReceived)), limit=10 * ROUND_TRIP)


@OUTAGES
@pytest.mark.parametrize("later", [0.3, 3.0])
def test_data_arrives_within_a_round_trip_of_the_first_sign_on_another_path(outage: float, later: float) -> None:
    pair = Pair(channel_association(1), channel_association(2), Network(3, WAY, WAY))
    Bulk(pair)
    pair.run(2.0)
    pair.network.cut()
    pair.run(outage)
    pair.a.machine.path_changed(pair.now, lost=True)
    # The new path does not work yet.
    pair.run(later)
    pair.network.mend()
    due = t3(pair)()
    assert due is not None
    if due < pair.now + 2 * ROUND_TRIP:
        pair.network.cut()
        due = wait_for_longest_pause(pair, t3(pair))
        pair.network.mend()
    pair.a.machine.path_alive(pair.now)
    began = pair.now
    pair.run(ROUND_TRIP)
    assert arrived(pair.network, UserDataChunk, began)


def test_signs_of_life_of_a_path_that_carries_nothing_do_not_flood_it() -> None:
    pair = Pair(channel_association(1), channel_association(2), Network(3, WAY, WAY))
    Bulk(pair)
    pair.run(2.0)
    pair.network.cut()
    pair.run(20.0)
    began, before = pair.now, len(pair.network.to_z.passages)
    while pair.now < began + 10.0:
        pair.a.machine.path_alive(pair.now)
        pair.run(0.01)
    # Each expiration of T3-rtx allows one more packet, and a HEARTBEAT that measures the path.
    assert len(pair.network.to_z.passages) - before < 20


# -- the other timers --------------------------------------------------------------------------------------------------


def quiet_pair(**options: Any) -> Pair:
    """Return A and Z without a transfer."""
    return Pair(channel_association(1, **options), channel_association(2, **options), Network(3, WAY, WAY))


@OUTAGES
def test_init_is_sent_again_at_once(outage: float) -> None:
    pair = quiet_pair(max_init_retransmits=100)
    pair.network.cut()
    pair.a.machine.connect(pair.now)
    due = end_outage(pair, outage, pair.a.machine.next_timeout)
    pair.a.machine.path_alive(pair.now)
    began = pair.now
    # An INIT that was answered late had no optional parameters. A third round trip offers them again.
    pair.run(3.5 * ROUND_TRIP)
    assert due > pair.now
    assert arrived(pair.network, InitChunk, began)
    assert pair.a.machine.state is AssociationState.ESTABLISHED


@OUTAGES
def test_cookie_echo_is_sent_again_at_once(outage: float) -> None:
    pair = quiet_pair(max_init_retransmits=100)
    pair.a.machine.connect(pair.now)
    pair.run_until(lambda: pair.a.machine.state is AssociationState.COOKIE_ECHOED)
    pair.network.cut()
    pair.drain()
    due = end_outage(pair, outage, pair.a.machine.next_timeout)
    pair.a.machine.path_alive(pair.now)
    began = pair.now
    pair.run(ROUND_TRIP + 0.001)
    assert due > pair.now
    assert arrived(pair.network, CookieEchoChunk, began)
    assert pair.a.machine.state is AssociationState.ESTABLISHED


@OUTAGES
def test_shutdown_is_sent_again_at_once(outage: float) -> None:
    pair = quiet_pair()
    pair.a.machine.connect(pair.now)
    pair.run(1.0)
    pair.network.cut()
    pair.a.machine.shutdown(pair.now)
    due = end_outage(pair, outage, pair.a.machine.next_timeout)
    pair.a.machine.path_alive(pair.now)
    began = pair.now
    pair.run(2 * ROUND_TRIP + 0.001)
    assert due > pair.now
    assert arrived(pair.network, ShutdownChunk, began)
    assert pair.a.of(AssociationClosed)


@OUTAGES
def test_re_config_is_sent_again_at_once(outage: float) -> None:
    pair = quiet_pair()
    pair.a.machine.connect(pair.now)
    pair.run(1.0)
    pair.network.cut()
    pair.a.machine.reset_streams([3], pair.now)
    due = end_outage(pair, outage, pair.a.machine.next_timeout)
    pair.a.machine.path_alive(pair.now)
    began = pair.now
    pair.run(ROUND_TRIP + 0.001)
    assert due > pair.now
    assert arrived(pair.network, ReconfigChunk, began)
    assert not pair.a.machine.stats().reconfiguring


@OUTAGES
def test_asconf_is_sent_again_at_once(outage: float) -> None:
    options = {"authentication": True, "dynamic_addresses": True, "association_max_retrans": 100, "rto_max": 10.0}
    pair = MultiHomedPair([WAY], **options)
    pair.connect()
    pair.run(1.0)
    pair.cut(0)
    pair.a.machine.add_address("203.0.113.77")
    pair.run(outage)
    wait_for_longest_pause(pair, pair.a.machine.next_timeout)
    pair.mend(0)
    pair.z.machine.send(0, b"are you there?", ppid=0, now=pair.now)
    pair.run_until(lambda: bool(pair.a.of(MessageReceived)))
    began = pair.now
    due = pair.a.machine.next_timeout()
    pair.run(1.5 * ROUND_TRIP)
    assert due is not None
    assert due > pair.now
    assert arrived(pair.networks[0], AsconfChunk, began)
    assert "203.0.113.77" in pair.a.machine.local_addresses


@OUTAGES
def test_a_failed_path_is_probed_at_once_when_a_packet_comes_from_it(outage: float) -> None:
    limits = {"association_max_retrans": 100, "path_max_retrans": 2, "heartbeat_interval": 1.0, "rto_max": 10.0}
    pair = MultiHomedPair([WAY, WAY], **limits)
    pair.connect()
    pair.run(3.0)
    pair.cut(1)
    pair.run_until(lambda: pair.a.statuses(1)[-1] is PathStatus.UNREACHABLE, limit=60.0)
    pair.run(outage)
    # Wait until a HEARTBEAT has just been lost, so that the next one is an RTO away.
    count = len(pair.networks[1].to_z.passages)
    pair.run_until(lambda: len(pair.networks[1].to_z.passages) > count, limit=60.0)
    pair.mend(1)
    pair.z.machine.request_heartbeat(address(1, 1), pair.now)
    # Their HEARTBEAT takes half a round trip, and ours a whole one.
    pair.run(2 * ROUND_TRIP)
    assert pair.a.statuses(1)[-1] is PathStatus.AVAILABLE


def test_the_longest_wait_of_data_channels_is_what_these_tests_assume() -> None:
    assert data_channel_options().rto_max == 10.0
