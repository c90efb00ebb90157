"""Decides which candidates of a stranger's offer the server checks; knows no socket.

Each candidate of an offer makes the server send connectivity checks to the address in it. A stranger could name the
address of a victim, a service on the server's own machine, or names that cost a multicast each.
"""

from __future__ import annotations

from typing import Final

from datachan.sdp import SdpError, parse_candidate_untrusted
from datachan.signaling.client_address import parse_address

MAX_CANDIDATES: Final = 10
"""Candidates of one offer that are checked. Each costs about 7 checks of 100 bytes when it does not answer."""

MAX_LOCAL_CANDIDATES: Final = 30
"""Candidates of one offer from this machine that are checked: a browser may have several for each of many interfaces.
Behind a proxy that is not trusted, every caller appears to be on this machine."""

MAX_NAMES: Final = 2
"""mDNS names of one offer that are resolved: browsers make up one for each of their interfaces."""


def without_unsafe_candidates(sdp: str, caller: str) -> str:
    """Return an offer without the candidates that the server does not check for this caller.

    A caller on this machine may name any addresses, but not many. For all others, addresses that only mean something on
    the server's own machine or link are removed: loopback, unspecified, link-local and multicast ones. mDNS names are
    kept only for a caller with a private address, because they resolve on a shared link only.

    Args:
        sdp: The offer.
        caller: The address that the offer came from.

    Returns:
        The offer, with at most `MAX_CANDIDATES` candidates, or `MAX_LOCAL_CANDIDATES` from this machine. Lines that are
        no candidates stay as they are.
    """
    address_of_caller = parse_address(caller)
    is_local = address_of_caller is not None and address_of_caller.is_loopback
    may_resolve = address_of_caller is not None and address_of_caller.is_private
    most = MAX_LOCAL_CANDIDATES if is_local else MAX_CANDIDATES
    kept: list[str] = []
    candidates = names = 0
    for line in sdp.splitlines(keepends=True):
        if line.startswith("a=candidate:"):
            address = _address_of(line)
            is_name = address.endswith(".local")
            if candidates == most or not (is_local or _may_check(address) or (is_name and may_resolve)):
                continue
            if is_name and names == MAX_NAMES and not is_local:
                continue
            candidates += 1
            names += is_name
        kept.append(line)
    return "".join(kept)


def _address_of(line: str) -> str:
    """Return the address of a candidate line in lower case; an empty string if the line cannot be read."""
    try:
        return parse_candidate_untrusted(line.strip()).address.lower()
    except SdpError:
        return ""


def _may_check(text: str) -> bool:
    address = parse_address(text)
    return address is not None and not (
        address.is_loopback or address.is_unspecified or address.is_link_local or address.is_multicast
    )
