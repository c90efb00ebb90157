"""The receiver window grows to what the path holds, up to its limit."""

from __future__ import annotations

import pytest

from datachan.sctp.options import data_channel_options
from datachan.sctp.rx.window import ReceiveWindow
from tests.sim.associations import consume, established
from tests.sim.network import Conditions, Network

RTT = 0.1


def take(window: ReceiveWindow, bytes_per_round_trip: int, round_trips: int, start: float = 0.0) -> float:
    """Consume steadily; return the time afterwards."""
    now = start
    for _ in range(round_trips * 10):
        now += RTT / 10
        window.record_read(bytes_per_round_trip // 10, RTT, now)
    return now


def test_a_window_used_up_every_round_trip_doubles_to_its_limit() -> None:
    window = ReceiveWindow(1000, 6000)
    sizes = []
    now = 0.0
    for _ in range(6):
        now = take(window, window.size, 2, now)
        sizes.append(window.size)
    assert sizes == sorted(sizes)
    assert window.size == 6000


def test_a_window_of_which_less_than_a_quarter_is_used_does_not_grow() -> None:
    window = ReceiveWindow(1000, 6000)
    take(window, 200, 50)
    assert window.size == 1000


def test_without_a_measured_path_or_a_limit_above_it_stays() -> None:
    window = ReceiveWindow(1000, 6000)
    for i in range(100):
        window.record_read(1000, None, i * RTT)
    assert window.size == 1000
    fixed = ReceiveWindow(1000, 0)
    take(fixed, 10_000, 10)
    assert (fixed.size, fixed.limit) == (1000, 1000)


def test_a_clock_that_stands_still_is_no_round_trip() -> None:
    window = ReceiveWindow(1000, 100_000)
    for _ in range(10):
        window.record_read(100, 0.0, 5.0)
    assert window.size == 1000
    window.record_read(900, 0.0, 5.001)


def test_a_burst_after_a_pause_does_not_grow_the_window() -> None:
    window = ReceiveWindow(1000, 6000)
    now = take(window, 100, 5)
    window.record_read(900, RTT, now + 100)
    assert window.size == 1000


@pytest.mark.parametrize(("limit", "at_least", "at_most"), [(0, 0.0, 0.45), (16 * 1024 * 1024, 0.79, 1.01)])
def test_a_long_fat_path_is_filled_only_by_a_window_that_grows(limit: int, at_least: float, at_most: float) -> None:
    # 200 Mbit/s and 200 ms hold 5 MB, more than the initial window of 2 MiB. Z sends nothing, so only its handshake
    # measures the path.
    rate, latency = 25e6, 0.1
    conditions = Conditions(latency=latency, rate=rate, queue=5_000_000)
    options = data_channel_options(max_receive_window=limit)
    pair = established(
        Network(3, conditions, conditions), **{name: getattr(options, name) for name in options.__slots__}
    )
    consume(pair.z)
    a = pair.a.machine

    def refill(now: float) -> None:
        while a.buffered_amount(1) < 1_000_000:
            a.send(1, bytes(65_536), ppid=53, now=now)

    pair.a.on_event = lambda event, now: refill(now)
    # Z sends nothing: it knows the path by the handshake.
    refill(pair.now)
    # Slow start fills path and queue in three and a half seconds. Repairing the overflow and filling the window again
    # takes one and a half more.
    pair.run(5.0)
    before = pair.z.machine.stats().bytes_received
    pair.run(1.0)
    share = (pair.z.machine.stats().bytes_received - before) / rate
    assert at_least <= share <= at_most, f"{share:.2f} of the path"
