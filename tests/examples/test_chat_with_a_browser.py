"""examples/chat.py meets a browser on the page of `datachan serve`, in either order."""

from __future__ import annotations

import pytest

from tests.interop.browsers import Browser, Page
from tests.interop.conftest import browser, situations

from .processes import EXAMPLES, run, serve

__all__ = ["browser"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNTIL = """(async (id, text) => {
    while (!document.getElementById(id).textContent.includes(text))
        await new Promise(done => setTimeout(done, 20))
})"""
JOIN = """(async name => {
    document.getElementById("name").value = name
    while (!document.getElementById("start").hidden) {  // it cannot be joined before the page knows the server
        document.getElementById("join-button").click()
        await new Promise(done => setTimeout(done, 20))
    }
})"""
SAY = """(async text => {
    while (document.getElementById("send").disabled || document.getElementById("talk").hidden)
        await new Promise(done => setTimeout(done, 20))
    document.getElementById("text").value = text
    document.getElementById("send").click()
})"""


async def join(page: Page, server: str) -> None:
    await page.goto(f"{server}/#kitchen")
    await page.call(JOIN, "Ada")


@pytest.mark.parametrize("browser", situations("as-a-user"), indirect=True, scope="module")
@pytest.mark.parametrize("first", ["the page", "the program"])
async def test_lines_go_both_ways(browser: Browser, first: str) -> None:
    async with serve() as server, browser.page() as page:
        if first == "the page":
            await join(page, server)
        async with run(EXAMPLES / "chat.py", "kitchen", "--name", "Zoë", "--server", server) as chat:
            if first == "the program":
                await chat.prints("You are alone in kitchen")
                await join(page, server)
            await chat.prints("Connected with Ada")
            await page.call(SAY, "good morning")
            await chat.prints("Ada: good morning")
            chat.type("grüß dich")
            await page.call(UNTIL, "log", "grüß dich")
            chat.end_input()
            await chat.prints("The chat has ended")
            assert await chat.ends() == 0
