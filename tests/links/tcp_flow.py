"""A download over TCP with CUBIC, as a peer program: it counts what has arrived.

    python -m tests.links.tcp_flow sender '{"host": "10.0.0.1", "port": 9000}'
    python -m tests.links.tcp_flow receiver '{"host": "10.0.0.1", "port": 9000}'

The sender sends to each connection without end. The receiver answers each line on its standard input with its count.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from typing import Final

CONTROL: Final = b"cubic"
_BLOCK: Final = 65_536


def serve(host: str, port: int) -> None:
    """Send zeros to one connection until it, or standard input, ends."""
    with socket.create_server((host, port)) as server:
        print(json.dumps({"listening": port}), flush=True)
        connection, _ = server.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONTROL)
    threading.Thread(target=_send, args=(connection,), daemon=True).start()
    sys.stdin.read()


def _send(connection: socket.socket) -> None:
    block = bytes(_BLOCK)
    while True:
        connection.sendall(block)


class Download:
    """A connection that is read in a thread.

    Attributes:
        received: bytes so far.
    """

    def __init__(self, host: str, port: int) -> None:
        self.received = 0
        self._connection = socket.create_connection((host, port))
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        while data := self._connection.recv(_BLOCK):
            self.received += len(data)


def fetch(host: str, port: int) -> None:
    """Download, and report until standard input ends."""
    download = Download(host, port)
    for _ in sys.stdin:
        print(json.dumps({"bytes": download.received, "time": time.monotonic()}), flush=True)


if __name__ == "__main__":
    chosen = json.loads(sys.argv[2])
    (serve if sys.argv[1] == "sender" else fetch)(chosen["host"], chosen["port"])
