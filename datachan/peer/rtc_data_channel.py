"""RTCDataChannel: a channel for the application; it knows no streams, transports or signaling.

`datachan.dcep` implements the channel. This class adds W3C's states and events, `async for` and `drain`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from datachan.dcep.channel import Channel
from datachan.dcep.errors import ChannelNotOpen

from .errors import ArgumentError, InvalidStateError, MessageTooLargeError, RTCError
from .event_target import EventHandler, EventTarget
from .transport_views import RTCSctpTransport
from .unread_messages import HeldWindow, UnreadMessages

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

DEFAULT_HIGH_WATER: Final = 1024 * 1024
BINARY_TYPES: Final = ("bytes", "arraybuffer", "blob")
# RFC 8831, 6.4 and W3C webrtc-priority: the four levels and their numbers.
PRIORITIES: Final = {"very-low": 128, "low": 256, "medium": 512, "high": 1024}


class ChannelHost(Protocol):
    """The services of the connection that a channel uses."""

    @property
    def max_message_size(self) -> float:
        """The longest message that may be sent, in bytes."""

    @property
    def sctp(self) -> RTCSctpTransport | None:
        """The SCTP transport, as the application sees it."""

    @property
    def failure(self) -> str | None:
        """The reason why there is no path to the peer, as a sentence; None while there may be one."""

    def send(self, channel: Channel, data: str | bytes) -> None:
        """Queue a message."""

    def close_channel(self, channel: Channel) -> None:
        """Close a channel after its queued messages."""

    def release_window(self, size: int) -> None:
        """Reopen the receive window by the size of a message that was read."""


class RTCDataChannel(EventTarget[Literal["open", "message", "bufferedamountlow", "error", "closing", "close"]]):
    """A channel for messages in both directions.

    `RTCPeerConnection.createDataChannel` creates a channel. A channel of the peer arrives with the `datachannel` event.

    Events: `open`, `message` (str or bytes), `bufferedamountlow`, `error` (an `RTCError` with the reason),
    `closing` (the peer closes the channel), `close`.

    Without a `message` callback, messages are kept and count against the receive window, so that the peer slows down.
    They are delivered when a `message` callback is attached, or one by one with ``async for message in channel``.
    """

    onopen = EventHandler()
    onmessage = EventHandler()
    onbufferedamountlow = EventHandler()
    onerror = EventHandler()
    onclosing = EventHandler()
    onclose = EventHandler()

    def __init__(self, host: ChannelHost, channel: Channel) -> None:
        super().__init__()
        self._host = host
        self._channel = channel
        self._ready_state = "connecting"
        self._buffered_amount = 0
        self._low_threshold = 0
        self._high_water = DEFAULT_HIGH_WATER
        self._low_water = DEFAULT_HIGH_WATER // 4
        self._binary_type = "bytes"
        self._failure: str | None = None
        self._error: RTCError | None = None
        self._was_open = False
        self._waiters: set[asyncio.Future[None]] = set()
        self._flush_handle: asyncio.Handle | None = None
        self._unread = UnreadMessages(host.release_window)
        self.messages_sent = 0
        self.bytes_sent = 0
        self.messages_received = 0
        self.bytes_received = 0

    def __repr__(self) -> str:
        return f"<RTCDataChannel {self.label!r} id={self.id} {self._ready_state}>"

    # -- properties ----------------------------------------------------------------------------------------------------

    @property
    def label(self) -> str:
        """The name given by its creator; several channels may have the same one."""
        return self._channel.label

    @property
    def protocol(self) -> str:
        """The name of the subprotocol, or the empty string."""
        return self._channel.protocol

    @property
    def ordered(self) -> bool:
        """Whether messages arrive in the order in which they were sent."""
        return self._channel.ordered

    @property
    def maxPacketLifeTime(self) -> int | None:
        """The milliseconds during which a message is (re)transmitted, or None."""
        return self._channel.max_packet_life_time

    @property
    def maxRetransmits(self) -> int | None:
        """The maximum number of retransmissions of a message, or None."""
        return self._channel.max_retransmits

    @property
    def negotiated(self) -> bool:
        """Whether both applications created the channel with the same id."""
        return self._channel.negotiated

    @property
    def id(self) -> int | None:
        """The stream id, 0 to 65534; None until the connection is established, unless `negotiated`."""
        return self._channel.id

    @property
    def priority(self) -> str:
        """The priority: "very-low", "low", "medium" or "high"."""
        # W3C webrtc-priority: RFC 8831's numbers up to 128 are very-low, up to 256 low, up to 512 medium.
        number = self._channel.priority
        return next((name for name, limit in PRIORITIES.items() if number <= limit), "high")

    @property
    def readyState(self) -> str:
        """The state: "connecting", "open", "closing" or "closed"."""
        return self._ready_state

    @property
    def binaryType(self) -> str:
        """The type of received binary messages: "bytes", "arraybuffer" or "blob".

        Programs may set W3C's values. Binary messages arrive as `bytes` in any case.
        """
        return self._binary_type

    @binaryType.setter
    def binaryType(self, value: str) -> None:
        if value not in BINARY_TYPES:
            raise ArgumentError(f"binaryType must be one of {', '.join(BINARY_TYPES)}, not {value!r}")
        self._binary_type = value

    @property
    def transport(self) -> RTCSctpTransport | None:
        """The SCTP transport that carries the channel; None until a description with a data section is set."""
        return self._host.sctp

    @property
    def closeReason(self) -> str | None:
        """The reason why the channel failed, as a sentence; None if it did not fail."""
        return self._failure

    # -- sending -------------------------------------------------------------------------------------------------------

    def send(self, data: str | ReadableBuffer) -> None:
        """Queue a message, which is sent in the background. The message may be empty.

        Args:
            data: text, or a bytes-like object, which is copied.

        Raises:
            InvalidStateError: the channel is not open; `opened` waits until it is.
            MessageTooLargeError: the message is longer than the peer accepts (`RTCSctpTransport.maxMessageSize`).
            ArgumentError: the message is neither text nor bytes-like.
            RuntimeError: the call comes from another thread than that of the connection's event loop.
        """
        if self._ready_state != "open":
            raise InvalidStateError(f"the channel is {self._ready_state}, not open")
        if not isinstance(data, bytes):
            data = _plain(data)
        size = _byte_size(data, self._host.max_message_size)
        try:
            self._host.send(self._channel, data)
        except ChannelNotOpen as error:  # the peer has closed the channel, and the event is still to be handled
            raise InvalidStateError(str(error)) from error
        self._buffered_amount += size
        self.messages_sent += 1
        self.bytes_sent += size

    @property
    def bufferedAmount(self) -> int:
        """The bytes given to `send` that have not been transmitted yet."""
        return self._buffered_amount

    @property
    def bufferedAmountLowThreshold(self) -> int:
        """The number of bytes at which a falling `bufferedAmount` emits `bufferedamountlow`."""
        return self._low_threshold

    @bufferedAmountLowThreshold.setter
    def bufferedAmountLowThreshold(self, value: int) -> None:
        if not isinstance(value, int) or not 0 <= value <= 0xFFFFFFFF:
            raise ArgumentError("bufferedAmountLowThreshold must be in range 0 - 4294967295")
        self._low_threshold = value

    def set_write_buffer_limits(self, high: int = DEFAULT_HIGH_WATER, low: int | None = None) -> None:
        """Set the limits for `drain`, like `asyncio.WriteTransport.set_write_buffer_limits`.

        Args:
            high: the number of queued bytes above which `drain` waits.
            low: the number of queued bytes at which `drain` returns; a quarter of `high` by default.

        Raises:
            ArgumentError: the limits are not 0 <= low <= high.
        """
        low = high // 4 if low is None else low
        if not 0 <= low <= high:
            raise ArgumentError("the limits must be 0 <= low <= high")
        self._high_water, self._low_water = high, low

    async def drain(self) -> None:
        """Wait until the send buffer has room, like `asyncio.StreamWriter.drain`.

        Raises:
            InvalidStateError: the channel closed; queued messages may be lost.
        """
        if self._buffered_amount > self._high_water:
            while self._buffered_amount > self._low_water and self._ready_state in {"open", "closing"}:
                await self._changed()
        if self._ready_state == "closed":
            raise InvalidStateError(self._failure or "the channel is closed")

    # -- receiving -----------------------------------------------------------------------------------------------------

    def __aiter__(self) -> RTCDataChannel:
        """Iterate over the messages until the channel closes. `message` callbacks, if there are any, come first."""
        return self

    async def __anext__(self) -> str | bytes:
        """Return the next message."""
        return await self._unread.next()

    # -- states --------------------------------------------------------------------------------------------------------

    async def opened(self) -> None:
        """Wait until the channel is open.

        Raises:
            InvalidStateError: the channel is closing or closed, or the connection has failed; the message states the
                reason. After a failure, the channel stays, and may open after an ICE restart.
        """
        while self._ready_state == "connecting":
            if self._host.failure is not None:
                raise InvalidStateError(self._host.failure)
            await self._changed()
        if self._ready_state != "open":
            raise InvalidStateError(self._failure or f"the channel is {self._ready_state}, not open")

    async def closed(self) -> None:
        """Wait until the channel is closed."""
        while self._ready_state != "closed":
            await self._changed()

    def close(self) -> None:
        """Close the channel on both sides after all messages are delivered. Further calls do nothing."""
        if self._ready_state in {"closing", "closed"}:
            return
        self._host.close_channel(self._channel)
        self._ready_state = "closing"
        self._notify()

    # -- private -------------------------------------------------------------------------------------------------------

    def _add_event_handler(self, event: str, k: Callable[..., Any], v: Callable[..., Any]) -> None:
        super()._add_event_handler(event, k, v)
        if event == "message" and self._unread and self._flush_handle is None:
            # Deferred, because a callback is not expected to run inside of `on`.
            self._flush_handle = asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        while self._unread and self.listeners("message"):
            self.emit("message", self._unread.take())

    async def _changed(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def _notify(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


class ManagedDataChannel(RTCDataChannel):
    """An RTCDataChannel with the methods by which the connection reports events to it."""

    def set_open(self) -> None:
        """Set the state to open without the event (W3C: a channel is open when `datachannel` is emitted)."""
        if self._ready_state == "connecting":
            self._ready_state = "open"
            self._was_open = True
            self._notify()

    def connection_failed(self) -> None:
        """Wake the callers of `opened`, because there is no path to the peer."""
        self._notify()

    @property
    def was_open(self) -> bool:
        """Whether the channel has been open."""
        return self._was_open

    @property
    def held_window(self) -> HeldWindow:
        """The share of the receive window that unread messages hold."""
        return self._unread.window

    def announce_open(self) -> None:
        if self._ready_state == "open":
            self.emit("open")

    def deliver(self, data: str | bytes, size: int) -> bool:
        """Deliver a message; return False if no listener took it and it is stored as unread."""
        self.messages_received += 1
        self.bytes_received += size
        if not self._unread and self.emit("message", data):
            return True
        self._unread.put(data, size)
        return False

    def buffered_amount_changed(self) -> None:
        before, self._buffered_amount = self._buffered_amount, self._channel.buffered_amount
        if before > self._low_threshold >= self._buffered_amount:
            self.emit("bufferedamountlow")
        if self._waiters and self._buffered_amount <= self._low_water:
            self._notify()

    def peer_closes(self) -> None:
        if self._ready_state in {"connecting", "open"}:
            self._ready_state = "closing"
            self._notify()
            self.emit("closing")

    def fails(self, reason: str | None, cause_code: int | None = None) -> None:
        """Record the reason for which the channel will close; `cause_code` is that of `ChannelFailed`."""
        if self._failure is None and reason is not None:
            self._failure = reason
            if cause_code is not None:
                self._error = RTCError(reason, "sctp-failure", cause_code or None)
            else:
                self._error = RTCError(reason)

    def set_closed(self) -> None:
        if self._ready_state == "closed":
            return
        self._flush()
        self._ready_state = "closed"
        self._unread.end()
        self._notify()
        if self._error is not None:
            self.emit("error", self._error)
        self.emit("close")
        self._release_listeners()

    def close_with_connection(self) -> None:
        """Stop sending and release the window of unread messages, because the application closes the connection."""
        if self._ready_state in {"connecting", "open"}:
            self._ready_state = "closing"
            self._notify()
        # The application reads no more. A peer that is still sending must not have to wait for the window to open.
        self.release_unread()

    def release_unread(self) -> None:
        """Release the window of unread messages, which can still be read."""
        self._unread.release_all()


def _plain(data: object) -> str | bytes:
    if isinstance(data, str):
        if data.isascii():
            return data
        # As in W3C's USVString, lone surrogates become U+FFFD.
        return data.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    try:
        return memoryview(data).tobytes()  # type: ignore[arg-type]
    except TypeError:
        raise ArgumentError(f"a message is str or bytes-like, not {type(data).__name__}") from None


def _byte_size(data: str | bytes, limit: float) -> int:
    size = len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
    if size > limit:
        raise MessageTooLargeError(f"the message has {size} bytes; the peer accepts at most {limit:.0f}")
    return size
