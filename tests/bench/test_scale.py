"""Check the measurement of many connections in one process: their cost and their throughput."""

from __future__ import annotations

from tests.bench import associations
from tests.bench.scale import idle, throughput


async def test_measures_the_memory_of_idle_connections() -> None:
    figures = await idle(14, 0.1)

    assert figures["setup"] > 0
    assert figures["cpu"] >= 0
    assert figures["reading"] >= 0
    assert set(figures) == {"setup", "memory", "cpu", "reading"}


async def test_measures_the_throughput_of_several_connections() -> None:
    assert await throughput(2, 0.2) > 0


async def test_measures_the_associations_of_one_socket_idle_and_used() -> None:
    figures = await associations.measure(120)

    assert figures["associations"] == 120
    assert figures["setup"] > 0
    assert set(figures) == {"idle", "used", "setup", "associations"}
