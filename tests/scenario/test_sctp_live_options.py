"""Parameters changed in a live association, delayed small packets, and Adaptation Layer Indications."""

from __future__ import annotations

from dataclasses import replace

import pytest

from datachan.sctp.events import AdaptationIndicated, MessageReceived
from datachan.sctp.wire.chunks import DataChunk, InitChunk, SackChunk

from .sctp_pair import Pair, changed, chunks


def change(machines: Pair, **options: object) -> None:
    machines.a.change_options(replace(machines.a.options, **options))


def test_fragments_have_the_length_that_was_set_last() -> None:
    machines = Pair().establish()
    machines.send_a(bytes(3000))
    assert max(len(chunk.data) for chunk in chunks(machines.from_a(), DataChunk)) == machines.a.max_fragment > 1000
    machines = Pair().establish()
    change(machines, max_fragment=400)
    machines.send_a(bytes(3000))
    sizes = [len(chunk.data) for chunk in chunks(machines.from_a(), DataChunk)]
    assert max(sizes) == machines.a.max_fragment == 400
    machines.exchange()


def test_the_rto_bounds_can_be_changed() -> None:
    machines = Pair().establish()
    change(machines, rto_min=3.0)
    machines.send_a(b"x")
    machines.exchange()
    assert machines.a.stats().rto == 3.0
    change(machines, rto_min=0.5)
    machines.send_a(bytes(2000))  # two packets, acknowledged at once
    machines.exchange()
    assert machines.a.stats().rto < 3.0


def test_the_sack_delay_can_be_changed() -> None:
    machines = Pair(changed(sack_frequency=10)).establish()
    machines.send_a(b"x")
    machines.exchange()
    machines.z.change_options(replace(machines.z.options, sack_delay=0.4))
    machines.send_a(b"y")
    machines.to_z(*machines.from_a())
    assert machines.from_z() == []
    machines.now += 0.3
    machines.z.handle_timeout(machines.now)
    assert machines.from_z() == []
    machines.now += 0.11
    machines.z.handle_timeout(machines.now)
    assert chunks(machines.from_z(), SackChunk)


def test_the_scheduler_can_be_changed_while_messages_wait() -> None:
    machines = Pair(changed(scheduler="fcfs", initial_cwnd=5000)).establish()
    machines.a.set_stream_priority(3, 500)
    for stream in (1, 2, 3):
        for number in range(20):
            machines.send_a(bytes([stream, number]) + bytes(900), stream)
    change(machines, scheduler="priority")
    machines.pass_time(60)
    streams = [event.stream_id for event in machines.z_saw(MessageReceived)]
    assert streams[:20] == [3] * 20
    assert sorted(streams) == [1] * 20 + [2] * 20 + [3] * 20


def test_the_retransmission_limit_can_be_changed() -> None:
    machines = Pair().establish()
    change(machines, association_max_retrans=0)
    machines.send_a(b"into the void")
    machines.from_a()
    while machines.a.state.value == "established":
        machines.expire_a()
    assert machines.a.stats().retransmissions <= 2


@pytest.mark.parametrize("delayed", [True, False])
def test_small_packets_wait_for_an_acknowledgment_if_the_option_is_on(delayed: bool) -> None:
    machines = Pair(changed(delay_small_packets=delayed)).establish()
    machines.send_a(b"first")
    first = machines.from_a()
    for _ in range(5):
        machines.send_a(b"small")
    second = machines.from_a()
    assert bool(chunks(second, DataChunk)) is not delayed
    machines.to_z(*first)
    machines.to_z(*second)
    machines.pass_time(1)
    assert machines.received_by_z() == [b"first"] + [b"small"] * 5


def test_small_messages_do_not_wait_if_they_fill_a_packet_or_on_shutdown() -> None:
    machines = Pair(changed(delay_small_packets=True)).establish()
    machines.send_a(b"first")
    machines.from_a()
    for _ in range(40):
        machines.send_a(bytes(50))
    assert len(chunks(machines.from_a(), DataChunk)) >= 10
    machines = Pair(changed(delay_small_packets=True)).establish()
    machines.send_a(b"first")
    machines.from_a()
    machines.send_a(b"last")
    machines.a.shutdown(machines.now)
    assert [chunk.data for chunk in chunks(machines.from_a(), DataChunk)] == [b"last"]


def test_the_interval_between_inits_has_its_own_limit() -> None:
    machines = Pair(changed(rto_initial=1.0, max_init_timeout=2.0, max_init_retransmits=4))
    machines.a.connect(machines.now)
    begin = machines.now
    sent = chunks(machines.from_a(), InitChunk)
    while machines.a.next_timeout() is not None:
        sent += chunks(machines.expire_a(), InitChunk)
    assert len(sent) == 5
    assert machines.now - begin == pytest.approx(1 + 2 + 2 + 2 + 2)


@pytest.mark.parametrize(("a", "z"), [(7, 0xFFFFFFFF), (None, 0), (5, None)])
def test_each_side_reports_the_adaptation_indication_of_the_other(a: int | None, z: int | None) -> None:
    machines = Pair(changed(adaptation_indication=a), changed(adaptation_indication=z)).establish()
    assert [event.code for event in machines.a_saw(AdaptationIndicated)] == ([] if z is None else [z])
    assert [event.code for event in machines.z_saw(AdaptationIndicated)] == ([] if a is None else [a])
