"""Runs SPAKE2 and derives what the proof needs from its key; knows no message, channel or person.

`docs/transfer-protocol.md` has the derivations. The arithmetic is in the package `spake2`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from enum import Enum
from types import ModuleType
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from datachan.transfer.codes import words_of
from datachan.transfer.errors import TransferError, TransferMisuse

SHARE_LENGTH: Final = 33
"""Bytes: the letter of the side, then a point."""

WORDS_TO_COMPARE: Final = 4

_CONTEXT: Final = b"datachan transfer 1 "


class Role(Enum):
    """The side of a transfer."""

    SENDER = "sender"
    RECEIVER = "receiver"


class BadShare(TransferError):
    """The peer's share is not a point of the group, or is from the wrong side."""


class ProofMissing(TransferMisuse):
    """The package `spake2` is not installed."""


def require_spake2() -> ModuleType:
    """Return the package of the key exchange, which only transfers with a code need.

    Raises:
        ProofMissing: It is not installed.
    """
    try:
        import spake2  # noqa: PLC0415 - an extra
    except ImportError:
        raise ProofMissing("codes need the package spake2: pip install 'datachan[cli]'") from None
    module: ModuleType = spake2
    return module


class KeyExchange:
    """One side of one exchange.

    Args:
        role: The side.
        password: The normalized code, or the reconnect secret in hexadecimal.
        entropy: Returns the requested number of random bytes.

    Raises:
        ProofMissing: The package `spake2` is not installed.
    """

    def __init__(self, role: Role, password: str, entropy: Callable[[int], bytes]) -> None:
        spake2 = require_spake2()
        side = spake2.SPAKE2_A if role is Role.SENDER else spake2.SPAKE2_B
        self._exchange = side(
            password.encode(), idA=_CONTEXT + b"sender", idB=_CONTEXT + b"receiver", entropy_f=entropy
        )
        self.share: bytes = self._exchange.start()

    def finish_untrusted(self, share: bytes) -> Keys:
        """Return the keys that follow from the peer's share.

        Raises:
            BadShare: The share is malformed.
        """
        if len(share) != SHARE_LENGTH:
            raise BadShare("the share of the key exchange has a wrong length")
        try:
            return Keys(self._exchange.finish(share))
        except Exception:  # the package raises several unrelated exceptions, AssertionError among them
            raise BadShare("the share of the key exchange is not one of the other side") from None


class Keys:
    """What follows from the key that both sides share if both know the code."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.session = self._derived("session")[:16].hex()
        self.reconnect_secret = self._derived("reconnect").hex()

    def confirmation(self, role: Role, fingerprints: bytes) -> bytes:
        """Return the proof of the side `role`; `fingerprints` are the sender's and the receiver's, 64 bytes."""
        return hmac.digest(self._derived(f"confirm {role.value}"), fingerprints, "sha256")

    def confirms(self, role: Role, fingerprints: bytes, mac: bytes) -> bool:
        """Return whether `mac` is the proof of the side `role`."""
        return hmac.compare_digest(self.confirmation(role, fingerprints), mac)

    def words(self, fingerprints: bytes) -> list[str]:
        """Return the four words that both people may compare."""
        return words_of(_hkdf(self._key, fingerprints, _CONTEXT + b"words", 6), WORDS_TO_COMPARE)

    def _derived(self, purpose: str) -> bytes:
        return _hkdf(self._key, b"", _CONTEXT + purpose.encode(), hashlib.sha256().digest_size)


def _hkdf(key: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt, info).derive(key)
