"""One data channel: its properties, its state and its accounts; it knows no association and sends nothing."""

from __future__ import annotations

import enum
from collections import deque


class ChannelState(enum.Enum):
    """The states of a channel, as W3C's RTCDataChannelState names them."""

    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Channel:
    """A data channel (RFC 8831, section 6.4): made and changed by `DataChannels`, read by everybody.

    Attributes:
        label: its name; need not be unique.
        protocol: the subprotocol, or "".
        ordered: whether messages are delivered in the order sent.
        max_retransmits: how often a message is retransmitted at most, or None.
        max_packet_life_time: milliseconds during which a message is (re)transmitted, or None.
        negotiated: True when the application agreed on it out of band, so that no OPEN is sent.
        id: the stream identifier; None until the association is up, unless negotiated.
        priority: RFC 8831, section 6.4; 256 is normal.
        announced: True when the peer opened it.
        state: where it is.
        buffered_amount: user bytes given to `DataChannels.send` that have not been transmitted once. An empty
            message counts 0. It keeps its last value when the channel closes, as W3C wants it.
    """

    __slots__ = (
        "_account",
        "announced",
        "buffered_amount",
        "confirmed",
        "id",
        "incoming_reset",
        "label",
        "max_packet_life_time",
        "max_retransmits",
        "negotiated",
        "next_was_reset",
        "open_sent",
        "ordered",
        "outgoing_reset",
        "parts",
        "parts_ppid",
        "pending",
        "priority",
        "protocol",
        "refuse_next",
        "silent",
        "state",
    )

    def __init__(
        self,
        label: str,
        *,
        protocol: str = "",
        ordered: bool = True,
        max_packet_life_time: int | None = None,
        max_retransmits: int | None = None,
        negotiated: bool = False,
        stream_id: int | None = None,
        priority: int = 256,
        announced: bool = False,
    ) -> None:
        self.label = label
        self.protocol = protocol
        self.ordered = ordered
        self.max_packet_life_time = max_packet_life_time
        self.max_retransmits = max_retransmits
        self.negotiated = negotiated
        self.id = stream_id
        self.priority = priority
        self.announced = announced
        self.state = ChannelState.CONNECTING
        self.buffered_amount = 0
        # What follows is the book-keeping of DataChannels.
        self.pending: list[tuple[int, bytes, int]] | None = None  # PPID, payload, user bytes: before there is a stream
        self.open_sent = False  # or, when negotiated, the stream may be used
        self.confirmed = False  # the peer is known to have the channel: unordered messages may overtake
        self.outgoing_reset = False  # the peer performed our reset
        self.incoming_reset = False  # and we performed the peer's
        self.silent = False  # stands for a stream that was refused: nobody is told of it
        self.refuse_next = False  # what the peer did next on this stream did not fit into our bounds
        self.next_was_reset = False  # and it ended with a reset
        self.parts: list[bytes] | None = None  # of a message that comes with the deprecated partial PPIDs
        self.parts_ppid = 0
        # Runs of bytes in the stream's send queue, oldest first: [bytes on the wire, whether the user wrote them].
        self._account: deque[list[int]] | None = None

    def queued(self, wire_bytes: int, user_bytes: int) -> None:
        """Enter a message that was handed to the association; user_bytes is wire_bytes or 0 (control, empty)."""
        account = self._account
        if account is None:
            account = self._account = deque()
        is_user = 1 if user_bytes else 0
        if account and account[-1][1] == is_user:
            account[-1][0] += wire_bytes
        else:
            account.append([wire_bytes, is_user])

    def left_queue(self, wire_bytes: int) -> None:
        """Take bytes that left the send queue off the account, and what the user wrote of them off `buffered_amount`.

        A message whose lifetime ended may leave from behind one that waits; the sum is right when both have left.
        """
        account = self._account
        while wire_bytes > 0 and account:
            run = account[0]
            taken = min(run[0], wire_bytes)
            wire_bytes -= taken
            run[0] -= taken
            if run[1]:
                self.buffered_amount -= taken
            if not run[0]:
                account.popleft()

    def __repr__(self) -> str:
        return f"Channel({self.label!r}, id={self.id}, {self.state.value})"
