"""What data channels ask of their association: messages out, streams reset, window back; it reads nothing."""

from __future__ import annotations

from datachan.sctp.association import Association
from datachan.sctp.errors import InvalidState, InvalidStream

from .channel import Channel
from .control_messages import AckMessage, OpenMessage
from .payload import DCEP


class ChannelSender:
    """The way to the association while there is one.

    An association may be gone while its last events are still being read: what we then want of it no longer matters,
    and its end is among those events.

    Attributes:
        shutting_down: nothing more can be sent or reset.
    """

    def __init__(self) -> None:
        self.shutting_down = False
        self._released_bytes = 0
        self._released_messages = 0
        self._association: Association | None = None
        self._to_reset: dict[int, None] = {}

    def attach(self, association: Association) -> None:
        """Use this one."""
        self._association = association
        self.restart()

    def detach(self) -> None:
        """There is none any more."""
        self._association = None
        self.restart()

    def restart(self) -> None:
        """Forget what was under way."""
        self.shutting_down = False
        self._released_bytes = self._released_messages = 0
        self._to_reset.clear()

    def send(self, channel: Channel, ppid: int, payload: bytes, user_bytes: int, now: float) -> None:
        """Send a message of the user with the channel's reliability.

        Raises:
            InvalidState: there is no association to send on, or it is ending.
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
            # With no time at all nothing would ever be sent; the finest the protocol can say is a millisecond.
            lifetime=None if life_time is None else max(life_time, 1) / 1000,
            max_retransmissions=channel.max_retransmits,
            context=channel,
        )
        channel.queued(len(payload), user_bytes)

    def try_send(self, channel: Channel, ppid: int, payload: bytes, user_bytes: int, now: float) -> None:
        """Send a message of the user that was accepted earlier; if the association is ending it is lost with it."""
        try:
            self.send(channel, ppid, payload, user_bytes, now)
        except InvalidState:
            return

    def opened(self, channel: Channel) -> None:
        """A channel has its stream: what we send on it has the channel's priority.

        RFC 8831, 6.4 leaves it to the scheduler what that means; a peer may also say 0, which has no share at all.
        """
        if self._association is None or channel.id is None or channel.id >= self._association.outbound_streams:
            return
        self._association.set_stream_priority(channel.id, max(channel.priority, 1))

    def control(self, channel: Channel, message: OpenMessage | AckMessage, now: float) -> None:
        """Send a message of ours.

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
        channel.queued(len(payload), 0)

    def reset(self, stream_id: int) -> None:
        """Reset our stream at the next `flush_resets`, after what is queued on it."""
        if not self.shutting_down:
            self._to_reset[stream_id] = None

    def flush_resets(self, now: float) -> None:
        """Ask for the resets that came together."""
        if not self._to_reset or self._association is None:
            return
        stream_ids = tuple(self._to_reset)
        self._to_reset.clear()
        try:
            self._association.reset_streams(stream_ids, now)
        except (InvalidState, InvalidStream):
            return

    def release_window(self, size: int) -> None:
        """Give back the bytes of a message to the receiver window at the next `flush_released`."""
        self._released_bytes += size
        self._released_messages += 1

    def flush_released(self, now: float) -> None:
        """Give back together what was consumed since."""
        if not self._released_messages:
            return
        if self._association is not None:
            self._association.message_consumed(self._released_bytes, now, self._released_messages)
        self._released_bytes = self._released_messages = 0
