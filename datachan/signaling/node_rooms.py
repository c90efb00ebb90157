"""The members of one node that shares its rooms with others, and who else is in their rooms; knows no storage.

A member gets what is published for it, in the order of the numbers. While the node asks the storage for what a member
has missed, what is published meanwhile is held back, and delivered after it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from typing import Final

from datachan.signaling.broker import BrokerStats, Entrance, Membership, Receiver, digest_of
from datachan.signaling.room_messages import PeerInfo

MAX_LOCAL_MESSAGES: Final = 10_000
"""Messages that members of one node exchange while the storage is away; more are refused."""


class Served:
    """One member of this node.

    Attributes:
        entrance: How it came in.
        receiver: Its connection.
        member: Its place.
        digest: The digest of its token.
        last: The number of the last message that was delivered.
        early: What was published for its room before it was in: target, subject, number and text.
    """

    __slots__ = ("_held", "digest", "early", "entrance", "last", "member", "receiver")

    def __init__(self, entrance: Entrance, receiver: Receiver, member: Membership) -> None:
        self.entrance = entrance
        self.receiver = receiver
        self.member = member
        self.digest = digest_of(entrance.token)
        self.last = 0
        self.early: list[tuple[str, str, int, str]] = []
        self._held: list[tuple[int, str]] | None = None

    def hold(self) -> None:
        """Hold back what comes from now on, until `release`."""
        self._held = self._held or []

    def release(self) -> int:
        """Deliver what was held back, without what was delivered before; return how much that was."""
        held, self._held = self._held or [], None
        return sum(self.deliver(seq, text) for seq, text in held)

    def deliver(self, seq: int, text: str) -> bool:
        """Deliver or hold back a message; return False for one that was delivered before or is held back."""
        if self._held is not None:
            self._held.append((seq, text))
            return False
        if seq <= self.last:
            return False
        self.last = seq
        self.receiver.deliver_text(text, seq)
        return True


class _NodeRoom:
    """A room with members on this node: these, and the names of all members by id."""

    __slots__ = ("present", "served")

    def __init__(self) -> None:
        self.served: dict[str, Served] = {}
        self.present: dict[str, str] = {}


class NodeRooms:
    """All members of one node, by room."""

    def __init__(self) -> None:
        self._rooms: dict[str, _NodeRoom] = {}
        self._arriving: dict[str, list[Served]] = {}
        self._local_messages: set[tuple[str, str]] = set()
        self._told: set[tuple[str, str]] | None = None  # room and member of each notice while the node catches up
        self.stats = BrokerStats()

    @property
    def room_count(self) -> int:
        """The number of rooms with members on this node."""
        return len(self._rooms)

    @property
    def member_count(self) -> int:
        """The number of members on this node."""
        return sum(len(room.served) for room in self._rooms.values())

    def room_names(self) -> list[str]:
        """Return the names of the rooms with members on this node."""
        return list(self._rooms)

    def present(self, room_name: str) -> dict[str, str]:
        """Return the names of all members of a room by id, as far as this node knows."""
        room = self._rooms.get(room_name)
        return {} if room is None else dict(room.present)

    def all_served(self) -> Iterator[Served]:
        """Iterate over all members of this node."""
        for room in self._rooms.values():
            yield from room.served.values()

    # -- coming and going ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def arriving(self, served: Served) -> Iterator[None]:
        """Hold back for a member what is published for its room before the storage has answered its request."""
        name = served.member.room
        self._arriving.setdefault(name, []).append(served)
        try:
            yield
        finally:
            self._arriving[name].remove(served)
            if not self._arriving[name]:
                del self._arriving[name]

    def enter(self, served: Served, peers: Iterable[PeerInfo], seq: int, missed: list[tuple[int, str, str]]) -> None:
        """Add a member after its welcome, and deliver what it has missed.

        Args:
            served: The member.
            peers: The other members of the room.
            seq: The number up to which the answer of the storage goes.
            missed: Number, tag and text of what it has missed.
        """
        member = served.member
        room = self._rooms.setdefault(member.room, _NodeRoom())
        if not room.served:
            room.present = {peer.id: peer.name for peer in peers}
        room.present[member.info.id] = member.info.name
        before = room.served.get(member.info.id)
        room.served[member.info.id] = served
        if before is not None:
            before.receiver.replaced()
        for number, _, text in missed:
            served.receiver.deliver_text(text, number)
        self.stats.replayed += len(missed)
        served.last = max([seq, *(number for number, _, _ in missed)])
        for target, subject, number, text in served.early:
            # Until now it was not known which id the member would get: its own, or the one that it claimed.
            if number > seq and target in {"", member.info.id} and subject != member.info.id:
                _apply(room.present, text)
                self.stats.delivered += served.deliver(number, text)
        served.early.clear()

    def leave(self, member: Membership) -> None:
        """Forget a member of this node, if it still has this connection."""
        room = self._rooms.get(member.room)
        served = None if room is None else room.served.get(member.info.id)
        if room is None or served is None or served.member is not member:
            return
        del room.served[member.info.id]
        if not room.served:
            del self._rooms[member.room]

    # -- what is published ---------------------------------------------------------------------------------------------

    def receive_message(self, room_name: str, member_id: str, seq: int, tag: str, text: str) -> None:
        """Deliver a message to a member of this node."""
        if (room_name, tag) in self._local_messages:
            return
        for served in self._arriving.get(room_name, ()):
            served.early.append((member_id, "", seq, text))
        room = self._rooms.get(room_name)
        served_here = None if room is None else room.served.get(member_id)
        if served_here is not None:
            self.stats.delivered += served_here.deliver(seq, text)

    def receive_notice(self, room_name: str, subject: str, seq: int | None, text: str, *, is_repeated: bool) -> None:
        """Deliver a notice about a member to all others of the room on this node.

        Args:
            room_name: The room.
            subject: The id of the member that it is about.
            seq: Its number, or None if it is not kept.
            text: The notice.
            is_repeated: Whether members that know of it already should not get it.
        """
        for served in self._arriving.get(room_name, ()):
            if seq is not None:
                served.early.append(("", subject, seq, text))
        room = self._rooms.get(room_name)
        if room is None:
            return
        if self._told is not None and seq is not None:
            self._told.add((room_name, subject))
        if not _apply(room.present, text) and is_repeated:
            return
        for member_id, served in tuple(room.served.items()):
            if member_id == subject:
                continue
            if seq is None:
                served.receiver.deliver_text(text, None)
            else:
                self.stats.delivered += served.deliver(seq, text)

    def receive_replaced(self, room_name: str, member_id: str, connection: str) -> None:
        """End the connection of a member that has joined again on another one."""
        room = self._rooms.get(room_name)
        served = None if room is None else room.served.get(member_id)
        if served is not None and served.member.connection == connection:
            self.leave(served.member)
            served.receiver.replaced()

    # -- while the storage is away, and after it -----------------------------------------------------------------------

    def relay_here(self, member: Membership, target: str, number: int, text: str) -> bool:
        """Deliver a message without the storage; return False if its target is not on this node."""
        room = self._rooms.get(member.room)
        served = None if room is None else room.served.get(target)
        if served is None or target == member.info.id or len(self._local_messages) >= MAX_LOCAL_MESSAGES:
            return False
        self._local_messages.add((member.room, f"{member.info.id}:{number}"))
        served.receiver.deliver_text(text, None)
        return True

    def begin_to_catch_up(self) -> list[Served]:
        """Hold back what is published from now on; return the members that may have missed something."""
        self._told = set()
        members = list(self.all_served())
        for served in members:
            served.hold()
        return members

    def end_to_catch_up(self) -> None:
        """Forget what was delivered without the storage: it is back, and has no more of that."""
        self._told = None
        self._local_messages.clear()

    def was_told(self, room_name: str, member_id: str) -> bool:
        """Return whether a notice about a member was published while the node catches up.

        Then this node knows better than any answer, which may be older, whether that member is in the room.
        """
        return self._told is not None and (room_name, member_id) in self._told

    def catch_up(
        self, served: Served, kept: list[tuple[int, str, str]], known: dict[str, str], *, missed: bool
    ) -> None:
        """Deliver what a member missed while this node was cut off, then what was held back.

        Args:
            served: The member.
            kept: Number, tag and text of what the storage has kept for it. A tag that begins with ~ marks a notice
                that is new only to those who do not know of it.
            known: Who was in the room, as far as the member knows.
            missed: Whether the storage had to drop some of it. Then the connection ends: the client returns, gets
                what is left, and learns of the gap.
        """
        if missed:
            served.receiver.interrupted()
            return
        room = self._rooms.get(served.member.room)
        for number, tag, text in kept:
            if room is not None and not self.was_told(served.member.room, tag.removeprefix("~")):
                _apply(room.present, text)
            if number > served.last:
                served.last = number
                is_known = tag.startswith("~") and not _apply(dict(known), text)
                if not is_known and (served.member.room, tag) not in self._local_messages:
                    served.receiver.deliver_text(text, number)
                    self.stats.replayed += 1
        self.stats.delivered += served.release()


def _apply(present: dict[str, str], text: str) -> bool:
    """Change who is in a room if a message is a notice; return whether that is new."""
    if text.startswith('{"type":"peer-left"'):
        return present.pop(json.loads(text)["id"], None) is not None
    if text.startswith('{"type":"peer-joined"'):
        peer = json.loads(text)["peer"]
        is_new = bool(present.get(peer["id"]) != peer["name"])
        present[peer["id"]] = peer["name"]
        return is_new
    return False
