"""The links that every other data-channel stack fails to fill are filled: shares of the bottleneck, on a virtual clock.

`make bench-links` measures the same links with real sockets.
"""

from __future__ import annotations

import pytest

from tests.sim.host import Load
from tests.sim.links import bulk_pair, share_of_link


@pytest.mark.parametrize(
    ("row", "control", "warm_up", "seconds", "goal"),
    [
        pytest.param("wan", "cubic", 1.0, 2.0, 0.95, id="wan, cubic"),
        pytest.param("shallow", "cubic", 2.0, 2.0, 0.85, id="shallow, cubic"),
        pytest.param("wan", "adaptive", 1.0, 2.0, 0.95, id="wan"),
        pytest.param("shallow", "adaptive", 2.0, 2.0, 0.88, id="shallow"),
        # A gigabit is a hundred thousand packets per virtual second.
        pytest.param("lan", "adaptive", 0.1, 0.1, 0.75, id="lan"),
        pytest.param("lossy", "adaptive", 1.0, 2.0, 0.93, id="lossy"),
        pytest.param("radio", "adaptive", 1.0, 2.0, 0.80, id="radio"),
        # A loss holds back the messages behind it for up to half a second, so that two seconds measure its timing.
        pytest.param("far", "adaptive", 2.0, 4.0, 0.93, id="far"),
    ],
)
def test_a_transfer_fills_the_link(row: str, control: str, warm_up: float, seconds: float, goal: float) -> None:
    share = share_of_link(row, control, warm_up, seconds)
    assert goal <= share < 1.1, f"{share:.2f} of the link"


@pytest.mark.parametrize(("control", "goal"), [("cubic", 0.80), ("newreno", 0.75), ("adaptive", 0.85)])
def test_a_stalling_process_fills_a_link_with_a_short_queue(control: str, goal: float) -> None:
    # Every tenth of a second either process stalls for about as long as the queue lasts. The data delayed by the stall
    # must neither be lost nor overflow the queue.
    load = Load(stall_every=0.1, stall=0.004)
    share = share_of_link("shallow", control, 2.0, 3.0, load=load)
    assert goal <= share < 1.1, f"{share:.2f} of the link"


def test_overflowing_a_long_queue_causes_no_repeated_retransmissions() -> None:
    # Slow start on a gigabit ends with a full queue of eight minimum round trips, and a thousand lost packets.
    pair, bulk = bulk_pair("lan", "cubic")
    pair.run(0.1)

    link = pair.network.to_z.passages
    carried = [passage for passage in link if passage.arrival is not None]
    assert len(carried) < len(link)
    assert len(link) - len(carried) < 0.2 * len(link)
    assert bulk.received > 0.8 * sum(len(passage.datagram) for passage in carried)


@pytest.mark.parametrize("seed", [5, 6, 7])
def test_the_window_of_a_pure_receiver_grows_to_the_path(seed: int) -> None:
    # Without data in the other direction only the handshake measures the round trip. The initial window, 2 MiB, is less
    # than path and queue hold.
    share = share_of_link("far", "adaptive", 5.0, 4.0, seed=seed, answers=False)
    assert 0.90 <= share < 1.1, f"{share:.2f} of the link"
