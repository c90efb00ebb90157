"""Many connections of one process are measured: what they cost, and what they carry."""

from __future__ import annotations

from tests.bench import associations
from tests.bench.scale import idle, throughput


async def test_idle_connections_are_counted_and_weighed() -> None:
    figures = await idle(14, 0.1)

    assert figures["setup"] > 0
    assert figures["cpu"] >= 0
    assert set(figures) == {"setup", "memory", "cpu"}


async def test_what_several_connections_carry_arrives() -> None:
    assert await throughput(2, 0.2) > 0


async def test_associations_of_one_socket_are_counted_weighed_and_used() -> None:
    figures = await associations.measure(120)

    assert figures["associations"] == 120
    assert figures["setup"] > 0
    assert set(figures) == {"idle", "used", "setup", "associations"}
