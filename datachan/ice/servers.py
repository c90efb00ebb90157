"""Parses the URLs of STUN and TURN servers (RFC 7064, RFC 7065); it sends nothing to a server."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

# Underscores are not allowed in host names, but some have them.
_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_DEFAULT_PORTS: Final = {"stun": 3478, "stuns": 5349, "turn": 3478, "turns": 5349}


@dataclass(frozen=True)
class IceServer:
    """One entry of RTCConfiguration.iceServers.

    Args:
        urls: `stun:host[:port]`, `turn:host[:port][?transport=udp|tcp]` or `turns:…`; all of them are used.
        username: the username for TURN.
        credential: the password for TURN.
    """

    urls: tuple[str, ...]
    username: str | None = None
    credential: str | None = None


@dataclass(frozen=True)
class ServerAddress:
    """One server, as described by its URL and credentials.

    Attributes:
        is_turn: whether it is a TURN server rather than a STUN server.
        secure: whether the connection uses TLS (`turns:`, `stuns:`).
        transport: "udp" or "tcp", between us and the server.
    """

    url: str
    is_turn: bool
    secure: bool
    host: str
    port: int
    transport: str
    username: str | None = None
    credential: str | None = None

    @property
    def protocol(self) -> str:
        """The protocol between us and the server: W3C's RTCIceServerTransportProtocol, "udp", "tcp" or "tls"."""
        return "tls" if self.secure else self.transport


def parse_server_url(url: str, username: str | None = None, credential: str | None = None) -> ServerAddress:
    """Parse a `stun:`, `stuns:`, `turn:` or `turns:` URL.

    Raises:
        ValueError: the URL is malformed, or the credentials of a TURN server are missing.
    """
    scheme, colon, rest = url.partition(":")
    scheme = scheme.lower()
    if not colon or scheme not in _DEFAULT_PORTS:
        raise ValueError(f"an ICE server's URL starts with stun:, stuns:, turn: or turns:, not {url!r}")
    is_turn = scheme.startswith("turn")
    secure = scheme.endswith("s")
    authority, _, query = rest.partition("?")
    host, port = _host_and_port(authority, _DEFAULT_PORTS[scheme], url)
    transport = _transport(query, "tcp" if secure else "udp", url, is_turn=is_turn)
    if is_turn and (username is None or credential is None):
        raise ValueError(f"a TURN server needs a username and a credential: {url!r}")
    return ServerAddress(url, is_turn, secure, host, port, transport, username, credential)


def server_addresses(servers: Sequence[IceServer]) -> list[ServerAddress]:
    """Return all servers of a configuration, in its order. Raises ValueError as `parse_server_url` does."""
    return list(_addresses(servers))


def _addresses(servers: Sequence[IceServer]) -> Iterator[ServerAddress]:
    for server in servers:
        for url in server.urls:
            yield parse_server_url(url, server.username, server.credential)


def _host_and_port(authority: str, default: int, url: str) -> tuple[str, int]:
    if authority.startswith("["):
        host, bracket, tail = authority[1:].partition("]")
        port_text = tail.removeprefix(":")
        malformed = not bracket or (tail != "" and not tail.startswith(":"))
    else:
        host, _, port_text = authority.partition(":")
        malformed = False
    if malformed or not _is_host(host, bracketed=authority.startswith("[")):
        raise ValueError(f"no host name or address in {url!r}")
    if not port_text:
        return host, default
    if not (port_text.isascii() and port_text.isdigit() and len(port_text) <= 5 and 0 < int(port_text) <= 0xFFFF):
        raise ValueError(f"no port number in {url!r}")
    return host, int(port_text)


def _is_host(text: str, *, bracketed: bool) -> bool:
    """Return whether a text is an IPv6 address (in brackets), an IPv4 address or a host name."""
    last_label = text.rstrip(".").rpartition(".")[2]
    try:
        if bracketed:
            ipaddress.IPv6Address(text)
        elif last_label.isascii() and last_label.isdigit():
            ipaddress.IPv4Address(text)
        else:
            return len(text) <= 253 and all(map(_LABEL.fullmatch, text.removesuffix(".").split(".")))
    except ValueError:
        return False
    return True


def _transport(query: str, default: str, url: str, *, is_turn: bool) -> str:
    if not query:
        return default
    name, _, value = query.partition("=")
    if not is_turn or name != "transport" or value.lower() not in ("udp", "tcp"):
        raise ValueError(f"a TURN URL may end in ?transport=udp or ?transport=tcp, nothing else may: {url!r}")
    return value.lower()
