"""Drive Debian's Chromium (DevTools protocol) and Firefox (WebDriver BiDi); know nothing of what the pages do.

    async with launch("firefox") as browser, browser.page() as page:
        await page.goto("http://127.0.0.1:8080/")
        title = await page.evaluate("document.title")   # promises are awaited; the result is any JSON

Both protocols are JSON over one WebSocket that the browser opens on loopback, so aiohttp is enough.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import json
import os
import re
import shutil
import signal
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from tests.missing import missing

NAMES = ("chromium", "firefox")
COMMANDS = {"chromium": ("chromium", "google-chrome"), "firefox": ("firefox-esr", "firefox")}
STARTUP_TIMEOUT = 60.0
COMMAND_TIMEOUT = 60.0

# Hosts that the tests use: no other name is looked up outside. Names of the local network still resolve.
KNOWN_HOSTS = ("127.0.0.1", "192.0.2.2", "198.51.100.1", "localhost", "*.local")

CHROMIUM_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--password-store=basic",
    "--host-resolver-rules=MAP * ~NOTFOUND, " + ", ".join(f"EXCLUDE {host}" for host in KNOWN_HOSTS),
    "--remote-debugging-port=0",
    "about:blank",
)
FIREFOX_PREFERENCES: Mapping[str, object] = {"network.dns.disabled": True}

# Settings without which a browser does not use 127.0.0.1 for WebRTC. They are not the defaults.
CHROMIUM_ON_LOOPBACK = (
    "--allow-loopback-in-peer-connection",
    "--use-fake-ui-for-media-stream",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
)
FIREFOX_ON_LOOPBACK: Mapping[str, object] = {
    "media.peerconnection.ice.loopback": True,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
}

# Chromium says this of each page that comes over http from another machine, as ours do in some networks of the tests.
ONLY_OVER_HTTPS = "Cross-Origin-Opener-Policy header has been ignored"

PR_SET_PDEATHSIG = 1


class BrowserError(Exception):
    """The browser refused a command, or JavaScript in the page threw an error."""


class BrowserGone(BrowserError):
    """The browser or the tab ended while a reply was pending."""


def find(name: str) -> str | None:
    """Return the path of a browser's program, or None; the variables CHROMIUM and FIREFOX override the search."""
    if override := os.environ.get(name.upper()):
        return override
    return next(filter(None, map(shutil.which, COMMANDS[name])), None)


def require(name: str) -> None:
    """Skip the test unless a browser is installed, or fail it where all of them must be."""
    if find(name) is None:
        missing(f"{name} is not installed (apt install chromium firefox-esr)")


class Browser(ABC):
    """A running browser. Commands, replies and events share one WebSocket. `session` is that of its processes."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        self._websocket = websocket
        self.version = "?"
        self.session = 0
        self._waiting: dict[int, tuple[str, asyncio.Future[dict[str, Any]]]] = {}  # session of the tab, its answer
        self._ids = itertools.count(1)
        self._pages: dict[str, Page] = {}
        self._reader = asyncio.create_task(self._read())

    async def command(
        self, method: str, params: Mapping[str, Any] | None = None, timeout: float = COMMAND_TIMEOUT, **extra: str
    ) -> dict[str, Any]:
        """Send one command and return its result."""
        if self._reader.done():
            raise BrowserGone(method)
        number = next(self._ids)
        future = asyncio.get_running_loop().create_future()
        self._waiting[number] = (extra.get("sessionId", ""), future)
        try:
            await self._websocket.send_json({"id": number, "method": method, "params": dict(params or {}), **extra})
            reply = await asyncio.wait_for(future, timeout)
        except TimeoutError:
            raise BrowserError(f"no answer to {method} within {timeout} s: {str(params)[:300]}") from None
        finally:
            self._waiting.pop(number, None)
        if "error" in reply:
            raise BrowserError(f"{method}: {reply.get('message') or reply['error']}")
        result: dict[str, Any] = reply["result"]
        return result

    @contextlib.asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        """Open a tab, and close it afterwards unless the test has done so."""
        page = await self._open_page()
        self._pages[page.key] = page
        try:
            yield page
        finally:
            if not page.closed:
                await page.close()
            self._pages.pop(page.key, None)

    def crashed(self, session: str) -> None:
        """End what waits for a tab whose process has crashed; the browser would never answer."""
        for owner, future in self._waiting.values():
            if owner == session and not future.done():
                future.set_exception(BrowserGone("the tab has crashed"))

    def memory(self) -> int:
        """Return the bytes of memory that are the browser's own, over all its processes; mapped files do not count."""
        total = 0
        for pid in self.processes():
            with contextlib.suppress(OSError, ValueError):
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith("kB")}
                total += 1024 * (sizes["Pss_Anon"] + sizes["Pss_Shmem"])
        return total

    def processes(self) -> list[int]:
        """Return the ids of the browser's processes."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.getsid(int(folder.name)) == self.session:
                    found.append(int(folder.name))
        return found

    async def stop(self) -> None:
        """Stop listening to the browser."""
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        async for message in self._websocket:
            data = json.loads(message.data)
            _, future = self._waiting.get(data.get("id"), ("", None))
            if future is None:
                self._on_event(data)
            elif not future.done():
                future.set_result(data)
        for _, future in self._waiting.values():
            if not future.done():
                future.set_exception(BrowserGone("the browser went away"))

    @abstractmethod
    async def start(self) -> None:
        """Make the calls that the protocol needs before the first tab, and read the version."""

    @abstractmethod
    async def _open_page(self) -> Page: ...

    @abstractmethod
    def _on_event(self, data: dict[str, Any]) -> None: ...


class Page(ABC):
    """A tab. `logs` collects its console output, uncaught errors and violations of its policy.

    `failed_requests` has the requests that failed, of which a test may cause some; Firefox does not tell them.
    """

    def __init__(self, browser: Browser, key: str) -> None:
        self.browser = browser
        self.key = key
        self.logs: list[str] = []
        self.failed_requests: list[str] = []
        self.closed = False

    @abstractmethod
    async def goto(self, url: str) -> None:
        """Load a page and wait until it is complete."""

    @abstractmethod
    async def reload(self) -> None:
        """Reload the page, as the browser's reload button does."""

    @abstractmethod
    async def run_first(self, script: str) -> None:
        """Run a script in each document of the tab from now on, before the document's own scripts."""

    @abstractmethod
    async def choose_files(self, element: str, paths: Sequence[Path]) -> None:
        """Choose files of the disk in an input of the page, given by its id, as the browser's dialog does."""

    @abstractmethod
    async def close(self) -> None:
        """Close the tab."""

    @abstractmethod
    async def _evaluate(self, params: dict[str, Any], timeout: float) -> dict[str, Any]: ...

    async def evaluate(self, expression: str, timeout: float = COMMAND_TIMEOUT) -> Any:
        """Return the value of a JavaScript expression, awaited when it is a promise."""
        wrapped = f"(async () => JSON.stringify(await ({expression})))()"
        reply = await self._evaluate({"expression": wrapped, "awaitPromise": True}, timeout)
        if details := reply.get("exceptionDetails"):
            text = details.get("exception", {}).get("description") or details["text"]
            raise BrowserError(f"{text}\nconsole: {self.logs[-10:]}\nfailed requests: {self.failed_requests[-10:]}")
        return json.loads(reply["result"].get("value", "null"))

    async def call(self, function: str, *arguments: object, timeout: float = COMMAND_TIMEOUT) -> Any:
        """Call a function of the page with JSON arguments."""
        return await self.evaluate(f"{function}({', '.join(map(json.dumps, arguments))})", timeout)


class Firefox(Browser):
    """Firefox, controlled over WebDriver BiDi."""

    async def start(self) -> None:
        reply = await self.command("session.new", {"capabilities": {}})
        self.version = "Firefox " + reply["capabilities"]["browserVersion"]
        await self.command("session.subscribe", {"events": ["log.entryAdded"]})

    async def _open_page(self) -> Page:
        reply = await self.command("browsingContext.create", {"type": "tab"})
        return FirefoxPage(self, reply["context"])

    def _on_event(self, data: dict[str, Any]) -> None:
        if data.get("method") != "log.entryAdded":
            return
        entry = data["params"]
        if page := self._pages.get(entry["source"].get("context", "")):
            page.logs.append(f"{entry['level']}: {entry.get('text')}")


class FirefoxPage(Page):
    """A tab of Firefox; its key is the browsing context."""

    async def goto(self, url: str) -> None:
        params = {"context": self.key, "url": url, "wait": "complete"}
        await self.browser.command("browsingContext.navigate", params)

    async def reload(self) -> None:
        await self.browser.command("browsingContext.reload", {"context": self.key, "wait": "complete"})

    async def run_first(self, script: str) -> None:
        params = {"functionDeclaration": f"() => {{ {script} }}", "contexts": [self.key]}
        await self.browser.command("script.addPreloadScript", params)

    async def choose_files(self, element: str, paths: Sequence[Path]) -> None:
        target = {"target": {"context": self.key}, "awaitPromise": False}
        expression = f"document.getElementById({json.dumps(element)})"
        node = (await self.browser.command("script.evaluate", {"expression": expression, **target}))["result"]
        params = {
            "context": self.key,
            "element": {"sharedId": node["sharedId"]},
            "files": [str(path) for path in paths],
        }
        await self.browser.command("input.setFiles", params)

    async def close(self) -> None:
        self.closed = True
        await self.browser.command("browsingContext.close", {"context": self.key})

    async def _evaluate(self, params: dict[str, Any], timeout: float) -> dict[str, Any]:
        target = {**params, "target": {"context": self.key}}
        return await self.browser.command("script.evaluate", target, timeout)


class Chromium(Browser):
    """Chromium, controlled over its DevTools protocol."""

    async def start(self) -> None:
        self.version = (await self.command("Browser.getVersion"))["product"]

    async def _open_page(self) -> Page:
        target = await self.command("Target.createTarget", {"url": "about:blank"})
        reply = await self.command("Target.attachToTarget", {**target, "flatten": True})
        page = ChromiumPage(self, reply["sessionId"], target["targetId"])
        for method in ("Page.enable", "Runtime.enable", "Log.enable", "Inspector.enable"):
            await self.command(method, sessionId=page.key)
        return page

    def _on_event(self, data: dict[str, Any]) -> None:
        page = self._pages.get(data.get("sessionId", ""))
        if isinstance(page, ChromiumPage):
            page.on_event(data["method"], data["params"])


class ChromiumPage(Page):
    """A tab of Chromium; its key is the DevTools session."""

    def __init__(self, browser: Browser, key: str, target: str) -> None:
        super().__init__(browser, key)
        self._target = target
        self._loaded = asyncio.Event()

    def on_event(self, method: str, params: dict[str, Any]) -> None:
        """Record an event of the tab."""
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Runtime.consoleAPICalled":
            self.logs.append(f"{params['type']}: " + " ".join(str(a.get("value")) for a in params["args"]))
        elif method == "Runtime.exceptionThrown":
            self.logs.append(f"error: {params['exceptionDetails'].get('exception', {}).get('description')}")
        elif method == "Log.entryAdded":
            self._log(params["entry"])
        elif method == "Inspector.targetCrashed":
            self.browser.crashed(self.key)

    def _log(self, entry: dict[str, Any]) -> None:
        if ONLY_OVER_HTTPS in entry["text"]:
            return
        entries = self.failed_requests if entry["source"] == "network" else self.logs
        entries.append(f"{entry['level']}: {entry['text']} {entry.get('url', '')}")

    async def goto(self, url: str) -> None:
        self._loaded.clear()
        reply = await self.browser.command("Page.navigate", {"url": url}, sessionId=self.key)
        if error := reply.get("errorText"):
            raise BrowserError(f"{url}: {error}")
        await asyncio.wait_for(self._loaded.wait(), COMMAND_TIMEOUT)

    async def reload(self) -> None:
        self._loaded.clear()
        await self.browser.command("Page.reload", sessionId=self.key)
        await asyncio.wait_for(self._loaded.wait(), COMMAND_TIMEOUT)

    async def run_first(self, script: str) -> None:
        params = {"source": script}
        await self.browser.command("Page.addScriptToEvaluateOnNewDocument", params, sessionId=self.key)

    async def choose_files(self, element: str, paths: Sequence[Path]) -> None:
        expression = f"document.getElementById({json.dumps(element)})"
        reply = await self.browser.command("Runtime.evaluate", {"expression": expression}, sessionId=self.key)
        params = {"objectId": reply["result"]["objectId"], "files": [str(path) for path in paths]}
        await self.browser.command("DOM.setFileInputFiles", params, sessionId=self.key)

    async def close(self) -> None:
        self.closed = True
        await self.browser.command("Target.closeTarget", {"targetId": self._target})

    async def _evaluate(self, params: dict[str, Any], timeout: float) -> dict[str, Any]:
        full = {**params, "returnByValue": True}
        return await self.browser.command("Runtime.evaluate", full, timeout, sessionId=self.key)


def _arguments(
    name: str, profile: Path, loopback: bool, flags: Sequence[str], preferences: Mapping[str, object]
) -> list[str]:
    if name == "chromium":
        extra = CHROMIUM_ON_LOOPBACK if loopback else ()
        return [f"--user-data-dir={profile}", *extra, *flags, *CHROMIUM_FLAGS]
    wanted = {**FIREFOX_PREFERENCES, **(FIREFOX_ON_LOOPBACK if loopback else {}), **preferences}
    lines = [f"user_pref({json.dumps(key)}, {json.dumps(value)});\n" for key, value in wanted.items()]
    (profile / "user.js").write_text("".join(lines))
    return ["--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0", *flags]


def _die_with_parent() -> None:
    """Make the kernel end the browser when the tests are killed; runs in the child process."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


async def _control_address(stderr: asyncio.StreamReader) -> str:
    """Return the address of the WebSocket that the browser prints when it is ready."""
    output = b""
    async with asyncio.timeout(STARTUP_TIMEOUT):
        while line := await stderr.readline():
            if match := re.search(rb"(?:DevTools|BiDi) listening on (\S+)", line):
                return match[1].decode()
            output += line
    raise BrowserError(f"the browser did not start: {output.decode(errors='replace')}")


@contextlib.asynccontextmanager
async def _process(program: str, arguments: Sequence[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # it leads a session of its own, so this reaches all its children
        await process.wait()


@contextlib.asynccontextmanager
async def launch(
    name: str, *, loopback: bool = False, flags: Sequence[str] = (), preferences: Mapping[str, object] | None = None
) -> AsyncIterator[Browser]:
    """Start a browser in the network namespace of the calling thread, and end it with all its children.

    Args:
        name: "chromium" or "firefox".
        loopback: let it use 127.0.0.1 and ::1 for WebRTC. Without, it is as a user has it: mDNS names, no loopback.
        flags: more arguments of its command line.
        preferences: more preferences of Firefox's profile.

    Raises:
        BrowserError: not installed, or it did not come up.
    """
    program = find(name)
    if program is None:
        raise BrowserError(f"{name} is not installed")
    with tempfile.TemporaryDirectory(prefix=f"{name}-", ignore_cleanup_errors=True) as profile:
        arguments = _arguments(name, Path(profile), loopback, flags, preferences or {})
        async with _process(program, arguments) as process, aiohttp.ClientSession() as session:
            stderr = process.stderr
            if stderr is None:
                raise BrowserError("no pipe to the browser")
            address = await _control_address(stderr)
            drain = asyncio.create_task(stderr.read())  # a full pipe would block the browser
            suffix = "" if name == "chromium" else "/session"
            async with session.ws_connect(address + suffix, max_msg_size=0) as websocket:
                browser = Chromium(websocket) if name == "chromium" else Firefox(websocket)
                browser.session = process.pid
                try:
                    await browser.start()
                    yield browser
                finally:
                    await browser.stop()
                    drain.cancel()
                    await asyncio.gather(drain, return_exceptions=True)
