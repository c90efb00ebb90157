"""The state of address changes (RFC 5061): sequence numbers, our requests and the answers to the peer's.

One ASCONF at a time may be outstanding. Requests made meanwhile wait, and are then sent together in one chunk.
"""

from __future__ import annotations

from typing import Final

from datachan.sctp.addresses import address_parameter
from datachan.sctp.timers import Timer
from datachan.sctp.wire.extensions import AsconfAckChunk, AsconfChunk
from datachan.sctp.wire.parameters import (
    ADD_IP_ADDRESS,
    DELETE_IP_ADDRESS,
    SET_PRIMARY_ADDRESS,
    AddIpAddress,
    AddressRequest,
    DeleteIpAddress,
    ErrorCauseIndication,
    SetPrimaryAddress,
    SuccessIndication,
)

from .path import Path

MAX_WAITING: Final = 32
"""The most requests that may wait."""

MAX_TOGETHER: Final = 8
"""The most requests in one chunk: with the longest addresses they still fit the smallest packet."""

MAX_ANSWERS: Final = 8
"""The most ASCONF-ACKs kept for retransmission."""

_MASK: Final = 0xFFFFFFFF
_HALF: Final = 1 << 31


class AddressChangeResult:
    """The peer's answer to one of our requests.

    Attributes:
        kind: the type of the request's parameter.
        ip: the address in the request.
        causes: the serialized error causes of a refusal; empty on success.
        accepted: the peer performed the request.
    """

    __slots__ = ("accepted", "causes", "ip", "kind")

    def __init__(self, kind: int, ip: str, accepted: bool, causes: bytes = b"") -> None:
        self.kind = kind
        self.ip = ip
        self.accepted = accepted
        self.causes = causes


class AddressConfiguration:
    """The ASCONF state of one association.

    Attributes:
        t4: T4-RTO, which runs while an ASCONF is outstanding.
        path: the path that the outstanding ASCONF was last sent on.
        unsupported: the types of requests that the peer does not support.
        waiting: (type, address) of requests not yet sent.
        answers: the serialized ASCONF-ACKs for the packet being read.
    """

    __slots__ = (
        "_answered",
        "_asked",
        "_next_correlation",
        "_next_number",
        "_peer_number",
        "_wire",
        "answers",
        "path",
        "t4",
        "unsupported",
        "waiting",
    )

    def __init__(self, local_initial_tsn: int, peer_initial_tsn: int) -> None:
        self.t4 = Timer()
        self.path: Path | None = None
        self.unsupported: frozenset[int] = frozenset()
        self.waiting: list[tuple[int, str]] = []
        self.answers: list[bytes] = []
        # RFC 5061, 5.1, A2: "The Sequence Number MUST be initialized at the start of the association to the same value
        # as the Initial Transmission Sequence Number (TSN)".
        self._next_number = local_initial_tsn
        self._next_correlation = 0
        self._peer_number = (peer_initial_tsn - 1) & _MASK
        self._asked: list[tuple[int, int, str]] = []  # (correlation id, type, address), outstanding
        self._wire = b""
        self._answered: dict[int, bytes] = {}  # the oldest first

    # -- our requests --------------------------------------------------------------------------------------------------

    @property
    def is_outstanding(self) -> bool:
        """Whether an ASCONF is outstanding."""
        return bool(self._wire)

    def pending(self) -> list[tuple[int, str]]:
        """Return (type, address) of all requests that are not answered yet."""
        return [(kind, ip) for _, kind, ip in self._asked] + self.waiting

    @property
    def deleting(self) -> bool:
        """Whether an address of ours is being deleted."""
        return any(kind == DELETE_IP_ADDRESS for kind, _ in self.pending())

    def build(self, own_ip: str) -> bytes:
        """Return the next ASCONF, serialized, with the requests that wait.

        Args:
            own_ip: an address of ours that the peer knows, or a wildcard address.
        """
        requests: list[AddressRequest] = []
        while self.waiting and len(requests) < MAX_TOGETHER:
            kind, ip = self.waiting.pop(0)
            correlation = self._next_correlation
            self._next_correlation = correlation + 1 & _MASK
            self._asked.append((correlation, kind, ip))
            requests.append(_request(kind, correlation, ip))
        self._wire = AsconfChunk(self._next_number, address_parameter(own_ip), requests).serialize()
        self._next_number = self._next_number + 1 & _MASK
        return self._wire

    @property
    def wire(self) -> bytes:
        """The outstanding ASCONF, serialized.

        RFC 5061, 5.1, B4: "An endpoint MUST NOT add new parameters to this chunk; it MUST be the same (including its
        Sequence Number) as the last ASCONF sent."
        """
        return self._wire

    def is_illegal(self, number: int) -> bool:
        """Return whether an ASCONF-ACK has a sequence number that was never sent (RFC 5061, 5.3, F0)."""
        return (number - self._next_number) & _MASK < _HALF

    def take_ack(self, ack: AsconfAckChunk) -> list[AddressChangeResult] | None:
        """Return the results in an ASCONF-ACK; None when it does not acknowledge the outstanding ASCONF."""
        if not self._wire or ack.sequence_number != (self._next_number - 1) & _MASK:
            return None
        errors = {p.correlation_id: p.causes for p in ack.parameters if isinstance(p, ErrorCauseIndication)}
        successes = {p.correlation_id for p in ack.parameters if isinstance(p, SuccessIndication)}
        outcomes: list[AddressChangeResult] = []
        failed = False
        for correlation, kind, ip in self._asked:
            causes = errors.get(correlation)
            failed = failed or causes is not None
            # RFC 5061, 5.1, A7: "All TLVs after the failed response are considered unsuccessful unless a specific
            # success indication is present for the parameter."
            accepted = causes is None and (not failed or correlation in successes)
            outcomes.append(AddressChangeResult(kind, ip, accepted, causes or b""))
        self._conclude()
        return outcomes

    def give_up(self) -> list[AddressChangeResult]:
        """Return all requests as refused, because the peer does not support ASCONF."""
        outcomes = [AddressChangeResult(kind, ip, False) for kind, ip in self.pending()]
        self.unsupported = frozenset({ADD_IP_ADDRESS, DELETE_IP_ADDRESS, SET_PRIMARY_ADDRESS})
        self.waiting.clear()
        self._conclude()
        return outcomes

    def _conclude(self) -> None:
        self._asked = []
        self._wire = b""
        self.path = None
        self.t4.stop()

    # -- the peer's requests -------------------------------------------------------------------------------------------

    def is_next(self, number: int) -> bool:
        """Return whether an ASCONF is the next one (RFC 5061, 5.2, E1); an older one is answered again (E2)."""
        if number == (self._peer_number + 1) & _MASK:
            self._peer_number = number
            return True
        cached = self._answered.get(number)
        if cached is not None:
            self.answers.append(cached)
        return False

    def answer(self, ack: AsconfAckChunk) -> None:
        """Send this answer to the ASCONF for which `is_next` returned True, and keep it for retransmissions."""
        wire = ack.serialize()
        self.answers.append(wire)
        self._answered[ack.sequence_number] = wire
        if len(self._answered) > MAX_ANSWERS:
            del self._answered[next(iter(self._answered))]


def _request(kind: int, correlation: int, ip: str) -> AddressRequest:
    address = address_parameter(ip)
    if kind == ADD_IP_ADDRESS:
        return AddIpAddress(correlation, address)
    if kind == DELETE_IP_ADDRESS:
        return DeleteIpAddress(correlation, address)
    return SetPrimaryAddress(correlation, address)
