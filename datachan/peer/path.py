"""Where datagrams go and come from while ICE restarts: sent on one ICE transport, received on several; knows no more.

The two sides of a restart never change over in the same moment. Until both have, each must understand the other on the
path it has left already, and on the one it has not taken yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from datachan.ice import DatagramTransport


class Path:
    """What a driver takes for its transport.

    Args:
        transport: the one to use at first.
    """

    def __init__(self, transport: DatagramTransport) -> None:
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
        self._active = transport
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
        self._active.send_datagrams(datagrams)

    @property
    def writable(self) -> bool:
        """Whether datagrams can be sent now."""
        return self._active.writable

    def set_writable_callback(self, callback: Callable[[], None] | None) -> None:
        """Name who is told that `writable` has become True."""
        self._writable_callback = callback
        self._active.set_writable_callback(callback)
