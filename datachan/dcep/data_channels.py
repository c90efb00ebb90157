"""All data channels of one association: ids, opening, messages and closing; it knows no DTLS, no socket and no clock.

RFC 8831 defines channels, RFC 8832 how they are opened in band. The application may create channels, send on them and
close them before there is an association; the channels open when it is established. `channel_receiver` handles what
the peer sends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from datachan.sctp import (
    Association,
    AssociationClosed,
    AssociationEstablished,
    AssociationLost,
    AssociationRestarted,
    Event,
    IncomingStreamsReset,
    InvalidState,
    MessageReceived,
    MessageTooLarge,
    OutgoingStreamsReset,
    ShutdownReceived,
    StreamProgress,
    StreamResetFailed,
    StreamsNegotiated,
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

    The owner of the association passes each of its events to `handle_event`, calls `flush` before draining its packets,
    and drains `events` afterwards. `Stack` does all of this.

    Args:
        limits: the limits on the memory that the peer can make us use.
        max_message_size: the longest message the peer accepts, in bytes; 0 for no limit. It may be set later.
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
        self._may_send = False  # the streams are known, at the latest when the association is established
        self._established = False
        self._ended = ""
        self._progressed: dict[Channel, None] = {}

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Every channel that is not closed."""
        return tuple(c for c in self._table if not c.silent and c.state is not ChannelState.CLOSED)

    @property
    def max_channels(self) -> int | None:
        """The number of ids: the streams of the direction with fewer; None before the association is established."""
        return self._table.limit

    @property
    def bytes_held(self) -> int:
        """The bytes of messages that wait for their channel or for further parts."""
        return self._held.bytes_held

    # -- calls of the application --------------------------------------------------------------------------------------

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
        """Create a channel, before or during the association but not after it.

        Args:
            label: at most 65,535 bytes of UTF-8.
            protocol: at most 65,535 bytes of UTF-8.
            ordered: whether messages keep their order.
            max_packet_life_time: milliseconds, 0 to 65,535; not together with max_retransmits.
            max_retransmits: 0 to 65,535.
            negotiated: True when the peer's application creates the same channel.
            id: 0 to 65,534 for a negotiated channel; ignored otherwise.
            priority: 128 below normal, 256 normal, 512 high, 1024 extra high (RFC 8831, section 6.4).

        Raises:
            InvalidChannelOptions: an option is out of range or contradicts another.
            IdInUse: a channel that is not closed has this id.
            NoFreeId: the association is established and has no stream for the channel.
            ChannelNotOpen: the association has ended.
        """
        _check_options(label, protocol, max_packet_life_time, max_retransmits, priority)
        if negotiated and (id is None or not 0 <= id <= MAX_ID):
            raise InvalidChannelOptions(f"a negotiated channel needs an id from 0 to {MAX_ID}, not {id}")
        if self._ended or self._sender.shutting_down:
            raise ChannelNotOpen(f"no channel can be created: {self._ended or 'the association is shutting down'}")
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
        """Queue a message. On a connecting channel, it follows right after the OPEN.

        Args:
            channel: the channel to send on.
            data: `str` is sent as text, bytes as binary; both may be empty.
            now: the time in monotonic seconds.

        Raises:
            ChannelNotOpen: the channel is closing or closed.
            MessageTooLarge: longer than `max_message_size` (`datachan.sctp.errors`). The channel stays usable.
            TypeError: neither text nor bytes.
        """
        if channel.state is not ChannelState.OPEN and channel.state is not ChannelState.CONNECTING:
            raise ChannelNotOpen(f"the channel is {channel.state.value}")
        ppid, payload, size = encode_payload(data)
        if self.max_message_size and size > self.max_message_size:
            raise MessageTooLarge(f"the message has {size} bytes; the peer accepts at most {self.max_message_size}")
        if not channel.open_sent and self._may_send:
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
        """Close a channel by resetting our stream after its queued messages (RFC 8831, section 6.7).

        A channel that has not been announced to the peer closes at once, unless messages are queued on it. If the peer
        has not acknowledged the channel yet, the reset waits for the ACK. Further calls do nothing.
        """
        if channel.state is ChannelState.CLOSING or channel.state is ChannelState.CLOSED:
            return
        if not channel.open_sent and not channel.pending:
            self._closed(channel)
            return
        channel.state = ChannelState.CLOSING
        if channel.confirmed and channel.id is not None:
            self._sender.reset(channel.id)

    def release_window(self, size: int) -> None:
        """Reopen the receive window by `ChannelMessage.size`, after the application has read the message.

        The association is informed at the next `flush`.
        """
        if size:
            self._sender.release_window(size)

    def close_all(self, reason: str = "", cause_code: int | None = None) -> None:
        """Close every channel at once because there is no association.

        Args:
            reason: if given, each channel fails with this reason first.
            cause_code: the error cause code of the ABORT that ended the association, if it ended so.
        """
        if self._ended:
            return
        self._ended = reason or "the association has ended"
        self._may_send = self._established = False
        self._sender.detach()
        for channel in tuple(self._table):
            self._end(channel, reason, cause_code)

    def release_association(self, reason: str) -> None:
        """Close the channels that were opened, because another association replaces theirs; the others wait for it."""
        waiting = [channel for channel in self._table.waiting if not channel.open_sent]
        for channel in tuple(self._table):
            if channel not in waiting:
                self._end(channel, reason)
        self._may_send = self._established = False
        self._sender.detach()
        self._start_over()
        for channel in waiting:
            if not channel.negotiated:
                channel.id = None
            self._table.add(channel)

    def begin_shutdown(self) -> None:
        """Refuse further messages because this side shuts the association down."""
        for channel in tuple(self._table):
            if channel.state is ChannelState.CONNECTING and not channel.open_sent:
                self._closed(channel)
            elif channel.state is not ChannelState.CLOSED:
                channel.state = ChannelState.CLOSING
        self._sender.shutting_down = True

    # -- the machine ---------------------------------------------------------------------------------------------------

    def attach(self, association: Association, is_dtls_client: bool, now: float) -> None:
        """Set the association that the channels use, before it is established.

        Args:
            association: the association, whose events are to be passed to `handle_event`.
            is_dtls_client: the DTLS role; the client has the even ids, the server the odd ones (RFC 8832, section 6).
            now: the time in monotonic seconds.
        """
        self._sender.attach(association)
        self._is_dtls_client = is_dtls_client
        self._ended = ""

    def handle_message(self, event: MessageReceived, now: float) -> None:
        """Process the most frequent event of the association; a shortcut for `handle_event`."""
        if self._table.waiting:
            self.flush(now)
        self._receiver.receive_message(event, now)

    def handle_event(self, event: Event, now: float) -> None:
        """Process an event of the association."""
        if self._table.waiting:
            self.flush(now)
        if isinstance(event, MessageReceived):
            self._receiver.receive_message(event, now)
            return
        handler = _HANDLERS.get(type(event))
        if handler is not None:
            handler(self, event, now)

    def flush(self, now: float) -> None:
        """Pass pending work to the association: channels to open, streams to reset, window bytes to release.

        Several calls of the application share one flush, so that their streams are reset with one request.
        """
        self._sender.flush_released(now)
        if self._may_send and self._table.waiting:
            waiting, self._table.waiting = self._table.waiting, []
            for channel in waiting:
                self._open(channel, now)
        if self._established:
            self._sender.flush_resets(now)

    def events(self) -> list[ChannelEvent]:
        """Drain the events."""
        events, self._receiver.events = self._receiver.events, []
        if not self._progressed:
            return events
        progressed, self._progressed = self._progressed, {}
        return [BufferedAmountChanged(channel, channel.buffered_amount) for channel in progressed] + events

    # -- opening -------------------------------------------------------------------------------------------------------

    def _streams_negotiated(
        self, event: StreamsNegotiated | AssociationEstablished | AssociationRestarted, now: float
    ) -> None:
        streams = min(event.inbound_streams, event.outbound_streams)
        for channel in self._table.established(self._is_dtls_client, streams):
            self._report_end(channel, f"the association has {streams} streams, and none for this channel")
        self._may_send = True
        self.flush(now)

    def _association_established(self, event: AssociationEstablished | AssociationRestarted, now: float) -> None:
        self._established = True
        self._streams_negotiated(event, now)

    def _association_closed(self, event: AssociationClosed, now: float) -> None:
        self.close_all()

    def _association_lost(self, event: AssociationLost, now: float) -> None:
        self.close_all(event.reason or "the association was lost", event.cause_code)

    def _association_restarted(self, event: AssociationRestarted, now: float) -> None:
        """Close all channels, because the peer lost its state, and start over with none."""
        for channel in tuple(self._table):
            self._end(channel, "the peer restarted the association")
        self._sender.restart()
        self._start_over()
        self._association_established(event, now)

    def _start_over(self) -> None:
        self._table = ChannelTable(self._limits)
        self._held = HeldMessages(self._limits.max_held_bytes, self._limits.max_held_messages)
        self._receiver.restart(self._table, self._held)

    def _open(self, channel: Channel, now: float) -> None:
        channel.open_sent = True
        self._sender.opened(channel)
        # RFC 8832, 6: "After the DATA_CHANNEL_OPEN message has been sent, the sender
        # of that message MAY start sending messages containing user data
        # without waiting for the reception of the corresponding
        # DATA_CHANNEL_ACK message." So the channel is open now, one round trip before the ACK.
        if channel.state is ChannelState.CONNECTING:
            channel.state = ChannelState.OPEN
            self._receiver.report(ChannelOpened(channel))
        if channel.negotiated:
            channel.confirmed = True
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
        if channel.state is ChannelState.CLOSING and channel.confirmed and channel.id is not None:
            self._sender.reset(channel.id)
        if channel.negotiated and channel.id is not None and channel.id in self._held:
            self._receiver.deliver_held(channel.id, now)

    # -- closing -------------------------------------------------------------------------------------------------------

    def _incoming_streams_reset(self, event: IncomingStreamsReset, now: float) -> None:
        # RFC 6525, 4.1: "If no streams are listed, then all streams are to be reset."
        for stream_id in event.stream_ids or tuple(self._table.by_id):
            self._receiver.handle_stream_reset(stream_id)
            self._finish_close(stream_id, now)

    def _outgoing_streams_reset(self, event: OutgoingStreamsReset, now: float) -> None:
        for stream_id in event.stream_ids:
            channel = self._table.by_id.get(stream_id)
            if channel is not None:
                channel.outgoing_reset = True
                self._finish_close(stream_id, now)

    def _stream_reset_failed(self, event: StreamResetFailed, now: float) -> None:
        """Close the channel on this side only, and never use its stream again: the peer refused the reset."""
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
            self._receiver.deliver_held(stream_id, now)

    def _shutdown_received(self, event: ShutdownReceived, now: float) -> None:
        self._sender.shutting_down = True
        for channel in self.channels:
            if channel.state is not ChannelState.CLOSING:
                channel.state = ChannelState.CLOSING
                self._receiver.report(ChannelClosing(channel))

    def _end(self, channel: Channel, reason: str, cause_code: int | None = None) -> None:
        if channel.state is not ChannelState.CLOSED:
            self._table.remove(channel)
            self._report_end(channel, reason, cause_code)

    def _closed(self, channel: Channel, *, reusable: bool = True) -> None:
        self._table.remove(channel, reusable=reusable)
        self._sender.closed(channel)
        self._report_end(channel, "")

    def _report_end(self, channel: Channel, reason: str, cause_code: int | None = None) -> None:
        channel.state = ChannelState.CLOSED
        channel.pending = None
        self._receiver.drop_parts(channel)
        self._progressed.pop(channel, None)
        if channel.silent:
            return
        if reason:
            self._receiver.report(ChannelFailed(channel, reason, cause_code))
        self._receiver.report(ChannelClosed(channel))

    def _stream_progress(self, event: StreamProgress, now: float) -> None:
        channel = self._table.by_id.get(event.stream_id)
        if channel is not None:
            before = channel.buffered_amount
            channel.remove_queued(event.bytes_left)
            if channel.buffered_amount != before and channel.state is not ChannelState.CLOSED:
                self._progressed[channel] = None


def _check_options(
    label: str, protocol: str, max_packet_life_time: int | None, max_retransmits: int | None, priority: int
) -> None:
    for name, text in (("label", label), ("protocol", protocol)):
        if len(encode_text(text)) > MAX_TEXT_BYTES:
            raise InvalidChannelOptions(
                f"a {name} has at most {MAX_TEXT_BYTES} bytes of UTF-8, not {len(encode_text(text))}"
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


# One table for all connections, rather than a bound method for each event in each of them.
_HANDLERS: Final[dict[type[Event], Callable[[DataChannels, Any, float], None]]] = {
    StreamProgress: DataChannels._stream_progress,
    IncomingStreamsReset: DataChannels._incoming_streams_reset,
    OutgoingStreamsReset: DataChannels._outgoing_streams_reset,
    StreamResetFailed: DataChannels._stream_reset_failed,
    StreamsNegotiated: DataChannels._streams_negotiated,
    AssociationEstablished: DataChannels._association_established,
    AssociationRestarted: DataChannels._association_restarted,
    ShutdownReceived: DataChannels._shutdown_received,
    AssociationClosed: DataChannels._association_closed,
    AssociationLost: DataChannels._association_lost,
}
