"""Candidates, the local links they belong to, and their order (RFC 8445, 5.1; RFC 8421; RFC 6544); checks nothing.

A candidate is signaled as a `datachan.sdp.IceCandidate`. Here are the rules that compute its priority and foundation,
and `Base`, the name that the agent has for a socket or an allocation of the shell.
"""

from __future__ import annotations

import ipaddress
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from datachan.sdp import IceCandidate

HOST: Final = "host"
SRFLX: Final = "srflx"
PRFLX: Final = "prflx"
RELAY: Final = "relay"

ACTIVE: Final = "active"
PASSIVE: Final = "passive"
DISCARD_PORT: Final = 9
"""The port in an active TCP candidate (RFC 6544, 4.5), whose connections take ports of their own."""

COMPONENT: Final = 1
# RFC 8445, 5.1.2.2: "The RECOMMENDED values for type preferences are 126 for host candidates, 110 for peer-reflexive
# candidates, 100 for server-reflexive candidates, and 0 for relayed candidates."
_TYPE_PREFERENCES: Final = {HOST: 126, PRFLX: 110, SRFLX: 100, RELAY: 0}
# RFC 6544, 4.2 leaves the distance between UDP and TCP to the implementation. With this one, a direct path over TCP is
# worse than any direct path over UDP, and better than a relay.
_TCP_PENALTY: Final = 40
# RFC 6544, 4.2 recommends these direction preferences for host candidates.
_DIRECTIONS: Final = {ACTIVE: 6, PASSIVE: 4, "so": 2}
_LARGEST_LOCAL_PREFERENCE: Final = 65535
_LARGEST_OTHER_PREFERENCE: Final = 8191
_LARGEST_PRIORITY: Final = (1 << 31) - 1

TransportAddress = tuple[str, int]
"""An IP address, with a scope if it is link-local (fe80::1%eth0), and a port."""


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """A local link, as the agent names it: a UDP socket, an allocation, or the TCP connections of one address.

    Bases are compared by identity: the shell keeps one object for each link. Several candidates may have one base.

    Attributes:
        address: the local IP address; the relayed address of an allocation.
        port: the local port; `DISCARD_PORT` for active TCP.
        transport: "udp" or "tcp" between this base and the peer.
        tcp_type: `ACTIVE` if the link opens a TCP connection to each destination, `PASSIVE` if it accepts connections.
        relayed: whether datagrams pass a TURN server.
    """

    address: str
    port: int
    transport: str = "udp"
    tcp_type: str | None = None
    relayed: bool = False


@dataclass(frozen=True, slots=True)
class LocalCandidate:
    """A candidate of ours, as signaled, and the base that its checks are sent from."""

    candidate: IceCandidate
    base: Base


def make_candidate(
    kind: str,
    address: TransportAddress,
    base: Base,
    *,
    rank: int = 0,
    related: TransportAddress | None = None,
    server: str = "",
) -> LocalCandidate:
    """Return a local candidate with its priority and foundation.

    Args:
        kind: `HOST`, `SRFLX` or `RELAY`.
        address: the address to signal; it differs from the base's if a NAT or a configuration maps it.
        base: the link.
        rank: the place among our candidates of this kind: 0 for the best, counted up.
        related: the address to show as the one it was derived from.
        server: the address of the STUN or TURN server that it was learned from.
    """
    candidate = IceCandidate(
        foundation=candidate_foundation(kind, base.transport, base.address, server),
        component=COMPONENT,
        transport=base.transport,
        priority=candidate_priority(kind, rank, transport=base.transport, tcp_type=base.tcp_type),
        address=without_scope(address[0]),
        port=address[1],
        type=kind,
        related_address=None if related is None else without_scope(related[0]),
        related_port=None if related is None else related[1],
        tcp_type=base.tcp_type,
    )
    return LocalCandidate(candidate, base)


def candidate_priority(kind: str, rank: int = 0, *, transport: str = "udp", tcp_type: str | None = None) -> int:
    """Return the priority of a candidate (RFC 8445, 5.1.2.1; for TCP with the preferences of RFC 6544, 4.2)."""
    type_preference = _TYPE_PREFERENCES[kind]
    if transport == "tcp":
        type_preference = max(0, type_preference - _TCP_PENALTY)
        # RFC 6544, 4.2: the local preference is 2^13 times the direction preference, plus another preference.
        other = max(0, _LARGEST_OTHER_PREFERENCE - rank)
        local_preference = (_DIRECTIONS.get(tcp_type or ACTIVE, 0) << 13) + other
    else:
        local_preference = max(0, _LARGEST_LOCAL_PREFERENCE - rank)
    # RFC 8445, 5.1.2.1: "priority = (2^24)*(type preference) + (2^8)*(local preference) + (2^0)*(256 - component ID)"
    return (type_preference << 24) + (local_preference << 8) + (256 - COMPONENT)


def peer_reflexive_priority(priority: int) -> int:
    """Return the PRIORITY of a check: that of the candidate, if it were peer-reflexive (RFC 8445, 7.1.1)."""
    type_preference = _TYPE_PREFERENCES[PRFLX]
    return min(_LARGEST_PRIORITY, (type_preference << 24) | (priority & 0xFFFFFF))


def candidate_foundation(kind: str, transport: str, base_address: str, server: str = "") -> str:
    """Return the foundation.

    RFC 8445, 5.1.1.3: it is equal for two candidates of the same type, base address, server and transport.
    """
    return str(zlib.crc32(f"{kind} {transport} {base_address} {server}".encode()))


def pair_priority(controlling: int, controlled: int) -> int:
    """Return the priority of a pair from those of the controlling and of the controlled agent's candidate."""
    # RFC 8445, 6.1.2.2: "pair priority = 2^32*MIN(G,D) + 2*MAX(G,D) + (G>D?1:0)"
    return (min(controlling, controlled) << 32) + 2 * max(controlling, controlled) + (controlling > controlled)


def normal_address(address: str) -> str:
    """Return an IP address as the system writes it in the source of a datagram."""
    return str(ipaddress.ip_address(address))


def without_scope(address: str) -> str:
    """Return an address without its scope, as it is signaled: the name of an interface means nothing to the peer."""
    return address.partition("%")[0]


def scoped(address: str, base: Base) -> str:
    """Return the peer's address as the base's link can send to it: a link-local address has the base's scope."""
    scope = base.address.partition("%")[2]
    return f"{address}%{scope}" if scope and "%" not in address else address


def interleave_families(addresses: Sequence[str]) -> list[str]:
    """Return IPv6 and IPv4 addresses in turns, IPv6 first, so that neither waits for all of the other (RFC 8421, 4)."""
    six = [address for address in addresses if ":" in address]
    four = [address for address in addresses if ":" not in address]
    mixed: list[str] = []
    for index in range(max(len(six), len(four))):
        mixed += six[index : index + 1] + four[index : index + 1]
    return mixed
