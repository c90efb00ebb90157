"""The optional parameters of INIT, INIT ACK, RE-CONFIG and ASCONF (RFC 9260, 3.2.1): bytes to values and back.

Knows the form of each parameter, not what it means for an association. A type it does not know becomes an
`UnknownParameter`, which tells what its two high bits ask for.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from datachan.sctp.errors import BadPacket

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

_HEADER: Final = struct.Struct("!HH")
_U32: Final = struct.Struct("!I")
_U32_U32: Final = struct.Struct("!II")
_U32_U32_U32: Final = struct.Struct("!III")
_U32_U16_U16: Final = struct.Struct("!IHH")
_PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")


def serialize_tlv(parameter_type: int, value: bytes) -> bytes:
    """A type-length-value field, padded to a multiple of 4 bytes (RFC 9260, 3.2.1)."""
    # RFC 9260, 3.2.1: "The Parameter Length does not include any padding bytes."
    return _HEADER.pack(parameter_type, 4 + len(value)) + value + _PADDING[len(value) & 3]


class Parameter:
    """The base of all parameters; `type` is the Parameter Type."""

    __slots__ = ()
    type: int

    def serialize(self) -> bytes:
        """The whole parameter, padded to a multiple of 4 bytes."""
        return serialize_tlv(self.type, self.value_bytes())

    def value_bytes(self) -> bytes:
        """The Parameter Value field."""
        return b""


@dataclass(frozen=True, slots=True)
class UnknownParameter(Parameter):
    """A parameter of a type this package does not know; it is the last of its list if `stop_processing`."""

    type: int
    value: bytes

    def value_bytes(self) -> bytes:
        return self.value

    @property
    def stop_processing(self) -> bool:
        """Whether nothing after it in the chunk may be processed (the highest-order bit is 0)."""
        return not self.type & 0x8000

    @property
    def report(self) -> bool:
        """Whether it has to be reported to the peer as RFC 9260, 3.2.2 says (the second bit is 1)."""
        return bool(self.type & 0x4000)


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
    """What the peer shall give back in COOKIE ECHO (RFC 9260, 3.3.3.1.1)."""

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
    """How much longer, in milliseconds, the State Cookie should live (RFC 9260, 3.3.2.1.3)."""

    type = COOKIE_PRESERVATIVE
    increment_ms: int

    def value_bytes(self) -> bytes:
        return _U32.pack(self.increment_ms)


@dataclass(frozen=True, slots=True)
class HostNameAddress(Parameter):
    """A host name, as the peer sent it; deprecated, and answered with an ABORT (RFC 9260, 3.3.2.1.4)."""

    type = HOST_NAME_ADDRESS
    host_name: bytes

    def value_bytes(self) -> bytes:
        return self.host_name


@dataclass(frozen=True, slots=True)
class SupportedAddressTypes(Parameter):
    """The address parameter types the sender can use (RFC 9260, 3.3.2.1.5)."""

    type = SUPPORTED_ADDRESS_TYPES
    address_types: tuple[int, ...]

    def value_bytes(self) -> bytes:
        return _pack_u16s(self.address_types)


@dataclass(frozen=True, slots=True)
class EcnCapable(Parameter):
    """The sender understands ECN (reserved in RFC 9260, table 6)."""

    type = ECN_CAPABLE


@dataclass(frozen=True, slots=True)
class ForwardTsnSupported(Parameter):
    """The sender understands FORWARD TSN (RFC 3758, 3.1)."""

    type = FORWARD_TSN_SUPPORTED


@dataclass(frozen=True, slots=True)
class SupportedExtensions(Parameter):
    """The chunk types of extensions the sender understands (RFC 5061, 4.2.7)."""

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
        return _U32.pack(self.edmid)


@dataclass(frozen=True, slots=True)
class AdaptationIndication(Parameter):
    """A number for the upper layer (RFC 5061, 4.2.6)."""

    type = ADAPTATION_INDICATION
    code_point: int

    def value_bytes(self) -> bytes:
        return _U32.pack(self.code_point)


@dataclass(frozen=True, slots=True)
class Random(Parameter):
    """A random number that keys are made of; 32 bytes if it is to be used (RFC 4895, 3.1)."""

    type = RANDOM
    number: bytes

    def value_bytes(self) -> bytes:
        return self.number


@dataclass(frozen=True, slots=True)
class ChunkList(Parameter):
    """The chunk types the sender accepts only if they are authenticated (RFC 4895, 3.2)."""

    type = CHUNK_LIST
    chunk_types: tuple[int, ...]

    def value_bytes(self) -> bytes:
        return bytes(self.chunk_types)


@dataclass(frozen=True, slots=True)
class RequestedHmacAlgorithms(Parameter):
    """The HMAC Identifiers the peer must use one of, the best first (RFC 4895, 3.3)."""

    type = HMAC_ALGO
    identifiers: tuple[int, ...]

    def value_bytes(self) -> bytes:
        return _pack_u16s(self.identifiers)


@dataclass(frozen=True, slots=True)
class AddressRequest(Parameter):
    """The base of the requests of ASCONF, each about one address (RFC 5061, 4.2).

    Attributes:
        correlation_id: what the response to it has, too.
        address: an address of the sender; 0.0.0.0 or :: for the one the packet comes from.
    """

    correlation_id: int
    address: IPv4Address | IPv6Address

    def value_bytes(self) -> bytes:
        return _U32.pack(self.correlation_id) + self.address.serialize()


@dataclass(frozen=True, slots=True)
class AddIpAddress(AddressRequest):
    """The sender has one more address (RFC 5061, 4.2.1)."""

    type = ADD_IP_ADDRESS


@dataclass(frozen=True, slots=True)
class DeleteIpAddress(AddressRequest):
    """The sender gives an address up (RFC 5061, 4.2.2)."""

    type = DELETE_IP_ADDRESS


@dataclass(frozen=True, slots=True)
class SetPrimaryAddress(AddressRequest):
    """The sender wants to be sent to at this address (RFC 5061, 4.2.4)."""

    type = SET_PRIMARY_ADDRESS


@dataclass(frozen=True, slots=True)
class ErrorCauseIndication(Parameter):
    """A request of ASCONF was refused (RFC 5061, 4.2.3).

    Attributes:
        correlation_id: that of the request.
        causes: error causes, serialized.
    """

    type = ERROR_CAUSE_INDICATION
    correlation_id: int
    causes: bytes

    def value_bytes(self) -> bytes:
        return _U32.pack(self.correlation_id) + self.causes


@dataclass(frozen=True, slots=True)
class SuccessIndication(Parameter):
    """A request of ASCONF was carried out (RFC 5061, 4.2.5)."""

    type = SUCCESS_INDICATION
    correlation_id: int

    def value_bytes(self) -> bytes:
        return _U32.pack(self.correlation_id)


@dataclass(frozen=True, slots=True)
class OutgoingSsnResetRequest(Parameter):
    """The sender asks to reset streams it sends on, all of them if none is listed (RFC 6525, 4.1)."""

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
    """The sender asks the receiver to reset streams it sends on, all of them if none is listed (RFC 6525, 4.2)."""

    type = INCOMING_SSN_RESET_REQUEST
    request_sequence_number: int
    stream_ids: tuple[int, ...] = ()

    def value_bytes(self) -> bytes:
        return _U32.pack(self.request_sequence_number) + _pack_u16s(self.stream_ids)


@dataclass(frozen=True, slots=True)
class SsnTsnResetRequest(Parameter):
    """The sender asks to begin TSNs and SSNs anew (RFC 6525, 4.3)."""

    type = SSN_TSN_RESET_REQUEST
    request_sequence_number: int

    def value_bytes(self) -> bytes:
        return _U32.pack(self.request_sequence_number)


@dataclass(frozen=True, slots=True)
class ReconfigResponse(Parameter):
    """What became of a re-configuration request (RFC 6525, 4.4); both next TSNs are given or none."""

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
    """The sender asks for more streams to send on (RFC 6525, 4.5)."""

    type = ADD_OUTGOING_STREAMS_REQUEST
    request_sequence_number: int
    new_streams: int

    def value_bytes(self) -> bytes:
        return _U32_U16_U16.pack(self.request_sequence_number, self.new_streams, 0)


@dataclass(frozen=True, slots=True)
class AddIncomingStreamsRequest(Parameter):
    """The sender asks the receiver to add streams it sends on (RFC 6525, 4.6)."""

    type = ADD_INCOMING_STREAMS_REQUEST
    request_sequence_number: int
    new_streams: int

    def value_bytes(self) -> bytes:
        return _U32_U16_U16.pack(self.request_sequence_number, self.new_streams, 0)


def parse_parameters_untrusted(data: bytes, start: int, end: int) -> list[Parameter]:
    """The parameters in data[start:end], up to and including one of unknown type that stops processing.

    Args:
        data: the packet; start must be 4-byte aligned within the chunk.
        start: where the first parameter begins.
        end: where the chunk ends, by its Chunk Length.

    Raises:
        BadPacket: a length is below 4, runs past the end, or does not fit the type.
    """
    parameters: list[Parameter] = []
    while start < end:
        if end - start < 4:
            raise BadPacket("a parameter is shorter than its header")
        parameter_type, length = _HEADER.unpack_from(data, start)
        if length < 4 or length > end - start:
            raise BadPacket(f"parameter 0x{parameter_type:04x} has length {length} of {end - start}")
        value = data[start + 4 : start + length]
        parse = _PARSERS.get(parameter_type)
        if parse is not None:
            parameters.append(parse(value))
        else:
            unknown = UnknownParameter(parameter_type, value)
            parameters.append(unknown)
            # RFC 9260, 3.2.1: "Stop processing this parameter and do not process any further parameters within this
            # chunk."
            if unknown.stop_processing:
                break
        start += (length + 3) & ~3
    return parameters


def _pack_u16s(numbers: tuple[int, ...]) -> bytes:
    return struct.pack(f"!{len(numbers)}H", *numbers)


def _u16s_untrusted(value: bytes, start: int) -> tuple[int, ...]:
    if len(value) < start or (len(value) - start) % 2:
        raise BadPacket("a list of 16-bit numbers has an odd length")
    return struct.unpack_from(f"!{(len(value) - start) // 2}H", value, start)


def _require_untrusted(value: bytes, length: int) -> None:
    if len(value) != length:
        raise BadPacket(f"a parameter value has {len(value)} bytes instead of {length}")


def _u32_untrusted(value: bytes) -> int:
    _require_untrusted(value, 4)
    number: int = _U32.unpack(value)[0]
    return number


def _parse_ipv4_untrusted(value: bytes) -> Parameter:
    _require_untrusted(value, 4)
    return IPv4Address(value)


def _parse_ipv6_untrusted(value: bytes) -> Parameter:
    _require_untrusted(value, 16)
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
    # Read here and not as any parameter: a request in a request in a request would never end.
    if value[4:8] == b"\x00\x05\x00\x08" and len(value) == 12:
        return _U32.unpack_from(value)[0], IPv4Address(value[8:])
    if value[4:8] == b"\x00\x06\x00\x14" and len(value) == 24:
        return _U32.unpack_from(value)[0], IPv6Address(value[8:])
    raise BadPacket("an address request has no address, or more than one")


def _parse_add_ip_untrusted(value: bytes) -> Parameter:
    return AddIpAddress(*_parse_address_request_untrusted(value))


def _parse_delete_ip_untrusted(value: bytes) -> Parameter:
    return DeleteIpAddress(*_parse_address_request_untrusted(value))


def _parse_set_primary_untrusted(value: bytes) -> Parameter:
    return SetPrimaryAddress(*_parse_address_request_untrusted(value))


def _parse_error_cause_indication_untrusted(value: bytes) -> Parameter:
    if len(value) < 4:
        raise BadPacket("an error cause indication has no correlation id")
    return ErrorCauseIndication(_U32.unpack_from(value)[0], value[4:])


def _parse_success_indication_untrusted(value: bytes) -> Parameter:
    return SuccessIndication(_u32_untrusted(value))


def _parse_outgoing_reset_untrusted(value: bytes) -> Parameter:
    stream_ids = _u16s_untrusted(value, 12)
    request, response, last_tsn = _U32_U32_U32.unpack_from(value)
    return OutgoingSsnResetRequest(request, response, last_tsn, stream_ids)


def _parse_incoming_reset_untrusted(value: bytes) -> Parameter:
    stream_ids = _u16s_untrusted(value, 4)
    return IncomingSsnResetRequest(_U32.unpack_from(value)[0], stream_ids)


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
