"""One data channel: its properties, state and buffered bytes; it knows no association and sends nothing."""

from __future__ import annotations

import enum
from collections import deque
from typing import Final

DEFAULT_PRIORITY: Final = 256
"""The priority "normal" of RFC 8831, section 6.4."""


class ChannelState(enum.Enum):
    """The states of a channel, as W3C's RTCDataChannelState names them."""

    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Channel:
    """A data channel (RFC 8831, section 6.4). Only `DataChannels` creates and changes it; any code may read it.

    Attributes:
        label: the name, which need not be unique.
        protocol: the name of the subprotocol, or "".
        ordered: whether messages are delivered in the order sent.
        max_retransmits: the maximum number of retransmissions of a message, or None.
        max_packet_life_time: the milliseconds during which a message is (re)transmitted, or None.
        negotiated: True when both applications create the channel, so that no OPEN is sent.
        id: the stream identifier; None until the association is established, unless `negotiated`.
        priority: the priority of RFC 8831, section 6.4; 256 is normal.
        announced: True when the peer opened it.
        state: the state.
        buffered_amount: the user bytes given to `DataChannels.send` that have not been transmitted yet. An empty
            message counts 0. The value stays when the channel closes, as W3C requires.
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
        priority: int = DEFAULT_PRIORITY,
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
        # The rest is internal to DataChannels.
        self.pending: list[tuple[int, bytes, int]] | None = None  # (PPID, payload, user bytes) to send when open
        self.open_sent = False  # also True when a negotiated channel may use its stream
        self.confirmed = False  # the peer has the channel, so unordered messages may overtake the OPEN
        self.outgoing_reset = False  # the peer performed our reset
        self.incoming_reset = False  # we performed the peer's reset
        self.silent = False  # stands for a refused stream: no event reports it
        self.refuse_next = False  # the peer's next channel on this stream exceeded our limits
        self.next_was_reset = False  # the peer has reset that next channel already
        self.parts: list[bytes] | None = None  # the parts of a message sent with the deprecated partial PPIDs
        self.parts_ppid = 0
        # Runs of bytes in the stream's send queue, oldest first: [bytes on the wire, 1 for user data or 0].
        self._account: deque[list[int]] | None = None

    def add_queued(self, wire_bytes: int, user_bytes: int) -> None:
        """Record a message given to the association; `user_bytes` is 0 for control and empty messages."""
        account = self._account
        if account is None:
            account = self._account = deque()
        is_user = 1 if user_bytes else 0
        if account and account[-1][1] == is_user:
            account[-1][0] += wire_bytes
        else:
            account.append([wire_bytes, is_user])

    def remove_queued(self, wire_bytes: int) -> None:
        """Record that bytes left the send queue; reduce `buffered_amount` by the user bytes among them.

        An expired message may leave the queue before an older one. The sum is correct again once both have left.
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
