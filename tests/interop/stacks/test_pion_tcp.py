"""A server in pion that takes TCP only: our client connects to its port (ICE-TCP, RFC 6544).

The other way round cannot be tested: Debian's pion does not connect by TCP.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.interop.namespaces import network
from tests.interop.stacks.conftest import HOST, NETWORK
from tests.interop.stacks.installed import STACKS, Missing
from tests.interop.stacks.partner import Partner, echoed, linked
from tests.missing import missing

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def interface() -> Iterator[None]:
    with network(NETWORK):
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tcp_partner(interface: None) -> AsyncIterator[Partner]:
    pion = next(stack for stack in STACKS if stack.name == "pion")
    try:
        partner = await Partner.start(pion, HOST, tcp=True)
    except Missing as error:
        missing(str(error))
    yield partner
    await partner.stop()


@pytest.mark.parametrize("we_offer", [True, False])
async def test_our_client_connects_by_tcp(tcp_partner: Partner, we_offer: bool) -> None:
    async with linked(tcp_partner, HOST, we_offer=we_offer) as link:
        (channel,) = await link.connect({"label": "over TCP"})
        await echoed(channel, "hello", bytes(60_000))
        assert link.ours.sctp is not None
        pair = link.ours.sctp.transport.iceTransport.getSelectedCandidatePair()
        assert pair is not None
        assert (pair.local.protocol, pair.local.tcpType, pair.remote.tcpType) == ("tcp", "active", "passive")
