"""SCTP packets field by field, for people: bytes in, names and values out; also captures and their link layers.

No association uses this package. The codec of `datachan.sctp.wire` is strict: it accepts a packet or rejects it. This
decoder also accepts packets that are damaged, truncated or full of unknown types. It shows all that can be read, and
reports where and why it stops. It raises nothing but `NotHexadecimal` and `BadCapture`, whatever the bytes are.
"""

from __future__ import annotations

from datachan.decode.capture import BadCapture, CaptureReader, Frame
from datachan.decode.dumps import parse_packets
from datachan.decode.hexadecimal import NotHexadecimal
from datachan.decode.links import Encapsulated, find_sctp
from datachan.decode.node import Field, Node
from datachan.decode.packet_fields import decode_packet
from datachan.decode.rendering import Style, render, render_summary, to_json

__all__ = [
    "BadCapture",
    "CaptureReader",
    "Encapsulated",
    "Field",
    "Frame",
    "Node",
    "NotHexadecimal",
    "Style",
    "decode_packet",
    "find_sctp",
    "parse_packets",
    "render",
    "render_summary",
    "to_json",
]
