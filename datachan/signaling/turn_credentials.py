"""Credentials for TURN that expire, as coturn's `use-auth-secret` checks them; knows no clock: the time is given.

The user name is the time of expiry and a name for the log of the TURN server. The password is its HMAC-SHA1 with a
secret that only both servers know (draft-uberti-behave-turn-rest-00). So no page learns a password that lasts.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TurnSecret:
    """TURN servers and the secret that is shared with them.

    Attributes:
        urls: The URLs of the servers, such as `turn:turn.example.org:3478`.
        secret: coturn's `static-auth-secret`.
        lifetime: Seconds for which credentials can be used to allocate.
    """

    urls: tuple[str, ...]
    secret: str = field(repr=False)
    lifetime: float = 3600.0

    def credentials(self, now: float, name: str = "datachan") -> tuple[str, str]:
        """Return a user name and its password.

        Args:
            now: The time in seconds since 1970, by the clock of the TURN server.
            name: Identifies the user in the log of the TURN server.
        """
        username = f"{int(now + self.lifetime)}:{name}"
        digest = hmac.new(self.secret.encode(), username.encode(), hashlib.sha1).digest()
        return username, base64.b64encode(digest).decode()

    def to_json(self, now: float) -> dict[str, object]:
        """Return W3C's RTCIceServer with fresh credentials."""
        username, credential = self.credentials(now)
        return {"urls": list(self.urls), "username": username, "credential": credential}
