"""Check the measurement of a server with many peers."""

from __future__ import annotations

from tests.bench.server import CROWD, ROWS, Load, measure, servers, table
from tests.missing import missing


async def test_measures_the_echoes_of_a_few_peers() -> None:
    if not CROWD.exists():
        missing("the peers of the benchmark are not built: make peers")
    ours = servers(is_compiled=False)[0]
    load = Load(peers=4, rate=20, size=100, seconds=0.5, ramp=0.2)

    figures = await measure(ours, load)

    assert set(figures) == {key for key, *_ in ROWS}
    assert figures["echoed"] > 0
    assert 0 < figures["p50"] <= figures["p99"]


def test_states_which_goals_are_met() -> None:
    ours = dict.fromkeys((key for key, *_ in ROWS), 100.0)
    other = ours | {"cost": 50.0}

    text = table({"datachan compiled": [ours], "node-datachannel": [other]}, Load(1000, 20, 100, 1.0))

    assert "p99 at most 20 ms: no" in text
    assert "150 kB a connection: yes" in text
    assert "2.00 × it, no" in text
