"""Figures as text that Prometheus reads; the text is prometheus-client's, so that it follows the format's versions."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from datachan.metrics import Distribution, Family

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

_OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0"


class MetricsUnavailable(Exception):
    """The package prometheus-client is missing; the message is a sentence for the user."""


def check_available() -> None:
    """Raise `MetricsUnavailable` if figures cannot be rendered."""
    if importlib.util.find_spec("prometheus_client") is None:
        raise MetricsUnavailable("/metrics needs another package: pip install 'datachan[metrics]'.")


def render(families: Iterable[Family], accept: str = "") -> tuple[bytes, str]:
    """Return the text and its content type.

    Args:
        families: The figures.
        accept: The `Accept` header of the request, which chooses between the formats of Prometheus and OpenMetrics.
    """
    check_available()
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415 - only with the extra

    # The encoder gets one of our own headers: it raises for versions that are not numbers.
    encode, content_type = choose_encoder(_OPENMETRICS if "application/openmetrics-text" in accept else "")
    return encode(_Collected(families)), content_type


class _Collected:
    """Families as a collector of prometheus-client."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Return the families as those of prometheus-client."""
        return map(_metric, self._families)


def _metric(family: Family) -> Metric:
    from prometheus_client.metrics_core import (  # noqa: PLC0415 - only with the extra
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        for key, value in family.values.items():
            if isinstance(value, Distribution):
                histogram.add_metric(key, list(_cumulative(value)), value.total)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for key, value in family.values.items():
        if not isinstance(value, Distribution):
            metric.add_metric(key, value)
    return metric


def _cumulative(value: Distribution) -> Iterator[tuple[str, float]]:
    """Return the buckets as Prometheus has them: each includes those below it."""
    count = 0
    for bound, number in zip((*value.bounds, float("inf")), value.counts, strict=True):
        count += number
        yield ("+Inf" if bound == float("inf") else str(bound)), count
