"""The errors of the ICE agent.

ValueError
└── BadPacket   the bytes are not a STUN message
"""

from __future__ import annotations


class BadPacket(ValueError):
    """The bytes are not a STUN message (RFC 8489)."""
