"""Knows who is in which room and who is told what; knows no socket: a member is told through a callback.

Nothing here waits, so a newcomer's welcome and the others' notices always agree: whoever is listed in a welcome was
told of the newcomer, and nobody else was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from datachan.signaling.messages import (
    BadMessage,
    PeerInfo,
    PeerJoined,
    PeerLeft,
    ServerMessage,
    Signal,
    Welcome,
    is_room_name,
)

Tell: TypeAlias = Callable[[ServerMessage], None]


class Member:
    """One connection in one room."""

    __slots__ = ("info", "room", "tell")

    def __init__(self, info: PeerInfo, room: str, tell: Tell) -> None:
        """Args are the id and name, the room's name, and how to tell this member something."""
        self.info = info
        self.room = room
        self.tell = tell


class Rooms:
    """All rooms of a server. A room begins with its first member and ends with its last.

    Args:
        new_id: Makes an id that cannot be guessed and is never given twice.
        max_rooms: Rooms at the same time.
        capacity: Members of one room.
    """

    def __init__(self, new_id: Callable[[], str], *, max_rooms: int = 256, capacity: int = 8) -> None:
        self._new_id = new_id
        self._max_rooms = max_rooms
        self._capacity = capacity
        self._rooms: dict[str, dict[str, Member]] = {}

    @property
    def room_count(self) -> int:
        """Rooms with somebody in them."""
        return len(self._rooms)

    @property
    def member_count(self) -> int:
        """Members of all rooms together."""
        return sum(len(room) for room in self._rooms.values())

    def join(self, room_name: str, name: str, tell: Tell) -> Member:
        """Let somebody in: they are welcomed, then the others are told.

        Raises:
            BadMessage: `bad-room`, `no-more-rooms` or `room-full`.
        """
        if not is_room_name(room_name):
            raise BadMessage("bad-room", "A room's name is 1 to 64 letters, digits, - or _.")
        room = self._rooms.get(room_name)
        if room is None:
            if len(self._rooms) >= self._max_rooms:
                raise BadMessage("no-more-rooms", "The server has as many rooms as it can hold. Try again later.")
            room = self._rooms[room_name] = {}
        elif len(room) >= self._capacity:
            raise BadMessage("room-full", f"The room is full: it holds {self._capacity}. Choose another one.")
        member = Member(PeerInfo(self._new_id(), name), room_name, tell)
        others = tuple(room.values())
        room[member.info.id] = member
        tell(Welcome(member.info.id, room_name, self._capacity, tuple(other.info for other in others)))
        for other in others:
            other.tell(PeerJoined(member.info))
        return member

    def leave(self, member: Member) -> None:
        """Take somebody out and tell the others. Does nothing when they are out already."""
        room = self._rooms.get(member.room, {})
        if room.get(member.info.id) is not member:
            return
        del room[member.info.id]
        if not room:
            del self._rooms[member.room]
        for other in tuple(room.values()):
            other.tell(PeerLeft(member.info.id))

    def relay(self, member: Member, message: Signal) -> None:
        """Hand a message to the member it is for, stamped with who it is from.

        Raises:
            BadMessage: `no-such-peer`: nobody of that id is in the sender's room (anymore).
        """
        room = self._rooms.get(member.room, {})
        target = room.get(message.peer)
        if target is None or target is member or room.get(member.info.id) is not member:
            raise BadMessage("no-such-peer", "Whom the message is for is not in the room, or has left it.")
        target.tell(replace(message, peer=member.info.id))
