"""A robot with a web page: live telemetry at 50 Hz, commands back, several viewers, reconnection.

python examples/robot.py           then open the address it prints in one or more browsers; the page is examples/robot
"""

import argparse
import asyncio
import itertools
import json
import sys
from pathlib import Path

from aiohttp import web

from datachan import PeerError, RTCConfiguration, RTCDataChannel, RTCIceServer, RTCPeerConnection, RTCSessionDescription

RATE, MAX_VIEWERS = 50, 8  # samples per second, connections


class Robot:
    """A cart on a rail: it moves to its target and swings a little around it."""

    def __init__(self, configuration: RTCConfiguration) -> None:
        self.configuration = configuration
        self.viewers: set[RTCPeerConnection] = set()
        self.channels: set[RTCDataChannel] = set()
        self.target = self.position = self.speed = 0.0

    async def drive(self) -> None:
        start = asyncio.get_running_loop().time()
        for number in itertools.count(1):
            self.speed += (20 * (self.target - self.position) - 3 * self.speed) / RATE
            self.position += self.speed / RATE
            sample = json.dumps({"number": number, "position": round(self.position, 4), "target": self.target})
            for channel in self.channels:
                if channel.readyState == "open" and not channel.bufferedAmount:  # on a slow network: fewer, never late
                    channel.send(sample)
            await asyncio.sleep(start + number / RATE - asyncio.get_running_loop().time())

    def take_channel(self, channel: RTCDataChannel) -> None:
        if channel.label == "telemetry":
            self.channels.add(channel)
            channel.on("close", lambda: self.channels.discard(channel))
        elif channel.label == "commands":
            channel.on("message", self.move)

    def move(self, command: str | bytes) -> None:
        try:
            self.target = min(1.0, max(-1.0, float(json.loads(command)["target"])))
        except (ValueError, TypeError, KeyError):
            print("A viewer has sent a malformed command")

    async def answer(self, request: web.Request) -> web.Response:
        # No page of another origin may send JSON without asking.
        if request.content_type != "application/json" or len(self.viewers) >= MAX_VIEWERS:
            raise web.HTTPForbidden
        self.viewers.add(pc := RTCPeerConnection(self.configuration))
        pc.on("datachannel", self.take_channel)

        @pc.on("connectionstatechange")
        async def changed() -> None:
            if pc.connectionState in {"closed", "failed"}:
                await pc.close()
                self.viewers.discard(pc)

        try:
            await pc.setRemoteDescription(RTCSessionDescription(**await request.json()))
            await pc.setLocalDescription()
        except (PeerError, TypeError, ValueError) as error:
            await pc.close()
            self.viewers.discard(pc)
            raise web.HTTPBadRequest(text=str(error)) from error
        return web.json_response(pc.localDescription.toJSON())

    async def serve(self, host: str, port: int) -> None:
        app = web.Application()
        app.add_routes([web.post("/offer", self.answer), web.static("/", Path(__file__).parent / "robot")])
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            print(f"Open http://{host}:{runner.addresses[0][1]}/index.html in a browser; Ctrl-C ends.")
            await self.drive()
        finally:
            await asyncio.gather(*(pc.close() for pc in tuple(self.viewers)))
            await runner.cleanup()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run a robot with a web page.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8082, help="0 for any free port (default: %(default)s)")
    parser.add_argument("--ice-server", metavar="URL[,USER,PASSWORD]", action="append", default=[], help="STUN or TURN")
    options = parser.parse_args()
    try:
        servers = [RTCIceServer(*text.split(",", 2)) for text in options.ice_server]
        asyncio.run(Robot(RTCConfiguration(servers, waitForCandidates=True)).serve(options.host, options.port))
    except (KeyboardInterrupt, OSError) as error:
        sys.exit(f"error: {error}" if isinstance(error, OSError) else 130)
