"""Requests with a deadline, both ways: the browser asks for a sum, the server asks for the size of the window.

python examples/server/requests.py         then open the address it prints
"""

import argparse
import asyncio
from typing import Any

from aiohttp import web

from datachan.patterns import RequestChannel, RequestError, RequestTimeout
from datachan.server import Connection, serve

PAGE = """<!doctype html><meta charset=utf-8><title>Requests</title><output id=out>connecting</output>
<script type=module>
import { connect } from "./datachan.js"
import { RequestChannel } from "./patterns.js"
const link = connect("rtc", { channels: { requests: {} } })
const requests = new RequestChannel(link.channels.requests, () => ({ width: innerWidth }))
await link.opened()
while (link.channels.requests.readyState !== "open") await new Promise(done => setTimeout(done, 10))
const sum = await requests.request([1, 2, 3])
const late = await requests.request("sleep", { timeout: 100 }).catch(error => error.name)
const wrong = await requests.request("nonsense").catch(error => error.message)
out.value = `sum ${sum}, ${late}, ${wrong}`
</script>"""


async def answer(body: Any) -> Any:
    if body == "sleep":
        await asyncio.sleep(5)  # canceled after 100 ms, when the browser has given up
    if not isinstance(body, list):
        raise RequestError("a list of numbers is expected")
    return sum(number for number in body if isinstance(number, int))


async def handler(connection: Connection) -> None:
    requests = RequestChannel(await connection.channel("requests"), answer)
    try:
        print("The window is", (await requests.request("size"))["width"], "pixels wide")
    except RequestTimeout:
        print("The browser did not answer in time")
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
