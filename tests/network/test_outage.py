"""A path fails for a while: data flows again as soon as a packet gets through, and no association is lost.

RFC 9260, 6.3.3, E2: "For the destination address for which the timer expires, set RTO = RTO * 2 ("back off the
timer")."
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from datachan.sctp.association import AssociationState
from datachan.sctp.events import AssociationLost, MessageReceived
from datachan.sctp.options import data_channel_options
from datachan.sctp.wire.chunks import UserDataChunk
from tests.sim.links import Bulk, channel_association
from tests.sim.network import Conditions, Network, Passage
from tests.sim.pair import Pair

ROUND_TRIP = 0.04
START = 2.0


def transfer(length: float, control: str = "cubic") -> tuple[Pair, Bulk]:
    """Return a transfer over 20 Mbit/s and 40 ms that is interrupted at START for `length` seconds."""
    outage = ((START, START + length),)
    way = Conditions(latency=ROUND_TRIP / 2, rate=2.5e6, queue=100_000, outages=outage)
    pair = Pair(channel_association(1, control), channel_association(2, control), Network(3, way, way))
    return pair, Bulk(pair)


def data_after(pair: Pair, moment: float) -> list[Passage]:
    """Return the packets with DATA that A sent from this moment on."""
    return [
        passage
        for passage in pair.network.to_z.passages
        if passage.time >= moment
        and passage.packet is not None
        and any(isinstance(chunk, UserDataChunk) for chunk in passage.packet.chunks)
    ]


@pytest.mark.parametrize("control", ["newreno", "cubic", "adaptive"])
def test_data_flows_again_within_a_round_trip_and_a_half_of_the_first_probe_that_gets_through(control: str) -> None:
    pair, bulk = transfer(2.0, control)
    pair.run(START + 2.0)
    pair.run_until(lambda: any(passage.arrival for passage in data_after(pair, START + 2.0)), limit=10.0)
    [probe] = [passage for passage in data_after(pair, START + 2.0) if passage.arrival]
    assert pair.now == probe.time
    # Half a round trip for the probe, half for its SACK, and half for the data that follows.
    pair.run(1.5 * ROUND_TRIP + 0.001)
    arrived = [passage for passage in data_after(pair, START + 2.0) if (passage.arrival or 1e9) <= pair.now]
    assert len(arrived) > 1
    # From then on the window doubles without waiting for another timeout.
    before = bulk.received
    pair.run(15 * ROUND_TRIP)
    assert bulk.received - before > 20 * 1200
    before = bulk.received
    pair.run(1.0)
    assert bulk.received - before > 0.6 * 2.5e6


def test_probes_are_spaced_as_the_rfc_allows_and_no_wider() -> None:
    options = data_channel_options()
    pair, _ = transfer(60.0)
    pair.run(START + 60.0)
    rto = pair.a.machine.stats().rto
    assert rto == options.rto_max
    # The last SACK that arrives releases the last packets, which the pacer spreads over a round trip.
    [last_sack] = [passage.arrival for passage in pair.network.to_a.passages if passage.arrival][-1:]
    assert last_sack is not None
    moments = [passage.time for passage in data_after(pair, last_sack + ROUND_TRIP)]
    # One RTO passes from the last transmission of the flight to the first expiry, and then twice as long each time. A
    # tail loss probe comes first, unless losses are known already, and re-arms T3-rtx (RFC 8985, section 7.3).
    # 7.3).
    allowed, previous = options.rto_min, last_sack
    if moments[0] - last_sack < 0.9 * options.rto_min:
        # A tail loss probe comes first, unless losses are known already, and re-arms T3-rtx (RFC 8985, section 7.3).
        previous = moments.pop(0)
    for moment in moments:
        assert moment - previous == pytest.approx(allowed, abs=0.002)
        allowed, previous = min(2 * allowed, options.rto_max), moment
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert len(gaps) > 7
    assert gaps[-1] == pytest.approx(options.rto_max)


@pytest.mark.parametrize("length", [1.0, 5.0, 20.0, 40.0, 60.0])
def test_an_outage_of_up_to_a_minute_loses_no_association_while_data_is_sent(length: float) -> None:
    pair, bulk = transfer(length)
    pair.run(START + length)
    before = bulk.received
    pair.run_until(lambda: bulk.received > before + 1_000_000, limit=data_channel_options().rto_max + 5.0)
    assert not pair.a.of(AssociationLost) + pair.z.of(AssociationLost)


@pytest.mark.parametrize("start", [0.5, 25.0, 29.9, 31.0])
def test_an_outage_of_a_minute_loses_no_idle_association(start: float) -> None:
    way = Conditions(latency=ROUND_TRIP / 2, outages=((start, start + 60.0),))
    pair = Pair(channel_association(1), channel_association(2), Network(3, way, way))
    pair.a.machine.connect(0.0)
    pair.run(start + 60.0)
    pair.a.machine.send(1, b"still there?", ppid=51, now=pair.now)
    pair.run_until(lambda: bool(pair.z.of(MessageReceived)), limit=1.0)
    pair.run(120.0)
    assert pair.a.machine.state is pair.z.machine.state is AssociationState.ESTABLISHED


@pytest.mark.parametrize("lost_direction", ["to_z", "to_a"])
def test_an_outage_of_one_direction_loses_no_association(lost_direction: str) -> None:
    pair, bulk = transfer(0.0)
    pair.run(START)
    link = getattr(pair.network, lost_direction)
    link.drop()
    pair.run(60.0)
    link.stop_dropping()
    before = bulk.received
    pair.run_until(lambda: bulk.received > before + 1_000_000, limit=data_channel_options().rto_max + 5.0)
    assert not pair.a.of(AssociationLost) + pair.z.of(AssociationLost)
