"""Figures about a running server: counters, gauges and histograms by name; knows neither their meaning nor Prometheus.

A part of the server registers its figures once, under names that begin with `datachan_`, and changes them as it works:

    refused = metrics.counter("datachan_refused_requests_total", "Requests that were refused.", ("reason",))
    refused.add("busy")
    metrics.gauge("datachan_rooms", "Rooms with members.", read=lambda: rooms.room_count)

Figures that cost more to find are found when they are asked for: `metrics.add_source` registers a coroutine function
that returns families. Families are plain values: a process can send them to another, which joins them with `merged`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final, Literal, TypeAlias, TypeVar

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]

MAX_SERIES: Final = 200
"""Combinations of label values of one metric. Further ones count together, with the value `OTHER` for each label."""

OTHER: Final = "other"

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Bounds of a histogram of times, in seconds."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """The values that a histogram has seen.

    Attributes:
        bounds: The upper bounds of the buckets, in ascending order. One more bucket has no bound.
        counts: The number of values in each bucket, without those of the buckets below.
        total: The sum of all values.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


@dataclass(frozen=True, slots=True)
class Family:
    """One metric at one moment, with a value for each combination of label values.

    Attributes:
        name: The name; that of a counter ends with `_total`.
        kind: The kind.
        help: What is counted, in a sentence.
        labels: The names of the labels.
        values: The values, by label values in the order of `labels`.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    values: dict[tuple[str, ...], float | Distribution] = field(default_factory=dict)


Source: TypeAlias = Callable[[], Awaitable[Iterable[Family]]]


class _Metric:
    """What the kinds have in common: a name, labels, and a bound on the combinations of label values."""

    def __init__(self, name: str, help_: str, labels: Sequence[str]) -> None:
        self.name = name
        self.help = help_
        self.labels = tuple(labels)

    def _key(self, given: tuple[str, ...], known: Mapping[tuple[str, ...], object]) -> tuple[str, ...]:
        if len(given) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}, not {len(given)} of them")
        return given if given in known or len(known) < MAX_SERIES else (OTHER,) * len(given)


class _Number(_Metric):
    """A number for each combination of label values."""

    kind: ClassVar[Kind]

    def __init__(self, name: str, help_: str, labels: Sequence[str], read: Callable[[], float] | None) -> None:
        super().__init__(name, help_, labels)
        self._read = read
        self._values: dict[tuple[str, ...], float] = {}

    def family(self) -> Family:
        """Return the present values."""
        values: dict[tuple[str, ...], float | Distribution] = {**self._values}
        if self._read is not None:
            values[()] = self._read()
        return Family(self.name, self.kind, self.help, self.labels, values)


class Counter(_Number):
    """A number that only grows; `Metrics.counter` makes it."""

    kind = "counter"

    def __init__(self, name: str, help_: str, labels: Sequence[str], read: Callable[[], float] | None) -> None:
        super().__init__(name, help_, labels, read)
        if not labels:
            self._values[()] = 0.0

    def add(self, *labels: str, amount: float = 1) -> None:
        """Add `amount` to the number with these label values."""
        key = self._key(labels, self._values)
        self._values[key] = self._values.get(key, 0.0) + amount


class Gauge(_Number):
    """A number that grows and shrinks; `Metrics.gauge` makes it."""

    kind = "gauge"

    def set(self, value: float, *labels: str) -> None:
        """Set the number with these label values."""
        self._values[self._key(labels, self._values)] = value


class _Buckets:
    """The values of a histogram with one combination of label values."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0


class Histogram(_Metric):
    """How values are distributed; `Metrics.histogram` makes it."""

    def __init__(self, name: str, help_: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        super().__init__(name, help_, labels)
        self._bounds = tuple(sorted(bounds))
        self._values: dict[tuple[str, ...], _Buckets] = {} if labels else {(): _Buckets(self._bounds)}

    def observe(self, value: float, *labels: str) -> None:
        """Count one value with these label values."""
        key = self._key(labels, self._values)
        buckets = self._values.get(key)
        if buckets is None:
            buckets = self._values[key] = _Buckets(self._bounds)
        buckets.counts[bisect_left(self._bounds, value)] += 1
        buckets.total += value

    def family(self) -> Family:
        """Return the present values."""
        values: dict[tuple[str, ...], float | Distribution] = {
            key: Distribution(self._bounds, tuple(one.counts), one.total) for key, one in self._values.items()
        }
        return Family(self.name, "histogram", self.help, self.labels, values)


_M = TypeVar("_M", Counter, Gauge, Histogram)


class Metrics:
    """The figures of one process."""

    def __init__(self) -> None:
        self._metrics: dict[str, Counter | Gauge | Histogram] = {}
        self._sources: list[Source] = []

    def counter(
        self, name: str, help_: str, labels: Sequence[str] = (), *, read: Callable[[], float] | None = None
    ) -> Counter:
        """Return a new counter.

        Args:
            name: The name, which ends with `_total`.
            help_: What is counted, in a sentence.
            labels: The names of the labels. Their values come from a fixed set, never from a peer.
            read: Returns the number each time it is asked for, for a counter without labels; None to `add` to it.
        """
        if not name.endswith("_total"):
            raise ValueError(f"the name of a counter ends with _total, and {name} does not")
        return self._add(Counter(name, help_, labels, read))

    def gauge(
        self, name: str, help_: str, labels: Sequence[str] = (), *, read: Callable[[], float] | None = None
    ) -> Gauge:
        """Return a new gauge.

        Args:
            name: The name.
            help_: What is counted, in a sentence.
            labels: The names of the labels. Their values come from a fixed set, never from a peer.
            read: Returns the value each time it is asked for, for a gauge without labels; None to `set` it.
        """
        return self._add(Gauge(name, help_, labels, read))

    def histogram(
        self, name: str, help_: str, labels: Sequence[str] = (), *, bounds: Sequence[float] = SECONDS
    ) -> Histogram:
        """Return a new histogram.

        Args:
            name: The name, with its unit at the end, such as `_seconds`.
            help_: What is counted, in a sentence.
            labels: The names of the labels. Their values come from a fixed set, never from a peer.
            bounds: The upper bounds of the buckets.
        """
        return self._add(Histogram(name, help_, labels, bounds))

    def add_source(self, source: Source) -> None:
        """Call a coroutine function each time the figures are asked for, and include the families it returns."""
        self._sources.append(source)

    def remove_source(self, source: Source) -> None:
        """Do not ask a source any more."""
        self._sources.remove(source)

    async def families(self) -> list[Family]:
        """Return all figures of this moment."""
        # Sources first: some of them add to counters when they are asked.
        found = [await source() for source in tuple(self._sources)]
        return merged([[metric.family() for metric in self._metrics.values()], *found])

    def _add(self, metric: _M) -> _M:
        if metric.name in self._metrics:
            raise ValueError(f"there is a metric {metric.name} already")
        self._metrics[metric.name] = metric
        return metric


def labeled(families: Iterable[Family], name: str, value: str) -> list[Family]:
    """Return families with one more label, such as the worker that they come from."""
    return [
        replace(one, labels=(*one.labels, name), values={(*key, value): number for key, number in one.values.items()})
        for one in families
    ]


def merged(lists: Iterable[Iterable[Family]]) -> list[Family]:
    """Return the families of several places, each name once. The places differ in their label values."""
    found: dict[str, Family] = {}
    for families in lists:
        for one in families:
            known = found.get(one.name)
            found[one.name] = one if known is None else replace(known, values=known.values | one.values)
    return list(found.values())
