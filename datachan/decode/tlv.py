"""The common part of parameters and error causes: type, length, value, padding, as far as they can be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from datachan.decode.node import Node, Reader, Truncated, shown_bytes

Decoder = Callable[[Node, Reader], None]

HEADER: Final = 4
DEEPEST: Final = 8
"""Levels. Parameters may contain parameters and causes; anything nested more deeply is shown as bytes."""


def decode_value(node: Node, reader: Reader, decoder: Decoder) -> None:
    """Let the decoder take the fields, record where the bytes end too early, and show bytes that are left over."""
    try:
        decoder(node, reader)
    except Truncated as truncated:
        node.complain(str(truncated))
    if reader.left:
        node.complain(f"what is at byte {reader.offset + reader.position} does not belong there")
        _show_rest(node, reader)


def decode_list(parent: Node, reader: Reader, decode: Callable[[int, int, Reader], Node]) -> None:
    """Add one child to the parent for each type, length and value, as `decode` returns it."""
    if reader.depth >= DEEPEST:
        opaque("value")(parent, reader)
    while reader.left:
        start = reader.offset + reader.position
        if reader.left < HEADER:
            parent.complain(f"a type and a length, 4 bytes at byte {start}, have {reader.left} of them left")
            _show_rest(parent, reader)
            return
        type_, length = reader.u16(), reader.u16()
        available = min(max(length - HEADER, 0), reader.left)
        node = decode(type_, length, Reader(reader.take(available), start + HEADER, reader.depth + 1))
        parent.children.append(node)
        if length < HEADER:
            node.complain(f"its length is {length}, less than the {HEADER} of its header")
            _show_rest(parent, reader)
            return
        if length - HEADER > available:
            # Overrides a problem found inside the value: the cut is the cause of it.
            node.problem = f"its length is {length}, but {available + HEADER} bytes are left"
            return
        reader.take(min(-length % 4, reader.left))


def opaque(key: str) -> Decoder:
    """Return a decoder that shows the whole value as bytes."""

    def decode(node: Node, reader: Reader) -> None:
        value = reader.rest()
        node.add(key, value.hex(), shown_bytes(value))

    return decode


def _show_rest(node: Node, reader: Reader) -> None:
    if reader.left:
        rest = reader.rest()
        node.add("rest", rest.hex(), shown_bytes(rest))
