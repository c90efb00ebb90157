"""Test files between members of a room in different browsers: Chromium to Firefox, and back."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web

from datachan.signaling import PeerInfo, SignalingClient, SignalingServer
from datachan.signaling.assets import page_folder
from datachan.transfer import RateLimit, ReceivedFiles, ReceivePolicy, Review, room_transfers, send_offer
from datachan.transfer.room_transfers import RoomEvent, RoomTransfers, TransferWaits
from tests.interop import browsers, namespaces
from tests.interop.test_page import LONG, PATIENCE, Tab
from tests.interop.transfer_tab import LET_GO, content, digest, slow_after
from tests.missing import missing

SIZE = 12_000_000  # more than the page keeps in memory
BYTES = f"Uint8Array.from({{ length: {SIZE} }}, (_, at) => (at * 31 + (at >> 8)) & 255)"

BLOCK = content(65536)
PIECE = 1024 * 1024
BLOCKS = 1024
# The network is cut when a third has arrived, and before the end on any machine.
SLOW_AFTER = BLOCKS * 65536 * 3 // 8
SLOW = RateLimit(6_000_000)
LARGE = f"""(() => {{
  const bytes = new Uint8Array({BLOCKS} * 65536);
  for (let at = 0; at < bytes.length; at++) bytes[at] = (at * 31 + (at >> 8)) & 255;
  return bytes;
}})()"""
# Records what a page says about the place where a transfer goes on.
RECORD = """(() => {
  window.told = [];
  const { send } = RTCDataChannel.prototype;
  RTCDataChannel.prototype.send = function (data) {
    if (typeof data === "string" && /^.{0,20}(have|resume)/.test(data)) told.push(JSON.parse(data));
    return send.call(this, data);
  };
  return true;
})()"""
CUT = "table inet cut { chain in { type filter hook input priority 0; meta l4proto udp drop; }; }"
BAR = "document.querySelector('.transfer progress').value"


@contextlib.contextmanager
def no_udp() -> Iterator[None]:
    """Drop all UDP in the network of this thread; what goes over TCP, such as the signaling, goes on."""
    subprocess.run(["nft", CUT], check=True, timeout=10)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete table inet cut"], check=True, timeout=10)


def needs_nft() -> None:
    if shutil.which("nft") is None:
        missing("nft is not installed (apt install nftables)")


class Server:
    """A signaling server with the page, which can be restarted on its port."""

    def __init__(self) -> None:
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def start(self) -> None:
        self._runner = web.AppRunner(SignalingServer(page=page_folder()).create_app(), shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()


@contextlib.asynccontextmanager
async def tabs() -> AsyncIterator[tuple[Server, dict[str, Tab]]]:
    """Serve the page, and open a tab in each browser; give the server and the tabs."""
    for name in browsers.NAMES:
        browsers.require(name)
    server = Server()
    with namespaces.network(namespaces.ONLY_LOOPBACK):
        await server.start()
        try:
            async with contextlib.AsyncExitStack() as stack:
                pages = {}
                for name in browsers.NAMES:
                    browser = await stack.enter_async_context(browsers.launch(name, loopback=True))
                    pages[name] = Tab(await stack.enter_async_context(browser.page()))
                yield server, pages
                errors = [log for tab in pages.values() for log in tab.page.logs if not is_of_a_cut(log)]
                assert errors == []
        finally:
            await server.stop()


def is_of_a_cut(log: str) -> bool:
    """Return whether a browser wrote this line because the server was away."""
    return any(
        text in log
        for text in ("ERR_CONNECTION_REFUSED", "can’t establish a connection", "was interrupted", "ICE failed")
    )


async def meet(server: Server, pages: dict[str, Tab], room: str) -> None:
    for name, tab in pages.items():
        await tab.join(f"{server.url}#{room}", name)
    await asyncio.gather(*(tab.connected() for tab in pages.values()))


async def outcome(tab: Tab, text: str) -> None:
    """Wait until the newest transfer says this."""
    await tab.until(f"probe.text('.transfer .outcome').includes({text!r})")


async def test_members_in_different_browsers_share_files_both_ways() -> None:
    async with tabs() as (server, pages):
        await meet(server, pages, "across")
        for sender, receiver in (("chromium", "firefox"), ("firefox", "chromium")):
            await pages[sender].page.evaluate(f"probe.choose({BYTES}, '{sender}.bin')")
            assert f"{sender} wants to send you this file." in await pages[receiver].newest_transfer("offered")
            await pages[receiver].click(".transfer button", "Accept")
            assert "Received and verified." in await pages[receiver].newest_transfer("done")
            assert await pages[receiver].saved() == (f"{sender}.bin", digest(SIZE))
            assert "has stored and verified it." in await pages[sender].newest_transfer("done")
            await pages[sender].say("chat goes on")
            await pages[receiver].hears(sender, "chat goes on")


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("sender", "receiver"), [("chromium", "firefox"), ("firefox", "chromium")])
async def test_a_transfer_goes_on_by_itself_after_a_cut_of_the_network_and_of_the_server(
    sender: str, receiver: str
) -> None:
    """The server is restarted during the cut, so the two meet again on one that knows neither of them."""
    needs_nft()
    async with tabs() as (server, pages):
        one, other = pages[sender], pages[receiver]
        await meet(server, pages, "cut")
        await one.page.evaluate(slow_after(SLOW_AFTER))
        await one.page.evaluate(f"probe.choose({LARGE}, 'film.bin')")
        await other.newest_transfer("offered")
        await asyncio.gather(*(tab.page.evaluate(RECORD) for tab in pages.values()))
        await other.click(".transfer button", "Accept")
        await other.until(f"{BAR} > 0.1")
        with no_udp():
            asks = "!dispatchEvent(new Event('beforeunload', { cancelable: true }))"
            assert [await tab.page.evaluate(asks) for tab in pages.values()] == [True, True]  # a reload would end it
            await asyncio.gather(
                *(tab.until("probe.text('.transfer .outcome').includes('goes on at')") for tab in pages.values())
            )
            sentence = await other.page.evaluate("probe.text('.transfer .outcome')")
            assert sentence.startswith(f"The connection is gone. Waits for {sender}, goes on at ")
            await server.stop()
        await one.page.evaluate(LET_GO)
        await server.start()
        assert "Received and verified." in await other.newest_transfer("done", LONG)
        assert await other.saved() == ("film.bin", hashlib.sha256(BLOCK * BLOCKS).hexdigest())
        assert "has stored and verified it." in await one.newest_transfer("done")
        have, resume = await other.page.evaluate("told"), await one.page.evaluate("told")
        offset = have[0]["files"][0][1]
        # The durable pieces are kept, and not sent again: all whole ones of the tenth that had arrived.
        assert offset >= BLOCKS * 65536 // 10 // PIECE * PIECE
        assert resume == [{"type": "resume", "file": 0, "offset": offset}]


async def test_a_call_that_the_server_never_forwarded_does_not_keep_two_members_apart() -> None:
    """A member that waits for the answer to its call ignores the calls of members with larger ids."""
    async with tabs() as (server, pages):
        await meet(server, pages, "void")
        one, other = pages.values()
        # Each page knows the id of the other member.
        ids = [await tab.page.evaluate("document.querySelector('.people li').dataset.id") for tab in (other, one)]
        first, second = (one, other) if ids[0] < ids[1] else (other, one)
        await first.click("#hang-up", "Hang up")
        await second.until_shown("#talk-state-text", "Ended")
        await second.page.evaluate("(window.fetched = fetch, window.fetch = () => Promise.reject(new TypeError()), 1)")
        await server.stop()
        for tab in (first, second):
            await tab.until("probe.text('#room-status').startsWith('No connection to the server')")
        await first.click("#call-again", "Call again")
        await server.start()
        await first.until("probe.text('#room-status') === ''")
        await second.page.evaluate("(window.fetch = fetched, 1)")
        await asyncio.gather(first.connected(), second.connected())


@dataclass
class Robot:
    """A Python member of the room, with what has happened to it."""

    transfers: RoomTransfers
    folder: Path
    peer: PeerInfo
    reviews: list[Review]
    waits: list[TransferWaits]
    received: list[ReceivedFiles]


@contextlib.asynccontextmanager
async def robot_with(server: Server, tab: Tab, name: str, folder: Path) -> AsyncIterator[Robot]:
    """Let a Python program and a tab meet in a room."""
    reviews: list[Review] = []
    waits: list[TransferWaits] = []
    received: list[ReceivedFiles] = []

    def accept(review: Review) -> bool:
        reviews.append(review)
        return True

    def notify(event: RoomEvent) -> None:
        if isinstance(event, TransferWaits):
            waits.append(event)
        else:
            received.append(event.files)

    await tab.join(f"{server.url}#python", name)
    async with (
        SignalingClient(server.url, "python", name="robot", reconnect=True) as client,
        RoomTransfers(client, folder, ReceivePolicy(accept), notify=notify) as transfers,
    ):
        peer = await asyncio.wait_for(transfers.member(name), PATIENCE)
        await tab.connected()
        await tab.page.evaluate(RECORD)
        yield Robot(transfers, folder, peer, reviews, waits, received)


async def cut_at_a_third(server: Server, tab: Tab) -> None:
    """Cut the network while the newest transfer moves, and restart the server meanwhile."""
    await tab.until(f"{BAR} > 0.35")
    with no_udp():
        await outcome(tab, "Waits for robot, goes on at ")
        await server.stop()
    await server.start()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", browsers.NAMES)
async def test_a_python_member_goes_on_receiving_from_a_page_after_a_cut(name: str, tmp_path: Path) -> None:
    needs_nft()
    async with tabs() as (server, pages):
        tab = pages[name]
        async with robot_with(server, tab, name, tmp_path) as robot:
            await tab.page.evaluate(slow_after(SLOW_AFTER))
            await tab.page.evaluate(f"probe.choose({LARGE}, 'film.bin')")
            await cut_at_a_third(server, tab)
            await tab.page.evaluate(LET_GO)
            assert "robot has stored and verified it." in await tab.newest_transfer("done", LONG)
            assert (tmp_path / "film.bin").read_bytes() == BLOCK * BLOCKS
            assert len(robot.reviews) == 1  # the program is not asked again
            assert [event.peer for event in robot.waits] == [robot.peer]
            resume = next(message for message in await tab.page.evaluate("told") if message["type"] == "resume")
            assert resume["offset"] > BLOCKS * 65536 // 8


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", browsers.NAMES)
async def test_a_python_member_goes_on_sending_to_a_page_after_a_cut(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_nft()
    monkeypatch.setattr(room_transfers, "send_offer", partial(send_offer, limit=SLOW))
    (tmp_path / "song.bin").write_bytes(BLOCK * BLOCKS)
    async with tabs() as (server, pages):
        tab = pages[name]
        async with robot_with(server, tab, name, tmp_path) as robot:
            sending = asyncio.create_task(robot.transfers.send(robot.peer, tmp_path / "song.bin"))
            await tab.newest_transfer("offered")
            await tab.click(".transfer button", "Accept")
            await cut_at_a_third(server, tab)
            assert (await asyncio.wait_for(sending, LONG)).paths == ("song.bin",)
            assert [event.peer for event in robot.waits] == [robot.peer]
            await tab.newest_transfer("done")
            assert await tab.saved() == ("song.bin", hashlib.sha256(BLOCK * BLOCKS).hexdigest())
            have = next(message for message in await tab.page.evaluate("told") if message["type"] == "have")
            assert have["files"][0][1] > BLOCKS * 65536 // 8
