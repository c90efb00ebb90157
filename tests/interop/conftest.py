"""Provide fixtures for tests with browsers: a browser in a network namespace of its own, and tabs in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.interop import browsers, namespaces
from tests.interop.link import Link, linked, serve_page

NETWORKS = {"as-a-user": namespaces.AS_A_USER, "bare-loopback": namespaces.ONLY_LOOPBACK}


@dataclass(frozen=True)
class Situation:
    """A browser, and the network that it runs in."""

    browser: str
    network: str

    @property
    def on_loopback(self) -> bool:
        return self.network == "bare-loopback"


def situations(*networks: str) -> list[object]:
    """Return parameters for the `browser` fixture. tests/workers.py keeps a browser's tests together by their ids."""
    return [
        pytest.param(Situation(name, network), id=f"{name}-{network}")
        for name in browsers.NAMES
        for network in networks or NETWORKS
    ]


@asynccontextmanager
async def running(situation: Situation, flags: Sequence[str] = ()) -> AsyncIterator[browsers.Browser]:
    """Run a browser in a network namespace, which the process of the test enters, too."""
    browsers.require(situation.browser)
    with namespaces.network(NETWORKS[situation.network]):
        async with browsers.launch(situation.browser, loopback=situation.on_loopback, flags=flags) as browser:
            yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=situations())
async def browser(request: pytest.FixtureRequest) -> AsyncIterator[browsers.Browser]:
    """Run a browser for the tests of a module, in each network.

    A module that needs one network only uses
    `@pytest.mark.parametrize("browser", situations("as-a-user"), indirect=True, scope="module")`.
    """
    async with running(request.param) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module", params=["browser", "python"], ids="{}-offers".format)
async def link(request: pytest.FixtureRequest, browser: browsers.Browser) -> AsyncIterator[Link]:
    """Open a tab and a Python peer, not connected yet, once with each of them as the offerer."""
    async with serve_page() as url, linked(browser, url, request.param) as link:
        yield link
        assert link.page.logs == []
