"""Fixtures for tests with other stacks: a network, the stack's process, and the results for the table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.interop.namespaces import network
from tests.interop.stacks.installed import ROLES, STACKS, Missing, Stack
from tests.interop.stacks.partner import Partner
from tests.missing import missing

# The address of the network's interface.
HOST = "192.0.2.2"
# An ordinary interface, whose other end is not plugged in. Without a default route the STUN server that werift always
# asks is unreachable at once; with one it would wait five seconds for an answer.
NETWORK = f"""
    ip link set lo up
    ip link add eth0 type veth peer name peer0
    ip addr add {HOST}/24 dev eth0
    ip addr add fd00::2/64 dev eth0 nodad
    ip link set eth0 addrgenmode none up
    ip link set peer0 addrgenmode none up
"""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the cases that a stack cannot do; the table names them with the reason."""
    left_out = [item for item in items if _lacks(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _lacks(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("case")
    if marker is None or not isinstance(item, pytest.Function):
        return False
    stack, we_offer = item.callspec.params["stack"], item.callspec.params["we_offer"]
    return stack.lack(marker.args[0], ROLES[not we_offer]) is not None


class Current:
    """The process of a stack, started again when the one before has ended."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._partner: Partner | None = None

    async def partner(self) -> Partner:
        if self._partner is not None and not self._partner.alive:
            await self.stop()
        if self._partner is None:
            self._partner = await Partner.start(self.stack, HOST)
        return self._partner

    async def stop(self) -> None:
        if self._partner is not None:
            await self._partner.stop()
            self._partner = None


@pytest.fixture(scope="module", params=STACKS, ids=lambda stack: f"stack {stack.name}")
def stack(request: pytest.FixtureRequest) -> Stack:
    chosen: Stack = request.param
    return chosen


@pytest.fixture(scope="module")
def _network() -> Iterator[None]:
    with network(NETWORK):
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def current(stack: Stack, _network: None) -> AsyncIterator[Current]:
    current = Current(stack)
    yield current
    await current.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def partner(current: Current) -> Partner:
    """Return the process of the stack."""
    try:
        return await current.partner()
    except Missing as error:
        missing(str(error))


@pytest.fixture(params=[True, False], ids=ROLES)
def we_offer(request: pytest.FixtureRequest) -> bool:
    """Return whether datachan makes the offer."""
    offer: bool = request.param
    return offer
