"""The receive queue of a socket: messages and notifications that the program has not read, in their order of arrival.

Messages are bounded elsewhere: unread ones keep the receiver window of their association closed. Notifications are
bounded here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from datachan.sctp import MessageReceived

from .notifications import Notification, NotificationsStoppedEvent

MAX_NOTIFICATIONS: Final = 1000
"""Unread notifications after which no more are kept (RFC 6458, section 6.1.10)."""


class HasId(Protocol):
    """The part of an association that the queue uses."""

    id: int


Owner = TypeVar("Owner", bound=HasId)


class Item(Generic[Owner]):
    """A message, or a notification, or only the end of a partial delivery.

    Attributes:
        association: the association it belongs to.
        message: the message or a part of it, or None.
        notification: the notification, or None.
        offset: the bytes of the message that were read.
        broken: the stream whose partial delivery ends here without the rest of its message, or -1.
    """

    __slots__ = ("association", "broken", "message", "notification", "offset")

    def __init__(
        self,
        association: Owner,
        message: MessageReceived | None,
        notification: Notification | None,
        broken: int = -1,
    ) -> None:
        self.association = association
        self.message = message
        self.notification = notification
        self.offset = 0
        self.broken = broken


class ReceiveQueue(Generic[Owner]):
    """The receive queue of one socket.

    Args:
        on_stopped: called when notifications are no longer kept; it unsubscribes all of them.
        single: whether the queue belongs to one association and ends with it.

    Attributes:
        size: bytes of unread messages.
        interleave: the level of SCTP_FRAGMENT_INTERLEAVE, 0 to 2 (RFC 6458, section 8.1.20).
        ended: whether nothing more will arrive; readers learn it when they have read everything.
    """

    __slots__ = (
        "_items",
        "_notifications",
        "_on_stopped",
        "_partial",
        "_readers",
        "ended",
        "interleave",
        "single",
        "size",
    )

    def __init__(self, on_stopped: Callable[[], None], *, single: bool) -> None:
        self.single = single
        self.size = 0
        self.interleave = 0 if single else 1
        self.ended = False
        self._items: deque[Item[Owner]] = deque()
        self._notifications = 0
        # Messages read in part: (association id, stream) -> (number in the stream, unordered).
        self._partial: dict[tuple[int, int], tuple[int, bool]] = {}
        self._readers: deque[asyncio.Future[None]] = deque()
        self._on_stopped = on_stopped

    def put_message(self, association: Owner, message: MessageReceived) -> None:
        """Append a message, or a part of one."""
        self._items.append(Item(association, message, None))
        self.size += len(message.data)
        self._wake_reader()

    def put_broken(self, association: Owner, stream_id: int, notification: Notification | None) -> None:
        """Append the end of a partial delivery whose message will never be complete."""
        self._items.append(Item(association, None, notification, stream_id))
        self._notifications += 1
        self._wake_reader()

    def put_notification(self, association: Owner, notification: Notification) -> None:
        """Append a notification; after `MAX_NOTIFICATIONS` unread ones discard it."""
        if self._notifications >= MAX_NOTIFICATIONS:
            return
        self._notifications += 1
        if self._notifications == MAX_NOTIFICATIONS:
            notification = NotificationsStoppedEvent()
            self._on_stopped()
        self._items.append(Item(association, None, notification))
        self._wake_reader()

    def end(self) -> None:
        """Mark the queue as ended and wake all readers."""
        self.ended = True
        self._wake_all_readers()

    def peek(self) -> Item[Owner] | None:
        """Return the next item that may be read, without removing it; None when there is none."""
        while True:
            found = next((item for item in self._items if self._is_readable(item)), None)
            if found is None or found.message is not None or found.notification is not None:
                return found
            self.take(found)  # its notification is not subscribed, but it ends a partial delivery

    def take(self, item: Item[Owner]) -> None:
        """Remove an item that `peek` returned."""
        if self._items[0] is item:
            self._items.popleft()
        else:
            self._items.remove(item)
        message = item.message
        if message is not None:
            self.size -= len(message.data)
        if message is None:
            self._notifications -= 1
            if item.broken >= 0:
                self._partial.pop((item.association.id, item.broken), None)
        elif message.last:
            self._partial.pop((item.association.id, message.stream_id), None)
        else:
            self._partial[(item.association.id, message.stream_id)] = (message.ssn, message.unordered)
        if self._items:
            self._wake_reader()

    async def wait(self) -> None:
        """Return when there may be something to read."""
        reader = asyncio.get_running_loop().create_future()
        self._readers.append(reader)
        try:
            await reader
        except asyncio.CancelledError:
            if reader.done() and not reader.cancelled():  # woken and cancelled at once: wake the next reader instead
                self._wake_reader()
            raise
        finally:
            if reader in self._readers:
                self._readers.remove(reader)

    def remove(self, association: Owner) -> list[Item[Owner]]:
        """Remove and return all items of one association."""
        taken = [item for item in self._items if item.association is association]
        if taken:
            self._items = deque([item for item in self._items if item.association is not association])
            self._notifications -= sum(item.message is None for item in taken)
            self.size -= _bytes_in(taken)
        for key in [key for key in self._partial if key[0] == association.id]:
            del self._partial[key]
        self._wake_reader()
        return taken

    def adopt(self, items: list[Item[Owner]]) -> None:
        """Append the items that `remove` took from another queue."""
        self._items.extend(items)
        self._notifications += sum(item.message is None for item in items)
        self.size += _bytes_in(items)
        self._wake_all_readers()

    def clear(self) -> list[Item[Owner]]:
        """Remove and return all items."""
        taken = list(self._items)
        self._items.clear()
        self.size = 0
        self._notifications = 0
        self._partial.clear()
        return taken

    def _is_readable(self, item: Item[Owner]) -> bool:
        """Return whether an item may be read between the parts of messages read in part (RFC 6458, section 8.1.20)."""
        if not self._partial:
            return True
        assoc_id, message = item.association.id, item.message
        stream_id = item.broken if message is None else message.stream_id
        begun = self._partial.get((assoc_id, stream_id))
        if begun is not None:
            return message is None or (message.ssn, message.unordered) == begun
        if self.interleave == 0:
            return False
        return self.interleave == 2 or message is None or all(known != assoc_id for known, _ in self._partial)

    def _wake_reader(self) -> None:
        while self._readers:
            reader = self._readers.popleft()
            if not reader.done():
                reader.set_result(None)
                return

    def _wake_all_readers(self) -> None:
        for reader in self._readers:
            if not reader.done():
                reader.set_result(None)
        self._readers.clear()


def _bytes_in(items: list[Item[Owner]]) -> int:
    return sum(len(item.message.data) for item in items if item.message is not None)
