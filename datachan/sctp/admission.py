"""Decides which packets are admitted: checks INIT and COOKIE ECHO, and answers packets out of the blue.

`Endpoint` and the procedures of an association make the same checks here (RFC 9260, sections 5.1, 8.4 and 8.5.1). It
keeps no state and decides from its arguments alone.
"""

from __future__ import annotations

from typing import Final

from .addresses import TransportAddress
from .errors import BadPacket
from .options import AssociationOptions
from .records.cookie import CookieSealer, StateCookieContent
from .records.init import build_init_ack, cookie_content, refuse
from .wire import causes
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
    InitAckChunk,
    InitChunk,
    ShutdownCompleteChunk,
)
from .wire.layout import HEADER_LENGTH
from .wire.packet import COMMON_HEADER_LENGTH, Packet, parse_packet_untrusted, serialize_packet

MAX_CHUNKS: Final = 1024
"""The most chunks of a packet from a stranger. A COOKIE ECHO with data has the most: an initial window of 14,600 bytes
(RFC 6928) holds 730 of the shortest DATA chunks."""

LONGEST_INIT: Final = 8192
"""The longest packet with an INIT, in bytes. One with 400 IPv6 addresses is no longer than that."""

# -- packets of strangers ----------------------------------------------------------------------------------------------


def parse_stranger_untrusted(datagram: bytes) -> Packet:
    """Parse a packet with no tag of ours, so that a flood of packets of 64 kB takes little time.

    Raises:
        BadPacket: as `parse_packet_untrusted`; or the packet has more chunks or is longer than an honest peer's would
            be before it has an association.
    """
    size = len(datagram)
    if size > LONGEST_INIT and datagram[COMMON_HEADER_LENGTH] == INIT:
        raise BadPacket(f"a packet of {size} bytes begins with INIT; {LONGEST_INIT} bytes are the most")
    if size > MAX_CHUNKS * HEADER_LENGTH and _has_more_chunks(datagram):
        raise BadPacket(f"a packet of a stranger has more than {MAX_CHUNKS} chunks")
    return parse_packet_untrusted(datagram)


def _has_more_chunks(datagram: bytes) -> bool:
    """Return whether there are more than `MAX_CHUNKS` chunks, by their lengths alone."""
    start = COMMON_HEADER_LENGTH
    for _ in range(MAX_CHUNKS):
        if len(datagram) - start < HEADER_LENGTH:
            return False
        length = (datagram[start + 2] << 8) | datagram[start + 3]
        if length < HEADER_LENGTH:  # the parser says what is wrong
            return False
        start += (length + 3) & ~3
    return len(datagram) - start >= HEADER_LENGTH


# -- INIT --------------------------------------------------------------------------------------------------------------


def lone_init(packet: Packet) -> InitChunk | None:
    """Return the INIT of a packet that begins with INIT or has Verification Tag 0; None to discard the packet."""
    first = packet.chunks[0]
    # RFC 9260, 8.5.1, A: "When an endpoint receives an SCTP packet with the Verification Tag set to 0, it SHOULD verify
    # that the packet contains only an INIT chunk.  Otherwise, the receiver MUST silently discard the packet."
    if packet.verification_tag != 0 or len(packet.chunks) != 1 or first.type != INIT:
        return None
    # RFC 9260, 3.3.2: "If the value of the Initiate Tag in a received INIT chunk is found to be 0, the receiver MUST
    # silently discard the packet."
    return first if isinstance(first, InitChunk) and first.initiate_tag != 0 else None


def answer_init(
    options: AssociationOptions,
    sealer: CookieSealer,
    init: InitChunk,
    *,
    local_tag: int,
    local_initial_tsn: int,
    tie_tags: tuple[int, int],
    ports: tuple[int, int],
    now: float,
    source: TransportAddress | None,
    local_random: bytes,
) -> InitAckChunk | AbortChunk:
    """Return the answer to an INIT, to be sent under its Initiate Tag: INIT ACK, or ABORT with the reason.

    No state is kept: the State Cookie of the INIT ACK contains it. The arguments are those of
    `cookie_content`.
    """
    refusal = refuse(options, init)
    if refusal is not None:
        return AbortChunk([refusal])
    content = cookie_content(
        options,
        init,
        local_tag=local_tag,
        local_initial_tsn=local_initial_tsn,
        tie_tags=tie_tags,
        ports=ports,
        now=now,
        source=source,
        local_random=local_random,
    )
    return build_init_ack(options, init, local_tag, local_initial_tsn, local_random, sealer.seal(content))


# -- COOKIE ECHO -------------------------------------------------------------------------------------------------------


def cookie_fits(content: StateCookieContent, packet: Packet) -> bool:
    """Return whether an authentic State Cookie was issued for the ports and the tag of its packet (section 5.1.5)."""
    return (
        content.local_tag == packet.verification_tag
        and content.source_port == packet.source_port
        and content.destination_port == packet.destination_port
    )


def stale_cookie_error(content: StateCookieContent, now: float) -> ErrorChunk | None:
    """Return the ERROR that answers a State Cookie past its life, or None when the cookie is fresh.

    RFC 9260, 5.1.5: "the endpoint MUST transmit an ERROR chunk with a "Stale Cookie" error cause to the peer endpoint."
    """
    staleness = content.staleness(now)
    return ErrorChunk([causes.stale_cookie(int(staleness * 1_000_000))]) if staleness > 0 else None


# -- out of the blue (RFC 9260, section 8.4) ---------------------------------------------------------------------------


def refuse_untrusted(datagram: bytes) -> bytes | None:
    """Return the answer to a packet for an SCTP port that is not open, or None to keep silent."""
    try:
        packet = parse_stranger_untrusted(datagram)
    except BadPacket:
        return None
    answer: Chunk | None
    tag = packet.verification_tag
    if packet.chunks[0].type == INIT:
        init = lone_init(packet)
        if init is None:
            return None
        # Rule 3: "the Verification Tag of the packet containing the ABORT chunk MUST be the Initiate Tag of the
        # received INIT chunk, and the T bit of the ABORT chunk has to be set to 0".
        tag, answer = init.initiate_tag, AbortChunk([])
    else:
        answer = answer_out_of_the_blue(packet) if tag else None
    if answer is None:
        return None
    return serialize_packet(packet.destination_port, packet.source_port, tag, [answer.serialize()])


def answer_out_of_the_blue(packet: Packet) -> Chunk | None:
    """Return the chunk to send back under the packet's own Verification Tag, or None to keep silent.

    The caller answers INIT and COOKIE ECHO (rules 3 and 4) itself.
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
