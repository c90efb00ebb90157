"""What an agent reports, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass

from .pairs import CandidatePair


@dataclass(frozen=True, slots=True)
class PairSelected:
    """Data goes over this pair from now on.

    Attributes:
        replaces_silent: whether the pair before was silent, so that what was sent there last is probably lost.
    """

    pair: CandidatePair
    replaces_silent: bool = False


@dataclass(frozen=True, slots=True)
class PairDoubted:
    """Nothing has answered in time what was sent on the pair in use, which may be lost.

    Until `DoubtDispelled` or `PairSelected`, copies of it may be sent over another pair.

    Attributes:
        alternative: a valid pair on another link or to another address, which has consent.
        unanswered: the seconds in which what was sent may have been lost.
    """

    alternative: CandidatePair
    unanswered: float


@dataclass(frozen=True, slots=True)
class DoubtDispelled:
    """The pair in use has answered after `PairDoubted`."""


@dataclass(frozen=True, slots=True)
class ChecksDone:
    """The pair in use is nominated, and no better one is still being checked."""


@dataclass(frozen=True, slots=True)
class PeerAlive:
    """The peer has answered a check on the pair in use."""


@dataclass(frozen=True, slots=True)
class PeerSilent:
    """The peer has been silent on all pairs for `AgentOptions.silence`."""


@dataclass(frozen=True, slots=True)
class PeerHeard:
    """The peer was silent, and has sent something again."""


@dataclass(frozen=True, slots=True)
class PathLost:
    """Nothing may be sent any longer; the reason is a sentence. `PairSelected` follows if the peer answers again.

    Attributes:
        expired: whether the peer's consent is lost, rather than our link.
    """

    reason: str
    expired: bool = True


@dataclass(frozen=True, slots=True)
class RoleSwitched:
    """A role conflict was resolved by taking the other role."""

    controlling: bool


@dataclass(frozen=True, slots=True)
class DtlsReceived:
    """A check of the peer, or its answer to ours, has carried a DTLS datagram (SPED)."""

    datagram: bytes


@dataclass(frozen=True, slots=True)
class Restarted:
    """The session of an ICE restart has taken the place of the one before; the events that follow belong to it.

    Attributes:
        username_fragment: ours in the new session.
    """

    username_fragment: str


@dataclass(frozen=True, slots=True)
class OldSessionEnded:
    """The session before a restart no longer answers checks. Links without a session can be closed."""


AgentEvent = (
    PairSelected
    | PairDoubted
    | DoubtDispelled
    | ChecksDone
    | PeerAlive
    | PeerSilent
    | PeerHeard
    | PathLost
    | RoleSwitched
    | DtlsReceived
    | Restarted
    | OldSessionEnded
)
