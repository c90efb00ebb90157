"""Connectivity checks as STUN messages: builds requests and responses, authenticates, resolves roles; it has no timers.

Each check is a transaction of its own, never a repetition, so that an answer tells the round-trip time exactly. An
answer counts however late it comes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from . import stun
from .candidates import Base, TransportAddress, peer_reflexive_priority
from .options import Credentials, RemoteParameters
from .pairs import CandidatePair

Entropy = Callable[[int], bytes]

# Checks whose answers are awaited: with 100 pairs, the last ten of each.
_MAX_TRANSACTIONS: Final = 1024
_FORBIDDEN: Final = 403
_ROLE_CONFLICT: Final = 487
_REASONS: Final = {400: "Bad Request", 401: "Unauthorized", 420: "Unknown Attribute", 487: "Role Conflict"}


class Outcome(Enum):
    """The meaning of a response."""

    SUCCESS = auto()
    ROLE_CONFLICT = auto()
    FORBIDDEN = auto()
    REFUSED = auto()


@dataclass(frozen=True, slots=True)
class CheckResult:
    """An authentic response to a check.

    Attributes:
        pair: the pair that was checked.
        outcome: the meaning of the response.
        sent_at: when the check was sent.
        nominated: whether the check had nominated the pair.
        was_controlling: our role when the check was sent.
        mapped: our address as the peer sees it; None if it does not say.
    """

    pair: CandidatePair
    outcome: Outcome
    sent_at: float
    nominated: bool
    was_controlling: bool
    mapped: TransportAddress | None


@dataclass(frozen=True, slots=True)
class IncomingCheck:
    """A check of the peer that was answered with success.

    Attributes:
        priority: the priority for a peer-reflexive candidate.
        nominates: whether it has USE-CANDIDATE, and the peer is controlling.
        nomination: the number of the nomination; 0 without one.
        role_switched: whether it made us take the other role.
    """

    priority: int
    nominates: bool
    nomination: int
    role_switched: bool


class Checks:
    """The messages of one agent.

    Args:
        credentials: ours.
        controlling: the role at first.
        lite: whether we are a lite agent, which is never controlling.
        entropy: returns random bytes.

    Attributes:
        remote: the parameters of the peer, once they are known.
        controlling: the role.
    """

    def __init__(self, credentials: Credentials, *, controlling: bool, lite: bool, entropy: Entropy) -> None:
        self._local = credentials
        self._lite = lite
        self._entropy = entropy
        self._tie_breaker = int.from_bytes(entropy(8), "big")
        self._transactions: dict[bytes, tuple[CandidatePair, float, bool, bool]] = {}
        self.remote: RemoteParameters | None = None
        self.controlling = controlling

    # requests of ours

    def request(self, pair: CandidatePair, now: float, *, nominate: bool, nomination: int) -> bytes:
        """Return a new check of a pair, and expect its response."""
        remote = self.remote
        if remote is None:
            raise ValueError("the peer's credentials are unknown")
        transaction_id = self._entropy(stun.TRANSACTION_ID_LENGTH)
        username = f"{remote.credentials.username_fragment}:{self._local.username_fragment}"
        role = stun.ICE_CONTROLLING if self.controlling else stun.ICE_CONTROLLED
        attributes = {
            stun.USERNAME: username.encode(),
            role: self._tie_breaker.to_bytes(8, "big"),
            stun.PRIORITY: peer_reflexive_priority(pair.local.candidate.priority).to_bytes(4, "big"),
        }
        nominate = nominate and self.controlling
        if nominate:
            attributes[stun.USE_CANDIDATE] = b""
            if nomination:
                attributes[stun.NOMINATION] = nomination.to_bytes(4, "big")
        if len(self._transactions) >= _MAX_TRANSACTIONS:
            del self._transactions[next(iter(self._transactions))]
        self._transactions[transaction_id] = (pair, now, nominate, self.controlling)
        request = stun.Message(stun.BINDING + stun.REQUEST, transaction_id, attributes)
        return stun.serialize(request, remote.credentials.password.encode())

    def forget(self, pair: CandidatePair) -> None:
        """Expect no response to the checks of a pair any longer."""
        self._transactions = {key: value for key, value in self._transactions.items() if value[0] is not pair}

    def result(self, message: stun.Message, base: Base, source: TransportAddress) -> CheckResult | None:
        """Match a response with its check; None if it answers none, or is not authentic."""
        entry = self._transactions.get(message.transaction_id)
        if entry is None or self.remote is None:
            return None
        pair, sent_at, nominated, controlling = entry
        # RFC 8445, 7.2.5.2.1: "If the addresses are not symmetric, the agent MUST set the candidate pair state to
        # Failed." An attacker could cause that with one copy of a response, so such a response is ignored instead.
        if pair.base is not base or pair.destination != source:
            return None
        if not message.is_signed_with(self.remote.credentials.password.encode()):
            return None
        del self._transactions[message.transaction_id]
        mapped = message.address(stun.XOR_MAPPED_ADDRESS)
        return CheckResult(pair, _outcome(message), sent_at, nominated, controlling, mapped)

    def switch_role(self, *, was_controlling: bool) -> bool:
        """Take the other role after a 487, unless that has happened since; return whether the role has changed."""
        # RFC 8445, 7.2.5.1: "The agent MUST change the tiebreaker value."
        self._tie_breaker = int.from_bytes(self._entropy(8), "big")
        if was_controlling is not self.controlling or self._lite:
            return False
        self.controlling = not self.controlling
        return True

    # requests of the peer

    def answer(self, request: stun.Message, source: TransportAddress) -> tuple[bytes, IncomingCheck | None]:
        """Return the response to a request, and the check if it is one that has succeeded."""
        username = request.attributes.get(stun.USERNAME)
        if username is None or stun.MESSAGE_INTEGRITY not in request.attributes:
            return self._refuse(request, 400, signed=False), None
        ours = self._local.username_fragment.encode() + b":"
        if not username.startswith(ours) or not request.is_signed_with(self._local.password.encode()):
            return self._refuse(request, 401, signed=False), None
        if unknown := request.unknown_attributes():
            return self._refuse(request, 420, unknown=unknown), None
        priority = request.number(stun.PRIORITY)
        if not priority:
            return self._refuse(request, 400), None
        switched = self._resolve_roles(request)
        if switched is None:
            return self._refuse(request, _ROLE_CONFLICT), None
        nominates = stun.USE_CANDIDATE in request.attributes and not self.controlling
        nomination = request.number(stun.NOMINATION) or 0
        check = IncomingCheck(min(priority, (1 << 31) - 1), nominates, nomination & 0xFFFFFFFF, switched)
        mapped = {stun.XOR_MAPPED_ADDRESS: stun.xor_address(source, request.transaction_id)}
        response = stun.Message(stun.BINDING + stun.SUCCESS, request.transaction_id, mapped)
        return stun.serialize(response, self._local.password.encode()), check

    def _resolve_roles(self, request: stun.Message) -> bool | None:
        """Return whether a conflict has made us switch the role; None if the peer has to switch (RFC 8445, 7.3.1.1)."""
        theirs = request.number(stun.ICE_CONTROLLING if self.controlling else stun.ICE_CONTROLLED)
        if theirs is None:
            return False
        # The larger tie-breaker is controlling. A lite agent stays controlled.
        we_control = self._tie_breaker >= theirs and not self._lite
        if we_control is self.controlling:
            return None
        self.controlling = we_control
        return True

    def _refuse(
        self, request: stun.Message, code: int, *, signed: bool = True, unknown: list[int] | None = None
    ) -> bytes:
        attributes = {stun.ERROR_CODE: stun.error_code(code, _REASONS[code])}
        if unknown:
            attributes[stun.UNKNOWN_ATTRIBUTES] = b"".join(kind.to_bytes(2, "big") for kind in unknown)
        response = stun.Message(stun.BINDING + stun.ERROR, request.transaction_id, attributes)
        return stun.serialize(response, self._local.password.encode() if signed else None)


def _outcome(message: stun.Message) -> Outcome:
    if message.message_class == stun.SUCCESS:
        return Outcome.SUCCESS
    if message.error_code == _ROLE_CONFLICT:
        return Outcome.ROLE_CONFLICT
    return Outcome.FORBIDDEN if message.error_code == _FORBIDDEN else Outcome.REFUSED
