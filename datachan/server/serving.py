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

from datachan.monitoring import ListenAddress, LoopLag, MetricsListener, add_server_figures, notify, process_figures
from datachan.peer import RTCConfiguration, UdpMux
from datachan.server.aiohttp_mount import mount
from datachan.server.channel_server import Authenticate, ChannelServer, Handler
from datachan.server.options import ChannelServerOptions
from datachan.server.worker import Worker
from datachan.signaling.assets import page_folder
from datachan.signaling.door import Door, DoorOptions
from datachan.signaling.origins import is_loopback
from datachan.signaling.site import Site, url_of
from datachan.stop_signals import StopSignals

CLIENT_FILES: Final = ("datachan.js", "patterns.js")


class serve:  # noqa: N801 - a function for its users, like websockets.serve
    """Serve data channels over HTTP signaling.

        async def handler(connection):
            async for channel in connection:
                ...

        async with serve(handler, "127.0.0.1", 8080) as server:
            await server.wait()

    It also serves the client for browsers as `/datachan.js` and `/patterns.js`, `/healthz`, which answers while the
    event loop runs, and `/readyz`, which answers 503 while the server drains.

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
        metrics: Where to show the figures of the server to Prometheus: "9464" or "127.0.0.1:9464" for this machine
            only, "10.0.0.7:9464" for a network. None shows them nowhere. It needs the extra `metrics`. Each worker
            shows its own: the first one on this port, the second one on the next, and so on.
        worker: This process, if several share the ports (`run_workers`). `port` and `udp_port` have to be named then.

    Attributes:
        channels: The `ChannelServer`, with its connections and counts.
        metrics: The figures. An application may add its own.

    Raises:
        ValueError: `metrics` is not an address, or a worker has no port to share.
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
        metrics: str | None = None,
        worker: Worker | None = None,
    ) -> None:
        if worker is not None and (not port or not udp_port):
            raise ValueError("workers share both ports, so port and udp_port have to be named")
        self._worker = worker
        self._mux = _shared_udp_port(udp_port, worker)
        if self._mux is not None:
            configuration = replace(configuration or RTCConfiguration(), udpMux=self._mux)
        # A server for this machine only must not be reached by foreign names that resolve to it.
        options = replace(options or ChannelServerOptions(), loopback_only=is_loopback(host))
        self.channels = ChannelServer(
            handler, options=options, authenticate=authenticate, configuration=configuration, worker=worker
        )
        self.metrics = self.channels.metrics
        where = None if metrics is None else _metrics_address(metrics, worker)
        self._metrics_listener = None if where is None else MetricsListener(where, self.metrics.families)
        self._lag: LoopLag | None = None
        self._host, self._port, self._path, self._ssl, self._grace = host, port, path, ssl, grace
        self._door = Door.behind(self.channels.options.trusted_proxies, door or DoorOptions())
        add_server_figures(self.metrics, self._door, self._mux)
        self._app = app if app is not None else web.Application()
        self._site = Site(self._app, self._door)

    async def __aenter__(self) -> Self:
        """Start to listen.

        Raises:
            OSError: The address or port cannot be used.
        """
        if self._mux is not None:
            self._mux.open()
        # The first middleware is the outermost one.
        self._app.middlewares.insert(0, self._door.middleware)
        mount(self._app, self._path, self.channels)
        self._add_health()
        for name in CLIENT_FILES:
            self._app.router.add_get(f"/{name}", _sender_of(page_folder() / "datachan" / name))
        try:
            await self._site.open(self._host, self._port, tls=self._ssl, shared=self._worker is not None)
            await self.channels.open()
            await self._open_metrics()
        except BaseException:
            await self._release()
            raise
        return self

    async def _open_metrics(self) -> None:
        self._lag = LoopLag(self.metrics)
        if self._metrics_listener is not None:
            self.metrics.add_source(process_figures)
            await self._metrics_listener.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drain, end all connections, and stop listening."""
        await self.close(self._grace)

    @property
    def port(self) -> int:
        """The TCP port."""
        return self._site.address[1]

    @property
    def udp_port(self) -> int | None:
        """The UDP port that all connections share; None if each has ports of its own."""
        return None if self._mux is None else self._mux.port

    @property
    def url(self) -> str:
        """The address of the endpoint on this machine."""
        return url_of(self._host, self.port, is_https=self._ssl is not None) + self._path

    @property
    def metrics_url(self) -> str | None:
        """The address of the figures; None if they are not shown."""
        return None if self._metrics_listener is None else self._metrics_listener.url

    async def wait(self) -> None:
        """Wait until the server is closed."""
        await self._site.wait_closed()

    async def until_stopped(self) -> None:
        """Wait until the program is asked to end, by SIGTERM or Ctrl+C, or the server is closed.

        Leaving the `async with` block then drains the server. A second signal ends the program at once. systemd is told
        that the program is ready, and that it stops, if its unit has `Type=notify`.
        """
        with StopSignals() as signals:
            notify("READY=1")
            waiting = [asyncio.ensure_future(one) for one in (signals.stopped.wait(), self.wait())]
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                notify("STOPPING=1")
                for task in waiting:
                    task.cancel()

    async def close(self, grace: float = 0.0) -> None:
        """Stop: refuse new connections, wait up to `grace` seconds for handlers, end all connections.

        The signaling stays up during the grace, so that clients can still restart ICE.
        """
        await self.channels.drain(grace)
        self._site.stop_listening()
        await self.channels.close()
        await self._release()

    async def _release(self) -> None:
        """Close all ports, and stop to measure."""
        await self._site.close()
        if self._mux is not None:
            self._mux.close()
        if self._lag is not None:
            self._lag.stop()
        if self._metrics_listener is not None:
            await self._metrics_listener.close()

    def _add_health(self) -> None:
        """Add the paths that process managers ask, unless the application has its own."""
        taken = {resource.canonical for resource in self._app.router.resources()}
        for path, respond in (("/healthz", self._serve_health), ("/readyz", self._serve_readiness)):
            if path not in taken:
                self._app.router.add_get(path, respond)

    async def _serve_health(self, _: web.Request) -> web.Response:
        """Tell that the event loop runs: nothing about the connections, because everybody may ask."""
        return web.json_response({"status": "ok"}, headers={"Cache-Control": "no-store"})

    async def _serve_readiness(self, _: web.Request) -> web.Response:
        """Tell whether the server shuts down, for what distributes clients over several servers."""
        # A full server stays ready: the requests of its clients, such as ICE restarts, must still reach it.
        draining = self.channels.draining
        return web.json_response(
            {"status": "draining" if draining else "ok"},
            status=503 if draining else 200,
            headers={"Cache-Control": "no-store"},
        )


def _shared_udp_port(port: int | None, worker: Worker | None) -> UdpMux | None:
    if port is None:
        return None
    return UdpMux(port, neighbors=None if worker is None else worker.neighbors())


def _metrics_address(text: str, worker: Worker | None) -> ListenAddress:
    address = ListenAddress.parse(text)
    return replace(address, port=address.port + worker.index) if worker is not None and address.port else address


def _sender_of(file: Path) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def send(_: web.Request) -> web.StreamResponse:
        headers = {"Content-Type": "text/javascript; charset=utf-8", "Cache-Control": "no-cache"}
        return web.FileResponse(file, headers=headers)

    return send
