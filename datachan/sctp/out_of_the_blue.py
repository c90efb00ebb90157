"""Packets that belong to no association: what is answered, by the eight rules of RFC 9260, section 8.4.

It keeps nothing and decides from the packet alone.
"""

from __future__ import annotations

from .errors import BadPacket
from .wire.causes import STALE_COOKIE
from .wire.chunks import (
    ABORT,
    COOKIE_ACK,
    ERROR,
    INIT,
    SHUTDOWN_ACK,
    SHUTDOWN_COMPLETE,
    AbortChunk,
    Chunk,
    ErrorChunk,
    InitChunk,
    ShutdownCompleteChunk,
)
from .wire.packet import Packet, parse_packet_untrusted, serialize_packet


def refuse_untrusted(datagram: bytes) -> bytes | None:
    """The answer to a packet for an SCTP port that nobody has, or None to keep silent."""
    try:
        packet = parse_packet_untrusted(datagram)
    except BadPacket:
        return None
    first = packet.chunks[0]
    answer: Chunk | None
    tag = packet.verification_tag
    if isinstance(first, InitChunk) and first.type == INIT:
        # Rule 3: "the Verification Tag of the packet containing the ABORT chunk MUST be the Initiate Tag of the
        # received INIT chunk, and the T bit of the ABORT chunk has to be set to 0".
        if tag != 0 or len(packet.chunks) != 1 or first.initiate_tag == 0:
            return None
        tag, answer = first.initiate_tag, AbortChunk([])
    else:
        answer = respond(packet) if tag else None
    if answer is None:
        return None
    return serialize_packet(packet.destination_port, packet.source_port, tag, [answer.serialize()])


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
