"""Print the results of `make bench`: the machine, the medians, the goals, and a plot."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Final

from OpenSSL import SSL

from tests.bench.goals import DTLS, GOALS, Medians, rounded

Results = Mapping[tuple[str, str], list[float]]

# Figure, its name in the table, and its unit.
FIGURES: Final = (
    ("throughput", "64 KiB messages, offerer to answerer", "MB/s"),
    ("throughput back", "the same, answerer to offerer", "MB/s"),
    ("cpu", "CPU per 100 MB, both sides", "s"),
    ("large", "64 KiB messages, path MTU discovery", "MB/s"),
    ("small", "100-byte messages, ordered", "/s"),
    ("ping p50", "round trip of 64 bytes, idle, p50", "ms"),
    ("ping p99", "the same, p99", "ms"),
    ("loaded p50", "during a bulk transfer, p50", "ms"),
    ("loaded p99", "the same, p99", "ms"),
    ("many", "64 KiB messages on 100 connections", "MB/s"),
    ("many share", "the same, as a part of the rate of one", "×"),
    ("many cpu", "CPU per 100 MB on 100 connections", "s"),
    ("many cpu share", "the CPU of one, as a part of it", "×"),
    ("open", "channel open after the answer was applied", "ms"),
    ("pair", "a pair set up in one process", "ms"),
    ("memory", "memory per idle connection", "kB"),
    ("idle", "CPU of 200 idle connections", "% of a core"),
    ("chromium receives", "to Chromium, 64 KiB messages", "MB/s"),
    ("chromium sends", "from Chromium", "MB/s"),
    ("firefox receives", "to Firefox, 64 KiB messages", "MB/s"),
    ("firefox sends", "from Firefox", "MB/s"),
)


def machine() -> str:
    """Describe the machine, the system and the versions, for comparisons."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.machine()
    load = f", load {os.getloadavg()[0]:.1f} before" if hasattr(os, "getloadavg") else ""
    packages = ", ".join(f"{name} {_version(name)}" for name in ("aiortc", "wrtc", "pyOpenSSL") if _version(name))
    return (
        f"{model}, {os.cpu_count()} cores{load}; {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, {SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode()}, {packages}"
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def medians_table(results: Results, contenders: Sequence[str]) -> str:
    """Return a table with a row for each figure and a column for each contender: the median and the range."""
    lines = ["| | " + " | ".join(contenders) + " |", "|---" + "|--:" * len(contenders) + "|"]
    for figure, words, unit in FIGURES:
        cells = [_cell(results.get((name, figure))) for name in contenders]
        if any(cell != "–" for cell in cells):
            lines.append(f"| {words}, {unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: Sequence[float] | None) -> str:
    if not values:
        return "–"
    if len(values) == 1:
        return rounded(values[0])
    return f"{rounded(median(values))} ({rounded(min(values))}–{rounded(max(values))})"


def goals_table(results: Results) -> str:
    """Return a table of the goals, the measured figures, and whether they are met."""
    medians = Medians(results)
    lines = ["| figure | goal | measured | met |", "|---|---|--:|---|"]
    for goal in GOALS:
        measured, met = goal.judge(medians)
        lines.append(f"| {goal.words} | {goal.wanted} | {measured} | {met} |")
    return "\n".join(lines)


def plot(results: Results, contenders: Sequence[str], caption: str, path: Path) -> None:
    """Draw the medians, a panel for each figure, with marks from the minimum to the maximum.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl  # noqa: PLC0415 (optional)

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figures = [entry for entry in FIGURES if any(results.get((name, entry[0])) for name in contenders)]
    columns = 3
    rows = -(-len(figures) // columns)
    drawing, axes = plt.subplots(rows, columns, figsize=(15, 2.6 * rows), squeeze=False)
    for axis in axes.flat[len(figures) :]:
        axis.set_visible(False)
    for axis, (figure, words, unit) in zip(axes.flat, figures, strict=False):
        shown = [name for name in contenders if results.get((name, figure))]
        values = [median(results[name, figure]) for name in shown]
        below = [value - min(results[name, figure]) for name, value in zip(shown, values, strict=True)]
        above = [max(results[name, figure]) - value for name, value in zip(shown, values, strict=True)]
        colors = ["tab:blue" if name.startswith("datachan") else "tab:gray" for name in shown]
        if DTLS in shown:
            colors[shown.index(DTLS)] = "lightgray"
        axis.barh(shown, values, xerr=[below, above], color=colors, error_kw={"elinewidth": 0.8})
        axis.invert_yaxis()
        axis.set_title(f"{words}, {unit}", fontsize=9)
        axis.tick_params(labelsize=8)
    drawing.suptitle(caption, fontsize=8)
    drawing.tight_layout()
    drawing.savefig(path, dpi=110)
    plt.close(drawing)
