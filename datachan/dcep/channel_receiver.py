"""Handles what the peer sends on its streams: control messages, user messages, resets and errors."""

from __future__ import annotations

from typing import Final

from datachan.sctp import MessageReceived

from .channel import Channel, ChannelState
from .channel_events import (
    ChannelAnnounced,
    ChannelClosing,
    ChannelEvent,
    ChannelFailed,
    ChannelMessage,
)
from .channel_sender import ChannelSender
from .channel_table import ChannelTable
from .control_messages import AckMessage, OpenMessage, parse_message_untrusted
from .errors import BadDcepMessage
from .held_messages import HeldMessages
from .payload import (
    BINARY,
    BINARY_EMPTY,
    BINARY_PARTIAL,
    DCEP,
    STRING,
    STRING_EMPTY,
    STRING_PARTIAL,
    USER_PPIDS,
)

_PARTIAL_OF: Final = {BINARY: BINARY_PARTIAL, STRING: STRING_PARTIAL}


class ChannelReceiver:
    """The receiving half of `DataChannels`.

    Attributes:
        events: the events for the application, in order.
    """

    def __init__(self, table: ChannelTable, sender: ChannelSender, held: HeldMessages) -> None:
        self.events: list[ChannelEvent] = []
        self._table = table
        self._sender = sender
        self._held = held

    def restart(self, table: ChannelTable, held: HeldMessages) -> None:
        """Continue with an empty table and no held messages after a restart of the association."""
        self._table = table
        self._held = held

    def report(self, event: ChannelEvent) -> None:
        """Add an event for the application."""
        self.events.append(event)

    def receive_message(self, event: MessageReceived, now: float) -> None:
        """Process a message from the association."""
        channel = self._table.by_id.get(event.stream_id)
        # Nearly every message is of this kind.
        if channel is not None and channel.state is ChannelState.OPEN and event.ppid == BINARY and not channel.parts:
            channel.confirmed = True
            self.events.append(ChannelMessage(channel, event.data, len(event.data)))
        elif self._must_wait(event, channel):
            self._hold(event, channel)
            self._sender.release_window(len(event.data))
        elif not self._take(event, channel, len(event.data), now):
            self._sender.release_window(len(event.data))

    def deliver_held(self, stream_id: int, now: float) -> None:
        """Process the held messages of a stream. The window of their bytes was released on arrival."""
        for item in self._held.take(stream_id):
            channel = self._table.by_id.get(stream_id)
            if item is None:
                self.handle_stream_reset(stream_id)
            elif self._must_wait(item, channel):
                self._hold(item, channel)
            else:
                self._take(item, channel, 0, now)

    def handle_stream_reset(self, stream_id: int) -> None:
        """Close the channel whose stream the peer reset; all that the peer sent before has arrived."""
        channel = self._table.by_id.get(stream_id)
        if channel is None:
            # The peer had a channel that we did not have, and waits for our reset.
            if stream_id in self._held:
                self._held.take(stream_id)
                self.refuse(stream_id).incoming_reset = True
            return
        if channel.incoming_reset:
            # The peer has also closed its next channel on this stream, before our reset is complete.
            if channel.refuse_next or (stream_id in self._held and not self._held.add_reset(stream_id)):
                channel.refuse_next = channel.next_was_reset = True
            return
        channel.incoming_reset = True
        if channel.state is ChannelState.CLOSING:
            self._confirm(channel)
        elif channel.state is ChannelState.OPEN and not channel.confirmed:
            # RFC 8832, 6: "receiving an SCTP stream-reset request for a stream on which no
            # DATA_CHANNEL_ACK message has been received indicates to the sender of
            # the corresponding DATA_CHANNEL_OPEN message the failure of the data
            # channel setup procedure."
            self.fail(channel, "the peer refused the channel")
        elif channel.state is ChannelState.OPEN:
            if channel.parts:
                self.fail(channel, "the peer closed the channel in the middle of a message")
            else:
                self._close(channel)
                self.report(ChannelClosing(channel))

    def fail(self, channel: Channel, reason: str) -> None:
        """Close a channel because of an error of the peer."""
        self._close(channel)
        self.report(ChannelFailed(channel, reason))

    def refuse(self, stream_id: int) -> Channel:
        """Close a stream without a channel (RFC 8831, 6.7); a silent channel stands for it until that is done."""
        channel = Channel("", stream_id=stream_id)
        channel.silent = channel.confirmed = True
        channel.state = ChannelState.CLOSING
        self._table.enter(channel, stream_id)
        self._sender.reset(stream_id)
        return channel

    def drop_parts(self, channel: Channel) -> None:
        """Discard the parts of a message. The window of their bytes was released on arrival."""
        self._held.release(sum(map(len, channel.parts or ())))
        channel.parts = None

    # -- inside --------------------------------------------------------------------------------------------------------

    def _must_wait(self, event: MessageReceived, channel: Channel | None) -> bool:
        """Return whether the message belongs to a channel that does not exist yet."""
        if channel is not None:
            # A reset takes effect after all messages before it, so this message is for the next channel on the stream.
            # Its sender learned before us that our reset is complete.
            return channel.incoming_reset and channel.state is not ChannelState.CLOSED
        # RFC 8832, 6: "receiving a message containing user data on an
        # unused stream indicates an error.  In that case, the corresponding
        # data channel MUST be closed". But an unordered message may overtake its OPEN, and the application may be about
        # to create a negotiated channel. So the message is held, and the stream is closed when the limit is reached.
        return event.ppid in USER_PPIDS and event.stream_id < (self._table.limit or 0)

    def _hold(self, event: MessageReceived, channel: Channel | None) -> None:
        if channel is None:
            if not self._held.add(event):
                self._held.take(event.stream_id)
                self.refuse(event.stream_id)
        elif channel.refuse_next or not self._held.add(event):
            channel.refuse_next = True
            channel.next_was_reset = False

    def _take(self, event: MessageReceived, channel: Channel | None, owed: int, now: float) -> bool:
        """Process a message; return True if the application gets it and is to release `owed` bytes of the window."""
        if channel is None:
            self._on_unused_stream(event, now)
        elif channel.state is ChannelState.CLOSING:
            self._confirm(channel)
        elif channel.state is ChannelState.CLOSED:
            return False
        elif event.ppid == DCEP:
            self._control(event, channel)
        elif event.ppid not in USER_PPIDS:
            # RFC 8831, 6.6: "If a message with an unsupported PPID is received or some error
            # condition related to the received message is detected by the receiver
            # (for example, illegal ordering), the receiver SHOULD close the
            # corresponding data channel."
            self.fail(channel, f"the peer sent a message with PPID {event.ppid}")
        else:
            self._confirm(channel)
            return self._user_message(event, channel, owed)
        return False

    def _on_unused_stream(self, event: MessageReceived, now: float) -> None:
        if event.stream_id >= (self._table.limit or 0):
            return  # we have no such stream to close or to answer on
        if event.ppid != DCEP:
            self.refuse(event.stream_id)
            return
        try:
            message = parse_message_untrusted(event.data)
        except BadDcepMessage:
            self.refuse(event.stream_id)
            return
        if isinstance(message, AckMessage):
            return  # the channel is closed
        # RFC 8832, 6: "If the DATA_CHANNEL_OPEN message doesn't satisfy the conditions
        # above, the receiver MUST close the corresponding data channel using
        # the procedure described in [RFC8831] and MUST NOT send a
        # DATA_CHANNEL_ACK message in response to the received message."
        if self._table.refusal(event.stream_id, message):
            self._held.take(event.stream_id)
            self.refuse(event.stream_id)
            return
        self._announce(message, event.stream_id, now)

    def _announce(self, message: OpenMessage, stream_id: int, now: float) -> None:
        channel = Channel(
            message.label,
            protocol=message.protocol,
            ordered=message.ordered,
            max_packet_life_time=message.max_packet_life_time,
            max_retransmits=message.max_retransmits,
            stream_id=stream_id,
            priority=message.priority,
            announced=True,
        )
        channel.state = ChannelState.OPEN
        channel.open_sent = channel.confirmed = True
        self._table.enter(channel, stream_id)
        self.report(ChannelAnnounced(channel))
        self._sender.opened(channel)
        self._sender.control(channel, AckMessage(), now)
        if stream_id in self._held:
            self.deliver_held(stream_id, now)

    def _control(self, event: MessageReceived, channel: Channel) -> None:
        try:
            message = parse_message_untrusted(event.data)
        except BadDcepMessage as error:
            self.fail(channel, f"the peer sent {error}")
            return
        if isinstance(message, AckMessage):
            # RFC 8832, 5.2: "Reception of this message tells the opener that the
            # data channel setup handshake is complete." A user message does the same.
            self._confirm(channel)
        else:
            self.fail(channel, "the peer opened a channel on a stream that is in use")

    def _user_message(self, event: MessageReceived, channel: Channel, owed: int) -> bool:
        ppid, data = event.ppid, event.data
        if ppid in _PARTIAL_OF.values():
            self._part(event, channel)
            return False
        if channel.parts:
            if channel.parts_ppid != _PARTIAL_OF.get(ppid):
                self.fail(channel, "the peer began a message before it ended another")
                return False
            data = b"".join((*channel.parts, data))
            self.drop_parts(channel)
        # RFC 8831, 6.6: "When receiving an SCTP user
        # message with one of these PPIDs, the receiver MUST ignore the SCTP
        # user message and process it as an empty message."
        content: str | bytes = data
        if ppid == STRING:
            try:
                content = data.decode()
            except UnicodeDecodeError:
                self.fail(channel, "the peer sent a text that is not UTF-8")
                return False
        elif ppid == STRING_EMPTY:
            content = ""
        elif ppid == BINARY_EMPTY:
            content = b""
        self.report(ChannelMessage(channel, content, owed))
        return True

    def _part(self, event: MessageReceived, channel: Channel) -> None:
        """Store a part of a message that is sent with the deprecated PPIDs.

        RFC 8831, 6.6: "They were used for a PPID-based
        fragmentation and reassembly of user messages belonging to reliable
        and ordered data channels."
        """
        reliable = channel.max_retransmits is None and channel.max_packet_life_time is None
        if not channel.ordered or not reliable or event.unordered:
            self.fail(channel, "the peer sent part of a message on a channel that is not reliable and ordered")
        elif channel.parts and channel.parts_ppid != event.ppid:
            self.fail(channel, "the peer began a message before it ended another")
        elif not self._held.reserve(len(event.data)):
            self.fail(channel, "the peer sent a message in parts that is too long together")
        else:
            if channel.parts is None:
                channel.parts = []
            channel.parts.append(event.data)
            channel.parts_ppid = event.ppid

    def _confirm(self, channel: Channel) -> None:
        """Record that the peer has the channel, and reset our stream if the application has closed it meanwhile.

        Firefox forgets a channel whose stream is reset right after its OPEN, and never resets its own stream. So the
        reset waits for the ACK.
        """
        if channel.confirmed:
            return
        channel.confirmed = True
        if channel.state is ChannelState.CLOSING and channel.id is not None:
            self._sender.reset(channel.id)

    def _close(self, channel: Channel) -> None:
        channel.state = ChannelState.CLOSING
        channel.confirmed = True  # an ACK that is still to come changes nothing
        self.drop_parts(channel)
        if channel.id is not None:
            self._sender.reset(channel.id)
