"""Convert SCTP packets between bytes and values, and nothing more (RFC 9260, section 3)."""
