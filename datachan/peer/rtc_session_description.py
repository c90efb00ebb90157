"""RTCSessionDescription, and a description once it has been read: its type, its text and its meaning together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from datachan.sdp import IceCandidate, SessionDescription, format_candidate

from .errors import ArgumentError

MAX_ADDED_CANDIDATES: Final = 128
TYPES: Final = ("offer", "pranswer", "answer", "rollback")


@dataclass
class RTCSessionDescription:
    """An offer or an answer, as it goes over signaling.

    Attributes:
        sdp: its text.
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
        """The dictionary a browser takes as RTCSessionDescriptionInit."""
        return {"type": self.type, "sdp": self.sdp}


@dataclass
class AppliedDescription:
    """A description that was set, local or remote.

    Attributes:
        type: "offer", "answer" or "pranswer".
        sdp: its text as it was given.
        parsed: what it says.
        candidates: those of the peer that were added later, in order.
        complete: whether the peer said that there are no more.
    """

    type: str
    sdp: str
    parsed: SessionDescription
    candidates: list[IceCandidate] = field(default_factory=list)
    complete: bool = False

    def add_candidate(self, candidate: IceCandidate | None) -> None:
        """Remember a candidate of the peer, or that there are no more; only so many are remembered."""
        if candidate is None:
            self.complete = True
        elif len(self.candidates) < MAX_ADDED_CANDIDATES and candidate not in self.candidates:
            self.candidates.append(candidate)

    def with_added_candidates(self) -> str:
        """The text, with the candidates that came later in the data section (W3C, addIceCandidate)."""
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
