"""The offers and answers of one connection: those created and those set; it knows no transport and emits no event.

`RTCPeerConnection` provides our side of the data section and acts on the result.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from datachan.log_rate import get_limited_logger
from datachan.sdp import (
    LocalData,
    SessionDescription,
    answer_setup,
    check_answer,
    create_answer,
    create_offer,
    format_description,
    parse_description_untrusted,
    without_copied_attributes,
)

from .errors import ArgumentError, InvalidModificationError, InvalidStateError
from .rtc_session_description import AppliedDescription, RTCSessionDescription
from .signaling_state import HAVE_LOCAL_OFFER, HAVE_REMOTE_PRANSWER, STABLE, SignalingState

_log = get_limited_logger("datachan.peer")
# One description may hold thousands of lines that cannot be read.
_MAX_WARNINGS: Final = 4


class Negotiation:
    """The signaling state, and the descriptions created and set."""

    def __init__(self) -> None:
        self.signaling = SignalingState()
        # RFC 8829, 5.2.1: "generating a 64-bit quantity with the highest bit set to zero and the remaining 63 bits
        # being cryptographically random."
        self.session_id = int.from_bytes(os.urandom(8), "big") >> 1
        self._session_version = 0
        self._last_created: dict[str, tuple[str, SessionDescription]] = {}

    @property
    def had_data(self) -> bool:
        """Whether the descriptions so far have a data section."""
        previous = self.signaling.local or self.signaling.remote
        return previous is not None and previous.parsed.data is not None

    @property
    def has_data(self) -> bool:
        """Whether the current descriptions have agreed on a data section."""
        current = (self.signaling.current_local, self.signaling.current_remote)
        return all(one is not None and one.parsed.data is not None for one in current)

    @property
    def concerns_data(self) -> bool:
        """Whether the pending offer has a data section, or the current descriptions have agreed on one."""
        pending = self.signaling.pending_local or self.signaling.pending_remote
        return self.has_data or (pending is not None and pending.parsed.data is not None)

    @property
    def pending_offer(self) -> SessionDescription:
        """The peer's offer that has no answer yet.

        Raises:
            InvalidStateError: there is no such offer.
        """
        offer = self.signaling.pending_remote
        if offer is None or offer.type != "offer":
            raise InvalidStateError(f"there is no offer to answer in signaling state {self.signaling.state!r}")
        return offer.parsed

    def implicit_type(self) -> str:
        """Return the type that setLocalDescription without an argument sets (W3C WebRTC, 4.4.2)."""
        offering = self.signaling.state in {STABLE, HAVE_LOCAL_OFFER, HAVE_REMOTE_PRANSWER}
        return "offer" if offering else "answer"

    def withdraws_offer(self, description_type: str) -> bool:
        """Return whether setting a description of this type from the peer withdraws our pending offer."""
        return self.signaling.state == HAVE_LOCAL_OFFER and description_type in {"offer", "rollback"}

    # -- creating ------------------------------------------------------------------------------------------------------

    def create_offer(self, local: LocalData | None) -> RTCSessionDescription:
        """Create an offer; without `local`, it has no data section."""
        applied = self.signaling.local or self.signaling.remote
        previous = None if applied is None else applied.parsed
        if previous is not None and not self.concerns_data:
            previous = replace(previous, data_index=None)  # the data section was refused
        self._session_version += 1
        description = create_offer(
            local,
            previous,
            session_id=self.session_id,
            session_version=self._session_version,
        )
        return self._created("offer", description)

    def create_answer(self, local: LocalData | None, setup: str | None) -> RTCSessionDescription:
        """Create an answer to the pending offer; without `local`, it rejects the data section.

        Args:
            local: our side of the data section.
            setup: our current DTLS role, "active" or "passive"; None without a DTLS association.
        """
        offer = self.pending_offer
        data = offer.data
        role = answer_setup(data.transport.setup, setup) if data is not None and data.transport is not None else ""
        self._session_version += 1
        description = create_answer(
            offer, local, setup=role, session_id=self.session_id, session_version=self._session_version
        )
        return self._created("answer", description)

    def created_before(self, kind: str, sdp: str) -> SessionDescription | None:
        """Return the description that was created last if `sdp` is its text; None when `sdp` is empty.

        Raises:
            InvalidModificationError: `sdp` is another text.
        """
        last = self._last_created.get("offer" if kind == "offer" else "answer")
        if not sdp:
            return None
        # RFC 8829, 5.4: "The SDP returned from createOffer or createAnswer MUST NOT be changed before passing it to
        # setLocalDescription."
        if last is None or last[0].split() != sdp.split():
            raise InvalidModificationError(f"this is not the {kind} that was created last")
        return last[1]

    def last_created(self, kind: str) -> SessionDescription:
        """Return the latest result of `create_offer` or `create_answer`."""
        return self._last_created["offer" if kind == "offer" else "answer"][1]

    # -- setting -------------------------------------------------------------------------------------------------------

    def set_local(self, kind: str, description: SessionDescription) -> None:
        """Set our description, after `SignalingState.check` has allowed it."""
        self.signaling.set(
            "local", AppliedDescription(type=kind, sdp=format_description(description), parsed=description)
        )

    def read_remote(self, given: RTCSessionDescription) -> SessionDescription:
        """Parse the peer's description and check that it fits, without setting it.

        Raises:
            SdpError: the description is malformed or does not fit our offer.
            InvalidStateError: the description cannot be set now.
        """
        crossing = given.type == "offer" and self.signaling.state == HAVE_LOCAL_OFFER
        if not crossing:
            self.signaling.check("remote", given.type)
        ours = [description for _, description in self._last_created.values()]
        parsed = without_copied_attributes(parse_description_untrusted(given.sdp), ours)
        if parsed.data is not None:
            for reason in parsed.data.skipped_candidates[:_MAX_WARNINGS]:
                _log.warning("a candidate of the peer is ignored: %s", reason)
        if given.type != "offer" and self.signaling.pending_local is not None:
            check_answer(self.signaling.pending_local.parsed, parsed)
        return parsed

    def set_remote(self, given: RTCSessionDescription, parsed: SessionDescription) -> None:
        """Set the peer's description, after `read_remote` and, if the offers cross, a rollback of ours."""
        self.signaling.set("remote", AppliedDescription(type=given.type, sdp=given.sdp, parsed=parsed))

    def _created(self, kind: str, description: SessionDescription) -> RTCSessionDescription:
        text = format_description(description)
        self._last_created[kind] = (text, description)
        return RTCSessionDescription(sdp=text, type=kind)


def check_description(given: RTCSessionDescription | Mapping[str, str]) -> RTCSessionDescription:
    """Return the argument of setLocalDescription or setRemoteDescription as an RTCSessionDescription.

    Raises:
        ArgumentError: the argument is neither a description nor a dictionary.
    """
    if isinstance(given, Mapping):
        return RTCSessionDescription(sdp=given.get("sdp", ""), type=given.get("type", ""))
    if not isinstance(getattr(given, "sdp", None), str) or not isinstance(getattr(given, "type", None), str):
        raise ArgumentError(f"a description is an RTCSessionDescription, not {type(given).__name__}")
    return given
