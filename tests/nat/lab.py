"""Starts coturn and peers in the hosts of a network, carries their signaling, and connects two of them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from tests.interop.namespaces import NamespaceUnavailable, namespace
from tests.nat.network import Host, Network
from tests.nat.topologies import PASSWORD, SERVER4, SERVER6, USER, Build, Topology

_PEERS: Final = Path(__file__).parent / "peers"
_NODE_MODULES: Final = Path(__file__).parents[1] / "interop" / "stacks" / "node_modules"
_LINE_LIMIT: Final = 1 << 22
DATACHAN: Final = "datachan"
LIBWEBRTC: Final = "libwebrtc"
LIBDATACHANNEL: Final = "libdatachannel"
_COMMANDS: Final = {
    DATACHAN: [sys.executable, str(_PEERS / "datachan_peer.py")],
    LIBWEBRTC: [sys.executable, str(_PEERS / "wrtc_peer.py")],
    LIBDATACHANNEL: ["node", str(_PEERS / "node_peer.js")],
}
_FAILED: Final = "failed"
# Seconds for a peer's interpreter to start, on a busy machine.
_START: Final = 60.0

Event = dict[str, Any]


def lack_of_lab() -> str | None:
    """Return what this machine lacks for the lab; None if it has everything."""
    for program, package in (("ip", "iproute2"), ("nft", "nftables"), ("turnserver", "coturn"), ("openssl", "openssl")):
        if shutil.which(program) is None:
            return f"the NAT lab needs {program} (apt install {package})"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "the NAT lab needs /dev/net/tun, and root"
    try:
        with namespace("true"):
            return None
    except NamespaceUnavailable as error:
        return str(error)


def lack_of_stack(stack: str) -> str | None:
    """Return what a stack lacks here; None if it is installed."""
    if stack == LIBWEBRTC and find_spec("webrtc") is None:
        return "wrtc is not installed: make peers"
    installed = shutil.which("node") and (_NODE_MODULES / "node-datachannel").is_dir()
    return "node-datachannel is not installed: make peers" if stack == LIBDATACHANNEL and not installed else None


@dataclass
class Lab:
    """A network with a server on it."""

    network: Network
    topology: Topology
    server: asyncio.subprocess.Process
    certificate: Path

    async def peers(self, offerer: str = DATACHAN, answerer: str = DATACHAN, *, trials: str = "") -> tuple[Peer, Peer]:
        """Start a process for each peer, and wait until both are ready; `trials` are field trials of libwebrtc."""
        environment = {"SSL_CERT_FILE": str(self.certificate), "NODE_PATH": str(_NODE_MODULES)}
        environment["WRTC_FIELD_TRIALS"] = trials
        a, b = Peer(self.topology.a, offerer, environment), Peer(self.topology.b, answerer, environment)
        try:
            await asyncio.gather(a.start(), b.start())
        except BaseException:
            await asyncio.gather(a.stop(), b.stop())
            raise
        return a, b


@asynccontextmanager
async def laboratory(build: Build) -> AsyncIterator[Lab]:
    """Build a network by a topology, with coturn on UDP, TCP and TLS, on ports 3478 and 443."""
    with tempfile.TemporaryDirectory(prefix="nat") as folder:
        async with Network() as network:
            host = network.host("server")
            network.open_site(host, "eth0", f"{SERVER4}/24", f"{SERVER6}/64")
            server, certificate = await _start_coturn(host, Path(folder))
            try:
                yield Lab(network, build(network), server, certificate)
            finally:
                if server.returncode is None:
                    server.kill()
                await server.wait()


async def _start_coturn(host: Host, folder: Path) -> tuple[asyncio.subprocess.Process, Path]:
    certificate, key, config = folder / "certificate.pem", folder / "key.pem", folder / "turn.conf"
    names = f"subjectAltName=IP:{SERVER4},IP:{SERVER6}"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    words += ["-subj", "/CN=lab", "-addext", names, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, check=True, capture_output=True)
    config.write_text(
        f"listening-ip={SERVER4}\nlistening-ip={SERVER6}\nrelay-ip={SERVER4}\nrelay-ip={SERVER6}\n"
        f"listening-port=3478\naux-server={SERVER4}:443\naux-server=[{SERVER6}]:443\ntls-listening-port=5349\n"
        f"realm=lab\nuser={USER}:{PASSWORD}\nlt-cred-mech\nfingerprint\nno-cli\nno-dtls\nsimple-log\n"
        f"log-file={folder}/log\npidfile={folder}/pid\nuserdb={folder}/db\ncert={certificate}\npkey={key}\n"
        "min-port=49152\nmax-port=49999\nrelay-threads=1\n"
    )
    server = await host.run("turnserver", "-c", str(config), stdout=DEVNULL, stderr=DEVNULL)
    async with asyncio.timeout(_START):
        while True:
            probe = await host.run("sh", "-c", f"ss -lun | grep -q {SERVER4}:443", stdout=DEVNULL, stderr=DEVNULL)
            if await probe.wait() == 0:
                return server, certificate
            await asyncio.sleep(0.02)


class Peer:
    """A stack in a process on a host.

    Attributes:
        events: everything it has said.
        forward: called with each description and candidate.
    """

    def __init__(self, host: Host, stack: str, environment: dict[str, str]) -> None:
        self.host = host
        self.stack = stack
        self.events: list[Event] = []
        self.forward: Callable[[Event], None] | None = None
        self._environment = {**os.environ, **environment}
        self._changed = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process, and wait until it is ready."""
        stderr = None if os.environ.get("NAT_STDERR") else DEVNULL
        command = _COMMANDS[self.stack]
        options = {"stdin": PIPE, "stdout": PIPE, "stderr": stderr, "env": self._environment, "limit": _LINE_LIMIT}
        self._process = await self.host.run(*command, **options)
        self._reader = asyncio.create_task(self._read())
        if await self.wait("ready", _START) is None:
            raise RuntimeError(f"{self.stack} does not start (NAT_STDERR=1 shows why)")

    def tell(self, message: Event) -> None:
        """Send the process a line."""
        if self._process is not None and self._process.stdin is not None and self._process.returncode is None:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            if not line.startswith(b"{"):
                continue
            event: Event = json.loads(line)
            self.events.append(event)
            if self.forward is not None and event["event"] in ("sdp", "candidate"):
                self.forward({key: value for key, value in event.items() if key not in ("event", "t")})
            self._changed.set()
        self.events.append({"event": "gone", "t": time.monotonic()})
        self._changed.set()

    def find(self, name: str, **match: Any) -> list[Event]:
        """Return the events of a kind that have these values."""
        named = [event for event in self.events if event["event"] == name]
        return [event for event in named if all(event.get(key) == value for key, value in match.items())]

    async def wait(self, name: str, timeout: float, count: int = 1, **match: Any) -> Event | None:
        """Wait for the count-th event of a kind; return None if it does not come in time."""
        deadline = time.monotonic() + timeout
        while len(found := self.find(name, **match)) < count:
            self._changed.clear()
            left = deadline - time.monotonic()
            if left <= 0 or self.find("gone"):
                return None
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                return None
        return found[count - 1]

    async def report(self) -> Event:
        """Return what the peer has received, and its selected pair."""
        count = len(self.find("report")) + 1
        self.tell({"do": "report"})
        found = await self.wait("report", 10, count)
        return found or {"arrivals": [], "in_order": False, "state": "?", "pair": None}

    def suspend(self) -> None:
        """Stop the process, as when a laptop sleeps."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the process go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def stop(self) -> None:
        """End the process."""
        if self._process is None:
            return
        if self._process.returncode is None:
            self.resume()
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), 2)
            except TimeoutError:
                self._process.kill()
        await self._process.wait()
        if self._reader is not None:
            await self._reader


class Signaling:
    """Carries descriptions and candidates between two peers, in order; candidates wait for the first description."""

    def __init__(self, a: Peer, b: Peer, delay: float) -> None:
        a.forward, b.forward = _carry_to(b, delay), _carry_to(a, delay)


def _carry_to(peer: Peer, delay: float) -> Callable[[Event], None]:
    early: list[Event] = []
    described = False

    def carry_later(message: Event) -> None:
        asyncio.get_running_loop().call_later(delay, carry, message)

    def carry(message: Event) -> None:
        nonlocal described
        if not described and "sdp" not in message:
            early.append(message)
            return
        peer.tell(message)
        if not described:
            described = True
            for one in early:
                peer.tell(one)

    return carry_later if delay else carry


@dataclass
class Outcome:
    """How connecting two peers went.

    Attributes:
        connected: whether the channel opened at both.
        milliseconds: from the creation of the offerer's connection to its open channel.
        pair: the types of the offerer's selected pair, such as "host/srflx".
        failed_after: seconds until the offerer, and the answerer, reported a failure; None if one did not.
        reasons: what our own peers said about a failure.
        errors: the first errors of the peers' programs.
    """

    connected: bool
    milliseconds: float | None = None
    pair: str | None = None
    failed_after: list[float | None] = field(default_factory=list)
    reasons: list[str | None] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


async def connect(a: Peer, b: Peer, topology: Topology, *, timeout: float = 60.0, signaling: float = 0.0) -> Outcome:
    """Connect two peers that are ready; `a` offers, and each message of signaling takes a time."""
    task = {"servers": list(topology.servers), "policy": topology.policy}
    servers_b = topology.servers if topology.servers_b is None else topology.servers_b
    Signaling(a, b, signaling)
    b.tell(task | {"role": "answer", "servers": list(servers_b), "options": topology.options_b})
    a.tell(task | {"role": "offer", "options": topology.options})
    created = await a.wait("created", _START)
    begun = created["t"] if created else time.monotonic()
    opened = await asyncio.gather(_open_or_failed(a, timeout), _open_or_failed(b, timeout))
    errors = [event["error"] for peer in (a, b) for event in peer.find("error")][:4]
    if opened[0] is None or opened[1] is None:
        failures = [next(iter(peer.find("state", state=_FAILED)), None) for peer in (a, b)]
        after = [None if event is None else round(event["t"] - begun, 1) for event in failures]
        reasons = [None if event is None else event.get("reason") for event in failures]
        return Outcome(False, failed_after=after, reasons=reasons, errors=errors)
    pair = (await a.report())["pair"]
    kinds = None if pair is None else f"{pair[0][0]}/{pair[1][0]}"
    return Outcome(True, 1e3 * (opened[0]["t"] - begun), kinds, errors=errors)


async def _open_or_failed(peer: Peer, timeout: float) -> Event | None:
    """Return the event of the open channel; None if the connection failed, or the time is over."""
    opened = asyncio.create_task(peer.wait("open", timeout))
    failed = asyncio.create_task(peer.wait("state", timeout, state=_FAILED))
    await asyncio.wait([opened, failed], return_when=asyncio.FIRST_COMPLETED)
    result = opened.result() if opened.done() else None
    for task in (opened, failed):
        task.cancel()
    await asyncio.gather(opened, failed, return_exceptions=True)
    return result
