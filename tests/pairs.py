"""Two peer connections A and Z in one event loop, for the tests of the peer API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from datachan import RTCConfiguration, RTCDataChannel, RTCPeerConnection

T = TypeVar("T")
PATIENCE = 60.0
LOOPBACK = ("127.0.0.1",)


def configuration(**changes: Any) -> RTCConfiguration:
    """Return a configuration that uses loopback only, and soon gives up on a peer that has gone."""
    return RTCConfiguration(**{"hostAddresses": LOOPBACK, "closeTimeout": 2.0, **changes})


async def soon(what: Awaitable[T]) -> T:
    """Wait for an awaitable, at most `PATIENCE` seconds."""
    return await asyncio.wait_for(what, PATIENCE)


async def event(emitter: Any, name: str) -> Any:
    """Wait for the next event of that name and return its argument."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def listener(*args: Any) -> None:
        if not future.done():
            future.set_result(args[0] if args else None)

    emitter.once(name, listener)
    return await soon(future)


async def state(emitter: Any, attribute: str, wanted: str, name: str) -> None:
    """Wait until an attribute has a value, checking it at each event of that name."""
    while getattr(emitter, attribute) != wanted:
        await event(emitter, name)


async def signal(offerer: RTCPeerConnection, answerer: RTCPeerConnection) -> None:
    """Exchange an offer and an answer."""
    await offerer.setLocalDescription()
    await answerer.setRemoteDescription(offerer.localDescription)
    await answerer.setLocalDescription()
    await offerer.setRemoteDescription(answerer.localDescription)


async def connected(*connections: RTCPeerConnection) -> None:
    """Wait until all are connected."""
    for connection in connections:
        await state(connection, "connectionState", "connected", "connectionstatechange")


@dataclass
class Pair:
    """The offerer A, the answerer Z, A's channel and Z's end of it."""

    a: RTCPeerConnection
    z: RTCPeerConnection
    a_channel: RTCDataChannel
    z_channel: RTCDataChannel
    log: list[str] = field(default_factory=list)


async def channel_pair(
    a: RTCPeerConnection, z: RTCPeerConnection, label: str = "test", **options: Any
) -> tuple[RTCDataChannel, RTCDataChannel]:
    """Return both ends of an open channel; connect the peers first if needed."""
    a_channel = a.createDataChannel(label, **options)
    if options.get("negotiated"):
        z_channel = z.createDataChannel(label, **options)
        if a.connectionState == "new":
            await signal(a, z)
    else:
        announced = asyncio.ensure_future(event(z, "datachannel"))
        await asyncio.sleep(0)
        if a.connectionState == "new":
            await signal(a, z)
        z_channel = await announced
    await soon(a_channel.opened())
    await soon(z_channel.opened())
    return a_channel, z_channel


@asynccontextmanager
async def pair(
    label: str = "test",
    *,
    a_configuration: RTCConfiguration | None = None,
    z_configuration: RTCConfiguration | None = None,
    **options: Any,
) -> AsyncIterator[Pair]:
    """Provide two connected peers with an open channel, and close both at the end."""
    async with (
        RTCPeerConnection(a_configuration or configuration()) as a,
        RTCPeerConnection(z_configuration or configuration()) as z,
    ):
        a_channel, z_channel = await channel_pair(a, z, label, **options)
        yield Pair(a, z, a_channel, z_channel)
