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
from .embedding import MAX_CHECK, Embedding, Support
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
        embedded: the DTLS datagram that the peer has attached.
        bare_may_pass: whether the peer has refused a check with a DTLS datagram, so that one without may succeed.
    """

    pair: CandidatePair
    outcome: Outcome
    sent_at: float
    nominated: bool
    was_controlling: bool
    mapped: TransportAddress | None
    embedded: bytes | None = None
    bare_may_pass: bool = False


@dataclass(frozen=True, slots=True)
class IncomingCheck:
    """A check of the peer that was answered with success.

    Attributes:
        priority: the priority for a peer-reflexive candidate.
        nominates: whether it has USE-CANDIDATE, and the peer is controlling.
        nomination: the number of the nomination; 0 without one.
        role_switched: whether it made us take the other role.
        embedded: the DTLS datagram that the peer has attached.
    """

    priority: int
    nominates: bool
    nomination: int
    role_switched: bool
    embedded: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Transaction:
    """A check whose answer is awaited, as it was sent."""

    pair: CandidatePair
    sent_at: float
    nominated: bool
    controlling: bool
    embeds: bool


class Checks:
    """The messages of one agent.

    Args:
        credentials: ours.
        controlling: the role at first.
        lite: whether we are a lite agent, which is never controlling.
        entropy: returns random bytes.
        embedding: the DTLS datagrams in the messages.

    Attributes:
        remote: the parameters of the peer, once they are known.
        controlling: the role.
    """

    def __init__(
        self, credentials: Credentials, *, controlling: bool, lite: bool, entropy: Entropy, embedding: Embedding
    ) -> None:
        self._local = credentials
        self._lite = lite
        self._entropy = entropy
        self._embedding = embedding
        self._tie_breaker = int.from_bytes(entropy(8), "big")
        self._transactions: dict[bytes, _Transaction] = {}
        self.remote: RemoteParameters | None = None
        self.controlling = controlling

    @property
    def username_fragment(self) -> str:
        """Our username fragment."""
        return self._local.username_fragment

    # requests of ours

    def expects(self, transaction_id: bytes) -> bool:
        """Return whether the answer to a check of this transaction is awaited."""
        return transaction_id in self._transactions

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
        request = stun.Message(stun.BINDING + stun.REQUEST, transaction_id, attributes)
        embeds = self._attach(request, now, proven=pair.proven) if self._may_attach(pair) else False
        self._transactions[transaction_id] = _Transaction(pair, now, nominate, self.controlling, embeds)
        return stun.serialize(request, remote.credentials.password.encode())

    def _may_attach(self, pair: CandidatePair) -> bool:
        """Return whether the next check of a pair carries DTLS: every second one until the peer has shown that it does.

        A path that drops long checks lets the others pass, as does a peer that only copied "sped" from our description.
        """
        said = self.remote is not None and self.remote.embeds
        return self._embedding.support is Support.YES or (said and pair.requests_sent % 2 == 1)

    def _attach(self, message: stun.Message, now: float, *, proven: bool) -> bool:
        """Add the attributes of SPED that there is room for; return whether there are any."""
        added = self._embedding.attributes(MAX_CHECK - stun.serialized_length(message), now, proven=proven)
        message.attributes |= added
        return bool(added)

    def forget(self, pair: CandidatePair) -> None:
        """Expect no response to the checks of a pair any longer."""
        self._transactions = {key: value for key, value in self._transactions.items() if value.pair is not pair}

    def result(self, message: stun.Message, base: Base, source: TransportAddress) -> CheckResult | None:
        """Match a response with its check; None if it answers none, or is not authentic."""
        sent = self._transactions.get(message.transaction_id)
        if sent is None or self.remote is None:
            return None
        pair = sent.pair
        # RFC 8445, 7.2.5.2.1: "If the addresses are not symmetric, the agent MUST set the candidate pair state to
        # Failed." An attacker could cause that with one copy of a response, so such a response is ignored instead.
        if pair.base is not base or pair.destination != source:
            return None
        if not message.is_signed_with(self.remote.credentials.password.encode()):
            return None
        del self._transactions[message.transaction_id]
        mapped = message.address(stun.XOR_MAPPED_ADDRESS)
        outcome = _outcome(message)
        refused = sent.embeds and outcome is Outcome.REFUSED
        if refused:
            self._embedding.stop()
        embedded = self._embedding.take_untrusted(message, answers_ours=sent.embeds)
        return CheckResult(
            pair, outcome, sent.sent_at, sent.nominated, sent.controlling, mapped, embedded, bare_may_pass=refused
        )

    def switch_role(self, *, was_controlling: bool) -> bool:
        """Take the other role after a 487, unless that has happened since; return whether the role has changed."""
        # RFC 8445, 7.2.5.1: "The agent MUST change the tiebreaker value."
        self._tie_breaker = int.from_bytes(self._entropy(8), "big")
        if was_controlling is not self.controlling or self._lite:
            return False
        self.controlling = not self.controlling
        return True

    # requests of the peer

    def answer(self, request: stun.Message, source: TransportAddress, now: float) -> tuple[bytes, IncomingCheck | None]:
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
        embedded = self._embedding.take_untrusted(request, answers_ours=False)
        check = IncomingCheck(min(priority, (1 << 31) - 1), nominates, nomination & 0xFFFFFFFF, switched, embedded)
        mapped = {stun.XOR_MAPPED_ADDRESS: stun.xor_address(source, request.transaction_id)}
        response = stun.Message(stun.BINDING + stun.SUCCESS, request.transaction_id, mapped)
        if self._embedding.support is Support.YES:
            self._attach(response, now, proven=True)
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
