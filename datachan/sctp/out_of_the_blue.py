"""Packets that belong to no association: what is answered, by the eight rules of RFC 9260, section 8.4.

It keeps nothing and decides from the packet alone.
"""

from __future__ import annotations

from .wire.causes import STALE_COOKIE
from .wire.chunks import (
    ABORT,
    COOKIE_ACK,
    ERROR,
    SHUTDOWN_ACK,
    SHUTDOWN_COMPLETE,
    AbortChunk,
    Chunk,
    ErrorChunk,
    ShutdownCompleteChunk,
)
from .wire.packet import Packet


def respond(packet: Packet) -> Chunk | None:
    """The chunk to send back under the packet's own Verification Tag, or None to keep silent.

    INIT and COOKIE ECHO (rules 3 and 4) are the caller's and never come here.
    """
    types = {chunk.type for chunk in packet.chunks}
    if ABORT in types:
        # Rule 2: "the receiver MUST silently discard the OOTB packet and take no further action."
        return None
    if SHUTDOWN_ACK in types:
        return ShutdownCompleteChunk(tag_reflected=True)
    if SHUTDOWN_COMPLETE in types or COOKIE_ACK in types:
        return None
    if ERROR in types and any(
        cause.code == STALE_COOKIE for chunk in packet.chunks if isinstance(chunk, ErrorChunk) for cause in chunk.causes
    ):
        return None
    # Rule 8: "The receiver SHOULD respond to the sender of the OOTB packet with an ABORT chunk."
    return AbortChunk([], tag_reflected=True)
