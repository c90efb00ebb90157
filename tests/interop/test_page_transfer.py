"""Test sending and receiving with a code as people do it: pages in Chromium and Firefox, and the terminal commands."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from datachan.signaling import SignalingServer
from datachan.signaling.assets import page_folder
from tests.interop import browsers, namespaces
from tests.interop.browsers import Browser, Page
from tests.missing import missing

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE = 60.0
SIZE = 3 * 1024 * 1024 + 17

HELPERS = """(() => {
  window.probe = {
    phase: () => document.getElementById("transfer").dataset.phase,
    until: async (test, what, seconds) => {
      const end = performance.now() + seconds * 1000;
      while (!test()) {
        if (performance.now() > end) throw new Error(`never: ${what}; the page says: ${document.body.innerText}`);
        await new Promise((resolve) => { setTimeout(resolve, 20); });
      }
      return true;
    },
    bytes: (size) => Uint8Array.from({ length: size }, (_, at) => (at * 31 + (at >> 8)) & 255),
    choose: (files) => {
      const transfer = new DataTransfer();
      for (const [name, size] of files) transfer.items.add(new File([probe.bytes(size)], name));
      const input = document.getElementById("s-files");
      input.files = transfer.files;
      input.dispatchEvent(new Event("change"));
      return true;
    },
    received: async () => {
      const found = [];
      const all = await (await navigator.storage.getDirectory()).getDirectoryHandle("transfers");
      for await (const offer of all.values()) {
        for await (const handle of offer.values()) {
          if (!handle.name.endsWith(".part")) continue;
          const bytes = await (await handle.getFile()).arrayBuffer();
          const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
          found.push(Array.from(digest, (value) => value.toString(16).padStart(2, "0")).join(""));
        }
      }
      return found.sort();
    },
  };
  return true;
})()"""


def content(size: int) -> bytes:
    """Return what `probe.bytes` returns."""
    return bytes((at * 31 + (at >> 8)) & 255 for at in range(size))


@dataclass
class Site:
    """A server with the page, and the browsers that can open it."""

    url: str
    browsers: dict[str, Browser]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both() -> AsyncIterator[dict[str, Browser]]:
    """Run both browsers in one network."""
    for name in browsers.NAMES:
        if browsers.find(name) is None:
            missing(f"{name} is not installed (apt install chromium firefox-esr)")
    with namespaces.network(namespaces.ONLY_LOOPBACK):
        async with (
            browsers.launch("chromium", loopback=True) as chromium,
            browsers.launch("firefox", loopback=True) as firefox,
        ):
            yield {"chromium": chromium, "firefox": firefox}


@pytest_asyncio.fixture(loop_scope="module")
async def site(both: dict[str, Browser]) -> AsyncIterator[Site]:
    runner = web.AppRunner(SignalingServer(page=page_folder()).create_app(), shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield Site(f"http://127.0.0.1:{runner.addresses[0][1]}/", both)
    finally:
        await runner.cleanup()


class Tab:
    """A tab with the page."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def open(self, url: str) -> None:
        await self.page.goto(url)
        await self.page.evaluate(HELPERS)
        await self.until("document.documentElement.dataset.ready === 'true'")

    async def until(self, condition: str) -> None:
        waiting = f"probe.until(() => {condition}, {json.dumps(condition)}, {PATIENCE})"
        await self.page.evaluate(waiting, timeout=PATIENCE + 5)

    async def reaches(self, *phases: str) -> None:
        await self.until(f"{json.dumps(phases)}.includes(probe.phase())")

    async def click(self, name: str) -> None:
        await self.page.evaluate(f"(document.getElementById('{name}').click(), 1)")

    async def text(self, name: str) -> str:
        return str(await self.page.evaluate(f"document.getElementById('{name}').textContent"))

    async def code(self) -> str:
        await self.until("document.getElementById('t-code').textContent !== ''")
        return await self.text("t-code")

    async def received(self) -> list[str]:
        """Return the SHA-256 of each file in the browser's private storage."""
        result: list[str] = await self.page.evaluate("probe.received()")
        return result

    async def choose(self, *files: tuple[str, int]) -> None:
        await self.page.call("probe.choose", [list(file) for file in files])

    async def saved_names(self) -> list[str]:
        """Return the names under which the page offers to save what it received."""
        names: list[str] = await self.page.evaluate(
            "Array.from(document.querySelectorAll('#t-saved a'), (link) => link.download)"
        )
        return names

    async def open_link(self, url: str, code: str) -> None:
        await self.open(f"{url}#/receive/{code}")


@contextlib.asynccontextmanager
async def tab_in(site: Site, name: str) -> AsyncIterator[Tab]:
    async with site.browsers[name].page() as page:
        yield Tab(page)
        assert page.logs == []  # no error, and no violation of the Content-Security-Policy


def digest(size: int) -> str:
    return hashlib.sha256(content(size)).hexdigest()


@contextlib.asynccontextmanager
async def terminal(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `datachan` with these arguments."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "datachan",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


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
async def test_the_terminal_sends_a_folder_to_a_page(site, name, tmp_path):
    folder = tmp_path / "box"
    (folder / "inside").mkdir(parents=True)
    (folder / "void").mkdir()
    (folder / "inside" / "film.bin").write_bytes(content(SIZE))
    (folder / "empty.txt").touch()
    async with tab_in(site, name) as tab, terminal("send", str(folder), "--server", site.url, "--json") as process:
        assert process.stdout is not None
        code = ""
        while not code:
            code = json.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE)).get("code", "")
        await tab.open_link(site.url, code)
        await tab.reaches("reviewing")
        await tab.click("t-accept")
        await tab.reaches("done")
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
        assert await tab.received() == sorted([digest(SIZE), digest(0)])
        assert "box/inside/film.bin" in await tab.text("t-files")


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
        await other.open_link(site.url, await one.code())
        await other.reaches("reviewing")
        await other.click("t-accept")
        await other.until("document.getElementById('t-progress').value > 0.1")
        assert await other.page.evaluate("probe.phase()") == "moving"
        await other.page.reload()
        await other.page.evaluate(HELPERS)
        await asyncio.gather(one.reaches("done"), other.reaches("done"))
        assert await other.received() == [digest(size)]


INTO_A_FOLDER = """(async () => {
  const { FolderStore } = await import("/js/transfer/storage.js");
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle("chosen", { create: true });
  const offer = { id: "offer", piece: 4 };
  const entries = [{ kind: "file", size: 10 }, { kind: "file", size: 4 }];
  const store = new FolderStore(folder);
  const encode = (text) => new TextEncoder().encode(text);
  store.use(offer, entries, [["film.bin"], ["other.bin"]]);
  await store.begin(0, 0);
  await store.write(0, 0, encode("0123"), new Uint8Array(32));
  await store.write(0, 4, encode("4567"), new Uint8Array(32));
  await store.begin(1, 0);
  await store.write(1, 0, encode("abcd"), new Uint8Array(32));
  await store.pause();
  store.use(offer, entries, [["film.bin"], ["other.bin"]]);
  const offsets = Array.from(await store.beginnings(), ([file, { offset }]) => [file, offset]);
  await store.begin(0, 8);
  await store.write(0, 8, encode("89"), new Uint8Array(32));
  await store.finish(0);
  await store.close();
  const left = [];
  for await (const [name, handle] of folder.entries()) left.push([name, await (await handle.getFile()).text()]);
  await root.removeEntry("chosen", { recursive: true });
  return { offsets, left };
})()"""


@pytest.mark.parametrize("name", browsers.NAMES)
async def test_a_chosen_folder_keeps_its_files_across_a_break_and_drops_incomplete_ones_at_the_end(site, name):
    async with tab_in(site, name) as tab:
        await tab.open(site.url)
        result = await tab.page.evaluate(INTO_A_FOLDER)
    assert result == {"offsets": [[0, 8], [1, 4]], "left": [["film.bin", "0123456789"]]}
