"""The options of the signaling server: the values that it allows and its limits; does nothing itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from datachan.signaling.broker import BrokerLimits
from datachan.signaling.client_address import Network
from datachan.signaling.room_messages import MAX_MESSAGE_SIZE
from datachan.signaling.turn_credentials import TurnSecret


@dataclass(frozen=True, slots=True)
class IceServerOption:
    """A STUN or TURN server that browsers and the echo peer use."""

    url: str
    username: str | None = None
    credential: str | None = None

    def to_json(self) -> dict[str, str]:
        """Return the server as W3C's RTCIceServer."""
        fields = {"urls": self.url}
        if self.username is not None and self.credential is not None:
            fields |= {"username": self.username, "credential": self.credential}
        return fields


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The options and bounds of the server, with their units.

    Attributes:
        allowed_origins: Origins (`https://example.org`) whose pages may use the server, besides its own page.
        loopback_only: Answer only requests whose Host is a loopback name or belongs to an allowed origin. Then no
            other page can reach a server on this machine by resolving its own name to it (DNS rebinding).
        ice_servers: STUN and TURN servers for the page and the echo peer.
        turn: TURN servers for which the page gets credentials that expire.
        trusted_proxies: Networks of the proxies whose `X-Forwarded-For` names the client.
        max_connections: WebSockets at the same time.
        max_connections_per_address: WebSockets of one address (IPv6: of one /64). Loopback addresses have no share.
        max_rooms: Rooms at the same time.
        max_rooms_per_address: Rooms that clients of one address have opened. Loopback addresses have no share.
        room_capacity: Members of one room.
        message_burst: Messages that a connection may send at once: enough to call seven members with all candidates.
        messages_per_second: Messages per second that a connection may send in the long run.
        max_faults: Refused messages on one connection before it is closed.
        max_message_size: Bytes of one message.
        outbound_bytes: Bytes queued for a client that reads too slowly before its connection is aborted.
        outbound_bytes_of_all: Bytes queued for all clients before the connection with the most is aborted.
        write_timeout: Seconds that one message may wait for a client to read before its connection is aborted.
        body_timeout: Seconds in which the body of a request must be complete.
        join_timeout: Seconds from connecting to `join`.
        heartbeat: Seconds between pings. A client that does not answer within half of that is disconnected.
        offer_burst: Offers to the echo peer that one address may make at once.
        offers_per_second: Offers per second that one address may make in the long run.
        health_token: The bearer token that shows the counts of /healthz to a client elsewhere; None for no token.
    """

    allowed_origins: frozenset[str] = field(default_factory=frozenset)
    loopback_only: bool = False
    ice_servers: tuple[IceServerOption, ...] = ()
    turn: TurnSecret | None = None
    trusted_proxies: tuple[Network, ...] = ()
    max_connections: int = 1024
    max_connections_per_address: int = 64
    max_rooms: int = 256
    max_rooms_per_address: int = 32
    room_capacity: int = 8
    message_burst: float = 300.0
    messages_per_second: float = 20.0
    max_faults: int = 10
    max_message_size: int = MAX_MESSAGE_SIZE
    outbound_bytes: int = 512 * 1024
    outbound_bytes_of_all: int = 64 * 1024 * 1024
    write_timeout: float = 20.0
    body_timeout: float = 10.0
    join_timeout: float = 10.0
    heartbeat: float = 20.0
    offer_burst: float = 20.0
    offers_per_second: float = 1.0
    health_token: str | None = None

    def broker_limits(self) -> BrokerLimits:
        """Return the bounds of the rooms."""
        return BrokerLimits(self.max_rooms, self.max_rooms_per_address, self.room_capacity)
