"""Measures datachan, libwebrtc and libdatachannel in the NAT lab, and writes the tables of docs/nat.md.

    python -m tests.nat [--runs N] [--only TEXT] [--stacks A,B] [--part networks|events] [--results FILE]

Runs are interleaved: each round connects every stack once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from pathlib import Path
from typing import Any, Final

from tests.nat.lab import (
    DATACHAN,
    LIBDATACHANNEL,
    LIBWEBRTC,
    Outcome,
    connect,
    laboratory,
    lack_of_lab,
    lack_of_stack,
)
from tests.nat.path_events import EVENTS, Aftermath, witness
from tests.nat.table import DOCUMENT, RESULTS, write
from tests.nat.topologies import TOPOLOGIES

_STACKS: Final = (DATACHAN, LIBWEBRTC, LIBDATACHANNEL)
Results = dict[str, Any]


async def _once(topology: str, stack: str, timeout: float) -> Outcome:
    async with laboratory(TOPOLOGIES[topology]) as lab:
        a, b = await lab.peers(stack, stack)
        try:
            return await connect(a, b, lab.topology, timeout=timeout)
        finally:
            await asyncio.gather(a.stop(), b.stop())


def _summary(outcomes: list[Outcome]) -> Results:
    good = [one.milliseconds for one in outcomes if one.milliseconds is not None]
    failures = [after for one in outcomes for after in one.failed_after if after is not None]
    return {
        "milliseconds": round(statistics.median(good)) if good else None,
        "pairs": sorted({one.pair for one in outcomes if one.pair}),
        "connected": len(good),
        "of": len(outcomes),
        "failed_after": min(failures, default=None),
    }


async def measure(given: argparse.Namespace) -> Results:
    """Measure everything whose name has the given text, and return the results."""
    stacks = [stack for stack in given.stacks.split(",") if lack_of_stack(stack) is None]
    results: Results = {"topologies": {}, "events": {}, "runs": given.runs}
    if given.part != "events":
        await _measure_networks(given, stacks, results)
    if given.part != "networks":
        await _measure_events(given, stacks, results)
    return results


async def _measure_networks(given: argparse.Namespace, stacks: list[str], results: Results) -> None:
    for name in (one for one in TOPOLOGIES if given.only in one):
        outcomes: dict[str, list[Outcome]] = {stack: [] for stack in stacks}
        for _ in range(given.runs):
            for stack in stacks:
                if stack == DATACHAN or not outcomes[stack] or outcomes[stack][0].connected:
                    outcomes[stack].append(await _once(name, stack, given.timeout))
        results["topologies"][name] = {stack: _summary(many) for stack, many in outcomes.items()}
        print(name, results["topologies"][name], flush=True)


async def _measure_events(given: argparse.Namespace, stacks: list[str], results: Results) -> None:
    for name in (one for one in EVENTS if given.only in one):
        row: Results = {}
        for stack in stacks:
            aftermath: Aftermath | None = await witness(name, stack, stack)
            slower = None if aftermath is None else aftermath.slower
            row[stack] = {
                "seconds": None if slower is None else round(slower, 2),
                "in_order": aftermath is not None and aftermath.in_order,
            }
        results["events"][name] = row
        print(name, row, flush=True)


def main() -> int:
    """Run the lab."""
    parser = argparse.ArgumentParser(prog="python -m tests.nat", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="connections of each stack across each network")
    parser.add_argument("--only", default="", metavar="TEXT", help="networks and events with this text in their name")
    parser.add_argument("--stacks", default=",".join(_STACKS), help="the stacks to measure (default: %(default)s)")
    parser.add_argument("--part", choices=("networks", "events"), help="measure one of both parts; the other is kept")
    parser.add_argument("--timeout", type=float, default=60, help="seconds to wait for a connection")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file that keeps the results")
    parser.add_argument("--no-document", action="store_true", help=f"leave {DOCUMENT.name} as it is")
    given = parser.parse_args()
    if (lack := lack_of_lab()) is not None:
        print(lack, file=sys.stderr)
        return 1
    results = asyncio.run(measure(given))
    if given.part is not None and given.results.exists():
        other = "events" if given.part == "networks" else "topologies"
        results[other] = json.loads(given.results.read_text()).get(other, {})
    given.results.parent.mkdir(parents=True, exist_ok=True)
    given.results.write_text(json.dumps(results, indent=1) + "\n")
    if not given.no_document:
        write(results)
    return 0


sys.exit(main())
