"""A transfer of ours and a TCP download (CUBIC of the kernel) through one bottleneck; for `make bench-beside-tcp`.

    python -m tests.links.beside_tcp --rates 10 --queues 0.25,1,4 --seconds 20

Two network namespaces are joined by a link whose packets pass through `tests.links.tun_relay`. One flow starts first
and has the link for itself; the other one joins it. It needs root, as network namespaces do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Final

from datachan.sctp.congestion import ALGORITHMS
from tests.links.model import Link
from tests.nat.network import open_tun, run
from tests.stacks.installed import datachan
from tests.stacks.process import ROOT, SETUP_PATIENCE, Contender, PeerProcess, connect

OURS: Final = "datachan"
TCP: Final = "TCP"
LEAST, MOST = 0.4, 2.5
"""The share of each flow, as a multiple of an equal share, that counts as fair."""
_ADDRESSES: Final = ("10.77.0.1", "10.77.0.2")
_TCP_PORT: Final = 9000


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
        rate: Mbit/s.
        round_trip: milliseconds.
        queue: bandwidth-delay products.
        first: the flow that starts first.
    """

    rate: float
    round_trip: float
    queue: float
    first: str

    @property
    def link(self) -> Link:
        """The bottleneck."""
        delay = self.round_trip / 2000
        return Link(1e6 * self.rate, delay, queue=int(self.queue * 1e6 * self.rate / 8 * 2 * delay), mtu=1500)


@contextmanager
def joined_namespaces(link: Link) -> Iterator[tuple[str, str]]:
    """Yield the names of two network namespaces with a link between them."""
    names = (f"beside{os.getpid()}-a", f"beside{os.getpid()}-z")
    devices: list[int] = []
    relay = None
    try:
        for name, address, other in zip(names, _ADDRESSES, reversed(_ADDRESSES), strict=True):
            run("ip", "netns", "add", name)
            devices.append(open_tun(name, "wire"))
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "-n", name, "address", "add", address, "peer", other, "dev", "wire")
            run("ip", "-n", name, "link", "set", "wire", "mtu", "1500", "txqueuelen", "10000", "up")
        command = [sys.executable, "-m", "tests.links.tun_relay", json.dumps(asdict(link)), *map(str, devices)]
        relay = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, pass_fds=devices)
        yield names
    finally:
        if relay is not None:
            relay.communicate()
        for device in devices:
            os.close(device)
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL, check=False)


def inside(namespace: str, contender: Contender) -> Contender:
    """Return the contender whose program runs in a namespace."""
    command = ["ip", "netns", "exec", namespace, *contender.command]
    return Contender(contender.name, command, contender.options, contender.environment)


async def start_ours(names: tuple[str, str], controller: str, peers: list[PeerProcess]) -> PeerProcess:
    """Connect two peers of ours and let one send; return the other one."""
    ours = datachan(OURS, controller=controller)
    for name, role, host in zip(names, ("sender", "receiver"), _ADDRESSES, strict=True):
        options = {"message_size": 65_536, "host": host}
        peers.append(await PeerProcess.start(inside(name, ours), role, options))
    sender, receiver = peers[-2:]
    async with asyncio.timeout(SETUP_PATIENCE):
        await connect(sender, receiver)
    return receiver


async def start_tcp(names: tuple[str, str], peers: list[PeerProcess]) -> PeerProcess:
    """Start a download; return the process that counts it."""
    program = Contender(TCP, [sys.executable, "-m", "tests.links.tcp_flow"])
    options = {"host": _ADDRESSES[0], "port": _TCP_PORT}
    peers.append(await PeerProcess.start(inside(names[0], program), "sender", options))
    await peers[-1].receive("listening")
    peers.append(await PeerProcess.start(inside(names[1], program), "receiver", options))
    return peers[-1]


async def shares(case: Case, controller: str, stagger: float, warm_up: float, seconds: float) -> dict[str, float]:
    """Return the share of each flow as a multiple of an equal share of the link.

    Args:
        case: the link and the order.
        controller: our congestion control.
        stagger: seconds that the first flow has the link for itself.
        warm_up: seconds from the start of the second flow until the measurement.
        seconds: the length of the measurement.
    """
    peers: list[PeerProcess] = []
    with joined_namespaces(case.link) as names:
        try:
            counters: dict[str, PeerProcess] = {}
            for flow in (case.first, TCP if case.first == OURS else OURS):
                if flow == TCP:
                    counters[flow] = await start_tcp(names, peers)
                else:
                    counters[flow] = await start_ours(names, controller, peers)
                await asyncio.sleep(stagger if len(counters) == 1 else warm_up)
            before = {flow: await counter.count() for flow, counter in counters.items()}
            await asyncio.sleep(seconds)
            after = {flow: await counter.count() for flow, counter in counters.items()}
        finally:
            for peer in peers:
                await peer.end()
    rates = {
        flow: 8 * (after[flow]["bytes"] - before[flow]["bytes"]) / (after[flow]["time"] - before[flow]["time"])
        for flow in counters
    }
    return {flow: 2 * rate / case.link.rate for flow, rate in rates.items()}


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.links.beside_tcp", description=__doc__.partition("\n")[0])
    parser.add_argument("--rates", default="10,50", help="Mbit/s (%(default)s)")
    parser.add_argument("--round-trip", type=float, default=40.0, help="milliseconds (%(default)s)")
    parser.add_argument("--queues", default="0.25,1,4", help="bandwidth-delay products (%(default)s)")
    parser.add_argument("--controllers", default="adaptive", help=f"ours: {', '.join(ALGORITHMS)} (%(default)s)")
    parser.add_argument("--stagger", type=float, default=3.0, help="seconds between the two starts (%(default)s)")
    parser.add_argument("--warm-up", type=float, default=8.0, help="seconds until the measurement (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="measured seconds (%(default)s)")
    return parser.parse_args()


def main() -> int:
    """Measure and print; return 1 if a share is not fair."""
    arguments = parse()
    print("| link | queue | first | datachan | TCP (CUBIC) |\n|---|--:|---|--:|--:|", flush=True)
    fair = True
    for controller in arguments.controllers.split(","):
        for rate in map(float, arguments.rates.split(",")):
            for queue in map(float, arguments.queues.split(",")):
                for first in (OURS, TCP):
                    case = Case(rate, arguments.round_trip, queue, first)
                    result = asyncio.run(
                        shares(case, controller, arguments.stagger, arguments.warm_up, arguments.seconds)
                    )
                    fair = fair and all(LEAST <= share <= MOST for share in result.values())
                    ours, theirs = result[OURS], result[TCP]
                    label = f"{rate:g} Mbit/s, {case.round_trip:g} ms, {controller}"
                    print(f"| {label} | {queue:g} | {first} | {ours:.2f} | {theirs:.2f} |", flush=True)
    print(f"load: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    return 0 if fair else 1


if __name__ == "__main__":
    sys.exit(main())
