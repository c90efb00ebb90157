"""Parameters and error causes field by field; they share a file because each may contain the other.

RFC 9260, 3.3.2, 3.3.3 and 3.3.10; RFC 3758; RFC 4895; RFC 5061; RFC 6525; RFC 9653.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from datachan.decode.node import Node, Reader, quoted
from datachan.decode.registry import CHUNK_NAMES, HMAC_NAMES, RECONFIG_RESULTS
from datachan.decode.tlv import Decoder, decode_list, decode_value, opaque

_DETECTION_METHODS: Final = {1: "SCTP over DTLS"}
_ADDRESS_TYPES: Final = {5: "IPv4", 6: "IPv6", 11: "host name"}


def decode_parameters(parent: Node, reader: Reader) -> None:
    """Decode all parameters and add them to the parent."""
    decode_list(parent, reader, _decode_parameter)


def decode_causes(parent: Node, reader: Reader) -> None:
    """Decode all error causes and add them to the parent."""
    decode_list(parent, reader, _decode_cause)


def _decode_parameter(type_: int, length: int, reader: Reader) -> Node:
    name, decoder = PARAMETERS.get(type_, ("", opaque("value")))
    node = Node("parameters", name or f"Parameter 0x{type_:04x}", "" if name else requested_handling(type_ >> 8))
    node.add("type", type_, f"0x{type_:04x}")
    node.add("length", length)
    decode_value(node, reader, decoder)
    return node


def _decode_cause(code: int, length: int, reader: Reader) -> Node:
    name, decoder = CAUSES.get(code, ("", opaque("info")))
    node = Node("causes", name or f"Error cause {code}", "" if name else "unknown")
    node.add("code", code)
    node.add("length", length)
    decode_value(node, reader, decoder)
    return node


def requested_handling(type_: int) -> str:
    """Return the required handling of an unknown type, from its two high bits (RFC 9260, 3.2 and 3.2.1)."""
    report = ", and reports it" if type_ & 0x40 else ""
    return f"unknown; a receiver {'skips it' if type_ & 0x80 else 'stops there'}{report}"


def _numbers(separator: str, names: dict[int, str], numbers: list[int], none: str = "none") -> str:
    return separator.join([f"{names[number]}" if number in names else str(number) for number in numbers]) or none


def _nothing(_node: Node, _reader: Reader) -> None:
    pass


def _u32(key: str, form: str = "{}") -> Decoder:
    def decode(node: Node, reader: Reader) -> None:
        value = reader.u32()
        node.add(key, value, form.format(value))

    return decode


def _text(key: str) -> Decoder:
    def decode(node: Node, reader: Reader) -> None:
        text = reader.rest().decode("utf-8", "replace")
        node.add(key, text, quoted(text) if text else "none")

    return decode


def _ipv4(node: Node, reader: Reader) -> None:
    node.add("address", str(ipaddress.IPv4Address(reader.take(4))))


def _ipv6(node: Node, reader: Reader) -> None:
    node.add("address", str(ipaddress.IPv6Address(reader.take(16))))


def _host_name(node: Node, reader: Reader) -> None:
    name = reader.rest().rstrip(b"\0").decode("utf-8", "replace")
    node.add("host_name", name, quoted(name))


def _u16_list(key: str, names: dict[int, str], none: str = "none") -> Decoder:
    def decode(node: Node, reader: Reader) -> None:
        numbers = [reader.u16() for _ in range(reader.left // 2)]
        node.add(key, list(numbers), _numbers(", ", names, numbers, none))

    return decode


_stream_ids: Final = _u16_list("stream_ids", {}, "all")


def _chunk_types(node: Node, reader: Reader) -> None:
    types = list(reader.rest())
    node.add("chunk_types", list(types), _numbers(", ", CHUNK_NAMES, types))


def _zero_checksum(node: Node, reader: Reader) -> None:
    method = reader.u32()
    node.add("edmid", method, f"{method} ({_DETECTION_METHODS.get(method, 'unknown')})")


def _outgoing_reset(node: Node, reader: Reader) -> None:
    node.add("request_sequence_number", reader.u32())
    node.add("response_sequence_number", reader.u32())
    node.add("last_assigned_tsn", reader.u32())
    _stream_ids(node, reader)


def _incoming_reset(node: Node, reader: Reader) -> None:
    node.add("request_sequence_number", reader.u32())
    _stream_ids(node, reader)


def _response(node: Node, reader: Reader) -> None:
    node.add("response_sequence_number", reader.u32())
    result = reader.u32()
    node.add("result", result, f"{result} ({RECONFIG_RESULTS.get(result, 'unknown')})")
    if reader.left:
        node.add("sender_next_tsn", reader.u32())
        node.add("receiver_next_tsn", reader.u32())


def _add_streams(node: Node, reader: Reader) -> None:
    node.add("request_sequence_number", reader.u32())
    node.add("new_streams", reader.u16())
    reader.u16()  # reserved


def _asconf(decode_inner: Decoder) -> Decoder:
    def decode(node: Node, reader: Reader) -> None:
        correlation = reader.u32()
        node.add("correlation_id", correlation, f"0x{correlation:08x}")
        decode_inner(node, reader)

    return decode


def _missing(node: Node, reader: Reader) -> None:
    count = reader.u32()
    node.add("missing_parameters", count)
    # As many as the length holds, whatever the count claims.
    types = [reader.u16() for _ in range(min(count, reader.left // 2))]
    named = [PARAMETERS[kind][0] if kind in PARAMETERS else f"0x{kind:04x}" for kind in types]
    node.add("types", list(types), ", ".join(named) or "none")
    if len(types) < count:
        node.complain(f"it counts {count} parameters and names {len(types)}")


def _invalid_stream(node: Node, reader: Reader) -> None:
    node.add("stream_id", reader.u16())
    reader.u16()  # reserved


def _unrecognized_chunk(node: Node, reader: Reader) -> None:
    if reader.left >= 4:
        kind = reader.data[0]
        node.add("chunk_type", kind, CHUNK_NAMES.get(kind, str(kind)))
    opaque("chunk")(node, reader)


def _unsupported_hmac(node: Node, reader: Reader) -> None:
    identifier = reader.u16()
    node.add("hmac_identifier", identifier, HMAC_NAMES.get(identifier, str(identifier)))


PARAMETERS: Final[dict[int, tuple[str, Decoder]]] = {
    1: ("Heartbeat Info", opaque("info")),
    5: ("IPv4 Address", _ipv4),
    6: ("IPv6 Address", _ipv6),
    7: ("State Cookie", opaque("cookie")),
    8: ("Unrecognized Parameter", decode_parameters),
    9: ("Cookie Preservative", _u32("increment_ms", "{} ms")),
    11: ("Host Name Address", _host_name),
    12: ("Supported Address Types", _u16_list("address_types", _ADDRESS_TYPES)),
    13: ("Outgoing SSN Reset Request", _outgoing_reset),
    14: ("Incoming SSN Reset Request", _incoming_reset),
    15: ("SSN/TSN Reset Request", _u32("request_sequence_number")),
    16: ("Re-configuration Response", _response),
    17: ("Add Outgoing Streams Request", _add_streams),
    18: ("Add Incoming Streams Request", _add_streams),
    0x8000: ("ECN Capable", _nothing),
    0x8001: ("Zero Checksum Acceptable", _zero_checksum),
    0x8002: ("Random", opaque("random")),
    0x8003: ("Chunk List", _chunk_types),
    0x8004: ("Requested HMAC Algorithm", _u16_list("hmac_identifiers", HMAC_NAMES)),
    0x8005: ("Padding", opaque("padding")),
    0x8008: ("Supported Extensions", _chunk_types),
    0xC000: ("Forward-TSN-Supported", _nothing),
    0xC001: ("Add IP Address", _asconf(decode_parameters)),
    0xC002: ("Delete IP Address", _asconf(decode_parameters)),
    0xC003: ("Error Cause Indication", _asconf(decode_causes)),
    0xC004: ("Set Primary IP Address", _asconf(decode_parameters)),
    0xC005: ("Success Indication", _asconf(_nothing)),
    0xC006: ("Adaptation Layer Indication", _u32("adaptation_code_point", "0x{:08x}")),
}

CAUSES: Final[dict[int, tuple[str, Decoder]]] = {
    1: ("Invalid Stream Identifier", _invalid_stream),
    2: ("Missing Mandatory Parameter", _missing),
    3: ("Stale Cookie", _u32("staleness_us", "{} µs")),
    4: ("Out of Resource", _nothing),
    5: ("Unresolvable Address", decode_parameters),
    6: ("Unrecognized Chunk Type", _unrecognized_chunk),
    7: ("Invalid Mandatory Parameter", _nothing),
    8: ("Unrecognized Parameters", decode_parameters),
    9: ("No User Data", _u32("tsn")),
    10: ("Cookie Received While Shutting Down", _nothing),
    11: ("Restart of an Association with New Addresses", decode_parameters),
    12: ("User-Initiated Abort", _text("reason")),
    13: ("Protocol Violation", _text("information")),
    0x00A0: ("Request to Delete Last Remaining IP Address", decode_parameters),
    0x00A1: ("Operation Refused Due to Resource Shortage", decode_parameters),
    0x00A2: ("Request to Delete Source IP Address", decode_parameters),
    0x00A3: ("Association Aborted Due to Illegal ASCONF-ACK", opaque("info")),
    0x00A4: ("Request Refused - No Authorization", decode_parameters),
    0x0105: ("Unsupported HMAC Identifier", _unsupported_hmac),
}
