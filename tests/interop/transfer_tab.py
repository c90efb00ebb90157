"""Drives the page's transfers in a tab, and the terminal commands beside it; knows no test."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sys
from collections.abc import AsyncIterator

from aiohttp import web

from datachan.signaling import SignalingServer
from datachan.signaling.assets import page_folder
from tests.interop.browsers import Page

PATIENCE = 60.0
SLOW_READ = 500  # milliseconds for each piece of a MiB

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


def slow_after(size: int) -> str:
    """Return a script that makes a page read what it sends slowly after this many bytes, until `letGo()`.

    A transfer that a test interrupts lasts long enough then, however late the test comes to do so.
    """
    return f"""(() => {{
      const {{ arrayBuffer }} = Blob.prototype;
      let left = {size};
      const gate = new Promise((resolve) => {{ window.letGo = resolve; }});
      Blob.prototype.arrayBuffer = async function () {{
        left -= this.size;
        if (left < 0) await Promise.race([gate, new Promise((resolve) => {{ setTimeout(resolve, {SLOW_READ}); }})]);
        return arrayBuffer.call(this);
      }};
      return true;
    }})()"""


LET_GO = "(letGo(), 1)"


def content(size: int) -> bytes:
    """Return what `probe.bytes` returns."""
    return bytes((at * 31 + (at >> 8)) & 255 for at in range(size))


def digest(size: int) -> str:
    return hashlib.sha256(content(size)).hexdigest()


class Tab:
    """A tab with the page."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def open(self, url: str) -> None:
        await self.page.goto(url)
        await self.page.evaluate(HELPERS)
        await self.until("document.documentElement.dataset.ready === 'true'")

    async def until(self, condition: str, seconds: float = PATIENCE) -> None:
        waiting = f"probe.until(() => {condition}, {json.dumps(condition)}, {seconds})"
        await self.page.evaluate(waiting, timeout=seconds + 5)

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
async def page_server() -> AsyncIterator[str]:
    """Serve the page and its signaling; the value is the page's address."""
    runner = web.AppRunner(SignalingServer(page=page_folder()).create_app(), shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


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


async def code_of(process: asyncio.subprocess.Process) -> str:
    """Return the code that `datachan send --json` prints."""
    assert process.stdout is not None
    while True:
        event = json.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE))
        if "code" in event:
            return str(event["code"])
