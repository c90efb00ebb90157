"""A standing connection survives what happens to its path; `make nat-lab` has the long ones."""

from __future__ import annotations

import pytest

from tests.missing import missing
from tests.nat.lab import lack_of_lab
from tests.nat.path_events import witness

# Seconds from the end of the fault to the first message at the slower side, on a busy machine.
QUICK = {
    "outage of 5 s": 3.0,
    "offerer's NAT rebinds, full cones": 1.0,
    "both up, Wi-Fi dies silently": 2.0,
    "Wi-Fi to LTE, offer on negotiationneeded": 3.0,
    "MTU shrinks to 1000, no ICMP": 3.0,
}


@pytest.fixture(scope="module", autouse=True)
def lab() -> None:
    if (lack := lack_of_lab()) is not None:
        missing(lack)


@pytest.mark.parametrize("name", QUICK)
async def test_messages_flow_again_and_none_is_lost_after(name: str) -> None:
    aftermath = await witness(name)
    assert aftermath is not None, "the peers did not connect"
    assert aftermath.slower is not None, aftermath
    assert aftermath.slower < QUICK[name], aftermath
    assert aftermath.in_order
