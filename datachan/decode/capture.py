"""Capture files, pcap and pcapng in either byte order: bytes in, complete frames out.

The file is fed in pieces, so it may have any size and may still grow. Only an incomplete record is buffered.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_PCAP_MAGIC: Final = {
    b"\xa1\xb2\xc3\xd4": (">", 1_000),
    b"\xd4\xc3\xb2\xa1": ("<", 1_000),
    b"\xa1\xb2\x3c\x4d": (">", 1),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
}
_PCAPNG_MAGIC: Final = b"\x0a\x0d\x0d\x0a"
_BYTE_ORDERS: Final = {b"\x1a\x2b\x3c\x4d": ">", b"\x4d\x3c\x2b\x1a": "<"}
_SECTION: Final = 0x0A0D0D0A
_INTERFACE: Final = 1
_SIMPLE_PACKET: Final = 3
_ENHANCED_PACKET: Final = 6
_OPTION_END: Final = 0
_OPTION_COMMENT: Final = 1
_OPTION_NAME: Final = 2
_OPTION_FLAGS: Final = 2
_OPTION_RESOLUTION: Final = 9
_OPTION_OFFSET: Final = 14
_DIRECTIONS: Final = {1: "received", 2: "sent"}
_NANOSECONDS: Final = 1_000_000_000
_LONGEST: Final = 1 << 24
"""Bytes. A longer record is treated as damage."""
_MOST_INTERFACES: Final = 1 << 16


def looks_like_capture(head: bytes) -> bool:
    """Return whether these are the first four bytes of a capture file."""
    return head in _PCAP_MAGIC or head == _PCAPNG_MAGIC


class BadCapture(ValueError):
    """The bytes are not a capture, or the capture is damaged; the message says how and where."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One captured frame.

    Attributes:
        number: Counted from 1, as in Wireshark.
        time: Nanoseconds since 1970, or None if the file has no times.
        link_type: The type of its first header (LINKTYPE_…).
        data: The captured bytes.
        original_length: Its length on the wire in bytes.
        direction: "received", "sent", or "" if the file does not say.
        interface: The name of the interface on which it was captured, if the file has one.
        comment: The comment in the file.
    """

    number: int
    time: int | None
    link_type: int
    data: bytes
    original_length: int
    direction: str = ""
    interface: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class _Interface:
    link_type: int
    snap_length: int
    ticks_per_second: int
    offset: int
    name: str


class CaptureReader:
    """Splits a capture file into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._position = 0  # of the first byte of the buffer, in the file
        self._number = 0
        self._order = ""
        self._pcap = False
        self._link_type = 0
        self._tick = 1  # nanoseconds
        self._interfaces: list[_Interface] = []

    @property
    def unfinished(self) -> int:
        """Bytes of the last, incomplete record."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Add the next bytes of the file, and yield the frames that they complete.

        Raises:
            BadCapture: The file is not a capture, or is damaged. All frames before the damage were yielded.
        """
        self._buffer += data
        if not self._order:
            self._read_magic()
        while self._order:
            size = self._size_of_next()
            if size is None or size > len(self._buffer):
                return
            record = bytes(self._buffer[:size])
            frame = self._pcap_frame(record) if self._pcap else self._pcapng_block(record)
            del self._buffer[:size]
            self._position += size
            if frame is not None:
                yield frame

    def _read_magic(self) -> None:
        magic = bytes(self._buffer[:4])
        known = [*_PCAP_MAGIC, _PCAPNG_MAGIC]
        if not any(one.startswith(magic) for one in known):
            raise BadCapture("this is not a capture file: it starts neither as pcap nor as pcapng")
        if magic == _PCAPNG_MAGIC:
            self._order = "?"  # each section has its own
        elif magic in _PCAP_MAGIC and len(self._buffer) >= 24:
            self._order, self._tick = _PCAP_MAGIC[magic]
            self._pcap = True
            # The upper bits of the link type show whether frames end with a check sequence.
            self._link_type = struct.unpack_from(self._order + "I", self._buffer, 20)[0] & 0xFFFF
            del self._buffer[:24]
            self._position = 24

    def _size_of_next(self) -> int | None:
        """Return the length of the next record, or None if too few bytes are buffered to know it."""
        buffer = self._buffer
        if self._pcap:
            if len(buffer) < 16:
                return None
            size = 16 + int(struct.unpack_from(self._order + "I", buffer, 8)[0])
        else:
            if len(buffer) < 12:
                return None
            if bytes(buffer[:4]) == _PCAPNG_MAGIC:
                order = _BYTE_ORDERS.get(bytes(buffer[8:12]))
                if order is None:
                    raise self._bad("a section without a byte order")
                self._order = order
            elif self._order == "?":
                raise self._bad("a block before the first section")
            size = int(struct.unpack_from(self._order + "I", buffer, 4)[0])
            if size < 12 or size % 4:
                raise self._bad(f"a block of {size} bytes")
        if size > _LONGEST:
            raise self._bad(f"a record of {size} bytes")
        return size

    def _bad(self, what: str) -> BadCapture:
        return BadCapture(f"the capture is damaged at byte {self._position}: {what}")

    def _pcap_frame(self, record: bytes) -> Frame:
        link_type, tick = self._link_type, self._tick
        seconds, fraction, _, original = struct.unpack_from(self._order + "IIII", record)
        self._number += 1
        return Frame(self._number, seconds * _NANOSECONDS + fraction * tick, link_type, record[16:], original)

    def _pcapng_block(self, block: bytes) -> Frame | None:
        kind = struct.unpack_from(self._order + "I", block)[0]
        body = block[8:-4]
        try:
            if kind == _SECTION:
                self._interfaces = []
            elif kind == _INTERFACE:
                self._add_interface(body)
            elif kind == _ENHANCED_PACKET:
                return self._enhanced_packet(body)
            elif kind == _SIMPLE_PACKET:
                return self._simple_packet(body)
        except struct.error:
            raise self._bad("a block shorter than its type allows") from None
        return None

    def _add_interface(self, body: bytes) -> None:
        link_type, _, snap_length = struct.unpack_from(self._order + "HHI", body)
        options = self._options(body[8:])
        resolution = options.get(_OPTION_RESOLUTION, b"\x06")[:1] or b"\x06"
        exponent = resolution[0] & 0x7F
        ticks = 2**exponent if resolution[0] & 0x80 else 10**exponent
        offset = options.get(_OPTION_OFFSET, b"")
        seconds = struct.unpack(self._order + "q", offset)[0] if len(offset) == 8 else 0
        name = options.get(_OPTION_NAME, b"").decode("utf-8", "replace")
        if len(self._interfaces) >= _MOST_INTERFACES:
            raise self._bad(f"more than {_MOST_INTERFACES} interfaces")
        self._interfaces.append(_Interface(link_type, snap_length, ticks, seconds, name))

    def _enhanced_packet(self, body: bytes) -> Frame:
        number, high, low, captured, original = struct.unpack_from(self._order + "IIIII", body)
        interface = self._interface(number)
        if captured > len(body) - 20:
            raise self._bad(f"a packet of {captured} bytes in a block of {len(body) + 12}")
        options = self._options(body[20 + (captured + 3 & ~3) :])
        flags = options.get(_OPTION_FLAGS, b"")
        direction = struct.unpack(self._order + "I", flags)[0] & 3 if len(flags) == 4 else 0
        time = interface.offset * _NANOSECONDS + (high << 32 | low) * _NANOSECONDS // interface.ticks_per_second
        self._number += 1
        return Frame(
            self._number,
            time,
            interface.link_type,
            body[20 : 20 + captured],
            original,
            _DIRECTIONS.get(direction, ""),
            interface.name,
            options.get(_OPTION_COMMENT, b"").decode("utf-8", "replace"),
        )

    def _simple_packet(self, body: bytes) -> Frame:
        original = struct.unpack_from(self._order + "I", body)[0]
        interface = self._interface(0)
        captured = min(original, interface.snap_length or original, len(body) - 4)
        self._number += 1
        return Frame(self._number, None, interface.link_type, body[4 : 4 + captured], original, "", interface.name)

    def _interface(self, number: int) -> _Interface:
        if number >= len(self._interfaces):
            raise self._bad(f"a packet of interface {number}, which was not described")
        return self._interfaces[number]

    def _options(self, data: bytes) -> dict[int, bytes]:
        options: dict[int, bytes] = {}
        position = 0
        while position + 4 <= len(data):
            code, length = struct.unpack_from(self._order + "HH", data, position)
            if code == _OPTION_END or position + 4 + length > len(data):
                break
            options.setdefault(code, data[position + 4 : position + 4 + length])
            position += 4 + (length + 3 & ~3)
        return options
