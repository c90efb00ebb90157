"""Messages given up: for room in the send buffer (RFC 7496, section 3.2), and how the user is told of any of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import SendBufferFull
from .events import SendFailed
from .tx.policies import PRIORITY, REASONS
from .tx.send_queue import OutgoingMessage

if TYPE_CHECKING:
    from .association import Association


def make_room(association: Association, size: int, drop_priority: int | None) -> None:
    """Have the send buffer take so many bytes more.

    Args:
        association: whose.
        size: how many.
        drop_priority: of the message they are of.

    Raises:
        SendBufferFull: it cannot, whatever may be given up.
    """
    limit, tcb = association.options.send_buffer, association.tcb
    excess = association.queue.buffered + size - limit
    if excess <= 0:
        return
    begun_too = tcb is not None and tcb.sender.can_abandon
    victims = None if size > limit else association.queue.room_makers(excess, drop_priority, begun_too=begun_too)
    if victims is None:
        raise SendBufferFull(f"{association.queue.buffered} of {limit} bytes are queued; there is no room for {size}")
    if tcb is not None:
        tcb.sender.make_room(victims)
        return
    for message in victims:
        message.policy = PRIORITY
        association.queue.drop(message)
        report_abandoned(association, message)


def report_abandoned(association: Association, message: OutgoingMessage) -> None:
    """Count a message given up by its policy of partial reliability, and tell the user."""
    association.abandoned.count(message.policy, sent=message.first_tsn >= 0)
    report_failed(association, message, REASONS[message.policy])


def report_failed(association: Association, message: OutgoingMessage, reason: str) -> None:
    """Tell the user that a message was given up."""
    association.pending.append(
        SendFailed(message.stream_id, message.ppid, message.size, message.first_tsn >= 0, message.context, reason)
    )
