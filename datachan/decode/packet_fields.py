"""A whole packet: common header, checksum, and its chunks as far as they can be read (RFC 9260, section 3)."""

from __future__ import annotations

from typing import Final

from datachan.decode.chunk_fields import decode_chunk
from datachan.decode.node import Node, Reader, Truncated, shown_bytes
from datachan.sctp.checksum import crc32c

_CHUNK_HEADER: Final = 4


def decode_packet(data: bytes, *, original_length: int | None = None) -> Node:
    """Decode a packet, however damaged it is.

    Args:
        data: An SCTP packet from its common header on.
        original_length: Its length before a capture cut it, if it did.
    """
    node = Node("packet", "SCTP packet")
    node.add("length", len(data), f"{len(data)} bytes")
    cut = original_length is not None and original_length > len(data)
    if cut:
        node.add("original_length", original_length, f"{original_length} bytes before the capture cut it")
    reader = Reader(data)
    try:
        node.add("source_port", reader.u16())
        node.add("destination_port", reader.u16())
        node.add("verification_tag", f"0x{reader.u32():08x}")
        _add_checksum(node, data, reader.take(4), cut=cut)
    except Truncated:
        node.complain(f"{len(data)} bytes are fewer than the 12 of a common header")
        if reader.left:
            rest = reader.rest()
            node.add("rest", rest.hex(), shown_bytes(rest))
    else:
        if not reader.left:
            node.complain("the packet has no chunk")
        _add_chunks(node, reader)
    return node


def _add_checksum(node: Node, data: bytes, checksum: bytes, *, cut: bool) -> None:
    expected = crc32c(data[:8] + bytes(4) + data[12:])
    found = int.from_bytes(checksum, "little")
    if cut:
        status, text = "unknown", "cannot be checked, as the packet was cut"
    elif found == expected:
        status, text = "correct", "correct"
    elif found == 0:
        # RFC 9653: peers that agreed on another error detection method, such as DTLS, may send zero.
        status, text = "zero", "omitted, which the receiver must have allowed (RFC 9653)"
    else:
        status, text = "wrong", f"wrong, 0x{expected.to_bytes(4, 'little').hex()} would be correct"
        node.complain("the checksum is wrong")
    node.add("checksum", f"0x{checksum.hex()}", f"0x{checksum.hex()}, {text}")
    node.add("checksum_status", status, "")


def _add_chunks(node: Node, reader: Reader) -> None:
    while reader.left:
        start = reader.position
        if reader.left < _CHUNK_HEADER:
            rest = reader.rest()
            node.add("rest", rest.hex(), f"{shown_bytes(rest)}  after the last chunk, ignored")
            return
        chunk_type, flags, length = reader.u8(), reader.u8(), reader.u16()
        available = min(max(length - _CHUNK_HEADER, 0), reader.left)
        chunk = decode_chunk(chunk_type, flags, length, Reader(reader.take(available), start + _CHUNK_HEADER))
        node.children.append(chunk)
        if length < _CHUNK_HEADER:
            chunk.problem = f"its length is {length}, less than the {_CHUNK_HEADER} of its header"
        elif length - _CHUNK_HEADER > available:
            chunk.problem = (
                f"its length is {length}, but {available + _CHUNK_HEADER} bytes are left from byte {start} on"
            )
        else:
            reader.take(min(-length % 4, reader.left))
            continue
        if reader.left:
            rest = reader.rest()
            node.add("rest", rest.hex(), f"{shown_bytes(rest)}  not read because of that")
        return
