"""The emulator keeps its parameters: over real sockets where time matters, on a given clock where it does not."""

from __future__ import annotations

import select
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest

from tests.links.measure import through
from tests.links.model import Direction, Link
from tests.links.process import Emulator

SIZE = 1200
MBIT = 1e6


# -- the model, on a clock of its own ----------------------------------------------------------------------------------


def pass_through(direction: Direction, count: int, size: int = SIZE, interval: float = 0.0) -> list[tuple[int, float]]:
    """Offer numbered datagrams; return those that came out, and when."""
    for number in range(count):
        direction.offer([number.to_bytes(4, "big") + bytes(size - 4)], number * interval)
    return [(int.from_bytes(data[:4], "big"), moment) for moment, data in direction.in_flight]


def test_a_datagram_takes_its_time_on_the_link_and_the_delay() -> None:
    out = pass_through(Direction(Link(rate=9.6e6, delay=0.5), seed=1), 3)

    assert [moment for _, moment in out] == pytest.approx([0.501, 0.502, 0.503])


def test_an_idle_link_saves_no_capacity_for_later() -> None:
    direction = Direction(Link(rate=9.6e6), seed=1)

    direction.offer([bytes(SIZE)], 10.0)
    direction.offer([bytes(SIZE)] * 2, 20.0)

    assert [moment for moment, _ in direction.in_flight] == pytest.approx([10.001, 20.001, 20.002])


def test_nothing_comes_out_before_it_is_due() -> None:
    direction = Direction(Link(rate=9.6e6, delay=0.5), seed=1)
    direction.offer([b"a" * SIZE, b"b" * SIZE], 0.0)

    assert direction.due(0.5) == []
    assert direction.due(0.5015) == [b"a" * SIZE]
    assert direction.due(9.0) == [b"b" * SIZE]


def test_the_queue_drops_at_its_tail_when_full() -> None:
    direction = Direction(Link(rate=9.6e6, queue=10 * SIZE), seed=1)

    out = pass_through(direction, 25)

    assert [number for number, _ in out] == list(range(10))
    assert direction.report().overflowed == 15
    assert direction.report().longest_queue == 10 * SIZE


def test_datagrams_longer_than_the_mtu_are_dropped_and_take_no_room() -> None:
    direction = Direction(Link(rate=9.6e6, queue=2 * SIZE, mtu=SIZE), seed=1)

    direction.offer([bytes(SIZE + 1), bytes(SIZE), bytes(SIZE), bytes(SIZE + 1)], 0.0)

    assert [len(data) for _, data in direction.in_flight] == [SIZE, SIZE]
    assert (direction.report().too_long, direction.report().overflowed) == (2, 0)


def test_the_queue_drains_at_the_rate_of_the_link() -> None:
    # Twice the link's rate comes in: half of it is dropped once the queue is full.
    direction = Direction(Link(rate=9.6e6, queue=10 * SIZE), seed=1)

    out = pass_through(direction, 1000, interval=0.0005)

    assert len(out) == pytest.approx(505, abs=6)


@pytest.mark.parametrize("loss", [0.001, 0.01, 0.05, 0.3])
def test_random_loss_takes_its_share_independently(loss: float) -> None:
    count = 100_000
    out = [
        number
        for number, _ in pass_through(Direction(Link(rate=1e12, loss=loss, queue=1 << 30), seed=7), count, size=8)
    ]

    missing = sorted(set(range(count)) - set(out))
    assert len(missing) == pytest.approx(count * loss, rel=0.2)
    # With independent losses the probability that the next datagram is lost, too, is the share itself.
    pairs = sum(later - earlier == 1 for earlier, later in pairwise(missing))
    assert pairs / len(missing) == pytest.approx(loss, rel=0.2, abs=0.02)


def test_the_same_seed_loses_the_same_datagrams() -> None:
    link = Link(rate=1e9, loss=0.1)

    first, again, other = (pass_through(Direction(link, seed), 500, size=8) for seed in (3, 3, 4))

    assert first == again
    assert first != other


def test_lost_datagrams_took_their_time_on_the_link() -> None:
    out = pass_through(Direction(Link(rate=9.6e6, loss=0.5), seed=1), 100)

    assert 20 < len(out) < 80
    assert all(moment == pytest.approx((number + 1) * 0.001) for number, moment in out)


# -- the process, over sockets -----------------------------------------------------------------------------------------


@contextmanager
def ends(link: Link) -> Iterator[tuple[Emulator, socket.socket, socket.socket]]:
    """Return a running emulator that knows both ends, which are connected to the ports that face them."""
    with (
        Emulator(link) as emulator,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as a,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as z,
    ):
        for sock, facing in ((a, emulator.facing_a), (z, emulator.facing_z)):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            sock.settimeout(5)
            sock.connect(facing)
        introduce(a, z)
        yield emulator, a, z


def introduce(a: socket.socket, z: socket.socket) -> None:
    """Send a datagram from each end; those that arrive before the other end is known are dropped."""
    for _ in range(100):
        a.send(b"a")
        z.send(b"z")
        readable, _, _ = select.select([a, z], (), (), 0.2)
        if a in readable and z in readable:
            break
    drain(a, 0.1)
    drain(z, 0.1)


def drain(sock: socket.socket, quiet: float) -> list[tuple[float, bytes]]:
    """Return everything that arrives until a pause, with the times."""
    arrived = []
    while select.select([sock], (), (), quiet)[0]:
        arrived.append((time.monotonic(), sock.recv(65_535)))
    return arrived


def test_each_end_hears_the_other_from_the_port_that_faces_it() -> None:
    with ends(Link(rate=100 * MBIT, delay=0.001)) as (_, a, z):
        a.send(b"from a")
        z.send(b"from z")

        assert z.recv(100) == b"from a"
        assert a.recv(100) == b"from z"


def test_the_delay_is_exact_to_a_millisecond() -> None:
    with ends(Link(rate=100 * MBIT, delay=0.030)) as (_, a, z):
        round_trips = []
        for _ in range(12):
            start = time.monotonic()
            a.send(b"ping")
            z.send(z.recv(100))
            a.recv(100)
            round_trips.append(time.monotonic() - start)

    # The median, because a shared machine may delay this test's own process from time to time.
    assert statistics.median(round_trips) == pytest.approx(0.060, abs=0.002)
    assert min(round_trips) > 0.0595


@pytest.mark.parametrize("rate", [5 * MBIT, 100 * MBIT])
def test_the_rate_is_the_configured_one(rate: float) -> None:
    count = round(rate * 0.6 / 8 / SIZE)
    with ends(Link(rate=rate, delay=0.001, queue=100_000_000)) as (emulator, a, z):
        start = time.monotonic()
        for _ in range(count):
            a.send(bytes(SIZE))
        first = emulator.report()
        for _ in range(count * 9 // 10):
            z.recv(2000)
        last = emulator.report()
        arrived = drain(z, 0.3)

    # Never faster, by the clock of this process. Never slower while there was something to send, by the emulator's
    # clock, because a busy machine may delay this process.
    assert count * SIZE * 8 / (arrived[-1][0] - start) < rate * 1.01
    assert last["from_a"]["offered"] - first["from_a"]["offered"] == 0
    bits = (last["from_a"]["bytes_delivered"] - first["from_a"]["bytes_delivered"]) * 8
    assert bits / (last["time"] - first["time"]) == pytest.approx(rate, rel=0.03)


def test_queue_and_losses_are_as_configured_and_accounted_for() -> None:
    with ends(Link(rate=20 * MBIT, delay=0.001, loss=0.2, queue=300 * SIZE)) as (emulator, a, z):
        before = emulator.report()["from_a"]
        for _ in range(1000):
            a.send(bytes(SIZE))
        arrived = drain(z, 0.3)
        after = emulator.report()["from_a"]

    account = {name: after[name] - before[name] for name in after}
    assert account["offered"] == 1000
    assert account["overflowed"] + account["lost"] + account["delivered"] == 1000
    assert account["delivered"] == len(arrived)
    carried = 1000 - account["overflowed"]
    # The queue holds 300; the link sends some while the burst comes in, which makes room for more.
    assert 300 <= carried < 700
    assert account["lost"] / carried == pytest.approx(0.2, abs=0.08)


def test_runs_sent_in_one_piece_are_datagrams_to_the_link() -> None:
    with ends(Link(rate=100 * MBIT, delay=0.001)) as (emulator, a, z):
        before = emulator.report()["from_a"]["offered"]
        a.sendmsg([bytes(SIZE)] * 20 + [b"short"], [(17, 103, SIZE.to_bytes(2, "little"))])
        arrived = [data for _, data in drain(z, 0.2)]

        assert [len(data) for data in arrived] == [SIZE] * 20 + [5]
        assert emulator.report()["from_a"]["offered"] - before == 21


def test_the_peer_of_a_port_is_the_first_address_that_sent_to_it() -> None:
    with ends(Link(rate=100 * MBIT)) as (emulator, a, z):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"not for you", emulator.facing_a)
        a.send(b"for you")

        assert z.recv(100) == b"for you"
        assert emulator.report()["strangers"] == 1


# -- the description ---------------------------------------------------------------------------------------------------


def test_a_description_leads_to_the_emulator_and_nowhere_else() -> None:
    sdp = (
        "v=0\r\nm=application 5000 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 192.0.2.7\r\n"
        "a=candidate:1 1 udp 1 192.0.2.7 5000 typ host\r\na=candidate:2 1 udp 1 abc.local 5001 typ host\r\n"
        "a=end-of-candidates\r\na=mid:0\r\n"
    )

    assert through(("127.0.0.1", 777), {"type": "offer", "sdp": sdp}) == {
        "type": "offer",
        "sdp": "v=0\r\nm=application 777 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 127.0.0.1\r\na=mid:0\r\n"
        "a=candidate:1 1 udp 2130706431 127.0.0.1 777 typ host\r\na=end-of-candidates\r\n",
    }
