"""Knows how pieces and files are hashed; knows nothing of messages or disks.

The digest of a file covers the digests of its pieces, so that every byte is hashed once (docs/transfer-protocol.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, TypeAlias

Hash: TypeAlias = Callable[[bytes | bytearray | memoryview], bytes]
"""Returns the 32-byte digest of its argument."""

PREFIX: Final = b"datachan file 1\n"


def _sha256(data: bytes | bytearray | memoryview) -> bytes:
    return hashlib.sha256(data).digest()


@lru_cache(maxsize=1)
def available_hashes() -> dict[str, Hash]:
    """Return the hashes that this installation has, by name, the preferred one first."""
    hashes: dict[str, Hash] = {}
    try:
        from blake3 import blake3  # noqa: PLC0415 - an extra
    except ImportError:
        pass
    else:
        hashes["blake3"] = lambda data: blake3(data).digest()
    hashes["sha256"] = _sha256
    return hashes


def file_digest(hash_function: Hash, size: int, pieces: Sequence[bytes]) -> bytes:
    """Return the digest of the first `size` bytes of a file, from the digests of their pieces."""
    return hash_function(b"".join((PREFIX, size.to_bytes(8, "big"), *pieces)))
