"""Use the page of examples/echo_server.py in browsers."""

from __future__ import annotations

import pytest

from tests.interop.browsers import Browser
from tests.interop.conftest import browser, situations

from .processes import EXAMPLES, run

__all__ = ["browser"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="module")

SAYS = """(async text => {
    while (!log.textContent.includes(text))
        await new Promise(done => new MutationObserver(done).observe(log, { childList: true }))
    return log.textContent
})"""
TYPE = """(text => {
    line.value = text
    line.dispatchEvent(new Event("change"))
})"""


@pytest.mark.parametrize("browser", situations("as-a-user"), indirect=True, scope="module")
async def test_the_page_shows_the_echo_of_a_typed_line(browser: Browser) -> None:
    async with run(EXAMPLES / "echo_server.py", "--port", "0") as echo:
        url = (await echo.prints(r"Open (http://\S+)"))[1]
        async with browser.page() as page:
            await page.goto(url)
            await page.call(SAYS, "open\n")
            await page.call(TYPE, "grüß dich")
            await page.call(SAYS, "grüß dich\n")
        assert await echo.interrupted() == 0
