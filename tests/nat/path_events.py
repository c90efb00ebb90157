"""What happens to a connection that stands: outages, NATs that restart, roaming, sleep, a path that becomes narrow.

Both sides send a message every 20 ms. The outcome is how long after the end of the fault the first message arrived.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.nat.gateways import Nat
from tests.nat.lab import DATACHAN, Lab, Peer, connect, laboratory
from tests.nat.network import Network, Site
from tests.nat.topologies import CONE, PORT, SYMMETRIC, Behavior, Build, Topology, isolated_lan, nats

Happen = Callable[[Lab, Peer, Peer], Awaitable[None]]
# Consent and whatever has to grow (packets, windows) settle before the network changes.
_SETTLED: Final = 2.0
_ALIVE: Final = 1.0


@dataclass
class Aftermath:
    """What became of a connection.

    Attributes:
        recovered: for the offerer and the answerer, the seconds from the end of the fault to the first message; None if
            none came, or the messages ended again.
        in_order: whether each side has received every message, in order.
        states: the states that the offerer went through.
        reasons: why our own peers failed, if they did.
    """

    recovered: tuple[float | None, float | None]
    in_order: bool
    states: list[str]
    reasons: list[str]

    @property
    def slower(self) -> float | None:
        """The seconds of the side that took longer; None if one side is dead."""
        first, second = self.recovered
        return None if first is None or second is None else max(first, second)


@dataclass(frozen=True)
class PathEvent:
    """Something that happens to a network.

    Attributes:
        build: the network.
        happen: changes it; when it returns, the fault is over.
        watch: seconds to wait for messages afterwards.
    """

    build: Build
    happen: Happen
    watch: float = 45.0


def outage(seconds: float) -> Happen:
    """Let nothing pass for a while."""

    async def happen(lab: Lab, a: Peer, b: Peer) -> None:
        lab.topology.sites["a"].set_links(up=False)
        await asyncio.sleep(seconds)
        lab.topology.sites["a"].set_links(up=True)

    return happen


async def long_outage(lab: Lab, a: Peer, b: Peer) -> None:
    """Let the application restart ICE once the connection has failed and the network is back."""
    lab.topology.sites["a"].set_links(up=False)
    await a.wait("state", 60, state="failed")
    await asyncio.sleep(1)
    lab.topology.sites["a"].set_links(up=True)
    a.tell({"do": "restart"})


def rebind(side: str) -> Happen:
    """Let a NAT forget its mappings."""

    async def happen(lab: Lab, a: Peer, b: Peer) -> None:
        lab.topology.sites[side].rebind()

    return happen


def sleep(side: str, seconds: float) -> Happen:
    """Stop a peer's process for a while, as when a laptop sleeps."""

    async def happen(lab: Lab, a: Peer, b: Peer) -> None:
        sleeper = a if side == "a" else b
        sleeper.suspend()
        await asyncio.sleep(seconds)
        sleeper.resume()

    return happen


def shrink(mtu: int, *, drops_fragments: bool = False) -> Happen:
    """Narrow the path in both directions, with routers that are silent about it; then send a megabyte.

    Args:
        mtu: bytes of the longest packet.
        drops_fragments: whether longer packets are lost, too, if they may be fragmented.
    """

    async def happen(lab: Lab, a: Peer, b: Peer) -> None:
        for site in lab.topology.sites.values():
            site.set_links(mtu=mtu, icmp=False, drops_fragments=drops_fragments)
        a.tell({"do": "bulk", "bytes": 1 << 20})
        await b.wait("bulk", 40)

    return happen


async def direct_path(lab: Lab, a: Peer, b: Peer) -> None:
    """Let the hosts of a guest Wi-Fi talk to each other."""
    lab.topology.sites["a"].isolated = False
    async with asyncio.timeout(60):
        while ((await a.report())["pair"] or [[""]])[0][0] == "relay":
            await asyncio.sleep(0.1)


def with_lte(*, up: bool, behind: Behavior = PORT) -> Build:
    """Also give A an interface lte0 behind another NAT; packets that have its address leave through it.

    Args:
        up: whether it is up from the start.
        behind: how that NAT behaves.
    """

    def build(network: Network) -> Topology:
        topology = nats(PORT, PORT, relay=True)(network)
        nat = Nat(network.public(), mapping=behind[0], filtering=behind[1], seed=9)
        topology.sites["lte"] = lte = Site(network, nat, delay=0.03)
        topology.a.attach("lte0", lte, "10.9.0.2/24", metric=600, up=up)
        topology.a.ip("rule", "add", "from", "10.9.0.2", "table", "9")
        if up:
            topology.a.ip("route", "add", "default", "dev", "lte0", "table", "9")
        return topology

    return build


def roam(*, restart: bool = False) -> Happen:
    """Replace Wi-Fi by LTE; the application may restart ICE."""

    async def happen(lab: Lab, a: Peer, b: Peer) -> None:
        host = lab.topology.a
        host.down("wlan0")
        host.up("lte0", 600)
        host.ip("route", "replace", "default", "dev", "lte0", "table", "9")
        if restart:
            a.tell({"do": "restart"})

    return happen


async def wifi_dies(lab: Lab, a: Peer, b: Peer) -> None:
    """Cut the Wi-Fi behind its router; the interface stays up."""
    lab.topology.sites["a"].set_links(up=False)


async def wifi_goes(lab: Lab, a: Peer, b: Peer) -> None:
    """Switch the Wi-Fi off while LTE is up."""
    lab.topology.a.down("wlan0")


async def server_dies(lab: Lab, a: Peer, b: Peer) -> None:
    """Kill the TURN server."""
    lab.server.kill()


_TWO_NATS: Final = nats(PORT, PORT, relay=True)
EVENTS: Final[dict[str, PathEvent]] = {
    "outage of 5 s": PathEvent(_TWO_NATS, outage(5), 20),
    "outage of 20 s": PathEvent(_TWO_NATS, outage(20), 25),
    "outage of 40 s": PathEvent(_TWO_NATS, outage(40), 25),
    "outage until failed, then restartIce": PathEvent(_TWO_NATS, long_outage, 30),
    "offerer's NAT rebinds, full cones": PathEvent(nats(CONE, CONE), rebind("a")),
    "answerer's NAT rebinds, full cones": PathEvent(nats(CONE, CONE), rebind("b")),
    "offerer's NAT rebinds, port-restricted, TURN": PathEvent(_TWO_NATS, rebind("a")),
    "answerer's NAT rebinds, port-restricted, TURN": PathEvent(_TWO_NATS, rebind("b")),
    "offerer's NAT rebinds, relayed": PathEvent(nats(SYMMETRIC, SYMMETRIC, relay=True), rebind("a")),
    "offerer sleeps 20 s": PathEvent(_TWO_NATS, sleep("a", 20), 25),
    "offerer sleeps 40 s": PathEvent(_TWO_NATS, sleep("a", 40), 25),
    "answerer sleeps 40 s": PathEvent(_TWO_NATS, sleep("b", 40), 25),
    "Wi-Fi to LTE, restartIce at once": PathEvent(with_lte(up=False), roam(restart=True), 30),
    "Wi-Fi to LTE, offer on negotiationneeded": PathEvent(with_lte(up=False), roam(), 45),
    "both up, Wi-Fi dies silently": PathEvent(with_lte(up=True), wifi_dies),
    "both up, Wi-Fi is switched off": PathEvent(with_lte(up=True), wifi_goes),
    "relayed, a direct path appears": PathEvent(isolated_lan(relay=True), direct_path),
    "MTU shrinks to 1280, no ICMP": PathEvent(_TWO_NATS, shrink(1280), 20),
    "MTU shrinks to 1280, no ICMP, no fragments": PathEvent(_TWO_NATS, shrink(1280, drops_fragments=True), 20),
    "MTU shrinks to 1000, no ICMP": PathEvent(_TWO_NATS, shrink(1000), 20),
    "MTU shrinks to 1000, no ICMP, no fragments": PathEvent(_TWO_NATS, shrink(1000, drops_fragments=True), 20),
}


async def witness(name: str, offerer: str = DATACHAN, answerer: str = DATACHAN) -> Aftermath | None:
    """Connect two peers, let an event happen, and return what became of them; None if they did not connect."""
    event = EVENTS[name]
    async with laboratory(event.build) as lab:
        a, b = await lab.peers(offerer, answerer)
        try:
            if not (await connect(a, b, lab.topology)).connected:
                return None
            await asyncio.sleep(_SETTLED)
            await event.happen(lab, a, b)
            over = time.monotonic()
            reports = await _watch(a, b, over, event.watch)
            recovered = tuple(_recovered(one, over) for one in reports)
            states = [one["state"] for one in a.events if one["event"] == "state" and one["t"] > over - 60]
            reasons = [str(one["reason"]) for peer in (a, b) for one in peer.find("state") if one.get("reason")]
            in_order = all(one["in_order"] for one in reports)
            return Aftermath((recovered[0], recovered[1]), in_order, states, reasons)
        finally:
            await asyncio.gather(a.stop(), b.stop())


async def _watch(a: Peer, b: Peer, over: float, seconds: float) -> list[dict[str, Any]]:
    """Wait until messages have arrived at both for a second, or the time is over; return both reports."""
    while True:
        await asyncio.sleep(_ALIVE)
        reports = [await a.report(), await b.report()]
        flowing = all(sum(over < t for t in one["arrivals"]) >= _ALIVE / 0.02 / 2 for one in reports)
        if flowing or time.monotonic() > over + seconds:
            return reports


def _recovered(report: dict[str, Any], over: float) -> float | None:
    arrivals: list[float] = report["arrivals"]
    after = next((t - over for t in arrivals if t > over), None)
    return after if after is not None and time.monotonic() - arrivals[-1] < 2 * _ALIVE else None
