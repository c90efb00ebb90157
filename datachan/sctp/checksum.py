"""The CRC32c of RFC 9260, appendix A, over bytes; it knows nothing of packets.

The value is the number whose bytes go into the checksum field in little-endian order, as appendix A's code stores it.
"""

from __future__ import annotations

from crc32c import crc32c

__all__ = ["crc32c"]
