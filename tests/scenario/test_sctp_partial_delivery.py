"""Messages delivered in parts before the rest has arrived, with DATA and with I-DATA."""

from __future__ import annotations

from random import Random

import pytest

from datachan.sctp.events import MessageReceived, PartialDeliveryAborted
from tests.sim.seeds import seeds

from .sctp_pair import Pair, changed

POINT = 5000
BOTH = pytest.mark.parametrize("interleaving", [False, True], ids=["DATA", "I-DATA"])


def pair(interleaving: bool, **options: object) -> Pair:
    """Return a pair in which Z delivers parts of messages."""
    common = changed(interleaving=interleaving, initial_cwnd=1 << 20, max_burst=1000, pacing=False, **options)
    z = changed(interleaving=interleaving, partial_delivery_point=POINT, **options)
    return Pair(common, z).establish()


def parts(machines: Pair) -> list[MessageReceived]:
    return machines.z_saw(MessageReceived)


@BOTH
@pytest.mark.parametrize("unordered", [False, True])
def test_delivers_a_long_message_in_parts(interleaving: bool, unordered: bool) -> None:
    machines = pair(interleaving)
    data = bytes(range(256)) * 100
    machines.send_a(data, unordered=unordered)
    machines.exchange()
    seen = parts(machines)
    assert b"".join(part.data for part in seen) == data
    assert [part.last for part in seen] == [False] * (len(seen) - 1) + [True]
    assert len(seen) == len(data) // (-(-POINT // 1168) * 1168) + 1
    assert all(len(part.data) >= POINT for part in seen[:-1])
    assert {(part.stream_id, part.ppid, part.ssn, part.unordered) for part in seen} == {(1, 51, 0, unordered)}


@BOTH
def test_delivers_a_message_up_to_the_delivery_point_whole(interleaving: bool) -> None:
    machines = pair(interleaving)
    machines.send_a(bytes(POINT))
    machines.exchange()
    (only,) = parts(machines)
    assert only.last
    assert len(only.data) == POINT


@BOTH
def test_a_message_before_its_turn_waits_until_it_is_whole(interleaving: bool) -> None:
    machines = pair(interleaving)
    machines.send_a(b"first")
    first = machines.from_a()
    machines.send_a(bytes(20_000))
    machines.to_z(*machines.from_a()[:-1])  # all but the end
    assert parts(machines) == []
    machines.to_z(*first)
    assert [part.data for part in parts(machines)][:1] == [b"first"]
    machines.pass_time(10)
    assert sum(len(part.data) for part in parts(machines)[1:]) == 20_000


@BOTH
def test_a_gap_delays_the_parts_behind_it(interleaving: bool) -> None:
    machines = pair(interleaving)
    machines.send_a(bytes(30_000))
    packets = machines.from_a()
    machines.to_z(*packets[:6], *packets[7:])
    before = sum(len(part.data) for part in parts(machines))
    assert POINT <= before <= 6 * 1200
    machines.to_z(packets[6])
    assert sum(len(part.data) for part in parts(machines)) == 30_000
    assert parts(machines)[-1].last


@BOTH
def test_delivers_a_message_longer_than_any_limit_in_parts(interleaving: bool) -> None:
    machines = pair(interleaving, max_message_size=20_000, receive_window=30_000)
    machines.send_a(bytes(500_000))
    machines.pass_time(60)
    assert sum(len(part.data) for part in parts(machines)) == 500_000


@BOTH
def test_parts_that_are_not_read_close_the_window(interleaving: bool) -> None:
    machines = pair(interleaving, receive_window=30_000)
    machines.consume = False
    machines.send_a(bytes(500_000))
    machines.pass_time(5)
    held = sum(len(part.data) for part in parts(machines))
    assert held < 45_000
    for part in parts(machines):
        machines.z.message_consumed(len(part.data), machines.now)
    machines.consume = True
    machines.pass_time(200)
    assert sum(len(part.data) for part in parts(machines)) == 500_000


@BOTH
def test_reports_a_message_abandoned_after_a_part(interleaving: bool) -> None:
    machines = pair(interleaving)
    machines.send_a(bytes(20_000), lifetime=2.0)
    machines.to_z(*machines.from_a()[:7])
    assert sum(len(part.data) for part in parts(machines)) >= POINT
    machines.from_z()
    machines.now += 2.5
    machines.a.handle_timeout(machines.now)
    machines.pass_time(10)
    assert machines.z_saw(PartialDeliveryAborted) == [PartialDeliveryAborted(1, 0)]
    assert not any(part.last for part in parts(machines))
    machines.send_a(b"the next")
    machines.exchange()
    assert parts(machines)[-1].data == b"the next"


@seeds(20)
@BOTH
def test_parts_are_reassembled_in_any_order_of_packets(interleaving: bool, seed: int) -> None:
    chance = Random(seed)
    machines = pair(interleaving)
    sent: dict[int, list[bytes]] = {stream: [] for stream in range(3)}
    for number in range(12):
        stream = chance.randrange(3)
        data = bytes([number]) * chance.randrange(1, 30_000)
        sent[stream].append(data)
        machines.send_a(data, stream)
    packets = machines.from_a()
    chance.shuffle(packets)
    machines.to_z(*packets)
    machines.pass_time(60)
    received: dict[int, list[bytes]] = {stream: [] for stream in range(3)}
    begun: dict[int, bytes] = {}
    for part in parts(machines):
        begun[part.stream_id] = begun.get(part.stream_id, b"") + part.data
        if part.last:
            received[part.stream_id].append(begun.pop(part.stream_id))
    assert received == sent
