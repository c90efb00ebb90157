"""Codec of SCTP packets: bytes to values and back, nothing more (RFC 9260, section 3)."""
