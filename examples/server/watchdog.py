"""A robot that stops when its operator has been silent for 300 ms, whatever ICE says.

python examples/server/watchdog.py         then open the address it prints
"""

import argparse
import asyncio

from aiohttp import web

from datachan.patterns import Heartbeat
from datachan.server import Connection, serve

PAGE = """<!doctype html><meta charset=utf-8><title>Watchdog</title><output id=out>connecting</output>
<script type=module>
import { connect } from "./datachan.js"
import { Heartbeat } from "./patterns.js"
const link = connect("rtc", { channels: { beats: { ordered: false, maxRetransmits: 0 } } })
const heartbeat = new Heartbeat(link.channels.beats, { interval: 100, timeout: 300 })
heartbeat.addEventListener("return", () => { out.value = "the robot moves" })
heartbeat.addEventListener("silence", () => { out.value = "no beat from the robot" })
window.stop = () => heartbeat.stop()
</script>"""


async def handler(connection: Connection) -> None:
    Heartbeat(
        await connection.channel("beats"),
        timeout=0.3,
        on_return=lambda: print("The operator is there: the robot moves"),
        on_silence=lambda: print("Silence: the robot stops"),
    )
    await connection.closed()


async def page(_: web.Request) -> web.Response:
    return web.Response(text=PAGE, content_type="text/html")


async def main(port: int) -> None:
    app = web.Application()
    app.router.add_get("/", page)
    async with serve(handler, "127.0.0.1", port, app=app) as server:
        print(f"Open http://127.0.0.1:{server.port}/ in a browser; Ctrl-C ends.")
        await server.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8090, help="0 for any free port (default: %(default)s)")
    try:
        asyncio.run(main(parser.parse_args().port))
    except KeyboardInterrupt:
        print("Stopped")
