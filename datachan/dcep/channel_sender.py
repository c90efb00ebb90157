"""The calls of data channels to their association: send, reset a stream, release the window; it reads nothing."""

from __future__ import annotations

from datachan.sctp import Association, InvalidState, InvalidStream

from .channel import DEFAULT_PRIORITY, Channel
from .control_messages import AckMessage, OpenMessage
from .payload import DCEP


class ChannelSender:
    """The sending half of `DataChannels`.

    The association may have ended while its last events are still being read. Calls are then ignored: an event about
    the end will follow.

    Attributes:
        shutting_down: True when nothing more can be sent or reset.
    """

    def __init__(self) -> None:
        self.shutting_down = False
        self._released_bytes = 0
        self._released_messages = 0
        self._association: Association | None = None
        self._to_reset: dict[int, None] = {}

    def attach(self, association: Association) -> None:
        """Send on this association from now on."""
        self._association = association
        self.restart()

    def detach(self) -> None:
        """Stop using the association, which has ended."""
        self._association = None
        self.restart()

    def restart(self) -> None:
        """Discard pending resets and window updates."""
        self.shutting_down = False
        self._released_bytes = self._released_messages = 0
        self._to_reset.clear()

    def send(self, channel: Channel, ppid: int, payload: bytes, user_bytes: int, now: float) -> None:
        """Send a user message with the channel's reliability.

        Raises:
            InvalidState: there is no association, or it is ending.
        """
        if self._association is None or channel.id is None:
            raise InvalidState("the association has ended")
        life_time = channel.max_packet_life_time
        self._association.send(
            channel.id,
            payload,
            ppid=ppid,
            now=now,
            # RFC 8832, 6: "before the DATA_CHANNEL_ACK message or any other
            # message has been received on a data channel, all other messages
            # containing user data and belonging to this data channel MUST be sent
            # ordered, no matter whether the data channel is ordered or not."
            unordered=not channel.ordered and channel.confirmed,
            # With a lifetime of 0 no message would ever be sent; the protocol's smallest unit is a millisecond.
            lifetime=None if life_time is None else max(life_time, 1) / 1000,
            max_retransmissions=channel.max_retransmits,
            context=channel,
        )
        channel.add_queued(len(payload), user_bytes)

    def try_send(self, channel: Channel, ppid: int, payload: bytes, user_bytes: int, now: float) -> None:
        """Send a user message that was accepted earlier; an association that is ending discards it."""
        try:
            self.send(channel, ppid, payload, user_bytes, now)
        except InvalidState:
            return

    def opened(self, channel: Channel) -> None:
        """Give the channel's stream the channel's priority.

        RFC 8831, 6.4 leaves the meaning to the scheduler. A peer may state 0, which would never be served: it counts
        as 1.
        """
        self._set_priority(channel, max(channel.priority, 1))

    def closed(self, channel: Channel) -> None:
        """Give the stream of a closed channel the default priority, which is not stored."""
        if channel.priority != DEFAULT_PRIORITY and channel.open_sent:
            self._set_priority(channel, DEFAULT_PRIORITY)

    def _set_priority(self, channel: Channel, priority: int) -> None:
        if self._association is None or channel.id is None or channel.id >= self._association.outbound_streams:
            return
        self._association.set_stream_priority(channel.id, priority)

    def control(self, channel: Channel, message: OpenMessage | AckMessage, now: float) -> None:
        """Send a control message.

        RFC 8832, 6: "All DCEP messages MUST be sent using ordered delivery and reliable
        transmission."
        """
        if self._association is None or channel.id is None:
            return
        payload = message.serialize()
        try:
            self._association.send(channel.id, payload, ppid=DCEP, now=now)
        except InvalidState:
            return
        channel.add_queued(len(payload), 0)

    def reset(self, stream_id: int) -> None:
        """Reset our stream at the next `flush_resets`, after the messages queued on it."""
        if not self.shutting_down:
            self._to_reset[stream_id] = None

    def flush_resets(self, now: float) -> None:
        """Request all pending resets in one call."""
        if not self._to_reset or self._association is None:
            return
        stream_ids = tuple(self._to_reset)
        self._to_reset.clear()
        try:
            self._association.reset_streams(stream_ids, now)
        except (InvalidState, InvalidStream):
            return

    def release_window(self, size: int) -> None:
        """Release the bytes of a message from the receive window at the next `flush_released`."""
        self._released_bytes += size
        self._released_messages += 1

    def flush_released(self, now: float) -> None:
        """Report all released bytes to the association in one call."""
        if not self._released_messages:
            return
        if self._association is not None:
            self._association.message_consumed(self._released_bytes, now, self._released_messages)
        self._released_bytes = self._released_messages = 0
