"""Two peers connect across networks, whatever servers and interfaces are silent; `make nat-lab` runs all of them."""

from __future__ import annotations

import asyncio

import pytest

from tests.missing import missing
from tests.nat.lab import connect, laboratory, lack_of_lab
from tests.nat.topologies import TOPOLOGIES

# One of each difficulty, with the pair that must be selected where there is one choice.
QUICK = {
    "port-restricted, both": None,
    "symmetric, both, TURN at the answerer": None,
    "relay only": "relay/relay",
    "one carrier NAT with hairpin": None,
    "IPv6 with firewalls, no server": "host/host",
    "IPv6 only to IPv4 only, TURN": None,
    "UDP blocked at both, TURN over TCP 443": "relay/relay",
    "UDP blocked at one, TURN over TLS 443": None,
    "20 host-only bridges": None,
    "dead VPN": None,
    "dead STUN server": "host/host",
    "link-local": "host/host",
}
# The paths take 40 ms. A machine that runs other tests, too, may be ten times slower than an idle one, but a server or
# an interface that is silent would cost five seconds.
LIMIT = 3000.0


@pytest.fixture(scope="module", autouse=True)
def lab() -> None:
    if (lack := lack_of_lab()) is not None:
        missing(lack)


@pytest.mark.parametrize("name", QUICK)
async def test_connects_across(name: str) -> None:
    async with laboratory(TOPOLOGIES[name]) as lab:
        a, b = await lab.peers()
        try:
            outcome = await connect(a, b, lab.topology)
        finally:
            await asyncio.gather(a.stop(), b.stop())
    assert outcome.connected, outcome
    assert outcome.errors == []
    assert outcome.milliseconds is not None
    assert outcome.milliseconds < LIMIT, outcome
    assert QUICK[name] in (None, outcome.pair)
