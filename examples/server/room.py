"""A chat room: each line goes to all others, and a browser that does not keep up misses lines.

python examples/server/room.py         then open the address it prints
"""

import argparse
import asyncio

from aiohttp import web

from datachan.patterns import Broadcast
from datachan.server import Connection, serve

PAGE = """<!doctype html><meta charset=utf-8><title>Room</title><output id=out>connecting</output>
<script type=module>
import { connect } from "./datachan.js"
const link = connect("rtc", { channels: { chat: {} } })
const show = text => { out.value += "\\n" + text }
link.channels.chat.addEventListener("open", () => { out.value = "connected" })
link.channels.chat.addEventListener("message", ({ data }) => show(data))
window.say = text => link.channels.chat.send(text)
</script>"""


room = Broadcast(max_buffered=64 * 1024)


async def handler(connection: Connection) -> None:
    channel = await connection.channel("chat")
    room.add(channel)
    channel.send(f"{len(room)} here")
    async for line in channel:
        room.send(line, to_all_but=channel)


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
