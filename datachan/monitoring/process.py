"""CPU time, memory and file descriptors of this process, with the names that Prometheus gives them everywhere."""

from __future__ import annotations

from typing import cast

from datachan.metrics import Family, Kind


async def process_figures() -> list[Family]:
    """Return the figures of this process; none on systems without /proc. It is a source for `Metrics`."""
    from prometheus_client import ProcessCollector  # noqa: PLC0415 - only with the extra

    found = []
    for family in ProcessCollector(registry=None).collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        values = {tuple(sample.labels.values()): sample.value for sample in family.samples if sample.name == name}
        found.append(Family(name, cast(Kind, family.type), family.documentation, (), {**values}))
    return found
