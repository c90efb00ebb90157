"""A connection that has ended is freed at once: the garbage collector of a server may then run rarely."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest

from datachan import RTCDataChannel
from tests.pairs import pair, soon


@pytest.fixture
def garbage() -> Iterator[list[Any]]:
    """Return the list in which the garbage collector, which does not run by itself, keeps what it finds."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield gc.garbage
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()
    gc.collect()


def _of_ours(garbage: list[Any]) -> list[str]:
    """Collect, and return the classes of ours of which objects were found."""
    gc.collect()
    return sorted({type(one).__qualname__ for one in garbage if type(one).__module__.startswith("datachan")})


async def _converse(channel: RTCDataChannel, other: RTCDataChannel) -> None:
    channel.send("hello")
    async for message in other:
        assert message == "hello"
        return


async def test_connections_that_were_closed_are_freed_without_the_garbage_collector(garbage: list[Any]) -> None:
    async with pair() as p:
        connection, channel = p.a, p.a_channel
        # As nearly every program has them: callbacks that refer to their own object.
        channel.on("close", lambda channel=channel: channel.readyState)
        connection.on("connectionstatechange", lambda connection=connection: connection.connectionState)
        await soon(_converse(p.a_channel, p.z_channel))
        await soon(_converse(p.z_channel, p.a_channel))
    del p, connection, channel
    await asyncio.sleep(0)
    assert _of_ours(garbage) == []


async def test_a_connection_that_ends_with_data_in_flight_is_freed_without_the_garbage_collector(
    garbage: list[Any],
) -> None:
    async with pair() as p:
        p.a_channel.send(bytes(1_000_000))
        p.z.sctp.transport.iceTransport.on("statechange", lambda: None)  # type: ignore[union-attr]
        await p.z.close()
        await p.a.close()
    del p
    await asyncio.sleep(0)
    assert _of_ours(garbage) == []
