"""Messages of TURN as bytes (RFC 8656): methods, attributes, channel data, and how a stream is cut into messages."""

from __future__ import annotations

import ipaddress
from typing import Final

from .errors import BadPacket

ALLOCATE: Final = 0x003
REFRESH: Final = 0x004
SEND: Final = 0x006
DATA_METHOD: Final = 0x007
CREATE_PERMISSION: Final = 0x008
CHANNEL_BIND: Final = 0x009

CHANNEL_NUMBER: Final = 0x000C
LIFETIME: Final = 0x000D
XOR_PEER_ADDRESS: Final = 0x0012
DATA: Final = 0x0013
REALM: Final = 0x0014
NONCE: Final = 0x0015
XOR_RELAYED_ADDRESS: Final = 0x0016
REQUESTED_ADDRESS_FAMILY: Final = 0x0017
REQUESTED_TRANSPORT: Final = 0x0019
ADDITIONAL_ADDRESS_FAMILY: Final = 0x8000
# coturn (4.6) knows the attribute by the type of a draft.
DRAFT_ADDITIONAL_ADDRESS_FAMILY: Final = 0x8032
ALTERNATE_SERVER: Final = 0x8023

IPV4: Final = 4
IPV6: Final = 6
# RFC 8656, 18.6: "0x01 for IPv4 addresses and 0x02 for IPv6 addresses", in the first byte.
_FAMILIES: Final = {IPV4: b"\1\0\0\0", IPV6: b"\2\0\0\0"}
_UDP: Final = b"\x11\0\0\0"

UNREACHABLE: Final = 701
"""The code for a server that does not answer.

W3C WebRTC, 4.8.2: "If no host candidate can reach the server, errorCode will be set to the value 701 which is outside
the STUN error code range."
"""
# RFC 8656, 12: channel numbers for use are 0x4000 to 0x4FFF; "0x5000-0x7FFF" are reserved.
FIRST_CHANNEL: Final = 0x4000
LAST_CHANNEL: Final = 0x4FFF
CHANNEL_HEADER: Final = 4
_STUN_HEADER: Final = 20


def allocation_attributes(family: int, *, both: bool = False) -> dict[int, bytes]:
    """Return the attributes of a request for an allocation of a family, `IPV4` or `IPV6`; `both` asks for IPv6 as well.

    A server without IPv6 addresses ignores ADDITIONAL-ADDRESS-FAMILY, or says so in its answer (RFC 8656, 7.2).
    """
    attributes = {REQUESTED_TRANSPORT: _UDP}
    if family != IPV4:  # for IPv4 REQUESTED-ADDRESS-FAMILY would be redundant, and some servers do not know it
        attributes[REQUESTED_ADDRESS_FAMILY] = _FAMILIES[family]
    elif both:
        attributes[ADDITIONAL_ADDRESS_FAMILY] = _FAMILIES[IPV6]
        attributes[DRAFT_ADDITIONAL_ADDRESS_FAMILY] = _FAMILIES[IPV6]
    return attributes


def is_channel_data(message: bytes) -> bool:
    """Return whether a message of the server is channel data rather than STUN (RFC 8656, 12)."""
    return len(message) >= CHANNEL_HEADER and 0x40 <= message[0] <= 0x4F


def channel_payload(message: bytes) -> bytes | None:
    """Return the datagram in channel data; None if it is longer than the message."""
    # RFC 8656, 12.5: "Over UDP, the padding is not required but MAY be included."
    length = int.from_bytes(message[2:4], "big")
    return message[CHANNEL_HEADER : CHANNEL_HEADER + length] if length <= len(message) - CHANNEL_HEADER else None


def padded(message: bytes) -> bytes:
    """Return a message as a stream carries it.

    RFC 8656, 12.5: "Over TCP and TLS-over-TCP, the ChannelData message MUST be padded to a multiple of four bytes in
    order to ensure the alignment of subsequent messages." Other messages are that long already.
    """
    return message + bytes(-len(message) % 4)


def read_plain_address(value: bytes) -> tuple[str, int] | None:
    """Return the address in ALTERNATE-SERVER or MAPPED-ADDRESS, which are not XORed; None if malformed."""
    if (len(value), value[1:2]) not in ((8, b"\1"), (20, b"\2")):
        return None
    return str(ipaddress.ip_address(value[4:])), int.from_bytes(value[2:4], "big")


class MessageSplitter:
    """Cuts the bytes of a TCP or TLS connection to a server into messages; keeps at most one unfinished message."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed_untrusted(self, data: bytes) -> list[bytes]:
        """Add bytes, and return the messages that are complete now, without the padding of channel data.

        Raises:
            BadPacket: the bytes are neither STUN nor channel data, so the stream cannot be read any further.
        """
        self._buffer += data
        messages: list[bytes] = []
        position = 0
        while len(self._buffer) - position >= CHANNEL_HEADER:
            first, length = self._buffer[position], int.from_bytes(self._buffer[position + 2 : position + 4], "big")
            if first > 3 and not 0x40 <= first <= 0x4F:
                raise BadPacket("the server sends what is neither STUN nor channel data")
            size = length + (CHANNEL_HEADER if first > 3 else _STUN_HEADER)
            end = position + size
            if len(self._buffer) < end + -size % 4:
                break
            messages.append(bytes(self._buffer[position:end]))
            position = end + -size % 4
        del self._buffer[:position]
        return messages
