"""Captures that Wireshark opens: pcapng blocks, and the IP and UDP headers around SCTP; returns bytes only.

A file is one `section()`, one `interface()`, then one `packet()` for each packet. SCTP is carried as in RFC 6951, over
UDP port 9899, which Wireshark decodes by default: `packet(udp_datagram(sctp_packet, …), seconds)`.
"""

from __future__ import annotations

import struct
from typing import Final

LINK_TYPE_RAW: Final = 101
"""Packets begin with an IPv4 or IPv6 header (LINKTYPE_RAW)."""

LINK_TYPE_IPV4: Final = 228
"""Packets begin with an IPv4 header (LINKTYPE_IPV4)."""

SCTP_OVER_UDP_PORT: Final = 9899
"""RFC 6951, section 5.1."""

_SECTION_HEADER: Final = 0x0A0D0D0A
_INTERFACE_DESCRIPTION: Final = 1
_ENHANCED_PACKET: Final = 6
_BYTE_ORDER_MAGIC: Final = 0x1A2B3C4D
_OPTION_COMMENT: Final = 1
_OPTION_APPLICATION: Final = 4
_OPTION_NAME: Final = 2
_OPTION_FLAGS: Final = 2
_INBOUND: Final = 1
_OUTBOUND: Final = 2
_PROTOCOL_UDP: Final = 17


def section(application: str = "datachan") -> bytes:
    """Return the block that begins a file; `application` names the program that writes it."""
    # Version 1.0; the length of the section is unknown.
    body = struct.pack("<IHHq", _BYTE_ORDER_MAGIC, 1, 0, -1) + _options((_OPTION_APPLICATION, application.encode()))
    return _block(_SECTION_HEADER, body)


def interface(name: str = "", link_type: int = LINK_TYPE_IPV4) -> bytes:
    """Return the block of the interface of the following packets. Times are in microseconds; packets are not cut."""
    return _block(
        _INTERFACE_DESCRIPTION, struct.pack("<HHI", link_type, 0, 0) + _options((_OPTION_NAME, name.encode()))
    )


def packet(
    data: bytes, seconds: float, comment: str = "", *, interface: int = 0, outgoing: bool | None = None
) -> bytes:
    """Return the block of one packet.

    Args:
        data: The packet, from the header of its link on.
        seconds: Its time, since 1970 or any other moment; not negative.
        comment: A comment that Wireshark shows beside the packet.
        interface: The number of its interface in the section, counted from 0.
        outgoing: Whether it was sent; None if unknown.
    """
    moment = round(seconds * 1_000_000)
    flags = b"" if outgoing is None else struct.pack("<I", _OUTBOUND if outgoing else _INBOUND)
    header = struct.pack("<IIIII", interface, moment >> 32, moment & 0xFFFFFFFF, len(data), len(data))
    return _block(
        _ENHANCED_PACKET, header + _padded(data) + _options((_OPTION_COMMENT, comment.encode()), (_OPTION_FLAGS, flags))
    )


def udp_datagram(
    payload: bytes,
    source: bytes,
    destination: bytes,
    source_port: int = SCTP_OVER_UDP_PORT,
    destination_port: int = SCTP_OVER_UDP_PORT,
) -> bytes:
    """Return the payload in UDP in IPv4 or IPv6, with checksums.

    Args:
        payload: An SCTP packet, or any other bytes: at most 65507, or 65527 with IPv6.
        source: The source address, 4 or 16 bytes.
        destination: The destination address, 4 or 16 bytes.
        source_port: The source port of UDP.
        destination_port: The destination port of UDP.
    """
    length = 8 + len(payload)
    # IPv4: a zero, the protocol and a 16-bit length. IPv6 has more zeros around the same values, with the same sum.
    pseudo_header = source + destination + struct.pack("!BBH", 0, _PROTOCOL_UDP, length)
    udp = struct.pack("!HHHH", source_port, destination_port, length, 0)
    # In UDP, a checksum field of zero means that there is no checksum; a computed zero is sent as all ones.
    checksum = internet_checksum(pseudo_header + udp + payload) or 0xFFFF
    udp = udp[:6] + struct.pack("!H", checksum)
    if len(source) > 4:
        # Version 6; 64 hops.
        return struct.pack("!IHBB", 0x60000000, length, _PROTOCOL_UDP, 64) + source + destination + udp + payload
    # Version 4, header of five words; don't fragment; 64 hops.
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0x4000, 64, _PROTOCOL_UDP, 0) + source + destination
    ip = ip[:10] + struct.pack("!H", internet_checksum(ip)) + ip[12:]
    return ip + udp + payload


def internet_checksum(data: bytes) -> int:
    """Return the checksum of RFC 1071: the ones' complement of the ones' complement sum of all 16-bit words."""
    # 2 ** 16 is 1 modulo 2 ** 16 - 1, so the sum of the words is the remainder of the whole number.

    number = int.from_bytes(data + b"\0" * (len(data) % 2), "big")
    total = number % 0xFFFF or (0xFFFF if number else 0)
    return 0xFFFF - total


def _block(block_type: int, body: bytes) -> bytes:
    length = 12 + len(body)
    return struct.pack("<II", block_type, length) + body + struct.pack("<I", length)


def _options(*options: tuple[int, bytes]) -> bytes:
    parts = []
    for code, value in options:
        if value:
            value = value[:0xFFFF]
            parts.append(struct.pack("<HH", code, len(value)) + _padded(value))
    return b"".join([*parts, bytes(4)]) if parts else b""


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
