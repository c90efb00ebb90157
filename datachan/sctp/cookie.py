"""The State Cookie: everything needed to set an association up, sealed, so that none of it has to be remembered.

RFC 9260, 5.1.3: "Inside this State Cookie, the sender MUST include a MAC (see [RFC2104] for an example) to provide
integrity protection on the State Cookie."
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass

_CONTENT = struct.Struct("!ddIIIIIIIHHHHB")
_MAC_LENGTH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class StateCookieContent:
    """What a State Cookie holds.

    Attributes:
        created_at: when it was made (monotonic seconds of this endpoint).
        lifespan: how long it is good for, in seconds.
        local_tag, peer_tag: the two Initiate Tags.
        local_tie_tag, peer_tie_tag: the Tie-Tags of an association that exists already, or 0 (section 5.2.2).
        local_initial_tsn, peer_initial_tsn: the two Initial TSNs, 32 bits.
        peer_a_rwnd: the peer's receiver window in bytes.
        outbound_streams, inbound_streams: as negotiated.
        source_port, destination_port: of the packet with the INIT.
        capabilities: `Capabilities.to_bits()`.
    """

    created_at: float
    lifespan: float
    local_tag: int
    peer_tag: int
    local_tie_tag: int
    peer_tie_tag: int
    local_initial_tsn: int
    peer_initial_tsn: int
    peer_a_rwnd: int
    outbound_streams: int
    inbound_streams: int
    source_port: int
    destination_port: int
    capabilities: int

    def staleness(self, now: float) -> float:
        """Seconds since it went stale; not positive while it is good."""
        return now - self.created_at - self.lifespan


class CookieSealer:
    """Seals cookies and opens its own."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def seal(self, content: StateCookieContent) -> bytes:
        """The cookie as bytes, with its MAC."""
        body = _CONTENT.pack(
            content.created_at,
            content.lifespan,
            content.local_tag,
            content.peer_tag,
            content.local_tie_tag,
            content.peer_tie_tag,
            content.local_initial_tsn,
            content.peer_initial_tsn,
            content.peer_a_rwnd,
            content.outbound_streams,
            content.inbound_streams,
            content.source_port,
            content.destination_port,
            content.capabilities,
        )
        return body + self._mac(body)

    def open(self, cookie: bytes) -> StateCookieContent | None:
        """The content, or None when we did not make this cookie. Whether it is stale is for the caller to ask."""
        body, mac = cookie[: _CONTENT.size], cookie[_CONTENT.size :]
        if len(cookie) != _CONTENT.size + _MAC_LENGTH or not hmac.compare_digest(mac, self._mac(body)):
            return None
        fields = _CONTENT.unpack(body)
        return StateCookieContent(
            created_at=fields[0],
            lifespan=fields[1],
            local_tag=fields[2],
            peer_tag=fields[3],
            local_tie_tag=fields[4],
            peer_tie_tag=fields[5],
            local_initial_tsn=fields[6],
            peer_initial_tsn=fields[7],
            peer_a_rwnd=fields[8],
            outbound_streams=fields[9],
            inbound_streams=fields[10],
            source_port=fields[11],
            destination_port=fields[12],
            capabilities=fields[13],
        )

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, body, "sha256")
