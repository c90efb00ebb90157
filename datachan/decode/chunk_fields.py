"""Chunks field by field (RFC 9260, 3.3; RFC 3758; RFC 4820; RFC 4895; RFC 5061; RFC 6525; RFC 8260)."""

from __future__ import annotations

from typing import Final

from datachan.decode.dcep_fields import decode_dcep
from datachan.decode.node import Node, Reader, Value, quoted, shown_bytes
from datachan.decode.parameter_fields import decode_causes, decode_parameters, requested_handling
from datachan.decode.registry import CHUNK_NAMES, DCEP_PPID, HMAC_NAMES, PPID_NAMES, TEXT_PPIDS
from datachan.decode.tlv import Decoder, decode_value, opaque

_ENDING: Final = 0x01
_BEGINNING: Final = 0x02
_UNORDERED: Final = 0x04
_IMMEDIATE: Final = 0x08
_TAG_REFLECTED: Final = 0x01
_SHOWN: Final = 16
_MASK: Final = 0xFFFFFFFF
_FRAGMENTS: Final = {
    (True, True): "whole message",
    (True, False): "first fragment",
    (False, False): "middle fragment",
    (False, True): "last fragment",
}


def decode_chunk(chunk_type: int, flags: int, length: int, reader: Reader) -> Node:
    """Decode one chunk.

    Args:
        chunk_type: The Chunk Type.
        flags: The Chunk Flags.
        length: The Chunk Length.
        reader: The Chunk Value, or the available part of it.
    """
    decoder = CHUNKS.get(chunk_type)
    name = CHUNK_NAMES.get(chunk_type, f"Chunk {chunk_type}")
    node = Node("chunks", name, "" if decoder else requested_handling(chunk_type))
    node.add("type", chunk_type)
    node.add("flags", flags, f"0x{flags:02x}")
    node.add("length", length)
    decode_value(node, reader, decoder or opaque("value"))
    return node


def _flags(node: Node) -> int:
    value = node.get("flags")
    return value if isinstance(value, int) else 0


def _add_fragment(node: Node) -> tuple[bool, bool]:
    """Add the meaning of the flags of DATA and I-DATA; return whether the chunk begins and ends a message."""
    flags = _flags(node)
    beginning, ending = bool(flags & _BEGINNING), bool(flags & _ENDING)
    node.add("beginning", beginning, "")
    node.add("ending", ending, "")
    node.add("unordered", bool(flags & _UNORDERED), "")
    node.add("immediate", bool(flags & _IMMEDIATE), "")
    words = [_FRAGMENTS[beginning, ending], "unordered" if flags & _UNORDERED else "ordered"]
    if flags & _IMMEDIATE:
        words.append("acknowledge at once")
    node.add("message", words[0], ", ".join(words))
    return beginning, ending


def _add_user_data(node: Node, reader: Reader, ppid: int | None, whole: bool) -> None:
    data = reader.rest()
    node.add("user_data", data.hex(), shown_bytes(data))
    if ppid in TEXT_PPIDS:
        text = data.decode("utf-8", "replace")
        node.add("text", text, quoted(text))
    elif ppid == DCEP_PPID and whole:
        node.children.append(decode_dcep(Reader(data, reader.offset + reader.position - len(data))))
    if not data:
        node.complain("a DATA chunk without user data, which a receiver answers with an ABORT")


def _add_ppid(node: Node, ppid: int) -> None:
    node.add("ppid", ppid, f"{ppid} ({PPID_NAMES[ppid]})" if ppid in PPID_NAMES else str(ppid))


def _data(node: Node, reader: Reader) -> None:
    beginning, ending = _add_fragment(node)
    node.add("tsn", reader.u32())
    node.add("stream_id", reader.u16())
    node.add("ssn", reader.u16())
    ppid = reader.u32()
    _add_ppid(node, ppid)
    _add_user_data(node, reader, ppid, beginning and ending)


def _i_data(node: Node, reader: Reader) -> None:
    beginning, ending = _add_fragment(node)
    node.add("tsn", reader.u32())
    node.add("stream_id", reader.u16())
    reader.u16()  # reserved
    node.add("mid", reader.u32())
    ppid = None
    if beginning:
        ppid = reader.u32()
        _add_ppid(node, ppid)
    else:
        node.add("fsn", reader.u32())
    _add_user_data(node, reader, ppid, beginning and ending)


def _init(node: Node, reader: Reader) -> None:
    tag = reader.u32()
    node.add("initiate_tag", f"0x{tag:08x}")
    node.add("a_rwnd", reader.u32())
    node.add("outbound_streams", reader.u16())
    node.add("inbound_streams", reader.u16())
    node.add("initial_tsn", reader.u32())
    decode_parameters(node, reader)


def _sack(node: Node, reader: Reader) -> None:
    acknowledged = reader.u32()
    node.add("cumulative_tsn_ack", acknowledged)
    node.add("a_rwnd", reader.u32())
    gaps, duplicates = reader.u16(), reader.u16()
    blocks = [(reader.u16(), reader.u16()) for _ in range(min(gaps, reader.left // 4))]
    shown = [
        f"{start}-{end} (TSN {(acknowledged + start) & _MASK}-{(acknowledged + end) & _MASK})" for start, end in blocks
    ]
    node.add("gap_ack_blocks", [[start, end] for start, end in blocks], _listed(shown))
    tsns = [reader.u32() for _ in range(min(duplicates, reader.left // 4))]
    node.add("duplicate_tsns", list(tsns), _listed([str(tsn) for tsn in tsns]))
    if len(blocks) < gaps or len(tsns) < duplicates:
        node.complain(
            f"it announces {gaps} gap ack blocks and {duplicates} duplicates but has {len(blocks)} and {len(tsns)}"
        )


def _forward_tsn(node: Node, reader: Reader) -> None:
    node.add("new_cumulative_tsn", reader.u32())
    streams = [(reader.u16(), reader.u16()) for _ in range(reader.left // 4)]
    value: list[Value] = [{"stream_id": stream, "ssn": ssn} for stream, ssn in streams]
    node.add("streams", value, _listed([f"stream {stream} to SSN {ssn}" for stream, ssn in streams]))


def _i_forward_tsn(node: Node, reader: Reader) -> None:
    node.add("new_cumulative_tsn", reader.u32())
    streams = [(reader.u16(), bool(reader.u16() & 1), reader.u32()) for _ in range(reader.left // 8)]
    value: list[Value] = [{"stream_id": stream, "unordered": kind, "mid": mid} for stream, kind, mid in streams]
    shown = [f"stream {stream} {'unordered ' if kind else ''}to MID {mid}" for stream, kind, mid in streams]
    node.add("streams", value, _listed(shown))


def _u32(key: str) -> Decoder:
    def decode(node: Node, reader: Reader) -> None:
        node.add(key, reader.u32())

    return decode


def _nothing(_node: Node, _reader: Reader) -> None:
    pass


def _add_tag_reflected(node: Node) -> None:
    reflected = bool(_flags(node) & _TAG_REFLECTED)
    node.add("tag_reflected", reflected, "the sender's own tag, sent back" if reflected else "")


def _abort(node: Node, reader: Reader) -> None:
    _add_tag_reflected(node)
    decode_causes(node, reader)


def _shutdown_complete(node: Node, _reader: Reader) -> None:
    _add_tag_reflected(node)


def _auth(node: Node, reader: Reader) -> None:
    node.add("shared_key_id", reader.u16())
    identifier = reader.u16()
    node.add("hmac_identifier", identifier, HMAC_NAMES.get(identifier, f"{identifier} (unknown)"))
    opaque("hmac")(node, reader)


def _asconf(node: Node, reader: Reader) -> None:
    node.add("sequence_number", reader.u32())
    decode_parameters(node, reader)


def _pad(node: Node, reader: Reader) -> None:
    padding = reader.rest()
    node.add("padding", len(padding), f"{len(padding)} bytes{'' if not any(padding) else ', not all of them zero'}")


def _listed(words: list[str]) -> str:
    more = f", and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + more if words else "none"


CHUNKS: Final[dict[int, Decoder]] = {
    0: _data,
    1: _init,
    2: _init,
    3: _sack,
    4: decode_parameters,
    5: decode_parameters,
    6: _abort,
    7: _u32("cumulative_tsn_ack"),
    8: _nothing,
    9: decode_causes,
    10: opaque("cookie"),
    11: _nothing,
    12: _u32("lowest_tsn"),
    13: _u32("lowest_tsn"),
    14: _shutdown_complete,
    15: _auth,
    64: _i_data,
    128: _asconf,
    130: decode_parameters,
    132: _pad,
    192: _forward_tsn,
    193: _asconf,
    194: _i_forward_tsn,
}
