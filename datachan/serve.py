"""The program behind `datachan serve`: signaling, the page, the echo peer, and the files its callers send."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import shutil
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiohttp import web

from datachan.peer import RTCConfiguration, RTCDataChannel, RTCIceServer
from datachan.signaling import EchoPeer, EchoSession, ServerOptions, SignalingServer
from datachan.signaling.assets import page_folder
from datachan.transfer import (
    CHANNEL_LABEL,
    FileOffer,
    ReceivedFile,
    SentFile,
    TransferError,
    answer_file,
    files_in,
)

logger = logging.getLogger("datachan.serve")

MAX_FILE_SIZE: Final = 1024 * 1024 * 1024
"""Bytes of one file that the echo peer accepts."""

MAX_SHELF_SIZE: Final = 4 * 1024 * 1024 * 1024
"""Bytes of all files that the echo peer stores at the same time."""

MAX_FILES: Final = 100
"""Files of one call."""

_SHUTDOWN_TIMEOUT: Final = 3.0


class ServeError(Exception):
    """The server cannot start; the message is a sentence for the user."""


class FileShelf:
    """The files of the echo peer's callers: stores the files they send, sends them on request, removes them at the end.

    Args:
        folder: An existing folder that no other program uses.
        when_received: Called with each stored file.
        max_file_size: Bytes of one file.
        max_size: Bytes of all files together, counted from the moment they are accepted.
    """

    def __init__(
        self,
        folder: Path,
        *,
        when_received: Callable[[ReceivedFile], None] | None = None,
        max_file_size: int = MAX_FILE_SIZE,
        max_size: int = MAX_SHELF_SIZE,
    ) -> None:
        self._folder = folder
        self._when_received = when_received
        self._max_file_size = max_file_size
        self._max_size = max_size
        self._sizes: dict[str, dict[str, int]] = {}

    @property
    def size(self) -> int:
        """Bytes stored or reserved for accepted files."""
        return sum(sum(files.values()) for files in self._sizes.values())

    async def serve(self, channel: RTCDataChannel, session: EchoSession) -> None:
        """Receive the file that the caller offers on this channel, or send the file it requests."""
        folder = self._folder / session.id
        folder.mkdir(mode=0o700, exist_ok=True)
        files = self._sizes.setdefault(session.id, {})
        promised: list[str] = []

        def accept(offer: FileOffer) -> bool:
            if not self._has_room(files, offer):
                return False
            files[offer.name] = max(offer.size, files.get(offer.name, 0))
            promised.append(offer.name)
            return True

        try:
            done = await answer_file(
                channel,
                folder,
                choose=files_in(folder),
                overwrite=True,
                progress=lambda moved, size: session.touch(),
                max_size=self._max_file_size,
                accept=accept,
            )
        except TransferError as error:
            logger.info("echo: a file transfer ended: %s", error.reason)
            return
        finally:
            for name in promised:
                self._settle(files, folder / name)
        if isinstance(done, ReceivedFile):
            logger.info("echo: received %s, %d bytes, sha256 %s", done.path.name, done.size, done.sha256)
            if self._when_received is not None:
                self._when_received(done)
        elif isinstance(done, SentFile):
            logger.info("echo: sent %s, %d bytes, sha256 %s", done.name, done.size, done.sha256)

    def session_ended(self, session_id: str) -> None:
        """Remove the files of a call."""
        if self._sizes.pop(session_id, None) is not None:
            shutil.rmtree(self._folder / session_id, ignore_errors=True)

    def _has_room(self, files: dict[str, int], offer: FileOffer) -> bool:
        others = self.size - files.get(offer.name, 0)
        return others + offer.size <= self._max_size and (offer.name in files or len(files) < MAX_FILES)

    def _settle(self, files: dict[str, int], path: Path) -> None:
        """Replace the reserved size by the size on the disk: the transfer may have failed."""
        try:
            files[path.name] = path.stat().st_size
        except OSError:
            files.pop(path.name, None)


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The options of the command line.

    Attributes:
        host: The address to listen on.
        port: The TCP port; 0 for any free port.
        echo: Whether there is an echo peer to call.
        server: The options of the signaling server.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    echo: bool = True
    server: ServerOptions = field(default_factory=ServerOptions)


async def serve(options: ServeOptions, announce: Callable[[str], None], stop: asyncio.Event | None = None) -> None:
    """Run the server until `stop` is set or SIGINT or SIGTERM arrives.

    Args:
        options: The options of the command line.
        announce: Called with the address of the page once it can be opened.
        stop: Ends the server when it is set. If it is given, signals are not handled.

    Raises:
        ServeError: The server cannot start.
    """
    with tempfile.TemporaryDirectory(prefix="datachan-", ignore_cleanup_errors=True) as folder:
        runner = web.AppRunner(_application(options, Path(folder)), access_log=None, shutdown_timeout=_SHUTDOWN_TIMEOUT)
        try:
            await runner.setup()
            port = await _listen(runner, options)
            if stop is None:
                stop = _stop_on_signals()
            announce(_address(options.host, port))
            await stop.wait()
        finally:
            await runner.cleanup()


def _application(options: ServeOptions, folder: Path) -> web.Application:
    try:
        page = page_folder()
    except FileNotFoundError as error:
        raise ServeError(str(error)) from None
    echo = None
    if options.echo:
        servers = [RTCIceServer(s.url, s.username, s.credential) for s in options.server.ice_servers]
        echo = EchoPeer(RTCConfiguration(iceServers=servers), {CHANNEL_LABEL: FileShelf(folder)})
    return SignalingServer(options.server, echo=echo, page=page).create_app()


async def _listen(runner: web.AppRunner, options: ServeOptions) -> int:
    try:
        await web.TCPSite(runner, options.host, options.port).start()
    except OSError as error:
        raise ServeError(_why_not(error, options)) from error
    address = runner.addresses[0]
    return int(address[1])


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


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl+C raises KeyboardInterrupt instead
            loop.add_signal_handler(number, stop.set)
    return stop


def _address(host: str, port: int) -> str:
    name = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
    if ":" in name and not name.startswith("["):
        name = f"[{name}]"
    return f"http://{name}:{port}/"
