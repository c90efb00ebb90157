"""Many connections of one process are measured: what they cost, and what they carry."""

from tests.bench.scale import idle, throughput


async def test_idle_connections_are_counted_and_weighed() -> None:
    figures = await idle(14, 0.1)

    assert figures["setup"] > 0
    assert figures["cpu"] >= 0
    assert set(figures) == {"setup", "memory", "cpu"}


async def test_what_several_connections_carry_arrives() -> None:
    assert await throughput(2, 0.2) > 0
