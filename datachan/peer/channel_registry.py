"""The data channels of one connection: the RTCDataChannel of each channel, and the delivery of events to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from threading import get_ident
from typing import Any, Final
from weakref import ref

from datachan.callbacks import ignore
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
from .peer_transport import PeerTransport
from .rtc_data_channel import ManagedDataChannel, RTCDataChannel
from .transport_views import RTCSctpTransport
from .unread_messages import HeldWindow

# Seconds after which the window of closed channels without a reader is released.
_LEFTOVERS_INTERVAL: Final = 0.5


class ChannelRegistry:
    """The channels of one connection. It implements `ChannelHost` for them.

    Args:
        on_announced: a callback for each channel that the peer opens.

    Attributes:
        past: what closed channels have counted: messages and bytes sent, messages and bytes received.
    """

    def __init__(self, on_announced: Callable[[RTCDataChannel], None]) -> None:
        self.core = DataChannels()
        self.transport: PeerTransport | None = None
        self.sctp: RTCSctpTransport | None = None
        self.created = 0
        self.refused = 0
        self.opened = 0
        self.closed = 0
        self.past = (0, 0, 0, 0)
        self._on_announced = on_announced
        self._rtc_channels: dict[Channel, ManagedDataChannel] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread_id = 0
        self._drain_handle: asyncio.Handle | None = None
        self._leftovers: list[tuple[ref[ManagedDataChannel], HeldWindow]] = []
        self._leftovers_timer: asyncio.TimerHandle | None = None
        self._closing = self._ended = False
        self.failure: str | None = None

    def __iter__(self) -> Iterator[ManagedDataChannel]:
        """Iterate over the channels that are not closed."""
        return iter(tuple(self._rtc_channels.values()))

    def __len__(self) -> int:
        return len(self._rtc_channels)

    def create(self, label: str, **parameters: Any) -> RTCDataChannel:
        """Create a channel; the parameters are those of `DataChannels.create`.

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
        rtc_channel = ManagedDataChannel(self, channel)
        self._rtc_channels[channel] = rtc_channel
        self.created += 1
        self._schedule_flush()
        return rtc_channel

    # -- ChannelHost ---------------------------------------------------------------------------------------------------

    @property
    def max_message_size(self) -> float:
        """The longest message that may be sent, in bytes."""
        return 65536 if self.transport is None else self.transport.max_message_size

    def send(self, channel: Channel, data: str | bytes) -> None:
        """Queue a message."""
        self.core.send(channel, data, self._now())
        if self.transport is None or not self.transport.send_now():
            self._schedule_flush()

    def close_channel(self, channel: Channel) -> None:
        """Close a channel after its queued messages."""
        self.core.close(channel, self._now())
        self._schedule_flush()

    def release_window(self, size: int) -> None:
        """Reopen the receive window by the size of a message that was read."""
        if not self._ended and self.transport is not None and self.transport.running:
            self.core.release_window(size)
            self.transport.wake()

    # -- events --------------------------------------------------------------------------------------------------------

    def handle(self, event: ChannelEvent) -> None:
        """Pass an event to its channel; no channel opens any longer while the connection is being closed."""
        if self._closing and isinstance(event, ChannelAnnounced | ChannelOpened):
            return
        if isinstance(event, ChannelMessage):
            rtc_channel = self._rtc_channels.get(event.channel)
            if rtc_channel is None or rtc_channel.deliver(event.data, event.size):
                self.core.release_window(event.size)
                if self.transport is not None:
                    self.transport.wake()
        elif isinstance(event, ChannelAnnounced):
            self._announced(event.channel)
        elif isinstance(event, ChannelClosed):
            self._closed(event.channel)
        else:
            self._changed(event)

    def closing(self) -> None:
        """Refuse further messages and channels, because the connection is being closed."""
        self._closing = True
        for rtc_channel in self:
            rtc_channel.close_with_connection()

    def connection_failed(self, reason: str | None) -> None:
        """Record why there is no path to the peer, None when there may be one; the channels stay."""
        self.failure = reason
        if reason is not None:
            for rtc_channel in self:
                rtc_channel.connection_failed()

    @property
    def wait_for_section(self) -> bool:
        """Whether the application has created a channel since a data section was refused."""
        return self.created > self.refused

    def start_over(self, reason: str) -> None:
        """Close all channels for this reason, and accept new ones for another association."""
        self._release_windows()
        for channel, rtc_channel in tuple(self._rtc_channels.items()):
            rtc_channel.fails(reason)
            self._closed(channel)
        self.core = DataChannels()
        self.transport = None
        self.refused = self.created

    def end(self, failure: str | None = None) -> None:
        """Close all channels, because the connection has ended; `failure` is the reason if it failed."""
        self._ended = True
        self._on_announced = ignore
        if self._drain_handle is not None:
            self._drain_handle.cancel()
            self._drain_handle = None
        if self._leftovers_timer is not None:
            self._leftovers_timer.cancel()
            self._leftovers_timer = None
        for channel, rtc_channel in tuple(self._rtc_channels.items()):
            rtc_channel.fails(failure)
            self._closed(channel)

    # -- private -------------------------------------------------------------------------------------------------------

    def _release_windows(self) -> None:
        """Release the window of all unread messages now: reading them must not enlarge that of a later association."""
        for reference, _ in self._leftovers:
            if (rtc_channel := reference()) is not None:
                rtc_channel.release_unread()
        self._leftovers.clear()
        for rtc_channel in self:
            rtc_channel.release_unread()

    def _announced(self, channel: Channel) -> None:
        rtc_channel = ManagedDataChannel(self, channel)
        self._rtc_channels[channel] = rtc_channel
        self._note_loop()
        self.opened += 1
        # W3C WebRTC, 6.2: "Set channel.[[ReadyState]] to "open" (but do not fire the open event, yet)."
        rtc_channel.set_open()
        self._on_announced(rtc_channel)
        rtc_channel.announce_open()

    def _closed(self, channel: Channel) -> None:
        rtc_channel = self._rtc_channels.pop(channel, None)
        if rtc_channel is not None:
            # webrtc-stats: "dataChannelsClosed" counts channels that have left the "open" state.
            self.closed += rtc_channel.was_open
            rtc_channel.set_closed()
            messages_sent, bytes_sent, messages_received, bytes_received = self.past
            self.past = (
                messages_sent + rtc_channel.messages_sent,
                bytes_sent + rtc_channel.bytes_sent,
                messages_received + rtc_channel.messages_received,
                bytes_received + rtc_channel.bytes_received,
            )
            if rtc_channel.held_window.size and not self._ended:
                self._leftovers.append((ref(rtc_channel), rtc_channel.held_window))
                self._watch_leftovers()

    def _watch_leftovers(self) -> None:
        if self._leftovers_timer is None and self._leftovers:
            loop = asyncio.get_running_loop()
            self._leftovers_timer = loop.call_later(_LEFTOVERS_INTERVAL, self._release_leftovers)

    def _release_leftovers(self) -> None:
        """Release the window of closed channels that the application dropped with unread messages.

        A finalizer could do so at once, but it runs in any thread, and also after the event loop has ended.
        """
        self._leftovers_timer = None
        for _, window in [entry for entry in self._leftovers if entry[0]() is None]:
            self.release_window(window.size)
            window.size = 0
        self._leftovers = [entry for entry in self._leftovers if entry[1].size]
        self._watch_leftovers()

    def _changed(self, event: ChannelEvent) -> None:
        if not isinstance(event, (BufferedAmountChanged, ChannelOpened, ChannelClosing, ChannelFailed)):
            return
        rtc_channel = self._rtc_channels.get(event.channel)
        if rtc_channel is None:
            return
        if isinstance(event, BufferedAmountChanged):
            rtc_channel.buffered_amount_changed()
        elif isinstance(event, ChannelClosing):
            rtc_channel.peer_closes()
        elif isinstance(event, ChannelFailed):
            rtc_channel.fails(event.reason, event.cause_code)
        else:
            self._note_loop()
            self.opened += 1
            rtc_channel.set_open()
            rtc_channel.announce_open()

    def _schedule_flush(self) -> None:
        if self.transport is not None and self.transport.running:
            self.transport.wake()
        elif self._drain_handle is None and not self._ended:
            # No driver drains the channels yet, so their events are delivered in the next turn of the event loop.
            try:
                self._drain_handle = asyncio.get_running_loop().call_soon(self._drain)
            except RuntimeError:  # many scripts create channels before the event loop runs
                return

    def _drain(self) -> None:
        self._drain_handle = None
        if self.transport is None or not self.transport.running:
            for event in self.core.events():
                self.handle(event)

    def _note_loop(self) -> None:
        self._loop, self._thread_id = asyncio.get_running_loop(), get_ident()

    def _now(self) -> float:
        """Return the time of the connection's event loop.

        Raises:
            RuntimeError: the call comes from another thread, or no event loop runs.
        """
        known = self._loop
        if known is not None and get_ident() == self._thread_id and known.is_running():
            return known.time()  # `get_running_loop` asks the system for the process id, for each message
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if known is None:
            self._loop, self._thread_id = loop, get_ident()
        if loop is None or loop is not self._loop:
            raise RuntimeError(
                "a channel belongs to the event loop of its connection; from another thread, call"
                " loop.call_soon_threadsafe(channel.send, data)"
            )
        return loop.time()
