"""The State Cookie: everything needed to set up an association, sealed, so that nothing has to be remembered.

RFC 9260, 5.1.3: "Inside this State Cookie, the sender MUST include a MAC (see [RFC2104] for an example) to provide
integrity protection on the State Cookie."
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass
from enum import Enum
from typing import Final

from datachan.sctp.addresses import TransportAddress, address_parameter, ip_of
from datachan.sctp.wire.parameters import IPv4Address, IPv6Address

_CONTENT: Final = struct.Struct("!ddIIIIIIIHHHHqBBBH")
_PORT: Final = struct.Struct("!HBB")
_MAC_LENGTH: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class StateCookieContent:
    """The content of a State Cookie.

    Attributes:
        created_at: when it was issued, in monotonic seconds of this endpoint.
        lifespan: how long it is valid, in seconds.
        local_tag, peer_tag: the two Initiate Tags.
        local_tie_tag, peer_tie_tag: the Tie-Tags of an existing association, or 0 (section 5.2.2).
        local_initial_tsn, peer_initial_tsn: the two Initial TSNs, 32 bits.
        peer_a_rwnd: the peer's receiver window in bytes.
        outbound_streams, inbound_streams: as negotiated.
        source_port, destination_port: of the packet with the INIT.
        capabilities: `Capabilities.to_bits()`.
        adaptation: the peer's Adaptation Layer Indication, -1 without one.
        peer_addresses: the addresses of the peer, the source of its INIT first; none when the lower layer has only one
            path.
        local_random: our Random Number, if chunks are authenticated (RFC 4895, section 6.1).
        peer_key_vector: the peer's part of the keys, if chunks are authenticated.
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
    adaptation: int = -1
    peer_addresses: tuple[TransportAddress, ...] = ()
    local_random: bytes = b""
    peer_key_vector: bytes = b""

    def staleness(self, now: float) -> float:
        """Return the seconds since it became stale; 0 or less while it is fresh."""
        return now - self.created_at - self.lifespan


class CookieAction(Enum):
    """The actions of Table 12 for a COOKIE ECHO when an association exists."""

    RESTART = "A"
    COLLISION = "B"
    LATE = "C"
    DUPLICATE = "D"
    DISCARD = "none"


class CookieSealer:
    """Seals State Cookies, and opens those it sealed."""

    __slots__ = ("_previous", "_secret")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._previous = secret

    def rotate(self, secret: bytes) -> None:
        """Seal with a new secret; cookies sealed with the previous one can still be opened.

        RFC 9260, 5.1.3: "The secret key SHOULD be changed reasonably frequently (e.g., hourly)".
        """
        self._previous = self._secret
        self._secret = secret

    def seal(self, content: StateCookieContent) -> bytes:
        """Return the cookie as bytes, with its MAC."""
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
            content.adaptation,
            content.capabilities,
            len(content.peer_addresses),
            len(content.local_random),
            len(content.peer_key_vector),
        )
        body += content.local_random + content.peer_key_vector
        body += b"".join([_pack_address(address) for address in content.peer_addresses])
        return body + self._mac(body)

    def open(self, cookie: bytes) -> StateCookieContent | None:
        """Return the content, or None for a cookie that was not sealed here. The caller checks whether it is stale."""
        body, mac = cookie[:-_MAC_LENGTH], cookie[-_MAC_LENGTH:]
        if len(body) < _CONTENT.size:
            return None
        if not hmac.compare_digest(mac, self._mac(body)) and not hmac.compare_digest(
            mac, hmac.digest(self._previous, body, "sha256")
        ):
            return None
        fields = _CONTENT.unpack_from(body)
        random_end = _CONTENT.size + fields[16]
        vector_end = random_end + fields[17]
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
            adaptation=fields[13],
            capabilities=fields[14],
            peer_addresses=tuple(_unpack_addresses(body, fields[15], vector_end)),
            local_random=body[_CONTENT.size : random_end],
            peer_key_vector=body[random_end:vector_end],
        )

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, body, "sha256")


def judge_cookie(
    cookie: StateCookieContent, local_tag: int, peer_tag: int, local_tie_tag: int, peer_tie_tag: int
) -> CookieAction:
    """Return the action that Table 12 of RFC 9260, section 5.2.4 prescribes.

    Args:
        cookie: an authentic cookie.
        local_tag: our tag in the existing association.
        peer_tag: the peer's tag, 0 while it is not known.
        local_tie_tag: our Tie-Tag in cookies for this association.
        peer_tie_tag: the peer's Tie-Tag in cookies for this association.
    """
    local_matches = cookie.local_tag == local_tag
    peer_matches = cookie.peer_tag == peer_tag
    if local_matches:
        return CookieAction.DUPLICATE if peer_matches else CookieAction.COLLISION
    if peer_matches:
        no_ties = cookie.local_tie_tag == 0 and cookie.peer_tie_tag == 0
        return CookieAction.LATE if no_ties else CookieAction.DISCARD
    ties_match = cookie.local_tie_tag == local_tie_tag and cookie.peer_tie_tag == peer_tie_tag
    return CookieAction.RESTART if ties_match and local_tie_tag != 0 else CookieAction.DISCARD


def _pack_address(address: TransportAddress) -> bytes:
    packed = address_parameter(address[0]).address
    zone = address[0].partition("%")[2].encode()  # the interface of a link-local address
    return _PORT.pack(address[1], len(packed), len(zone)) + packed + zone


def _unpack_addresses(body: bytes, count: int, start: int) -> list[TransportAddress]:
    """Return the addresses at the end of an authentic cookie."""
    addresses: list[TransportAddress] = []
    for _ in range(count):
        port, length, zone_length = _PORT.unpack_from(body, start)
        start += _PORT.size
        packed = body[start : start + length]
        start += length
        ip = ip_of(IPv4Address(packed) if length == 4 else IPv6Address(packed))
        zone = body[start : start + zone_length].decode()
        start += zone_length
        addresses.append((f"{ip}%{zone}" if zone else ip, port))
    return addresses
