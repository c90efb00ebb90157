"""`serve`: a channel server with an HTTP server of its own, in the manner of `websockets.serve`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from ssl import SSLContext
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from datachan.peer import RTCConfiguration, UdpMux
from datachan.server.aiohttp_mount import mount
from datachan.server.channel_server import Authenticate, ChannelServer, Handler
from datachan.server.options import ChannelServerOptions
from datachan.signaling.assets import page_folder
from datachan.signaling.client_address import belongs_to
from datachan.signaling.door import ACCEPT_BACKLOG, Door, DoorOptions
from datachan.signaling.origins import is_loopback

CLIENT_FILES: Final = ("datachan.js", "patterns.js")
_LINGERING_TIME: Final = 2.0
_SHUTDOWN_TIMEOUT: Final = 3.0


class serve:  # noqa: N801 - a function for its users, like websockets.serve
    """Serve data channels over HTTP signaling.

        async def handler(connection):
            async for channel in connection:
                ...

        async with serve(handler, "127.0.0.1", 8080) as server:
            await server.wait()

    It also serves the client for browsers as `/datachan.js` and `/patterns.js`.

    Args:
        handler: A coroutine function that is called with each `Connection` once it is established.
        host: The address to listen on.
        port: The TCP port of the signaling; 0 for any free port.
        udp_port: The one UDP port that all connections share, so that a firewall has to open no other; 0 for any free
            port. None gives each connection ports of its own.
        path: The path of the endpoint.
        app: An aiohttp application with further routes, such as the page. It is not running yet.
        options: The options and bounds of the channel server.
        door: The bounds of the TCP connections.
        authenticate: Called with each request; returns the user, or None to refuse it.
        configuration: For every peer connection.
        ssl: The TLS context of the signaling; None for http, which only suits this machine or a proxy in front.
        grace: Seconds that `async with` waits at its end for handlers to finish.

    Attributes:
        channels: The `ChannelServer`, with its connections and counts.
    """

    def __init__(
        self,
        handler: Handler,
        host: str = "127.0.0.1",
        port: int = 8080,
        *,
        udp_port: int | None = None,
        path: str = "/rtc",
        app: web.Application | None = None,
        options: ChannelServerOptions | None = None,
        door: DoorOptions | None = None,
        authenticate: Authenticate | None = None,
        configuration: RTCConfiguration | None = None,
        ssl: SSLContext | None = None,
        grace: float = 0.0,
    ) -> None:
        self._mux = None if udp_port is None else UdpMux(udp_port)
        if self._mux is not None:
            configuration = replace(configuration or RTCConfiguration(), udpMux=self._mux)
        # A server for this machine only must not be reached by foreign names that resolve to it.
        options = replace(options or ChannelServerOptions(), loopback_only=is_loopback(host))
        self.channels = ChannelServer(handler, options=options, authenticate=authenticate, configuration=configuration)
        self._host, self._port, self._path, self._ssl, self._grace = host, port, path, ssl, grace
        proxies = self.channels.options.trusted_proxies
        self._door = Door(door or DoorOptions(), lambda address: is_loopback(address) or belongs_to(address, proxies))
        self._app = app if app is not None else web.Application()
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Start to listen.

        Raises:
            OSError: The address or port cannot be used.
        """
        if self._mux is not None:
            self._mux.open()
        # The first middleware is the outermost one.
        self._app.middlewares.insert(0, _watched_by(self._door))
        mount(self._app, self._path, self.channels)
        for name in CLIENT_FILES:
            self._app.router.add_get(f"/{name}", _sender_of(page_folder() / "datachan" / name))
        runner = self._runner = web.AppRunner(
            self._app,
            access_log=None,
            shutdown_timeout=_SHUTDOWN_TIMEOUT,
            keepalive_timeout=self._door.request_timeout,
            lingering_time=_LINGERING_TIME,
        )
        await runner.setup()
        if runner.server is None:
            raise RuntimeError("aiohttp has no server after its setup")
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self._door.guard(runner.server),
                self._host,
                self._port,
                ssl=self._ssl,
                backlog=ACCEPT_BACKLOG,
                reuse_address=True,
            )
        except BaseException:
            await runner.cleanup()
            if self._mux is not None:
                self._mux.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drain, end all connections, and stop listening."""
        await self.close(self._grace)

    @property
    def port(self) -> int:
        """The TCP port."""
        return int(self._listening().sockets[0].getsockname()[1])

    @property
    def udp_port(self) -> int | None:
        """The UDP port that all connections share; None if each has ports of its own."""
        return None if self._mux is None else self._mux.port

    @property
    def url(self) -> str:
        """The address of the endpoint on this machine."""
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)
        name = f"[{host}]" if ":" in host else host
        return f"{'https' if self._ssl else 'http'}://{name}:{self.port}{self._path}"

    async def wait(self) -> None:
        """Wait until the server is closed."""
        await self._listening().wait_closed()

    async def close(self, grace: float = 0.0) -> None:
        """Stop: refuse new connections, wait up to `grace` seconds for handlers, end all connections.

        The signaling stays up during the grace, so that clients can still restart ICE.
        """
        await self.channels.drain(grace)
        if self._listener is not None:
            self._listener.close()
        await self.channels.close()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._mux is not None:
            self._mux.close()

    def _listening(self) -> asyncio.Server:
        if self._listener is None:
            raise RuntimeError("the server is not listening: use `async with`")
        return self._listener


def _watched_by(door: Door) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Return a middleware that tells the door when a request begins and ends."""

    @web.middleware
    async def watch(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        transport = request.transport
        door.request_started(transport)
        try:
            return await handler(request)
        finally:
            door.request_finished(transport)

    return watch


def _sender_of(file: Path) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def send(_: web.Request) -> web.StreamResponse:
        headers = {"Content-Type": "text/javascript; charset=utf-8", "Cache-Control": "no-cache"}
        return web.FileResponse(file, headers=headers)

    return send
