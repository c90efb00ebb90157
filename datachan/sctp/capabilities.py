"""Which extensions both sides have: read from and written into INIT and INIT ACK."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .options import AssociationOptions
from .wire.extensions import FORWARD_TSN, RE_CONFIG
from .wire.parameters import (
    ForwardTsnSupported,
    Parameter,
    SupportedExtensions,
    UnknownParameter,
    ZeroChecksumAcceptable,
)

SCTP_OVER_DTLS = 1
"""The error detection method of RFC 9653 that DTLS provides."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What may be used in an association.

    Attributes:
        partial_reliability: FORWARD TSN (RFC 3758).
        stream_reset: RE-CONFIG (RFC 6525).
        zero_checksum: we may send packets with a zero checksum (RFC 9653).
    """

    partial_reliability: bool
    stream_reset: bool
    zero_checksum: bool

    def to_bits(self) -> int:
        """As a number, for the State Cookie."""
        return self.partial_reliability | self.stream_reset << 1 | self.zero_checksum << 2

    @classmethod
    def from_bits(cls, bits: int) -> Capabilities:
        """The opposite of `to_bits`."""
        return cls(bool(bits & 1), bool(bits & 2), bool(bits & 4))


def announce(options: AssociationOptions) -> list[Parameter]:
    """The parameters that say what we support."""
    parameters: list[Parameter] = []
    extensions: list[int] = []
    if options.partial_reliability:
        parameters.append(ForwardTsnSupported())
        extensions.append(FORWARD_TSN)
    if options.stream_reset:
        extensions.append(RE_CONFIG)
    if extensions:
        parameters.append(SupportedExtensions(tuple(extensions)))
    if options.zero_checksum:
        parameters.append(ZeroChecksumAcceptable(SCTP_OVER_DTLS))
    return parameters


def negotiate(options: AssociationOptions, peer: Sequence[Parameter]) -> Capabilities:
    """What both we and the peer, by its parameters, support."""
    extensions: set[int] = set()
    forward_tsn = zero_checksum = False
    for parameter in peer:
        if isinstance(parameter, SupportedExtensions):
            extensions.update(parameter.chunk_types)
        elif isinstance(parameter, ForwardTsnSupported):
            forward_tsn = True
        elif isinstance(parameter, ZeroChecksumAcceptable) and parameter.edmid == SCTP_OVER_DTLS:
            zero_checksum = True
    return Capabilities(
        partial_reliability=options.partial_reliability and (forward_tsn or FORWARD_TSN in extensions),
        stream_reset=options.stream_reset and RE_CONFIG in extensions,
        zero_checksum=options.zero_checksum and zero_checksum,
    )


def to_report(peer: Sequence[Parameter]) -> list[UnknownParameter]:
    """The unknown parameters whose type asks for a report (RFC 9260, section 3.2.1)."""
    return [parameter for parameter in peer if isinstance(parameter, UnknownParameter) and parameter.report]
