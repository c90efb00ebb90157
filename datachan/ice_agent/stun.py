"""STUN messages as values and as bytes (RFC 8489, 5 and 14); it knows no transactions, and verifies nothing unasked.

Attributes are kept as bytes, by type, and are read when they are needed: a check has six of which two are used, and
an attribute that is unknown here costs nothing.
"""

from __future__ import annotations

import hmac
import ipaddress
import struct
import zlib
from dataclasses import dataclass, field
from typing import Final

from .errors import BadPacket

MAGIC_COOKIE: Final = 0x2112A442
TRANSACTION_ID_LENGTH: Final = 12

# Methods and classes; the type of a message is their sum.
BINDING: Final = 0x001
REQUEST: Final = 0x000
INDICATION: Final = 0x010
SUCCESS: Final = 0x100
ERROR: Final = 0x110
_CLASS_MASK: Final = 0x110

# Attributes.
MAPPED_ADDRESS: Final = 0x0001
USERNAME: Final = 0x0006
MESSAGE_INTEGRITY: Final = 0x0008
ERROR_CODE: Final = 0x0009
UNKNOWN_ATTRIBUTES: Final = 0x000A
MESSAGE_INTEGRITY_SHA256: Final = 0x001C
XOR_MAPPED_ADDRESS: Final = 0x0020
PRIORITY: Final = 0x0024
USE_CANDIDATE: Final = 0x0025
FINGERPRINT: Final = 0x8028
ICE_CONTROLLED: Final = 0x8029
ICE_CONTROLLING: Final = 0x802A
NOMINATION: Final = 0xC001
"""The number of a nomination: the largest wins (draft-thatcher-ice-renomination, with libwebrtc's type)."""
DTLS_IN_STUN: Final = 0xC070
DTLS_IN_STUN_ACK: Final = 0xC071

# RFC 8489, 14: "Comprehension-required attributes" have types below 0x8000; those that a binding request may have.
_UNDERSTOOD: Final = frozenset(
    {MAPPED_ADDRESS, USERNAME, MESSAGE_INTEGRITY, ERROR_CODE, UNKNOWN_ATTRIBUTES, MESSAGE_INTEGRITY_SHA256}
    | {XOR_MAPPED_ADDRESS, PRIORITY, USE_CANDIDATE}
)
_FIRST_OPTIONAL: Final = 0x8000

_HEADER: Final = struct.Struct("!HHI12s")
_ATTRIBUTE: Final = struct.Struct("!HH")
_INTEGRITY_LENGTH: Final = 20
_SHA256_LENGTH: Final = 32
# MESSAGE-INTEGRITY and FINGERPRINT with their headers.
_TRAILER_LENGTH: Final = 32
_FINGERPRINT_XOR: Final = 0x5354554E
# Far more than any check or response has, those included that are ignored. A datagram has room for 16,000.
_MAX_ATTRIBUTES: Final = 64


@dataclass(slots=True)
class Message:
    """One message.

    Attributes:
        type: the sum of method and class, such as `BINDING + REQUEST`.
        transaction_id: 12 random bytes.
        attributes: the values by type. Of several of one type, only the first counts (RFC 8489, 14).
        further: the others of that type, for a message that is specified to have several.
        signed: the bytes before MESSAGE-INTEGRITY, if the message was received with one.
        signed_sha256: the bytes before MESSAGE-INTEGRITY-SHA256, in the same way.
    """

    type: int
    transaction_id: bytes
    attributes: dict[int, bytes] = field(default_factory=dict)
    further: list[tuple[int, bytes]] = field(default_factory=list)
    signed: bytes = b""
    signed_sha256: bytes = b""

    @property
    def method(self) -> int:
        """The method."""
        return self.type & ~_CLASS_MASK

    @property
    def message_class(self) -> int:
        """`REQUEST`, `INDICATION`, `SUCCESS` or `ERROR`."""
        return self.type & _CLASS_MASK

    @property
    def recipient(self) -> str:
        """The username fragment of the agent that a check is for, which USERNAME begins with; "" without one."""
        return self.attributes.get(USERNAME, b"").partition(b":")[0].decode("utf-8", "replace")

    @property
    def error_code(self) -> int | None:
        """The number in ERROR-CODE; None without a well-formed one."""
        value = self.attributes.get(ERROR_CODE, b"")
        return value[2] % 8 * 100 + value[3] % 100 if len(value) >= 4 else None

    @property
    def reason(self) -> str:
        """The text in ERROR-CODE."""
        return self.attributes.get(ERROR_CODE, b"")[4:].decode("utf-8", "replace")

    def number(self, attribute: int) -> int | None:
        """Return the attribute as an unsigned number; None if it is absent or empty."""
        value = self.attributes.get(attribute)
        return int.from_bytes(value, "big") if value else None

    def address(self, attribute: int) -> tuple[str, int] | None:
        """Return the address in an attribute of the XOR-MAPPED-ADDRESS kind; None without a well-formed one."""
        value = self.attributes.get(attribute)
        return None if value is None else read_xor_address(value, self.transaction_id)

    def unknown_attributes(self) -> list[int]:
        """Return the types of the attributes that must be understood and are not."""
        return [one for one in self.attributes if one < _FIRST_OPTIONAL and one not in _UNDERSTOOD]

    def is_signed_with(self, key: bytes) -> bool:
        """Return whether MESSAGE-INTEGRITY is that of this key."""
        code = self.attributes.get(MESSAGE_INTEGRITY)
        return code is not None and bool(self.signed) and hmac.compare_digest(code, _integrity(self.signed, key))

    def is_signed_by_sha256_with(self, key: bytes) -> bool:
        """Return whether MESSAGE-INTEGRITY-SHA256 is that of this key, at full length."""
        code = self.attributes.get(MESSAGE_INTEGRITY_SHA256)
        signed = self.signed_sha256
        return code is not None and bool(signed) and hmac.compare_digest(code, _integrity_sha256(signed, key))


def parse_untrusted(datagram: bytes) -> Message:
    """Read a message.

    Attributes after MESSAGE-INTEGRITY are ignored, because they are not authenticated (RFC 8489, 14.5), but for
    MESSAGE-INTEGRITY-SHA256.

    Raises:
        BadPacket: the lengths contradict one another, the magic cookie is missing, there are too many attributes, or
            FINGERPRINT does not match or is not the last one.
    """
    if len(datagram) < _HEADER.size:
        raise BadPacket(f"{len(datagram)} bytes are too few for a STUN message")
    kind, length, cookie, transaction_id = _HEADER.unpack_from(datagram)
    if kind >> 14 or cookie != MAGIC_COOKIE or length % 4 or length + _HEADER.size != len(datagram):
        raise BadPacket("the header is not that of a STUN message")
    message = Message(kind, transaction_id)
    position, count = _HEADER.size, 0
    while position < len(datagram):
        if count == _MAX_ATTRIBUTES:
            raise BadPacket(f"the message has more than {_MAX_ATTRIBUTES} attributes")
        position = _read_attribute(message, datagram, position)
        count += 1
    return message


def _read_attribute(message: Message, datagram: bytes, position: int) -> int:
    """Add one attribute, and return the position behind it."""
    attribute, size = _ATTRIBUTE.unpack_from(datagram, position)
    start = position + _ATTRIBUTE.size
    if start + size > len(datagram):
        raise BadPacket("an attribute ends past the message")
    if attribute == FINGERPRINT:
        # RFC 8489, 14.7: "When present, the FINGERPRINT attribute MUST be the last attribute in the message". If there
        # could be several, a stranger's datagram would have the CRC of 64 kB computed for each of 8,000.
        if start + 4 != len(datagram):
            raise BadPacket("FINGERPRINT is not the last attribute")
        expected = zlib.crc32(_resized(datagram[:position], position + 8)) ^ _FINGERPRINT_XOR
        if size != 4 or int.from_bytes(datagram[start : start + 4], "big") != expected:
            raise BadPacket("FINGERPRINT does not match")
    elif attribute == MESSAGE_INTEGRITY_SHA256 and not message.signed_sha256:
        message.attributes[attribute] = datagram[start : start + size]
        message.signed_sha256 = datagram[:position]
    elif not message.signed and not message.signed_sha256:
        value = datagram[start : start + size]
        if attribute in message.attributes:
            message.further.append((attribute, value))
        else:
            message.attributes[attribute] = value
        if attribute == MESSAGE_INTEGRITY:
            message.signed = datagram[:position]
    end: int = start + size + -size % 4
    return end


def serialize(message: Message, key: bytes | None = None, *, fingerprint: bool = True, sha256: bool = False) -> bytes:
    """Return the message as bytes.

    Args:
        message: the message.
        key: the key of MESSAGE-INTEGRITY, if there is to be one.
        fingerprint: whether to add FINGERPRINT.
        sha256: whether to add MESSAGE-INTEGRITY-SHA256 in place of MESSAGE-INTEGRITY.
    """
    body = b"".join(
        _ATTRIBUTE.pack(attribute, len(value)) + value + bytes(-len(value) % 4)
        for attribute, value in [*message.attributes.items(), *message.further]
    )
    data = _HEADER.pack(message.type, len(body), MAGIC_COOKIE, message.transaction_id) + body
    if key is not None:
        kind = MESSAGE_INTEGRITY_SHA256 if sha256 else MESSAGE_INTEGRITY
        code = _integrity_sha256(data, key) if sha256 else _integrity(data, key)
        data = _resized(data, len(data) + 4 + len(code)) + _ATTRIBUTE.pack(kind, len(code)) + code
    if fingerprint:
        data = _resized(data, len(data) + 8)
        data += struct.pack("!HHI", FINGERPRINT, 4, zlib.crc32(data) ^ _FINGERPRINT_XOR)
    return data


def serialized_length(message: Message) -> int:
    """Return the length of `serialize` with a key."""
    values = [*message.attributes.values(), *(value for _, value in message.further)]
    return _HEADER.size + sum(_ATTRIBUTE.size + len(value) + -len(value) % 4 for value in values) + _TRAILER_LENGTH


def error_code(code: int, reason: str) -> bytes:
    """Return the value of ERROR-CODE."""
    return bytes((0, 0, code // 100, code % 100)) + reason.encode()


def xor_address(address: tuple[str, int], transaction_id: bytes) -> bytes:
    """Return the value of XOR-MAPPED-ADDRESS and its like; a scope is left out."""
    packed = ipaddress.ip_address(address[0].partition("%")[0]).packed
    port = address[1] ^ (MAGIC_COOKIE >> 16)
    return struct.pack("!BBH", 0, 1 if len(packed) == 4 else 2, port) + _xor(packed, transaction_id)


def read_xor_address(value: bytes, transaction_id: bytes) -> tuple[str, int] | None:
    """Return the address in the value of XOR-MAPPED-ADDRESS or its like; None if it is malformed."""
    if (len(value), value[1:2]) not in ((8, b"\1"), (20, b"\2")):
        return None
    port = int.from_bytes(value[2:4], "big") ^ (MAGIC_COOKIE >> 16)
    return str(ipaddress.ip_address(_xor(value[4:], transaction_id))), port


def _xor(packed: bytes, transaction_id: bytes) -> bytes:
    pad = (MAGIC_COOKIE.to_bytes(4, "big") + transaction_id)[: len(packed)]
    return (int.from_bytes(packed, "big") ^ int.from_bytes(pad, "big")).to_bytes(len(packed), "big")


def _integrity(data: bytes, key: bytes) -> bytes:
    return hmac.digest(key, _resized(data, len(data) + 4 + _INTEGRITY_LENGTH), "sha1")


def _integrity_sha256(data: bytes, key: bytes) -> bytes:
    return hmac.digest(key, _resized(data, len(data) + 4 + _SHA256_LENGTH), "sha256")


def _resized(data: bytes, total: int) -> bytes:
    """Return the message with the length field of one that has `total` bytes."""
    return data[:2] + (total - _HEADER.size).to_bytes(2, "big") + data[4:]
