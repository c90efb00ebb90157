"""INIT and INIT ACK: builds ours, checks the peer's, and derives the content of the State Cookie.

These are pure rules of RFC 9260, section 5.1; `procedures/handshake` and `admission` act on them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from datachan.sctp.addresses import TransportAddress, address_parameters, usable_addresses
from datachan.sctp.errors import BadPacket
from datachan.sctp.options import AssociationOptions
from datachan.sctp.wire import causes
from datachan.sctp.wire.causes import ErrorCause
from datachan.sctp.wire.chunks import INIT, InitAckChunk, InitChunk, parse_init_untrusted
from datachan.sctp.wire.packet import COMMON_HEADER_LENGTH
from datachan.sctp.wire.parameters import (
    ZERO_CHECKSUM_ACCEPTABLE,
    CookiePreservative,
    HostNameAddress,
    MalformedParameter,
    Parameter,
    StateCookie,
    UnrecognizedParameter,
)

from . import keys
from .capabilities import (
    OPTIONAL,
    adaptation_of,
    asks_for_unsigned_asconf,
    extension_parameters,
    negotiate,
    optional_types,
    to_report,
)
from .cookie import StateCookieContent

MIN_A_RWND: Final = 1500
"""RFC 9260, 3.3.2: "The Advertised Receiver Window Credit MUST NOT be smaller than 1500." """

LONGEST_PRESERVATIVE: Final = 60.0
"""The most seconds that a Cookie Preservative may add."""

MAX_STREAMS_PER_RESET: Final = 256
"""The most streams in one request; more streams take several requests, one after the other."""


def build_init(
    options: AssociationOptions,
    local_tag: int,
    initial_tsn: int,
    local_random: bytes,
    preservative: float = 0.0,
    types: frozenset[int] = OPTIONAL,
) -> InitChunk:
    """Return our INIT.

    Args:
        options: our options.
        local_tag: the Initiate Tag.
        initial_tsn: the Initial TSN, 32 bits.
        local_random: our Random Number, if chunks are to be authenticated.
        preservative: additional seconds of cookie life to request.
        types: the types of optional parameters to include.
    """
    parameters = [*extension_parameters(options, types), *address_parameters(options.local_addresses, None)]
    if options.authentication:
        parameters += keys.authentication_parameters(local_random, options.listed_chunks)
    if preservative > 0:
        parameters.append(CookiePreservative(int(preservative * 1000)))
    return InitChunk(
        local_tag, options.receive_window, options.outbound_streams, options.inbound_streams, initial_tsn, parameters
    )


def build_init_ack(
    options: AssociationOptions, init: InitChunk, local_tag: int, initial_tsn: int, local_random: bytes, cookie: bytes
) -> InitAckChunk:
    """Return our answer to an acceptable INIT.

    It lacks Zero Checksum Acceptable if the INIT has other optional parameters, and not this one. SCTP in pion up to
    1.8.6 discards an INIT ACK with this parameter, and only a peer that knows it can make use of it. An INIT without
    any is a repeated one of ours: the answer says what may be offered again.
    """
    types = optional_types(init.parameters)
    types = types | OPTIONAL - {ZERO_CHECKSUM_ACCEPTABLE} if types else OPTIONAL
    parameters: list[Parameter] = [StateCookie(cookie), *extension_parameters(options, types)]
    parameters.extend(address_parameters(options.local_addresses, init.parameters))
    if options.authentication:
        parameters += keys.authentication_parameters(local_random, options.listed_chunks)
    parameters.extend(UnrecognizedParameter(unknown.serialize()) for unknown in to_report(options, init.parameters))
    # RFC 9260, 3.3.3: "The value of 0 MUST NOT be used, and the value MUST NOT be greater than the MIS value sent in
    # the INIT chunk."
    outbound = min(options.outbound_streams, init.inbound_streams)
    return InitAckChunk(local_tag, options.receive_window, outbound, options.inbound_streams, initial_tsn, parameters)


def refuse(options: AssociationOptions, init: InitChunk) -> ErrorCause | None:
    """Return why an INIT or INIT ACK is unacceptable (sections 3.3.2, 3.3.3 and 5.1.2), or None."""
    if init.outbound_streams == 0 or init.inbound_streams == 0 or init.a_rwnd < MIN_A_RWND:
        return causes.invalid_mandatory_parameter()
    for parameter in init.parameters:
        if isinstance(parameter, MalformedParameter):
            # RFC 9260, 3.3.10.13: "This error cause MAY be included in ABORT chunks that are sent because an SCTP
            # endpoint detects a protocol violation of the peer".
            return causes.protocol_violation(f"parameter 0x{parameter.type:04x} is malformed")
        if isinstance(parameter, HostNameAddress):
            # RFC 9260, 5.1.2, B: "the endpoint MUST immediately send an ABORT chunk and MAY include an "Unresolvable
            # Address" error cause to its peer."
            return causes.unresolvable_address(parameter)
    if options.dynamic_addresses and asks_for_unsigned_asconf(init.parameters):
        # RFC 5061, 6: "If an SCTP endpoint that supports this extension receives an INIT that indicates that the peer
        # supports the ASCONF extension but does NOT support the [RFC4895] extension, the receiver of such an INIT MUST
        # send an ABORT in response." The same holds for an INIT ACK.
        return causes.protocol_violation("ASCONF without AUTH")
    return keys.refuse_authentication(init.parameters, options.authenticated_chunks) if options.authentication else None


def state_cookie(init_ack: InitAckChunk) -> bytes | None:
    """Return the State Cookie of an INIT ACK, or None when it has none."""
    for parameter in init_ack.parameters:
        if isinstance(parameter, StateCookie):
            return parameter.cookie
    return None


def cookie_lifespan(options: AssociationOptions, init: InitChunk) -> float:
    """Return the life of the cookie in seconds, with a bounded Cookie Preservative (section 3.3.2.1.3)."""
    lifespan = options.valid_cookie_life
    for parameter in init.parameters:
        if isinstance(parameter, CookiePreservative):
            lifespan += min(parameter.increment_ms / 1000, LONGEST_PRESERVATIVE)
    return lifespan


def negotiated_streams(options: AssociationOptions, peer: InitChunk) -> tuple[int, int]:
    """Return the negotiated (outbound, inbound) streams.

    RFC 9260, 5.1.1: "If the peer's MIS is less than the endpoint's OS, [...] the endpoint MUST use MIS outbound
    streams".
    """
    return (
        min(options.outbound_streams, peer.inbound_streams),
        min(options.inbound_streams, peer.outbound_streams),
    )


def cookie_content(
    options: AssociationOptions,
    init: InitChunk,
    *,
    local_tag: int,
    local_initial_tsn: int,
    tie_tags: tuple[int, int],
    ports: tuple[int, int],
    now: float,
    source: TransportAddress | None = None,
    local_random: bytes = b"",
) -> StateCookieContent:
    """Return the content of the cookie that answers an INIT.

    Args:
        options: our options.
        init: the peer's INIT.
        local_tag: the Initiate Tag of our INIT ACK.
        local_initial_tsn: the Initial TSN of our INIT ACK.
        tie_tags: (local, peer's) Tie-Tag, zeros when no association exists.
        ports: (source, destination) of the packet with the INIT.
        now: monotonic seconds.
        source: the source address of the packet with the INIT.
        local_random: the Random Number of our INIT ACK, if we request authentication.
    """
    outbound, inbound = negotiated_streams(options, init)
    capabilities = negotiate(options, init.parameters)
    return StateCookieContent(
        created_at=now,
        lifespan=cookie_lifespan(options, init),
        local_tag=local_tag,
        peer_tag=init.initiate_tag,
        local_tie_tag=tie_tags[0],
        peer_tie_tag=tie_tags[1],
        local_initial_tsn=local_initial_tsn,
        peer_initial_tsn=init.initial_tsn,
        peer_a_rwnd=init.a_rwnd,
        outbound_streams=outbound,
        inbound_streams=inbound,
        source_port=ports[0],
        destination_port=ports[1],
        capabilities=capabilities.to_bits(),
        adaptation=adaptation_of(init.parameters),
        peer_addresses=tuple(usable_addresses(init.parameters, source, options.local_addresses)),
        local_random=local_random if capabilities.authentication else b"",
        peer_key_vector=keys.key_vector(init.parameters) if capabilities.authentication else b"",
    )


def content_of_init_ack(
    options: AssociationOptions,
    init_ack: InitChunk,
    local_tag: int,
    local_initial_tsn: int,
    now: float,
    source: TransportAddress | None = None,
    local_random: bytes = b"",
) -> StateCookieContent:
    """Return the content that the peer's cookie would have, on the side that sent INIT or after signaling."""
    return cookie_content(
        options,
        init_ack,
        local_tag=local_tag,
        local_initial_tsn=local_initial_tsn,
        tie_tags=(0, 0),
        ports=(options.remote_port, options.local_port),
        now=now,
        source=source,
        local_random=local_random,
    )


def streams_per_reset(options: AssociationOptions) -> int:
    """Return how many stream identifiers of an Outgoing SSN Reset Request fit a packet."""
    return min(MAX_STREAMS_PER_RESET, (options.first_packet_size - COMMON_HEADER_LENGTH - 4 - 16) // 2)


# -- INITs carried by signaling (draft-hancke-tsvwg-snap) --------------------------------------------------------------

LONGEST_INIT: Final = 2048
"""The longest INIT in bytes that is read; all the parameters known here take less than a hundred."""


def make_init(options: AssociationOptions, entropy: Callable[[int], bytes]) -> bytes:
    """Return an INIT to send to the peer by signaling, and then to pass to `Association.connect_negotiated`.

    Args:
        options: the options of the association.
        entropy: returns random bytes, for Initiate Tag and Initial TSN.
    """
    tag = 0
    while tag == 0:
        tag = int.from_bytes(entropy(4), "big")
    init = build_init(options, tag, int.from_bytes(entropy(4), "big"), b"")
    serialized = init.serialize()
    # The padding behind the last parameter is not part of the chunk (RFC 9260, section 3.2).
    return serialized[: serialized[2] << 8 | serialized[3]]


def read_init_untrusted(data: bytes) -> InitChunk:
    """Read the INIT that signaling carried.

    Raises:
        BadPacket: the bytes are not an INIT chunk, or one that no association can be built on.
    """
    if not 20 <= len(data) <= LONGEST_INIT or data[0] != INIT:
        raise BadPacket("the chunk is not an INIT")
    length = data[2] << 8 | data[3]
    if not 20 <= length <= len(data) <= length + 3:
        raise BadPacket(f"the INIT chunk has length {length} of {len(data)}")
    init = parse_init_untrusted(data, 0, length)
    if init.initiate_tag == 0:
        raise BadPacket("the INIT chunk has an Initiate Tag of 0")
    if refuse(AssociationOptions(), init) is not None:
        raise BadPacket("the INIT chunk has values that no association can be built on")
    return init
