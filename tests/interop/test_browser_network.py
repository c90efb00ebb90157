"""Browsers reach a server through one UDP port that nftables has opened."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from datachan import RTCConfiguration, RTCPeerConnection, UdpMux
from tests.interop.browsers import Browser
from tests.interop.conftest import situations
from tests.interop.link import linked, serve_page

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("browser", situations("as-a-user"), indirect=True, scope="module"),
]


@contextmanager
def only_port(rule: str) -> Iterator[None]:
    """Apply rules of nftables in the namespace of the test and its browser, for a while."""
    subprocess.run(["sh", "-ec", rule], check=True)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "inet", "filter"], check=True)


def selected(pc: RTCPeerConnection) -> Any:
    assert pc.sctp is not None
    found = pc.sctp.transport.iceTransport.getSelectedCandidatePair()
    assert found is not None
    return found


@pytest.mark.parametrize("lite", [False, True], ids=["full", "lite"])
@pytest.mark.parametrize("offerer", ["browser", "python"])
async def test_two_tabs_share_one_port(browser: Browser, offerer: str, lite: bool) -> None:
    async with UdpMux() as mux, serve_page() as url:
        # What is not for the port, or from it, is dropped; mDNS stays possible.
        rules = (
            "nft 'add table inet filter; "
            "add chain inet filter output { type filter hook output priority 0; }; "
            f"add rule inet filter output udp dport != {{ {mux.port}, 5353 }} udp sport != {{ {mux.port}, 5353 }} drop'"
        )
        with only_port(rules):
            shared = RTCConfiguration(udpMux=mux, iceLite=lite)
            async with (
                linked(browser, url, offerer, shared) as one,
                linked(browser, url, offerer, shared) as other,
            ):
                first, second = await one.connect(), await other.connect()
                await first.exchange("to the first tab")
                await second.exchange("to the second tab")
                assert {selected(link.pc).local.port for link in (one, other)} == {mux.port}
