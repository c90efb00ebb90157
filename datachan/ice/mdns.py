"""Questions and answers of multicast DNS (RFC 6762) as bytes; opens no socket, and reads A and AAAA records only.

Chromium's answers contain an NSEC record with a compressed name, for which strict parsers reject the whole message.
Here a record that is not an address is skipped by its length.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from typing import Final

TYPE_A: Final = 1
TYPE_AAAA: Final = 28
_CLASS_IN: Final = 1
# RFC 6762, 5.4 and 10.2: the top bit of a class asks for a unicast answer, or tells caches to forget what they had.
_TOP_BIT: Final = 0x8000
_QR: Final = 0x8000
_OPCODE_AND_RCODE: Final = 0x780F
_HEADER: Final = struct.Struct("!6H")
_QUESTION_TAIL: Final = struct.Struct("!HH")
_RECORD_TAIL: Final = struct.Struct("!HHIH")
_POINTER: Final = 0xC0
_MAX_NAME: Final = 255
_MAX_RECORDS: Final = 256
# draft-ietf-mmusic-mdns-ice-candidates, 3.1.1: one label, a UUID by custom, and .local.
_MDNS_NAME: Final = re.compile(r"[a-z0-9-]{1,63}\.local", re.IGNORECASE | re.ASCII)


class MdnsError(ValueError):
    """The bytes are not a DNS message."""


def is_mdns_name(name: str) -> bool:
    """Return whether a candidate's address is an mDNS name; other names that end in .local are not."""
    return _MDNS_NAME.fullmatch(name) is not None


def encode_query(name: str, record_type: int, *, unicast: bool) -> bytes:
    """Return a query with one question: Chromium ignores queries with more.

    Args:
        name: an mDNS name (`is_mdns_name`).
        record_type: `TYPE_A` or `TYPE_AAAA`.
        unicast: whether to request a unicast answer.
    """
    labels = b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split("."))
    record_class = _CLASS_IN | (_TOP_BIT if unicast else 0)
    return _HEADER.pack(0, 0, 1, 0, 0, 0) + labels + b"\0" + _QUESTION_TAIL.pack(record_type, record_class)


def parse_response_untrusted(message: bytes) -> list[tuple[str, str]]:
    """Return the addresses in a response: (name in lower case, IPv4 or IPv6 address).

    Reading ends at a malformed record; the records before it count.

    Raises:
        MdnsError: the message is not a response.
    """
    if len(message) < _HEADER.size:
        raise MdnsError(f"{len(message)} bytes are too few for a DNS message")
    _, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(message)
    # RFC 6762, 18.3 and 18.11: messages with another opcode or response code than zero are ignored.
    if not flags & _QR or flags & _OPCODE_AND_RCODE:
        raise MdnsError("not a response")
    found: list[tuple[str, str]] = []
    try:
        position = _HEADER.size
        for _ in range(min(questions, _MAX_RECORDS)):
            _, position = _read_name(message, position)
            position += _QUESTION_TAIL.size
        for _ in range(min(answers + authorities + additionals, _MAX_RECORDS)):
            position = _read_record(message, position, found)
    except (MdnsError, struct.error):
        pass
    return found


def _read_record(message: bytes, position: int, found: list[tuple[str, str]]) -> int:
    """Add the record to `found` if it is an address; return where the next one starts."""
    name, position = _read_name(message, position)
    record_type, record_class, time_to_live, length = _RECORD_TAIL.unpack_from(message, position)
    start = position + _RECORD_TAIL.size
    end: int = start + length
    if end > len(message):
        raise MdnsError("a record ends past the message")
    wanted = {TYPE_A: 4, TYPE_AAAA: 16}.get(record_type)
    # RFC 6762, 10.1: a record with a time to live of zero is withdrawn.
    if wanted == length and record_class & ~_TOP_BIT == _CLASS_IN and time_to_live > 0:
        address = ipaddress.ip_address(message[start:end])
        if address.is_loopback or not (address.is_multicast or address.is_unspecified or address.is_reserved):
            found.append((name, str(address)))
    return end


def _read_name(message: bytes, position: int) -> tuple[str, int]:
    """Return a name in lower case, and the position behind it."""
    labels: list[str] = []
    length = 0
    after: int | None = None
    lowest = position
    while True:
        if position >= len(message):
            raise MdnsError("a name ends past the message")
        size = message[position]
        if size == 0:
            return ".".join(labels).lower(), position + 1 if after is None else after
        if size & _POINTER == _POINTER:
            if position + 1 >= len(message):
                raise MdnsError("a pointer ends past the message")
            target = (size & ~_POINTER) << 8 | message[position + 1]
            after = position + 2 if after is None else after
            # RFC 1035, 4.1.4 points to "a prior occurrence": only backwards, or a loop would never end.
            if target >= lowest:
                raise MdnsError("a pointer does not point back")
            position = lowest = target
            continue
        if size & _POINTER:
            raise MdnsError("a label is of an unknown kind")
        length += size + 1
        if length > _MAX_NAME or position + 1 + size > len(message):
            raise MdnsError("a name is too long")
        labels.append(message[position + 1 : position + 1 + size].decode("ascii", "replace"))
        position += 1 + size
