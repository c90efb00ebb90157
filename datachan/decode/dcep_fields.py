"""The messages that open data channels (RFC 8832, section 5), field by field."""

from __future__ import annotations

from typing import Final

from datachan.decode.node import Node, Reader, quoted
from datachan.decode.tlv import decode_value, opaque

_UNORDERED: Final = 0x80
_KINDS: Final = {0: "reliable", 1: "limited retransmissions", 2: "limited lifetime"}
_PARAMETERS: Final = {1: ("max_retransmits", "{}"), 2: ("max_packet_life_time", "{} ms")}
_NAMES: Final = {2: "DATA_CHANNEL_ACK", 3: "DATA_CHANNEL_OPEN"}


def decode_dcep(reader: Reader) -> Node:
    """Decode one message of PPID 50."""
    kind = reader.u8() if reader.left else None
    node = Node("dcep", "DCEP message without a type" if kind is None else _NAMES.get(kind, f"DCEP message {kind}"))
    if kind is not None:
        node.add("type", kind)
    decode_value(node, reader, {2: _ack, 3: _open}.get(kind or 0, opaque("value")))
    return node


def _ack(_node: Node, _reader: Reader) -> None:
    pass


def _open(node: Node, reader: Reader) -> None:
    channel_type = reader.u8()
    reliability = channel_type & ~_UNORDERED
    order = "unordered" if channel_type & _UNORDERED else "ordered"
    shown = f"0x{channel_type:02x} ({_KINDS.get(reliability, 'unknown')}, {order})"
    node.add("channel_type", channel_type, shown)
    node.add("priority", reader.u16())
    parameter = reader.u32()
    key, form = _PARAMETERS.get(reliability, ("reliability_parameter", "{}"))
    node.add(key, parameter, form.format(parameter))
    label_length, protocol_length = reader.u16(), reader.u16()
    node.add("label_length", label_length)
    node.add("protocol_length", protocol_length)
    label = reader.take(label_length).decode("utf-8", "replace")
    node.add("label", label, quoted(label))
    protocol = reader.take(protocol_length).decode("utf-8", "replace")
    node.add("protocol", protocol, quoted(protocol))
