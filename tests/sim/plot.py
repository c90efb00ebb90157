"""Plots of a transfer over time: window and flight, round trip, goodput. For people, not for tests; needs matplotlib.

    python -m tests.sim.plot wan cubic out.png [seconds]

The first argument is a row of the table of links (tests/links/bench.py), the second a congestion control.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt

from .links import ROWS, bulk_pair, conditions


@dataclass
class Samples:
    """Samples of an association at regular times."""

    interval: float
    time: list[float] = field(default_factory=list)
    cwnd: list[float] = field(default_factory=list)
    flight: list[float] = field(default_factory=list)
    rtt: list[float] = field(default_factory=list)
    goodput: list[float] = field(default_factory=list)
    drops: list[float] = field(default_factory=list)


def record(row: str, control: str, seconds: float) -> Samples:
    """Return samples of a transfer from its first packet on, in kB, ms and Mbit/s."""
    pair, _ = bulk_pair(row, control)
    samples = Samples(max(seconds / 400, 0.005))
    arrived = seen = 0
    link = pair.network.to_z
    while pair.now < seconds:
        pair.run(samples.interval)
        stats = pair.a.machine.stats()
        # Bytes received, not messages, which arrive in steps of 64 kB.
        total = pair.z.machine.stats().bytes_received
        samples.time.append(pair.now)
        samples.cwnd.append(stats.cwnd / 1000)
        samples.flight.append(stats.flight_size / 1000)
        samples.rtt.append((stats.srtt or 0.0) * 1000)
        samples.goodput.append((total - arrived) * 8e-6 / samples.interval)
        samples.drops += [passage.time for passage in link.passages[seen:] if passage.arrival is None]
        arrived, seen = total, len(link.passages)
    return samples


def smoothed(values: list[float], width: int = 8) -> list[float]:
    """Return the mean over the last `width` values, for each value."""
    return [sum(values[max(0, end - width) : end]) / min(end, width) for end in range(1, len(values) + 1)]


def draw(row: str, control: str, samples: Samples, path: Path) -> None:
    """Draw three panels, one above the other, with a common time axis."""
    way = conditions(row)
    pipe = way.rate * 2 * way.latency / 1000
    figure: Any
    figure, (windows, delay, speed) = plt.subplots(3, 1, sharex=True, figsize=(10, 8), layout="constrained")
    figure.suptitle(f"{row}: {ROWS[row]}, {control}")
    windows.plot(samples.time, samples.cwnd, label="cwnd", linewidth=1.5)
    windows.plot(samples.time, samples.flight, label="flight", linewidth=0.8)
    windows.axhline(pipe, color="gray", linestyle=":", label="path without queue")
    windows.axhline(pipe + way.queue / 1000, color="gray", linestyle="--", label="path and full queue")
    windows.set_ylabel("kB")
    # Cut off the first overshoot, which would flatten everything else.
    windows.set_ylim(0, min(1.05 * max(samples.cwnd), 3 * (pipe + way.queue / 1000)))
    delay.plot(samples.time, samples.rtt, label="smoothed round trip", color="tab:purple")
    delay.axhline(way.latency * 2000, color="gray", linestyle=":", label="path without queue")
    delay.set_ylabel("ms")
    delay.set_ylim(0)
    speed.plot(samples.time, smoothed(samples.goodput), label="arriving", color="tab:green")
    speed.axhline(way.rate * 8e-6, color="gray", linestyle=":", label="the link's rate")
    speed.plot(samples.drops, [0] * len(samples.drops), "|", color="tab:red", label="packets dropped", clip_on=False)
    speed.set_ylabel("Mbit/s")
    speed.set_ylim(0)
    speed.set_xlabel("seconds")
    for axes in (windows, delay, speed):
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right", fontsize="small", framealpha=0.9)
    figure.savefig(path, dpi=110)


def main(arguments: list[str]) -> str | None:
    """Draw the plot the arguments ask for; return an error message, if any."""
    if len(arguments) not in (3, 4) or arguments[0] not in ROWS:
        return f"{__doc__}\nThe rows are {', '.join(ROWS)}."
    row, control, path = arguments[:3]
    seconds = float(arguments[3]) if len(arguments) == 4 else 4.0
    draw(row, control, record(row, control, seconds), Path(path))
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
