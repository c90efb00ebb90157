"""Knows which pages may use the server; knows headers as texts only."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from datachan.signaling.options import ServerOptions


def origin_is_allowed(origin: str | None, host: str, options: ServerOptions) -> bool:
    """Whether a request with these `Origin` and `Host` headers comes from our own page, a listed one, or no page.

    A program that is not a browser sends no Origin, and nothing is gained by asking it to make one up.
    The scheme is not compared: behind a proxy that speaks TLS the server sees http where the page sees https.
    """
    if origin is None or origin.lower() in options.allowed_origins:
        return True
    try:
        return bool(host) and urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def host_is_allowed(host: str, options: ServerOptions) -> bool:
    """Whether the server may answer under this `Host`: any, unless it is for this machine only."""
    if not options.loopback_only:
        return True
    name = _hostname(f"//{host}")
    return is_loopback(name or "") or name in {_hostname(origin) for origin in options.allowed_origins}


def is_loopback(host: str) -> bool:
    """Whether this name or address can only mean the machine itself."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def normalize_origin(text: str) -> str:
    """Return `scheme://host[:port]` in lower case.

    Raises:
        ValueError: It is no origin.
    """
    parts = urlsplit(text.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path not in {"", "/"} or parts.query:
        raise ValueError(f"an origin looks like https://example.org, not {text!r}")
    return f"{parts.scheme}://{parts.netloc}".lower()


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
