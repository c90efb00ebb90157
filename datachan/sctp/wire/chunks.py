"""The chunks of RFC 9260, 3.3: each converts between bytes and values and knows nothing of an association.

All numbers are as on the wire: TSNs have 32 bits, Gap Ack Blocks are offsets. A chunk object lives as long as one
packet; the retransmission record is a type of its own. DATA and SACK are the hot path: plain classes with slots, one
precompiled struct each, payloads are bytes.

Each parse function takes the whole packet, the offset where the chunk starts, and the offset where its Chunk Length
ends it. It raises BadPacket when the chunk is shorter than its type allows or its parts do not fit.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from datachan.sctp.errors import BadPacket
from datachan.sctp.wire.causes import ErrorCause, parse_causes_untrusted
from datachan.sctp.wire.layout import (
    CHUNK_HEADER,
    CHUNK_HEADER_U32,
    HEADER_LENGTH,
    PADDING,
    TLV_HEADER,
    U32,
    serialize_chunk,
    serialize_chunk_of_parts,
    serialize_tlv,
)
from datachan.sctp.wire.parameters import HEARTBEAT_INFO, Parameter, parse_parameters_untrusted

DATA: Final = 0
INIT: Final = 1
INIT_ACK: Final = 2
SACK: Final = 3
HEARTBEAT: Final = 4
HEARTBEAT_ACK: Final = 5
ABORT: Final = 6
SHUTDOWN: Final = 7
SHUTDOWN_ACK: Final = 8
ERROR: Final = 9
COOKIE_ECHO: Final = 10
COOKIE_ACK: Final = 11
ECNE: Final = 12
CWR: Final = 13
SHUTDOWN_COMPLETE: Final = 14

FLAG_ENDING: Final = 0x01
FLAG_BEGINNING: Final = 0x02
FLAG_UNORDERED: Final = 0x04
FLAG_IMMEDIATE: Final = 0x08
FLAG_TAG_REFLECTED: Final = 0x01  # the T bit of ABORT and SHUTDOWN COMPLETE

DATA_HEADER_LENGTH: Final = 16
INIT_HEADER_LENGTH: Final = 20
SACK_HEADER_LENGTH: Final = 16
HEARTBEAT_HEADER_LENGTH: Final = 2 * HEADER_LENGTH
"""The chunk header, and that of the Heartbeat Info parameter."""

_U32_CHUNK_LENGTH: Final = HEADER_LENGTH + 4
_DATA: Final = struct.Struct("!BBHIHHI")
_INIT: Final = struct.Struct("!BBHIIHHI")
_SACK: Final = struct.Struct("!BBHIIHH")
_GAP: Final = struct.Struct("!HH")
_GAP_OR_DUPLICATE_LENGTH: Final = 4


def data_header(flags: int, tsn: int, stream_id: int, ssn: int, ppid: int, size: int) -> bytes:
    """Return the header of a DATA chunk with `size` bytes of user data; the numbers are as on the wire."""
    return _DATA.pack(DATA, flags, DATA_HEADER_LENGTH + size, tsn, stream_id, ssn, ppid)


def serialize_data(flags: int, tsn: int, stream_id: int, ssn: int, ppid: int, data: bytes) -> bytes:
    """Return a DATA chunk, padded to a multiple of 4 bytes; the numbers are as on the wire."""
    size = len(data)
    header = data_header(flags, tsn, stream_id, ssn, ppid, size)
    return header + data + PADDING[size & 3] if size & 3 else header + data


class Chunk:
    """The base of all chunks; `type` is the Chunk Type.

    Chunks are equal when they serialize to the same bytes.
    """

    __slots__ = ()
    type: int

    def serialize(self) -> bytes:
        """Return the whole chunk, padded to a multiple of 4 bytes."""
        return serialize_chunk(self.type, 0, b"")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Chunk) and other.type == self.type and self.serialize() == other.serialize()

    def __hash__(self) -> int:
        return hash(self.serialize())

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.serialize()[HEADER_LENGTH:].hex()})"


class UnknownChunk(Chunk):
    """A chunk of a type this package does not know; the last of its packet if `stop_processing` is true.

    Attributes:
        type: the Chunk Type.
        flags: the Chunk Flags.
        body: the Chunk Value.
    """

    __slots__ = ("body", "flags", "type")

    def __init__(self, chunk_type: int, flags: int, body: bytes) -> None:
        self.type = chunk_type
        self.flags = flags
        self.body = body

    def serialize(self) -> bytes:
        return serialize_chunk(self.type, self.flags, self.body)

    @property
    def stop_processing(self) -> bool:
        """Whether the rest of the packet must not be processed (the highest-order bit of the type is 0)."""
        return not self.type & 0x80

    @property
    def report(self) -> bool:
        """Whether the chunk has to be reported in an ERROR chunk (the second-highest bit of the type is 1)."""
        return bool(self.type & 0x40)

    def __repr__(self) -> str:
        return f"UnknownChunk(type={self.type}, flags={self.flags}, {len(self.body)} bytes)"


class UserDataChunk(Chunk):
    """The fields that DATA and I-DATA chunks share; each carries a message or a fragment of one.

    Attributes:
        tsn: the transmission sequence number.
        stream_id: the stream.
        data: the user data; empty data is a protocol error, which the receiver handles.
        unordered: the U bit.
        beginning: the B bit, the first fragment.
        ending: the E bit, the last fragment.
        immediate: the I bit; the sender requests a SACK without delay.
    """

    __slots__ = ("beginning", "data", "ending", "immediate", "stream_id", "tsn", "unordered")

    tsn: int
    stream_id: int
    data: bytes
    unordered: bool
    beginning: bool
    ending: bool
    immediate: bool

    def flag_bits(self) -> int:
        """Return the Chunk Flags byte."""
        return (
            (FLAG_ENDING if self.ending else 0)
            | (FLAG_BEGINNING if self.beginning else 0)
            | (FLAG_UNORDERED if self.unordered else 0)
            | (FLAG_IMMEDIATE if self.immediate else 0)
        )

    def content(self) -> str:
        """Return the number of bytes and the flags as text, for people."""
        flags = ("U" if self.unordered else "") + ("B" if self.beginning else "") + ("E" if self.ending else "")
        return f"{len(self.data)} bytes, {flags}{'I' if self.immediate else ''}"


class DataChunk(UserDataChunk):
    """User data: a message or a fragment of one (RFC 9260, 3.3.1).

    Attributes:
        ssn: the stream sequence number; meaningless if the message is unordered.
        ppid: the payload protocol identifier, in host byte order.
    """

    __slots__ = ("ppid", "ssn")
    type = DATA

    def __init__(
        self,
        tsn: int,
        stream_id: int,
        ssn: int,
        ppid: int,
        data: bytes,
        unordered: bool = False,
        beginning: bool = True,
        ending: bool = True,
        immediate: bool = False,
    ) -> None:
        self.tsn = tsn
        self.stream_id = stream_id
        self.ssn = ssn
        self.ppid = ppid
        self.data = data
        self.unordered = unordered
        self.beginning = beginning
        self.ending = ending
        self.immediate = immediate

    def serialize(self) -> bytes:
        return serialize_data(self.flag_bits(), self.tsn, self.stream_id, self.ssn, self.ppid, self.data)

    def __repr__(self) -> str:
        return (
            f"DataChunk(tsn={self.tsn}, stream_id={self.stream_id}, ssn={self.ssn}, ppid={self.ppid}, {self.content()})"
        )


class InitChunk(Chunk):
    """The first chunk of the handshake (RFC 9260, 3.3.2); its values are not checked here.

    Attributes:
        initiate_tag: the tag the peer has to put in every packet.
        a_rwnd: the Advertised Receiver Window Credit in bytes.
        outbound_streams: the number of streams the sender wants to send on.
        inbound_streams: the number of streams the sender accepts.
        initial_tsn: the TSN of the sender's first DATA chunk.
        parameters: the optional parameters in order.
    """

    __slots__ = ("a_rwnd", "inbound_streams", "initial_tsn", "initiate_tag", "outbound_streams", "parameters")
    type = INIT

    def __init__(
        self,
        initiate_tag: int,
        a_rwnd: int,
        outbound_streams: int,
        inbound_streams: int,
        initial_tsn: int,
        parameters: Sequence[Parameter] = (),
    ) -> None:
        self.initiate_tag = initiate_tag
        self.a_rwnd = a_rwnd
        self.outbound_streams = outbound_streams
        self.inbound_streams = inbound_streams
        self.initial_tsn = initial_tsn
        self.parameters = list(parameters)

    def serialize(self) -> bytes:
        serialized = [parameter.serialize() for parameter in self.parameters]
        size = INIT_HEADER_LENGTH + sum([len(parameter) for parameter in serialized])
        if self.parameters:
            # RFC 9260, 3.2: "However, it does include any padding of variable-length parameters other than the last
            # parameter in the chunk."
            size -= -len(self.parameters[-1].value_bytes()) & 3
        header = _INIT.pack(
            self.type,
            0,
            size,
            self.initiate_tag,
            self.a_rwnd,
            self.outbound_streams,
            self.inbound_streams,
            self.initial_tsn,
        )
        return header + b"".join(serialized)

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}(initiate_tag=0x{self.initiate_tag:08x}, a_rwnd={self.a_rwnd}, "
            f"outbound_streams={self.outbound_streams}, inbound_streams={self.inbound_streams}, "
            f"initial_tsn={self.initial_tsn}, parameters={self.parameters})"
        )


class InitAckChunk(InitChunk):
    """The reply to INIT, with the State Cookie among its parameters (RFC 9260, 3.3.3)."""

    __slots__ = ()
    type = INIT_ACK


class SackChunk(Chunk):
    """A report of the TSNs that the sender of this chunk has received (RFC 9260, 3.3.4).

    Attributes:
        cumulative_tsn_ack: every TSN up to this one has arrived.
        a_rwnd: the bytes of receive buffer left.
        gap_ack_blocks: (start, end) of further TSNs that arrived, as offsets from cumulative_tsn_ack; not checked here.
        duplicate_tsns: TSNs that arrived more than once.
    """

    __slots__ = ("a_rwnd", "cumulative_tsn_ack", "duplicate_tsns", "gap_ack_blocks")
    type = SACK

    def __init__(
        self,
        cumulative_tsn_ack: int,
        a_rwnd: int,
        gap_ack_blocks: list[tuple[int, int]],
        duplicate_tsns: list[int],
    ) -> None:
        self.cumulative_tsn_ack = cumulative_tsn_ack
        self.a_rwnd = a_rwnd
        self.gap_ack_blocks = gap_ack_blocks
        self.duplicate_tsns = duplicate_tsns

    def serialize(self) -> bytes:
        gaps = self.gap_ack_blocks
        duplicates = self.duplicate_tsns
        size = SACK_HEADER_LENGTH + _GAP_OR_DUPLICATE_LENGTH * (len(gaps) + len(duplicates))
        header = _SACK.pack(SACK, 0, size, self.cumulative_tsn_ack, self.a_rwnd, len(gaps), len(duplicates))
        if not gaps and not duplicates:
            return header
        parts = [header, *[_GAP.pack(start, end) for start, end in gaps], *[U32.pack(tsn) for tsn in duplicates]]
        return b"".join(parts)

    def __repr__(self) -> str:
        return (
            f"SackChunk(cumulative_tsn_ack={self.cumulative_tsn_ack}, a_rwnd={self.a_rwnd}, "
            f"gap_ack_blocks={self.gap_ack_blocks}, duplicate_tsns={self.duplicate_tsns})"
        )


class HeartbeatChunk(Chunk):
    """A request to prove that a path works (RFC 9260, 3.3.5).

    Attributes:
        info: the value of the Heartbeat Info parameter.
        others: the bytes of further parameters, which the peer returns unchanged (section 8.3).
    """

    __slots__ = ("info", "others")
    type = HEARTBEAT

    def __init__(self, info: bytes, others: bytes = b"") -> None:
        self.info = info
        self.others = others

    def serialize(self) -> bytes:
        last = len(self.others or self.info)
        return serialize_chunk_of_parts(
            self.type, 0, [serialize_tlv(HEARTBEAT_INFO, self.info), self.others + PADDING[len(self.others) & 3]], last
        )


class HeartbeatAckChunk(HeartbeatChunk):
    """The reply to a HEARTBEAT, with the same content (RFC 9260, 3.3.6)."""

    __slots__ = ()
    type = HEARTBEAT_ACK


class AbortChunk(Chunk):
    """The immediate end of the association (RFC 9260, 3.3.7).

    Attributes:
        causes: the reasons; may be empty.
        tag_reflected: the T bit: the Verification Tag is the one the receiver of the ABORT had sent.
    """

    __slots__ = ("causes", "tag_reflected")
    type = ABORT

    def __init__(self, causes: Sequence[ErrorCause] = (), tag_reflected: bool = False) -> None:
        self.causes = list(causes)
        self.tag_reflected = tag_reflected

    def serialize(self) -> bytes:
        return _serialize_causes(ABORT, FLAG_TAG_REFLECTED if self.tag_reflected else 0, self.causes)

    def __repr__(self) -> str:
        return f"AbortChunk(causes={self.causes}, tag_reflected={self.tag_reflected})"


class ErrorChunk(Chunk):
    """A report of errors that do not end the association (RFC 9260, 3.3.10)."""

    __slots__ = ("causes",)
    type = ERROR

    def __init__(self, causes: Sequence[ErrorCause]) -> None:
        self.causes = list(causes)

    def serialize(self) -> bytes:
        return _serialize_causes(ERROR, 0, self.causes)

    def __repr__(self) -> str:
        return f"ErrorChunk(causes={self.causes})"


class ShutdownChunk(Chunk):
    """A statement that the sender has nothing left to send or to be acknowledged (RFC 9260, 3.3.8)."""

    __slots__ = ("cumulative_tsn_ack",)
    type = SHUTDOWN

    def __init__(self, cumulative_tsn_ack: int) -> None:
        self.cumulative_tsn_ack = cumulative_tsn_ack

    def serialize(self) -> bytes:
        return CHUNK_HEADER_U32.pack(SHUTDOWN, 0, _U32_CHUNK_LENGTH, self.cumulative_tsn_ack)


class ShutdownAckChunk(Chunk):
    """The reply to SHUTDOWN once the replying side has nothing left to send either (RFC 9260, 3.3.9)."""

    __slots__ = ()
    type = SHUTDOWN_ACK


class ShutdownCompleteChunk(Chunk):
    """The last chunk of an orderly shutdown (RFC 9260, 3.3.13); `tag_reflected` is the T bit, as in ABORT."""

    __slots__ = ("tag_reflected",)
    type = SHUTDOWN_COMPLETE

    def __init__(self, tag_reflected: bool = False) -> None:
        self.tag_reflected = tag_reflected

    def serialize(self) -> bytes:
        return CHUNK_HEADER.pack(SHUTDOWN_COMPLETE, FLAG_TAG_REFLECTED if self.tag_reflected else 0, HEADER_LENGTH)


class CookieEchoChunk(Chunk):
    """The State Cookie, returned to the endpoint that issued it (RFC 9260, 3.3.11)."""

    __slots__ = ("cookie",)
    type = COOKIE_ECHO

    def __init__(self, cookie: bytes) -> None:
        self.cookie = cookie

    def serialize(self) -> bytes:
        return serialize_chunk(COOKIE_ECHO, 0, self.cookie)


class CookieAckChunk(Chunk):
    """The reply to a COOKIE ECHO whose State Cookie was valid (RFC 9260, 3.3.12)."""

    __slots__ = ()
    type = COOKIE_ACK


class EcneChunk(Chunk):
    """A report that a packet arrived marked "congestion experienced" (reserved in RFC 9260)."""

    __slots__ = ("lowest_tsn",)
    type = ECNE

    def __init__(self, lowest_tsn: int) -> None:
        self.lowest_tsn = lowest_tsn

    def serialize(self) -> bytes:
        return CHUNK_HEADER_U32.pack(self.type, 0, _U32_CHUNK_LENGTH, self.lowest_tsn)


class CwrChunk(EcneChunk):
    """A report that the sender has reduced its congestion window (reserved in RFC 9260)."""

    __slots__ = ()
    type = CWR


def _serialize_causes(chunk_type: int, flags: int, causes: list[ErrorCause]) -> bytes:
    last = len(causes[-1].info) if causes else 0
    return serialize_chunk_of_parts(chunk_type, flags, [cause.serialize() for cause in causes], last)


def serialize_parameters(chunk_type: int, parameters: Sequence[Parameter]) -> bytes:
    """Return a chunk without flags whose value is a list of parameters."""
    last = len(parameters[-1].value_bytes()) if parameters else 0
    return serialize_chunk_of_parts(chunk_type, 0, [parameter.serialize() for parameter in parameters], last)


def _require_length_untrusted(start: int, end: int, length: int) -> None:
    if end - start != length:
        raise BadPacket(f"a chunk has length {end - start} instead of {length}")


def parse_data_untrusted(data: bytes, start: int, end: int) -> Chunk:
    """Parse a DATA chunk; accept one without user data, because the receiver has to answer it with an ABORT."""
    if end - start < DATA_HEADER_LENGTH:
        raise BadPacket(f"DATA has length {end - start}, its header alone {DATA_HEADER_LENGTH}")
    _type, flags, _length, tsn, stream_id, ssn, ppid = _DATA.unpack_from(data, start)
    return DataChunk(
        tsn,
        stream_id,
        ssn,
        ppid,
        data[start + DATA_HEADER_LENGTH : end],
        flags & FLAG_UNORDERED != 0,
        flags & FLAG_BEGINNING != 0,
        flags & FLAG_ENDING != 0,
        flags & FLAG_IMMEDIATE != 0,
    )


def parse_sack_untrusted(data: bytes, start: int, end: int) -> Chunk:
    """Parse a SACK chunk; reject it if its length does not fit its counts of blocks and duplicates."""
    if end - start < SACK_HEADER_LENGTH:
        raise BadPacket(f"SACK has length {end - start}, its header alone {SACK_HEADER_LENGTH}")
    _type, _flags, _length, cumulative_tsn_ack, a_rwnd, gaps, duplicates = _SACK.unpack_from(data, start)
    if gaps == 0 and duplicates == 0 and end - start == SACK_HEADER_LENGTH:
        return SackChunk(cumulative_tsn_ack, a_rwnd, [], [])
    if start + SACK_HEADER_LENGTH + _GAP_OR_DUPLICATE_LENGTH * (gaps + duplicates) != end:
        raise BadPacket(f"SACK of length {end - start} counts {gaps} gaps and {duplicates} duplicates")
    numbers = struct.unpack_from(f"!{2 * gaps}H{duplicates}I", data, start + SACK_HEADER_LENGTH)
    blocks = list(zip(numbers[0 : 2 * gaps : 2], numbers[1 : 2 * gaps : 2], strict=True))
    return SackChunk(cumulative_tsn_ack, a_rwnd, blocks, list(numbers[2 * gaps :]))


def parse_init_untrusted(data: bytes, start: int, end: int) -> InitChunk:
    """Parse an INIT or INIT ACK chunk."""
    if end - start < INIT_HEADER_LENGTH:
        raise BadPacket(f"INIT or INIT ACK has length {end - start}, its header alone {INIT_HEADER_LENGTH}")
    chunk_type, _flags, _length, tag, a_rwnd, outbound, inbound, tsn = _INIT.unpack_from(data, start)
    parameters = parse_parameters_untrusted(data, start + INIT_HEADER_LENGTH, end, tolerant=True)
    if chunk_type == INIT:
        return InitChunk(tag, a_rwnd, outbound, inbound, tsn, parameters)
    return InitAckChunk(tag, a_rwnd, outbound, inbound, tsn, parameters)


def parse_heartbeat_untrusted(data: bytes, start: int, end: int) -> Chunk:
    """Parse a HEARTBEAT or HEARTBEAT ACK chunk; its parameter is mandatory."""
    parameter = start + HEADER_LENGTH
    if end - parameter < HEADER_LENGTH:
        raise BadPacket("HEARTBEAT has no Heartbeat Info parameter")
    parameter_type, length = TLV_HEADER.unpack_from(data, parameter)
    if parameter_type != HEARTBEAT_INFO or length < HEADER_LENGTH or length > end - parameter:
        raise BadPacket(f"HEARTBEAT has parameter type {parameter_type} of length {length} instead of Heartbeat Info")
    info = data[parameter + HEADER_LENGTH : parameter + length]
    others = data[parameter + length + (-length & 3) : end]
    return HeartbeatChunk(info, others) if data[start] == HEARTBEAT else HeartbeatAckChunk(info, others)


def parse_abort_untrusted(data: bytes, start: int, end: int) -> Chunk:
    """Parse an ABORT chunk."""
    causes = parse_causes_untrusted(data, start + HEADER_LENGTH, end)
    return AbortChunk(causes, data[start + 1] & FLAG_TAG_REFLECTED != 0)


def parse_error_untrusted(data: bytes, start: int, end: int) -> Chunk:
    """Parse an ERROR chunk."""
    return ErrorChunk(parse_causes_untrusted(data, start + HEADER_LENGTH, end))


def parse_shutdown_untrusted(data: bytes, start: int, end: int) -> Chunk:
    """Parse a SHUTDOWN chunk."""
    _require_length_untrusted(start, end, _U32_CHUNK_LENGTH)
    return ShutdownChunk(U32.unpack_from(data, start + HEADER_LENGTH)[0])


def parse_shutdown_ack_untrusted(data: bytes, start: int, end: int) -> Chunk:
    """Parse a SHUTDOWN ACK chunk."""
    _require_length_untrusted(start, end, HEADER_LENGTH)
    return ShutdownAckChunk()


def parse_shutdown_complete_untrusted(data: bytes, start: int, end: int) -> Chunk:
    """Parse a SHUTDOWN COMPLETE chunk."""
    _require_length_untrusted(start, end, HEADER_LENGTH)
    return ShutdownCompleteChunk(data[start + 1] & FLAG_TAG_REFLECTED != 0)


def parse_cookie_echo_untrusted(data: bytes, start: int, end: int) -> Chunk:
    """Parse a COOKIE ECHO chunk."""
    return CookieEchoChunk(data[start + HEADER_LENGTH : end])


def parse_cookie_ack_untrusted(data: bytes, start: int, end: int) -> Chunk:
    """Parse a COOKIE ACK chunk."""
    _require_length_untrusted(start, end, HEADER_LENGTH)
    return CookieAckChunk()


def parse_ecne_untrusted(data: bytes, start: int, end: int) -> Chunk:
    """Parse an ECNE or CWR chunk."""
    _require_length_untrusted(start, end, _U32_CHUNK_LENGTH)
    lowest_tsn = U32.unpack_from(data, start + HEADER_LENGTH)[0]
    return EcneChunk(lowest_tsn) if data[start] == ECNE else CwrChunk(lowest_tsn)
