"""Where a stack sends before there is a path: into the checks of ICE (SPED); it knows neither DTLS nor ICE.

The datagrams are kept as well. The first path carries them again, because a peer without SPED has ignored the checks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

# RFC 7983, 7 and RFC 6347, 4.1: the first byte of a DTLS record is its content type. Those of a handshake are change
# cipher spec, alert and handshake; application data has the next one.
_APPLICATION_DATA: Final = 23


class EarlyLink:
    """A link for the flights of a DTLS handshake.

    Args:
        embed: takes each flight, which replaces the one before.
    """

    on_writable: Callable[[], None] | None = None

    def __init__(self, embed: Callable[[Sequence[bytes]], None]) -> None:
        self._embed = embed
        self._kept: list[bytes] = []
        self._writable = True

    @property
    def writable(self) -> bool:
        """Whether more is accepted: not after application data, which stays in the machine until there is a path."""
        return self._writable

    def send_datagrams(self, datagrams: Sequence[bytes]) -> None:
        """Embed a flight, and keep it in place of the one before."""
        flight = [one for one in datagrams if one[0] < _APPLICATION_DATA]
        if flight:
            self._kept = list(datagrams)
            self._embed(flight)
        else:
            self._kept += datagrams
        if len(flight) < len(datagrams):
            self._writable = False

    def take(self) -> list[bytes]:
        """Return what the first path has to carry, once."""
        kept, self._kept = self._kept, []
        return kept
