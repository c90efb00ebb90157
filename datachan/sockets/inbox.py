"""What a socket has received and its user has not read: messages and notifications, in the order they came.

It is bounded by others: unread messages keep the receiver window of their association closed. Notifications are bounded
here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from datachan.sctp.events import MessageReceived

from .notifications import Notification, NotificationsStoppedEvent

if TYPE_CHECKING:
    from .association import SocketAssociation

MAX_NOTIFICATIONS: Final = 1000
"""Unread notifications, after which no more are kept (RFC 6458, section 6.1.10)."""


class Item:
    """A message, or a notification, or neither; and how far it was read.

    Attributes:
        broken: the stream of a message received in part of which the rest will not come, or -1.
    """

    __slots__ = ("association", "broken", "message", "notification", "offset")

    def __init__(
        self,
        association: SocketAssociation,
        message: MessageReceived | None,
        notification: Notification | None,
        broken: int = -1,
    ) -> None:
        self.association = association
        self.message = message
        self.notification = notification
        self.offset = 0
        self.broken = broken


class Inbox:
    """The receive queue of one socket.

    Args:
        stopped: called when notifications are no longer kept; nothing is subscribed from then on.
        single: it is that of one association and ends with it.

    Attributes:
        size: bytes of messages that wait to be read.
        interleave: the level of SCTP_FRAGMENT_INTERLEAVE, 0 to 2 (RFC 6458, section 8.1.20).
        ended: there will be nothing more; readers find that out when all is read.
    """

    __slots__ = (
        "_items",
        "_notifications",
        "_partial",
        "_readers",
        "_stopped",
        "ended",
        "interleave",
        "single",
        "size",
    )

    def __init__(self, stopped: Callable[[], None], *, single: bool) -> None:
        self.single = single
        self.size = 0
        self.interleave = 0 if single else 1
        self.ended = False
        self._items: deque[Item] = deque()
        self._notifications = 0
        # Messages of which the rest is still to come: (association id, stream) and (number in the stream, unordered).
        self._partial: dict[tuple[int, int], tuple[int, bool]] = {}
        self._readers: deque[asyncio.Future[None]] = deque()
        self._stopped = stopped

    def put_message(self, association: SocketAssociation, message: MessageReceived) -> None:
        """A message came, or a part of one."""
        self._items.append(Item(association, message, None))
        self.size += len(message.data)
        self._wake()

    def put_broken(self, association: SocketAssociation, stream_id: int, notification: Notification | None) -> None:
        """The rest of a message that was received in part will not come."""
        self._items.append(Item(association, None, notification, stream_id))
        self._notifications += 1
        self._wake()

    def put_notification(self, association: SocketAssociation, notification: Notification) -> None:
        """Something happened that is subscribed."""
        if self._notifications >= MAX_NOTIFICATIONS:
            return
        self._notifications += 1
        if self._notifications == MAX_NOTIFICATIONS:
            notification = NotificationsStoppedEvent()
            self._stopped()
        self._items.append(Item(association, None, notification))
        self._wake()

    def end(self) -> None:
        """Nothing more will come."""
        self.ended = True
        self._wake_all()

    def peek(self) -> Item | None:
        """What is to be read next, if it is there."""
        while True:
            found = next((item for item in self._items if self._readable(item)), None)
            if found is None or found.message is not None or found.notification is not None:
                return found
            self.take(found)  # nobody wants to know, but it ends a message

    def take(self, item: Item) -> None:
        """Remove what `peek` returned."""
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
            self._wake()

    async def wait(self) -> None:
        """Return when there may be something to read."""
        reader = asyncio.get_running_loop().create_future()
        self._readers.append(reader)
        try:
            await reader
        except asyncio.CancelledError:
            if reader.done() and not reader.cancelled():  # woken and cancelled at once: the next one's turn
                self._wake()
            raise
        finally:
            if reader in self._readers:
                self._readers.remove(reader)

    def remove(self, association: SocketAssociation) -> list[Item]:
        """Take out everything of one association, to be read elsewhere or thrown away."""
        taken = [item for item in self._items if item.association is association]
        if taken:
            self._items = deque([item for item in self._items if item.association is not association])
            self._notifications -= sum(item.message is None for item in taken)
            self.size -= _bytes_in(taken)
        for key in [key for key in self._partial if key[0] == association.id]:
            del self._partial[key]
        self._wake()
        return taken

    def adopt(self, items: list[Item]) -> None:
        """Put in what `remove` took out of another one."""
        self._items.extend(items)
        self._notifications += sum(item.message is None for item in items)
        self.size += _bytes_in(items)
        self._wake_all()

    def clear(self) -> list[Item]:
        """Take out everything."""
        taken = list(self._items)
        self._items.clear()
        self.size = 0
        self._notifications = 0
        self._partial.clear()
        return taken

    def _readable(self, item: Item) -> bool:
        """Whether this may be read while there are messages received in part (RFC 6458, section 8.1.20)."""
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

    def _wake(self) -> None:
        while self._readers:
            reader = self._readers.popleft()
            if not reader.done():
                reader.set_result(None)
                return

    def _wake_all(self) -> None:
        for reader in self._readers:
            if not reader.done():
                reader.set_result(None)
        self._readers.clear()


def _bytes_in(items: list[Item]) -> int:
    return sum(len(item.message.data) for item in items if item.message is not None)
