"""Test sending and receiving with a code as people do it: pages in Chromium and Firefox, and the terminal commands."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.interop import browsers, namespaces
from tests.interop.browsers import Browser, Page
from tests.interop.transfer_tab import (
    HELPERS,
    LET_GO,
    PATIENCE,
    Tab,
    code_of,
    content,
    digest,
    page_server,
    slow_after,
    terminal,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIZE = 3 * 1024 * 1024 + 17


@dataclass
class Site:
    """A server with the page, and the browsers that can open it."""

    url: str
    browsers: dict[str, Browser]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both() -> AsyncIterator[dict[str, Browser]]:
    """Run both browsers in one network."""
    for name in browsers.NAMES:
        browsers.require(name)
    with namespaces.network(namespaces.ONLY_LOOPBACK):
        async with (
            browsers.launch("chromium", loopback=True) as chromium,
            browsers.launch("firefox", loopback=True) as firefox,
        ):
            yield {"chromium": chromium, "firefox": firefox}


@pytest_asyncio.fixture(loop_scope="module")
async def site(both: dict[str, Browser]) -> AsyncIterator[Site]:
    async with page_server() as url:
        yield Site(url, both)


@contextlib.asynccontextmanager
async def tab_in(site: Site, name: str) -> AsyncIterator[Tab]:
    async with site.browsers[name].page() as page:
        yield Tab(page)
        assert page.logs == []  # no error, and no violation of the Content-Security-Policy


@pytest.mark.parametrize(("sender", "receiver"), [("chromium", "firefox"), ("firefox", "chromium")])
async def test_a_page_sends_to_a_page(site, sender, receiver):
    async with tab_in(site, sender) as one, tab_in(site, receiver) as other:
        await one.open(site.url)
        await one.choose(("film.bin", SIZE), ("empty.txt", 0))
        await other.open_link(site.url, await one.code())
        await other.reaches("reviewing")
        shown = await other.text("t-files")
        assert "film.bin" in shown
        assert "empty.txt" in shown
        assert await other.text("t-amount") == "2 files, 3.1 MB"
        await other.click("t-accept")
        await asyncio.gather(one.reaches("done"), other.reaches("done"))
        assert await other.received() == sorted([digest(SIZE), digest(0)])
        assert await other.saved_names() == ["film.bin", "empty.txt"]


@pytest.mark.parametrize("name", browsers.NAMES)
async def test_a_page_sends_to_the_terminal(site, name, tmp_path):
    async with tab_in(site, name) as tab:
        await tab.open(site.url)
        await tab.choose(("film.bin", SIZE), ("empty.txt", 0))
        code = await tab.code()
        arguments = ("receive", code, "--server", site.url, "--yes", "--output", str(tmp_path))
        async with terminal(*arguments) as process:
            _, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
            assert process.returncode == 0, errors.decode()
        await tab.reaches("done")
    assert (tmp_path / "film.bin").read_bytes() == content(SIZE)
    assert (tmp_path / "empty.txt").read_bytes() == b""


@pytest.mark.parametrize("name", browsers.NAMES)
async def test_a_page_sends_the_other_files_if_one_became_shorter(site, name, tmp_path):
    folder = tmp_path / "received"
    folder.mkdir()
    whole, short = tmp_path / "whole.bin", tmp_path / "short.bin"
    for path in (whole, short):
        path.write_bytes(content(SIZE))
    async with tab_in(site, name) as tab:
        await tab.open(site.url)
        await tab.page.choose_files("s-files", [short, whole])
        code = await tab.code()
        with short.open("r+b") as file:
            file.truncate(SIZE // 2)
        arguments = ("receive", code, "--server", site.url, "--yes", "--output", str(folder))
        async with terminal(*arguments) as process:
            _, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
            assert "short.bin" in errors.decode()
        await tab.reaches("done")
        assert await tab.text("t-hint") == "1 files could not be read by the sender, and are missing."
    assert [path.name for path in folder.iterdir()] == ["whole.bin"]
    assert (folder / "whole.bin").read_bytes() == content(SIZE)


@pytest.mark.parametrize("name", browsers.NAMES)
async def test_the_terminal_sends_a_folder_to_a_page(site, name, tmp_path):
    folder = tmp_path / "box"
    (folder / "inside").mkdir(parents=True)
    (folder / "void").mkdir()
    (folder / "inside" / "film.bin").write_bytes(content(SIZE))
    (folder / "empty.txt").touch()
    async with tab_in(site, name) as tab, terminal("send", str(folder), "--server", site.url, "--json") as process:
        await tab.open_link(site.url, await code_of(process))
        await tab.reaches("reviewing")
        await tab.click("t-accept")
        await tab.reaches("done")
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
        assert await tab.received() == sorted([digest(SIZE), digest(0)])
        assert "box/inside/film.bin" in await tab.text("t-files")


# A browser empties what was dropped when the event is over.
DROP = """(() => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File(["1"], "one.txt"));
  document.getElementById("s-drop").dispatchEvent(new DragEvent("drop", { dataTransfer, cancelable: true }));
  dataTransfer.items.clear();
})()"""


@pytest.mark.parametrize("name", browsers.NAMES)
async def test_a_page_sends_what_was_dropped_on_it(site, name):
    async with tab_in(site, name) as tab:
        await tab.open(site.url)
        await tab.page.evaluate(DROP)
        await tab.code()
        assert "one.txt" in await tab.text("t-files")


async def test_a_wrong_code_is_told_to_both_sides(site):
    async with tab_in(site, "chromium") as one, tab_in(site, "firefox") as other:
        await one.open(site.url)
        await one.choose(("film.bin", 100))
        slot, first, second = (await one.code()).split("-")
        wrong = "-".join((slot, first, "zoo" if second != "zoo" else "zone"))
        await other.open_link(site.url, wrong)
        await asyncio.gather(one.reaches("ended"), other.reaches("ended"))
        assert "wrong code" in await one.text("t-hint")
        assert "code is wrong" in await other.text("t-hint")
        assert "film.bin" not in await other.text("t-files")


@pytest.mark.parametrize(("sender", "receiver"), [("chromium", "firefox"), ("firefox", "chromium")])
async def test_a_reloaded_page_goes_on_where_it_was(site, sender, receiver):
    size = 24 * 1024 * 1024
    async with tab_in(site, sender) as one, tab_in(site, receiver) as other:
        await one.open(site.url)
        await one.choose(("film.bin", size))
        await one.page.evaluate(slow_after(size // 8))
        await other.open_link(site.url, await one.code())
        await other.reaches("reviewing")
        await other.click("t-accept")
        await other.until("document.getElementById('t-progress').value > 0.1")
        assert await other.page.evaluate("probe.phase()") == "moving"
        await other.page.reload()
        await other.page.evaluate(HELPERS)
        await one.page.evaluate(LET_GO)
        await asyncio.gather(one.reaches("done"), other.reaches("done"))
        assert await other.received() == [digest(size)]


async def test_a_page_sends_to_several_receivers_at_once(site, tmp_path):
    async with tab_in(site, "chromium") as one, tab_in(site, "firefox") as other:
        await one.open(site.url)
        await one.page.evaluate("(document.getElementById('s-to').value = 3, 1)")
        await one.choose(("film.bin", SIZE))
        code = await one.code()
        assert "Receiver 3: has not come yet" in await one.text("t-receivers")
        await other.open_link(site.url, code)
        await other.reaches("reviewing")
        for name in ("first", "second"):  # while the page still reviews
            (tmp_path / name).mkdir()
            arguments = ("receive", code, "--server", site.url, "--yes", "--output", str(tmp_path / name))
            async with terminal(*arguments) as process:
                _, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
                assert process.returncode == 0, errors.decode()
            assert (tmp_path / name / "film.bin").read_bytes() == content(SIZE)
        assert "Receiver 1: looks at it" in await one.text("t-receivers")
        await other.click("t-accept")
        await asyncio.gather(one.reaches("done"), other.reaches("done"))
        assert (await one.text("t-receivers")).count("has everything") == 3


RESTARTED = """(async () => {
  const { Connection } = await import("/js/transfer/connection.js");
  const byes = [];
  const pair = [];
  let answered = false;
  const to = (other) => (message) => {
    if (message.type === "bye") byes.push(message.reason);
    else if (message.type === "offer" && !answered) {
      answered = true;
      pair[other].answer(message.sdp);
    } else pair[other].handle(message);
  };
  pair.push(new Connection([], to(1), { restarts: true }), new Connection([], to(0)));
  const opened = pair.map((connection) => new Promise((resolve) => { connection.addEventListener("open", resolve); }));
  const arrived = [];
  pair[1].receive = (data) => arrived.push(data);
  await pair[0].call();
  await Promise.all(opened);
  const fragments = () => /a=ice-ufrag:\\S+/.exec(pair[0].remoteSdp)[0];
  const until = async (test) => {
    const end = performance.now() + 30000;
    while (!test() && performance.now() < end) await new Promise((resolve) => { setTimeout(resolve, 20); });
  };
  const before = fragments();
  await pair[0].restart();
  await until(() => fragments() !== before);
  pair[0].send("after the restart");
  await until(() => arrived.length > 0);
  const another = (fingerprint) => fingerprint.slice(0, -2) + (fingerprint.endsWith("00") ? "11" : "00");
  const certified = pair[0].localSdp.replace(/a=fingerprint:sha-256 [0-9A-F:]+/, another);
  const forged = certified.replace(/(a=ice-ufrag:).*/, "$1other");
  await pair[1].handle({ type: "offer", sdp: forged });
  pair[0].send("the same peer");
  await until(() => arrived.length > 1);
  const result = { changed: fragments() !== before, arrived, byes, closed: pair.map(({ closed }) => closed) };
  for (const connection of pair) connection.close();
  return result;
})()"""


async def test_a_page_restarts_ice_and_refuses_another_certificate():
    for name in browsers.NAMES:
        browsers.require(name)
        with namespaces.network(namespaces.AS_A_USER):
            async with browsers.launch(name) as browser, page_server() as url, browser.page() as page:
                await page.goto(url)
                result = await page.evaluate(RESTARTED, timeout=PATIENCE)
        assert result == {
            "changed": True,
            "arrived": ["after the restart", "the same peer"],
            "byes": ["the restart is refused"],
            "closed": [False, False],
        }


# One side of a connection, whose messages the test carries to the other side.
SIDE = """(async () => {
  const { Connection } = await import("/js/transfer/connection.js");
  window.sent = [];
  window.arrived = [];
  window.side = new Connection([], (message) => sent.push(message));
  side.receive = (data) => arrived.push(data);
  side.addEventListener("open", () => { window.opened = true; });
  let answered = CALLS;
  window.take = (messages) => {
    for (const message of messages) {
      if (message.type === "offer" && !answered) side.answer(message.sdp);
      else side.handle(message);
      answered = true;
    }
    return sent.splice(0);
  };
  if (answered) side.call();
})()"""
CREDENTIALS = "/a=ice-ufrag:\\S+/.exec(side.remoteSdp)[0]"


class Wire:
    """Carries the messages between two sides."""

    def __init__(self, calls: Page, called: Page) -> None:
        self._ends = calls, called
        self._messages: list[object] = []  # on the way to the called side

    async def until(self, page: Page, test: str) -> None:
        """Carry messages until a page says that a test is true."""
        calls, called = self._ends
        async with asyncio.timeout(PATIENCE):
            while not await page.evaluate(test):
                answers = await called.call("take", self._messages)
                self._messages = await calls.call("take", answers)


@pytest.mark.parametrize(("calls", "called"), [("chromium", "firefox"), ("firefox", "chromium")])
async def test_the_called_side_restarts_ice_with_another_browser(site, calls, called):
    async with tab_in(site, calls) as one, tab_in(site, called) as other:
        wire = Wire(one.page, other.page)
        for page in (one.page, other.page):
            await page.goto(site.url)
            await page.evaluate(SIDE.replace("CALLS", "true" if page is one.page else "false"))
        for page in (one.page, other.page):
            await wire.until(page, "window.opened === true")
        before = await other.page.evaluate(CREDENTIALS)
        await other.page.evaluate("side.restart()")
        await wire.until(other.page, f"side.closed || {CREDENTIALS} !== {before!r}")
        await other.page.evaluate("side.send('after the restart')")
        await wire.until(one.page, "side.closed || arrived.length > 0")
        assert await one.page.evaluate("[arrived, side.closed]") == [["after the restart"], False]
        assert not await other.page.evaluate("side.closed")
