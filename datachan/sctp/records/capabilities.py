"""The extensions that both sides support, as INIT and INIT ACK announce them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from datachan.sctp.options import AssociationOptions
from datachan.sctp.wire.extensions import (
    ASCONF,
    ASCONF_ACK,
    AUTH,
    FORWARD_TSN,
    I_DATA,
    I_FORWARD_TSN,
    PAD,
    RE_CONFIG,
)
from datachan.sctp.wire.parameters import (
    ADAPTATION_INDICATION,
    FORWARD_TSN_SUPPORTED,
    SUPPORTED_EXTENSIONS,
    ZERO_CHECKSUM_ACCEPTABLE,
    AdaptationIndication,
    ForwardTsnSupported,
    Parameter,
    SupportedExtensions,
    UnknownParameter,
    ZeroChecksumAcceptable,
)

from . import keys

MAX_REPORTED: Final = 512
"""Bytes of unknown parameters that are echoed. An INIT may hold 64 kB of them, and its answer has to fit a packet."""

SCTP_OVER_DTLS: Final = 1
"""The error detection method of RFC 9653 that DTLS provides."""


OPTIONAL: Final = frozenset(
    {SUPPORTED_EXTENSIONS, FORWARD_TSN_SUPPORTED, ZERO_CHECKSUM_ACCEPTABLE, ADAPTATION_INDICATION}
)
"""The types of the parameters that an INIT may leave out."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The extensions that an association uses.

    Attributes:
        partial_reliability: FORWARD TSN (RFC 3758), or with interleaving I-FORWARD-TSN (RFC 8260).
        stream_reset: RE-CONFIG (RFC 6525).
        zero_checksum: we may send packets with a zero checksum (RFC 9653).
        interleaving: I-DATA instead of DATA (RFC 8260).
        authentication: AUTH (RFC 4895).
        dynamic_addresses: ASCONF (RFC 5061).
        padding: the peer reads PAD chunks (RFC 4820).
    """

    partial_reliability: bool
    stream_reset: bool
    zero_checksum: bool
    interleaving: bool
    authentication: bool = False
    dynamic_addresses: bool = False
    padding: bool = False

    def to_bits(self) -> int:
        """Return a number that encodes them, for the State Cookie."""
        return (
            self.partial_reliability
            | self.stream_reset << 1
            | self.zero_checksum << 2
            | self.interleaving << 3
            | self.authentication << 4
            | self.dynamic_addresses << 5
            | self.padding << 6
        )

    @classmethod
    def from_bits(cls, bits: int) -> Capabilities:
        """Return the capabilities that `to_bits` encoded."""
        return cls(*(bool(bits & 1 << position) for position in range(7)))


def extension_parameters(options: AssociationOptions, types: frozenset[int] = OPTIONAL) -> list[Parameter]:
    """Return the parameters that announce the extensions we support, limited to these types."""
    parameters: list[Parameter] = []
    extensions: list[int] = []
    if options.partial_reliability:
        parameters.append(ForwardTsnSupported())
        extensions.append(FORWARD_TSN)
    if options.stream_reset:
        extensions.append(RE_CONFIG)
    if options.interleaving:
        extensions.append(I_DATA)
        if options.partial_reliability:
            extensions.append(I_FORWARD_TSN)
    if options.authentication:
        extensions.append(AUTH)
    if options.dynamic_addresses:
        extensions += [ASCONF, ASCONF_ACK]
    # A peer that probes path MTUs can thus do it with PAD chunks, which cost no answer of their length.
    extensions.append(PAD)
    parameters.append(SupportedExtensions(tuple(extensions)))
    if options.zero_checksum:
        parameters.append(ZeroChecksumAcceptable(SCTP_OVER_DTLS))
    if options.adaptation_indication is not None:
        parameters.append(AdaptationIndication(options.adaptation_indication))
    return [parameter for parameter in parameters if parameter.type in types]


def optional_types(parameters: Sequence[Parameter]) -> frozenset[int]:
    """Return which types of optional parameters an INIT or INIT ACK has."""
    return OPTIONAL.intersection(parameter.type for parameter in parameters)


def offered(options: AssociationOptions, types: frozenset[int]) -> AssociationOptions:
    """Return the options without the extensions that an INIT with these types of optional parameters did not offer."""
    if types == OPTIONAL:
        return options
    listed = SUPPORTED_EXTENSIONS in types
    return replace(
        options,
        partial_reliability=options.partial_reliability and (listed or FORWARD_TSN_SUPPORTED in types),
        stream_reset=options.stream_reset and listed,
        interleaving=options.interleaving and listed,
        zero_checksum=options.zero_checksum and ZERO_CHECKSUM_ACCEPTABLE in types,
    )


def negotiate(options: AssociationOptions, peer: Sequence[Parameter]) -> Capabilities:
    """Return the extensions that we and the peer, by its parameters, both support."""
    extensions: set[int] = set()
    forward_tsn = zero_checksum = False
    for parameter in peer:
        if isinstance(parameter, SupportedExtensions):
            extensions.update(parameter.chunk_types)
        elif isinstance(parameter, ForwardTsnSupported):
            forward_tsn = True
        elif isinstance(parameter, ZeroChecksumAcceptable) and parameter.edmid == SCTP_OVER_DTLS:
            zero_checksum = True
    # RFC 8260, 2.2.1: "User message interleaving has been negotiated for an association if both endpoints have
    # indicated I-DATA support."
    interleaving = options.interleaving and I_DATA in extensions
    # RFC 8260, 2.3.1: "The partial reliability extension is negotiated and can be used in combination with user message
    # interleaving only if both endpoints indicated their support of user message interleaving and the I-FORWARD-TSN
    # chunk."
    partial = I_FORWARD_TSN in extensions if interleaving else forward_tsn or FORWARD_TSN in extensions
    authentication = options.authentication and keys.random_number(peer) is not None and keys.chosen_algorithm(peer) > 0
    # RFC 5061, 4.2.7: "An implementation supporting this extension MUST list the ASCONF,the ASCONF-ACK, and the AUTH
    # chunks in its INIT and INIT-ACK parameters."
    asconf = ASCONF in extensions and ASCONF_ACK in extensions
    return Capabilities(
        partial_reliability=options.partial_reliability and partial,
        stream_reset=options.stream_reset and RE_CONFIG in extensions,
        zero_checksum=options.zero_checksum and zero_checksum,
        interleaving=interleaving,
        authentication=authentication,
        dynamic_addresses=options.dynamic_addresses and authentication and asconf,
        padding=PAD in extensions,
    )


def adaptation_of(peer: Sequence[Parameter]) -> int:
    """Return the Adaptation Layer Indication of the peer, -1 without one (RFC 5061, section 4.2.6)."""
    for parameter in peer:
        if isinstance(parameter, AdaptationIndication):
            return parameter.code_point
    return -1


def asks_for_unsigned_asconf(peer: Sequence[Parameter]) -> bool:
    """Return whether a peer announces ASCONF without authentication."""
    listed = any(isinstance(parameter, SupportedExtensions) and ASCONF in parameter.chunk_types for parameter in peer)
    return listed and keys.random_number(peer) is None


def to_report(options: AssociationOptions, peer: Sequence[Parameter]) -> list[Parameter]:
    """Return the parameters to report to the peer as unrecognized (RFC 9260, section 3.2.1), at most `MAX_REPORTED`.

    Forward-TSN-Supported is reported where partial reliability is switched off: RFC 3758, 3.3.3 lets the peer "inform
    its upper layer of the remote endpoint's inability to support partially reliable data transfer."
    """
    reported: list[Parameter] = []
    room = MAX_REPORTED
    for parameter in peer:
        if isinstance(parameter, UnknownParameter):
            unknown = parameter.report
        else:
            unknown = isinstance(parameter, ForwardTsnSupported) and not options.partial_reliability
        length = len(parameter.serialize()) if unknown else 0
        if unknown and length <= room:
            room -= length
            reported.append(parameter)
    return reported
