"""All data channels of one connection: which face belongs to which channel, and who hears of what happens to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from datachan.dcep import DataChannels
from datachan.dcep.channel import Channel
from datachan.dcep.channel_events import (
    BufferedAmountChanged,
    ChannelAnnounced,
    ChannelClosed,
    ChannelClosing,
    ChannelEvent,
    ChannelFailed,
    ChannelMessage,
    ChannelOpened,
)
from datachan.dcep.errors import ChannelNotOpen, DcepError, InvalidChannelOptions

from .errors import ArgumentError, InvalidStateError, OperationError
from .rtc_data_channel import ManagedDataChannel, RTCDataChannel
from .transports import PeerTransports


class ChannelRegistry:
    """The channels of one connection; also what each of them needs of it (`ChannelHost`).

    Args:
        announce: called with each channel the peer opened.
    """

    def __init__(self, announce: Callable[[RTCDataChannel], None]) -> None:
        self.core = DataChannels()
        self.transports: PeerTransports | None = None
        self.created = 0
        self.opened = 0
        self.closed = 0
        self._announce = announce
        self._faces: dict[Channel, ManagedDataChannel] = {}
        self._drain_handle: asyncio.Handle | None = None
        self._ended = False

    def __iter__(self) -> Iterator[ManagedDataChannel]:
        """Those that are not closed."""
        return iter(tuple(self._faces.values()))

    def __len__(self) -> int:
        return len(self._faces)

    def create(self, label: str, **parameters: Any) -> RTCDataChannel:
        """A new channel of ours; the parameters are those of `DataChannels.create`.

        Raises:
            ArgumentError: the parameters contradict each other.
            OperationError: the id is taken, or no id is left.
            InvalidStateError: the association has ended.
        """
        try:
            channel = self.core.create(label, **parameters)
        except InvalidChannelOptions as error:
            raise ArgumentError(str(error)) from None
        except ChannelNotOpen as error:
            raise InvalidStateError(str(error)) from None
        except DcepError as error:
            raise OperationError(str(error)) from None
        face = ManagedDataChannel(self, channel)
        self._faces[channel] = face
        self.created += 1
        self._look_after()
        return face

    # -- ChannelHost --------------------------------------------------------------------------------------------

    @property
    def max_message_size(self) -> float:
        """Longest message that may be sent, in bytes."""
        return 65536 if self.transports is None else self.transports.max_message_size

    def send(self, channel: Channel, data: str | bytes) -> None:
        """Queue a message."""
        self.core.send(channel, data, _now())
        if self.transports is None or not self.transports.send_now():
            self._look_after()

    def close_channel(self, channel: Channel) -> None:
        """Deliver what is queued on a channel, then close it."""
        self.core.close(channel, _now())
        self._look_after()

    def release_window(self, size: int) -> None:
        """A message was read: reopen the window."""
        if not self._ended and self.transports is not None and self.transports.running:
            self.core.release_window(size)
            self.transports.wake()

    # -- what happens -------------------------------------------------------------------------------------------

    def handle(self, event: ChannelEvent) -> None:
        """Tell the channel it happened to."""
        if isinstance(event, ChannelMessage):
            face = self._faces.get(event.channel)
            if face is None or face.deliver(event.data, event.size):
                # Whoever drives the channels looks after them anyway once this event is handled.
                self.core.release_window(event.size)
        elif isinstance(event, ChannelAnnounced):
            self._announced(event.channel)
        elif isinstance(event, ChannelClosed):
            self._closed(event.channel)
        else:
            self._changed(event)

    def closing(self) -> None:
        """The connection is being closed: nothing more can be sent."""
        for face in self:
            face.closing_with_connection()

    def end(self, failure: str | None = None) -> None:
        """Close what is left: the connection is gone, with a reason or in order."""
        self._ended = True
        if self._drain_handle is not None:
            self._drain_handle.cancel()
            self._drain_handle = None
        for channel, face in tuple(self._faces.items()):
            face.fails(failure)
            self._closed(channel)

    # -- private ------------------------------------------------------------------------------------------------

    def _announced(self, channel: Channel) -> None:
        face = ManagedDataChannel(self, channel)
        self._faces[channel] = face
        self.opened += 1
        # W3C WebRTC, 6.2: "Set channel.[[ReadyState]] to "open" (but do not fire the open event, yet)."
        face.set_open()
        self._announce(face)
        face.announce_open()

    def _closed(self, channel: Channel) -> None:
        face = self._faces.pop(channel, None)
        if face is not None:
            self.closed += 1
            face.set_closed()

    def _changed(self, event: ChannelEvent) -> None:
        if not isinstance(event, (BufferedAmountChanged, ChannelOpened, ChannelClosing, ChannelFailed)):
            return
        face = self._faces.get(event.channel)
        if face is None:
            return
        if isinstance(event, BufferedAmountChanged):
            face.buffered_amount_changed()
        elif isinstance(event, ChannelClosing):
            face.peer_closes()
        elif isinstance(event, ChannelFailed):
            face.fails(event.reason)
        else:
            self.opened += 1
            face.set_open()
            face.announce_open()

    def _look_after(self) -> None:
        if self.transports is not None and self.transports.running:
            self.transports.wake()
        elif self._drain_handle is None and not self._ended:
            # No machine drains the channels yet; what they have to say is said at the next turn of the loop.
            try:
                self._drain_handle = asyncio.get_running_loop().call_soon(self._drain)
            except RuntimeError:  # created before the event loop runs, as many scripts do
                return

    def _drain(self) -> None:
        self._drain_handle = None
        if self.transports is None or not self.transports.running:
            for event in self.core.events():
                self.handle(event)


def _now() -> float:
    return asyncio.get_running_loop().time()
