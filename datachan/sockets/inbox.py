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
    """A message, or a notification; and how far it was read."""

    __slots__ = ("association", "message", "notification", "offset")

    def __init__(
        self, association: SocketAssociation, message: MessageReceived | None, notification: Notification | None
    ) -> None:
        self.association = association
        self.message = message
        self.notification = notification
        self.offset = 0


class Inbox:
    """The receive queue of one socket.

    Args:
        stopped: called when notifications are no longer kept; nothing is subscribed from then on.
        single: it is that of one association and ends with it.

    Attributes:
        interleave: the level of SCTP_FRAGMENT_INTERLEAVE, 0 to 2 (RFC 6458, section 8.1.20).
        ended: there will be nothing more; readers find that out when all is read.
    """

    __slots__ = ("_items", "_notifications", "_partial", "_readers", "_stopped", "ended", "interleave", "single")

    def __init__(self, stopped: Callable[[], None], *, single: bool) -> None:
        self.single = single
        self.interleave = 0 if single else 1
        self.ended = False
        self._items: deque[Item] = deque()
        self._notifications = 0
        self._partial: tuple[SocketAssociation, int] | None = None  # a message of which the rest is still to come
        self._readers: deque[asyncio.Future[None]] = deque()
        self._stopped = stopped

    def put_message(self, association: SocketAssociation, message: MessageReceived) -> None:
        """A message came, or a part of one."""
        self._items.append(Item(association, message, None))
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
        for item in self._items:
            if self._readable(item):
                return item
        return None

    def take(self, item: Item) -> None:
        """Remove what `peek` returned."""
        if self._items[0] is item:
            self._items.popleft()
        else:
            self._items.remove(item)
        message = item.message
        if message is None:
            self._notifications -= 1
        elif message.last:
            self._partial = None
        else:
            self._partial = (item.association, message.stream_id)
        if self._items:
            self._wake()

    def break_off(self, association: SocketAssociation) -> None:
        """The rest of a message that was received in part will not come."""
        if self._partial is not None and self._partial[0] is association:
            self._partial = None
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
        if self._partial is not None and self._partial[0] is association:
            self._partial = None
            self._wake()
        return taken

    def adopt(self, items: list[Item]) -> None:
        """Put in what `remove` took out of another one."""
        self._items.extend(items)
        self._notifications += sum(item.message is None for item in items)
        self._wake_all()

    def clear(self) -> list[Item]:
        """Take out everything."""
        taken = list(self._items)
        self._items.clear()
        self._notifications = 0
        self._partial = None
        return taken

    def _readable(self, item: Item) -> bool:
        """Whether this may be read while a message was received in part (RFC 6458, section 8.1.20)."""
        if self._partial is None or self.interleave >= 2:
            return True
        association, stream_id = self._partial
        if item.association is not association:
            return self.interleave == 1
        if item.message is None:
            return self.interleave == 1
        return item.message.stream_id == stream_id

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
