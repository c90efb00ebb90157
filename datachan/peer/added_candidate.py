"""The argument of addIceCandidate: an object, a browser's dictionary or text, and the section it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from datachan.sdp import IceCandidate, RTCIceCandidate, SessionDescription, parse_candidate_untrusted

from .errors import ArgumentError, OperationError


@dataclass(frozen=True)
class AddedCandidate:
    """A candidate from signaling; `candidate` is None at the end of candidates."""

    candidate: IceCandidate | None
    mid: str | None = None
    index: int | None = None
    username_fragment: str | None = None

    def belongs_to_data(self, remote: SessionDescription) -> bool:
        """Return whether the candidate is for the data section; candidates of a rejected section are ignored.

        Raises:
            OperationError: there is no such section, or the candidate belongs to another ICE generation.
        """
        index = self._section_index(remote)
        data = remote.data
        if data is None or data.transport is None or (index is not None and remote.sections[index].rejected):
            return False
        ours = {data.transport.ice_ufrag}
        if index is not None and index != remote.data_index:
            # In a bundle, browsers gather once and name the section with the transport.
            return self.username_fragment in ours
        if self.username_fragment is not None and self.username_fragment not in ours:
            raise OperationError(f"the candidate's username fragment {self.username_fragment!r} is not the peer's")
        return True

    def _section_index(self, remote: SessionDescription) -> int | None:
        # pion 3 sends sdpMid "" with the right sdpMLineIndex. No section can have an empty mid, so the index decides.
        if self.mid is not None and (self.mid or self.index is None):
            mids = [section.mid for section in remote.sections]
            if self.mid not in mids:
                raise OperationError(f"the remote description has no section with mid {self.mid!r}")
            return mids.index(self.mid)
        if self.index is not None and not 0 <= self.index < len(remote.sections):
            raise OperationError(f"the remote description has no section number {self.index}")
        return self.index


def read_candidate(given: RTCIceCandidate | IceCandidate | Mapping[str, Any] | str | None) -> AddedCandidate:
    """Read the argument of addIceCandidate.

    Raises:
        ArgumentError: the argument has a wrong type, or does not name its section.
        SdpError: the candidate's text is malformed.
    """
    if given is None or given == "":
        return AddedCandidate(None)
    if isinstance(given, str):
        return _added(parse_candidate_untrusted(given), None, None, None)
    if isinstance(given, IceCandidate):
        return _added(given, None, None, None)
    if isinstance(given, Mapping):
        return _from_mapping(given)
    if not hasattr(given, "foundation") or not hasattr(given, "ip"):
        raise ArgumentError(f"a candidate is an RTCIceCandidate, a dictionary or text, not {type(given).__name__}")
    if given.sdpMid is None and given.sdpMLineIndex is None:
        raise ArgumentError("Candidate must have either sdpMid or sdpMLineIndex")
    candidate = given if isinstance(given, RTCIceCandidate) else _from_parts(given)
    return _added(candidate.to_ice(), candidate.sdpMid, candidate.sdpMLineIndex, candidate.usernameFragment)


def _from_parts(given: Any) -> RTCIceCandidate:
    """Convert aiortc's RTCIceCandidate, which has the same attributes but not the methods."""
    names = (one.name for one in fields(RTCIceCandidate) if not one.name.startswith("_"))
    return RTCIceCandidate(**{name: getattr(given, name, None) for name in names})


def _from_mapping(given: Mapping[str, Any]) -> AddedCandidate:
    text = given.get("candidate", "")
    mid, index = given.get("sdpMid"), given.get("sdpMLineIndex")
    fragment = given.get("usernameFragment")
    if (
        not isinstance(text, str)
        or not isinstance(mid, (str, type(None)))
        or not isinstance(fragment, (str, type(None)))
    ):
        raise ArgumentError("candidate, sdpMid and usernameFragment must be strings")
    if index is not None and (not isinstance(index, int) or isinstance(index, bool)):
        raise ArgumentError("sdpMLineIndex must be a number")
    if not text:
        return AddedCandidate(None, mid, index, fragment)
    if mid is None and index is None:
        raise ArgumentError("Candidate must have either sdpMid or sdpMLineIndex")
    return _added(parse_candidate_untrusted(text), mid, index, fragment)


def _added(candidate: IceCandidate, mid: str | None, index: int | None, fragment: str | None) -> AddedCandidate:
    return AddedCandidate(candidate, mid, index, fragment or candidate.username_fragment)
