"""Knows which pages may use the server; knows headers as text only."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from datachan.signaling.server_options import ServerOptions


def origin_is_allowed(origin: str | None, host: str, options: ServerOptions) -> bool:
    """Return whether these `Origin` and `Host` headers are from the server's own page, an allowed origin or no page.

    A program that is not a browser sends no Origin. The scheme is not compared: behind a proxy that terminates TLS the
    server sees http where the page sees https.
    """
    if origin is None or origin.lower() in options.allowed_origins:
        return True
    try:
        return bool(host) and urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def host_is_allowed(host: str, options: ServerOptions) -> bool:
    """Return whether to answer a request with this `Host`: any name, unless the server serves this machine only."""
    if not options.loopback_only:
        return True
    name = _hostname(f"//{host}")
    return is_loopback(name or "") or name in {_hostname(origin) for origin in options.allowed_origins}


def is_loopback(host: str) -> bool:
    """Return whether this name or address always means this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def normalize_origin(text: str) -> str:
    """Return `scheme://host[:port]` in lower case.

    Raises:
        ValueError: The text is not an origin.
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
