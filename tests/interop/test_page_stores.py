"""Test where the page stores what it receives, in Chromium and Firefox: downloads, folders, private storage, memory."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.interop import browsers, namespaces
from tests.interop.browsers import Browser
from tests.interop.transfer_tab import HELPERS, PATIENCE, Tab, code_of, page_server, terminal

pytestmark = pytest.mark.asyncio(loop_scope="module")

GROWTH = 64 * 1024 * 1024
LARGE = 150 * 1024 * 1024
NO_PICKERS = "(delete window.showSaveFilePicker, delete window.showDirectoryPicker, 1)"


@dataclass
class Reader:
    """A browser that saves downloads without asking."""

    browser: Browser
    downloads: Path
    url: str

    @contextlib.asynccontextmanager
    async def tab(self) -> AsyncIterator[Tab]:
        async with self.browser.page() as page:
            yield Tab(page)
            assert page.logs == []  # no error, and no violation of the Content-Security-Policy

    async def downloaded(self, name: str, size: int) -> Path:
        """Return a download of this size once the browser has given it its name.

        Firefox makes an empty file of this name before the one with the ending .part.
        """
        path = self.downloads / name
        async with asyncio.timeout(PATIENCE):
            while not path.exists() or path.stat().st_size < size or list(self.downloads.glob(f"*{name}*.part")):
                await asyncio.sleep(0.05)
        return path


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=browsers.NAMES)
async def launched(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Browser, Path]]:
    name = request.param
    browsers.require(name)
    downloads = tmp_path_factory.mktemp("downloads")
    preferences = {"browser.download.folderList": 2, "browser.download.dir": str(downloads)}
    with namespaces.network(namespaces.ONLY_LOOPBACK):
        async with browsers.launch(name, loopback=True, preferences=preferences) as browser:
            if name == "chromium":
                behavior = {"behavior": "allow", "downloadPath": str(downloads)}
                await browser.command("Browser.setDownloadBehavior", behavior)
            yield browser, downloads


@pytest_asyncio.fixture(loop_scope="module")
async def reader(launched: tuple[Browser, Path]) -> AsyncIterator[Reader]:
    async with page_server() as url:
        yield Reader(*launched, url)


@pytest.fixture
def large_file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(LARGE)
        file.seek(LARGE // 2)
        file.write(b"not a hole" * 1000)
    yield path
    path.unlink()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.mark.parametrize("button", ["t-save", "t-accept"])
async def test_a_file_larger_than_the_memory_bound_is_stored_within_it(reader, button, large_file):
    arguments = ("send", str(large_file), "--server", reader.url, "--json")
    async with reader.tab() as tab, terminal(*arguments) as process:
        await tab.open_link(reader.url, await code_of(process))
        await tab.page.evaluate(NO_PICKERS)
        await tab.reaches("reviewing")
        before = reader.browser.memory()
        peak = 0
        await tab.click(button)
        while await tab.page.evaluate("probe.phase()") in ("reviewing", "moving"):
            peak = max(peak, reader.browser.memory())
            await asyncio.sleep(0.5)
        await tab.reaches("done")
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
        assert peak - before < GROWTH, f"memory grew by {(peak - before) / 1024**2:.0f} MiB"
        if button == "t-save":
            assert sha256(await reader.downloaded("large.bin", LARGE)) == sha256(large_file)
        else:
            assert await tab.received() == [sha256(large_file)]
            await tab.click("t-again")


async def test_each_of_a_few_files_becomes_a_download(reader, tmp_path):
    (tmp_path / "Ärger 1.txt").write_bytes(b"first")
    (tmp_path / "empty.txt").touch()
    names = [str(path) for path in sorted(tmp_path.iterdir())]
    async with reader.tab() as tab, terminal("send", *names, "--server", reader.url, "--json") as process:
        await tab.open_link(reader.url, await code_of(process))
        await tab.page.evaluate(NO_PICKERS)
        await tab.reaches("reviewing")
        await tab.click("t-save")
        await tab.reaches("done")
        assert "browser's downloads" in await tab.text("t-hint")
    assert (await reader.downloaded("Ärger 1.txt", 5)).read_bytes() == b"first"
    assert (await reader.downloaded("empty.txt", 0)).read_bytes() == b""


async def evaluated(reader: Reader, script: str) -> Any:
    """Return what a script returns in a tab with the page and these helpers."""
    helpers = """
      const piece = (text) => new TextEncoder().encode(text);
      const digest = new Uint8Array(32);
      const root = await navigator.storage.getDirectory();
      const offsetsOf = async (store) => Array.from(await store.beginnings(), ([file, { offset }]) => [file, offset]);
      const put = async (folder, name, text) => {
        const writable = await (await folder.getFileHandle(name, { create: true })).createWritable();
        await writable.write(text);
        await writable.close();
      };
      const contents = async (folder) => {
        const found = {};
        for await (const [name, handle] of folder.entries()) found[name] = await (await handle.getFile()).text();
        return found;
      };
    """
    async with reader.tab() as tab:
        await tab.open(reader.url)
        return await tab.page.evaluate(f"(async () => {{ {helpers} {script} }})()")


OFFER = """
  const offer = { id: "offer", piece: 4 };
  const entries = [{ kind: "file", size: 10 }, { kind: "file", size: 4 }, { kind: "folder", size: 0 }];
  const paths = [["film.bin"], ["other.bin"], ["void"]];
"""


async def test_a_download_goes_on_after_a_break(reader):
    offsets = await evaluated(
        reader,
        OFFER
        + """
        const { StreamStore } = await import("/js/transfer/stream-store.js");
        const store = await StreamStore.open();
        store.use(offer, entries, [["broken.bin"], ["other.bin"]]);
        await store.begin(0, 0);
        await store.write(0, 0, piece("0123"), digest);
        await store.write(0, 4, piece("4567"), digest);
        await store.pause();
        store.use(offer, entries, [["broken.bin"], ["other.bin"]]);
        const offsets = await offsetsOf(store);
        await store.begin(0, 8);
        await store.write(0, 8, piece("89"), digest);
        await store.finish(0);
        await store.close();
        return offsets;
        """,
    )
    assert offsets == [[0, 8]]
    assert (await reader.downloaded("broken.bin", 10)).read_bytes() == b"0123456789"


@pytest.mark.parametrize("renames", [True, False])
async def test_files_of_a_chosen_folder_have_partial_names_until_they_are_complete(reader, renames):
    result = await evaluated(
        reader,
        OFFER
        + ("" if renames else "delete FileSystemFileHandle.prototype.move;")
        + """
        const { FolderStore } = await import("/js/transfer/folder-store.js");
        const folder = await root.getDirectoryHandle("chosen", { create: true });
        await put(folder, "other.bin", "mine");
        const store = new FolderStore(folder);
        store.use(offer, entries, paths);
        await store.begin(0, 0);
        await store.write(0, 0, piece("0123"), digest);
        await store.write(0, 4, piece("4567"), digest);
        await store.begin(1, 0);
        await store.write(1, 0, piece("abcd"), digest);
        await store.pause();
        const names = Object.keys(await contents(folder)).filter((name) => !name.endsWith(".crswap")).sort();
        store.use(offer, entries, paths);
        const offsets = await offsetsOf(store);
        await store.begin(1, 4);
        await store.finish(1);
        await store.begin(0, 0); // the source has changed
        await store.write(0, 0, piece("wxyz"), digest);
        const complete = await contents(folder);
        await store.close();
        const left = await contents(folder);
        await root.removeEntry("chosen", { recursive: true });
        return { names, offsets, complete: complete["other (2).bin"] ?? complete["other (1).bin"], left };
        """,
    )
    assert result["names"] == ["film.bin.part", "other.bin", "other.bin.part"]
    assert result["offsets"] == [[0, 8], [1, 4]]
    assert result["complete"] == "abcd"
    assert result["left"] == {"other.bin": "mine", "other (2).bin": "abcd"}


async def test_a_chosen_file_is_written_when_it_is_complete(reader):
    result = await evaluated(
        reader,
        OFFER
        + """
        const { FileStore } = await import("/js/transfer/folder-store.js");
        const handle = await root.getFileHandle("chosen.bin", { create: true });
        const store = new FileStore(handle);
        store.use(offer, entries.slice(0, 1), paths.slice(0, 1));
        await store.begin(0, 0);
        await store.write(0, 0, piece("0123"), digest);
        await store.write(0, 4, piece("4567"), digest);
        const early = await (await handle.getFile()).text();
        await store.write(0, 8, piece("89"), digest);
        await store.finish(0);
        await store.close();
        const late = await (await handle.getFile()).text();
        await root.removeEntry("chosen.bin");
        return [early, late];
        """,
    )
    assert result == ["", "0123456789"]


async def test_memory_keeps_small_files_and_starts_again_after_a_break(reader):
    result = await evaluated(
        reader,
        OFFER
        + """
        const { MemoryStore } = await import("/js/transfer/memory-store.js");
        const store = new MemoryStore();
        store.use(offer, entries, paths);
        await store.begin(1, 0);
        await store.pause();
        store.use(offer, entries, paths);
        const offsets = await offsetsOf(store);
        await store.begin(1, 0);
        await store.write(1, 0, piece("abcd"), digest);
        return [offsets, await (await store.finish(1)).text()];
        """,
    )
    assert result == [[], "abcd"]


STORE = """
  const { PrivateStore } = await import("/js/transfer/private-store.js");
  const store = new PrivateStore();
  store.use({ id: "held", piece: 4 }, [{ kind: "file", size: 8 }]);
  await store.beginnings();
"""


async def test_the_private_storage_of_another_tab_is_not_tidied_away(reader):
    names = """
      const names = async () => {
        const found = [];
        for await (const name of (await root.getDirectoryHandle("transfers")).keys()) found.push(name);
        return found.includes("held");
      };
    """
    async with reader.tab() as tab:
        await tab.open(reader.url)
        await tab.page.evaluate(
            f"""(async () => {{ {STORE}
              await store.begin(0, 0);
              await store.write(0, 0, new Uint8Array(4), new Uint8Array(32));
              window.held = store;
            }})()"""
        )
        tidy = (
            names
            + """
          const { PrivateStore } = await import("/js/transfer/private-store.js");
          await PrivateStore.tidy("mine", 0);
          return names();
        """
        )
        assert await evaluated(reader, tidy) is True
        second = STORE.replace("await store.beginnings();", "return store.beginnings().catch(({ name }) => name);")
        assert await evaluated(reader, second) == "NoModificationAllowedError"
        await tab.page.evaluate("(async () => { await held.close(); held.release(); })()")
        assert await evaluated(reader, tidy.replace(", 0", "")) is True  # it was written a moment ago
        assert await evaluated(reader, tidy) is False


async def test_what_the_private_storage_holds_is_found_again(reader):
    result = await evaluated(
        reader,
        STORE
        + """
        await store.begin(0, 0);
        await store.write(0, 0, piece("0123"), digest);
        await store.close();
        store.release();
        const again = new PrivateStore();
        again.use({ id: "held", piece: 4 }, [{ kind: "file", size: 8 }]);
        const offsets = await offsetsOf(again);
        await again.begin(0, 4);
        await again.write(0, 4, piece("4567"), digest);
        const text = await (await again.finish(0)).text();
        again.release();
        await PrivateStore.tidy("", 0);
        return [offsets, text];
        """,
    )
    assert result == [[[0, 4]], "01234567"]


# A folder of the private storage in place of one that a person chooses: no test can click in the dialog of a browser.
CHOOSES = """(delete window.showSaveFilePicker, window.showDirectoryPicker = async () =>
  (await navigator.storage.getDirectory()).getDirectoryHandle("chosen", { create: true }), 1)"""
CHOSEN = """(async () => {
  const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("chosen");
  const names = [];
  for await (const name of folder.keys()) names.push(name);
  const bytes = await (await (await folder.getFileHandle("film.bin")).getFile()).arrayBuffer();
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  await (await navigator.storage.getDirectory()).removeEntry("chosen", { recursive: true });
  return [names.sort(), Array.from(digest, (value) => value.toString(16).padStart(2, "0")).join("")];
})()"""


async def progress_of(process: asyncio.subprocess.Process, event: str) -> int:
    """Return the bytes of the first progress after the next event of this name that the sender prints."""
    assert process.stdout is not None
    seen = False
    while True:
        line = json.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE))
        seen = seen or line["event"] == event
        if seen and line["event"] == "progress" and line["bytes"] > 0:
            return int(line["bytes"])


async def test_a_chosen_folder_goes_on_after_a_reload(reader, tmp_path):
    (tmp_path / "film.bin").write_bytes(os.urandom(48 * 1024 * 1024))
    (tmp_path / "empty.txt").touch()
    names = [str(tmp_path / name) for name in ("empty.txt", "film.bin")]
    async with (
        reader.tab() as tab,
        terminal("send", *names, "--server", reader.url, "--json", "--limit", "4M") as process,
    ):
        await tab.open_link(reader.url, await code_of(process))
        await tab.page.evaluate(CHOOSES)
        await tab.reaches("reviewing")
        assert "After a reload of the page it goes on" in await tab.text("t-ways")
        await tab.click("t-save")
        await tab.until("document.getElementById('t-progress').value > 0.75")
        await tab.page.reload()
        await tab.page.evaluate(HELPERS)
        assert await progress_of(process, "lost") > 32 * 1024 * 1024
        await tab.reaches("done")
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
        assert await tab.page.evaluate(CHOSEN) == [["empty.txt", "film.bin"], sha256(tmp_path / "film.bin")]


async def test_what_is_on_the_disk_is_compared_before_it_counts(reader):
    result = await evaluated(
        reader,
        OFFER
        + """
        const { FolderStore } = await import("/js/transfer/folder-store.js");
        const { KeptHandles, mayWrite } = await import("/js/transfer/kept-handles.js");
        const { keptOnDisk, reopened } = await import("/js/transfer/storage.js");
        const { sha256 } = await import("/js/transfer/digests.js");
        const folder = await root.getDirectoryHandle("kept", { create: true });
        const digests = await Promise.all(["0123", "4567"].map((text) => sha256(piece(text))));
        await put(folder, "film.bin.part", "0123changed");
        const kept = new KeptHandles("key");
        await kept.keepRoot("folder", folder);
        await kept.keepFile(0, { part: "film.bin.part", size: 8, pieces: digests, stored: false });
        await kept.keepFile(1, { part: "gone.part", size: 4, pieces: digests.slice(1), stored: true });
        const store = await reopened(await keptOnDisk("key"), { offer, entries, paths }, false);
        const offsets = await offsetsOf(store);
        store.use(offer, entries, paths);
        await store.begin(0, 4);
        await store.write(0, 4, piece("4567"), digests[1]);
        await store.write(0, 8, piece("89"), digest);
        await store.finish(0);
        const found = await contents(folder);
        await store.close();
        await root.removeEntry("kept", { recursive: true });
        const asked = { queryPermission: async () => "prompt", requestPermission: async () => "granted" };
        const permissions = [await mayWrite(asked, false), await mayWrite(asked, true)];
        return { offsets, found, forgotten: await keptOnDisk("key"), permissions };
        """,
    )
    assert result == {
        "offsets": [[0, 4]],
        "found": {"film.bin": "0123456789"},
        "forgotten": None,
        "permissions": [False, True],
    }
