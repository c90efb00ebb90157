"""Start a real redis-server for a test, kill and restart it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.missing import missing
from tests.ports import free_port

HOST = "127.0.0.1"


class RedisServer:
    """A redis-server without persistence: when it is killed, it loses its memory.

    Attributes:
        port: Its TCP port, the same after a restart.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server, and wait until it listens."""
        command = ["redis-server", "--port", str(self.port), "--bind", HOST, "--save", "", "--dir", str(self._folder)]
        self._process = subprocess.Popen([*command, *self._options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.port)):
                return
            assert self._process.poll() is None, "redis-server ended"
            time.sleep(0.02)
        raise AssertionError("redis-server does not listen")

    def start_again(self) -> None:
        """Start the server if a test has killed it."""
        if self._process is None:
            self.start()

    def kill(self) -> None:
        """Kill the server, as in a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def command(self, *words: str) -> str:
        """Return the answer to a command of redis-cli."""
        done = subprocess.run(["redis-cli", "-p", str(self.port), *words], capture_output=True, check=True, text=True)
        return done.stdout.strip()


@contextmanager
def running_redis(folder: Path, *options: str) -> Iterator[RedisServer]:
    """Start a server, and kill it at the end."""
    if shutil.which("redis-server") is None:
        missing("redis-server is not installed (apt install redis-server)")
    server = RedisServer(folder, *options)
    server.start()
    try:
        yield server
    finally:
        server.kill()
