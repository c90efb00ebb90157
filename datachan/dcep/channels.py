"""All data channels of one association: ids, opening, messages and closing; it knows no DTLS, no socket and no clock.

RFC 8831 says what a channel is, RFC 8832 how one is opened in band. Channels may be made, written to and closed before
there is an association; they come to life when it is established.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datachan.dcep.channel import Channel
from datachan.dcep.events import ChannelEvent
from datachan.sctp.association import Association
from datachan.sctp.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelLimits:
    """What a peer may make us hold.

    Attributes:
        max_announced_channels: channels the peer may have open at a time.
        max_announced_bytes: label and protocol bytes of all of those together.
        max_held_bytes: bytes of messages that cannot be delivered yet: on streams without a channel, and the parts of
            a message sent with the deprecated partial PPIDs.
        max_held_messages: how many such messages.
    """

    max_announced_channels: int = 32768
    max_announced_bytes: int = 8 * 1024 * 1024
    max_held_bytes: int = 1024 * 1024
    max_held_messages: int = 4096


class DataChannels:
    """The data channels of one peer connection, before, during and after its association.

    The owner of the association hands every event of it to `handle_event`, calls `flush` before it takes packets
    from it, and drains `events` afterwards. `Stack` does all of that.

    Attributes:
        max_message_size: longest message the peer accepts, in bytes; 0 for no limit. From the peer's SDP.
    """

    def __init__(self, *, limits: ChannelLimits | None = None, max_message_size: int = 0) -> None:
        self.max_message_size = max_message_size

    @property
    def channels(self) -> Sequence[Channel]:
        """Every channel that is not closed."""
        return ()

    @property
    def max_channels(self) -> int | None:
        """How many ids the association has: min of the streams in both directions; None until it is established."""
        return None

    def create(
        self,
        label: str,
        *,
        protocol: str = "",
        ordered: bool = True,
        max_packet_life_time: int | None = None,
        max_retransmits: int | None = None,
        negotiated: bool = False,
        id: int | None = None,
        priority: int = 256,
    ) -> Channel:
        """Make a channel; in any state of the association. `id` is looked at for negotiated channels only.

        Args:
            label: at most 65,535 bytes of UTF-8. protocol: likewise.
            ordered: whether messages keep their order.
            max_packet_life_time: milliseconds, 0 to 65,535. max_retransmits: 0 to 65,535. At most one of the two.
            negotiated: True when the peer makes the same channel by itself.
            id: 0 to 65,534, for a negotiated channel.
            priority: 128 below normal, 256 normal, 512 high, 1024 extra high (RFC 8831, section 6.4).

        Raises:
            InvalidChannelOptions: an option is out of range or contradicts another.
            IdInUse: a channel that is not closed has this id.
            NoFreeId: the association is up and has no stream left (or fewer than the id asked for).
            ChannelNotOpen: the association has ended.
        """

    def attach(self, association: Association, is_dtls_client: bool, now: float) -> None:
        """Give the association the channels live on. DTLS client: even ids, server: odd (RFC 8832, section 6)."""

    def send(self, channel: Channel, data: str | bytes, now: float) -> None:
        """Queue one message. On a channel that is connecting it goes right behind the OPEN.

        Raises:
            ChannelNotOpen: the channel is closing or closed.
            MessageTooLarge: longer than `max_message_size` (`datachan.sctp.errors`); the channel stays usable.
        """

    def close(self, channel: Channel, now: float) -> None:
        """Close by resetting our stream, after what is queued on it (RFC 8831, section 6.7). Twice is harmless."""

    def close_all(self, reason: str = "") -> None:
        """The association is gone: every channel is closed at once; with a reason each fails first."""

    def consumed(self, channel: Channel, size: int, now: float) -> None:
        """The application took a message: open the receiver window by `ChannelMessage.size`. In any channel state."""

    def handle_event(self, event: Event, now: float) -> None:
        """Take one event of the association."""

    def flush(self, now: float) -> None:
        """Send what `create` could not (it knows no time) and the resets that came together."""

    def events(self) -> list[ChannelEvent]:
        """Drain what happened."""
