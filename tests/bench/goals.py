"""Compare the medians of one invocation with the goals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Final

COMPILED: Final = "datachan compiled"
PURE: Final = "datachan"
DTLS: Final = "DTLS alone"
WRTC: Final = "wrtc"
AIORTC: Final = "aiortc"
LIBDATACHANNEL: Final = "node-datachannel"


class Medians:
    """Return the median of each figure of each contender.

    Args:
        results: the results of the runs, by contender and figure.
    """

    def __init__(self, results: Mapping[tuple[str, str], list[float]]) -> None:
        self._medians = {key: median(values) for key, values in results.items() if values}

    def __call__(self, contender: str, figure: str) -> float:
        """Return a median. Raises KeyError when it was not measured."""
        return self._medians[contender, figure]


@dataclass(frozen=True)
class Goal:
    """A goal, which is a line of the table.

    Attributes:
        words: the name of the figure.
        wanted: the goal in words.
        measure: computes the figure from the medians.
        unit: printed after the number.
        least, most: the bounds; `most` may depend on another figure.
    """

    words: str
    wanted: str
    measure: Callable[[Medians], float]
    unit: str = "×"
    least: float | None = None
    most: float | Callable[[Medians], float] | None = None

    def judge(self, medians: Medians) -> tuple[str, str]:
        """Return the measured value and "yes" or "no"; dashes if a part of it was not measured."""
        try:
            value = self.measure(medians)
            most = self.most(medians) if callable(self.most) else self.most
        except KeyError:
            return "–", "–"
        met = (self.least is None or value >= self.least) and (most is None or value <= most)
        return f"{rounded(value)} {self.unit}".strip(), "yes" if met else "no"


def rounded(value: float) -> str:
    """Format a number with its significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _ratio(one: str, other: str, figure: str) -> Callable[[Medians], float]:
    return lambda m: m(one, figure) / m(other, figure)


def _value(contender: str, figure: str) -> Callable[[Medians], float]:
    return lambda m: m(contender, figure)


def _browser_goals(browser: str) -> Iterator[Goal]:
    """Return the goals with a browser: at least its rate to itself, and twice that of aiortc, in both directions."""
    for direction, figure in ((f"to {browser}", f"{browser} receives"), (f"from {browser}", f"{browser} sends")):
        own = partial(_with_browser, browser=browser, figure=figure)
        yield Goal(direction, "≥ its own to itself", own, least=1.0)
        yield Goal(direction, "≥ 2 × aiortc", _ratio(COMPILED, AIORTC, figure), least=2.0)


def _with_browser(medians: Medians, browser: str, figure: str) -> float:
    return medians(COMPILED, figure) / medians(browser, f"{browser} sends")


GOALS: Final = (
    Goal("throughput, compiled", "≥ 3 × wrtc", _ratio(COMPILED, WRTC, "throughput"), least=3.0),
    Goal("throughput, compiled", "≥ 15 × aiortc", _ratio(COMPILED, AIORTC, "throughput"), least=15),
    Goal("throughput, interpreted", "≥ 1.3 × wrtc", _ratio(PURE, WRTC, "throughput"), least=1.3),
    Goal("throughput, compiled", "≥ 0.65 × DTLS alone", _ratio(COMPILED, DTLS, "throughput"), least=0.65),
    Goal(
        "throughput, compiled, path MTU discovery",
        "≥ 3 × wrtc",
        lambda m: m(COMPILED, "large") / m(WRTC, "throughput"),
        least=3.0,
    ),
    Goal("100 connections, compiled", "≥ 0.7 × the rate of one", _value(COMPILED, "many share"), least=0.7),
    Goal("100-byte messages, compiled", "≥ 200,000/s", _value(COMPILED, "small"), "/s", least=200_000),
    Goal("round trip, idle, p50", "≤ wrtc's", _ratio(COMPILED, WRTC, "ping p50"), most=1.0),
    Goal("round trip, idle, p50", "≤ libdatachannel's", _ratio(COMPILED, LIBDATACHANNEL, "ping p50"), most=1.0),
    Goal("round trip, idle, p50, interpreted", "≤ 0.35 ms", _value(PURE, "ping p50"), "ms", most=0.35),
    Goal(
        "round trip, idle, p99",
        "≤ 2 × its p50",
        lambda m: m(COMPILED, "ping p99") / m(COMPILED, "ping p50"),
        most=2.0,
    ),
    Goal("round trip under load, p50", "≤ 3 ms", _value(COMPILED, "loaded p50"), "ms", most=3.0),
    Goal("round trip under load, p99", "≤ 8 ms", _value(COMPILED, "loaded p99"), "ms", most=8.0),
    Goal("open after the answer", "≤ 10 ms", _value(COMPILED, "open"), "ms", most=10.0),
    Goal("a pair in one process", "≤ 15 ms", _value(COMPILED, "pair"), "ms", most=15.0),
    Goal("memory per idle connection", "≤ 150 kB", _value(COMPILED, "memory"), "kB", most=150.0),
    Goal("CPU of 200 idle connections", "≤ 2 % of a core", _value(COMPILED, "idle"), "%", most=2.0),
    Goal("CPU per 100 MB", "≤ 0.4 × wrtc's", _ratio(COMPILED, WRTC, "cpu"), most=0.4),
    *_browser_goals("chromium"),
    *_browser_goals("firefox"),
)
