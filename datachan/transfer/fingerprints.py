"""Knows how to find the fingerprints that a proof covers in two descriptions; knows no connection."""

from __future__ import annotations

import re
from typing import Final

from datachan.transfer.errors import TransferError
from datachan.transfer.pake import Role

_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_FINGERPRINT: Final = re.compile(r"a=fingerprint:sha-256 ([0-9a-f]{2}(?::[0-9a-f]{2}){31})", re.IGNORECASE)


class BadFingerprint(TransferError):
    """A description does not have exactly one fingerprint, made with SHA-256."""


def fingerprint_in(description: str) -> bytes:
    """Return the fingerprint in a session description, 32 bytes.

    Raises:
        BadFingerprint: There is none, another one besides, or one of another hash: the peer might use that one.
    """
    found: set[bytes] = set()
    for line in _LINE_END.split(description):
        if "fingerprint" not in line.lower():
            continue
        match = _FINGERPRINT.fullmatch(line.strip())
        if match is None:
            raise BadFingerprint("a description has a fingerprint that is not made with SHA-256")
        found.add(bytes.fromhex(match[1].replace(":", "")))
    if len(found) != 1:
        raise BadFingerprint(f"a description has {len(found)} fingerprints instead of one")
    return found.pop()


def both_fingerprints(role: Role, local: str, remote: str) -> bytes:
    """Return the sender's fingerprint, then the receiver's, 64 bytes.

    Args:
        role: This side.
        local: The local description.
        remote: The remote description.

    Raises:
        BadFingerprint: As `fingerprint_in` does.
    """
    own, other = fingerprint_in(local), fingerprint_in(remote)
    return own + other if role is Role.SENDER else other + own
