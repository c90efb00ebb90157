"""An echo server of `datachan.server` on one UDP port, for `make bench-server`; it prints its TCP port as JSON.

With arguments, the number of workers, a TCP port and a UDP port, these workers share the two ports.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from functools import partial

import datachan.sctp.association
from datachan import RTCConfiguration, RTCDataChannel
from datachan.server import ChannelServerOptions, Connection, Worker, collect_rarely, run_workers, serve
from tests.bench.scale import raise_file_limit

_OPTIONS = ChannelServerOptions(max_connections=20_000)
# The one candidate that the other servers have, too.
_CONFIGURATION = RTCConfiguration(hostAddresses=["127.0.0.1"])


async def echo(connection: Connection) -> None:
    """Send every message back, until the connection ends."""
    async for channel in connection:
        channel.on("message", partial(_send_back, channel))


def _send_back(channel: RTCDataChannel, message: str | bytes) -> None:
    if channel.readyState == "open":
        channel.send(message)


async def main(worker: Worker | None = None, port: int = 0, udp_port: int = 0) -> None:
    """Serve until the process is ended."""
    compiled = not str(datachan.sctp.association.__file__).endswith(".py")
    async with serve(
        echo,
        "127.0.0.1",
        port,
        udp_port=udp_port,
        options=_OPTIONS,
        configuration=_CONFIGURATION,
        worker=worker,
    ) as server:
        os.write(1, json.dumps({"port": server.port, "compiled": compiled}).encode() + b"\n")
        await server.until_stopped()


def main_of_workers() -> int:
    """Serve in several processes; return the exit status."""
    count, port, udp_port = map(int, sys.argv[1:])
    return run_workers(lambda worker: main(worker, port, udp_port), count)


if __name__ == "__main__":
    raise_file_limit()
    if len(sys.argv) > 1:
        sys.exit(main_of_workers())
    collect_rarely()
    asyncio.run(main())
