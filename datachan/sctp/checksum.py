"""The CRC32c of RFC 9260, appendix A; it knows bytes and no packets.

The checksum field holds the value in little-endian order, as the code of appendix A stores it.
"""

from __future__ import annotations

from crc32c import crc32c

__all__ = ["crc32c"]
