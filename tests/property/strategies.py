"""Hypothesis strategies for everything the wire can carry, within what our own side would write."""

from __future__ import annotations

from hypothesis import strategies as st

from datachan.sctp.wire.causes import ErrorCause
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
    UnknownChunk,
)
from datachan.sctp.wire.extensions import (
    AsconfAckChunk,
    AsconfChunk,
    ForwardTsnChunk,
    IDataChunk,
    IForwardTsnChunk,
    PadChunk,
    ReconfigChunk,
)
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
    UnknownParameter,
    UnrecognizedParameter,
    ZeroChecksumAcceptable,
)

u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
short_bytes = st.binary(max_size=30)
stream_ids = st.lists(u16, max_size=6).map(tuple)

# Types that are unknown here and whose high bits let parsing continue.
skippable_parameter_types = st.integers(0x8009, 0xFFFF).filter(lambda value: not 0xC000 <= value <= 0xC006)
skippable_chunk_types = st.integers(0x80, 0xFF).filter(lambda value: value not in {128, 130, 132, 192, 193, 194})

ipv4_addresses = st.builds(IPv4Address, st.binary(min_size=4, max_size=4))
ipv6_addresses = st.builds(IPv6Address, st.binary(min_size=16, max_size=16))
addresses = st.one_of(ipv4_addresses, ipv6_addresses)

parameters: st.SearchStrategy[Parameter] = st.one_of(
    addresses,
    st.builds(Random, short_bytes),
    st.builds(ChunkList, st.lists(u8, max_size=9).map(tuple)),
    st.builds(RequestedHmacAlgorithms, stream_ids),
    st.builds(AddIpAddress, u32, addresses),
    st.builds(DeleteIpAddress, u32, addresses),
    st.builds(SetPrimaryAddress, u32, addresses),
    st.builds(ErrorCauseIndication, u32, short_bytes),
    st.builds(SuccessIndication, u32),
    st.builds(StateCookie, short_bytes),
    st.builds(UnrecognizedParameter, short_bytes),
    st.builds(CookiePreservative, u32),
    st.builds(HostNameAddress, short_bytes),
    st.builds(SupportedAddressTypes, stream_ids),
    st.builds(SupportedExtensions, st.lists(u8, max_size=9).map(tuple)),
    st.builds(ZeroChecksumAcceptable, u32),
    st.builds(AdaptationIndication, u32),
    st.builds(OutgoingSsnResetRequest, u32, u32, u32, stream_ids),
    st.builds(IncomingSsnResetRequest, u32, stream_ids),
    st.builds(SsnTsnResetRequest, u32),
    st.builds(ReconfigResponse, u32, u32),
    st.builds(ReconfigResponse, u32, u32, u32, u32),
    st.builds(AddOutgoingStreamsRequest, u32, u16),
    st.builds(AddIncomingStreamsRequest, u32, u16),
    st.builds(UnknownParameter, skippable_parameter_types, short_bytes),
    st.just(EcnCapable()),
    st.just(ForwardTsnSupported()),
)
parameter_lists = st.lists(parameters, max_size=5)
causes = st.builds(ErrorCause, u16, short_bytes)
cause_lists = st.lists(causes, max_size=4)
init_fields = (u32, u32, u16, u16, u32, parameter_lists)

chunks: st.SearchStrategy[Chunk] = st.one_of(
    st.builds(DataChunk, u32, u16, u16, u32, short_bytes, st.booleans(), st.booleans(), st.booleans(), st.booleans()),
    st.builds(InitChunk, *init_fields),
    st.builds(InitAckChunk, *init_fields),
    st.builds(SackChunk, u32, u32, st.lists(st.tuples(u16, u16), max_size=6), st.lists(u32, max_size=6)),
    st.builds(HeartbeatChunk, short_bytes),
    st.builds(HeartbeatAckChunk, short_bytes),
    st.builds(AbortChunk, cause_lists, st.booleans()),
    st.builds(ErrorChunk, cause_lists),
    st.builds(ShutdownChunk, u32),
    st.just(ShutdownAckChunk()),
    st.builds(ShutdownCompleteChunk, st.booleans()),
    st.builds(CookieEchoChunk, short_bytes),
    st.just(CookieAckChunk()),
    st.builds(EcneChunk, u32),
    st.builds(CwrChunk, u32),
    st.builds(UnknownChunk, skippable_chunk_types, u8, short_bytes),
    st.builds(ForwardTsnChunk, u32, st.lists(st.tuples(u16, u16), max_size=5)),
    st.builds(ReconfigChunk, st.lists(parameters, max_size=2)),
    st.builds(IDataChunk, u32, u16, u32, u32, short_bytes, st.booleans(), st.booleans(), st.booleans(), st.booleans()),
    st.builds(IForwardTsnChunk, u32, st.lists(st.tuples(u16, st.booleans(), u32), max_size=5)),
    st.builds(PadChunk, st.integers(4, 40)),
    st.builds(AsconfChunk, u32, addresses, parameter_lists),
    st.builds(AsconfAckChunk, u32, parameter_lists),
)
