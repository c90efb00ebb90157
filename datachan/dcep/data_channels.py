"""All data channels of one association: ids, opening, messages and closing; it knows no DTLS, no socket and no clock.

RFC 8831 says what a channel is, RFC 8832 how one is opened in band. Channels may be made, written to and closed before
there is an association; they open when it is established. `channel_receiver` handles what the peer sends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from datachan.sctp.association import Association
from datachan.sctp.errors import InvalidState, MessageTooLarge
from datachan.sctp.events import (
    AssociationClosed,
    AssociationEstablished,
    AssociationLost,
    AssociationRestarted,
    Event,
    IncomingStreamsReset,
    MessageReceived,
    OutgoingStreamsReset,
    ShutdownReceived,
    StreamProgress,
    StreamResetFailed,
)

from .channel import Channel, ChannelState
from .channel_events import (
    BufferedAmountChanged,
    ChannelClosed,
    ChannelClosing,
    ChannelEvent,
    ChannelFailed,
    ChannelOpened,
)
from .channel_receiver import ChannelReceiver
from .channel_sender import ChannelSender
from .channel_table import ChannelLimits, ChannelTable
from .control_messages import MAX_TEXT_BYTES, OpenMessage, encode_text
from .errors import (
    ChannelNotOpen,
    InvalidChannelOptions,
)
from .held_messages import HeldMessages
from .payload import encode_payload

MAX_ID: Final = 65534
_MAX_UNSIGNED_SHORT: Final = 65535


class DataChannels:
    """The data channels of one peer connection, before, during and after its association.

    The owner of the association hands every event of it to `handle_event`, calls `flush` before it takes packets
    from it, and drains `events` afterwards. `Stack` does all of that.

    Args:
        limits: what a peer may make us hold.
        max_message_size: longest message the peer accepts, in bytes; 0 for no limit. May be set later.
    """

    def __init__(self, *, limits: ChannelLimits | None = None, max_message_size: int = 0) -> None:
        limits = limits or ChannelLimits()
        self.max_message_size = max_message_size
        self._limits = limits
        self._table = ChannelTable(limits)
        self._sender = ChannelSender()
        self._held = HeldMessages(limits.max_held_bytes, limits.max_held_messages)
        self._receiver = ChannelReceiver(self._table, self._sender, self._held)
        self._is_dtls_client = False
        self._established = False
        self._ended = ""
        self._progressed: dict[Channel, None] = {}
        self._handlers: dict[type[Event], Callable[[Any, float], None]] = {
            MessageReceived: self._receiver.message,
            StreamProgress: self._stream_progress,
            IncomingStreamsReset: self._incoming_streams_reset,
            OutgoingStreamsReset: self._outgoing_streams_reset,
            StreamResetFailed: self._stream_reset_failed,
            AssociationEstablished: self._association_established,
            AssociationRestarted: self._association_restarted,
            ShutdownReceived: self._shutdown_received,
            AssociationClosed: lambda event, now: self.close_all(),
            AssociationLost: lambda event, now: self.close_all(event.reason or "the association was lost"),
        }

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Every channel that is not closed."""
        return tuple(c for c in self._table if not c.silent and c.state is not ChannelState.CLOSED)

    @property
    def max_channels(self) -> int | None:
        """How many ids there are: the smaller number of streams of both directions; None before it is known."""
        return self._table.limit

    @property
    def bytes_held(self) -> int:
        """Bytes of messages that wait for their channel, or for their other parts."""
        return self._held.bytes_held

    # -- the user's calls ----------------------------------------------------------------------------------------------

    def create(
        self,
        label: str,
        *,
        protocol: str = "",
        ordered: bool = True,
        max_packet_life_time: int | None = None,
        max_retransmits: int | None = None,
        negotiated: bool = False,
        id: int | None = None,  # noqa: A002 (as W3C has it)
        priority: int = 256,
    ) -> Channel:
        """Make a channel; before, during, but not after the association.

        Args:
            label: at most 65,535 bytes of UTF-8.
            protocol: likewise.
            ordered: whether messages keep their order.
            max_packet_life_time: milliseconds, 0 to 65,535; not together with max_retransmits.
            max_retransmits: 0 to 65,535.
            negotiated: True when the peer makes the same channel by itself.
            id: 0 to 65,534, for a negotiated channel; not looked at otherwise.
            priority: 128 below normal, 256 normal, 512 high, 1024 extra high (RFC 8831, section 6.4).

        Raises:
            InvalidChannelOptions: an option is out of range or contradicts another.
            IdInUse: a channel that is not closed has this id.
            NoFreeId: the association is up and has no stream for it.
            ChannelNotOpen: the association has ended.
        """
        _check_options(label, protocol, max_packet_life_time, max_retransmits, priority)
        if negotiated and (id is None or not 0 <= id <= MAX_ID):
            raise InvalidChannelOptions(f"a negotiated channel needs an id from 0 to {MAX_ID}, not {id}")
        if self._ended or self._sender.shutting_down:
            raise ChannelNotOpen(f"no channel can be made: {self._ended or 'the association is shutting down'}")
        channel = Channel(
            label,
            protocol=protocol,
            ordered=ordered,
            max_packet_life_time=max_packet_life_time,
            max_retransmits=max_retransmits,
            negotiated=negotiated,
            stream_id=id if negotiated else None,
            priority=priority,
        )
        self._table.add(channel)
        return channel

    def send(self, channel: Channel, data: str | bytes, now: float) -> None:
        """Queue one message. On a channel that is connecting it goes right behind the OPEN.

        Args:
            channel: where to.
            data: `str` goes as text, bytes as binary; may be empty.
            now: seconds.

        Raises:
            ChannelNotOpen: the channel is closing or closed.
            MessageTooLarge: longer than `max_message_size` (`datachan.sctp.errors`); the channel stays usable.
            TypeError: neither text nor bytes.
        """
        if channel.state is not ChannelState.OPEN and channel.state is not ChannelState.CONNECTING:
            raise ChannelNotOpen(f"the channel is {channel.state.value}")
        ppid, payload, size = encode_payload(data)
        if self.max_message_size and size > self.max_message_size:
            raise MessageTooLarge(f"the peer takes messages of {self.max_message_size} bytes, not of {size}")
        if not channel.open_sent and self._established:
            self.flush(now)
        if channel.open_sent:
            try:
                self._sender.send(channel, ppid, payload, size, now)
            except InvalidState as error:
                raise ChannelNotOpen(str(error)) from error
        else:
            if channel.pending is None:
                channel.pending = []
            channel.pending.append((ppid, payload, size))
        channel.buffered_amount += size

    def close(self, channel: Channel, now: float) -> None:
        """Close by resetting our stream, after what is queued on it (RFC 8831, section 6.7). Twice is harmless.

        A channel the peer has not heard of is closed at once, unless messages wait in it.
        """
        if channel.state is ChannelState.CLOSING or channel.state is ChannelState.CLOSED:
            return
        if not channel.open_sent and not channel.pending:
            self._closed(channel)
            return
        channel.state = ChannelState.CLOSING
        if channel.open_sent and channel.id is not None:
            self._sender.reset(channel.id)

    def release_window(self, size: int) -> None:
        """The application took a message, of whatever channel: open the receiver window by `ChannelMessage.size`.

        The association hears of it at the next `flush`.
        """
        if size:
            self._sender.release_window(size)

    def close_all(self, reason: str = "") -> None:
        """The association is gone or will never be: every channel closes at once; with a reason, each fails first."""
        if self._ended:
            return
        self._ended = reason or "the association has ended"
        self._established = False
        self._sender.detach()
        for channel in tuple(self._table):
            self._end(channel, reason)

    def begin_shutdown(self) -> None:
        """A graceful end has been asked for here: nothing more can be sent."""
        for channel in tuple(self._table):
            if channel.state is ChannelState.CONNECTING and not channel.open_sent:
                self._closed(channel)
            elif channel.state is not ChannelState.CLOSED:
                channel.state = ChannelState.CLOSING
        self._sender.shutting_down = True

    # -- the machine ---------------------------------------------------------------------------------------------------

    def attach(self, association: Association, is_dtls_client: bool, now: float) -> None:
        """Give the association the channels live on, before it is established.

        Args:
            association: its events are to be given to `handle_event`.
            is_dtls_client: the client has the even ids, the server the odd ones (RFC 8832, section 6).
            now: seconds.
        """
        self._sender.attach(association)
        self._is_dtls_client = is_dtls_client
        self._ended = ""

    def handle_message(self, event: MessageReceived, now: float) -> None:
        """Take the most frequent event of the association, which is all that `handle_event` would do with it."""
        if self._table.waiting:
            self.flush(now)
        self._receiver.message(event, now)

    def handle_event(self, event: Event, now: float) -> None:
        """Take one event of the association."""
        if self._table.waiting:
            self.flush(now)
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event, now)

    def flush(self, now: float) -> None:
        """Tell the association what waits for a moment like this, as the calls that asked for it know no time.

        Channels are opened, what was closed together is reset together, and what was consumed opens the window.
        """
        self._sender.flush_released(now)
        if self._established and self._table.waiting:
            waiting, self._table.waiting = self._table.waiting, []
            for channel in waiting:
                self._open(channel, now)
        self._sender.flush_resets(now)

    def events(self) -> list[ChannelEvent]:
        """Drain what happened."""
        events, self._receiver.events = self._receiver.events, []
        if not self._progressed:
            return events
        progressed, self._progressed = self._progressed, {}
        return [BufferedAmountChanged(channel, channel.buffered_amount) for channel in progressed] + events

    # -- opening -------------------------------------------------------------------------------------------------------

    def _association_established(self, event: AssociationEstablished | AssociationRestarted, now: float) -> None:
        streams = min(event.inbound_streams, event.outbound_streams)
        for channel in self._table.established(self._is_dtls_client, streams):
            self._tell_end(channel, f"the association has {streams} streams, and none for this channel")
        self._established = True
        self.flush(now)

    def _association_restarted(self, event: AssociationRestarted, now: float) -> None:
        """The peer forgot everything; so do we, and begin anew."""
        for channel in tuple(self._table):
            self._end(channel, "the peer restarted the association")
        self._table = ChannelTable(self._limits)
        self._held = HeldMessages(self._limits.max_held_bytes, self._limits.max_held_messages)
        self._sender.restart()
        self._receiver.restart(self._table, self._held)
        self._association_established(event, now)

    def _open(self, channel: Channel, now: float) -> None:
        channel.open_sent = True
        self._sender.opened(channel)
        if channel.negotiated:
            channel.confirmed = True
            if channel.state is ChannelState.CONNECTING:
                channel.state = ChannelState.OPEN
                self._receiver.tell(ChannelOpened(channel))
        else:
            opening = OpenMessage(
                label=channel.label,
                protocol=channel.protocol,
                ordered=channel.ordered,
                max_retransmits=channel.max_retransmits,
                max_packet_life_time=channel.max_packet_life_time,
                priority=channel.priority,
            )
            self._sender.control(channel, opening, now)
        for ppid, payload, size in channel.pending or ():
            self._sender.try_send(channel, ppid, payload, size, now)
        channel.pending = None
        if channel.state is ChannelState.CLOSING and channel.id is not None:
            self._sender.reset(channel.id)
        if channel.negotiated and channel.id is not None and channel.id in self._held:
            self._receiver.replay(channel.id, now)

    # -- closing -------------------------------------------------------------------------------------------------------

    def _incoming_streams_reset(self, event: IncomingStreamsReset, now: float) -> None:
        # RFC 6525, 4.1: "If no streams are listed, then all streams are to be reset."
        for stream_id in event.stream_ids or tuple(self._table.by_id):
            self._receiver.stream_reset(stream_id)
            self._finish_close(stream_id, now)

    def _outgoing_streams_reset(self, event: OutgoingStreamsReset, now: float) -> None:
        for stream_id in event.stream_ids:
            channel = self._table.by_id.get(stream_id)
            if channel is not None:
                channel.outgoing_reset = True
                self._finish_close(stream_id, now)

    def _stream_reset_failed(self, event: StreamResetFailed, now: float) -> None:
        """The peer will not help to close: it is closed here, and its stream is not used again."""
        for stream_id in event.stream_ids:
            channel = self._table.by_id.get(stream_id)
            if channel is not None:
                self._closed(channel, reusable=False)

    def _finish_close(self, stream_id: int, now: float) -> None:
        channel = self._table.by_id.get(stream_id)
        # RFC 8831, 6.7: "When the peer sees that an incoming stream was
        # reset, it also resets its corresponding outgoing stream.  Once this
        # is completed, the data channel is closed."
        if channel is None or not (channel.incoming_reset and channel.outgoing_reset):
            return
        self._closed(channel)
        if channel.refuse_next:
            self._held.take(stream_id)
            self._receiver.refuse(stream_id).incoming_reset = channel.next_was_reset
        elif stream_id in self._held:
            self._receiver.replay(stream_id, now)

    def _shutdown_received(self, event: ShutdownReceived, now: float) -> None:
        self._sender.shutting_down = True
        for channel in self.channels:
            if channel.state is not ChannelState.CLOSING:
                channel.state = ChannelState.CLOSING
                self._receiver.tell(ChannelClosing(channel))

    def _end(self, channel: Channel, reason: str) -> None:
        if channel.state is not ChannelState.CLOSED:
            self._table.remove(channel)
            self._tell_end(channel, reason)

    def _closed(self, channel: Channel, *, reusable: bool = True) -> None:
        self._table.remove(channel, reusable=reusable)
        self._tell_end(channel, "")

    def _tell_end(self, channel: Channel, reason: str) -> None:
        channel.state = ChannelState.CLOSED
        channel.pending = None
        self._receiver.drop_parts(channel)
        self._progressed.pop(channel, None)
        if channel.silent:
            return
        if reason:
            self._receiver.tell(ChannelFailed(channel, reason))
        self._receiver.tell(ChannelClosed(channel))

    def _stream_progress(self, event: StreamProgress, now: float) -> None:
        channel = self._table.by_id.get(event.stream_id)
        if channel is not None:
            before = channel.buffered_amount
            channel.left_queue(event.bytes_left)
            if channel.buffered_amount != before and channel.state is not ChannelState.CLOSED:
                self._progressed[channel] = None


def _check_options(
    label: str, protocol: str, max_packet_life_time: int | None, max_retransmits: int | None, priority: int
) -> None:
    for name, text in (("label", label), ("protocol", protocol)):
        if len(encode_text(text)) > MAX_TEXT_BYTES:
            raise InvalidChannelOptions(
                f"a {name} may have {MAX_TEXT_BYTES} bytes of UTF-8, not {len(encode_text(text))}"
            )
    if max_packet_life_time is not None and max_retransmits is not None:
        raise InvalidChannelOptions("max_packet_life_time and max_retransmits exclude each other")
    numbers = (
        ("max_packet_life_time", max_packet_life_time),
        ("max_retransmits", max_retransmits),
        ("priority", priority),
    )
    for name, number in numbers:
        if number is not None and not 0 <= number <= _MAX_UNSIGNED_SHORT:
            raise InvalidChannelOptions(f"{name} is from 0 to {_MAX_UNSIGNED_SHORT}, not {number}")
