"""RTCDataChannel-close.html."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.pairs import Pair, pair, soon


@pytest.fixture(params=[{}, {"negotiated": True, "id": 0}], ids=["in-band", "negotiated"])
async def p(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    async with pair(**request.param) as connected:
        yield connected


def record(channel: Any) -> list[str]:
    seen: list[str] = []
    for name in ("closing", "close", "error"):
        channel.on(name, lambda *args, name=name: seen.append(f"{name} {channel.readyState}"))
    return seen


async def test_the_other_end_emits_closing_and_close_and_ours_only_close(p: Pair) -> None:
    ours, theirs = record(p.a_channel), record(p.z_channel)

    p.a_channel.close()
    await soon(asyncio.gather(p.a_channel.closed(), p.z_channel.closed()))

    assert ours == ["close closed"]
    assert theirs == ["closing closing", "close closed"]


async def test_closing_the_connection_closes_the_other_end(p: Pair) -> None:
    # The original test expects an error first, because browsers abort. We shut down gracefully, without an error.
    theirs = record(p.z_channel)

    await soon(p.a.close())
    await soon(p.z_channel.closed())

    assert theirs[-1] == "close closed"
    assert not any(name.startswith("error") for name in theirs)


async def test_closing_the_connection_after_the_channel_emits_nothing_more(p: Pair) -> None:
    p.a_channel.close()
    await soon(asyncio.gather(p.a_channel.closed(), p.z_channel.closed()))
    ours, theirs = record(p.a_channel), record(p.z_channel)

    await soon(p.a.close())
    while p.z.connectionState != "closed":
        await asyncio.sleep(0)

    assert (ours, theirs) == ([], [])
