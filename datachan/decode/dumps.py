"""Packets in text: plain hexadecimal, hex dumps with offsets (od, hexdump -C, xxd, text2pcap), SCTP_PACKET logs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from datachan.decode.hexadecimal import NotHexadecimal, parse_hexadecimal

LONGEST: Final = 1 << 16
"""Bytes. No packet is longer, so a dump that goes on is not one of a packet."""

# "I 12:00:00.0 0000 11 5c … # SCTP_PACKET": usrsctp and dcsctp log packets in this form, for text2pcap.
_LOG_MARK: Final = "# SCTP_PACKET"
_LOG_LINE: Final = re.compile(r"\b[IO] \d+:\d\d:\d\d\.\d+ 0000((?: [0-9a-fA-F]{2})+)\s*# SCTP_PACKET")

_ROW: Final = re.compile(r"\s*(?:0x)?([0-9a-fA-F]{3,8})(:\s*|\s+)(\S.*)")
_END: Final = re.compile(r"\s*(?:0x)?([0-9a-fA-F]{3,8}):?\s*")
_GROUPS: Final = re.compile(r"[0-9a-fA-F]{2,8}(?:\s{1,2}[0-9a-fA-F]{2,8})*(?=\s|$)")
_PAIRS: Final = re.compile(r"[0-9a-fA-F]{2}(?:\s{1,2}[0-9a-fA-F]{2})*(?=\s|$)")
_REPEAT: Final = "*"
_OD_WIDTH: Final = 16  # bytes per row of od and hexdump, the programs that leave out repeated rows


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of a dump.

    Attributes:
        offset: The digits of its offset; "" for the mark of repeated lines.
        data: Its bytes, perhaps with some of the text column, which may look like hexadecimal; empty on the last line.
        clear: Whether a colon or two spaces follow the offset, so that it cannot be taken for data.
        words: Whether it shows 16-bit words, as `od -x` does.
    """

    offset: str
    data: bytes = b""
    clear: bool = True
    words: bool = False


def parse_packets(text: str) -> list[bytes]:
    """Return the packets that a text shows. In plain hexadecimal an empty line separates two packets.

    Raises:
        NotHexadecimal: The text is in no known form; the message says what is wrong with it.
    """
    if _LOG_MARK in text:
        packets = [bytes.fromhex(match[1]) for match in _LOG_LINE.finditer(text)]
        if len(packets) < text.count(_LOG_MARK):
            raise NotHexadecimal("a line with # SCTP_PACKET is not of the form I 12:00:00.0 0000 11 5c …")
        return packets
    paragraphs = [part for part in re.split(r"\n[ \t\r]*\n", text) if part.strip()]
    packets = []
    for paragraph in paragraphs or [""]:
        rows = _rows(paragraph)
        packets += [parse_hexadecimal(paragraph)] if rows is None else _join(rows)
    return packets


def _rows(paragraph: str) -> list[_Row] | None:
    """Return the rows of a dump, or None if the text is not a dump."""
    rows = []
    for line in paragraph.splitlines():
        if not line.strip():
            continue
        row = _row(line)
        if row is None:
            return None
        rows.append(row)
    first = rows[0] if rows else None
    if first is None or not first.data or not (first.clear or not int(first.offset, 16)):
        return None
    return rows


def _row(line: str) -> _Row | None:
    if line.strip() == _REPEAT:
        return _Row("")
    if end := _END.fullmatch(line):
        return _Row(end[1])
    match = _ROW.fullmatch(line)
    if match is None:
        return None
    offset, gap, rest = match.groups()
    clear = ":" in gap or len(gap) > 1
    data = (_GROUPS if clear else _PAIRS).match(rest)
    words = False
    if data is None and not clear:
        data = _GROUPS.match(rest)
        words = True
    if data is None:
        return None
    digits = re.sub(r"\s", "", data[0])
    return _Row(offset, bytes.fromhex(digits[: len(digits) & ~1]), clear, words)


def _join(rows: list[_Row]) -> list[bytes]:
    """Return the packets of the rows of a dump; an offset of zero starts a packet.

    Raises:
        NotHexadecimal: The rows are 16-bit words, or their offsets do not fit their bytes in any base.
    """
    if any(row.words for row in rows):
        raise NotHexadecimal("the dump shows words, whose byte order is unknown; use od -Ax -tx1 or hexdump -C")
    starts = [index for index, row in enumerate(rows) if index == 0 or (row.data and not row.offset.strip("0"))]
    return [_packet(rows[start:end]) for start, end in zip(starts, [*starts[1:], len(rows)], strict=True)]


def _packet(rows: list[_Row]) -> bytes:
    for base in (16, 8, 10):
        packet = _packet_with_offsets(rows, base)
        if packet is not None:
            return packet
    raise NotHexadecimal("the offsets of the dump do not fit its bytes")


def _packet_with_offsets(rows: list[_Row], base: int) -> bytes | None:
    """Return the bytes, or None if the offsets, read in this base, do not fit the bytes."""
    try:
        offsets = [int(row.offset, base) if row.offset else None for row in rows]
    except ValueError:
        return None
    packet = bytearray()
    width = len(rows[0].data)  # an offset gives the end of the previous row; the last row may lack one
    for index, row in enumerate(rows):
        start = offsets[index]
        if start is None:  # expanded with the row before it
            continue
        following = offsets[index + 1 : index + 3]
        if not following:
            packet += row.data[:width]
            break
        repeated = following[0] is None
        end = following[-1] if repeated else following[0]
        if end is None or not 0 < end - start <= LONGEST - len(packet):
            return None
        width = min(width, _OD_WIDTH) if repeated else end - start
        piece = row.data[:width] * ((end - start) // width) if width else b""
        if len(piece) != end - start:
            return None
        packet += piece
    return bytes(packet)
