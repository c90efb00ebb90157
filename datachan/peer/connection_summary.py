"""A few figures of one connection, cheap enough to be read of thousands of connections every few seconds.

Unlike `getStats`, a summary has no object for each channel and candidate. Its counters include closed channels.
"""

from __future__ import annotations

from dataclasses import dataclass

from datachan.ice import SelectedPair

from .channel_registry import ChannelRegistry
from .peer_transport import PeerTransport


@dataclass(slots=True)
class ConnectionSummary:
    """The figures of one connection at one moment.

    Counters begin again at 0 when another path or association replaces the one they count; they never shrink otherwise.

    Attributes:
        path: How datagrams travel: "relay" over a TURN server of either side, "tcp" over ICE-TCP. Otherwise the type of
            candidate that is farther from "host": "srflx", found by a STUN server, or "prflx", found by a check.
            "none" while there is no path.
        messages_sent, bytes_sent, messages_received, bytes_received: Of all channels; bytes of the application.
        send_queue_bytes: Bytes given to `send` that have not been transmitted yet.
        unread_bytes: Bytes of received messages that the application has not read.
        retransmissions: DATA chunks that SCTP sent again.
        abandoned_by_lifetime: Messages abandoned because of `maxPacketLifeTime`.
        abandoned_by_retransmissions: Messages abandoned because of `maxRetransmits`.
        packets_discarded_on_send: Datagrams that had no path, or that the system refused.
        packets_discarded_on_receive: Datagrams from addresses that have proved nothing.
    """

    path: str
    messages_sent: int
    bytes_sent: int
    messages_received: int
    bytes_received: int
    send_queue_bytes: int
    unread_bytes: int
    retransmissions: int
    abandoned_by_lifetime: int
    abandoned_by_retransmissions: int
    packets_discarded_on_send: int
    packets_discarded_on_receive: int


def summarize(channels: ChannelRegistry, transport: PeerTransport | None) -> ConnectionSummary:
    """Return the figures of this moment."""
    messages_sent, bytes_sent, messages_received, bytes_received = channels.past
    queued = unread = 0
    for channel in channels:
        messages_sent += channel.messages_sent
        bytes_sent += channel.bytes_sent
        messages_received += channel.messages_received
        bytes_received += channel.bytes_received
        queued += channel.bufferedAmount
        unread += channel.held_window.size
    association = None if transport is None or transport.stack is None else transport.stack.association
    retransmissions, by_lifetime, by_retransmissions = (0, 0, 0) if association is None else association.losses()
    discarded_on_send, discarded_on_receive = (0, 0) if transport is None else transport.ice.discarded()
    return ConnectionSummary(
        path="none" if transport is None else path_type(transport.ice.selected_pair),
        messages_sent=messages_sent,
        bytes_sent=bytes_sent,
        messages_received=messages_received,
        bytes_received=bytes_received,
        send_queue_bytes=queued,
        unread_bytes=unread,
        retransmissions=retransmissions,
        abandoned_by_lifetime=by_lifetime,
        abandoned_by_retransmissions=by_retransmissions,
        packets_discarded_on_send=discarded_on_send,
        packets_discarded_on_receive=discarded_on_receive,
    )


def path_type(pair: SelectedPair | None) -> str:
    """Return how datagrams travel between two candidates, as `ConnectionSummary.path`."""
    if pair is None:
        return "none"
    types = {pair.local.type, pair.remote.type}
    if "relay" in types:
        return "relay"
    if pair.local.transport.lower() == "tcp":
        return "tcp"
    return next((kind for kind in ("srflx", "prflx") if kind in types), "host")
