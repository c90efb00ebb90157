"""How rarely Python's garbage collector runs in a process that only serves; nothing changes unless a program asks."""

from __future__ import annotations

import gc
from typing import Final

# New objects until the youngest are visited; how many such visits until the next generation is visited, too; and how
# many of those until all objects are. That is after 1.2 million new objects, which are 2,700 connections, not after
# each quarter more. The visits between stay short: at most 30,000 objects, some 10 ms.
_THRESHOLDS: Final = (5_000, 5, 40)


def collect_rarely() -> None:
    """Have the garbage collector of this process visit all objects rarely; call it once, when the program has started.

    A collection visits each object of each connection, and nothing is answered meanwhile: half a second with 1,500 of
    them. By default that happens each time a quarter more objects exist. Connections that have ended need no collector,
    so a server can do with few collections. What exists now is never visited again.

    The setting counts for the whole process, and only its owner can know what else runs there. `datachan serve` and the
    workers of `run_workers` call this function; `serve` inside of a program does not.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
