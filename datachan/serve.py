"""The program behind `datachan serve`: signaling, the page, the echo peer, and the files its callers send."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib.util
import ipaddress
import logging
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp.http import HttpProcessingError

from datachan.file_shelf import FileShelf
from datachan.ice.interfaces import host_addresses
from datachan.log_rate import get_limited_logger
from datachan.metrics import Metrics
from datachan.monitoring import (
    ConnectionMetrics,
    ListenAddress,
    LoopLag,
    MetricsListener,
    MetricsUnavailable,
    add_server_figures,
    notify,
    process_figures,
)
from datachan.peer import RTCConfiguration, RTCIceServer, UdpMux
from datachan.signaling import EchoPeer, ServerOptions, SignalingServer
from datachan.signaling.assets import page_folder
from datachan.signaling.broker import Broker
from datachan.signaling.door import Door, DoorOptions
from datachan.signaling.site import Site, in_url, url_of
from datachan.stop_signals import StopSignals
from datachan.transfer.channel import CHANNEL_LABEL


class ServeError(Exception):
    """The server cannot start; the message is a sentence for the user."""


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """The address of a Redis server, and its password if the address does not have it."""

    url: str = field(repr=False)
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The options of the command line.

    Attributes:
        host: The address to listen on.
        port: The TCP port; 0 for any free port.
        echo: Whether there is an echo peer to call.
        udp_port: The one UDP port that all calls of the echo peer share; 0 for any free port. None gives each call
            ports of its own.
        announced_addresses: The addresses that callers reach, if they are not those of this machine.
        metrics: Where to show the figures of the server to Prometheus; None shows them nowhere.
        drain: Seconds that SIGTERM lets calls of the echo peer go on, while new ones are refused.
        tls: The files of the certificate chain and its key, in PEM; None for http.
        redis: The Redis server that has the rooms of all nodes; None for rooms in the memory of this process.
        server: The options of the signaling server.
        door: The bounds of the TCP connections.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    echo: bool = True
    udp_port: int | None = None
    announced_addresses: tuple[str, ...] = ()
    metrics: ListenAddress | None = None
    drain: float = 0.0
    tls: tuple[Path, Path] | None = None
    redis: RedisAddress | None = None
    server: ServerOptions = field(default_factory=ServerOptions)
    door: DoorOptions = field(default_factory=DoorOptions)


async def serve(
    options: ServeOptions,
    announce: Callable[[str], None],
    stop: asyncio.Event | None = None,
    announce_metrics: Callable[[str], None] = lambda url: None,
) -> None:
    """Run the server until `stop` is set or SIGINT or SIGTERM arrives.

    Args:
        options: The options of the command line.
        announce: Called with the address of the page once it can be opened.
        stop: Ends the server when it is set. If it is given, signals are not handled.
        announce_metrics: Called before with the address of the figures, if they are shown.

    Raises:
        ServeError: The server cannot start.
    """
    door = Door.behind(options.server.trusted_proxies, options.door)
    with (
        _temporary_folder() as folder,
        _udp_port(options) as mux,
    ):
        metrics = Metrics()
        add_server_figures(metrics, door, mux)
        signaling = _signaling(options, folder, door, mux, metrics)
        site = Site(signaling.create_app(), door, logger=http_logger())
        await _open(site, options)
        try:
            address = url_of(options.host, site.address[1], is_https=options.tls is not None) + "/"
            async with _shown(metrics, options.metrics, announce_metrics):
                await _until_stopped(signaling, options.drain, lambda: announce(address), stop)
        finally:
            await site.close()


@contextlib.asynccontextmanager
async def _shown(
    metrics: Metrics, address: ListenAddress | None, announce: Callable[[str], None]
) -> AsyncIterator[None]:
    """Measure the event loop, and show the figures at an address."""
    lag = LoopLag(metrics)
    listener = None if address is None else MetricsListener(address, metrics.families)
    try:
        if listener is not None and address is not None:
            metrics.add_source(process_figures)
            await _open_metrics(listener, address)
            announce(listener.url)
        yield
    finally:
        lag.stop()
        if listener is not None:
            await listener.close()


async def _open_metrics(listener: MetricsListener, address: ListenAddress) -> None:
    try:
        await listener.open()
    except MetricsUnavailable as error:
        raise ServeError(str(error)) from None
    except OSError as error:
        raise ServeError(
            f"The figures cannot be shown on {address.host}, port {address.port}: {error.strerror or error}. "
            "Choose another address with --metrics."
        ) from error


async def _until_stopped(
    signaling: SignalingServer, drain: float, ready: Callable[[], None], stop: asyncio.Event | None
) -> None:
    """Wait until the server is asked to end; SIGTERM lets calls end for `drain` seconds."""
    if stop is not None:
        ready()
        await stop.wait()
        return
    with StopSignals() as signals:
        ready()
        notify("READY=1")
        await signals.stopped.wait()
        notify("STOPPING=1")
        if signals.terminated:
            await _drain(signaling, drain, signals.hurried)


async def _drain(signaling: SignalingServer, seconds: float, hurried: asyncio.Event) -> None:
    """Refuse what is new, and wait until the calls in progress have ended, the time is over or another signal comes."""
    signaling.drain()
    waiting = [asyncio.ensure_future(one) for one in (signaling.calls_ended(), hurried.wait())]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    """Make a folder for the files of callers, and remove it at the end."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="datachan-", ignore_cleanup_errors=True)
    except OSError as error:
        raise ServeError(
            f"No folder for the files of callers can be made: {error.strerror}. "
            "Set TMPDIR to a folder that can be written; in a container, mount a tmpfs at /tmp."
        ) from error
    with folder as name:
        yield Path(name)


@contextlib.contextmanager
def _udp_port(options: ServeOptions) -> Iterator[UdpMux | None]:
    """Bind the UDP port of the echo peer, and close it at the end. None if each call has ports of its own."""
    if options.udp_port is None or not options.echo:
        yield None
        return
    mux = UdpMux(options.udp_port)
    try:
        mux.open()
    except OSError as error:
        why = error.strerror or error
        raise ServeError(
            f"UDP port {options.udp_port} cannot be used: {why}. Choose another one with --udp-port."
        ) from error
    try:
        yield mux
    finally:
        mux.close()


def _signaling(
    options: ServeOptions, folder: Path, door: Door, mux: UdpMux | None, metrics: Metrics
) -> SignalingServer:
    try:
        page = page_folder()
    except FileNotFoundError as error:
        raise ServeError(str(error)) from None
    echo = None
    if options.echo:
        servers = [RTCIceServer(s.url, s.username, s.credential) for s in options.server.ice_servers]
        configuration = RTCConfiguration(iceServers=servers, udpMux=mux, announcedAddresses=options.announced_addresses)
        echo = EchoPeer(
            configuration,
            {CHANNEL_LABEL: FileShelf(folder)},
            ice_servers=lambda: _turn_servers(options.server),
            watch=ConnectionMetrics(metrics, time.monotonic).watch,
        )
    broker = None if options.redis is None else _redis_broker(options.redis, options.server)
    return SignalingServer(options.server, echo=echo, page=page, door=door, metrics=metrics, broker=broker)


def _redis_broker(address: RedisAddress, options: ServerOptions) -> Broker:
    if importlib.util.find_spec("redis") is None:
        raise ServeError("--redis needs another package: pip install 'datachan[redis]'.")
    from datachan.signaling.redis_broker import RedisBroker  # noqa: PLC0415 - only with the extra

    try:
        return RedisBroker(address.url, options.broker_limits(), password=address.password)
    except ValueError as error:
        raise ServeError(f"The address of Redis cannot be used: {error}.") from None


def _turn_servers(options: ServerOptions) -> list[RTCIceServer]:
    """Return the TURN servers that share a secret with this one, with credentials for a new call."""
    if options.turn is None:
        return []
    return [RTCIceServer(list(options.turn.urls), *options.turn.credentials(time.time(), "echo"))]


def http_logger() -> logging.Logger:
    """Return the logger for aiohttp: limited, and without the requests that cannot be read."""
    http = get_limited_logger("datachan.http")
    if _is_fault_of_server not in http.filters:
        http.addFilter(_is_fault_of_server)
    return http


def _is_fault_of_server(record: logging.LogRecord) -> bool:
    """Return whether a record is about more than what a client did; aiohttp logs even that with a traceback.

    A client may send a request that cannot be read, or leave before it is answered.
    """
    return record.exc_info is None or not isinstance(record.exc_info[1], (HttpProcessingError, ConnectionError))


async def _open(site: Site, options: ServeOptions) -> None:
    context = _tls_context(options.tls)
    try:
        await site.open(options.host, options.port, tls=context)
    except OSError as error:
        raise ServeError(_why_not(error, options)) from error


def _tls_context(files: tuple[Path, Path] | None) -> ssl.SSLContext | None:
    if files is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(*files)
    except (OSError, ssl.SSLError) as error:
        raise ServeError(f"The certificate {files[0]} with the key {files[1]} cannot be used: {error}.") from None
    return context


def _why_not(error: OSError, options: ServeOptions) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {options.port} on {options.host} is in use by another program. "
            "Stop that program, or choose another port with --port."
        )
    if error.errno == errno.EACCES:
        return f"You may not listen on port {options.port}. Choose one above 1023 with --port."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{options.host} is not an address of this machine. Choose another one with --host."

    return f"Cannot listen on {options.host}, port {options.port}: {error.strerror or error}."


def addresses_for_others(host: str, address: str) -> list[str]:
    """Return the addresses that other machines can open; none if the server listens on one address only.

    Args:
        host: The address that the server listens on.
        address: The address of the page on this machine.
    """
    if host not in {"", "0.0.0.0", "::"}:
        return []
    versions = {4} if host == "0.0.0.0" else {4, 6}
    parts = urlsplit(address)
    return [
        f"{parts.scheme}://{in_url(one.address)}:{parts.port}/"
        for one in host_addresses()
        if one.running and not one.kinds and ipaddress.ip_address(one.address).version in versions
    ]
