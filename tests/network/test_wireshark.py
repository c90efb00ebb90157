"""Everything the engine can write, once: Wireshark finds no malformed field and gives the same names as our decoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datachan.dcep.control_messages import AckMessage, OpenMessage
from datachan.decode import decode_packet
from datachan.decode.chunk_fields import CHUNKS
from datachan.decode.node import Node
from datachan.decode.parameter_fields import CAUSES, PARAMETERS
from datachan.sctp.wire import causes, parameters
from datachan.sctp.wire.chunks import (
    AbortChunk,
    Chunk,
    CookieAckChunk,
    CookieEchoChunk,
    CwrChunk,
    DataChunk,
    EcneChunk,
    ErrorChunk,
    HeartbeatAckChunk,
    HeartbeatChunk,
    InitAckChunk,
    InitChunk,
    SackChunk,
    ShutdownAckChunk,
    ShutdownChunk,
    ShutdownCompleteChunk,
)
from datachan.sctp.wire.extensions import (
    AsconfAckChunk,
    AsconfChunk,
    AuthChunk,
    ForwardTsnChunk,
    IDataChunk,
    IForwardTsnChunk,
    PadChunk,
    ReconfigChunk,
)
from datachan.sctp.wire.packet import serialize_packet
from datachan.sctp.wire.parameters import (
    AdaptationIndication,
    AddIncomingStreamsRequest,
    AddIpAddress,
    AddOutgoingStreamsRequest,
    ChunkList,
    CookiePreservative,
    DeleteIpAddress,
    EcnCapable,
    ErrorCauseIndication,
    ForwardTsnSupported,
    HostNameAddress,
    IncomingSsnResetRequest,
    IPv4Address,
    IPv6Address,
    OutgoingSsnResetRequest,
    Parameter,
    Random,
    ReconfigResponse,
    RequestedHmacAlgorithms,
    SetPrimaryAddress,
    SsnTsnResetRequest,
    StateCookie,
    SuccessIndication,
    SupportedAddressTypes,
    SupportedExtensions,
    UnrecognizedParameter,
    ZeroChecksumAcceptable,
)
from datachan.trace import open_tap
from tests.tshark import assert_flawless, fields

FOUR = IPv4Address(bytes([192, 0, 2, 1]))
SIX = IPv6Address(bytes.fromhex("20010db8000000000000000000000001"))
OF_INIT: list[Parameter] = [
    FOUR,
    SIX,
    CookiePreservative(5000),
    HostNameAddress(b"example.org\0"),
    SupportedAddressTypes((5, 6)),
    EcnCapable(),
    ForwardTsnSupported(),
    SupportedExtensions((0x0F, 0x40, 0x80, 0x82, 0xC0, 0xC1, 0xC2)),
    ZeroChecksumAcceptable(1),
    AdaptationIndication(0xC0FFEE),
    Random(bytes(32)),
    ChunkList((0x80, 0xC1)),
    RequestedHmacAlgorithms((3, 1)),
]
OF_INIT_ACK = [StateCookie(bytes(87)), UnrecognizedParameter(EcnCapable().serialize()), *OF_INIT]
CAUSE_LIST = [
    causes.invalid_stream_identifier(9),
    causes.missing_mandatory_parameter([parameters.STATE_COOKIE]),
    causes.stale_cookie(1_000_000),
    causes.out_of_resource(),
    causes.unresolvable_address(HostNameAddress(b"example.org\0")),
    causes.unrecognized_chunk_type(PadChunk(8).serialize()),
    causes.invalid_mandatory_parameter(),
    causes.unrecognized_parameters([EcnCapable(), ForwardTsnSupported()]),
    causes.no_user_data(7),
    causes.cookie_received_while_shutting_down(),
    causes.restart_with_new_addresses([FOUR, SIX]),
    causes.user_initiated_abort("enough, ✗"),
    causes.protocol_violation("odd"),
    causes.unsupported_hmac_identifier(2),
    causes.refused_request(causes.DELETE_LAST_ADDRESS, DeleteIpAddress(1, FOUR)),
    causes.refused_request(causes.RESOURCE_SHORTAGE, AddIpAddress(1, FOUR)),
    causes.refused_request(causes.DELETE_SOURCE_ADDRESS, DeleteIpAddress(1, SIX)),
    causes.illegal_asconf_ack(),
    causes.refused_request(causes.NO_AUTHORIZATION, AddIpAddress(1, FOUR)),
]
OPENINGS = [
    OpenMessage(label="chat ✓", protocol="proto"),
    OpenMessage(label="", ordered=False, max_retransmits=3),
    OpenMessage(label="x", max_packet_life_time=250, priority=1024),
]
RECONFIGURATIONS: list[list[Parameter]] = [
    [OutgoingSsnResetRequest(1, 2, 3, (4, 5, 6)), IncomingSsnResetRequest(7, (8,))],
    [OutgoingSsnResetRequest(1, 2, 3), ReconfigResponse(1, 1)],
    [IncomingSsnResetRequest(1)],
    [SsnTsnResetRequest(1)],
    [ReconfigResponse(1, 1, 2, 3)],
    [AddOutgoingStreamsRequest(1, 10), AddIncomingStreamsRequest(2, 10)],
]


def alone() -> list[Chunk]:
    """Return chunks that are each a packet."""
    return [
        InitChunk(1, 100_000, 10, 2048, 5, OF_INIT),
        InitAckChunk(1, 100_000, 10, 2048, 5, OF_INIT_ACK),
        *[InitChunk(1, 100_000, 10, 2048, 5, [parameter]) for parameter in OF_INIT],
        CookieEchoChunk(bytes(87)),
        *[AbortChunk([cause]) for cause in CAUSE_LIST],
        *[ErrorChunk([cause]) for cause in CAUSE_LIST],
        AbortChunk([], tag_reflected=True),
        AbortChunk(CAUSE_LIST),
        ShutdownCompleteChunk(),
        ShutdownCompleteChunk(tag_reflected=True),
        *[ReconfigChunk(requests) for requests in RECONFIGURATIONS],
        *[DataChunk(20 + index, 0, index, 50, opening.serialize()) for index, opening in enumerate(OPENINGS)],
        DataChunk(30, 0, 3, 50, AckMessage().serialize()),
    ]


def together() -> list[list[Chunk]]:
    """Return chunks as they are bundled."""
    added = AsconfChunk(7, FOUR, [AddIpAddress(1, SIX), SetPrimaryAddress(2, SIX), DeleteIpAddress(3, FOUR)])
    refused = causes.refused_request(causes.DELETE_SOURCE_ADDRESS, DeleteIpAddress(3, FOUR)).serialize()
    return [
        [CookieAckChunk(), SackChunk(9, 100_000, [(2, 3), (5, 5)], [4, 4]), DataChunk(1, 2, 3, 51, b"hello")],
        [
            DataChunk(2, 2, 4, 53, b"a" * 5, beginning=False),
            DataChunk(3, 2, 5, 0, b"b", unordered=True, immediate=True),
        ],
        [SackChunk(9, 0, [], []), IForwardTsnChunk(12, [(1, False, 2), (1, True, 7)])],
        [IDataChunk(10, 1, 2, 51, b"first", ending=False), IDataChunk(11, 1, 2, 1, b"last", beginning=False)],
        [ForwardTsnChunk(14, [(1, 2), (3, 4)]), ForwardTsnChunk(15, [])],
        [HeartbeatChunk(bytes(11)), PadChunk(101)],
        [HeartbeatAckChunk(bytes(11))],
        [AuthChunk(0, 3, bytes(32)), added],
        [AuthChunk(1, 1, bytes(20)), AsconfAckChunk(7, [SuccessIndication(1), ErrorCauseIndication(3, refused)])],
        [AuthChunk(0, 3, bytes(32)), AsconfAckChunk(8, [])],
        [ShutdownChunk(9), SackChunk(9, 1, [], [])],
        [ShutdownAckChunk(), EcneChunk(5), CwrChunk(5)],
    ]


def captured(path: Path) -> list[bytes]:
    """Return a capture of everything the engine can write."""
    packets = [packet([chunk]) for chunk in alone()] + [packet(chunks) for chunks in together()]
    tap = open_tap(path, "everything")
    assert tap is not None
    tap.sent(packets)
    tap.close()
    return packets


def packet(chunks: Sequence[Chunk]) -> bytes:
    tag = 0 if isinstance(chunks[0], InitChunk) and not isinstance(chunks[0], InitAckChunk) else 0x01020304
    return serialize_packet(5000, 5001, tag, [chunk.serialize() for chunk in chunks])


def kinds(nodes: Sequence[Node], kind: str, key: str) -> set[int]:
    """Return the types of all nodes of a kind, at any depth."""
    found: set[int] = set()
    for node in nodes:
        value = node.get(key)
        if node.kind == kind and isinstance(value, int):
            found.add(value)
        found |= kinds(node.children, kind, key)
    return found


def test_the_capture_has_every_chunk_parameter_and_cause(tmp_path: Path) -> None:
    nodes = [decode_packet(data) for data in captured(tmp_path / "run.pcapng")]
    assert all(node.sound for node in nodes)
    assert kinds(nodes, "chunks", "type") == set(CHUNKS)
    assert kinds(nodes, "causes", "code") == set(CAUSES)
    padding = 0x8005  # the padding parameter of RFC 4820, which we never write
    assert kinds(nodes, "parameters", "type") == set(PARAMETERS) - {padding}


def test_wireshark_finds_nothing_malformed_and_every_checksum_good(tmp_path: Path) -> None:
    packets = captured(tmp_path / "run.pcapng")
    types = assert_flawless(tmp_path / "run.pcapng")
    ours = [chunk.get("type") for data in packets for chunk in decode_packet(data).children]
    assert {int(kind) for kind in types} == set(ours)
    assert types["0"] >= 7


def test_wireshark_and_we_read_the_same_fields(tmp_path: Path) -> None:
    packets = captured(tmp_path / "run.pcapng")
    names = ["sctp.chunk_type", "sctp.chunk_length", "sctp.data_tsn_raw", "sctp.sack_cumulative_tsn_ack_raw"]
    for data, row in zip(packets, fields(tmp_path / "run.pcapng", names), strict=True):
        chunks = decode_packet(data).children
        if causes.UNRECOGNIZED_CHUNK_TYPE in kinds(chunks, "causes", "code"):
            continue  # Wireshark counts the chunk inside this cause
        ours = [
            [chunk.get("type") for chunk in chunks],
            [chunk.get("length") for chunk in chunks],
            [chunk.get("tsn") for chunk in chunks if chunk.name in {"DATA", "I-DATA"}],
            [chunk.get("cumulative_tsn_ack") for chunk in chunks if chunk.name == "SACK"],
        ]
        theirs = [[int(value) for value in cell.split(",") if value] for cell in row]
        assert theirs == ours
