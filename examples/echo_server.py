"""An echo server for browsers and programs, reached with one HTTP request and no room.

python examples/echo_server.py         then open http://127.0.0.1:8081, or: python examples/echo_client.py hello
"""

import argparse
import asyncio
import sys

from aiohttp import web

import datachan
from datachan import PeerError, RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription, SdpError

PAGE = """<!doctype html><title>Echo</title><input id=line placeholder=Message><pre id=log></pre><script type=module>
const pc = new RTCPeerConnection(), channel = pc.createDataChannel("echo")
channel.onopen = channel.onclose = event => log.append(event.type + "\\n")
channel.onmessage = event => log.append(event.data + "\\n")
line.onchange = () => { channel.send(line.value); line.value = "" }
await pc.setLocalDescription()
while (pc.iceGatheringState != "complete") await new Promise(done => { pc.onicegatheringstatechange = done })
const headers = { "Content-Type": "application/json" }, body = JSON.stringify(pc.localDescription)
await pc.setRemoteDescription(await (await fetch("offer", { method: "POST", headers, body })).json())
</script>"""

calls: set[RTCPeerConnection] = set()


async def echo(channel: datachan.RTCDataChannel) -> None:
    try:
        async for message in channel:  # nothing is read from a caller that does not read
            channel.send(message)
            await channel.drain()
    except datachan.InvalidStateError:
        print("A caller has left while a message was being sent")


async def answer(request: web.Request, ice_servers: list[RTCIceServer]) -> web.Response:
    if request.content_type != "application/json":  # no page of another origin may send it
        raise web.HTTPUnsupportedMediaType
    pc = RTCPeerConnection(RTCConfiguration(ice_servers, waitForCandidates=True))
    pc.on("datachannel", echo)
    calls.add(pc)

    @pc.on("connectionstatechange")
    async def changed() -> None:
        print("A call is", pc.connectionState)
        if pc.connectionState in {"closed", "failed"}:
            await pc.close()
            calls.discard(pc)

    try:
        await pc.setRemoteDescription(RTCSessionDescription(**await request.json()))
        await pc.setLocalDescription(await pc.createAnswer())
    except (PeerError, SdpError, TypeError, ValueError) as error:
        await pc.close()
        calls.discard(pc)
        raise web.HTTPBadRequest(text=str(error)) from error
    return web.json_response(pc.localDescription.toJSON())


async def page(request: web.Request) -> web.Response:
    return web.Response(text=PAGE, content_type="text/html")


async def serve(host: str, port: int, servers: list[RTCIceServer]) -> None:
    app = web.Application()
    app.add_routes([web.get("/", page), web.post("/offer", lambda request: answer(request, servers))])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        host, port = runner.addresses[0][:2]
        print(f"Open http://{host}:{port} in a browser, or call http://{host}:{port}/offer")
        await asyncio.Event().wait()
    finally:
        await asyncio.gather(*(pc.close() for pc in tuple(calls)))
        await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description="Echo every message of every channel, for browsers and programs.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8081, help="0 for any free port (default: %(default)s)")
    parser.add_argument("--ice-server", metavar="URL[,USER,PASSWORD]", action="append", default=[], help="STUN or TURN")
    options = parser.parse_args()
    servers = [RTCIceServer(*text.split(",", 2)) for text in options.ice_server]
    try:
        asyncio.run(serve(options.host, options.port, servers))
    except KeyboardInterrupt:
        print("Stopped")
    except OSError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
