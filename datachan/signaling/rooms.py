"""Knows the members of each room, which of them receives a message, and what members that are away miss.

It knows no socket and no clock: members have a `Receiver`, and `now` is given, in monotonic seconds. No call waits, so
the welcome of a newcomer and the notices to the others always agree: exactly the members listed in the welcome receive
a `PeerJoined` for the newcomer.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import replace

from datachan.signaling.broker import (
    BrokerLimits,
    BrokerStats,
    Entrance,
    Membership,
    Receiver,
    digest_of,
    no_more_rooms,
    no_such_peer,
    owner_has_no_more_rooms,
    room_full,
    welcome_of,
)
from datachan.signaling.kept_messages import KeptMessages
from datachan.signaling.room_messages import (
    PeerInfo,
    PeerJoined,
    PeerLeft,
    Signal,
    serialize_server_message,
)


class _Place:
    """One member of a room, which has a connection or is away."""

    __slots__ = ("digest", "kept", "member", "receiver")

    def __init__(self, member: Membership, receiver: Receiver, digest: str, kept: KeptMessages) -> None:
        self.member = member
        self.receiver: Receiver | None = receiver
        self.digest = digest
        self.kept = kept


class _Room:
    """The members of one room, in the order in which they joined."""

    __slots__ = ("notices", "owner", "places", "size")

    def __init__(self, owner: str, max_notices: int) -> None:
        self.owner = owner
        self.places: dict[str, _Place] = {}
        self.notices = KeptMessages(max_notices, 1 << 30)
        self.size = 0

    def others(self, member_id: str) -> tuple[PeerInfo, ...]:
        """Return all members but one."""
        return tuple(place.member.info for id_, place in self.places.items() if id_ != member_id)


class Rooms:
    """All rooms. A room exists from its first member's join to its last member's leave."""

    def __init__(self, limits: BrokerLimits | None = None) -> None:
        self._limits = limits or BrokerLimits()
        self._rooms: dict[str, _Room] = {}
        self._owned: Counter[str] = Counter()
        self._seq = 0
        # Members that are away, with the time at which they leave. All wait equally long: the first leaves first.
        self._away: OrderedDict[Membership, float] = OrderedDict()
        self.stats = BrokerStats()

    @property
    def room_count(self) -> int:
        """The number of rooms that have members."""
        return len(self._rooms)

    @property
    def member_count(self) -> int:
        """The number of members of all rooms, those that are away included."""
        return sum(len(room.places) for room in self._rooms.values())

    # -- joining and leaving -------------------------------------------------------------------------------------------

    def join(self, entrance: Entrance, receiver: Receiver, connection: str) -> Membership:
        """Add a member to a room or return it to its place, send it the welcome, then notify the others.

        A member that joins with the secret or the token of another one is the same member on a new connection.

        Raises:
            BadMessage: `no-more-rooms` or `room-full`.
        """
        request = entrance.request
        room = self._rooms.get(request.room)
        place = None if room is None or not entrance.claimed else room.places.get(entrance.claimed)
        if room is not None and place is not None and place.digest == entrance.presented:
            return self._resume(room, place, entrance, receiver, connection)
        if room is None:
            self._check_rooms(request.owner)
            room = _Room(request.owner, self._limits.kept_notices)
        before = room.places.get(entrance.info.id)
        if len(room.places) - (before is not None) >= self._limits.capacity:
            raise room_full(self._limits.capacity)
        if request.room not in self._rooms:
            self._rooms[request.room] = room
            self._owned[request.owner] += 1
        if before is not None:
            self._unlink(room, before)
            _replace(before)
        return self._enter(room, entrance, receiver, connection)

    def _enter(self, room: _Room, entrance: Entrance, receiver: Receiver, connection: str) -> Membership:
        request = entrance.request
        member = Membership(request.room, entrance.info, connection, request.resumes)
        kept = KeptMessages(self._limits.kept_messages, self._limits.kept_bytes)
        room.places[member.info.id] = _Place(member, receiver, digest_of(entrance.token), kept)
        others = room.others(member.info.id)
        resumption = entrance.resumption(self._seq + 1, resumed=False, missed=False, received=0)
        receiver.deliver(welcome_of(member, self._limits.capacity, others, resumption))
        self._notify(room, member.info.id, serialize_server_message(PeerJoined(member.info)))
        return member

    def _resume(
        self, room: _Room, place: _Place, entrance: Entrance, receiver: Receiver, connection: str
    ) -> Membership:
        before, last = place.member, entrance.request.seq
        if place.receiver is not None:
            _replace(place)
        self._away.pop(before, None)
        member = place.member = replace(before, connection=connection)
        place.receiver = receiver
        missed = max(place.kept.lost, room.notices.lost) > last
        self.stats.resumed += 1
        self.stats.missed += missed
        resumption = entrance.resumption(self._seq, resumed=True, missed=missed, received=member.received)
        receiver.deliver(welcome_of(member, self._limits.capacity, room.others(member.info.id), resumption))
        kept = [*place.kept.after(last, member.info.id), *room.notices.after(last, member.info.id)]
        for seq, text in sorted(kept):
            receiver.deliver_text(text, seq)
        self.stats.replayed += len(kept)
        return member

    def leave(self, member: Membership, now: float, *, for_good: bool) -> None:
        """Remove a member and notify the others, or keep the place of a member whose connection broke.

        Does nothing if the place has another connection now, or none.
        """
        room, place = self._find(member)
        if room is None or place is None:
            return
        if member.resumes and not for_good:
            place.receiver = None
            self._away[member] = now + self._limits.grace
        else:
            self._remove(room, place)

    def expire(self, now: float) -> None:
        """Remove the members that have been away for too long."""
        while self._away:
            member, until = next(iter(self._away.items()))
            if until > now:
                return
            room, place = self._find(member)
            if room is None or place is None:
                del self._away[member]
            else:
                self._remove(room, place)

    def next_expiry(self) -> float | None:
        """Return the time of the next call of `expire`; None if all members have connections."""
        return next(iter(self._away.values()), None)

    # -- messages ------------------------------------------------------------------------------------------------------

    def relay(self, member: Membership, message: Signal, number: int) -> None:
        """Forward a message to the member it is addressed to, with the sender's id in it.

        Raises:
            BadMessage: `no-such-peer`: no member with that id is in the sender's room.
        """
        room, place = self._find(member)
        target = None if room is None else room.places.get(message.peer)
        if room is None or place is None or target is None or target is place:
            raise no_such_peer()
        if number <= member.received:
            return
        member.received = number
        self._seq += 1
        text = serialize_server_message(replace(message, peer=member.info.id))
        if target.member.resumes:
            room_left = self._limits.kept_bytes_of_room - room.size
            room.size += target.kept.append(self._seq, "", text, room_left)
        self.stats.relayed += 1
        self._deliver(target, text)

    def _notify(self, room: _Room, subject: str, text: str) -> None:
        """Send a notice about a member to all others."""
        self._seq += 1
        room.notices.append(self._seq, subject, text)
        for member_id, place in tuple(room.places.items()):
            if member_id != subject:
                self._deliver(place, text)

    def _deliver(self, place: _Place, text: str) -> None:
        if place.receiver is not None:
            self.stats.delivered += 1
            place.receiver.deliver_text(text, self._seq)

    # -- rooms ---------------------------------------------------------------------------------------------------------

    def _find(self, member: Membership) -> tuple[_Room | None, _Place | None]:
        """Return room and place of a member; None if the place has another connection."""
        room = self._rooms.get(member.room)
        place = None if room is None else room.places.get(member.info.id)
        return room, place if place is not None and place.member is member else None

    def _remove(self, room: _Room, place: _Place) -> None:
        self._unlink(room, place)
        member = place.member
        if not room.places:
            del self._rooms[member.room]
            self._owned[room.owner] -= 1
            if not self._owned[room.owner]:
                del self._owned[room.owner]
        self._notify(room, member.info.id, serialize_server_message(PeerLeft(member.info.id)))

    def _unlink(self, room: _Room, place: _Place) -> None:
        del room.places[place.member.info.id]
        room.size -= place.kept.size
        self._away.pop(place.member, None)

    def _check_rooms(self, owner: str) -> None:
        if len(self._rooms) >= self._limits.max_rooms:
            raise no_more_rooms()
        if owner and self._owned[owner] >= self._limits.max_rooms_per_owner:
            raise owner_has_no_more_rooms()


def _replace(place: _Place) -> None:
    if place.receiver is not None:
        place.receiver.replaced()
