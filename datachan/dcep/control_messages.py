"""The two messages of RFC 8832, section 5, as bytes and as values; it knows no streams and no states.

An OPEN states the properties of a channel, for both directions. An ACK confirms that the peer has the channel.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from .errors import BadDcepMessage

DATA_CHANNEL_ACK: Final = 0x02
DATA_CHANNEL_OPEN: Final = 0x03

# RFC 8832, 8.2.2: "the high-order bit MUST be used to indicate whether or not the
# message delivery is unordered."
_UNORDERED: Final = 0x80
_RELIABLE: Final = 0x00
_REXMIT: Final = 0x01
_TIMED: Final = 0x02

MAX_TEXT_BYTES: Final = 65535
_HEADER: Final = struct.Struct("!BBHIHH")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenMessage:
    """DATA_CHANNEL_OPEN (section 5.1).

    Attributes:
        label: the channel's name, at most 65,535 bytes in UTF-8.
        protocol: the name of the subprotocol, at most 65,535 bytes in UTF-8.
        ordered: whether messages keep their order.
        max_retransmits: the maximum number of retransmissions of a message, or None.
        max_packet_life_time: the lifetime of a message in milliseconds, or None. At most one of the two limits is set.
        priority: the priority, 0 to 65,535.
    """

    label: str
    protocol: str = ""
    ordered: bool = True
    max_retransmits: int | None = None
    max_packet_life_time: int | None = None
    priority: int = 256

    def serialize(self) -> bytes:
        """Return the message as bytes.

        Raises:
            ValueError: a text is too long or a number out of range.
        """
        label = encode_text(self.label)
        protocol = encode_text(self.protocol)
        if len(label) > MAX_TEXT_BYTES or len(protocol) > MAX_TEXT_BYTES:
            raise ValueError(f"label and protocol may have {MAX_TEXT_BYTES} bytes of UTF-8 each")
        # RFC 8832, 5.1: "For reliable data channels, this field MUST be set to 0 on the
        # sending side and MUST be ignored on the receiving side."
        kind, parameter = _RELIABLE, 0
        if self.max_retransmits is not None:
            kind, parameter = _REXMIT, self.max_retransmits
        elif self.max_packet_life_time is not None:
            kind, parameter = _TIMED, self.max_packet_life_time
        if not self.ordered:
            kind |= _UNORDERED
        try:
            header = _HEADER.pack(DATA_CHANNEL_OPEN, kind, self.priority, parameter, len(label), len(protocol))
        except struct.error as error:
            raise ValueError(f"a number does not fit into a DATA_CHANNEL_OPEN: {error}") from None
        return header + label + protocol


@dataclass(frozen=True, slots=True)
class AckMessage:
    """DATA_CHANNEL_ACK (section 5.2)."""

    def serialize(self) -> bytes:
        """Return the message as bytes."""
        return bytes((DATA_CHANNEL_ACK,))


def parse_message_untrusted(data: bytes) -> OpenMessage | AckMessage:
    """Read a message with PPID 50 (WebRTC DCEP).

    Raises:
        BadDcepMessage: the data is not a message of RFC 8832.
    """
    if not data:
        raise BadDcepMessage("an empty control message")
    if data[0] == DATA_CHANNEL_ACK:
        return AckMessage()
    if data[0] != DATA_CHANNEL_OPEN:
        raise BadDcepMessage(f"a control message of unknown type 0x{data[0]:02x}")
    return _parse_open_untrusted(data)


def encode_text(text: str) -> bytes:
    """Return a text in UTF-8; lone surrogates become U+FFFD, as in JavaScript's USVString."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _parse_open_untrusted(data: bytes) -> OpenMessage:
    if len(data) < _HEADER.size:
        raise BadDcepMessage(f"a DATA_CHANNEL_OPEN of {len(data)} bytes, which is less than its header")
    _, kind, priority, parameter, label_length, protocol_length = _HEADER.unpack_from(data)
    # RFC 8832, 7: "Error cases such as using inconsistent lengths of
    # fields, using unknown parameter values, or violating the odd/even
    # rule must also be handled by closing the corresponding data channel."
    if len(data) != _HEADER.size + label_length + protocol_length:
        raise BadDcepMessage("a DATA_CHANNEL_OPEN whose lengths do not add up")
    reliability = kind & ~_UNORDERED
    if reliability not in (_RELIABLE, _REXMIT, _TIMED):
        raise BadDcepMessage(f"a DATA_CHANNEL_OPEN of unknown channel type 0x{kind:02x}")
    split = _HEADER.size + label_length
    try:
        label = data[_HEADER.size : split].decode()
        protocol = data[split:].decode()
    except UnicodeDecodeError:
        raise BadDcepMessage("a DATA_CHANNEL_OPEN whose label or protocol is not UTF-8") from None
    return OpenMessage(
        label=label,
        protocol=protocol,
        ordered=not kind & _UNORDERED,
        max_retransmits=parameter if reliability == _REXMIT else None,
        max_packet_life_time=parameter if reliability == _TIMED else None,
        priority=priority,
    )
