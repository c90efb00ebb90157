"""Reads the interfaces and addresses of this network namespace from Linux (rtnetlink); it ranks and chooses nothing."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

# linux/rtnetlink.h, linux/netlink.h; the socket module has no names for them.
_RTM_NEWLINK: Final = 16
_RTM_GETLINK: Final = 18
_RTM_NEWADDR: Final = 20
_RTM_GETADDR: Final = 22
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_DUMP: Final = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_GROUPS: Final = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
_IFLA_IFNAME: Final = 3
_IFLA_MASTER: Final = 10
_IFLA_LINKINFO: Final = 18
_IFLA_INFO_KIND: Final = 1
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_FLAGS: Final = 8
_IFA_F_TEMPORARY: Final = 0x01
_IFA_F_OPTIMISTIC: Final = 0x04
_IFA_F_DADFAILED: Final = 0x08
_IFA_F_TENTATIVE: Final = 0x40
_IFF_RUNNING: Final = 0x40
# linux/if_arp.h: PPP; and NONE, which TUN devices and WireGuard have.
_TUNNEL_HARDWARE: Final = frozenset({512, 0xFFFE})
_NETLINK_HEADER: Final = struct.Struct("=IHHII")
_LINK: Final = struct.Struct("=BBHiII")
_ADDRESS: Final = struct.Struct("=BBBBI")
_ATTRIBUTE: Final = struct.Struct("=HH")
_READ: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Link:
    """An interface.

    Attributes:
        name: its name.
        running: whether it is up and has a carrier.
        driver: the kind that Linux gives virtual interfaces, such as "bridge"; "" for a card.
        port: whether it is a port of a bridge, as the interfaces of virtual machines and containers are.
        tunnel: whether its packets have no link-layer addresses, as those of a VPN.
    """

    name: str
    running: bool
    driver: str
    port: bool
    tunnel: bool


@dataclass(frozen=True, slots=True)
class LinkAddress:
    """An address of an interface.

    Attributes:
        link: its interface.
        address: the address, without a zone.
        prefix_length: the length of its network's prefix, in bits.
        temporary: whether it is a temporary IPv6 address, which hides the host (RFC 8981).
        tentative: whether it cannot be bound to yet, because duplicate address detection has not ended.
    """

    link: Link
    address: str
    prefix_length: int
    temporary: bool
    tentative: bool


def read_addresses() -> list[LinkAddress]:
    """Return the addresses of all interfaces. Raises OSError when Linux does not answer."""
    links: dict[int, Link] = {}
    for body in _dump(_RTM_GETLINK, _RTM_NEWLINK):
        _, _, hardware, index, flags, _ = _LINK.unpack_from(body)
        found = dict(_attributes(body[_LINK.size :]))
        name = found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
        nested = dict(_attributes(found.get(_IFLA_LINKINFO, b"")))
        driver = nested.get(_IFLA_INFO_KIND, b"").rstrip(b"\0").decode(errors="replace")
        links[index] = Link(
            name, bool(flags & _IFF_RUNNING), driver, _IFLA_MASTER in found, hardware in _TUNNEL_HARDWARE
        )
    return [
        _address(links[index], body)
        for body in _dump(_RTM_GETADDR, _RTM_NEWADDR)
        if (index := _ADDRESS.unpack_from(body)[4]) in links
    ]


def _address(link: Link, body: bytes) -> LinkAddress:
    _, prefix_length, flags, _, _ = _ADDRESS.unpack_from(body)
    found = dict(_attributes(body[_ADDRESS.size :]))
    # Between two ends of a link, ADDRESS is that of the other end.
    packed = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS, b"")
    if _IFA_FLAGS in found:
        flags = int.from_bytes(found[_IFA_FLAGS], sys.byteorder)
    waits = bool(flags & _IFA_F_TENTATIVE) and not flags & _IFA_F_OPTIMISTIC
    return LinkAddress(
        link=link,
        address=str(ip_address(packed)),
        prefix_length=prefix_length,
        temporary=len(packed) == 16 and bool(flags & _IFA_F_TEMPORARY),  # IPv4: the flag means "secondary"
        tentative=waits or bool(flags & _IFA_F_DADFAILED),
    )


def change_notices() -> socket.socket:
    """Return a non-blocking socket that becomes readable when an interface or an address changes. Raises OSError."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    try:
        sock.bind((0, _GROUPS))
    except BaseException:
        sock.close()
        raise
    return sock


def drain(notices: socket.socket) -> None:
    """Discard all notices: the caller reads all addresses again."""
    try:
        while notices.recv(_READ):
            pass
    except OSError:  # no more; or too many at once (ENOBUFS), which are notices, too
        return


def _dump(request: int, wanted: int) -> Iterator[bytes]:
    """Yield the bodies of the messages of one type that answer a request for everything."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as sock:
        sock.settimeout(1.0)
        # struct rtgenmsg: any family; the kernel takes a whole ifinfomsg as well.
        body = bytes(_LINK.size)
        sock.send(_NETLINK_HEADER.pack(_NETLINK_HEADER.size + len(body), request, _DUMP, 1, 0) + body)
        while True:
            data = sock.recv(_READ)
            at = 0
            while at + _NETLINK_HEADER.size <= len(data):
                length, kind, *_ = _NETLINK_HEADER.unpack_from(data, at)
                if kind == _NLMSG_DONE or length < _NETLINK_HEADER.size:
                    return
                if kind == _NLMSG_ERROR:
                    raise OSError("the kernel refuses to list interfaces")
                if kind == wanted:
                    yield data[at + _NETLINK_HEADER.size : at + length]
                at += (length + 3) & ~3


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
