"""Tokens by which the server recognizes its own page behind any proxy; knows no request: key and time are given.

A page of another origin can open a WebSocket to the server, and behind some proxies its `Origin` cannot be compared
with `Host`. But it cannot read /config.json, which has the token. A token counts only for the address it was issued
to: a stranger cannot fetch one for the visitors of his page.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

LIFETIME: Final = 300.0
"""Seconds during which a token is accepted. The page fetches one for each WebSocket."""


class PageTokens:
    """Issues and checks tokens.

    Args:
        secret: A random key, which is new when the server starts.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def issue(self, key: str, now: float) -> str:
        """Return a token for a client's address key."""
        until = int(now + LIFETIME)
        return f"{until}.{self._mac(key, until)}"

    def is_valid(self, token: str, key: str, now: float) -> bool:
        """Return whether this token was issued to this client's address key and is not too old."""
        text, _, mac = token.partition(".")
        if not text.isascii() or not text.isdigit() or len(text) > 15 or not mac.isascii():
            return False
        return now <= int(text) and hmac.compare_digest(mac, self._mac(key, int(text)))

    def _mac(self, key: str, until: int) -> str:
        return hmac.new(self._secret, f"{until} {key}".encode(), hashlib.sha256).hexdigest()[:32]
