"""Test the page as people use it: click through it in Chromium and Firefox, against `datachan serve`."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from datachan.file_shelf import FileShelf
from datachan.peer import RTCDataChannel, RTCPeerConnection
from datachan.signaling import EchoPeer, SignalingClient, SignalingServer, code_of, connect_through
from datachan.signaling.assets import page_folder
from datachan.transfer import (
    ReceivedFiles,
    ReceivePolicy,
    TransferRefused,
    open_transfer_channel,
    receive_files,
    request_files,
    send_files,
)
from tests.interop.browsers import Browser, FirefoxPage, Page
from tests.interop.conftest import situations

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("browser", situations("as-a-user"), indirect=True, scope="module"),
]

PATIENCE = 60.0
LONG = 140.0  # seconds, for 50 MB on a busy machine
FILE_SIZE = 50 * 1024 * 1024

# Functions that the tests call. They are installed after loading, because the page itself has no hooks for tests.
HELPERS = """(() => {
  const find = (selector, text) => [...document.querySelectorAll(selector)]
    .find((e) => e.checkVisibility() && (text === undefined || e.textContent.trim() === text));
  const blobs = new Map();  // the page's policy does not let it fetch the addresses of blobs
  const create = URL.createObjectURL;
  URL.createObjectURL = (blob) => {
    const url = create.call(URL, blob);
    blobs.set(url, blob);
    return url;
  };
  window.probe = {
    blobs,
    has: (selector, text) => find(selector, text) !== undefined,
    text: (selector) => document.querySelector(selector)?.textContent ?? null,
    click: (selector, text) => { find(selector, text).click(); return true; },
    type: (id, value) => { document.getElementById(id).value = value; return true; },
    until: async (test, what, seconds) => {
      const end = performance.now() + seconds * 1000;
      while (!test()) {
        if (performance.now() > end) throw new Error(`never: ${what}; the page says: ${document.body.innerText}`);
        await new Promise((resolve) => { setTimeout(resolve, 20); });
      }
      return true;
    },
    choose: (bytes, name) => probe.chooseAll([[name, bytes]]),
    chooseAll: (files) => {
      const transfer = new DataTransfer();
      for (const [name, bytes] of files) transfer.items.add(new File([bytes], name));
      const input = document.getElementById("file-input");
      input.files = transfer.files;
      input.dispatchEvent(new Event("change"));
      return true;
    },
    drop: (bytes, name) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([bytes], name));
      document.getElementById("drop").dispatchEvent(
        new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
      return true;
    },
  };
  return true;
})()"""


@dataclass
class Site:
    """A running server with the page, and the names and SHA-256 of the files that its echo peer has received."""

    url: str
    received: list[tuple[str, str]]


class Tab:
    """A tab with the page."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def open(self, url: str) -> None:
        await self.load(url)
        await self.ready()

    async def load(self, url: str) -> None:
        """Load the page, which may not be ready yet."""
        await self.page.goto(url)
        await self.page.evaluate(HELPERS)

    async def reload(self) -> None:
        await self.page.reload()
        await self.page.evaluate(HELPERS)
        await self.ready()

    async def ready(self) -> None:
        await self.until("document.documentElement.dataset.ready === 'true'")

    async def until(self, condition: str, patience: float = PATIENCE) -> None:
        waiting = f"probe.until(() => {condition}, {json.dumps(condition)}, {patience})"
        await self.page.evaluate(waiting, timeout=patience + 5)

    async def until_shown(self, selector: str, text: str) -> None:
        await self.until(f"probe.has({json.dumps(selector)}, {json.dumps(text)})")

    async def click(self, selector: str, text: str) -> None:
        await self.page.call("probe.click", selector, text)

    async def join(self, url: str, name: str) -> None:
        """Join a room, and wait until the server has let the page in."""
        await self.open(url)
        await self.page.call("probe.type", "name", name)
        await self.page.evaluate("(document.getElementById('join-button').click(), 1)")
        await self.until("probe.text('#room-status') === ''")

    async def connected(self) -> None:
        await self.until("probe.text('#talk-state-text') === 'Connected' && !document.getElementById('send').disabled")

    async def say(self, text: str) -> None:
        await self.page.call("probe.type", "text", text)
        await self.page.evaluate("(document.getElementById('send').click(), 1)")

    async def hears(self, name: str, text: str) -> None:
        await self.until_shown(".bubble:not(.mine)", name + text)

    async def call_python(self) -> None:
        await self.click("button", "Call the Python peer")
        await self.connected()

    async def saved(self) -> tuple[str, str]:
        """Return the name and the SHA-256 of what the first link of the newest transfer saves."""
        return tuple(
            await self.page.evaluate(
                """(async () => {
                  const link = document.querySelector(".transfer a");
                  const bytes = await probe.blobs.get(link.href).arrayBuffer();
                  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
                  return [link.download, Array.from(digest, (value) => value.toString(16).padStart(2, "0")).join("")];
                })()"""
            )
        )

    async def newest_transfer(self, state: str, patience: float = PATIENCE) -> str:
        states = json.dumps([state, "failed", "refused", "cancelled"])
        await self.until(f"{states}.includes(document.querySelector('.transfer')?.dataset.state)", patience)
        return str(await self.page.evaluate("document.querySelector('.transfer').innerText"))


@pytest.fixture(scope="module")
def content() -> bytes:
    return os.urandom(FILE_SIZE)


@pytest_asyncio.fixture(loop_scope="module")
async def site(browser: Browser, tmp_path: Path, content: bytes) -> AsyncIterator[Site]:
    received: list[tuple[str, str]] = []

    def record(files: ReceivedFiles) -> None:
        received.extend((f.path.name, hashlib.sha256(f.path.read_bytes()).hexdigest()) for f in files.files)

    echo = EchoPeer(services={"transfer": FileShelf(tmp_path, when_received=record)})
    app = SignalingServer(echo=echo, page=page_folder()).create_app()

    async def serve_content(request: web.Request) -> web.Response:
        return web.Response(body=content)

    app.router.add_get("/content.bin", serve_content)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Site(f"http://127.0.0.1:{runner.addresses[0][1]}/", received)
    finally:
        await runner.cleanup()


@pytest_asyncio.fixture(loop_scope="module")
async def tab(browser: Browser, site: Site) -> AsyncIterator[Tab]:
    async with browser.page() as page:
        yield Tab(page)
        assert page.logs == []  # no error, and no violation of the Content-Security-Policy


@contextlib.asynccontextmanager
async def another(browser: Browser) -> AsyncIterator[Tab]:
    async with browser.page() as page:
        yield Tab(page)
        assert page.logs == []


@contextlib.asynccontextmanager
async def program_beside(
    site: Site, tab: Tab, room: str
) -> AsyncIterator[tuple[RTCPeerConnection, asyncio.Queue[RTCDataChannel]]]:
    """Let a Python program meet a tab in a room; give its connection, and the channels on which the page sends."""
    await tab.join(f"{site.url}#{room}", "Ada")
    async with SignalingClient(site.url, room, name="robot") as client, RTCPeerConnection() as pc:
        pc.createDataChannel("chat")
        arrived: asyncio.Queue[RTCDataChannel] = asyncio.Queue()
        pc.on("datachannel", lambda channel: channel.label == "transfer" and arrived.put_nowait(channel))
        await connect_through(client, pc)
        await tab.connected()
        yield pc, arrived


@pytest.mark.timeout(360)
async def test_50_megabytes_go_to_python_and_back_with_equal_hashes(site, tab, content):
    expected = hashlib.sha256(content).hexdigest()
    await tab.open(site.url)
    await tab.call_python()
    await tab.page.evaluate(
        "fetch('/content.bin').then((answer) => answer.arrayBuffer()).then((bytes) => probe.choose(bytes, 'film.bin'))"
    )
    await tab.until("document.querySelector('.transfer progress')?.value > 0")
    assert "Python peer has stored and verified it." in await tab.newest_transfer("done", LONG)
    assert site.received == [("film.bin", expected)]

    await tab.click(".transfer button", "Ask for it back")
    await tab.until("document.querySelectorAll('.transfer').length === 2")
    assert "Received and verified." in await tab.newest_transfer("done", LONG)
    # The page offers to save the same file: the name and every byte.
    assert await tab.saved() == ("film.bin", expected)


async def test_python_echoes_chat_lines(site, tab):
    await tab.open(site.url)
    await tab.call_python()
    for text in ("Hello", "<b>not bold</b>", "你好 👋"):
        await tab.say(text)
        await tab.hears("Python peer", text)
    assert await tab.page.evaluate("document.querySelector('.log b')") is None
    await tab.until("/ ms$/.test(probe.text('#rtt-now'))")
    await tab.until("document.getElementById('rtt-chart').getAttribute('aria-label').includes('between')")
    await tab.click("#hang-up", "Hang up")
    await tab.until_shown("#talk-state-text", "Ended")
    await tab.click("button", "Call again")
    await tab.connected()
    await tab.say("again")
    await tab.hears("Python peer", "again")


async def test_two_tabs_connect_chat_and_send_a_file(site, tab, browser):
    await tab.join(site.url, "Ada")
    await tab.until("document.getElementById('link-field').value.includes('#')")
    link = await tab.page.evaluate("document.getElementById('link-field').value")
    async with another(browser) as other:
        await other.join(link, "Grace")
        await asyncio.gather(tab.connected(), other.connected())
        await tab.say("Hello Grace")
        await other.hears("Ada", "Hello Grace")
        await other.say("Hello Ada")
        await tab.hears("Grace", "Hello Ada")

        await tab.page.evaluate("probe.drop(new Uint8Array(300000).fill(7), 'note\\u202e.txt')")
        assert "Ada wants to send you this file." in await other.newest_transfer("offered")
        await other.click(".transfer button", "Accept")
        expected = hashlib.sha256(b"\x07" * 300_000).hexdigest()
        for side in (tab, other):
            await side.newest_transfer("done")
        assert await other.saved() == ("note.txt", expected)

        await other.page.evaluate("probe.choose(new Uint8Array(10), 'unwanted.txt')")
        await tab.newest_transfer("offered")
        await tab.click(".transfer button", "Decline")
        assert "Declined: the other person does not want the files" in await other.newest_transfer("refused")
    await tab.until_shown(".people .how", "Ended · left the room")


async def test_a_reloaded_page_rejoins_its_room(site, tab, browser):
    await tab.join(site.url + "#garden", "Ada")
    async with another(browser) as other:
        await other.join(site.url + "#garden", "Grace")
        await asyncio.gather(tab.connected(), other.connected())
        await other.reload()
        await other.connected()
        await other.say("back again")
        await tab.until(
            "[...document.querySelectorAll('.people li')].some((item) => /Connected/.test(item.textContent))"
        )
        await tab.page.evaluate(
            "[...document.querySelectorAll('.people button')].find((b) => b.dataset.state === 'connected').click()"
        )
        await tab.hears("Grace", "back again")


async def test_two_tabs_that_call_each_other_at_once_are_connected_once(site, tab, browser):
    await tab.join(site.url + "#attic", "Ada")
    async with another(browser) as other:
        await other.join(site.url + "#attic", "Grace")
        await asyncio.gather(tab.connected(), other.connected())
        await tab.click("#hang-up", "Hang up")
        await asyncio.gather(*(side.until_shown("#talk-state-text", "Ended") for side in (tab, other)))
        for round_number in range(3):
            await asyncio.gather(*(side.click("#call-again", "Call again") for side in (tab, other)))
            await asyncio.gather(tab.connected(), other.connected())
            await tab.say(f"to Grace {round_number}")
            await other.hears("Ada", f"to Grace {round_number}")
            await other.say(f"to Ada {round_number}")
            await tab.hears("Grace", f"to Ada {round_number}")
            await other.click("#hang-up", "Hang up")
            await asyncio.gather(*(side.until_shown("#talk-state-text", "Ended") for side in (tab, other)))


@pytest.mark.parametrize("python_first", [True, False])
async def test_connects_to_a_python_program_in_the_room(site, tab, python_first):
    if not python_first:
        await tab.join(site.url + "#workshop", "Ada")
    async with SignalingClient(site.url, "workshop", name="robot") as client, RTCPeerConnection() as pc:
        incoming = asyncio.get_running_loop().create_future()
        pc.on("datachannel", lambda channel: channel.label == "chat" and incoming.set_result(channel))
        if not python_first:
            incoming.set_result(pc.createDataChannel("chat"))
        connecting = asyncio.create_task(connect_through(client, pc))
        if python_first:
            await tab.join(site.url + "#workshop", "Ada")
        assert (await connecting).name == "Ada"
        channel = await asyncio.wait_for(incoming, PATIENCE)
        await channel.opened()
        await tab.connected()
        # Both sides compute the code from their own descriptions.
        await tab.until(f"probe.text('#facts').includes('{code_of(pc)}')")
        channel.send("beep")
        await tab.hears("robot", "beep")
        await tab.say("Hello robot")
        assert await asyncio.wait_for(anext(channel), PATIENCE) == "Hello robot"


def offer_of(path: str, size: int, piece: int = 65536) -> list[str]:
    """Return the messages that offer one file."""
    offer = {"id": "t", "count": 1, "size": size, "hashes": ["sha256"], "piece": piece}
    entries = [{"path": path, "size": size}]
    messages = [{"type": "offer", "version": 1, **offer}, {"type": "entries", "entries": entries}, {"type": "offered"}]
    return [json.dumps(message) for message in messages]


# Counts how often the log and the list of transfers are changed: once a frame at most, not once a message.
COUNT_CHANGES = """(() => {
  window.changes = 0;
  const observer = new MutationObserver(() => { window.changes += 1; });
  for (const id of ["log", "transfers"]) observer.observe(document.getElementById(id), { childList: true });
  return true;
})()"""


async def test_a_flood_of_messages_and_channels_leaves_the_page_small_and_usable(site, tab):
    await tab.join(site.url + "#flooded", "Ada")
    async with SignalingClient(site.url, "flooded", name="flood") as client, RTCPeerConnection() as pc:
        chat = pc.createDataChannel("chat")
        await connect_through(client, pc)
        await chat.opened()
        await tab.connected()
        await tab.page.evaluate(COUNT_CHANGES)
        for number in range(20_000):
            chat.send(str(number))
            if number % 100 == 0:
                await chat.drain()
        await tab.hears("flood", "19999")
        assert await tab.page.evaluate("window.changes") < 5_000
        assert await tab.page.evaluate("document.getElementById('log').children.length") == 500
        for _ in range(20):
            channels = [open_transfer_channel(pc) for _ in range(30)]
            for channel in channels:
                await channel.opened()
            await tab.say("ready")  # the page has the channels when this has arrived
            assert await asyncio.wait_for(anext(chat), PATIENCE) == "ready"
            for channel in channels:
                channel.close()
            for channel in channels:
                await channel.closed()
        assert await tab.page.evaluate("document.getElementById('transfers').children.length") == 0
        for number in range(150):  # offers that are cancelled at once: only the latest stay in the list
            channel = open_transfer_channel(pc)
            await channel.opened()
            for message in offer_of(f"{number}.txt", 2):
                channel.send(message)
            channel.send(json.dumps({"type": "end", "code": "cancelled", "reason": "enough"}))
            await asyncio.wait_for(channel.closed(), PATIENCE)
        await tab.until("document.getElementById('transfers').children.length === 100")
        await tab.say("still here")
        assert await asyncio.wait_for(anext(chat), PATIENCE) == "still here"


async def test_a_file_in_tiny_messages_arrives_and_an_empty_one_ends_it(site, tab):
    await tab.join(site.url + "#tiny", "Ada")
    data = os.urandom(20_001)
    stream = data + hashlib.sha256(data).digest()
    async with SignalingClient(site.url, "tiny", name="tiny") as client, RTCPeerConnection() as pc:
        pc.createDataChannel("chat")
        channels = [open_transfer_channel(pc) for _ in range(2)]
        await connect_through(client, pc)
        await tab.connected()
        for number, channel in enumerate(channels):
            await channel.opened()
            for message in offer_of(f"tiny{number}.bin", len(data)):
                channel.send(message)
            await tab.until_shown("#transfers button", "Accept")
            await tab.click("#transfers button", "Accept")
            messages = aiter(channel)
            assert json.loads(await asyncio.wait_for(anext(messages), PATIENCE))["type"] == "accept"
            for start in range(0, len(stream), 2):
                channel.send(stream[start : start + 2])
                if start % 200 == 0:
                    await channel.drain()
            if number == 0:
                channel.send(json.dumps({"type": "sent"}))
                kinds = []
                while kinds[-1:] != ["complete"]:
                    kinds.append(json.loads(await asyncio.wait_for(anext(messages), PATIENCE))["type"])
                assert "stored" in kinds
                channel.close()
                assert await tab.saved() == ("tiny0.bin", hashlib.sha256(data).hexdigest())
            else:
                channel.send(b"")
                ends = [json.loads(message) async for message in messages]
                assert ends[-1]["code"] == "protocol"


async def test_shares_files_and_a_folder_with_a_python_program_both_ways(site, tab, tmp_path):
    (tmp_path / "photos/raw").mkdir(parents=True)
    (tmp_path / "photos/raw/a.bin").write_bytes(os.urandom(300_000))
    (tmp_path / "photos/b.txt").write_text("b")
    (tmp_path / "folder").mkdir()
    async with program_beside(site, tab, "studio") as (pc, arrived):
        sending = asyncio.create_task(send_files(open_transfer_channel(pc), tmp_path / "photos"))
        review = await tab.newest_transfer("offered")
        for text in ("photos (2 files)", "photos/b.txt", "photos/raw/a.bin", "robot wants to send you"):
            assert text in review
        await tab.click("#transfers button", "Accept")
        sent = await asyncio.wait_for(sending, PATIENCE)
        assert sorted(sent.paths) == ["photos/b.txt", "photos/raw/a.bin"]
        await tab.newest_transfer("done")
        await tab.until("document.querySelectorAll('.transfer a').length === 2")

        await tab.page.evaluate(
            "probe.chooseAll([['one.txt', new Uint8Array(1000).fill(1)], ['two.txt', new Uint8Array(0)]])"
        )
        received = await asyncio.wait_for(receive_files(await arrived.get(), tmp_path / "folder"), PATIENCE)
        assert [(file.path.name, file.size) for file in received.files] == [("one.txt", 1000), ("two.txt", 0)]
        assert "robot has stored and verified it." in await tab.newest_transfer("done")


async def test_the_page_answers_a_request_with_what_it_has_offered_and_nothing_else(site, tab, tmp_path):
    async with program_beside(site, tab, "library") as (pc, arrived):
        requested = request_files(open_transfer_channel(pc), "one.txt", tmp_path)
        with pytest.raises(TransferRefused, match="nothing of this name is offered here") as refused:
            await asyncio.wait_for(requested, PATIENCE)
        assert refused.value.code == "not-found"

        await tab.page.evaluate(
            "probe.chooseAll([['one.txt', new Uint8Array(1000).fill(1)], ['two.txt', new Uint8Array(7)]])"
        )
        with pytest.raises(TransferRefused):
            await receive_files(await arrived.get(), tmp_path, ReceivePolicy(lambda review: "not now"))
        assert "Declined: not now." in await tab.newest_transfer("refused")
        for name, stored in (("one.txt", ["one.txt"]), (None, ["one.txt", "two.txt"])):
            received = await asyncio.wait_for(request_files(open_transfer_channel(pc), name, tmp_path), PATIENCE)
            assert [file.path.name for file in received.files] == stored
            assert "robot has stored and verified it." in await tab.newest_transfer("done")

        # What the person removes from the list is not offered any more.
        while await tab.page.evaluate("probe.has('.transfer button', 'Remove')"):
            await tab.click(".transfer button", "Remove")
        with pytest.raises(TransferRefused, match="nothing of this name is offered here"):
            await asyncio.wait_for(request_files(open_transfer_channel(pc), "two.txt", tmp_path), PATIENCE)
        assert await tab.page.evaluate("document.querySelectorAll('.transfer').length") == 0


async def test_declined_files_can_be_asked_for_again(site, tab, browser):
    await tab.join(site.url + "#again", "Ada")
    async with another(browser) as other:
        await other.join(site.url + "#again", "Grace")
        await asyncio.gather(tab.connected(), other.connected())
        await tab.page.evaluate("probe.choose(new Uint8Array(300000).fill(7), 'note.txt')")
        await other.newest_transfer("offered")
        await other.click(".transfer button", "Decline")
        await other.newest_transfer("refused")
        await other.click(".transfer button", "Ask for it again")
        await other.newest_transfer("done")
        assert await other.saved() == ("note.txt", hashlib.sha256(b"\x07" * 300_000).hexdigest())
        await tab.newest_transfer("done")
        await tab.click(".transfer button", "Remove")
        await tab.click(".transfer button", "Remove")
        await other.click(".transfer button", "Ask for it again")
        assert "Ada does not offer this: nothing of this name is offered here." in await other.newest_transfer(
            "refused"
        )


async def test_the_page_computes_sha_256_correctly(site, tab):
    await tab.open(site.url)
    for size in (0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 1000):
        digest = await tab.page.evaluate(
            f"""import('/js/sha256.js').then(({{ Sha256 }}) => {{
              const bytes = Uint8Array.from({{ length: {size} }}, (_, i) => i * 7);
              const hash = new Sha256();
              for (let i = 0; i < bytes.length; i += 37) hash.update(bytes.subarray(i, i + 37));
              return hash.hex();
            }})"""
        )
        assert digest == hashlib.sha256(bytes(i * 7 % 256 for i in range(size))).hexdigest()


async def test_explains_errors_to_the_user(site, tab):
    await tab.open(site.url)
    await tab.page.evaluate("(window.fetch = () => Promise.reject(new TypeError('gone')), 1)")
    await tab.click("button", "Call the Python peer")
    await tab.until("probe.text('#talk-reason').startsWith('The server does not answer.')")
    assert await tab.page.evaluate("document.getElementById('send').disabled")


async def test_the_page_works_without_a_mouse_and_on_a_narrow_screen(site, tab):
    await tab.open(site.url)
    await tab.call_python()
    unnamed = """[...document.querySelectorAll('button, input, canvas, [role]')].filter((e) => e.checkVisibility()
      && !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length || e.id === 'room-status'))
      .map((e) => e.outerHTML)"""
    assert await tab.page.evaluate(unnamed) == []
    assert await tab.page.evaluate("document.activeElement.id") == "talk-title"
    await narrow(tab.page, 360)
    await tab.until("innerWidth === 360")
    assert await tab.page.evaluate("document.documentElement.scrollWidth") <= 360


async def narrow(page: Page, width: int) -> None:
    if isinstance(page, FirefoxPage):
        viewport = {"width": width, "height": 700}
        await page.browser.command("browsingContext.setViewport", {"context": page.key, "viewport": viewport})
    else:
        metrics = {"width": width, "height": 700, "deviceScaleFactor": 1, "mobile": True}
        await page.browser.command("Emulation.setDeviceMetricsOverride", metrics, sessionId=page.key)


async def test_both_themes_can_be_chosen_and_are_remembered(site, tab):
    await tab.open(site.url)
    first = await tab.page.evaluate("document.documentElement.dataset.theme")
    await tab.page.evaluate("(document.getElementById('theme').click(), 1)")
    second = await tab.page.evaluate("document.documentElement.dataset.theme")
    assert {first, second} == {"light", "dark"}
    await tab.reload()
    assert await tab.page.evaluate("document.documentElement.dataset.theme") == second


# Channels and a peer connection without a network under them.
BOUNDED = """(async () => {
  const { Transfers } = await import("/js/transfers.js");
  class Channel extends EventTarget {
    label = "transfer";
    protocol = "datachan-transfer-1";
    ordered = true;
    readyState = "open";
    send() {}
    close() {
      this.readyState = "closed";
      this.dispatchEvent(new Event("close"));
    }
  }
  const pc = { connectionState: "connected", remoteDescription: { sdp: "a=fingerprint:sha-256 00" } };
  const transfers = new Transfers(false);
  const connect = () => {
    transfers.interrupt();
    transfers.use(pc);
    transfers.goOn();
  };
  const take = (texts) => {
    const channel = new Channel();
    transfers.take(channel);
    for (const data of texts) channel.dispatchEvent(new MessageEvent("message", { data }));
    return channel;
  };
  const isOpen = ({ readyState }) => readyState === "open";
  const open = (texts) => Array.from({ length: 70 }, () => take(texts)).filter(isOpen);
  const offer = OFFER;
  connect();
  const silent = open([]).length;
  connect();
  take(offer);
  transfers.list[0].reject();
  connect();
  const again = open(offer); // what was declined before the break
  for (const channel of again.slice(0, 20)) channel.close();
  return [silent, again.length, open(offer).length, transfers.list.length];
})()"""


async def test_a_peer_has_at_most_50_channels_without_a_transfer(site, tab):
    await tab.open(site.url)
    bounded = BOUNDED.replace("OFFER", json.dumps(offer_of("a.txt", 2)))
    assert await tab.page.evaluate(bounded) == [50, 50, 20, 1]


# The server derives the id of a member from its secret of 18 bytes.
SAME_ID = """(() => {
  const random = crypto.getRandomValues.bind(crypto);
  crypto.getRandomValues = (bytes) => (bytes.length === 18 ? bytes.fill(7) : random(bytes));
  return true;
})()"""


async def test_a_member_that_comes_back_under_its_id_is_shown_as_present(site, tab, browser):
    await tab.join(site.url + "#return", "Ada")
    async with another(browser) as other:
        await other.open(site.url + "#return")
        await other.page.call("probe.type", "name", "Grace")
        await other.page.evaluate(SAME_ID)
        for text in ("hello", "back again"):
            await other.page.evaluate("(location.hash = 'return', document.getElementById('join-button').click(), 1)")
            await asyncio.gather(tab.connected(), other.connected())
            await other.say(text)
            await tab.hears("Grace", text)
            await tab.until_shown(".people .how", "Connected")
            await other.click("#leave", "Leave")
            await tab.until_shown(".people .how", "Ended · left the room")
