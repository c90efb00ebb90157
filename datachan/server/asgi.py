"""Brings requests of an ASGI server (Starlette, FastAPI, uvicorn) to a channel server; it decides nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from datachan.server.channel_server import ChannelServer
from datachan.server.exchange import Refusal, SignalingRequest
from datachan.signaling.client_address import client_address

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


class AsgiApplication:
    """A channel server as an ASGI 3 application, to be mounted: `app.mount("/rtc", AsgiApplication(server))`.

    A mounted application gets no lifespan events: call `await server.close()` where the outer application shuts down.
    Run alone, it closes the server itself.

    Args:
        server: The channel server.
    """

    def __init__(self, server: ChannelServer) -> None:
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Process one request, or the lifespan of the application."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._respond(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._server.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._server.respond(_request(scope, self._server), lambda limit: _read(receive, limit))
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in response.headers.items()]
        headers.append((b"content-length", str(len(response.body)).encode()))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})


def _request(scope: Scope, server: ChannelServer) -> SignalingRequest:
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        headers[key] = f"{headers[key]},{text}" if key in headers else text
    path, root = scope["path"], scope.get("root_path", "")
    # Since ASGI 3's clarification, `path` includes `root_path`; older servers leave it out.
    below = path.removeprefix(root) if root and path.startswith(root) else path
    session = below.strip("/") or None
    remote = scope["client"][0] if scope.get("client") else ""
    return SignalingRequest(
        method=scope["method"],
        path=path,
        session=session,
        headers=headers,
        query=dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"))),
        remote=client_address(remote, headers.get("x-forwarded-for", ""), server.options.trusted_proxies),
        host=headers.get("host", "").lower(),
    )


async def _read(receive: Receive, limit: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Refusal(400, "disconnected", "The client left before its body was complete.")
        body += message.get("body", b"")
        if len(body) > limit:
            raise Refusal(413, "too-large", f"The body may have at most {limit} bytes.")
        if not message.get("more_body", False):
            return bytes(body)
