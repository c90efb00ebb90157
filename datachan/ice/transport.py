"""What the layers above may expect of a path for datagrams; it knows neither ICE nor sockets nor what is carried."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Receiver = Callable[[list[bytes]], None]
WritableCallback = Callable[[], None]


@dataclass(frozen=True, slots=True)
class PathLimits:
    """How long datagrams may be on a path, as far as this end of it is concerned.

    Attributes:
        max_datagram: bytes the first link carries in one piece.
        overhead: bytes of all headers around a datagram, IP's included.
    """

    max_datagram: int
    overhead: int


class DatagramTransport(ABC):
    """A path that carries datagrams both ways, unreliably, in batches.

    Nothing is thrown away for want of a reader: datagrams that arrive before a receiver is set are kept, bounded, and
    handed over, in order, once it is.
    """

    @abstractmethod
    def set_receiver(self, receiver: Receiver | None) -> None:
        """Name the callable that gets each batch of datagrams, in order of arrival; None takes it away again."""

    @abstractmethod
    def send_datagrams(self, datagrams: Sequence[bytes]) -> None:
        """Send datagrams in order, those of equal size together where the system can do that.

        May be called whatever `writable` says, but a caller that goes on for long while it is False gets BufferError.
        """

    @property
    @abstractmethod
    def writable(self) -> bool:
        """Whether the path takes datagrams now; while it does not, better keep them and wait for the callback."""

    @abstractmethod
    def set_writable_callback(self, callback: WritableCallback | None) -> None:
        """Name the callable that is called each time `writable` turns from False to True."""

    @property
    @abstractmethod
    def limits(self) -> PathLimits | None:
        """How long datagrams may be here; None while there is no path, or where they cannot be kept whole."""

    @abstractmethod
    def allow_fragmentation(self, allowed: bool) -> None:
        """Say whether datagrams may be fragmented on their way, or must arrive whole or not at all."""

    @abstractmethod
    def set_too_long_callback(self, callback: Callable[[int], None] | None) -> None:
        """Name who is told the length of a datagram that the first link did not take."""

    @abstractmethod
    async def close(self) -> None:
        """Release everything; afterwards no task, timer or socket is left. Closing twice is fine."""
