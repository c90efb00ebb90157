"""The options and bounds of a channel server, with their units; does nothing itself."""

from __future__ import annotations

from dataclasses import dataclass

from datachan.signaling.client_address import Network
from datachan.signaling.turn_credentials import TurnSecret


@dataclass(frozen=True, slots=True)
class ChannelServerOptions:
    """The options and bounds of a channel server.

    Attributes:
        allowed_origins: Origins (`https://example.org`) whose pages may connect, besides pages of the server's own
            origin; "*" for all, which suits servers that authenticate with tokens.
        loopback_only: Answer only requests whose Host is a loopback name or belongs to an allowed origin, so that no
            page can reach a server on this machine by resolving its own name to it (DNS rebinding).
        trusted_proxies: Networks of the proxies whose `X-Forwarded-For` names the client.
        turn: TURN servers for the clients, with the secret that they share with this server. Answers name them with
            credentials that expire (RFC 9725, section 4.6). None for no TURN server.
        max_connections: Connections at the same time.
        max_connections_per_address: Connections of one address (IPv6: of one /64). Loopback addresses have no share.
        max_connections_per_user: Connections of one user, as the authentication hook returns it. Users that are equal
            are the same; counting is fastest if they can be hashed.
        max_connecting_per_address: Connections of one address that are not established yet. One more ends the oldest.
            Loopback addresses have no share.
        offer_burst: Offers that one address may make at once. Loopback addresses have no limit.
        offers_per_second: Offers per second that one address may make in the long run.
        patch_burst: Trickled candidates and ICE restarts that one connection may send at once.
        patches_per_second: The same in the long run.
        max_channels: Channels of one connection that its client has opened. Further channels are closed.
        max_message_size: Bytes of one message of a client. It is announced in the answer.
        body_timeout: Seconds in which the body of a request must be complete.
        gathering_timeout: Seconds that an answer waits for our candidates, such as those of a STUN server.
        connect_timeout: Seconds from the answer until the connection must be established.
        restart_timeout: Seconds that a connection without a path waits for an ICE restart of its client.
        handler_timeout: Seconds that a handler may run after its connection has ended; then it is canceled.
        close_timeout: Seconds to wait while closing for a client that acknowledges nothing.
    """

    allowed_origins: frozenset[str] = frozenset()
    loopback_only: bool = False
    trusted_proxies: tuple[Network, ...] = ()
    turn: TurnSecret | None = None
    max_connections: int = 4096
    max_connections_per_address: int = 64
    max_connections_per_user: int = 64
    max_connecting_per_address: int = 16
    offer_burst: float = 20.0
    offers_per_second: float = 2.0
    patch_burst: float = 30.0
    patches_per_second: float = 2.0
    max_channels: int = 64
    max_message_size: int = 256 * 1024
    body_timeout: float = 10.0
    gathering_timeout: float = 2.0
    connect_timeout: float = 30.0
    restart_timeout: float = 30.0
    handler_timeout: float = 10.0
    close_timeout: float = 1.0
