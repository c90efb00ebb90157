"""What the layers above may expect of a path for datagrams; it knows neither ICE nor sockets nor what is carried."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

Receiver = Callable[[list[bytes]], None]
WritableCallback = Callable[[], None]


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

    @abstractmethod
    async def close(self) -> None:
        """Release everything; afterwards no task, timer or socket is left. Closing twice is fine."""
