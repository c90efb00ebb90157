"""Knows the members of each room and which of them receives a message; knows no socket: members have callbacks.

No call waits, so the welcome of a newcomer and the notices to the others always agree: exactly the members listed in
the welcome receive a `PeerJoined` for the newcomer.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from datachan.signaling.room_messages import (
    BadMessage,
    PeerInfo,
    PeerJoined,
    PeerLeft,
    ServerMessage,
    Signal,
    Welcome,
    is_room_name,
)

SendMessage: TypeAlias = Callable[[ServerMessage], None]


class Member:
    """One connection in one room."""

    __slots__ = ("info", "replaced", "room", "send")

    def __init__(self, info: PeerInfo, room: str, send: SendMessage, replaced: Callable[[], None]) -> None:
        """Store the id and name, the room's name, and the callbacks for messages and for the member's replacement."""
        self.info = info
        self.room = room
        self.send = send
        self.replaced = replaced


class Rooms:
    """All rooms of a server. A room exists from its first member's join to its last member's leave.

    Args:
        new_id: Makes an id that cannot be guessed and is never used twice.
        max_rooms: Rooms at the same time.
        max_rooms_per_owner: Rooms at the same time that one owner opened.
        capacity: Members of one room.
    """

    def __init__(
        self, new_id: Callable[[], str], *, max_rooms: int = 256, max_rooms_per_owner: int = 256, capacity: int = 8
    ) -> None:
        self._new_id = new_id
        self._max_rooms = max_rooms
        self._max_rooms_per_owner = max_rooms_per_owner
        self._capacity = capacity
        self._rooms: dict[str, dict[str, Member]] = {}
        self._owners: dict[str, str] = {}
        self._owned: Counter[str] = Counter()

    @property
    def room_count(self) -> int:
        """The number of rooms that have members."""
        return len(self._rooms)

    @property
    def member_count(self) -> int:
        """The number of members of all rooms."""
        return sum(len(room) for room in self._rooms.values())

    def join(
        self,
        room_name: str,
        name: str,
        send: SendMessage,
        owner: str = "",
        *,
        secret: str | None = None,
        replaced: Callable[[], None] = lambda: None,
    ) -> Member:
        """Add a member to a room, send it the welcome, then notify the others.

        A member that joins with the secret of another one is the same member on a new connection, and replaces it.

        Args:
            room_name: The room.
            name: The name that the others see.
            send: Called with each message for the member.
            owner: The key under which a new room is counted; empty not to count it.
            secret: The member's secret. Its id follows from it, so it is the same after a restart of the server.
            replaced: Called when the same member joins on another connection.

        Raises:
            BadMessage: `bad-room`, `no-more-rooms` or `room-full`.
        """
        if not is_room_name(room_name):
            raise BadMessage("bad-room", "A room's name is 1 to 64 letters, digits, - or _.")
        room = self._rooms.get(room_name)
        if room is None:
            room = self._open(room_name, owner)
        member_id = self._new_id() if secret is None else id_of(secret, room_name)
        before = room.pop(member_id, None)
        if len(room) >= self._capacity:
            raise BadMessage("room-full", f"The room is full: it holds {self._capacity}. Choose another one.")
        member = Member(PeerInfo(member_id, name), room_name, send, replaced)
        others = tuple(room.values())
        room[member_id] = member
        if before is not None:
            before.replaced()
        send(Welcome(member.info.id, room_name, self._capacity, tuple(other.info for other in others)))
        for other in others:
            other.send(PeerJoined(member.info))
        return member

    def leave(self, member: Member) -> None:
        """Remove a member and notify the others. Does nothing if the member has left already."""
        room = self._rooms.get(member.room, {})
        if room.get(member.info.id) is not member:
            return
        del room[member.info.id]
        if not room:
            self._close(member.room)
        for other in tuple(room.values()):
            other.send(PeerLeft(member.info.id))

    def relay(self, member: Member, message: Signal) -> None:
        """Forward a message to the member it is addressed to, with the sender's id in it.

        Raises:
            BadMessage: `no-such-peer`: no member with that id is in the sender's room.
        """
        room = self._rooms.get(member.room, {})
        target = room.get(message.peer)
        if target is None or target is member or room.get(member.info.id) is not member:
            raise BadMessage("no-such-peer", "Whom the message is for is not in the room, or has left it.")
        target.send(replace(message, peer=member.info.id))

    def _open(self, room_name: str, owner: str) -> dict[str, Member]:
        if len(self._rooms) >= self._max_rooms:
            raise BadMessage("no-more-rooms", "The server has as many rooms as it can hold. Try again later.")
        if owner and self._owned[owner] >= self._max_rooms_per_owner:
            raise BadMessage("no-more-rooms", "Your address has opened as many rooms as it may. Leave one first.")
        if owner:
            self._owners[room_name] = owner
            self._owned[owner] += 1
        room: dict[str, Member] = {}
        self._rooms[room_name] = room
        return room

    def _close(self, room_name: str) -> None:
        del self._rooms[room_name]
        owner = self._owners.pop(room_name, None)
        if owner is not None:
            self._owned[owner] -= 1
            if not self._owned[owner]:
                del self._owned[owner]


def id_of(secret: str, room_name: str) -> str:
    """Return the id of the member with this secret in a room. The others see the id, and cannot find the secret."""
    digest = hashlib.sha256(f"datachan member\n{room_name}\n{secret}".encode()).digest()
    return base64.urlsafe_b64encode(digest[:9]).decode()
