"""The signaling states and the four descriptions (W3C WebRTC, 4.3.1); no I/O.

The table below holds all transitions.
"""

from __future__ import annotations

from typing import Final

from .errors import InvalidStateError
from .rtc_session_description import AppliedDescription

STABLE: Final = "stable"
HAVE_LOCAL_OFFER: Final = "have-local-offer"
HAVE_REMOTE_OFFER: Final = "have-remote-offer"
HAVE_LOCAL_PRANSWER: Final = "have-local-pranswer"
HAVE_REMOTE_PRANSWER: Final = "have-remote-pranswer"
CLOSED: Final = "closed"

# (side, type): {state before: state after}
_TRANSITIONS: Final[dict[tuple[str, str], dict[str, str]]] = {
    ("local", "offer"): {STABLE: HAVE_LOCAL_OFFER, HAVE_LOCAL_OFFER: HAVE_LOCAL_OFFER},
    ("local", "pranswer"): {HAVE_REMOTE_OFFER: HAVE_LOCAL_PRANSWER, HAVE_LOCAL_PRANSWER: HAVE_LOCAL_PRANSWER},
    ("local", "answer"): {HAVE_REMOTE_OFFER: STABLE, HAVE_LOCAL_PRANSWER: STABLE},
    ("local", "rollback"): {HAVE_LOCAL_OFFER: STABLE, HAVE_REMOTE_OFFER: STABLE},
    ("remote", "offer"): {STABLE: HAVE_REMOTE_OFFER, HAVE_REMOTE_OFFER: HAVE_REMOTE_OFFER},
    ("remote", "pranswer"): {HAVE_LOCAL_OFFER: HAVE_REMOTE_PRANSWER, HAVE_REMOTE_PRANSWER: HAVE_REMOTE_PRANSWER},
    ("remote", "answer"): {HAVE_LOCAL_OFFER: STABLE, HAVE_REMOTE_PRANSWER: STABLE},
    ("remote", "rollback"): {HAVE_LOCAL_OFFER: STABLE, HAVE_REMOTE_OFFER: STABLE},
}


class SignalingState:
    """The state of the negotiation, and its descriptions."""

    def __init__(self) -> None:
        self.state = STABLE
        self.current_local: AppliedDescription | None = None
        self.pending_local: AppliedDescription | None = None
        self.current_remote: AppliedDescription | None = None
        self.pending_remote: AppliedDescription | None = None

    @property
    def local(self) -> AppliedDescription | None:
        """The pending local description, or else the current one."""
        return self.pending_local or self.current_local

    @property
    def remote(self) -> AppliedDescription | None:
        """The pending remote description, or else the current one."""
        return self.pending_remote or self.current_remote

    def remote_with(self, username_fragment: str | None) -> AppliedDescription | None:
        """Return the remote description with these ICE credentials, or else the pending or current one."""
        applied = (self.pending_remote, self.current_remote)
        return next((one for one in applied if one is not None and _fragment(one) == username_fragment), self.remote)

    def local_with(self, username_fragment: str) -> AppliedDescription | None:
        """Return our pending or current description with these ICE credentials, or None."""
        applied = (self.pending_local, self.current_local)
        return next((one for one in applied if one is not None and _fragment(one) == username_fragment), None)

    @property
    def local_fragments(self) -> frozenset[str]:
        """The ICE username fragments of our current and pending descriptions."""
        applied = (self.current_local, self.pending_local)
        fragments = (None if one is None else _fragment(one) for one in applied)
        return frozenset(fragment for fragment in fragments if fragment is not None)

    def check(self, side: str, description_type: str) -> str:
        """Return the state after setting a description.

        Raises:
            InvalidStateError: a description of this type cannot be set in the current state.
        """
        after = _TRANSITIONS[side, description_type].get(self.state)
        if after is None:
            raise InvalidStateError(f"a {side} {description_type} cannot be set in signaling state {self.state!r}")
        return after

    def set(self, side: str, description: AppliedDescription) -> None:
        """Set a description.

        Raises:
            InvalidStateError: the description cannot be set now.
        """
        after = self.check(side, description.type)
        if side == "local":
            self.pending_local = description
        else:
            self.pending_remote = description
        self.state = after
        if description.type == "answer":
            self.current_local, self.pending_local = self.pending_local, None
            self.current_remote, self.pending_remote = self.pending_remote, None

    def roll_back(self, side: str) -> None:
        """Discard the pending offer (RFC 8829, section 4.1.10.2).

        Raises:
            InvalidStateError: there is no pending offer, or it has a provisional answer already.
        """
        self.state = self.check(side, "rollback")
        self.pending_local = None
        self.pending_remote = None

    def close(self) -> None:
        """Refuse further descriptions, because the connection is closed."""
        self.state = CLOSED


def _fragment(description: AppliedDescription) -> str | None:
    data = description.parsed.data
    return None if data is None or data.transport is None else data.transport.ice_ufrag
