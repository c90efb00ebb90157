"""Positions of two carts, 500 times a second each: a slow browser gets fewer of them, never old ones.

python examples/server/latest_values.py         then open the address it prints
"""

import argparse
import asyncio
import json
import math

from aiohttp import web

from datachan.patterns import LatestValues
from datachan.server import Connection, serve

PAGE = """<!doctype html><meta charset=utf-8><title>Latest values</title><output id=out>connecting</output>
<script type=module>
import { connect } from "./datachan.js"
const link = connect("rtc", { channels: { carts: {} } }), carts = {}
link.channels.carts.addEventListener("message", ({ data }) => {
  Object.assign(carts, JSON.parse(data))
  out.value = Object.entries(carts).map(([name, position]) => `${name} at ${position}`).join(", ")
})
</script>"""


async def handler(connection: Connection) -> None:
    values = LatestValues(await connection.channel("carts"), max_age=0.2)
    time = asyncio.get_running_loop().time
    while not connection.ended:
        for key, phase in (("left", 0.0), ("right", math.pi)):
            values.set(json.dumps({key: round(math.sin(time() + phase), 2)}), key)
        await asyncio.sleep(0.002)


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
