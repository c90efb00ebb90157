"""SCTP packets field by field, for people: bytes in, names and values out; captures and their link layers, too.

Nothing here is used to run an association. The codec of `datachan.sctp.wire` is strict, a packet is good or it is not;
this one takes a packet that is damaged, cut short or full of what nobody knows, says what it holds as far as it goes,
and where and why that ends. Whatever the bytes are, nothing is raised but `NotHexadecimal` and `BadCapture`.
"""

from __future__ import annotations

from datachan.decode.capture import BadCapture, CaptureReader, Frame
from datachan.decode.hexadecimal import NotHexadecimal, parse_hexadecimal
from datachan.decode.links import Encapsulated, find_sctp
from datachan.decode.node import Field, Node
from datachan.decode.packet import decode_packet
from datachan.decode.text import Style, render, render_summary, to_json

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
    "parse_hexadecimal",
    "render",
    "render_summary",
    "to_json",
]
