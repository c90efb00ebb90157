"""Ports for programs that have to be told theirs before they use it.

Binding port 0 and closing the socket gives a port that the system may give to any other process a moment later. These
are outside the range from which the system chooses (32768-60999 on Linux), and each process of the tests tries them in
an order of its own, so only a program that was told the same number at the same time could be in the way.
"""

from __future__ import annotations

import contextlib
import random
import socket
from typing import Final

_UNTRIED: Final = random.SystemRandom().sample(range(12_000, 32_000), 20_000)


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that is free for TCP and UDP; no two calls return the same one."""
    return free_range(1, host)[0]


def free_range(length: int, host: str = "127.0.0.1") -> tuple[int, int]:
    """Return the first and the last of this many consecutive free ports."""
    while True:
        first = _UNTRIED.pop()
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in range(first, first + length):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    stack.enter_context(socket.socket(socket.AF_INET, kind)).bind((host, port))
            return first, first + length - 1
