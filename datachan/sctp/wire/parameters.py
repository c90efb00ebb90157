"""The parameters of INIT, INIT ACK, RE-CONFIG and ASCONF (RFC 9260, 3.2.1), converted between bytes and values.

This module knows the form of each parameter, not its meaning for an association. A type it does not know becomes an
`UnknownParameter`, which says how to handle it, by the two high bits of its type.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from datachan.sctp.errors import BadPacket
from datachan.sctp.wire.layout import HEADER_LENGTH, TLV_HEADER, U32, serialize_tlv

HEARTBEAT_INFO: Final = 1
IPV4_ADDRESS: Final = 5
IPV6_ADDRESS: Final = 6
STATE_COOKIE: Final = 7
UNRECOGNIZED_PARAMETER: Final = 8
COOKIE_PRESERVATIVE: Final = 9
HOST_NAME_ADDRESS: Final = 11
SUPPORTED_ADDRESS_TYPES: Final = 12
OUTGOING_SSN_RESET_REQUEST: Final = 13
INCOMING_SSN_RESET_REQUEST: Final = 14
SSN_TSN_RESET_REQUEST: Final = 15
RECONFIG_RESPONSE: Final = 16
ADD_OUTGOING_STREAMS_REQUEST: Final = 17
ADD_INCOMING_STREAMS_REQUEST: Final = 18
ECN_CAPABLE: Final = 0x8000
ZERO_CHECKSUM_ACCEPTABLE: Final = 0x8001
RANDOM: Final = 0x8002
CHUNK_LIST: Final = 0x8003
HMAC_ALGO: Final = 0x8004
SUPPORTED_EXTENSIONS: Final = 0x8008
FORWARD_TSN_SUPPORTED: Final = 0xC000
ADD_IP_ADDRESS: Final = 0xC001
DELETE_IP_ADDRESS: Final = 0xC002
ERROR_CAUSE_INDICATION: Final = 0xC003
SET_PRIMARY_ADDRESS: Final = 0xC004
SUCCESS_INDICATION: Final = 0xC005
ADAPTATION_INDICATION: Final = 0xC006

_U32_U32: Final = struct.Struct("!II")
_U32_U32_U32: Final = struct.Struct("!III")
_U32_U16_U16: Final = struct.Struct("!IHH")
_IPV4_LENGTH: Final = 4
_IPV6_LENGTH: Final = 16
_IPV4_TLV_HEADER: Final = b"\x00\x05\x00\x08"  # the header of an IPv4 Address parameter: type 5, length 8
_IPV6_TLV_HEADER: Final = b"\x00\x06\x00\x14"  # of an IPv6 Address parameter: type 6, length 20


class Parameter:
    """The base of all parameters; `type` is the Parameter Type."""

    __slots__ = ()
    type: int

    def serialize(self) -> bytes:
        """Return the whole parameter, padded to a multiple of 4 bytes."""
        return serialize_tlv(self.type, self.value_bytes())

    def value_bytes(self) -> bytes:
        """Return the Parameter Value field."""
        return b""


@dataclass(frozen=True, slots=True)
class UnknownParameter(Parameter):
    """A parameter of a type this package does not know; the last of its list if `stop_processing` is true."""

    type: int
    value: bytes

    def value_bytes(self) -> bytes:
        return self.value

    @property
    def stop_processing(self) -> bool:
        """Whether the rest of the chunk must not be processed (the highest-order bit of the type is 0)."""
        return not self.type & 0x8000

    @property
    def report(self) -> bool:
        """Whether it has to be reported to the peer (RFC 9260, 3.2.2; the second-highest bit of the type is 1)."""
        return bool(self.type & 0x4000)


@dataclass(frozen=True, slots=True)
class MalformedParameter(Parameter):
    """A parameter of a known type whose value does not fit the type; the last of its list."""

    type: int
    value: bytes

    def value_bytes(self) -> bytes:
        return self.value


@dataclass(frozen=True, slots=True)
class IPv4Address(Parameter):
    """An IPv4 address of the sender, four bytes (RFC 9260, 3.3.2.1.1)."""

    type = IPV4_ADDRESS
    address: bytes

    def value_bytes(self) -> bytes:
        return self.address


@dataclass(frozen=True, slots=True)
class IPv6Address(Parameter):
    """An IPv6 address of the sender, sixteen bytes (RFC 9260, 3.3.2.1.2)."""

    type = IPV6_ADDRESS
    address: bytes

    def value_bytes(self) -> bytes:
        return self.address


@dataclass(frozen=True, slots=True)
class StateCookie(Parameter):
    """The cookie that the peer has to return in COOKIE ECHO (RFC 9260, 3.3.3.1.1)."""

    type = STATE_COOKIE
    cookie: bytes

    def value_bytes(self) -> bytes:
        return self.cookie


@dataclass(frozen=True, slots=True)
class UnrecognizedParameter(Parameter):
    """A parameter of our INIT that the peer does not know, complete with type and length (RFC 9260, 3.3.3.1.2)."""

    type = UNRECOGNIZED_PARAMETER
    parameter: bytes

    def value_bytes(self) -> bytes:
        return self.parameter


@dataclass(frozen=True, slots=True)
class CookiePreservative(Parameter):
    """The milliseconds by which the sender requests to extend the life of the State Cookie (RFC 9260, 3.3.2.1.3)."""

    type = COOKIE_PRESERVATIVE
    increment_ms: int

    def value_bytes(self) -> bytes:
        return U32.pack(self.increment_ms)


@dataclass(frozen=True, slots=True)
class HostNameAddress(Parameter):
    """A host name as the peer sent it; deprecated, and answered with an ABORT (RFC 9260, 3.3.2.1.4)."""

    type = HOST_NAME_ADDRESS
    host_name: bytes

    def value_bytes(self) -> bytes:
        return self.host_name


@dataclass(frozen=True, slots=True)
class SupportedAddressTypes(Parameter):
    """The address parameter types that the sender can use (RFC 9260, 3.3.2.1.5)."""

    type = SUPPORTED_ADDRESS_TYPES
    address_types: tuple[int, ...]

    def value_bytes(self) -> bytes:
        return _pack_u16s(self.address_types)


@dataclass(frozen=True, slots=True)
class EcnCapable(Parameter):
    """The sender supports ECN (reserved in RFC 9260, table 6)."""

    type = ECN_CAPABLE


@dataclass(frozen=True, slots=True)
class ForwardTsnSupported(Parameter):
    """The sender supports FORWARD TSN (RFC 3758, 3.1)."""

    type = FORWARD_TSN_SUPPORTED


@dataclass(frozen=True, slots=True)
class SupportedExtensions(Parameter):
    """The chunk types of extensions that the sender supports (RFC 5061, 4.2.7)."""

    type = SUPPORTED_EXTENSIONS
    chunk_types: tuple[int, ...]

    def value_bytes(self) -> bytes:
        return bytes(self.chunk_types)


@dataclass(frozen=True, slots=True)
class ZeroChecksumAcceptable(Parameter):
    """The sender accepts a zero checksum (RFC 9653, 3).

    Attributes:
        edmid: the alternate error detection method identifier; 1 is SCTP over DTLS.
    """

    type = ZERO_CHECKSUM_ACCEPTABLE
    edmid: int = 1

    def value_bytes(self) -> bytes:
        return U32.pack(self.edmid)


@dataclass(frozen=True, slots=True)
class AdaptationIndication(Parameter):
    """A number for the peer's application (RFC 5061, 4.2.6)."""

    type = ADAPTATION_INDICATION
    code_point: int

    def value_bytes(self) -> bytes:
        return U32.pack(self.code_point)


@dataclass(frozen=True, slots=True)
class Random(Parameter):
    """The random number from which keys are derived; usable only if it has 32 bytes (RFC 4895, 3.1)."""

    type = RANDOM
    number: bytes

    def value_bytes(self) -> bytes:
        return self.number


@dataclass(frozen=True, slots=True)
class ChunkList(Parameter):
    """The chunk types that the sender accepts only with authentication (RFC 4895, 3.2)."""

    type = CHUNK_LIST
    chunk_types: tuple[int, ...]

    def value_bytes(self) -> bytes:
        return bytes(self.chunk_types)


@dataclass(frozen=True, slots=True)
class RequestedHmacAlgorithms(Parameter):
    """The HMAC Identifiers the peer has to choose from, the preferred one first (RFC 4895, 3.3)."""

    type = HMAC_ALGO
    identifiers: tuple[int, ...]

    def value_bytes(self) -> bytes:
        return _pack_u16s(self.identifiers)


@dataclass(frozen=True, slots=True)
class AddressRequest(Parameter):
    """The base of the requests of ASCONF, each about one address (RFC 5061, 4.2).

    Attributes:
        correlation_id: the number that the response repeats.
        address: an address of the sender; 0.0.0.0 or :: means the source address of the packet.
    """

    correlation_id: int
    address: IPv4Address | IPv6Address

    def value_bytes(self) -> bytes:
        return U32.pack(self.correlation_id) + self.address.serialize()


@dataclass(frozen=True, slots=True)
class AddIpAddress(AddressRequest):
    """A request to add an address of the sender (RFC 5061, 4.2.1)."""

    type = ADD_IP_ADDRESS


@dataclass(frozen=True, slots=True)
class DeleteIpAddress(AddressRequest):
    """A request to delete an address of the sender (RFC 5061, 4.2.2)."""

    type = DELETE_IP_ADDRESS


@dataclass(frozen=True, slots=True)
class SetPrimaryAddress(AddressRequest):
    """A request to use an address of the sender as the primary destination (RFC 5061, 4.2.4)."""

    type = SET_PRIMARY_ADDRESS


@dataclass(frozen=True, slots=True)
class ErrorCauseIndication(Parameter):
    """The response to a request of ASCONF that was refused (RFC 5061, 4.2.3).

    Attributes:
        correlation_id: the number of the request.
        causes: the error causes, serialized.
    """

    type = ERROR_CAUSE_INDICATION
    correlation_id: int
    causes: bytes

    def value_bytes(self) -> bytes:
        return U32.pack(self.correlation_id) + self.causes


@dataclass(frozen=True, slots=True)
class SuccessIndication(Parameter):
    """The response to a request of ASCONF that succeeded (RFC 5061, 4.2.5)."""

    type = SUCCESS_INDICATION
    correlation_id: int

    def value_bytes(self) -> bytes:
        return U32.pack(self.correlation_id)


@dataclass(frozen=True, slots=True)
class OutgoingSsnResetRequest(Parameter):
    """A request to reset outgoing streams of the sender; an empty list means all of them (RFC 6525, 4.1)."""

    type = OUTGOING_SSN_RESET_REQUEST
    request_sequence_number: int
    response_sequence_number: int
    last_assigned_tsn: int
    stream_ids: tuple[int, ...] = ()

    def value_bytes(self) -> bytes:
        return _U32_U32_U32.pack(
            self.request_sequence_number, self.response_sequence_number, self.last_assigned_tsn
        ) + _pack_u16s(self.stream_ids)


@dataclass(frozen=True, slots=True)
class IncomingSsnResetRequest(Parameter):
    """A request to reset outgoing streams of the receiver; an empty list means all of them (RFC 6525, 4.2)."""

    type = INCOMING_SSN_RESET_REQUEST
    request_sequence_number: int
    stream_ids: tuple[int, ...] = ()

    def value_bytes(self) -> bytes:
        return U32.pack(self.request_sequence_number) + _pack_u16s(self.stream_ids)


@dataclass(frozen=True, slots=True)
class SsnTsnResetRequest(Parameter):
    """A request to restart the TSNs and SSNs of both directions (RFC 6525, 4.3)."""

    type = SSN_TSN_RESET_REQUEST
    request_sequence_number: int

    def value_bytes(self) -> bytes:
        return U32.pack(self.request_sequence_number)


@dataclass(frozen=True, slots=True)
class ReconfigResponse(Parameter):
    """The result of a re-configuration request (RFC 6525, 4.4), with both next TSNs or neither."""

    type = RECONFIG_RESPONSE
    response_sequence_number: int
    result: int
    sender_next_tsn: int | None = None
    receiver_next_tsn: int | None = None

    def value_bytes(self) -> bytes:
        value = _U32_U32.pack(self.response_sequence_number, self.result)
        # RFC 6525, 4.4: "Either both optional fields (Sender's Next TSN and Receiver's Next TSN) MUST be present, or
        # no field."
        if self.sender_next_tsn is None or self.receiver_next_tsn is None:
            return value
        return value + _U32_U32.pack(self.sender_next_tsn, self.receiver_next_tsn)


@dataclass(frozen=True, slots=True)
class AddOutgoingStreamsRequest(Parameter):
    """A request to add outgoing streams of the sender (RFC 6525, 4.5)."""

    type = ADD_OUTGOING_STREAMS_REQUEST
    request_sequence_number: int
    new_streams: int

    def value_bytes(self) -> bytes:
        return _U32_U16_U16.pack(self.request_sequence_number, self.new_streams, 0)


@dataclass(frozen=True, slots=True)
class AddIncomingStreamsRequest(Parameter):
    """A request to add outgoing streams of the receiver (RFC 6525, 4.6)."""

    type = ADD_INCOMING_STREAMS_REQUEST
    request_sequence_number: int
    new_streams: int

    def value_bytes(self) -> bytes:
        return _U32_U16_U16.pack(self.request_sequence_number, self.new_streams, 0)


def parse_parameters_untrusted(data: bytes, start: int, end: int, *, tolerant: bool = False) -> list[Parameter]:
    """Parse the parameters in data[start:end], up to and including one of unknown type that stops processing.

    Args:
        data: the packet; `start` must be 4-byte aligned within the chunk.
        start: the offset of the first parameter.
        end: the offset where the chunk ends, by its Chunk Length.
        tolerant: return a `MalformedParameter` as the last one where a value does not fit its type. INIT and INIT ACK
            are parsed this way, because the ABORT that answers them needs their Initiate Tag.

    Returns:
        The parameters in order, of known and unknown types.

    Raises:
        BadPacket: a length is below 4 or exceeds the chunk, or a value does not fit its type.
    """
    parameters: list[Parameter] = []
    while start < end:
        if end - start < HEADER_LENGTH:
            raise BadPacket("a parameter is shorter than its header")
        parameter_type, length = TLV_HEADER.unpack_from(data, start)
        if length < HEADER_LENGTH or length > end - start:
            raise BadPacket(f"parameter 0x{parameter_type:04x} has length {length}; {end - start} bytes are left")
        parameter = _parse_value_untrusted(parameter_type, data[start + HEADER_LENGTH : start + length], tolerant)
        parameters.append(parameter)
        # RFC 9260, 3.2.1: "Stop processing this parameter and do not process any further parameters within this chunk."
        if isinstance(parameter, MalformedParameter) or (
            isinstance(parameter, UnknownParameter) and parameter.stop_processing
        ):
            break
        start += (length + 3) & ~3
    return parameters


def _parse_value_untrusted(parameter_type: int, value: bytes, tolerant: bool) -> Parameter:
    parse = _PARSERS.get(parameter_type)
    if parse is None:
        return UnknownParameter(parameter_type, value)
    try:
        return parse(value)
    except BadPacket:
        if not tolerant:
            raise
        return MalformedParameter(parameter_type, value)


def _pack_u16s(numbers: tuple[int, ...]) -> bytes:
    return struct.pack(f"!{len(numbers)}H", *numbers)


def _u16s_untrusted(value: bytes, start: int) -> tuple[int, ...]:
    if len(value) < start or (len(value) - start) % 2:
        raise BadPacket(f"a parameter value of {len(value)} bytes does not end in a list of 16-bit numbers")
    return struct.unpack_from(f"!{(len(value) - start) // 2}H", value, start)


def _require_untrusted(value: bytes, length: int) -> None:
    if len(value) != length:
        raise BadPacket(f"a parameter value has {len(value)} bytes instead of {length}")


def _u32_untrusted(value: bytes) -> int:
    _require_untrusted(value, 4)
    number: int = U32.unpack(value)[0]
    return number


def _parse_ipv4_untrusted(value: bytes) -> Parameter:
    _require_untrusted(value, _IPV4_LENGTH)
    return IPv4Address(value)


def _parse_ipv6_untrusted(value: bytes) -> Parameter:
    _require_untrusted(value, _IPV6_LENGTH)
    return IPv6Address(value)


def _parse_state_cookie_untrusted(value: bytes) -> Parameter:
    return StateCookie(value)


def _parse_unrecognized_untrusted(value: bytes) -> Parameter:
    return UnrecognizedParameter(value)


def _parse_cookie_preservative_untrusted(value: bytes) -> Parameter:
    return CookiePreservative(_u32_untrusted(value))


def _parse_host_name_untrusted(value: bytes) -> Parameter:
    return HostNameAddress(value)


def _parse_supported_address_types_untrusted(value: bytes) -> Parameter:
    return SupportedAddressTypes(_u16s_untrusted(value, 0))


def _parse_ecn_capable_untrusted(value: bytes) -> Parameter:
    _require_untrusted(value, 0)
    return EcnCapable()


def _parse_forward_tsn_supported_untrusted(value: bytes) -> Parameter:
    _require_untrusted(value, 0)
    return ForwardTsnSupported()


def _parse_supported_extensions_untrusted(value: bytes) -> Parameter:
    return SupportedExtensions(tuple(value))


def _parse_zero_checksum_untrusted(value: bytes) -> Parameter:
    return ZeroChecksumAcceptable(_u32_untrusted(value))


def _parse_adaptation_untrusted(value: bytes) -> Parameter:
    return AdaptationIndication(_u32_untrusted(value))


def _parse_random_untrusted(value: bytes) -> Parameter:
    return Random(value)


def _parse_chunk_list_untrusted(value: bytes) -> Parameter:
    return ChunkList(tuple(value))


def _parse_hmac_algo_untrusted(value: bytes) -> Parameter:
    return RequestedHmacAlgorithms(_u16s_untrusted(value, 0))


def _parse_address_request_untrusted(value: bytes) -> tuple[int, IPv4Address | IPv6Address]:
    # The address is not parsed as a general parameter: nested requests would recurse without bound.
    if value[4:8] == _IPV4_TLV_HEADER and len(value) == 8 + _IPV4_LENGTH:
        return U32.unpack_from(value)[0], IPv4Address(value[8:])
    if value[4:8] == _IPV6_TLV_HEADER and len(value) == 8 + _IPV6_LENGTH:
        return U32.unpack_from(value)[0], IPv6Address(value[8:])
    raise BadPacket("an ASCONF request does not have exactly one address")


def _parse_add_ip_untrusted(value: bytes) -> Parameter:
    return AddIpAddress(*_parse_address_request_untrusted(value))


def _parse_delete_ip_untrusted(value: bytes) -> Parameter:
    return DeleteIpAddress(*_parse_address_request_untrusted(value))


def _parse_set_primary_untrusted(value: bytes) -> Parameter:
    return SetPrimaryAddress(*_parse_address_request_untrusted(value))


def _parse_error_cause_indication_untrusted(value: bytes) -> Parameter:
    if len(value) < 4:
        raise BadPacket("an Error Cause Indication has no correlation ID")

    return ErrorCauseIndication(U32.unpack_from(value)[0], value[4:])


def _parse_success_indication_untrusted(value: bytes) -> Parameter:
    return SuccessIndication(_u32_untrusted(value))


def _parse_outgoing_reset_untrusted(value: bytes) -> Parameter:
    stream_ids = _u16s_untrusted(value, 12)
    request, response, last_tsn = _U32_U32_U32.unpack_from(value)
    return OutgoingSsnResetRequest(request, response, last_tsn, stream_ids)


def _parse_incoming_reset_untrusted(value: bytes) -> Parameter:
    stream_ids = _u16s_untrusted(value, 4)
    return IncomingSsnResetRequest(U32.unpack_from(value)[0], stream_ids)


def _parse_ssn_tsn_reset_untrusted(value: bytes) -> Parameter:
    return SsnTsnResetRequest(_u32_untrusted(value))


def _parse_response_untrusted(value: bytes) -> Parameter:
    if len(value) == 8:
        return ReconfigResponse(*_U32_U32.unpack(value))
    _require_untrusted(value, 16)
    return ReconfigResponse(*_U32_U32.unpack_from(value), *_U32_U32.unpack_from(value, 8))


def _parse_add_outgoing_untrusted(value: bytes) -> Parameter:
    _require_untrusted(value, 8)
    request, new_streams, _reserved = _U32_U16_U16.unpack(value)
    return AddOutgoingStreamsRequest(request, new_streams)


def _parse_add_incoming_untrusted(value: bytes) -> Parameter:
    _require_untrusted(value, 8)
    request, new_streams, _reserved = _U32_U16_U16.unpack(value)
    return AddIncomingStreamsRequest(request, new_streams)


_PARSERS: Final[dict[int, Callable[[bytes], Parameter]]] = {
    IPV4_ADDRESS: _parse_ipv4_untrusted,
    IPV6_ADDRESS: _parse_ipv6_untrusted,
    STATE_COOKIE: _parse_state_cookie_untrusted,
    UNRECOGNIZED_PARAMETER: _parse_unrecognized_untrusted,
    COOKIE_PRESERVATIVE: _parse_cookie_preservative_untrusted,
    HOST_NAME_ADDRESS: _parse_host_name_untrusted,
    SUPPORTED_ADDRESS_TYPES: _parse_supported_address_types_untrusted,
    ECN_CAPABLE: _parse_ecn_capable_untrusted,
    FORWARD_TSN_SUPPORTED: _parse_forward_tsn_supported_untrusted,
    SUPPORTED_EXTENSIONS: _parse_supported_extensions_untrusted,
    ZERO_CHECKSUM_ACCEPTABLE: _parse_zero_checksum_untrusted,
    RANDOM: _parse_random_untrusted,
    CHUNK_LIST: _parse_chunk_list_untrusted,
    HMAC_ALGO: _parse_hmac_algo_untrusted,
    ADD_IP_ADDRESS: _parse_add_ip_untrusted,
    DELETE_IP_ADDRESS: _parse_delete_ip_untrusted,
    ERROR_CAUSE_INDICATION: _parse_error_cause_indication_untrusted,
    SET_PRIMARY_ADDRESS: _parse_set_primary_untrusted,
    SUCCESS_INDICATION: _parse_success_indication_untrusted,
    ADAPTATION_INDICATION: _parse_adaptation_untrusted,
    OUTGOING_SSN_RESET_REQUEST: _parse_outgoing_reset_untrusted,
    INCOMING_SSN_RESET_REQUEST: _parse_incoming_reset_untrusted,
    SSN_TSN_RESET_REQUEST: _parse_ssn_tsn_reset_untrusted,
    RECONFIG_RESPONSE: _parse_response_untrusted,
    ADD_OUTGOING_STREAMS_REQUEST: _parse_add_outgoing_untrusted,
    ADD_INCOMING_STREAMS_REQUEST: _parse_add_incoming_untrusted,
}
