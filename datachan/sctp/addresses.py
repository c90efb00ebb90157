"""Transport addresses as values: the addresses of INIT and INIT ACK, and which of them may be used.

A transport address here is where a UDP datagram goes (RFC 6951): an IP address and a UDP port. The SCTP ports are those
of the association, the same at every address. It sends nothing and resolves no names.
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
"""To bind to, every address of this host. In an ASCONF they mean the source address of the packet: to be added or made
primary; or all but that one, to be deleted."""

MAX_ADDRESSES: Final = 16
"""Addresses of one peer. More than these are ignored: each costs memory, heartbeats and room in the State Cookie."""


def normalize(ip: str) -> str:
    """The one way to write an IP address; an IPv4 address mapped into IPv6 becomes IPv4 again.

    Raises:
        ValueError: it is no IP address.
    """
    return _text(ip_address(ip))


def address_parameter(ip: str) -> IPv4Address | IPv6Address:
    """The parameter that carries this address (RFC 9260, sections 3.3.2.1.1 and 3.3.2.1.2).

    Raises:
        ValueError: it is no IP address.
    """
    # RFC 9260, 3.3.2.1.2: "A sender MUST NOT use an IPv4-mapped IPv6 address [RFC4291] but SHOULD instead use an IPv4
    # Address parameter for an IPv4 address."
    address = ip_address(normalize(ip))
    return IPv4Address(address.packed) if isinstance(address, IPv4) else IPv6Address(address.packed)


def ip_of(parameter: IPv4Address | IPv6Address) -> str:
    """The address a parameter carries."""
    if isinstance(parameter, IPv4Address):
        return str(IPv4(parameter.address))
    return _text(IPv6(parameter.address))


def listed_addresses(parameters: Sequence[Parameter]) -> list[str]:
    """The IP addresses among the parameters of an INIT or INIT ACK, each once."""
    found = [ip_of(parameter) for parameter in parameters if isinstance(parameter, IPv4Address | IPv6Address)]
    return list(dict.fromkeys(found))


def address_type(ip: str) -> int:
    """The type of the parameter that carries this address."""
    return IPV6_ADDRESS if ":" in ip else IPV4_ADDRESS


def usable_addresses(
    parameters: Sequence[Parameter], source: TransportAddress | None, local: Sequence[str] = ()
) -> list[TransportAddress]:
    """Where the sender of an INIT or INIT ACK can be reached: where the packet came from, then what it lists.

    RFC 9260, 5.1.2, C: "the receiver MUST derive and record all the transport addresses from the received chunk AND the
    source IP address that sent the INIT or INIT ACK chunk." The listed ones have the UDP port the packet came from, for
    there is no other to know of. Those that no unicast packet should go to are left out, and so are loopback and
    link-local addresses when the packet came from farther away: there they mean another machine, maybe our own.

    Args:
        parameters: those of the INIT or INIT ACK.
        source: where it came from, or None when that is not known: then there is no address.
        local: our own addresses, if there are several: what is of another family is left out.
    """
    if source is None:
        return []
    addresses = [source]
    # RFC 9260, 5.1.2: "If an SCTP endpoint that only supports either IPv4 or IPv6 receives IPv4 and IPv6 addresses in
    # an INIT or INIT ACK chunk from its peer, it MUST use all the addresses belonging to the supported address family.
    # The other addresses MAY be ignored."
    types = {address_type(ip) for ip in (source[0], *local)}
    for ip in listed_addresses(parameters):
        address = (ip, source[1])
        usable = address_type(ip) in types and leads_to_peer(ip, source)
        if usable and address not in addresses and len(addresses) < MAX_ADDRESSES:
            addresses.append(address)
    return addresses


def to_announce(local: Sequence[str], parameters: Sequence[Parameter] | None) -> list[Parameter]:
    """Our own addresses, as parameters of INIT, or of the INIT ACK that answers an INIT with these parameters.

    RFC 9260, 3.3.2.1.5: Supported Address Types lists "all the address types it can support". An INIT ACK has none of a
    type the peer did not name there, unless it lists an address of that type itself.
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
    """Whether an address that a peer at `source` calls its own may lead there, and not somewhere near to us."""
    return is_unicast(ip) and _reach(ip) >= _reach(source[0])


def is_unicast(ip: str) -> bool:
    """Whether one host may have this address."""
    address = ip_address(ip)
    return not (address.is_multicast or address.is_unspecified or ip == "255.255.255.255")


def _text(address: IPv4 | IPv6) -> str:
    if isinstance(address, IPv6) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def _reach(ip: str) -> int:
    """How far from its host an address means that host."""
    address = ip_address(ip)
    if address.is_loopback:
        return 0
    return 1 if address.is_link_local else 2
