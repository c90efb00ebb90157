"""Transport addresses as values: the addresses of INIT and INIT ACK, and which of them may be used.

A transport address here is the destination of a UDP datagram (RFC 6951): an IP address and a UDP port. The SCTP ports
belong to the association and are the same at every address. It sends nothing and resolves no names.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address as IPv4
from ipaddress import IPv6Address as IPv6
from ipaddress import ip_address
from typing import Final

from .wire.parameters import (
    IPV4_ADDRESS,
    IPV6_ADDRESS,
    IPv4Address,
    IPv6Address,
    Parameter,
    SupportedAddressTypes,
)

TransportAddress = tuple[str, int]
"""An IP address as `normalize` writes it, and a UDP port."""

WILDCARDS: Final = frozenset({"0.0.0.0", "::"})
"""In `bind`, all addresses of this host. In an ASCONF that adds an address or makes it primary, the source address of
the packet; in one that deletes, all addresses but that one."""

MAX_ADDRESSES: Final = 16
"""The most addresses of one peer. Others are ignored: each costs memory, heartbeats and room in the State Cookie."""


def normalize(ip: str) -> str:
    """Return the canonical form of an IP address; an IPv4-mapped IPv6 address becomes IPv4.

    Raises:
        ValueError: the text is not an IP address.
    """
    return _text(ip_address(ip))


def address_parameter(ip: str) -> IPv4Address | IPv6Address:
    """Return the parameter that carries this address (RFC 9260, sections 3.3.2.1.1 and 3.3.2.1.2).

    Raises:
        ValueError: the text is not an IP address.
    """
    # RFC 9260, 3.3.2.1.2: "A sender MUST NOT use an IPv4-mapped IPv6 address [RFC4291] but SHOULD instead use an IPv4
    # Address parameter for an IPv4 address."
    address = ip_address(normalize(ip))
    return IPv4Address(address.packed) if isinstance(address, IPv4) else IPv6Address(address.packed)


def ip_of(parameter: IPv4Address | IPv6Address) -> str:
    """Return the address that a parameter carries."""
    if isinstance(parameter, IPv4Address):
        return str(IPv4(parameter.address))
    return _text(IPv6(parameter.address))


def listed_addresses(parameters: Sequence[Parameter]) -> list[str]:
    """Return the IP addresses among the parameters of an INIT or INIT ACK, each once."""
    found = [ip_of(parameter) for parameter in parameters if isinstance(parameter, IPv4Address | IPv6Address)]
    return list(dict.fromkeys(found))


def address_type(ip: str) -> int:
    """Return the type of the parameter that carries this address."""
    return IPV6_ADDRESS if ":" in ip else IPV4_ADDRESS


def usable_addresses(
    parameters: Sequence[Parameter], source: TransportAddress | None, local: Sequence[str] = ()
) -> list[TransportAddress]:
    """Return the addresses of the sender of an INIT or INIT ACK: the packet's source, then those it lists.

    RFC 9260, 5.1.2, C: "the receiver MUST derive and record all the transport addresses from the received chunk AND the
    source IP address that sent the INIT or INIT ACK chunk." The listed ones get the UDP port of the source, as no other
    is known. Addresses that are not unicast are left out. So are loopback and link-local addresses when the packet came
    from farther away: from here they lead to another machine, perhaps our own.

    Args:
        parameters: the parameters of the INIT or INIT ACK.
        source: the address it came from, or None when that is not known; then there is no address.
        local: our own addresses, if there are several; addresses of other families are left out.
    """
    if source is None:
        return []
    addresses = [source]
    # RFC 9260, 5.1.2: "If an SCTP endpoint that only supports either IPv4 or IPv6 receives IPv4 and IPv6 addresses in
    # an INIT or INIT ACK chunk from its peer, it MUST use all the addresses belonging to the supported address family.
    # The other addresses MAY be ignored."
    types = {address_type(ip) for ip in (source[0], *local)}
    for ip in listed_addresses(parameters):
        ip = with_zone_of(source[0], ip)
        address = (ip, source[1])
        usable = address_type(ip) in types and leads_to_peer(ip, source)
        if usable and address not in addresses and len(addresses) < MAX_ADDRESSES:
            addresses.append(address)
    return addresses


def address_parameters(local: Sequence[str], parameters: Sequence[Parameter] | None) -> list[Parameter]:
    """Return our own addresses as parameters of INIT, or of the INIT ACK that answers an INIT with these parameters.

    RFC 9260, 3.3.2.1.5: Supported Address Types lists "all the address types it can support". An INIT ACK has only
    addresses of types that the peer named there or uses itself.
    """
    if parameters is None:
        types = tuple(sorted({address_type(ip) for ip in local}))
        announced: list[Parameter] = [SupportedAddressTypes(types)] if types else []
        return announced + [address_parameter(ip) for ip in local]
    supported: set[int] = set()
    for parameter in parameters:
        if isinstance(parameter, SupportedAddressTypes):
            supported.update(parameter.address_types)
    if supported:
        supported.update(address_type(ip) for ip in listed_addresses(parameters))
    return [address_parameter(ip) for ip in local if not supported or address_type(ip) in supported]


def leads_to_peer(ip: str, source: TransportAddress) -> bool:
    """Return whether an address listed by a peer at `source` can be that peer's, and not one of a host near us."""
    return is_unicast(ip) and _reach(ip) >= _reach(source[0])


def with_zone_of(source: str, ip: str) -> str:
    """Return an address that a packet lists: a link-local one belongs to the interface that the packet came in by."""
    zone = source.partition("%")[2]
    return f"{ip}%{zone}" if zone and _reach(ip) == 1 and ":" in ip else ip


def is_unicast(ip: str) -> bool:
    """Return whether this can be the address of one host."""
    address = ip_address(ip)
    return not (address.is_multicast or address.is_unspecified or ip == "255.255.255.255")


def _text(address: IPv4 | IPv6) -> str:
    if isinstance(address, IPv6) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def _reach(ip: str) -> int:
    """Return the scope of an address: 0 for the host itself, 1 for its link, 2 for everywhere."""
    address = ip_address(ip)
    if address.is_loopback:
        return 0
    return 1 if address.is_link_local else 2
