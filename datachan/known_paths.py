"""What the paths of this process carried before; connections and sockets share it unless they are given another."""

from __future__ import annotations

from typing import Final

from datachan.sctp import PathHistory

KNOWN_PATHS: Final = PathHistory()
