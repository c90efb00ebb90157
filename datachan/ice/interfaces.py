"""Chooses the addresses of this host for candidates and ranks them; it opens no socket to a peer.

The interface that carries the default route comes first. An interface without a carrier, or that the application
excludes, gives no address, and what is left out is said with the reason.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

import ifaddr

from datachan.ice.rtnetlink import LinkAddress, read_addresses
from datachan.udp import has_carrier, source_of_default_route

# 64 addresses on each side make more pairs than may be checked (RFC 8445, 6.1.2.5).
MAX_ADDRESSES: Final = 32
KINDS: Final = ("loopback", "bridge", "vpn", "link-local")
# What Linux calls the drivers of virtual interfaces.
_BRIDGE_DRIVERS: Final = frozenset({"bridge", "macvlan", "ipvlan", "openvswitch"})
_VPN_DRIVERS: Final = frozenset({"tun", "wireguard", "ipip", "gre", "sit", "xfrm", "vti", "l2tp", "ppp"})
# Where the system does not say what an interface is, its name does.
_BRIDGE_NAMES: Final = ("docker*", "br-*", "bridge*", "virbr*", "lxcbr*", "lxdbr*", "vmnet*", "vboxnet*", "vethernet*")
_VPN_NAMES: Final = ("tun*", "tap*", "utun*", "wg*", "ppp*", "ipsec*", "tailscale*", "zt*")


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """An address of this host.

    Attributes:
        address: the address; a link-local one of IPv6 has its interface behind it: "fe80::1%eth0".
        interface: the name of the interface.
        kinds: those of `KINDS` that apply.
        running: whether the interface has a carrier.
        prefix_length: the length of the prefix of its network, in bits.
        temporary: whether it is a temporary IPv6 address (RFC 8981).
        tentative: whether it cannot be bound to yet.
    """

    address: str
    interface: str
    kinds: frozenset[str] = frozenset()
    running: bool = True
    prefix_length: int = 64
    temporary: bool = False
    tentative: bool = False


@dataclass(frozen=True, slots=True)
class ChosenAddresses:
    """The addresses for host candidates.

    Attributes:
        addresses: in the order of preference.
        left_out: each address that is not used, and why.
    """

    addresses: tuple[InterfaceAddress, ...]
    left_out: tuple[tuple[InterfaceAddress, str], ...]

    def describe_left_out(self) -> list[str]:
        """Return a clause for each reason, with at most four addresses each."""
        by_reason: dict[str, list[str]] = {}
        for one, reason in self.left_out:
            by_reason.setdefault(reason, []).append(f"{one.address} ({one.interface})")
        return [f"{_shortened(names)}: {reason}" for reason, names in by_reason.items()]


def host_addresses() -> list[InterfaceAddress]:
    """Return all addresses of this host, of every kind."""
    if sys.platform == "linux":
        try:
            return [_from_linux(one) for one in read_addresses()]
        except OSError:  # a sandbox may forbid netlink sockets
            pass
    return list(_from_system())


def _from_linux(one: LinkAddress) -> InterfaceAddress:
    link, parsed = one.link, ip_address(one.address)
    kinds = set(_kinds_of_address(one.address))
    if link.driver in _BRIDGE_DRIVERS or link.port:
        kinds.add("bridge")
    if link.driver in _VPN_DRIVERS or link.tunnel:
        kinds.add("vpn")
    scoped = isinstance(parsed, IPv6Address) and parsed.is_link_local
    return InterfaceAddress(
        address=f"{one.address}%{link.name}" if scoped else one.address,
        interface=link.name,
        kinds=frozenset(kinds),
        running=link.running,
        prefix_length=one.prefix_length,
        temporary=one.temporary,
        tentative=one.tentative,
    )


def _from_system() -> Iterable[InterfaceAddress]:
    for adapter in ifaddr.get_adapters():
        name = adapter.nice_name if sys.platform == "win32" else adapter.name
        running = has_carrier(adapter.name)
        lowered = name.lower()
        kinds = {"bridge"} if any(fnmatchcase(lowered, pattern) for pattern in _BRIDGE_NAMES) else set()
        if any(fnmatchcase(lowered, pattern) for pattern in _VPN_NAMES):
            kinds.add("vpn")
        for ip in adapter.ips:
            text = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            own = frozenset(kinds.union(_kinds_of_address(text)))
            scope = ip.ip[2] if not isinstance(ip.ip, str) else 0
            scoped = f"{text}%{scope}" if scope and "link-local" in own else text
            yield InterfaceAddress(scoped, name, own, running, ip.network_prefix)


def _kinds_of_address(text: str) -> Iterable[str]:
    parsed = ip_address(text.partition("%")[0])
    if parsed.is_loopback:
        yield "loopback"
    if parsed.is_link_local:
        yield "link-local"


def check_exclusions(patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the patterns of `excludeInterfaces` after checking them. Raises ValueError."""
    if isinstance(patterns, str) or not all(isinstance(one, str) and one for one in patterns):
        raise ValueError(f"it is a list of names such as docker*, and of kinds: {', '.join(KINDS)}")
    return tuple(patterns)


def choose_addresses(
    addresses: Iterable[InterfaceAddress], *, exclude: Sequence[str] = (), default_sources: Sequence[str] = ()
) -> ChosenAddresses:
    """Choose and rank the addresses for host candidates; loopback addresses are for the caller to add.

    Args:
        addresses: all addresses of the host.
        exclude: names of interfaces, in which * stands for any text, and kinds of `KINDS`.
        default_sources: the addresses that packets to the Internet come from.
    """
    given = list(addresses)
    chosen: list[InterfaceAddress] = []
    left_out: list[tuple[InterfaceAddress, str]] = []
    for one in given:
        reason = _reason_against(one, given, exclude)
        if reason is None:
            chosen.append(one)
        elif reason:
            left_out.append((one, reason))
    carrying = {one.interface for one in chosen if one.address in default_sources}
    chosen.sort(key=lambda one: (one.address not in default_sources, one.interface not in carrying, len(one.kinds)))
    ranked = _interleaved(chosen)
    too_many = f"only {MAX_ADDRESSES} addresses are used; hostAddresses chooses others"
    left_out += [(one, too_many) for one in ranked[MAX_ADDRESSES:]]
    return ChosenAddresses(tuple(ranked[:MAX_ADDRESSES]), tuple(left_out))


def usable_addresses(exclude: Sequence[str] = ()) -> ChosenAddresses:
    """Return the addresses of this host for host candidates, ranked by route, as `choose_addresses` does."""
    sources = [source_of_default_route(family) for family in (socket.AF_INET6, socket.AF_INET)]
    return choose_addresses(
        host_addresses(), exclude=exclude, default_sources=[source for source in sources if source is not None]
    )


def _reason_against(one: InterfaceAddress, given: Sequence[InterfaceAddress], exclude: Sequence[str]) -> str | None:
    """Return why an address gives no candidate: "" if there is nothing to say about it; None if it gives one."""
    for pattern in exclude:
        if pattern in one.kinds or fnmatchcase(one.interface, pattern):
            return f"excludeInterfaces has {pattern}"
    if "loopback" in one.kinds:
        # RFC 8445, 5.1.1.1: "Addresses from a loopback interface MUST NOT be included in the candidate addresses."
        return ""
    if not one.running:
        return "the interface has no carrier"
    others = [other for other in given if other.interface == one.interface and other is not one]
    if "link-local" in one.kinds and (
        "bridge" in one.kinds or any("link-local" not in other.kinds for other in others)
    ):
        return ""  # the other addresses, of the interface or of its bridge, reach more
    if one.tentative:
        return "the address is not usable yet"
    if _shows_the_host(one, others):
        return "a temporary address hides this one"
    return None


def _shows_the_host(one: InterfaceAddress, others: Sequence[InterfaceAddress]) -> bool:
    """Return whether a temporary address of the same network replaces an address.

    RFC 8445, 5.1.1.1: "If gathering one or more host candidates that correspond to an IPv6 address that was generated
    using a mechanism that prevents location tracking [RFC7721], host candidates that correspond to IPv6 addresses that
    do allow location tracking, are configured on the same interface, and are part of the same network prefix MUST NOT
    be gathered."
    """
    if one.temporary or ":" not in one.address or "link-local" in one.kinds:
        return False
    network = ip_network(f"{one.address}/{one.prefix_length}", strict=False)
    return any(
        other.temporary and not other.tentative and ip_address(other.address.partition("%")[0]) in network
        for other in others
    )


def _interleaved(ranked: Sequence[InterfaceAddress]) -> list[InterfaceAddress]:
    """Return IPv6 and IPv4 addresses in turns, IPv6 first (RFC 8421, 4), so that neither waits for all of the other."""
    six = [one for one in ranked if ":" in one.address]
    four = [one for one in ranked if ":" not in one.address]
    mixed: list[InterfaceAddress] = []
    for index in range(max(len(six), len(four))):
        mixed += six[index : index + 1] + four[index : index + 1]
    return mixed


def _shortened(names: Sequence[str]) -> str:
    """Return the first four names, and how many others there are."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
