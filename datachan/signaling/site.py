"""One aiohttp application on one TCP port, behind a `Door`; knows no routes."""

from __future__ import annotations

import asyncio
import logging
from ssl import SSLContext
from typing import Any, Final

from aiohttp import web

from datachan.signaling.door import Door

_SHUTDOWN_TIMEOUT: Final = 3.0

_LINGERING_TIME: Final = 2.0
"""Seconds in which the rest of a body is read and discarded after its request was answered."""

_ACCEPTED_AT_ONCE: Final = 128
"""Connections that the event loop accepts at once, before the door sees the first of them."""

_QUEUED_CONNECTIONS: Final = 1024
"""Connections that the system holds until the event loop accepts them. Beyond it, a client waits for seconds."""


class Site:
    """Serves an application from `open` to `close`.

    Args:
        app: The application, which is not running yet.
        door: Limits the connections.
        logger: Where aiohttp logs what it cannot process; None for its own logger.
    """

    def __init__(self, app: web.Application, door: Door, *, logger: logging.Logger | None = None) -> None:
        self._app = app
        self._door = door
        self._settings: dict[str, Any] = {} if logger is None else {"logger": logger}
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None

    async def open(self, host: str, port: int, *, tls: SSLContext | None = None, shared: bool = False) -> None:
        """Start the application and listen.

        Args:
            host: The address to listen on.
            port: The port; 0 for any free port.
            tls: The TLS context; None for http.
            shared: Whether other processes listen on the same port.

        Raises:
            OSError: The address or port cannot be used. The application has been stopped again.
        """
        runner = self._runner = web.AppRunner(
            self._app,
            access_log=None,
            shutdown_timeout=_SHUTDOWN_TIMEOUT,
            keepalive_timeout=self._door.request_timeout,
            lingering_time=_LINGERING_TIME,
            **self._settings,
        )
        try:
            await runner.setup()
            if runner.server is None:
                raise RuntimeError("aiohttp has no server after its setup")
            self._listener = await asyncio.get_running_loop().create_server(
                self._door.guard(runner.server),
                host,
                port,
                ssl=tls,
                backlog=_ACCEPTED_AT_ONCE,
                reuse_address=True,
                reuse_port=shared or None,
            )
        except BaseException:
            await self.close()
            raise
        _queue_more_connections(self._listener)

    @property
    def address(self) -> tuple[str, int]:
        """The address and port that it listens on; raises RuntimeError before `open`."""
        host, port = self._listening().sockets[0].getsockname()[:2]
        return str(host), int(port)

    async def wait_closed(self) -> None:
        """Wait until it does not listen any more."""
        await self._listening().wait_closed()

    def stop_listening(self) -> None:
        """Accept no further connections. Those that are there go on."""
        if self._listener is not None:
            self._listener.close()

    async def close(self) -> None:
        """Stop to listen, and shut the application down. Does nothing if it is not open."""
        self.stop_listening()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def _listening(self) -> asyncio.Server:
        if self._listener is None:
            raise RuntimeError("the server is not listening: use `async with`")
        return self._listener


def _queue_more_connections(server: asyncio.Server) -> None:
    """Let the system hold more connections than the event loop accepts at once.

    All clients of a process that ended arrive within a second. The system drops what exceeds its queue, and the clients
    try again after 1, 3 and 7 seconds.
    """
    for listening in server.sockets:
        with listening.dup() as same:
            same.listen(_QUEUED_CONNECTIONS)


def url_of(host: str, port: int, *, is_https: bool) -> str:
    """Return the address with which this machine opens what listens on `host`, without a slash at the end."""
    name = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{'https' if is_https else 'http'}://{in_url(name)}:{port}"


def in_url(host: str) -> str:
    """Return a host as it stands in an address: IPv6 addresses have brackets there."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
