"""The clock of the server in the browser, and the round trip: for games, and to date measurements.

python examples/server/clocks.py         then open the address it prints
"""

import argparse
import asyncio

from aiohttp import web

from datachan.patterns import Clock
from datachan.server import Connection, serve

PAGE = """<!doctype html><meta charset=utf-8><title>Clock</title><output id=out>connecting</output>
<script type=module>
import { connect } from "./datachan.js"
import { Clock } from "./patterns.js"
const link = connect("rtc", { channels: { clock: { ordered: false, maxRetransmits: 0 } } })
const clock = new Clock(link.channels.clock)
for (;;) {
  if (link.channels.clock.readyState === "open") await clock.measure()
  if (clock.rtt !== null) out.value = `offset ${clock.offset.toFixed(1)} ms, round trip ${clock.rtt.toFixed(1)} ms`
  await new Promise(done => setTimeout(done, 200))
}
</script>"""


async def handler(connection: Connection) -> None:
    clock = Clock(await connection.channel("clock"))
    while not connection.ended:
        if await clock.measure() and clock.rtt is not None and clock.offset is not None:
            print(f"the browser's clock is {1000 * clock.offset:+.1f} ms off, round trip {1000 * clock.rtt:.1f} ms")
        await asyncio.sleep(1)


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
