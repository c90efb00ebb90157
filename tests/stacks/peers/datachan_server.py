"""An echo server of `datachan.server` on one UDP port, for `make bench-server`; it prints its TCP port as JSON."""

from __future__ import annotations

import asyncio
import json

import datachan.sctp.association
from datachan.server import Connection, serve
from tests.bench.scale import raise_file_limit


async def echo(connection: Connection) -> None:
    """Send every message back."""
    async for channel in connection:
        channel.on("message", channel.send)


async def main() -> None:
    """Serve until the process is ended."""
    compiled = not str(datachan.sctp.association.__file__).endswith(".py")
    async with serve(echo, "127.0.0.1", 0, udp_port=0) as server:
        print(json.dumps({"port": server.port, "compiled": compiled}), flush=True)
        await server.wait()


if __name__ == "__main__":
    raise_file_limit()
    asyncio.run(main())
