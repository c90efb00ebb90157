"""Where datagrams go and come from while ICE restarts: sent on one ICE transport, received on several; knows no more.

The two sides of a restart never change over in the same moment. Until both have, each must understand the other on the
path it has left already, and on the one it has not taken yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from datachan.ice import DatagramTransport


class Path:
    """What a driver takes for its transport.

    Attributes:
        keep_whole: says whether what is sent now must not be fragmented; None leaves it to the system.

    Args:
        transport: the one to use at first.
    """

    keep_whole: Callable[[], bool] | None = None

    def __init__(self, transport: DatagramTransport) -> None:
        self._whole: bool | None = None
        self._too_long_callback: Callable[[int], None] | None = None
        self._active = transport
        self._heard = [transport]
        self._receiver: Callable[[list[bytes]], None] | None = None
        self._writable_callback: Callable[[], None] | None = None

    def listen(self, transport: DatagramTransport) -> None:
        """Receive from this one, too."""
        self._heard.append(transport)
        transport.set_receiver(self._receiver)

    def use(self, transport: DatagramTransport) -> None:
        """Send over this one from now on; the others are still heard."""
        self._active.set_writable_callback(None)
        self._active.set_too_long_callback(None)
        self._active = transport
        self._whole = None
        transport.set_too_long_callback(self._too_long_callback)
        if transport not in self._heard:
            self.listen(transport)
        transport.set_writable_callback(self._writable_callback)
        if self._writable_callback is not None and transport.writable:
            self._writable_callback()

    def forget(self, transport: DatagramTransport) -> None:
        """Receive from this one no longer."""
        if transport in self._heard and transport is not self._active:
            self._heard.remove(transport)
            transport.set_receiver(None)

    # -- datachan.driver.Transport ------------------------------------------------------------------------------

    def set_receiver(self, receiver: Callable[[list[bytes]], None] | None) -> None:
        """Name who gets each batch."""
        self._receiver = receiver
        for transport in self._heard:
            transport.set_receiver(receiver)

    def send_datagrams(self, datagrams: Sequence[bytes]) -> None:
        """Send a batch."""
        if self.keep_whole is not None and (whole := self.keep_whole()) is not self._whole:
            self._whole = whole
            self._active.allow_fragmentation(not whole)
        self._active.send_datagrams(datagrams)

    def set_too_long_callback(self, callback: Callable[[int], None] | None) -> None:
        """Name who is told of datagrams longer than the first link takes."""
        self._too_long_callback = callback
        self._active.set_too_long_callback(callback)

    @property
    def writable(self) -> bool:
        """Whether datagrams can be sent now."""
        return self._active.writable

    def set_writable_callback(self, callback: Callable[[], None] | None) -> None:
        """Name who is told that `writable` has become True."""
        self._writable_callback = callback
        self._active.set_writable_callback(callback)
