"""IP addresses between the forms of the system and of the engine: an IPv6 link-local address has a scope.

The system gives the scope as the number of an interface in a tuple of four. The engine writes an address as text, with
the name of the interface behind it: "fe80::1%eth0".
"""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv6Address, ip_address

from datachan.sctp.addresses import TransportAddress, normalize
from datachan.udp import Address as SystemAddress
from datachan.udp import with_scope_id


def to_engine(address: SystemAddress) -> TransportAddress:
    """Return an address of the system in the form of the engine."""
    host: str = address[0]
    port: int = address[1]
    scope: int = address[3] if len(address) > 3 else 0
    return normalize(f"{host}%{_interface_name(scope)}" if scope and "%" not in host else host), port


def to_system(address: TransportAddress, *, six: bool) -> SystemAddress:
    """Return an address of the engine in the form of the system.

    Args:
        address: an IP address and a port.
        six: whether it is for an IPv6 socket, which takes IPv4 addresses mapped into IPv6.
    """
    host, port = address
    return (f"::ffff:{host}", port) if six and ":" not in host else with_scope_id(address)


def with_scope(host: str, scope: int = 0) -> str:
    """Return a numeric host in the form of the engine.

    Args:
        host: an IP address, with or without a scope.
        scope: the number of the interface of a link-local address, 0 for none.

    Raises:
        ValueError: the host is no IP address.
        OSError: a link-local address has no scope, or there is no such interface.
    """
    host, _, zone = host.partition("%")
    address = ip_address(host)
    if not isinstance(address, IPv6Address) or not address.is_link_local:
        return normalize(host)
    number = _interface_number(zone) if zone else scope
    if not number:
        problem = f"there is no interface {zone}" if zone else f'it needs its interface, as in "{host}%eth0"'
        raise OSError(errno.EINVAL, f"{host} is link-local: {problem}")
    return f"{normalize(host)}%{_interface_name(number)}"


def numeric_host(address: SystemAddress) -> str:
    """Return the host of an address that a program gave, in the form of the engine.

    Args:
        address: (host, port), or (host, port, flow information, scope id) as getaddrinfo returns it.

    Raises:
        OSError: the host is no IP address, or a link-local address without an interface.
    """
    try:
        return with_scope(address[0], address[3] if len(address) > 3 else 0)
    except ValueError:
        raise OSError(errno.EINVAL, f"{address[0]!r} is no IP address") from None


def _interface_name(number: int) -> str:
    """Return the name of an interface; its number as text if it has gone, or its name is not ASCII."""
    try:
        name = socket.if_indextoname(number)
    except (OSError, OverflowError):
        return str(number)
    return name if name.isascii() and name.isprintable() else str(number)


def _interface_number(name: str) -> int:
    """Return the number of an interface, 0 if there is none of that name."""
    if name.isascii() and name.isdigit():
        return int(name)
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0
