"""Knows what a signaling server can be told at its start, and the bounds it keeps; does nothing itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from datachan.signaling.messages import MAX_MESSAGE_SIZE


@dataclass(frozen=True, slots=True)
class IceServerOption:
    """A STUN or TURN server, told to browsers and used by the echo peer."""

    url: str
    username: str | None = None
    credential: str | None = None

    def to_json(self) -> dict[str, str]:
        """The server as W3C's RTCIceServer."""
        fields = {"urls": self.url}
        if self.username is not None and self.credential is not None:
            fields |= {"username": self.username, "credential": self.credential}
        return fields


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What the server allows. Every bound is here, with its unit.

    Attributes:
        allowed_origins: Origins (`https://example.org`) whose pages may use the server besides its own page.
        loopback_only: Answer only requests whose Host is a loopback name or belongs to an allowed origin; so no page
            elsewhere can reach a server on this machine by letting its own name resolve to it (DNS rebinding).
        ice_servers: STUN and TURN servers for the page and the echo peer.
        max_connections: WebSockets at the same time.
        max_rooms: Rooms at the same time.
        room_capacity: Members of one room.
        message_burst: Messages a connection may send at once; enough to call seven others with all candidates.
        messages_per_second: Messages it may send in the long run.
        max_faults: Messages refused on one connection before it is closed.
        max_message_size: Bytes of one message.
        outbound_messages: Messages waiting for a client that reads too slowly, before it is let go.
        join_timeout: Seconds from connecting to `join`.
        heartbeat: Seconds between pings; who does not answer one within half of that is gone.
        offer_burst: Offers to the echo peer that one address may make at once.
        offers_per_second: Offers it may make in the long run.
    """

    allowed_origins: frozenset[str] = field(default_factory=frozenset)
    loopback_only: bool = False
    ice_servers: tuple[IceServerOption, ...] = ()
    max_connections: int = 1024
    max_rooms: int = 256
    room_capacity: int = 8
    message_burst: float = 300.0
    messages_per_second: float = 20.0
    max_faults: int = 10
    max_message_size: int = MAX_MESSAGE_SIZE
    outbound_messages: int = 512
    join_timeout: float = 10.0
    heartbeat: float = 20.0
    offer_burst: float = 20.0
    offers_per_second: float = 1.0
