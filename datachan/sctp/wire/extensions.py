"""The chunks of SCTP's extensions (RFC 3758, 4820, 4895, 5061, 6525, 8260), converted between bytes and values.

As in chunks.py, numbers are as on the wire, and this module knows no association. An association treats a chunk whose
use it did not negotiate as unrecognized.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from datachan.sctp.errors import BadPacket
from datachan.sctp.wire.chunks import (
    FLAG_BEGINNING,
    FLAG_ENDING,
    FLAG_IMMEDIATE,
    FLAG_UNORDERED,
    Chunk,
    UserDataChunk,
    serialize_parameters,
)
from datachan.sctp.wire.layout import CHUNK_HEADER_U32, HEADER_LENGTH, PADDING, serialize_chunk
from datachan.sctp.wire.parameters import IPv4Address, IPv6Address, Parameter, parse_parameters_untrusted

AUTH: Final = 15
I_DATA: Final = 64
ASCONF_ACK: Final = 128
RE_CONFIG: Final = 130
PAD: Final = 132
ASCONF: Final = 193
FORWARD_TSN: Final = 192
I_FORWARD_TSN: Final = 194

I_DATA_HEADER_LENGTH: Final = 20
AUTH_HEADER_LENGTH: Final = 8
FORWARD_TSN_HEADER_LENGTH: Final = 8
"""Bytes of a FORWARD TSN or I-FORWARD-TSN before its list of streams."""
SKIPPED_LENGTH: Final = 4
"""Bytes of one stream in a FORWARD TSN."""
I_SKIPPED_LENGTH: Final = 8
"""Bytes of one stream in an I-FORWARD-TSN."""

_FLAG_SKIPPED_UNORDERED: Final = 0x0001
_ASCONF_HEADER_LENGTH: Final = 8
_I_DATA: Final = struct.Struct("!BBHIHHII")
_SKIPPED: Final = struct.Struct("!HH")
_AUTH: Final = struct.Struct("!BBHHH")
_I_SKIPPED: Final = struct.Struct("!HHI")


def i_data_header(flags: int, tsn: int, stream_id: int, mid: int, ppid_or_fsn: int, size: int) -> bytes:
    """Return the header of an I-DATA chunk with `size` bytes of user data; the numbers are as on the wire."""
    return _I_DATA.pack(I_DATA, flags, I_DATA_HEADER_LENGTH + size, tsn, stream_id, 0, mid, ppid_or_fsn)


def serialize_i_data(flags: int, tsn: int, stream_id: int, mid: int, ppid_or_fsn: int, data: bytes) -> bytes:
    """Return an I-DATA chunk, padded to a multiple of 4 bytes; the numbers are as on the wire."""
    size = len(data)
    header = i_data_header(flags, tsn, stream_id, mid, ppid_or_fsn, size)
    return header + data + PADDING[size & 3] if size & 3 else header + data


class ForwardTsnChunk(Chunk):
    """An instruction to treat all TSNs up to a given one as received (RFC 3758, 3.2).

    Attributes:
        new_cumulative_tsn: the TSN up to which the receiver stops waiting.
        streams: (stream identifier, largest SSN skipped on it), for ordered messages only.
    """

    __slots__ = ("new_cumulative_tsn", "streams")
    type = FORWARD_TSN

    def __init__(self, new_cumulative_tsn: int, streams: list[tuple[int, int]]) -> None:
        self.new_cumulative_tsn = new_cumulative_tsn
        self.streams = streams

    def serialize(self) -> bytes:
        length = FORWARD_TSN_HEADER_LENGTH + SKIPPED_LENGTH * len(self.streams)
        parts = [CHUNK_HEADER_U32.pack(FORWARD_TSN, 0, length, self.new_cumulative_tsn)]
        for stream_id, ssn in self.streams:
            parts.append(_SKIPPED.pack(stream_id, ssn))
        return b"".join(parts)

    def __repr__(self) -> str:
        return f"ForwardTsnChunk(new_cumulative_tsn={self.new_cumulative_tsn}, streams={self.streams})"


class ReconfigChunk(Chunk):
    """Re-configuration requests and responses (RFC 6525, 3.1); their permitted combinations are not checked here."""

    __slots__ = ("parameters",)
    type = RE_CONFIG

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self.parameters = list(parameters)

    def serialize(self) -> bytes:
        return serialize_parameters(RE_CONFIG, self.parameters)

    def __repr__(self) -> str:
        return f"ReconfigChunk({self.parameters})"


class IDataChunk(UserDataChunk):
    """User data of messages that may be interleaved (RFC 8260, 2.1).

    Attributes:
        mid: the message identifier.
        ppid_or_fsn: the payload protocol identifier if `beginning`, otherwise the fragment sequence number.
    """

    __slots__ = ("mid", "ppid_or_fsn")
    type = I_DATA

    def __init__(
        self,
        tsn: int,
        stream_id: int,
        mid: int,
        ppid_or_fsn: int,
        data: bytes,
        unordered: bool = False,
        beginning: bool = True,
        ending: bool = True,
        immediate: bool = False,
    ) -> None:
        self.tsn = tsn
        self.stream_id = stream_id
        self.mid = mid
        self.ppid_or_fsn = ppid_or_fsn
        self.data = data
        self.unordered = unordered
        self.beginning = beginning
        self.ending = ending
        self.immediate = immediate

    @property
    def ppid(self) -> int:
        """The payload protocol identifier; 0 on all but the first fragment, which alone carries it."""
        return self.ppid_or_fsn if self.beginning else 0

    @property
    def fsn(self) -> int:
        """The fragment sequence number; 0 for the first fragment, which does not carry it."""
        return 0 if self.beginning else self.ppid_or_fsn

    def serialize(self) -> bytes:
        return serialize_i_data(self.flag_bits(), self.tsn, self.stream_id, self.mid, self.ppid_or_fsn, self.data)

    def __repr__(self) -> str:
        return (
            f"IDataChunk(tsn={self.tsn}, stream_id={self.stream_id}, mid={self.mid}, ppid_or_fsn={self.ppid_or_fsn}, "
            f"{self.content()})"
        )


class IForwardTsnChunk(Chunk):
    """The FORWARD TSN of an association that uses I-DATA (RFC 8260, 2.3.1).

    Attributes:
        new_cumulative_tsn: the TSN up to which the receiver stops waiting.
        streams: (stream identifier, unordered, largest message identifier skipped).
    """

    __slots__ = ("new_cumulative_tsn", "streams")
    type = I_FORWARD_TSN

    def __init__(self, new_cumulative_tsn: int, streams: list[tuple[int, bool, int]]) -> None:
        self.new_cumulative_tsn = new_cumulative_tsn
        self.streams = streams

    def serialize(self) -> bytes:
        length = FORWARD_TSN_HEADER_LENGTH + I_SKIPPED_LENGTH * len(self.streams)
        parts = [CHUNK_HEADER_U32.pack(I_FORWARD_TSN, 0, length, self.new_cumulative_tsn)]
        for stream_id, unordered, mid in self.streams:
            parts.append(_I_SKIPPED.pack(stream_id, _FLAG_SKIPPED_UNORDERED if unordered else 0, mid))
        return b"".join(parts)

    def __repr__(self) -> str:
        return f"IForwardTsnChunk(new_cumulative_tsn={self.new_cumulative_tsn}, streams={self.streams})"


class AuthChunk(Chunk):
    """The authentication of all chunks after it in the packet (RFC 4895, 5.1).

    Attributes:
        key_id: the Shared Key Identifier.
        hmac_id: the HMAC Identifier.
        hmac: the HMAC.
    """

    __slots__ = ("_packet", "_start", "hmac", "hmac_id", "key_id")
    type = AUTH

    def __init__(self, key_id: int, hmac_id: int, hmac: bytes, packet: bytes = b"", start: int = 0) -> None:
        """Create the chunk.

        Args:
            key_id: the Shared Key Identifier.
            hmac_id: the HMAC Identifier.
            hmac: the HMAC.
            packet: the packet that a received chunk is part of.
            start: the offset of the chunk in it.
        """
        self.key_id = key_id
        self.hmac_id = hmac_id
        self.hmac = hmac
        self._packet = packet
        self._start = start

    @property
    def covered(self) -> bytes:
        """The bytes that the HMAC covers: the received chunk with zeros in place of the HMAC, and all that follows.

        They are not copied before they are needed: a packet may consist of AUTH chunks, and only the first counts.
        """
        value = self._start + AUTH_HEADER_LENGTH
        return self._packet[self._start : value] + bytes(len(self.hmac)) + self._packet[value + len(self.hmac) :]

    def serialize(self) -> bytes:
        header = _AUTH.pack(AUTH, 0, AUTH_HEADER_LENGTH + len(self.hmac), self.key_id, self.hmac_id)
        return header + self.hmac + PADDING[len(self.hmac) & 3]

    def __repr__(self) -> str:
        return f"AuthChunk(key_id={self.key_id}, hmac_id={self.hmac_id}, {len(self.hmac)} bytes)"


class AsconfChunk(Chunk):
    """Changes to the sender's addresses (RFC 5061, 4.1.1).

    Attributes:
        sequence_number: as on the wire.
        address: an address of the sender that the association has; 0.0.0.0 or :: when the sender names none.
        parameters: the requests.
    """

    __slots__ = ("address", "parameters", "sequence_number")
    type = ASCONF

    def __init__(
        self, sequence_number: int, address: IPv4Address | IPv6Address, parameters: Sequence[Parameter]
    ) -> None:
        self.sequence_number = sequence_number
        self.address = address
        self.parameters = list(parameters)

    def serialize(self) -> bytes:
        return _serialize_numbered(ASCONF, self.sequence_number, [self.address, *self.parameters])

    def __repr__(self) -> str:
        return f"AsconfChunk(sequence_number={self.sequence_number}, {self.address}, {self.parameters})"


class AsconfAckChunk(Chunk):
    """The results of an ASCONF (RFC 5061, 4.1.2); a request without a response succeeded."""

    __slots__ = ("parameters", "sequence_number")
    type = ASCONF_ACK

    def __init__(self, sequence_number: int, parameters: Sequence[Parameter]) -> None:
        self.sequence_number = sequence_number
        self.parameters = list(parameters)

    def serialize(self) -> bytes:
        return _serialize_numbered(ASCONF_ACK, self.sequence_number, self.parameters)

    def __repr__(self) -> str:
        return f"AsconfAckChunk(sequence_number={self.sequence_number}, {self.parameters})"


def _serialize_numbered(chunk_type: int, number: int, parameters: Sequence[Parameter]) -> bytes:
    """Return a chunk made of a number and parameters; its length excludes the padding of the last (RFC 9260, 3.2)."""
    wire = [parameter.serialize() for parameter in parameters]
    length = _ASCONF_HEADER_LENGTH + sum([len(part) for part in wire])
    if parameters:
        length += HEADER_LENGTH + len(parameters[-1].value_bytes()) - len(wire[-1])
    return CHUNK_HEADER_U32.pack(chunk_type, 0, length, number) + b"".join(wire)


class PadChunk(Chunk):
    """Bytes to be ignored (RFC 4820, 3); `length` is the length of the whole chunk, 4 to 65535 bytes."""

    __slots__ = ("length",)
    type = PAD

    def __init__(self, length: int) -> None:
        self.length = length

    def serialize(self) -> bytes:
        return serialize_chunk(PAD, 0, bytes(self.length - HEADER_LENGTH))

    def __repr__(self) -> str:
        return f"PadChunk(length={self.length})"


def parse_forward_tsn_untrusted(data: bytes, start: int, end: int) -> Chunk:
    """Parse a FORWARD TSN chunk."""
    if end - start < FORWARD_TSN_HEADER_LENGTH or (end - start - FORWARD_TSN_HEADER_LENGTH) % SKIPPED_LENGTH:
        raise BadPacket(f"FORWARD TSN has length {end - start}, which is not its header and whole stream entries")
    new_cumulative_tsn = CHUNK_HEADER_U32.unpack_from(data, start)[3]
    return ForwardTsnChunk(
        new_cumulative_tsn, list(_SKIPPED.iter_unpack(data[start + FORWARD_TSN_HEADER_LENGTH : end]))
    )


def parse_reconfig_untrusted(data: bytes, start: int, end: int) -> Chunk:
    """Parse a RE-CONFIG chunk."""
    return ReconfigChunk(parse_parameters_untrusted(data, start + HEADER_LENGTH, end))


def parse_i_data_untrusted(data: bytes, start: int, end: int) -> Chunk:
    """Parse an I-DATA chunk."""
    if end - start < I_DATA_HEADER_LENGTH:
        raise BadPacket(f"I-DATA has length {end - start}, its header alone {I_DATA_HEADER_LENGTH}")
    _type, flags, _length, tsn, stream_id, _reserved, mid, ppid_or_fsn = _I_DATA.unpack_from(data, start)
    return IDataChunk(
        tsn,
        stream_id,
        mid,
        ppid_or_fsn,
        data[start + I_DATA_HEADER_LENGTH : end],
        flags & FLAG_UNORDERED != 0,
        flags & FLAG_BEGINNING != 0,
        flags & FLAG_ENDING != 0,
        flags & FLAG_IMMEDIATE != 0,
    )


def parse_i_forward_tsn_untrusted(data: bytes, start: int, end: int) -> Chunk:
    """Parse an I-FORWARD-TSN chunk."""
    if end - start < FORWARD_TSN_HEADER_LENGTH or (end - start - FORWARD_TSN_HEADER_LENGTH) % I_SKIPPED_LENGTH:
        raise BadPacket(f"I-FORWARD-TSN has length {end - start}, which is not its header and whole stream entries")
    new_cumulative_tsn = CHUNK_HEADER_U32.unpack_from(data, start)[3]
    streams = [
        (stream_id, flags & _FLAG_SKIPPED_UNORDERED != 0, mid)
        for stream_id, flags, mid in _I_SKIPPED.iter_unpack(data[start + FORWARD_TSN_HEADER_LENGTH : end])
    ]
    return IForwardTsnChunk(new_cumulative_tsn, streams)


def parse_auth_untrusted(data: bytes, start: int, end: int) -> Chunk:
    """Parse an AUTH chunk, which refers to the packet that its HMAC covers."""
    if end - start < AUTH_HEADER_LENGTH:
        raise BadPacket(f"AUTH has length {end - start}, its header alone {AUTH_HEADER_LENGTH}")
    _type, _flags, _length, key_id, hmac_id = _AUTH.unpack_from(data, start)
    return AuthChunk(key_id, hmac_id, data[start + AUTH_HEADER_LENGTH : end], data, start)


def parse_asconf_untrusted(data: bytes, start: int, end: int) -> Chunk:
    """Parse an ASCONF chunk."""
    if end - start < _ASCONF_HEADER_LENGTH:
        raise BadPacket(f"ASCONF has length {end - start}, its header alone {_ASCONF_HEADER_LENGTH}")
    parameters = parse_parameters_untrusted(data, start + _ASCONF_HEADER_LENGTH, end)
    if not parameters or not isinstance(parameters[0], IPv4Address | IPv6Address):
        raise BadPacket("ASCONF does not begin with an address")
    return AsconfChunk(CHUNK_HEADER_U32.unpack_from(data, start)[3], parameters[0], parameters[1:])


def parse_asconf_ack_untrusted(data: bytes, start: int, end: int) -> Chunk:
    """Parse an ASCONF-ACK chunk."""
    if end - start < _ASCONF_HEADER_LENGTH:
        raise BadPacket(f"ASCONF-ACK has length {end - start}, its header alone {_ASCONF_HEADER_LENGTH}")
    parameters = parse_parameters_untrusted(data, start + _ASCONF_HEADER_LENGTH, end)
    return AsconfAckChunk(CHUNK_HEADER_U32.unpack_from(data, start)[3], parameters)


def parse_pad_untrusted(_data: bytes, start: int, end: int) -> Chunk:
    """Parse a PAD chunk."""
    return PadChunk(end - start)
