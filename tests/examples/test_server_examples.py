"""The examples of a server's patterns, each opened in real browsers."""

from __future__ import annotations

import re

import pytest

from tests.interop.browsers import Browser, Firefox
from tests.interop.conftest import browser, situations

from .processes import EXAMPLES, run

__all__ = ["browser"]  # a fixture

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("browser", situations("as-a-user"), indirect=True, scope="module"),
]

SHOWN = """(async pattern => {
    const out = document.getElementById("out"), end = performance.now() + 50_000
    while (!new RegExp(pattern).test(out.value)) {
        if (performance.now() > end) throw new Error("shows only: " + out.value)
        await new Promise(done => setTimeout(done, 10))
    }
    return out.value
})"""


def blur(browser: Browser) -> float:
    """Return by how many milliseconds the browser's clock makes an offset wrong.

    Firefox rounds both `performance.timeOrigin` and `performance.now()` to a whole millisecond, up or down: a time is
    wrong by less than 2. So the round trip may be shown 2 too short, of which half counts. The text is rounded, too.
    """
    return 3.1 if isinstance(browser, Firefox) else 1.5


async def test_latest_values(browser: Browser) -> None:
    async with run(EXAMPLES / "server" / "latest_values.py", "--port", "0") as process, browser.page() as page:
        await page.goto((await process.prints(r"(http://\S+)"))[1])
        await page.call(SHOWN, "left at .*, right at ")
        assert page.logs == []
        assert await process.interrupted() == 0


async def test_requests(browser: Browser) -> None:
    async with run(EXAMPLES / "server" / "requests.py", "--port", "0") as process, browser.page() as page:
        await page.goto((await process.prints(r"(http://\S+)"))[1])
        assert await page.call(SHOWN, "sum") == "sum 6, RequestTimeout, a list of numbers is expected"
        assert "pixels wide" in process.printed or await process.prints("The window is [0-9]+ pixels wide")
        assert page.logs == []


async def test_clocks(browser: Browser) -> None:
    async with run(EXAMPLES / "server" / "clocks.py", "--port", "0") as process, browser.page() as page:
        await page.goto((await process.prints(r"(http://\S+)"))[1])
        shown = await page.call(SHOWN, "offset")
        offset, rtt = map(float, re.findall(r"-?[0-9.]+", shown))
        # Both clocks are this machine's; the error of an offset is at most half of the round trip.
        assert abs(offset) <= rtt / 2 + blur(browser)
        line = await process.prints(r"([-+][0-9.]+) ms off, round trip ([0-9.]+) ms")
        assert abs(float(line[1])) <= float(line[2]) / 2 + blur(browser)


async def test_watchdog(browser: Browser) -> None:
    async with run(EXAMPLES / "server" / "watchdog.py", "--port", "0") as process, browser.page() as page:
        await page.goto((await process.prints(r"(http://\S+)"))[1])
        await page.call(SHOWN, "the robot moves")
        await process.prints("the robot moves")
        await page.evaluate("stop()")
        await process.prints("Silence: the robot stops")


async def test_room(browser: Browser) -> None:
    async with (
        run(EXAMPLES / "server" / "room.py", "--port", "0") as process,
        browser.page() as first,
        browser.page() as second,
    ):
        url = (await process.prints(r"(http://\S+)"))[1]
        await first.goto(url)
        await first.call(SHOWN, "1 here")
        await second.goto(url)
        await second.call(SHOWN, "2 here")
        await second.evaluate("say('hello')")
        assert (await first.call(SHOWN, "hello")).splitlines() == ["connected", "1 here", "hello"]
