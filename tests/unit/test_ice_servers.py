"""STUN and TURN URLs: the examples of RFC 7064 and RFC 7065, and malformed ones."""

from __future__ import annotations

import pytest

from datachan.ice.servers import IceServer, parse_server_url, server_addresses


@pytest.mark.parametrize(
    ("url", "host", "port", "transport", "secure"),
    [
        ("stun:example.org", "example.org", 3478, "udp", False),
        ("stun:example.org:8000", "example.org", 8000, "udp", False),
        ("stuns:example.org", "example.org", 5349, "tcp", True),
        ("stun:example.org:", "example.org", 3478, "udp", False),
        ("STUN:192.0.2.1", "192.0.2.1", 3478, "udp", False),
        ("stun:[2001:db8::1]:99", "2001:db8::1", 99, "udp", False),
        ("turn:[2001:db8::1]", "2001:db8::1", 3478, "udp", False),
        ("turn:example.org", "example.org", 3478, "udp", False),
        ("turn:example.org:8000?transport=udp", "example.org", 8000, "udp", False),
        ("turn:example.org?transport=tcp", "example.org", 3478, "tcp", False),
        ("turns:example.org", "example.org", 5349, "tcp", True),
        ("turns:example.org?transport=TCP", "example.org", 5349, "tcp", True),
    ],
)
def test_parses_a_url(url: str, host: str, port: int, transport: str, secure: bool) -> None:
    server = parse_server_url(url, "user", "secret")
    assert (server.host, server.port, server.transport, server.secure) == (host, port, transport, secure)
    assert server.is_turn == url.lower().startswith("turn")
    assert (server.username, server.credential) == ("user", "secret")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "http://example.org",
        "stun:",
        "stun://example.org",
        "turn:user@example.org",
        "stun:example.org:0",
        "stun:example.org:65536",
        "stun:example.org:port",
        "stun:[2001:db8::1",
        "stun:[2001:db8::1]x",
        "stun:exämple.org",
        "stun:example.org?transport=udp",
        "turn:example.org?transport=sctp",
        "turn:example.org?foo=udp",
    ],
)
def test_rejects_other_urls(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|host name|port number|transport"):
        parse_server_url(url, "user", "secret")


def test_turn_needs_credentials() -> None:
    with pytest.raises(ValueError, match="username and a credential"):
        parse_server_url("turn:example.org")


def test_returns_all_urls_of_all_servers_in_order() -> None:
    servers = [IceServer(("stun:a", "turn:b"), "u", "p"), IceServer(("stun:c",))]
    assert [server.host for server in server_addresses(servers)] == ["a", "b", "c"]
