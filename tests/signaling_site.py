"""A signaling server on a port of this machine, for tests in the same event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from datachan.signaling import SignalingServer


@asynccontextmanager
async def listening(server: SignalingServer | None = None, port: int = 0) -> AsyncIterator[str]:
    """Serve until the end of the block; the value is the address, without a slash at its end."""
    runner = web.AppRunner((server or SignalingServer()).create_app(), shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
