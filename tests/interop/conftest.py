"""Fixtures for tests with real peers: a browser in a network of its own, and tabs in it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import NoReturn

import pytest
import pytest_asyncio

from tests.interop import browsers, namespaces
from tests.interop.link import Link, linked, serve_page

NETWORKS = {"as-a-user": namespaces.AS_A_USER, "bare-loopback": namespaces.ONLY_LOOPBACK}


@dataclass(frozen=True)
class Situation:
    """A browser, and the network it finds itself in."""

    browser: str
    network: str

    @property
    def on_loopback(self) -> bool:
        return self.network == "bare-loopback"


def situations(*networks: str) -> list[object]:
    """Return parameters for the `browser` fixture; by their names tests/workers.py keeps a browser's tests together."""
    return [
        pytest.param(Situation(name, network), id=f"{name}-{network}")
        for name in browsers.NAMES
        for network in networks or NETWORKS
    ]


def missing(reason: str) -> NoReturn:
    """Skip the test, or let it fail where a missing peer is an error (.ci/run sets DATACHAN_REQUIRE_PEERS=1)."""
    if os.environ.get("DATACHAN_REQUIRE_PEERS") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@contextmanager
def network(commands: str) -> Iterator[None]:
    """A network of our own, made by these commands; where none can be made the peer counts as missing."""
    with ExitStack() as stack:
        try:
            stack.enter_context(namespaces.namespace(commands))
        except namespaces.NamespaceUnavailable as error:
            missing(str(error))
        yield


@asynccontextmanager
async def running(situation: Situation, flags: Sequence[str] = ()) -> AsyncIterator[browsers.Browser]:
    """A browser in a network namespace, which the test's own process enters too."""
    if browsers.find(situation.browser) is None:
        missing(f"{situation.browser} is not installed (apt install chromium firefox-esr)")
    with network(NETWORKS[situation.network]):
        async with browsers.launch(situation.browser, loopback=situation.on_loopback, flags=flags) as browser:
            yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=situations())
async def browser(request: pytest.FixtureRequest) -> AsyncIterator[browsers.Browser]:
    """A browser, as `running` has it.

    A module that wants one network only says
    `@pytest.mark.parametrize("browser", situations("as-a-user"), indirect=True, scope="module")`.
    """
    async with running(request.param) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module", params=["browser", "python"], ids="{}-offers".format)
async def link(request: pytest.FixtureRequest, browser: browsers.Browser) -> AsyncIterator[Link]:
    """A tab and a Python peer, not yet connected, once with each of them as the offerer."""
    async with serve_page() as url, linked(browser, url, request.param) as link:
        yield link
        assert link.page.logs == []
