"""The contract of a broker, which knows rooms, members and what each member missed; knows no socket and no storage.

A node is one process of the signaling server. All nodes with the same broker have the same rooms. A member is served by
one node at a time: the one with its connection. Each message for a member has a sequence number, which grows. A member
that joins with `resumes` keeps its place for `grace` seconds when its connection breaks: the others do not see it
leave, and messages for it are kept. With its token and the last number that it received, it returns to its place over
any node, and receives what it missed.

`MemoryBroker` serves one node. `RedisBroker` serves any number of them.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from datachan.signaling.room_messages import (
    BadMessage,
    PeerInfo,
    Resumption,
    ServerMessage,
    Signal,
    Welcome,
    is_room_name,
)

GRACE: Final = 120.0
"""Seconds for which the place of a member is kept after its connection broke."""


class BrokerUnavailable(BadMessage):
    """The broker cannot be reached. What was asked for is not done."""

    def __init__(self) -> None:
        """Set the code and the sentence."""
        super().__init__(
            "broker-unavailable", "The servers cannot reach one another at the moment. Try again in a few seconds."
        )


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """The bounds of the rooms, which hold for all nodes together.

    Attributes:
        max_rooms: Rooms at the same time.
        max_rooms_per_owner: Rooms at the same time that one owner opened.
        capacity: Members of one room, those that are away included.
        grace: Seconds for which the place of a member is kept.
        kept_messages: Messages kept for one member.
        kept_bytes: Bytes kept for one member.
        kept_bytes_of_room: Bytes kept for all members of one room.
        kept_notices: Notices of joining and leaving that are kept for one room.
    """

    max_rooms: int = 256
    max_rooms_per_owner: int = 256
    capacity: int = 8
    grace: float = GRACE
    kept_messages: int = 256
    kept_bytes: int = 128 * 1024
    kept_bytes_of_room: int = 256 * 1024
    kept_notices: int = 256


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A member that wants to enter a room.

    Attributes:
        room: The room.
        name: The name that the others see.
        owner: The key under which a new room is counted; empty not to count it.
        secret: The member's secret, from which its id follows; None for a new id.
        resumes: Whether the place of the member is kept when its connection breaks.
        token: The token of an earlier welcome, or None.
        seq: The number of the last message that the member received.
    """

    room: str
    name: str
    owner: str = ""
    secret: str | None = None
    resumes: bool = False
    token: str | None = None
    seq: int = 0


class Receiver(Protocol):
    """The connection of a member, as the broker sees it. Its methods neither wait nor raise."""

    def deliver(self, message: ServerMessage) -> None:
        """Send the welcome, which comes before everything else."""

    def deliver_text(self, text: str, seq: int | None) -> None:
        """Send a message, which is JSON; None as its number means that it is not kept for replay."""

    def replaced(self) -> None:
        """End the connection: the same member has joined on another one."""

    def interrupted(self) -> None:
        """End the connection, because messages for it were dropped or its place is gone. The client joins again."""


@dataclass(slots=True, eq=False)
class Membership:
    """One connection in one room.

    Attributes:
        room: The room.
        info: The id and name of the member.
        connection: Names the connection among all connections to all nodes.
        resumes: Whether the place of the member is kept when its connection breaks.
        received: The number of the last message that the broker has accepted from the member.
    """

    room: str
    info: PeerInfo
    connection: str
    resumes: bool = False
    received: int = 0


@dataclass(slots=True)
class BrokerStats:
    """What a broker has done since it started, on this node.

    Attributes:
        relayed: Messages forwarded from members of this node.
        delivered: Messages and notices delivered to members of this node.
        replayed: Messages and notices delivered because a member, or the node itself, had missed them.
        resumed: Members that returned to their place.
        missed: Members that returned and had lost messages.
        outages: Times that the connection to the broker broke.
        observe_step: Called with the seconds that each step on rooms that are elsewhere took.
    """

    relayed: int = 0
    delivered: int = 0
    replayed: int = 0
    resumed: int = 0
    missed: int = 0
    outages: int = 0
    observe_step: Callable[[float], None] = lambda seconds: None


class Broker(Protocol):
    """The rooms of all nodes."""

    @property
    def stats(self) -> BrokerStats:
        """What the broker has done on this node."""

    async def start(self) -> None:
        """Connect with the other nodes. Return even if that fails at first; it is tried until `close`."""

    async def close(self) -> None:
        """Release everything. Members of this node that resume keep their place; the others leave."""

    async def join(self, request: JoinRequest, receiver: Receiver) -> Membership:
        """Add a member to a room or return it to its place, deliver the welcome and what it missed, tell the others.

        Raises:
            BadMessage: `bad-room`, `no-more-rooms` or `room-full`.
            BrokerUnavailable: The broker cannot be reached.
        """

    async def relay(self, member: Membership, message: Signal, number: int) -> None:
        """Forward a message to the member it is addressed to, on any node, with the sender's id in it.

        Messages of one sender arrive in the order of the calls. A number that is not larger than an earlier one of the
        same member is a repetition, which is ignored.

        Raises:
            BadMessage: `no-such-peer`: no other member with that id is in the sender's room.
            BrokerUnavailable: The broker cannot be reached, and the other member is not on this node.
        """

    async def leave(self, member: Membership, *, for_good: bool) -> None:
        """Remove a member, and tell the others. Does nothing if the connection is no longer the member's.

        Args:
            member: The member.
            for_good: Whether it leaves. If not, its connection broke: a member that resumes keeps its place.
        """

    @property
    def problem(self) -> str:
        """Why the broker cannot be reached, as a sentence; empty if it can."""

    @property
    def room_count(self) -> int:
        """The number of rooms with members on this node."""

    @property
    def member_count(self) -> int:
        """The number of members on this node."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """A join request with the identities that follow from it.

    Attributes:
        request: The request.
        info: The id and name of the member if it is not back in its place.
        token: The token that it gets then.
        claimed: The id of the place that the member wants to return to; empty for none.
        presented: The digest of the token that proves it.
    """

    request: JoinRequest
    info: PeerInfo
    token: str = field(repr=False)
    claimed: str = ""
    presented: str = field(default="", repr=False)

    @classmethod
    def of(cls, request: JoinRequest) -> Entrance:
        """Return the entrance for a request.

        Raises:
            BadMessage: `bad-room`.
        """
        if not is_room_name(request.room):
            raise BadMessage("bad-room", "A room's name is 1 to 64 letters, digits, - or _.")
        member_id = secrets.token_urlsafe(9) if request.secret is None else id_of(request.secret, request.room)
        claimed = "" if request.token is None else request.token.partition(".")[0]
        if request.token is None or not request.resumes or (request.secret is not None and claimed != member_id):
            return cls(request, PeerInfo(member_id, request.name), new_token(member_id))
        return cls(request, PeerInfo(member_id, request.name), new_token(member_id), claimed, digest_of(request.token))

    def resumption(self, seq: int, *, resumed: bool, missed: bool, received: int) -> Resumption | None:
        """Return the part of the welcome for a member that resumes; None for others."""
        if not self.request.resumes:
            return None
        token = self.request.token if resumed and self.request.token is not None else self.token
        return Resumption(token, seq, resumed, missed, received)


def no_such_peer() -> BadMessage:
    """Return the error for a message to a member that is not there."""
    return BadMessage("no-such-peer", "Whom the message is for is not in the room, or has left it.")


def no_more_rooms() -> BadMessage:
    """Return the error for a room that the bound of all rooms does not allow."""
    return BadMessage("no-more-rooms", "The server has as many rooms as it can hold. Try again later.")


def owner_has_no_more_rooms() -> BadMessage:
    """Return the error for a room that the share of its owner does not allow."""
    return BadMessage("no-more-rooms", "Your address has opened as many rooms as it may. Leave one first.")


def room_full(capacity: int) -> BadMessage:
    """Return the error for a room that has as many members as it may."""
    return BadMessage("room-full", f"The room is full: it holds {capacity}. Choose another one.")


def new_token(member_id: str) -> str:
    """Return a token that no other client can guess: the member's id, and 192 random bits."""
    return f"{member_id}.{secrets.token_urlsafe(24)}"


def digest_of(token: str) -> str:
    """Return what a broker stores of a token: a reader of the storage cannot use it."""
    return hashlib.sha256(token.encode()).hexdigest()


def id_of(secret: str, room_name: str) -> str:
    """Return the id of the member with this secret in a room. The others see the id, and cannot find the secret."""
    digest = hashlib.sha256(f"datachan member\n{room_name}\n{secret}".encode()).digest()
    return base64.urlsafe_b64encode(digest[:9]).decode()


def welcome_of(
    member: Membership, capacity: int, peers: tuple[PeerInfo, ...], resumption: Resumption | None
) -> Welcome:
    """Return the welcome of a member."""
    return Welcome(member.info.id, member.room, capacity, peers, resumption=resumption)
