"""Data channels over SCTP: how a channel is opened (RFC 8832) and what it is (RFC 8831).

    errors.py             the exceptions that misuse of this package raises
    control_messages.py   DATA_CHANNEL_OPEN and DATA_CHANNEL_ACK as bytes and as values
    payload.py            the payload protocol identifiers, and the byte that stands for an empty message
    id_pool.py            the stream identifiers of our role
    channel.py            one channel: properties, state, buffered bytes
    channel_events.py     the events that `DataChannels` reports
    channel_table.py      the channels by stream, and the limits on the peer's channels
    held_messages.py      messages that arrived before their channel, within bounds
    channel_sender.py     the calls to the association: send, reset a stream, release the window
    channel_receiver.py   the handling of all that the peer sends, errors included
    data_channels.py      `DataChannels`: the application's calls; opening and closing

A channel is a pair of streams with one identifier. The channel is closed when both streams have been reset; only then
may the identifier be used again. The peer may learn this before we do and reuse the identifier at once: its messages
are then held until we know, too.
"""

from __future__ import annotations

from .channel import Channel, ChannelState
from .channel_events import (
    BufferedAmountChanged,
    ChannelAnnounced,
    ChannelClosed,
    ChannelClosing,
    ChannelEvent,
    ChannelFailed,
    ChannelMessage,
    ChannelOpened,
)
from .channel_table import ChannelLimits
from .data_channels import DataChannels
from .errors import ChannelNotOpen, DcepError, IdInUse, InvalidChannelOptions, NoFreeId

__all__ = [
    "BufferedAmountChanged",
    "Channel",
    "ChannelAnnounced",
    "ChannelClosed",
    "ChannelClosing",
    "ChannelEvent",
    "ChannelFailed",
    "ChannelLimits",
    "ChannelMessage",
    "ChannelNotOpen",
    "ChannelOpened",
    "ChannelState",
    "DataChannels",
    "DcepError",
    "IdInUse",
    "InvalidChannelOptions",
    "NoFreeId",
]
