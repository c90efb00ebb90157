"""How many round trips it takes until two peers are open, on a path of 100 ms with signaling that takes half of it.

    python -m tests.nat.opening [--runs N] [--peers TEXT]

Times are milliseconds after the offerer has the answer; 50 are one trip. libwebrtc (PyPI `wrtc`) gets its field trials
from the environment.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from dataclasses import dataclass, field
from typing import Any, Final

from tests.nat.lab import DATACHAN, LIBDATACHANNEL, LIBWEBRTC, connect, laboratory, lack_of_lab, lack_of_stack
from tests.nat.network import Network
from tests.nat.topologies import Topology

TRIP: Final = 0.05
SNAP: Final = "WebRTC-Sctp-Snap/Enabled/"
SPED: Final = "WebRTC-IceHandshakeDtls/Enabled/"


@dataclass(frozen=True)
class Peers:
    """Two stacks, with the options of ours and the field trials of libwebrtc."""

    offerer: str
    answerer: str
    options: dict[str, Any] = field(default_factory=dict)
    trials: str = ""


PEERS: Final[dict[str, Peers]] = {
    "datachan": Peers(DATACHAN, DATACHAN),
    "datachan, sped=False": Peers(DATACHAN, DATACHAN, {"sped": False}),
    "datachan, sped=False, snap=False": Peers(DATACHAN, DATACHAN, {"sped": False, "snap": False}),
    "libwebrtc": Peers(LIBWEBRTC, LIBWEBRTC),
    "libwebrtc, SNAP and SPED": Peers(LIBWEBRTC, LIBWEBRTC, trials=SNAP + SPED),
    "datachan to libwebrtc": Peers(DATACHAN, LIBWEBRTC),
    "libwebrtc to datachan": Peers(LIBWEBRTC, DATACHAN),
    "datachan to libwebrtc, SNAP and SPED": Peers(DATACHAN, LIBWEBRTC, trials=SNAP + SPED),
    "libwebrtc, SNAP and SPED, to datachan": Peers(LIBWEBRTC, DATACHAN, trials=SNAP + SPED),
    "datachan to libwebrtc, SPED": Peers(DATACHAN, LIBWEBRTC, trials=SPED),
    "libwebrtc, SPED, to datachan": Peers(LIBWEBRTC, DATACHAN, trials=SPED),
    "datachan to libdatachannel": Peers(DATACHAN, LIBDATACHANNEL),
    "libdatachannel to datachan": Peers(LIBDATACHANNEL, DATACHAN),
}


@dataclass(frozen=True)
class Opening:
    """When the channel was open, and when the first message arrived: at the offerer and at the answerer, in ms."""

    opened: tuple[float, float]
    first_message: tuple[float, float]


def far(options: dict[str, Any], network: Network) -> Topology:
    """Give both public addresses, 100 ms apart."""
    topology = Topology(network.host("a"), network.host("b"))
    topology.sites["a"] = network.open_site(topology.a, "eth0", "192.0.2.11/25", delay=TRIP / 2)
    topology.sites["b"] = network.open_site(topology.b, "eth0", "192.0.2.130/25", delay=TRIP / 2)
    topology.options = topology.options_b = options
    return topology


async def measure(name: str) -> Opening | None:
    """Connect two peers once; None if they do not open."""
    peers = PEERS[name]
    async with laboratory(lambda network: far(peers.options, network)) as lab:
        a, b = await lab.peers(peers.offerer, peers.answerer, trials=peers.trials)
        try:
            outcome = await connect(a, b, lab.topology, timeout=30, signaling=TRIP)
            if not outcome.connected:
                return None
            await asyncio.sleep(4 * TRIP)
            zero = a.find("applied")[0]["t"]
            opened = [1e3 * (peer.find("open")[0]["t"] - zero) for peer in (a, b)]
            arrived = [1e3 * ((await peer.report())["arrivals"][0] - zero) for peer in (a, b)]
            return Opening((opened[0], opened[1]), (arrived[0], arrived[1]))
        finally:
            await asyncio.gather(a.stop(), b.stop())


async def table(names: list[str], runs: int) -> list[str]:
    """Return the rows of the table in docs/performance.md; the runs of all peers are interleaved."""
    results: dict[str, list[Opening]] = {name: [] for name in names}
    for _ in range(runs):
        for name in names:
            if (opening := await measure(name)) is not None:
                results[name].append(opening)
    lines = ["| peers | open at offerer / answerer | first message at offerer / answerer |", "|---|--:|--:|"]
    for name, many in results.items():
        cells = [
            " / ".join(f"{statistics.median(one[side] for one in column):.0f}" for side in (0, 1)) if column else "no"
            for column in ([one.opened for one in many], [one.first_message for one in many])
        ]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    return lines


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.nat.opening", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--peers", default="", metavar="TEXT", help="peers with this text in their names")
    given = parser.parse_args()
    if (lack := lack_of_lab()) is not None:
        print(lack, file=sys.stderr)
        return 1
    names = [
        name
        for name, peers in PEERS.items()
        if given.peers in name and not lack_of_stack(peers.offerer) and not lack_of_stack(peers.answerer)
    ]
    print("\n".join(asyncio.run(table(names, given.runs))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
