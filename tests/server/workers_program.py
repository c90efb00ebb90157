"""An echo server of several workers, as a program for the tests; its arguments are the TCP and the UDP port.

Each connection is told the process id of its worker on the channel `worker`; everything else comes back.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from aiohttp import web

from datachan.server import ChannelServerOptions, Connection, Worker, run_workers, serve

PAGE = Path(__file__).with_name("page.html")


async def echo(connection: Connection) -> None:
    """Tell who serves, and send every message back until the server drains."""
    async for channel in connection:
        if channel.label == "worker":
            channel.send(str(os.getpid()))
        channel.on("message", channel.send)


async def main(worker: Worker) -> None:
    """Serve in one worker."""
    port, udp_port = map(int, sys.argv[1:])
    app = web.Application()

    async def page(_: web.Request) -> web.FileResponse:
        return web.FileResponse(PAGE)

    app.router.add_get("/", page)
    options = ChannelServerOptions(restart_timeout=5.0)
    async with serve(
        echo, "127.0.0.1", port, udp_port=udp_port, app=app, options=options, grace=5.0, worker=worker
    ) as server:
        os.write(1, f"worker {worker.index} is process {os.getpid()}\n".encode())  # whole, beside the other's
        await server.until_stopped()


if __name__ == "__main__":
    sys.exit(run_workers(main, 2))
