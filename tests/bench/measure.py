"""Take the measurements of `make bench`: each runs two peers of one stack, or one process with many connections."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from statistics import median, quantiles
from typing import Any, Final

from tests.stacks.peers.common import BULK, PING
from tests.stacks.process import ROOT, Contender, PeerProcess, connected

Figures = dict[str, float]

MESSAGE_SIZE: Final = 65_536
SMALL_SIZE: Final = 100
PING_SIZE: Final = 64
# Seconds after the channel opened that are not measured, because windows grow and caches fill.
RAMP: Final = 1.0
PAIRS: Final = 100
MANY: Final = 100
# Consent is checked about every five seconds; this time contains two checks.
IDLE: Final = 10.0
# Rows for datachan only.
OURS: Final = frozenset({"large"})
_PAIRS_PATIENCE: Final = 120.0


async def _transfer(
    contender: Contender, host: str, seconds: float, size: int, *, back: bool = False, connections: int = 1
) -> Figures:
    """Send messages of one size at the full rate; from the answerer to the offerer when `back` is true."""
    common = {"host": host, "message_size": size, "connections": connections}
    tasks = ("count", "stream") if back else ("stream", "count")
    async with connected(contender, {**common, "task": tasks[0]}, {**common, "task": tasks[1]}) as (a, z, opened):
        receiver = a if back else z
        await asyncio.sleep(RAMP)
        before, cpu = await receiver.count(), a.cpu() + z.cpu()
        await asyncio.sleep(seconds)
        after, cpu = await receiver.count(), a.cpu() + z.cpu() - cpu
        _check_build(contender, after)
    taken = after["time"] - before["time"]
    moved = after["bytes"] - before["bytes"]
    if not moved:
        raise RuntimeError("nothing arrived")
    return {
        "rate": moved / taken / 1e6,
        "messages": (after["messages"] - before["messages"]) / taken,
        "cpu": cpu / moved * 100e6,
        "open": opened["took"] * 1e3,
    }


def _check_build(contender: Contender, status: Mapping[str, Any]) -> None:
    """Raise when the measured build is not the requested one."""
    if "compiled" in status and status["compiled"] is not ("compiled" in contender.name):
        raise RuntimeError(f"{contender.name} ran another build")


async def bulk(contender: Contender, host: str, seconds: float) -> Figures:
    """Measure 64 KiB messages from the offerer to the answerer."""
    run = await _transfer(contender, host, seconds, MESSAGE_SIZE)
    return {"throughput": run["rate"], "cpu": run["cpu"], "open": run["open"]}


async def back(contender: Contender, host: str, seconds: float) -> Figures:
    """Measure 64 KiB messages from the answerer to the offerer."""
    run = await _transfer(contender, host, seconds, MESSAGE_SIZE, back=True)
    return {"throughput back": run["rate"], "open": run["open"]}


async def large(contender: Contender, host: str, seconds: float) -> Figures:
    """Measure 64 KiB messages with path MTU discovery, for datachan only."""
    searching = replace(contender, options={**contender.options, "discovery": True})
    return {"large": (await _transfer(searching, host, seconds, MESSAGE_SIZE))["rate"]}


async def small(contender: Contender, host: str, seconds: float) -> Figures:
    """Measure ordered messages of 100 bytes."""
    run = await _transfer(contender, host, seconds, SMALL_SIZE)
    return {"small": run["messages"], "open": run["open"]}


async def many(contender: Contender, host: str, seconds: float) -> Figures:
    """Measure 64 KiB messages on many connections between two processes, and on one of them just before."""
    one = await _transfer(contender, host, seconds, MESSAGE_SIZE)
    all_of_them = await _transfer(contender, host, seconds, MESSAGE_SIZE, connections=MANY)
    return {
        "many": all_of_them["rate"],
        "many share": all_of_them["rate"] / one["rate"],
        "many cpu": all_of_them["cpu"],
        "many cpu share": one["cpu"] / all_of_them["cpu"] if all_of_them["cpu"] else 0.0,
    }


async def _pings(contender: Contender, host: str, seconds: float, task: str) -> list[float]:
    """Measure the milliseconds of each round trip."""
    options = {"host": host, "ping_size": PING_SIZE, "message_size": MESSAGE_SIZE, "labels": [BULK, PING]}
    async with connected(contender, {**options, "task": task}, {**options, "task": "count"}) as (sender, _, _):
        await asyncio.sleep(RAMP)
        await sender.pings()
        await asyncio.sleep(seconds)
        return [seconds * 1e3 for seconds in await sender.pings()]


async def ping(contender: Contender, host: str, seconds: float) -> Figures:
    """Measure round trips of a single message."""
    return {f"ping {name}": value for name, value in _spread(await _pings(contender, host, seconds, "ping")).items()}


async def loaded(contender: Contender, host: str, seconds: float) -> Figures:
    """Measure round trips while another channel is kept full."""
    round_trips = await _pings(contender, host, seconds, "stream+ping")
    return {f"loaded {name}": value for name, value in _spread(round_trips).items()}


def _spread(values: list[float]) -> Figures:
    if len(values) < 2:
        raise RuntimeError(f"{len(values)} pings came back")
    return {"p50": median(values), "p99": quantiles(values, n=100, method="inclusive")[98]}


async def pairs(contender: Contender, host: str, seconds: float) -> Figures:
    """Measure many connections in one process: the time to set one up, and its cost while idle."""
    options = {"host": host, "pairs": PAIRS, "idle": IDLE}
    process = await PeerProcess.start(contender, "pairs", options)
    try:
        async with asyncio.timeout(_PAIRS_PATIENCE):
            result = await process.receive("pairs")
    finally:
        await process.end()
    return {
        "pair": median(result["pairs"]) * 1e3,
        "memory": result["memory"] / 1e3,
        "idle": result["idle_share"] * 100 * 200 / result["connections"],
    }


async def dtls() -> Figures:
    """Measure MB/s of pyOpenSSL's record layer alone, called in batches, in the slower direction."""
    command = [sys.executable, "-m", "tests.bench.bench_dtls", "--json"]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=PIPE)
    out, _ = await process.communicate()
    result = json.loads(out)
    return {"throughput": result["size"] / max(result["OpenSSL, 13 per batch"])}


Measurement = Callable[[Contender, str, float], Awaitable[Figures]]

ROWS: Final[dict[str, Measurement]] = {
    "bulk": bulk,
    "back": back,
    "large": large,
    "small": small,
    "ping": ping,
    "loaded": loaded,
    "many": many,
    "pairs": pairs,
}
