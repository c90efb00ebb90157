"""The SCTP packet (RFC 9260, 3): common header, checksum, and a list of chunks.

This module knows the layout of a packet. The association decides which peer a packet belongs to and what its chunks do.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final

from datachan.sctp.checksum import crc32c
from datachan.sctp.errors import BadPacket
from datachan.sctp.wire import chunks as wire
from datachan.sctp.wire import extensions
from datachan.sctp.wire.chunks import Chunk, UnknownChunk, parse_data_untrusted, parse_sack_untrusted
from datachan.sctp.wire.layout import HEADER_LENGTH

COMMON_HEADER_LENGTH: Final = 12

_COMMON_HEADER: Final = struct.Struct("!HHI")
_CHECKSUM: Final = struct.Struct("<I")

_NO_CHECKSUM: Final = b"\0\0\0\0"
SHORTEST_PACKET: Final = COMMON_HEADER_LENGTH + HEADER_LENGTH

_PARSERS: Final[dict[int, Callable[[bytes, int, int], Chunk]]] = {
    wire.DATA: parse_data_untrusted,
    wire.INIT: wire.parse_init_untrusted,
    wire.INIT_ACK: wire.parse_init_untrusted,
    wire.SACK: parse_sack_untrusted,
    wire.HEARTBEAT: wire.parse_heartbeat_untrusted,
    wire.HEARTBEAT_ACK: wire.parse_heartbeat_untrusted,
    wire.ABORT: wire.parse_abort_untrusted,
    wire.SHUTDOWN: wire.parse_shutdown_untrusted,
    wire.SHUTDOWN_ACK: wire.parse_shutdown_ack_untrusted,
    wire.ERROR: wire.parse_error_untrusted,
    wire.COOKIE_ECHO: wire.parse_cookie_echo_untrusted,
    wire.COOKIE_ACK: wire.parse_cookie_ack_untrusted,
    wire.ECNE: wire.parse_ecne_untrusted,
    wire.CWR: wire.parse_ecne_untrusted,
    wire.SHUTDOWN_COMPLETE: wire.parse_shutdown_complete_untrusted,
    extensions.AUTH: extensions.parse_auth_untrusted,
    extensions.I_DATA: extensions.parse_i_data_untrusted,
    extensions.ASCONF_ACK: extensions.parse_asconf_ack_untrusted,
    extensions.RE_CONFIG: extensions.parse_reconfig_untrusted,
    extensions.PAD: extensions.parse_pad_untrusted,
    extensions.ASCONF: extensions.parse_asconf_untrusted,
    extensions.FORWARD_TSN: extensions.parse_forward_tsn_untrusted,
    extensions.I_FORWARD_TSN: extensions.parse_i_forward_tsn_untrusted,
}


class Packet:
    """The content of one packet.

    Attributes:
        source_port: the sender's SCTP port.
        destination_port: the receiver's SCTP port.
        verification_tag: the Verification Tag, not checked here: the right value depends on the association.
        chunks: at least one, in the order of the packet; an UnknownChunk that stops processing is the last.
    """

    __slots__ = ("chunks", "destination_port", "source_port", "verification_tag")

    def __init__(self, source_port: int, destination_port: int, verification_tag: int, chunks: list[Chunk]) -> None:
        self.source_port = source_port
        self.destination_port = destination_port
        self.verification_tag = verification_tag
        self.chunks = chunks

    def __repr__(self) -> str:
        return (
            f"Packet({self.source_port}->{self.destination_port}, tag=0x{self.verification_tag:08x}, "
            f"chunks={self.chunks})"
        )


def parse_packet_untrusted(data: bytes, *, zero_checksum_acceptable: bool = False) -> Packet:
    """Parse a packet; accept or reject it as a whole.

    Args:
        data: the datagram.
        zero_checksum_acceptable: whether a checksum field of zero is accepted (RFC 9653); true once we have announced
            that to this peer.

    Returns:
        The packet with its chunks parsed.

    Raises:
        BadPacket: the packet is too short, its checksum is wrong, a length is wrong, or a chunk is shorter than its
            type allows.
    """
    size = len(data)
    if size < SHORTEST_PACKET:
        raise BadPacket(f"a packet of {size} bytes is shorter than {SHORTEST_PACKET} bytes")
    source_port, destination_port, verification_tag = _COMMON_HEADER.unpack_from(data)
    checksum = data[8:12]
    if (checksum != _NO_CHECKSUM or not zero_checksum_acceptable) and checksum != _checksum_of(data[:8], data[12:]):
        raise BadPacket("the checksum is wrong")
    return Packet(source_port, destination_port, verification_tag, parse_chunks_untrusted(data))


def parse_chunks_untrusted(data: bytes) -> list[Chunk]:
    """Parse the chunks of a packet whose common header the caller has checked.

    Args:
        data: the datagram, which has at least one chunk header.

    Returns:
        At least one chunk.

    Raises:
        BadPacket: a length is wrong, or a chunk is shorter than its type allows.
    """
    size = len(data)
    chunks: list[Chunk] = []
    start = COMMON_HEADER_LENGTH
    # Fewer bytes than a chunk header after the last chunk are padding, whether or not its length requires padding.
    while size - start >= HEADER_LENGTH:
        length = (data[start + 2] << 8) | data[start + 3]
        end = start + length
        if length < HEADER_LENGTH or end > size:
            raise BadPacket(f"chunk type {data[start]} has length {length}; {size - start} bytes are left")
        chunk_type = data[start]
        if chunk_type == 0:
            chunks.append(parse_data_untrusted(data, start, end))
        else:
            parse = _PARSERS.get(chunk_type)
            if parse is not None:
                chunks.append(parse(data, start, end))
            else:
                unknown = UnknownChunk(chunk_type, data[start + 1], data[start + HEADER_LENGTH : end])
                chunks.append(unknown)
                # RFC 9260, 3.2: "Stop processing this SCTP packet and discard the unrecognized chunk and all further
                # chunks."
                if unknown.stop_processing:
                    break
        start += (length + 3) & ~3
    return chunks


def serialize_packet(
    source_port: int,
    destination_port: int,
    verification_tag: int,
    chunks: Sequence[bytes],
    *,
    zero_checksum: bool = False,
) -> bytes:
    """Return a packet made of these chunks.

    Args:
        source_port: our SCTP port.
        destination_port: the peer's SCTP port.
        verification_tag: the tag the peer expects.
        chunks: serialized and padded chunks in order.
        zero_checksum: leave the checksum field zero (RFC 9653); only for a peer that announced it accepts that.

    Returns:
        The bytes of the datagram.
    """
    header = _COMMON_HEADER.pack(source_port, destination_port, verification_tag)
    body = b"".join(chunks)
    checksum = _NO_CHECKSUM if zero_checksum else _checksum_of(header, body)
    return header + checksum + body


def zero_checksum_header(source_port: int, destination_port: int, verification_tag: int) -> bytes:
    """Return the common header of all packets of a direction whose checksum is zero (RFC 9653)."""
    return _COMMON_HEADER.pack(source_port, destination_port, verification_tag) + _NO_CHECKSUM


def with_checksum(packet: bytes) -> bytes:
    """Return the packet with its real checksum if it has a zero checksum (RFC 9653), else unchanged."""
    if len(packet) < COMMON_HEADER_LENGTH or packet[8:COMMON_HEADER_LENGTH] != _NO_CHECKSUM:
        return packet
    return packet[:8] + _CHECKSUM.pack(crc32c(packet)) + packet[COMMON_HEADER_LENGTH:]


def _checksum_of(header: bytes, body: bytes) -> bytes:
    """Return the checksum field of the packet `header + checksum + body` (RFC 9260, 6.8)."""
    return _CHECKSUM.pack(crc32c(body, crc32c(header + _NO_CHECKSUM)))
