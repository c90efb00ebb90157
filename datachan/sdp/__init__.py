"""Offers and answers for one m=application section (RFC 8829, 8839, 8841, 8842), as text and as values; no I/O.

`text` splits lines, `description` reads what they say, `negotiation` decides what to say in return. What comes from a
peer passes through a function named ``…_untrusted`` and raises `SdpError` only.
"""

from __future__ import annotations

from .candidate import IceCandidate, format_candidate, parse_candidate_untrusted
from .copied_attributes import without_copied_attributes
from .description import (
    DEFAULT_MAX_MESSAGE_SIZE,
    Section,
    SessionDescription,
    TransportParameters,
    parse_description_untrusted,
)
from .errors import SdpError
from .offer_answer import (
    LocalData,
    answer_setup,
    check_answer,
    create_answer,
    create_offer,
    format_description,
    with_candidates,
)
from .rtc_ice_candidate import RTCIceCandidate, candidate_from_sdp, candidate_to_sdp

__all__ = [
    "DEFAULT_MAX_MESSAGE_SIZE",
    "IceCandidate",
    "LocalData",
    "RTCIceCandidate",
    "SdpError",
    "Section",
    "SessionDescription",
    "TransportParameters",
    "answer_setup",
    "candidate_from_sdp",
    "candidate_to_sdp",
    "check_answer",
    "create_answer",
    "create_offer",
    "format_candidate",
    "format_description",
    "parse_candidate_untrusted",
    "parse_description_untrusted",
    "with_candidates",
    "without_copied_attributes",
]
