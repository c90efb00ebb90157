"""An ICE candidate as a value and as the text of a=candidate; it knows no sockets, name resolution or pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from .errors import SdpError

MAX_CANDIDATE_LENGTH: Final = 2048
CANDIDATE_TYPES: Final = frozenset({"host", "srflx", "prflx", "relay"})
_ICE_CHARS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


@dataclass(frozen=True, slots=True, kw_only=True)
class IceCandidate:
    """One candidate (RFC 8839, section 5.1).

    Attributes:
        foundation: equal for candidates that freeze and unfreeze together.
        component: 1 for data channels, which have no second component.
        transport: "udp" or "tcp", lower case.
        priority: 1 to 2**31 - 1; the larger is preferred.
        address: an IPv4 or IPv6 address, or an mDNS or DNS name.
        port: the port, 0 to 65535.
        type: "host", "srflx", "prflx" or "relay".
        related_address: for srflx, prflx and relay, the address that the candidate was derived from.
        related_port: the port of the related address.
        tcp_type: "active", "passive" or "so" for TCP candidates (RFC 6544).
        extensions: names and values after the fixed part that this package does not interpret.
    """

    foundation: str
    component: int = 1
    transport: str = "udp"
    priority: int
    address: str
    port: int
    type: str
    related_address: str | None = None
    related_port: int | None = None
    tcp_type: str | None = None
    extensions: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def username_fragment(self) -> str | None:
        """The ufrag of the ICE generation the candidate belongs to, if it is stated (RFC 8838, section 11)."""
        return self.extensions.get("ufrag")

    @property
    def is_mdns(self) -> bool:
        """Whether the address is an mDNS name in place of the real address."""
        return self.address.lower().endswith(".local")

    @property
    def usable(self) -> bool:
        """Whether this stack can check the candidate: UDP or passive TCP, component 1, a known type."""
        reachable = self.transport == "udp" or (self.transport == "tcp" and self.tcp_type == "passive")
        return reachable and self.component == 1 and self.type in CANDIDATE_TYPES

    def __str__(self) -> str:
        return format_candidate(self)


def format_candidate(candidate: IceCandidate) -> str:
    """Return the candidate as ``candidate:…``, without ``a=``."""
    parts = [
        f"candidate:{candidate.foundation}",
        str(candidate.component),
        candidate.transport,
        str(candidate.priority),
        candidate.address,
        str(candidate.port),
        "typ",
        candidate.type,
    ]
    if candidate.related_address is not None:
        parts += ["raddr", candidate.related_address, "rport", str(candidate.related_port or 0)]
    if candidate.tcp_type is not None:
        parts += ["tcptype", candidate.tcp_type]
    for name, value in candidate.extensions.items():
        parts += [name, value]
    return " ".join(parts)


def parse_candidate_untrusted(text: str) -> IceCandidate:
    """Read ``candidate:…``, with or without ``a=`` before it.

    Candidates with an unknown transport or type are accepted; `IceCandidate.usable` is False for them.

    Raises:
        SdpError: the text does not follow the grammar of RFC 8839, section 5.1.
    """
    if len(text) > MAX_CANDIDATE_LENGTH:
        raise SdpError(f"the candidate has {len(text)} characters, more than {MAX_CANDIDATE_LENGTH}")
    body = text.strip().removeprefix("a=")
    if not body.startswith("candidate:"):
        raise SdpError(f"a candidate must start with 'candidate:', not {_shown(text)}")
    words = body.removeprefix("candidate:").split()
    if len(words) < 8 or words[6] != "typ":
        raise SdpError(
            "a candidate needs foundation, component, transport, priority, address, port and 'typ' with a type, "
            f"not {_shown(text)}"
        )
    extras = _pairs(words[8:])
    related_port = extras.pop("rport", None)
    return IceCandidate(
        foundation=_foundation(words[0]),
        component=_number(words[1], "component", 1, 256),
        transport=words[2].lower(),
        priority=_number(words[3], "priority", 0, 2**32 - 1),
        address=_address(words[4]),
        port=_number(words[5], "port", 0, 65535),
        type=words[7].lower(),
        related_address=extras.pop("raddr", None),
        related_port=None if related_port is None else _number(related_port, "rport", 0, 65535),
        tcp_type=extras.pop("tcptype", None),
        extensions=extras,
    )


def _pairs(words: list[str]) -> dict[str, str]:
    # RFC 8839, 5.1: "extension-att-name SP extension-att-value". A name without a value is ignored.
    return dict(zip(words[0::2], words[1::2], strict=False))


def _foundation(word: str) -> str:
    if not 1 <= len(word) <= 32 or not _ICE_CHARS.issuperset(word):
        raise SdpError(f"a candidate's foundation is 1 to 32 letters, digits, + or /, not {_shown(word)}")
    return word


def _address(word: str) -> str:
    if len(word) > 255 or not word.isascii() or not word.isprintable():
        raise SdpError(f"a candidate's address is an IP address or a host name, not {_shown(word)}")
    return word


def _number(word: str, what: str, low: int, high: int) -> int:
    if not (word.isascii() and word.isdigit() and len(word) <= 10 and low <= int(word) <= high):
        raise SdpError(f"a candidate's {what} is a number from {low} to {high}, not {_shown(word)}")
    return int(word)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")
