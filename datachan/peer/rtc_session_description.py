"""RTCSessionDescription, and a description that was set: its type, its text and its parsed form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from datachan.sdp import IceCandidate, SessionDescription, format_candidate

from .errors import ArgumentError

MAX_ADDED_CANDIDATES: Final = 128
TYPES: Final = ("offer", "pranswer", "answer", "rollback")


@dataclass
class RTCSessionDescription:
    """An offer or an answer, for signaling.

    Attributes:
        sdp: the text.
        type: "offer", "answer", "pranswer" or "rollback".
    """

    sdp: str
    type: str

    def __post_init__(self) -> None:
        if self.type not in TYPES:
            raise ArgumentError(f"'type' must be in {list(TYPES)} (got {self.type!r})")
        if not isinstance(self.sdp, str):
            raise ArgumentError("'sdp' must be a string")

    def toJSON(self) -> dict[str, Any]:
        """Return the dictionary that browsers accept as RTCSessionDescriptionInit."""
        return {"type": self.type, "sdp": self.sdp}


@dataclass
class AppliedDescription:
    """A local or remote description that was set.

    Attributes:
        type: "offer", "answer" or "pranswer".
        sdp: the text as it was given.
        parsed: the parsed description.
        candidates: the candidates of the peer that were added later, in order.
        complete: whether the peer has signaled the end of its candidates.
    """

    type: str
    sdp: str
    parsed: SessionDescription
    candidates: list[IceCandidate] = field(default_factory=list)
    complete: bool = False

    def add_candidate(self, candidate: IceCandidate | None) -> None:
        """Record a candidate of the peer, up to `MAX_ADDED_CANDIDATES`; None records the end of candidates."""
        if candidate is None:
            self.complete = True
        elif len(self.candidates) < MAX_ADDED_CANDIDATES and candidate not in self.candidates:
            self.candidates.append(candidate)

    def with_added_candidates(self) -> str:
        """Return the text with the later candidates added to the data section (W3C, addIceCandidate)."""
        if self.parsed.data_index is None or not (self.candidates or self.complete):
            return self.sdp
        end = "\r\n" if "\r\n" in self.sdp else "\n"
        parts = self.sdp.replace("\r\n", "\n").rstrip("\n").split("\nm=")
        lines = [f"a={format_candidate(candidate)}" for candidate in self.candidates]
        data = self.parsed.data
        if self.complete and data is not None and not data.end_of_candidates:
            lines.append("a=end-of-candidates")
        section = parts[self.parsed.data_index + 1]
        parts[self.parsed.data_index + 1] = "\n".join([section, *lines])
        return ("\nm=".join(parts) + "\n").replace("\n", end)
