"""Consent to send (RFC 7675), on a manual clock."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from aioice import stun

from datachan.ice.consent import EXPIRY, Consent
from datachan.ice.ice_stats import PairCounters

PEER = ("192.0.2.1", 5000)
PASSWORD = b"the peer's password"


class Scene:
    """A consent, the checks it sent, and the clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.transactions: dict[bytes, stun.Transaction] = {}
        self.sent: list[tuple[stun.Message, tuple[str, int]]] = []
        self.revoked = 0
        self.granted = 0
        self.counters = PairCounters()
        self.consent = Consent(
            protocol=self,
            address=PEER,
            password=PASSWORD,
            build_request=lambda: stun.Message(stun.Method.BINDING, stun.Class.REQUEST),
            counters=self.counters,
            on_granted=self._grant,
            on_revoked=self._revoke,
            clock=lambda: self.now,
        )

    def _grant(self) -> None:
        self.granted += 1

    def _revoke(self) -> None:
        self.revoked += 1

    def send_stun(self, message: stun.Message, addr: tuple[str, int]) -> None:
        self.sent.append((message, addr))

    def run(self, until: Callable[[], bool] | float) -> bool:
        """Wake up as the agent does, until a time or a condition; return whether consent was lost."""
        limit = self.now + until if isinstance(until, float) else self.now + 1000
        while not (callable(until) and until()):
            wake_up = self.consent.next_wake_up(self.now, 0.0)
            if wake_up > limit:
                self.now = limit
                return False
            self.now = wake_up
            if self.consent.is_lost(self.now, late=0.0):
                return True
            self.consent.check_if_due(self.now)
        return False

    def answer(
        self,
        request: stun.Message,
        *,
        source: tuple[str, int] = PEER,
        password: bytes = PASSWORD,
        error: int | None = None,
    ) -> None:
        kind = stun.Class.RESPONSE if error is None else stun.Class.ERROR
        message = stun.Message(stun.Method.BINDING, kind, transaction_id=request.transaction_id)
        if error is not None:
            message.attributes["ERROR-CODE"] = (error, "reason")
        message.add_message_integrity(password)
        transaction = self.transactions.get(request.transaction_id)
        if transaction is not None:
            transaction.response_received(stun.parse_message(bytes(message)), source)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_checks_every_four_to_six_seconds_with_a_new_transaction_each(scene: Scene) -> None:
    times: list[float] = []
    while len(times) < 200:
        count = len(scene.sent)
        scene.run(lambda count=count: len(scene.sent) > count)
        times.append(scene.now)
        scene.answer(scene.sent[-1][0])
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert min(gaps) >= 4
    assert max(gaps) <= 6
    assert max(gaps) - min(gaps) > 0.5
    assert len({request.transaction_id for request, _ in scene.sent}) == 200
    assert {address for _, address in scene.sent} == {PEER}
    assert scene.counters.consent_requests_sent == scene.counters.responses_received == scene.granted == 200


def test_requests_carry_the_peers_password(scene: Scene) -> None:
    scene.run(6.0)
    assert stun.parse_message(bytes(scene.sent[0][0])).check_message_integrity(PASSWORD)


def test_is_lost_thirty_seconds_after_the_latest_answer_and_not_before(scene: Scene) -> None:
    start = scene.now
    assert scene.run(1000.0)
    assert scene.now == start + EXPIRY
    assert "30 seconds" in scene.consent.reason


def test_an_answer_that_took_twenty_seconds_counts(scene: Scene) -> None:
    scene.run(lambda: len(scene.sent) == 1)
    first = scene.sent[0][0]
    assert not scene.run(20.0)
    scene.answer(first)
    answered_at = scene.now
    assert scene.counters.current_round_trip_time == pytest.approx(20.0)
    assert scene.run(1000.0)
    assert scene.now == answered_at + EXPIRY


@pytest.mark.parametrize(
    "forged", [{"password": b"another"}, {"source": ("192.0.2.1", 5001)}, {"source": ("192.0.2.2", 5000)}]
)
def test_ignores_answers_with_a_wrong_password_or_from_another_address(scene: Scene, forged: dict[str, object]) -> None:
    start = scene.now
    scene.run(lambda: len(scene.sent) == 1)
    scene.answer(scene.sent[0][0], **forged)  # type: ignore[arg-type]
    assert scene.run(1000.0)
    assert scene.now == start + EXPIRY
    assert scene.counters.responses_received == 0


def test_an_error_response_does_not_renew_consent(scene: Scene) -> None:
    start = scene.now
    scene.run(lambda: len(scene.sent) == 1)
    scene.answer(scene.sent[0][0], error=500)
    assert scene.revoked == 0
    assert scene.run(1000.0)
    assert scene.now == start + EXPIRY


def test_forbidden_revokes_consent_at_once(scene: Scene) -> None:
    scene.run(lambda: len(scene.sent) == 1)
    scene.answer(scene.sent[0][0], error=403)
    assert scene.revoked == 1
    assert "revoked" in scene.consent.reason


def test_a_process_that_was_stopped_checks_once_more_before_consent_is_lost(scene: Scene) -> None:
    scene.now += 100
    assert not scene.consent.is_lost(scene.now, late=95.0)
    scene.consent.check_if_due(scene.now)
    assert len(scene.sent) == 1
    scene.answer(scene.sent[0][0])
    assert not scene.run(20.0)

    scene.now += 100
    assert not scene.consent.is_lost(scene.now, late=95.0)
    began = scene.now
    assert scene.run(1000.0)
    assert scene.now <= began + 1.0


def test_forgets_checks_older_than_the_consent_lifetime(scene: Scene) -> None:
    for _ in range(100):
        count = len(scene.sent)
        scene.run(lambda count=count: len(scene.sent) > count)
        if count % 5 == 4:
            scene.answer(scene.sent[-1][0])
        assert len(scene.transactions) <= EXPIRY / 4
    scene.consent.discard()
    assert scene.transactions == {}


def test_the_peer_is_alive_while_it_answers_or_sends(scene: Scene) -> None:
    assert scene.consent.is_peer_alive(scene.now + 11.9, last_heard=0.0)
    assert not scene.consent.is_peer_alive(scene.now + 12.1, last_heard=0.0)
    assert scene.consent.is_peer_alive(scene.now + 12.1, last_heard=scene.now + 5)


def test_wakes_up_at_the_moment_of_silence(scene: Scene) -> None:
    heard = scene.now + 100
    for now in (heard + 11.0, heard + 11.9):
        scene.consent.check_if_due(now)
    assert scene.consent.next_wake_up(heard + 11.9, heard) <= heard + 12.0
