"""RTCDataChannel: one channel as the application sees it; it knows nothing of streams, transports or signaling.

The channel proper lives in `datachan.dcep`; this is its face: W3C's states and events, `async for` and `drain`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

from datachan.dcep.channel import Channel

from .errors import ArgumentError, InvalidStateError, MessageTooLargeError, OperationError
from .event_target import EventTarget
from .unread_messages import UnreadMessages

DEFAULT_HIGH_WATER: Final = 1024 * 1024
# RFC 8831, 6.4 and W3C webrtc-priority: the four levels and their numbers.
PRIORITIES: Final = {"very-low": 128, "low": 256, "medium": 512, "high": 1024}


class ChannelHost(Protocol):
    """What a channel needs of the connection it belongs to."""

    @property
    def max_message_size(self) -> float:
        """Longest message that may be sent, in bytes."""

    def send(self, channel: Channel, data: str | bytes) -> None:
        """Queue a message."""

    def close_channel(self, channel: Channel) -> None:
        """Deliver what is queued, then close."""

    def release_window(self, size: int) -> None:
        """A message that took this much of the window has been read."""


class RTCDataChannel(EventTarget):
    """A channel for messages, both ways.

    Made by `RTCPeerConnection.createDataChannel`, or by the peer and handed over with the `datachannel` event.

    Events: `open`, `message` (str or bytes), `bufferedamountlow`, `error` (an `OperationError` that says why),
    `closing` (the peer closes), `close`.

    Messages that arrive while nobody listens are kept and count against the receive window, so that the peer slows
    down. They are delivered when a `message` callback is attached, or one by one with ``async for message in channel``.
    """

    def __init__(self, host: ChannelHost, channel: Channel) -> None:
        super().__init__()
        self._host = host
        self._channel = channel
        self._ready_state = "connecting"
        self._buffered_amount = 0
        self._low_threshold = 0
        self._high_water = DEFAULT_HIGH_WATER
        self._low_water = DEFAULT_HIGH_WATER // 4
        self._failure: str | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._flush_handle: asyncio.Handle | None = None
        self._unread = UnreadMessages(host.release_window)
        self.messages_sent = 0
        self.bytes_sent = 0
        self.messages_received = 0
        self.bytes_received = 0

    def __repr__(self) -> str:
        return f"<RTCDataChannel {self.label!r} id={self.id} {self._ready_state}>"

    # -- what it is ---------------------------------------------------------------------------------------------

    @property
    def label(self) -> str:
        """The name its creator gave it; several channels may have the same."""
        return self._channel.label

    @property
    def protocol(self) -> str:
        """The name of the subprotocol, or the empty string."""
        return self._channel.protocol

    @property
    def ordered(self) -> bool:
        """Whether messages arrive in the order they were sent in."""
        return self._channel.ordered

    @property
    def maxPacketLifeTime(self) -> int | None:
        """Milliseconds during which a message is (re)transmitted, or None."""
        return self._channel.max_packet_life_time

    @property
    def maxRetransmits(self) -> int | None:
        """How often a message is retransmitted at most, or None."""
        return self._channel.max_retransmits

    @property
    def negotiated(self) -> bool:
        """Whether both sides created it by themselves, with the same id."""
        return self._channel.negotiated

    @property
    def id(self) -> int | None:
        """Its stream, 0 to 65534; None until it has one, which is once the connection is up."""
        return self._channel.id

    @property
    def priority(self) -> str:
        """How much it matters: "very-low", "low", "medium" or "high"."""
        # W3C webrtc-priority: RFC 8831's numbers up to 128 are very-low, up to 256 low, up to 512 medium.
        number = self._channel.priority
        return next((name for name, limit in PRIORITIES.items() if number <= limit), "high")

    @property
    def readyState(self) -> str:
        """Where it stands: "connecting", "open", "closing" or "closed"."""
        return self._ready_state

    @property
    def binaryType(self) -> str:
        """How binary messages arrive: always "bytes"."""
        return "bytes"

    @property
    def closeReason(self) -> str | None:
        """Why the channel failed, in a sentence; None while it did not, or when it was closed in order."""
        return self._failure

    # -- sending ------------------------------------------------------------------------------------------------

    def send(self, data: str | bytes | bytearray | memoryview) -> None:
        """Queue a message; it is sent in the background. An empty message is a message, too.

        Args:
            data: text, or bytes in one of their forms, of which a copy is taken.

        Raises:
            InvalidStateError: the channel is not open; `opened` waits for that.
            MessageTooLargeError: it is longer than the peer accepts (`RTCSctpTransport.maxMessageSize`).
            ArgumentError: it is neither text nor bytes.
        """
        if self._ready_state != "open":
            raise InvalidStateError(f"the channel is {self._ready_state}, not open")
        if not isinstance(data, bytes):
            data = _plain(data)
        size = _byte_size(data, self._host.max_message_size)
        self._host.send(self._channel, data)
        self._buffered_amount += size
        self.messages_sent += 1
        self.bytes_sent += size

    @property
    def bufferedAmount(self) -> int:
        """Bytes that `send` took and that have not left for the network."""
        return self._buffered_amount

    @property
    def bufferedAmountLowThreshold(self) -> int:
        """When `bufferedAmount` falls to this many bytes, `bufferedamountlow` is emitted."""
        return self._low_threshold

    @bufferedAmountLowThreshold.setter
    def bufferedAmountLowThreshold(self, value: int) -> None:
        if not isinstance(value, int) or not 0 <= value <= 0xFFFFFFFF:
            raise ArgumentError("bufferedAmountLowThreshold must be in range 0 - 4294967295")
        self._low_threshold = value

    def set_write_buffer_limits(self, high: int = DEFAULT_HIGH_WATER, low: int | None = None) -> None:
        """Say when `drain` waits, as `asyncio.WriteTransport.set_write_buffer_limits` does.

        Args:
            high: `drain` waits while more than this many bytes are queued.
            low: it returns once not more than this many are; a quarter of high by default.
        """
        low = high // 4 if low is None else low
        if not 0 <= low <= high:
            raise ArgumentError("the limits must be 0 <= low <= high")
        self._high_water, self._low_water = high, low

    async def drain(self) -> None:
        """Wait until there is room for more, as `asyncio.StreamWriter.drain` does.

        Raises:
            InvalidStateError: the channel closed; what was still queued may be lost.
        """
        if self._buffered_amount > self._high_water:
            while self._buffered_amount > self._low_water and self._ready_state in {"open", "closing"}:
                await self._changed()
        if self._ready_state == "closed":
            raise InvalidStateError(self._failure or "the channel is closed")

    # -- receiving ----------------------------------------------------------------------------------------------

    def __aiter__(self) -> RTCDataChannel:
        """Iterate over the messages until the channel closes. `message` callbacks, if there are any, come first."""
        return self

    async def __anext__(self) -> str | bytes:
        """The next message."""
        return await self._unread.next()

    # -- states -------------------------------------------------------------------------------------------------

    async def opened(self) -> None:
        """Wait until the channel is open.

        Raises:
            InvalidStateError: it closed instead; the message says why.
        """
        while self._ready_state == "connecting":
            await self._changed()
        if self._ready_state == "closed":
            raise InvalidStateError(self._failure or "the channel closed before it was open")

    async def closed(self) -> None:
        """Wait until the channel is closed."""
        while self._ready_state != "closed":
            await self._changed()

    def close(self) -> None:
        """Close once everything sent has been delivered; the other side closes, too. Further calls do nothing."""
        if self._ready_state in {"closing", "closed"}:
            return
        self._ready_state = "closing"
        self._notify()
        self._host.close_channel(self._channel)

    # -- private ------------------------------------------------------------------------------------------------

    def _add_event_handler(self, event: str, k: Callable[..., Any], v: Callable[..., Any]) -> None:
        super()._add_event_handler(event, k, v)
        if event == "message" and self._unread and self._flush_handle is None:
            # Not at once: whoever attaches a callback does not expect it to run inside of `on`.
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
    """The same channel with its lower side: how the connection tells it what happens."""

    def set_open(self) -> None:
        """Become open without saying so yet (W3C: a channel is open when `datachannel` is emitted)."""
        if self._ready_state == "connecting":
            self._ready_state = "open"
            self._notify()

    def announce_open(self) -> None:
        if self._ready_state == "open":
            self.emit("open")

    def deliver(self, data: str | bytes, size: int) -> bool:
        """Hand over a message; whether somebody took it, or else it lies in the inbox."""
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
        if self._buffered_amount <= self._low_water:
            self._notify()

    def peer_closes(self) -> None:
        if self._ready_state in {"connecting", "open"}:
            self._ready_state = "closing"
            self._notify()
            self.emit("closing")

    def fails(self, reason: str | None) -> None:
        """It will close, and this is why."""
        self._failure = self._failure or reason

    def set_closed(self) -> None:
        if self._ready_state == "closed":
            return
        self._flush()
        self._ready_state = "closed"
        self._unread.end()
        self._notify()
        if self._failure is not None:
            self.emit("error", OperationError(self._failure))
        self.emit("close")

    def closing_with_connection(self) -> None:
        """The application closes the whole connection."""
        if self._ready_state in {"connecting", "open"}:
            self._ready_state = "closing"
            self._notify()
        # Whoever closes reads no more: a peer that still sends must not wait for the window before it can agree.
        self._unread.give_back_all()


def _plain(data: object) -> str | bytes:
    if isinstance(data, str):
        if data.isascii():
            return data
        # As W3C's USVString: what is no Unicode scalar value becomes U+FFFD.
        return data.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise ArgumentError(f"a message is str or bytes, not {type(data).__name__}")


def _byte_size(data: str | bytes, limit: float) -> int:
    size = len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
    if size > limit:
        raise MessageTooLargeError(f"a message of {size} bytes; the peer accepts at most {limit:.0f}")
    return size
