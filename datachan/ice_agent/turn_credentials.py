"""Long-term credentials of a TURN client (RFC 8489, 9.2): challenges in, attributes and keys out; it sends nothing.

A server that knows RFC 8489 names its password algorithms in the challenge. SHA-256 then replaces MD5 in the key, and
SHA-1 in the code of each message. The nonce of such a server says so, too: an attacker who removes the list of
algorithms is noticed.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

from .stun import USERNAME, Message, serialize
from .turn_messages import NONCE, REALM

_PASSWORD_ALGORITHM: Final = 0x001D
_USERHASH: Final = 0x001E
_PASSWORD_ALGORITHMS: Final = 0x8002
# RFC 8489, 18.5.1.
_MD5: Final = 0x0001
_SHA256: Final = 0x0002
# RFC 8489, 9.2: a nonce that begins so has 24 feature bits in four characters next, the leftmost first.
_COOKIE: Final = b"obMatJos2"
_FEATURES_LENGTH: Final = 4
_PASSWORD_ALGORITHMS_BIT: Final = 1 << 23
_ANONYMITY_BIT: Final = 1 << 22
_MAX_ALGORITHMS: Final = 16


class LongTermCredentials:
    """A user's name and password, and the latest challenge of the server.

    Args:
        username: the user name.
        password: the password.

    Attributes:
        realm: the realm of the latest challenge; empty before the first.
    """

    def __init__(self, username: str, password: str) -> None:
        self._username = username
        self._password = password
        self.realm = b""
        self._nonce = b""
        self._key: bytes | None = None
        self._algorithm = _MD5
        self._algorithms: bytes | None = None

    @property
    def challenged(self) -> bool:
        """Whether there was a challenge, so that messages are signed."""
        return self._key is not None

    def accept_challenge_untrusted(self, answer: Message) -> bool:
        """Take over realm, nonce and algorithms of a 401 or 438; return whether another attempt makes sense."""
        realm, nonce = answer.attributes.get(REALM, self.realm), answer.attributes.get(NONCE)
        if nonce is None:
            return False
        offered = answer.attributes.get(_PASSWORD_ALGORITHMS)
        if offered is None and _features(nonce) & _PASSWORD_ALGORITHMS_BIT:
            # RFC 8489, 9.2.5: "the client MUST NOT retry the request with a new transaction." The list was removed.
            return False
        algorithm = _MD5 if offered is None else _first_known(offered)
        if algorithm is None:
            return False
        self.realm, self._nonce, self._algorithms, self._algorithm = realm, nonce, offered, algorithm
        self._key = key_of(self._username, realm, self._password, sha256=algorithm == _SHA256)
        return True

    def sign(self, message: Message) -> bytes:
        """Return a request as bytes, with the credentials once there was a challenge."""
        if self._key is None:
            return serialize(message)
        if _features(self._nonce) & _ANONYMITY_BIT:
            # RFC 8489, 14.4: "userhash = SHA-256(OpaqueString(username) ":" OpaqueString(realm))"
            hidden = hashlib.sha256(self._username.encode() + b":" + self.realm).digest()
            message.attributes[_USERHASH] = hidden
        else:
            message.attributes[USERNAME] = self._username.encode()
        message.attributes[REALM] = self.realm
        message.attributes[NONCE] = self._nonce
        if self._algorithms is not None:
            message.attributes[_PASSWORD_ALGORITHMS] = self._algorithms
            message.attributes[_PASSWORD_ALGORITHM] = self._algorithm.to_bytes(2, "big") + bytes(2)
        return serialize(message, self._key, sha256=self._algorithms is not None)

    def is_authentic(self, message: Message) -> bool:
        """Return whether an answer is signed as the request was."""
        if self._key is None:
            return True
        if self._algorithms is not None:
            return message.is_signed_by_sha256_with(self._key)
        return message.is_signed_with(self._key)


def key_of(username: str, realm: bytes, password: str, *, sha256: bool = False) -> bytes:
    """Return the key of long-term credentials (RFC 8489, 9.2.2 and 18.5.1)."""
    text = b":".join((username.encode(), realm, password.encode()))
    return hashlib.sha256(text).digest() if sha256 else hashlib.md5(text, usedforsecurity=False).digest()


def _features(nonce: bytes) -> int:
    """Return the 24 security feature bits of a nonce; 0 without them."""
    start = len(_COOKIE)
    if not nonce.startswith(_COOKIE):
        return 0
    try:
        return int.from_bytes(base64.b64decode(nonce[start : start + _FEATURES_LENGTH], validate=True), "big")
    except ValueError:
        return 0


def _first_known(offered: bytes) -> int | None:
    """Return the first algorithm of a list that we know; None without one."""
    position = 0
    for _ in range(_MAX_ALGORITHMS):
        if position + 4 > len(offered):
            return None
        algorithm = int.from_bytes(offered[position : position + 2], "big")
        length = int.from_bytes(offered[position + 2 : position + 4], "big")
        if algorithm in (_MD5, _SHA256) and not length:
            return algorithm
        position += 4 + length + -length % 4
    return None
