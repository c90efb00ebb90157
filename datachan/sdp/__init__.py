"""Offers and answers with one m=application section (RFC 8829, 8839, 8841, 8842), as text and as values; no I/O.

    errors.py             `SdpError`
    sdp_lines.py          a description split into lines and attributes
    candidate.py          one ICE candidate
    rtc_ice_candidate.py  the same with W3C's names
    description.py        the meaning of an offer or an answer
    copied_attributes.py  attributes of ours that a peer copied
    offer_answer.py       the offers and answers we create
    verification_code.py  a short code of both sides' fingerprints

Text from a peer is read by functions whose name ends in ``_untrusted``; they raise `SdpError` only.
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
from .verification_code import fingerprint_lines, verification_code

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
    "fingerprint_lines",
    "format_candidate",
    "format_description",
    "parse_candidate_untrusted",
    "parse_description_untrusted",
    "verification_code",
    "with_candidates",
    "without_copied_attributes",
]
