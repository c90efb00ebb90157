"""Finds the client address of a request, and the key by which the address's shares are counted; opens no socket."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Final, TypeAlias

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_IPV6_SHARE: Final = 64
"""Bits of an IPv6 address that a share is counted by: one subscriber usually has all addresses of a /64."""


def client_address(remote: str, forwarded_for: str, trusted: Collection[Network]) -> str:
    """Return the address of the client that sent a request.

    A proxy appends the address that it received the request from to `X-Forwarded-For`. Everything to the left of what a
    trusted proxy wrote may be forged, so the list is read from its end.

    Args:
        remote: The address at the other end of the TCP connection.
        forwarded_for: The value of `X-Forwarded-For`; empty without one.
        trusted: The networks of the proxies whose header is believed.

    Returns:
        The last address that no trusted proxy has; `remote` if the header is absent or malformed.
    """
    address = remote
    for entry in reversed(forwarded_for.split(",")):
        if not belongs_to(address, trusted):
            break
        candidate = entry.strip()
        if parse_address(candidate) is None:
            break
        address = candidate
    return address


def share_key(address: str) -> str:
    """Return the key by which the shares of an address are counted: the address itself, or the /64 of an IPv6 address.

    An IPv4-mapped IPv6 address counts as its IPv4 address. Text that is not an address is a key of its own.
    """
    parsed = parse_address(address)
    if parsed is None:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(ipaddress.ip_network((parsed, _IPV6_SHARE), strict=False))


def parse_address(text: str) -> IPAddress | None:
    """Return an address without its zone, an IPv4-mapped one as IPv4; None for text that is not an address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def belongs_to(text: str, networks: Collection[Network]) -> bool:
    """Return whether an address is in one of these networks; False for text that is not an address."""
    address = parse_address(text)
    return address is not None and any(address in network for network in networks)
