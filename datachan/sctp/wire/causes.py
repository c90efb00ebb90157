"""The error causes of ABORT and ERROR chunks (RFC 9260, 3.3.10): convert them to bytes, values and text.

This module knows the contents of each cause. The association decides when to send one.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from datachan.sctp.errors import BadPacket
from datachan.sctp.wire.layout import HEADER_LENGTH, TLV_HEADER, U32, serialize_tlv
from datachan.sctp.wire.parameters import Parameter

INVALID_STREAM_IDENTIFIER: Final = 1
MISSING_MANDATORY_PARAMETER: Final = 2
STALE_COOKIE: Final = 3
OUT_OF_RESOURCE: Final = 4
UNRESOLVABLE_ADDRESS: Final = 5
UNRECOGNIZED_CHUNK_TYPE: Final = 6
INVALID_MANDATORY_PARAMETER: Final = 7
UNRECOGNIZED_PARAMETERS: Final = 8
NO_USER_DATA: Final = 9
COOKIE_RECEIVED_WHILE_SHUTTING_DOWN: Final = 10
RESTART_WITH_NEW_ADDRESSES: Final = 11
USER_INITIATED_ABORT: Final = 12
PROTOCOL_VIOLATION: Final = 13
DELETE_LAST_ADDRESS: Final = 0x00A0
RESOURCE_SHORTAGE: Final = 0x00A1
DELETE_SOURCE_ADDRESS: Final = 0x00A2
ILLEGAL_ASCONF_ACK: Final = 0x00A3
NO_AUTHORIZATION: Final = 0x00A4
UNSUPPORTED_HMAC_IDENTIFIER: Final = 0x0105

CAUSE_NAMES: Final[dict[int, str]] = {
    INVALID_STREAM_IDENTIFIER: "Invalid Stream Identifier",
    MISSING_MANDATORY_PARAMETER: "Missing Mandatory Parameter",
    STALE_COOKIE: "Stale Cookie",
    OUT_OF_RESOURCE: "Out of Resource",
    UNRESOLVABLE_ADDRESS: "Unresolvable Address",
    UNRECOGNIZED_CHUNK_TYPE: "Unrecognized Chunk Type",
    INVALID_MANDATORY_PARAMETER: "Invalid Mandatory Parameter",
    UNRECOGNIZED_PARAMETERS: "Unrecognized Parameters",
    NO_USER_DATA: "No User Data",
    COOKIE_RECEIVED_WHILE_SHUTTING_DOWN: "Cookie Received While Shutting Down",
    RESTART_WITH_NEW_ADDRESSES: "Restart of an Association with New Addresses",
    USER_INITIATED_ABORT: "User-Initiated Abort",
    PROTOCOL_VIOLATION: "Protocol Violation",
    DELETE_LAST_ADDRESS: "Request to Delete Last Remaining IP Address",
    RESOURCE_SHORTAGE: "Operation Refused Due to Resource Shortage",
    DELETE_SOURCE_ADDRESS: "Request to Delete Source IP Address",
    ILLEGAL_ASCONF_ACK: "Association Aborted Due to Illegal ASCONF-ACK",
    NO_AUTHORIZATION: "Request Refused - No Authorization",
    UNSUPPORTED_HMAC_IDENTIFIER: "Unsupported HMAC Identifier",
}

_U16_U16: Final = struct.Struct("!HH")
_LONGEST_TEXT: Final = 200
_LONGEST_ECHO: Final = 512


@dataclass(frozen=True, slots=True)
class ErrorCause:
    """One error cause.

    Attributes:
        code: the Cause Code, one of the constants of this module or unknown.
        info: the Cause-Specific Information.
    """

    code: int
    info: bytes = b""

    def serialize(self) -> bytes:
        """Return the whole cause, padded to a multiple of 4 bytes."""
        return serialize_tlv(self.code, self.info)


def invalid_stream_identifier(stream_id: int) -> ErrorCause:
    """Report DATA on a stream that does not exist (3.3.10.1)."""
    return ErrorCause(INVALID_STREAM_IDENTIFIER, _U16_U16.pack(stream_id, 0))


def missing_mandatory_parameter(types: Sequence[int]) -> ErrorCause:
    """Report parameter types that are missing in INIT or INIT ACK (3.3.10.2)."""
    return ErrorCause(MISSING_MANDATORY_PARAMETER, struct.pack(f"!I{len(types)}H", len(types), *types))


def stale_cookie(staleness_us: int) -> ErrorCause:
    """Report a valid State Cookie that expired this many microseconds ago, at most 2**32 - 1 (3.3.10.3)."""
    return ErrorCause(STALE_COOKIE, U32.pack(min(max(staleness_us, 0), 0xFFFFFFFF)))


def out_of_resource() -> ErrorCause:
    """Report that we are out of resources (3.3.10.4)."""
    return ErrorCause(OUT_OF_RESOURCE)


def unresolvable_address(parameter: Parameter) -> ErrorCause:
    """Report an address or host name parameter that we cannot use (3.3.10.5); a long one is not echoed."""
    echo = parameter.serialize()
    return ErrorCause(UNRESOLVABLE_ADDRESS, echo if len(echo) <= _LONGEST_ECHO else b"")


def unrecognized_chunk_type(chunk: bytes) -> ErrorCause:
    """Report a chunk, complete with its header, whose type we do not know (3.3.10.6)."""
    return ErrorCause(UNRECOGNIZED_CHUNK_TYPE, chunk)


def invalid_mandatory_parameter() -> ErrorCause:
    """Report an invalid value of a mandatory parameter of INIT or INIT ACK (3.3.10.7)."""
    return ErrorCause(INVALID_MANDATORY_PARAMETER)


def unrecognized_parameters(parameters: Sequence[Parameter]) -> ErrorCause:
    """Report parameters of an INIT ACK whose types we do not know (3.3.10.8)."""
    return ErrorCause(UNRECOGNIZED_PARAMETERS, b"".join([parameter.serialize() for parameter in parameters]))


def no_user_data(tsn: int) -> ErrorCause:
    """Report the DATA chunk with this TSN, which has no user data (3.3.10.9)."""
    return ErrorCause(NO_USER_DATA, U32.pack(tsn & 0xFFFFFFFF))


def cookie_received_while_shutting_down() -> ErrorCause:
    """Report a COOKIE ECHO that arrived in SHUTDOWN-ACK-SENT (3.3.10.10)."""
    return ErrorCause(COOKIE_RECEIVED_WHILE_SHUTTING_DOWN)


def restart_with_new_addresses(addresses: Sequence[Parameter]) -> ErrorCause:
    """Report the addresses that an INIT for an existing association added (3.3.10.11)."""
    return ErrorCause(RESTART_WITH_NEW_ADDRESSES, b"".join([address.serialize() for address in addresses]))


def user_initiated_abort(reason: str) -> ErrorCause:
    """Report that our application aborted the association (3.3.10.12); the reason is cut after 200 bytes."""
    return ErrorCause(USER_INITIATED_ABORT, reason.encode("utf-8", "replace")[:_LONGEST_TEXT])


def protocol_violation(text: str) -> ErrorCause:
    """Report a violation for which there is no other cause (3.3.10.13); the text is cut after 200 bytes."""
    return ErrorCause(PROTOCOL_VIOLATION, text.encode("utf-8", "replace")[:_LONGEST_TEXT])


def unsupported_hmac_identifier(identifier: int) -> ErrorCause:
    """Report an AUTH chunk made with an algorithm that we did not offer (RFC 4895, 4.1)."""
    return ErrorCause(UNSUPPORTED_HMAC_IDENTIFIER, struct.pack("!H", identifier))


def refused_request(code: int, request: Parameter) -> ErrorCause:
    """Report an ASCONF request that we refused (RFC 5061, 4.3)."""
    return ErrorCause(code, request.serialize())


def illegal_asconf_ack() -> ErrorCause:
    """Report an ASCONF-ACK that matches no outstanding ASCONF (RFC 5061, 4.3.4)."""
    return ErrorCause(ILLEGAL_ASCONF_ACK)


def parse_causes_untrusted(data: bytes, start: int, end: int) -> list[ErrorCause]:
    """Parse the error causes in data[start:end].

    Args:
        data: the packet.
        start: the offset of the first cause.
        end: the offset where the chunk ends, by its Chunk Length.

    Returns:
        The causes in order, of known and unknown codes.

    Raises:
        BadPacket: a length is below 4 or exceeds the chunk.
    """
    causes: list[ErrorCause] = []
    while start < end:
        if end - start < HEADER_LENGTH:
            raise BadPacket("an error cause is shorter than its header")
        code, length = TLV_HEADER.unpack_from(data, start)
        if length < HEADER_LENGTH or length > end - start:
            raise BadPacket(f"error cause {code} has length {length}; {end - start} bytes are left")
        causes.append(ErrorCause(code, data[start + HEADER_LENGTH : start + length]))
        start += (length + 3) & ~3
    return causes


def describe(cause: ErrorCause) -> str:
    """Return a short, printable sentence about a cause, for any bytes that the peer put into it."""
    name = CAUSE_NAMES.get(cause.code, f"Unknown error cause {cause.code}")
    detail = _detail(cause)
    return f"{name}: {detail}" if detail else name


def _detail(cause: ErrorCause) -> str:
    info = cause.info
    if cause.code in {USER_INITIATED_ABORT, PROTOCOL_VIOLATION}:
        text = info[: 4 * _LONGEST_TEXT].decode("utf-8", "replace")[:_LONGEST_TEXT]
        return "".join([character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text])
    if cause.code == INVALID_STREAM_IDENTIFIER and len(info) >= 2:
        return f"stream {int.from_bytes(info[:2], 'big')}"
    if cause.code == STALE_COOKIE and len(info) == 4:
        return f"by {U32.unpack(info)[0]} microseconds"
    if cause.code == NO_USER_DATA and len(info) == 4:
        return f"TSN {U32.unpack(info)[0]}"
    if cause.code == UNRECOGNIZED_CHUNK_TYPE and info:
        return f"type {info[0]}"
    if cause.code in {UNRESOLVABLE_ADDRESS, UNRECOGNIZED_PARAMETERS} and len(info) >= 2:
        return f"parameter type 0x{int.from_bytes(info[:2], 'big'):04x}"
    if cause.code == MISSING_MANDATORY_PARAMETER and len(info) >= 6:
        return f"parameter type 0x{int.from_bytes(info[4:6], 'big'):04x}"
    return ""
