"""The load test of rooms that span nodes, with few members: a node is killed, and nothing is lost."""

from __future__ import annotations

import shutil

from tests.bench.broker import measure
from tests.missing import missing


async def test_no_member_and_no_message_is_lost_when_a_node_is_killed() -> None:
    if shutil.which("redis-server") is None:
        missing("redis-server is not installed (apt install redis-server)")
    figures = await measure(members=160, seconds=6, rate=2)
    assert figures.is_complete, figures
    assert figures.returned == 54
    assert figures.messages > 1500
