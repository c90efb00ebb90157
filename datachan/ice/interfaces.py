"""The addresses of this host that ICE can use: those of interfaces with a carrier."""

from __future__ import annotations

import ifaddr

from datachan.udp import has_carrier


def addresses_without_carrier() -> set[str]:
    """Return the addresses of interfaces without a link: an unplugged card, a bridge without members.

    A check from such an address gets no answer, and a question to a STUN server costs the whole gathering timeout.
    """
    unusable: set[str] = set()
    for adapter in ifaddr.get_adapters():
        if not has_carrier(adapter.name):
            unusable.update(ip.ip if isinstance(ip.ip, str) else ip.ip[0] for ip in adapter.ips)
    return unusable
