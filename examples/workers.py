"""An echo service on all processors, with one port for calls and one range of ports for data: two rules of a firewall.

python examples/workers.py --workers 2 --ports 50000-50999
python examples/echo_client.py hello             the answer names the worker; the system distributes the callers
"""

import argparse
import asyncio
import os
import signal
import socket
import sys
from multiprocessing import get_context

from aiohttp import web

from datachan import PeerError, RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription, SdpError


async def answer(request: web.Request, configuration: RTCConfiguration, calls: set[RTCPeerConnection]) -> web.Response:
    if request.content_type != "application/json":  # no page of another origin may send it
        raise web.HTTPUnsupportedMediaType
    pc = RTCPeerConnection(configuration)
    calls.add(pc)

    @pc.on("datachannel")
    def opened(channel) -> None:
        channel.on("message", lambda message: channel.send(f"worker {os.getpid()}: {message}"))

    @pc.on("connectionstatechange")
    async def changed() -> None:
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


async def work(host: str, port: int, configuration: RTCConfiguration) -> None:
    calls: set[RTCPeerConnection] = set()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    app = web.Application()
    app.router.add_post("/offer", lambda request: answer(request, configuration, calls))
    runner = web.AppRunner(app, handle_signals=False)
    await runner.setup()
    await web.TCPSite(runner, host, port, reuse_port=True).start()
    print(f"Worker {os.getpid()} listens", flush=True)
    await ended.wait()
    await asyncio.gather(*(pc.close() for pc in tuple(calls)))
    await runner.cleanup()


def run_worker(host: str, port: int, configuration: RTCConfiguration) -> None:
    asyncio.run(work(host, port, configuration))


def main() -> None:
    parser = argparse.ArgumentParser(description="Echo messages, in as many processes as there are processors.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8081, help="port for calls; 0 for any (default: %(default)s)")
    parser.add_argument("--ports", default="50000-50999", help="ports for data, first-last (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (default: %(default)s)")
    parser.add_argument("--ice-server", metavar="URL[,USER,PASSWORD]", action="append", default=[], help="STUN or TURN")
    options = parser.parse_args()
    servers = [RTCIceServer(*text.split(",", 2)) for text in options.ice_server]
    ports = tuple(map(int, options.ports.split("-")))
    configuration = RTCConfiguration(servers, waitForCandidates=True, portRange=ports)
    with socket.socket() as placeholder:  # reserves the port without listening on it
        placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            placeholder.bind((options.host, options.port))
        except OSError as error:
            sys.exit(f"error: {error}")
        arguments = (options.host, placeholder.getsockname()[1], configuration)
        workers = [get_context("spawn").Process(target=run_worker, args=arguments) for _ in range(options.workers)]
        for worker in workers:
            worker.start()
        print(f"Call http://{options.host}:{arguments[1]}/offer", flush=True)
        try:
            for worker in workers:
                worker.join()
        except KeyboardInterrupt:
            for worker in workers:
                worker.terminate()
                worker.join()
            print("Stopped")


if __name__ == "__main__":
    main()
