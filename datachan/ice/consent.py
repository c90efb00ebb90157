"""Consent to send on one pair (RFC 7675): when to check, how to treat answers, when consent is lost; opens no socket.

aioice gives each consent check half a second and closes the connection after six failures, so that a busy machine or a
slow path ends live transfers. Here an answer counts however late it is; consent ends after 30 seconds without one.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final, Protocol

from aioice import stun

from datachan.ice.ice_stats import PairCounters

# RFC 7675, 5.1: "Consent expires after 30 seconds."
EXPIRY: Final = 30.0
# RFC 7675, 5.1: "Implementations SHOULD set a default interval of 5 seconds, resulting in a period between checks of 4
# to 6 seconds."
INTERVAL: Final = 5.0
# W3C leaves the "disconnected" state to the implementation: here, the time of two checks without any sign of life.
SILENCE: Final = 2 * 1.2 * INTERVAL
# A process that was stopped for longer than this, in seconds, may have one more check answered before consent is lost.
_STOPPED: Final = 1.0
_GRACE: Final = 1.0


class ConsentProtocol(Protocol):
    """Sends the checks, and passes each response to its transaction."""

    transactions: dict[bytes, stun.Transaction]

    def send_stun(self, message: stun.Message, addr: tuple[str, int]) -> None:
        """Send a request."""


class Consent:
    """The consent to send on one pair; times are monotonic seconds.

    Args:
        protocol: sends the checks.
        address: the address of the peer.
        password: the peer's password.
        build_request: returns a new Binding request.
        counters: the counters of the pair.
        on_granted: called with each answer that renews consent.
        on_revoked: called when the peer revokes its consent.
        clock: returns the time. Consent starts now, because the pair has just been validated.

    Attributes:
        granted_at: the time of the latest answer.
        reason: the sentence that explains why consent was lost.
    """

    def __init__(
        self,
        *,
        protocol: ConsentProtocol,
        address: tuple[str, int],
        password: bytes,
        build_request: Callable[[], stun.Message],
        counters: PairCounters,
        on_granted: Callable[[], None],
        on_revoked: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._protocol = protocol
        self._address = address
        self._password = password
        self._build_request = build_request
        self._counters = counters
        self._on_granted = on_granted
        self._on_revoked = on_revoked
        self._clock = clock
        now = clock()
        self.granted_at = now
        self.reason = f"the peer has answered no check for {EXPIRY:.0f} seconds"
        self._next_check = now + self._interval()
        self._deadline = now + EXPIRY
        self._outstanding: dict[bytes, _ConsentCheck] = {}

    def next_wake_up(self, now: float, last_heard: float) -> float:
        """Return when to call `is_lost`, `check_if_due` and `is_peer_alive` next; never earlier than now."""
        silence = max(last_heard, self.granted_at) + SILENCE
        times = (self._next_check, self._deadline, silence) if silence > now else (self._next_check, self._deadline)
        return max(now, min(times))

    def is_lost(self, now: float, *, late: float) -> bool:
        """Return whether nothing may be sent any longer.

        Args:
            now: the time.
            late: the seconds by which this call is later than planned. A process that was stopped has not read the
                answers that wait for it, and may check once more.
        """
        if now < self._deadline:
            return False
        if late > _STOPPED:
            self._deadline = now + _GRACE
            self._next_check = now
            return False
        return True

    def check_if_due(self, now: float) -> None:
        """Send a check if one is due."""
        if now >= self._next_check:
            self.check_now()

    def check_now(self) -> None:
        """Send a check; the next one is due an interval later."""
        now = self._clock()
        self._next_check = now + self._interval()
        # RFC 7675, 5.1: "Each STUN binding request for consent MUST use a new STUN transaction identifier"
        # RFC 7675, 5.1: "Each STUN binding request for consent is transmitted once only."
        request = self._build_request()
        request.add_message_integrity(self._password)
        self._forget(now - EXPIRY)
        check: Any = _ConsentCheck(self, request.transaction_id, now)
        self._outstanding[request.transaction_id] = check
        self._protocol.transactions[request.transaction_id] = check
        self._counters.requests_sent += 1
        self._counters.consent_requests_sent += 1
        self._protocol.send_stun(request, self._address)

    def is_peer_alive(self, now: float, last_heard: float) -> bool:
        """Return whether there was a sign of life lately; data and the peer's own checks count, unlike for consent."""
        return now - max(last_heard, self.granted_at) < SILENCE

    def handle_response(self, check: _ConsentCheck, message: stun.Message, address: tuple[str, int]) -> None:
        """Renew consent if this is a valid answer to a check; revoke it on an error response that forbids sending."""
        # RFC 7675, 5.1: "receiving a matching, authenticated, non-error STUN binding response from the remote peer's
        # transport address"
        if address != self._address or not message.check_message_integrity(self._password):
            return
        if message.message_class != stun.Class.RESPONSE:
            # RFC 7675, 5.2: "receipt of a valid and authenticated STUN response with error code Forbidden (403)"
            if message.error_code == 403:
                self.reason = "the peer has revoked its consent to receive"
                self._on_revoked()
            return
        now = self._clock()
        self.granted_at = now
        self._deadline = now + EXPIRY
        self._counters.count_answer(now - check.sent_at)
        self._remove(check)
        self._on_granted()

    def discard(self) -> None:
        """Discard all outstanding checks."""
        # RFC 7675, 5.1: "All outstanding STUN consent transactions for a candidate pair MUST be discarded when consent
        # expires."
        for check in list(self._outstanding.values()):
            self._remove(check)

    def _forget(self, before: float) -> None:
        for check in [check for check in self._outstanding.values() if check.sent_at < before]:
            self._remove(check)

    def _remove(self, check: _ConsentCheck) -> None:
        self._outstanding.pop(check.transaction_id, None)
        self._protocol.transactions.pop(check.transaction_id, None)

    @staticmethod
    def _interval() -> float:
        # RFC 7675, 5.1: "each interval MUST be randomized from between 0.8 and 1.2 times the basic period"
        return INTERVAL * random.uniform(0.8, 1.2)


class _ConsentCheck:
    """An outstanding check, which takes the place of an `aioice.stun.Transaction`."""

    def __init__(self, consent: Consent, transaction_id: bytes, sent_at: float) -> None:
        self._consent = consent
        self.transaction_id = transaction_id
        self.sent_at = sent_at

    def response_received(self, message: stun.Message, addr: tuple[str, int]) -> None:
        """Take the response from aioice."""
        self._consent.handle_response(self, message, addr)
