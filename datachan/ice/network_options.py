"""What the application chooses about our side of the network, beside servers and ports; values only."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from datachan.ice.tcp_links import TcpMux
from datachan.ice.turn_connection import HttpProxy
from datachan.ice.udp_mux import UdpMux
from datachan.name_lookup import look_up


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOptions:
    """Choices about our side of the network.

    Attributes:
        exclude_interfaces: names of interfaces, in which * stands for any text, and kinds, that give no candidates.
        announced_addresses: addresses, or host names of them, to signal instead of our own.
        udp_mux: the UDP port to share with other connections, instead of sockets of our own.
        tcp_mux: the TCP port on which the peer may connect.
        connects_by_tcp: whether to connect to the peer's passive TCP candidates.
        proxy: the HTTP proxy for TURN over TCP and TLS.
    """

    exclude_interfaces: Sequence[str] = ()
    announced_addresses: Sequence[str] = ()
    udp_mux: UdpMux | None = None
    tcp_mux: TcpMux | None = None
    connects_by_tcp: bool = True
    proxy: HttpProxy | None = None


async def resolve_announced(announced: Sequence[str], seconds: float) -> tuple[list[str], list[str]]:
    """Return the addresses to announce, and a clause for each name that has none within these seconds."""
    addresses: list[str] = []
    problems: list[str] = []
    for one in announced:
        try:
            addresses.append(str(ipaddress.ip_address(one)))
            continue
        except ValueError:
            pass
        try:
            async with asyncio.timeout(seconds):
                addresses += [str(found[0]) for found in await look_up(one, 0)]
        except (OSError, UnicodeError, TimeoutError) as error:
            problems.append(f"announcedAddresses: {one} has no address ({error or 'no answer'})")
    return list(dict.fromkeys(addresses)), problems
