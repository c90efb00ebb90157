"""Partial reliability (RFC 3758, RFC 7496): how messages are abandoned, and when a FORWARD TSN tells the peer.

This module knows neither paths nor timers. The retransmission queue decides which messages to abandon.
"""

from __future__ import annotations

from datachan.sctp.wire.extensions import (
    FORWARD_TSN_HEADER_LENGTH,
    I_SKIPPED_LENGTH,
    SKIPPED_LENGTH,
    ForwardTsnChunk,
    IForwardTsnChunk,
)

from .outstanding import OutstandingData
from .send_queue import OutgoingMessage, SendQueue


class Abandonment:
    """The abandoned messages of one association, and the FORWARD TSN that is due for them.

    Attributes:
        supported: whether the peer supports partial reliability; without it, only unsent messages are abandoned.
        messages: the messages abandoned since the caller last looked; the caller clears the list.
    """

    __slots__ = ("_due", "_forwarded_to", "_outstanding", "_queue", "_sent_at", "messages", "supported")

    def __init__(self, outstanding: OutstandingData, queue: SendQueue, supported: bool) -> None:
        self.supported = supported
        self.messages: list[OutgoingMessage] = []
        self._outstanding = outstanding
        self._queue = queue
        self._due = False
        self._sent_at = -1.0e9
        self._forwarded_to = -1

    def restart(self, outstanding: OutstandingData) -> None:
        """Go on with these outstanding chunks, because TSNs have restarted."""
        self._outstanding = outstanding
        self._due = False

    # -- abandoning ----------------------------------------------------------------------------------------------------

    def abandon(self, message: OutgoingMessage, policy: int) -> None:
        """Abandon a message by a policy; without support of the peer, only one that is still unsent."""
        started = message.first_tsn >= 0
        if started and not self.supported:
            return
        message.policy = policy
        self._outstanding.abandon(message)
        self._queue.drop(message)
        self.messages.append(message)
        if started:
            self.forward_now()

    def give_up(self, messages: list[OutgoingMessage], policy: int) -> None:
        """Abandon the messages that are not abandoned yet, if the peer supports it."""
        for message in messages:
            if self.supported and not message.abandoned:
                self.abandon(message, policy)

    # -- FORWARD TSN ---------------------------------------------------------------------------------------------------

    @property
    def can_forward(self) -> bool:
        """Whether the peer waits for chunks that it need not wait for."""
        return self._outstanding.advanced_peer_ack_point > self._outstanding.cumulative_tsn_ack

    def forward_now(self) -> None:
        """Have a FORWARD TSN sent at once if there is something to forward."""
        self._due = self.can_forward

    def schedule(self, round_trip: float, now: float) -> None:
        """Schedule a FORWARD TSN: at once if it is new, otherwise after "a full RTT" (RFC 3758, 3.5, C3)."""
        if self.can_forward and (
            self._outstanding.advanced_peer_ack_point > self._forwarded_to or now - self._sent_at >= round_trip
        ):
            self._due = True

    def forward_tsn(self, max_size: int, now: float) -> ForwardTsnChunk | IForwardTsnChunk | None:
        """Return the FORWARD TSN or I-FORWARD-TSN to send now, at most `max_size` bytes long, or None."""
        if not self._due:
            return None
        self._due = False
        if not self.can_forward:
            return None
        interleaving = self._outstanding.interleaving
        entry_length = I_SKIPPED_LENGTH if interleaving else SKIPPED_LENGTH
        new_cumulative_tsn, streams = self._outstanding.forward_tsn(
            (max_size - FORWARD_TSN_HEADER_LENGTH) // entry_length
        )
        self._sent_at = now
        self._forwarded_to = new_cumulative_tsn
        if interleaving:
            return IForwardTsnChunk(new_cumulative_tsn & 0xFFFFFFFF, streams)
        return ForwardTsnChunk(
            new_cumulative_tsn & 0xFFFFFFFF, [(stream_id, ssn) for stream_id, _unordered, ssn in streams]
        )
