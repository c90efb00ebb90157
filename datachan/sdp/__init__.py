"""Offers and answers for one m=application section (RFC 8829, 8839, 8841, 8842), as text and as values; no I/O."""

from .candidate import IceCandidate, format_candidate, parse_candidate_untrusted
from .errors import SdpError

__all__ = ["IceCandidate", "SdpError", "format_candidate", "parse_candidate_untrusted"]
