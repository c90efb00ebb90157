"""Brings requests of an aiohttp application to a channel server; it decides nothing."""

from __future__ import annotations

from aiohttp import web

from datachan.server.channel_server import ChannelServer
from datachan.server.exchange import Refusal, SignalingRequest
from datachan.signaling.client_address import client_address


def mount(app: web.Application, path: str, server: ChannelServer) -> None:
    """Serve the endpoint of a channel server in an aiohttp application. The server is closed with the application.

    Args:
        app: The application, which is not running yet.
        path: The path of the endpoint, such as "/rtc".
        server: The channel server.
    """
    path = path.rstrip("/")

    async def respond(request: web.Request) -> web.Response:
        return await _respond(request, server)

    app.router.add_route("*", path or "/", respond)
    app.router.add_route("*", f"{path}/{{session}}", respond)

    async def shut_down(_: web.Application) -> None:
        await server.close()

    app.on_shutdown.append(shut_down)


async def _respond(request: web.Request, server: ChannelServer) -> web.Response:
    forwarded = ",".join(request.headers.getall("X-Forwarded-For", ()))
    signaling = SignalingRequest(
        method=request.method,
        path=request.path,
        session=request.match_info.get("session"),
        headers={name.lower(): value for name, value in request.headers.items()},
        query=dict(request.query),
        remote=client_address(request.remote or "", forwarded, server.options.trusted_proxies),
        host=request.host.lower(),
    )

    async def read_body(limit: int) -> bytes:
        body = bytearray()
        async for piece in request.content.iter_any():
            body += piece
            if len(body) > limit:
                raise Refusal(413, "too-large", f"The body may have at most {limit} bytes.")
        return bytes(body)

    response = await server.respond(signaling, read_body)
    return web.Response(status=response.status, headers=response.headers, body=response.body)
