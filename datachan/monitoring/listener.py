"""The HTTP port that shows the figures of a server, apart from the port that the public reaches.

By default it listens on a loopback address, where Prometheus or a proxy with authentication reads it. Figures are
collected at most once a second, however often they are asked for.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, Self

from aiohttp import web

from datachan.metrics import Family
from datachan.monitoring.exposition import check_available, render
from datachan.signaling.door import Door, DoorOptions
from datachan.signaling.origins import host_is_allowed, is_loopback
from datachan.signaling.site import Site, in_url

_LIFETIME: Final = 1.0
"""Seconds for which figures are shown again before others are collected."""

_DOOR: Final = DoorOptions(max_connections=64, max_per_address=16)


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """A TCP address to listen on.

    Attributes:
        host: The IP address or host name.
        port: The port; 0 for any free port.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the address that a text names: `9464` on the loopback address, `10.0.0.7:9464`, or `[::1]:9464`.

        Raises:
            ValueError: The text is not an address.
        """
        host, _, port = text.rpartition(":")
        host = host or "127.0.0.1"
        if host.startswith("[") and host.endswith("]"):
            host = str(ipaddress.IPv6Address(host[1:-1]))
        elif ":" in host:
            raise ValueError(f"an IPv6 address stands in brackets, as in [::1]:9464, and {text!r} has none")
        if not (port.isascii() and port.isdigit() and int(port) <= 65535):
            raise ValueError(f"an address to listen on is PORT or HOST:PORT, not {text!r}")
        return cls(host, int(port))


@dataclass(frozen=True, slots=True)
class _LoopbackOnly:
    """Whom a listener on a loopback address answers: requests with a loopback name as host."""

    loopback_only: bool
    allowed_origins: frozenset[str] = frozenset()


class MetricsListener:
    """Serves `GET /metrics`.

    Args:
        address: Where to listen.
        collect: Returns the figures: `Metrics.families`.
    """

    def __init__(self, address: ListenAddress, collect: Callable[[], Awaitable[Iterable[Family]]]) -> None:
        self._address = address
        self._collect = collect
        # A page could let its own name resolve to this machine, and read what only this machine may read.
        self._hosts = _LoopbackOnly(is_loopback(address.host))
        self._collecting = asyncio.Lock()
        self._families: Iterable[Family] = ()
        self._valid_until = 0.0
        door = Door(_DOOR)
        app = web.Application(middlewares=[door.middleware])
        app.router.add_get("/metrics", self._serve)
        self._site = Site(app, door)

    async def open(self) -> None:
        """Bind the port and serve the figures.

        Raises:
            MetricsUnavailable: The package prometheus-client is missing.
            OSError: The address or port cannot be used.
        """
        check_available()
        await self._site.open(self._address.host, self._address.port)

    @property
    def url(self) -> str:
        """The address of the figures."""
        host, port = self._site.address
        return f"http://{in_url(host)}:{port}/metrics"

    async def close(self) -> None:
        """Stop to listen. Does nothing if the listener is not open."""
        await self._site.close()

    async def _serve(self, request: web.Request) -> web.Response:
        if not host_is_allowed(request.host, self._hosts):
            return web.Response(status=421, text=f"Figures are shown on this machine only: open {self.url} here.\n")
        async with self._collecting:
            now = asyncio.get_running_loop().time()
            if now >= self._valid_until:
                self._families = await self._collect()
                self._valid_until = now + _LIFETIME
        body, content_type = render(self._families, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})
