"""The robot example and its page, in real browsers: telemetry, commands, two viewers, reconnection."""

from __future__ import annotations

import importlib.util

import pytest

from tests.interop.browsers import Browser
from tests.interop.conftest import browser, situations

from .processes import EXAMPLES, run

__all__ = ["browser"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHOWN = """(async (state, more) => {
    const count = () => Number(document.getElementById("count").value)
    const start = count()
    while (document.getElementById("state").value !== state || count() < start + more)
        await new Promise(done => setTimeout(done, 20))
    return count()
})"""
MOVE = """(async value => {
    const slider = document.getElementById("target")
    slider.value = value
    slider.dispatchEvent(new Event("input"))
})"""
REACHED = """(async value => {
    while (Math.abs(Number(document.getElementById("position").value) - value) > 0.02)
        await new Promise(done => setTimeout(done, 50))
    return true
})"""
# Whether the line of the positions is drawn at this height; a tab in the background draws nothing.
PLOTTED = """(async value => {
    const plot = document.getElementById("plot")
    const y = Math.round((1.5 - value) * plot.height / 3)
    const isBlue = (pixels, i) => pixels[i + 2] > 150 && pixels[i] < 60 && pixels[i + 3] > 80
    for (;;) {
        const pixels = plot.getContext("2d").getImageData(0, y - 3, plot.width, 7).data
        for (let i = 0; i < pixels.length; i += 4) if (isBlue(pixels, i)) return true
        await new Promise(done => setTimeout(done, 50))
    }
})"""


async def test_the_script_of_the_page_is_short() -> None:
    assert len((EXAMPLES / "robot" / "robot.js").read_text().splitlines()) < 100


@pytest.mark.parametrize("browser", situations("as-a-user"), indirect=True, scope="module")
async def test_two_viewers_see_the_robot_move_and_reconnect_after_its_restart(browser: Browser) -> None:
    robot = EXAMPLES / "robot.py"
    async with browser.page() as first, browser.page() as second:
        async with run(robot, "--port", "0") as process:
            url = (await process.prints(r"Open (http://\S+)"))[1]
            for page in (first, second):
                await page.goto(url)
                await page.call(SHOWN, "connected", 50)
            await first.call(MOVE, 0.75)
            for page in (first, second):
                assert await page.call(REACHED, 0.75)
            assert await second.call(PLOTTED, 0.75)  # the tab opened last is in the foreground
            assert await process.interrupted() == 130
        port = url.split(":")[2].split("/")[0]
        async with run(robot, "--port", port) as process:
            await process.prints("Open ")
            for page in (second, first):
                await page.call(SHOWN, "connected", 50)
            await second.call(MOVE, -0.5)
            assert await first.call(REACHED, -0.5)
            assert await process.interrupted() == 130


@pytest.mark.parametrize("command", ["nonsense", "{}", '{"target": "left"}', '{"target": NaN}', "[1]"])
async def test_ignores_malformed_commands(command: str) -> None:
    spec = importlib.util.spec_from_file_location("robot", EXAMPLES / "robot.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    robot = module.Robot(None)
    robot.move(command)
    assert -1.0 <= robot.target <= 1.0
