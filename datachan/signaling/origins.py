"""Knows which pages may use the server; knows headers as text only."""

from __future__ import annotations

import ipaddress
from typing import Final, Protocol
from urllib.parse import urlsplit

PAGE_HEADER: Final = "X-Datachan"
"""A header of the server's own page and of programs. For a page of another origin it takes a preflight request."""


class OriginOptions(Protocol):
    """The options that decide."""

    @property
    def allowed_origins(self) -> frozenset[str]:
        """Origins whose pages may use the server, besides its own."""

    @property
    def loopback_only(self) -> bool:
        """Whether to answer only requests whose Host is a loopback name or belongs to an allowed origin."""


def origin_is_allowed(origin: str | None, host: str, options: OriginOptions) -> bool:
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


def host_is_allowed(host: str, options: OriginOptions) -> bool:
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


def wrong_host(host: str, option: str) -> str:
    """Return what to do about a request for a host that a server on this machine does not answer for.

    Args:
        host: The `Host` of the request.
        option: What allows another origin, such as "--allow-origin".
    """
    name = host[:100]
    return (
        f"This server answers on this machine only, and not for {name}: open http://127.0.0.1 here. "
        f"Behind a proxy, start it with {option} https://{name}."
    )
