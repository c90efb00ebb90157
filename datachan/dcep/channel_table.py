"""The channels by stream, the channels to be opened, and the limits on the peer's channels; it sends nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .channel import Channel
from .control_messages import OpenMessage, encode_text
from .errors import IdInUse, NoFreeId
from .id_pool import MAX_STREAMS, IdPool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelLimits:
    """Limits on the memory that the peer can make us use.

    Attributes:
        max_announced_channels: the channels the peer may have open at a time. RFC 8832, section 7 requires us to be
            prepared for as many as there are streams.
        max_announced_bytes: the bytes of the labels and protocols of all these channels together.
        max_held_bytes: the bytes of messages that cannot be delivered yet: messages on streams without a channel, and
            parts of a message sent with the deprecated partial PPIDs.
        max_held_messages: the number of messages that cannot be delivered yet.
    """

    max_announced_channels: int = 32768
    max_announced_bytes: int = 8 * 1024 * 1024
    max_held_bytes: int = 1024 * 1024
    max_held_messages: int = 4096


class ChannelTable:
    """The channels that are not closed.

    Attributes:
        by_id: the channels that have a stream, refused ones (`Channel.silent`) included.
        waiting: the channels to be opened, in the order of creation.
        limit: the number of streams in both directions; None before the association is established.
    """

    def __init__(self, limits: ChannelLimits) -> None:
        self.by_id: dict[int, Channel] = {}
        self.waiting: list[Channel] = []
        self.limit: int | None = None
        self._limits = limits
        self._pool: IdPool | None = None
        self._peer_parity = 1
        self._announced = 0
        self._announced_bytes = 0

    def __iter__(self) -> Iterator[Channel]:
        """Iterate over the channels, each once."""
        yield from self.by_id.values()
        for channel in self.waiting:
            if channel.id is None:
                yield channel

    def established(self, is_dtls_client: bool, streams: int) -> list[Channel]:
        """Assign identifiers to the waiting channels; remove and return the channels for which none is left.

        A second call with another number of streams, as after a handshake that was repeated, also removes channels.

        RFC 8832, 6: "If the side is acting as the DTLS client, it MUST choose
        an even stream identifier; if the side is acting as the DTLS server,
        it MUST choose an odd one."
        """
        before, self.limit = self.limit, min(streams, MAX_STREAMS)
        if self._pool is None or self.limit != before:
            self._pool = IdPool(0 if is_dtls_client else 1, self.limit)
        self._peer_parity = 1 if is_dtls_client else 0
        for channel in self.waiting:
            if channel.id is None:
                channel.id = self._pool.take(self.by_id)
                if channel.id is not None:
                    self.by_id[channel.id] = channel
        left_over = [channel for channel in self if channel.id is None or channel.id >= self.limit]
        for channel in left_over:
            self.remove(channel)
        return left_over

    def add(self, channel: Channel) -> None:
        """Add a channel of ours that is to be opened.

        Raises:
            IdInUse: the channel is negotiated and another channel has its id.
            NoFreeId: the association has no stream for the channel.
        """
        if channel.id is not None:
            if channel.id in self.by_id:
                raise IdInUse(f"a channel with id {channel.id} exists and is not closed")
            if self.limit is not None and channel.id >= self.limit:
                raise NoFreeId(f"the association has {self.limit} streams, so there is no id {channel.id}")
        elif self._pool is not None:
            channel.id = self._pool.take(self.by_id)
            if channel.id is None:
                raise NoFreeId(f"the association has {self.limit} streams, and all of our role are in use")
        if channel.id is not None:
            self.by_id[channel.id] = channel
        self.waiting.append(channel)

    def refusal(self, stream_id: int, message: OpenMessage) -> str:
        """Return why the peer's channel is refused, or the empty string."""
        if stream_id % 2 != self._peer_parity:
            return "its id does not fit the peer's role"
        if self._announced >= self._limits.max_announced_channels:
            return f"the peer has {self._announced} channels open already"
        if self._announced_bytes + _text_bytes(message.label, message.protocol) > self._limits.max_announced_bytes:
            return "the labels of the peer's channels are too long together"
        return ""

    def enter(self, channel: Channel, stream_id: int) -> None:
        """Add a channel of the peer, or one that stands for a refused stream."""
        self.by_id[stream_id] = channel
        if channel.announced:
            self._announced += 1
            self._announced_bytes += _text_bytes(channel.label, channel.protocol)

    def remove(self, channel: Channel, *, reusable: bool = True) -> None:
        """Remove a channel; its identifier is free again unless `reusable` is False."""
        if channel in self.waiting:
            self.waiting.remove(channel)
        if channel.id is None or self.by_id.get(channel.id) is not channel:
            return
        if reusable:
            del self.by_id[channel.id]
            if self._pool is not None:
                self._pool.give_back(channel.id)
        if channel.announced:
            self._announced -= 1
            self._announced_bytes -= _text_bytes(channel.label, channel.protocol)


def _text_bytes(label: str, protocol: str) -> int:
    return len(encode_text(label)) + len(encode_text(protocol))
