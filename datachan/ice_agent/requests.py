"""Requests to STUN and TURN servers until they are answered: when to repeat them, when to give up; knows no meaning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

Purpose = TypeVar("Purpose")

# RFC 8489, 6.2.1: "the initial value for RTO SHOULD be greater than or equal to 500 ms." It holds until the round trip
# to the server is known.
FIRST_INTERVAL: Final = 0.5
_SHORTEST_INTERVAL: Final = 0.1
# RFC 8489, 6.2.1: "Rc SHOULD be configurable and SHOULD have a default of 7", Rm "SHOULD have a default of 16".
_ATTEMPTS: Final = 7
_LAST_WAIT: Final = 16.0
# RFC 8489, 6.2.2: "Ti SHOULD be configurable and SHOULD have a default of 39.5 s."
_STREAM_TIMEOUT: Final = 39.5
# A peer that signals many candidates causes a request for each: more than this many are never in progress.
MAX_REQUESTS: Final = 256


@dataclass(slots=True)
class Request(Generic[Purpose]):
    """A request in progress.

    Attributes:
        data: its bytes.
        purpose: what the caller wants to know when it is answered.
        first_sent: when it was first sent.
        due: when to repeat it, or to give it up.
        interval: seconds until the next repetition.
        attempts: how often it was sent.
    """

    data: bytes
    purpose: Purpose
    first_sent: float
    due: float
    interval: float
    attempts: int = 1


class Requests(Generic[Purpose]):
    """The requests in progress, by transaction id.

    Args:
        reliable: whether the transport repeats lost packets itself (TCP, TLS).
    """

    def __init__(self, *, reliable: bool) -> None:
        self._reliable = reliable
        self._by_id: dict[bytes, Request[Purpose]] = {}
        self._interval = FIRST_INTERVAL

    def __len__(self) -> int:
        return len(self._by_id)

    def start(self, transaction_id: bytes, data: bytes, purpose: Purpose, now: float) -> bool:
        """Remember a request that is sent now; return False, and forget it, if too many are in progress."""
        if len(self._by_id) >= MAX_REQUESTS:
            return False
        wait = _STREAM_TIMEOUT if self._reliable else self._interval
        self._by_id[transaction_id] = Request(data, purpose, now, now + wait, self._interval)
        return True

    def find(self, transaction_id: bytes) -> Request[Purpose] | None:
        """Return a request in progress."""
        return self._by_id.get(transaction_id)

    def finish(self, transaction_id: bytes, now: float) -> None:
        """Remove a request that was answered, and learn the round trip unless it was repeated (Karn)."""
        request = self._by_id.pop(transaction_id)
        if request.attempts == 1:
            round_trip = now - request.first_sent
            self._interval = min(FIRST_INTERVAL, max(_SHORTEST_INTERVAL, 2 * round_trip))

    def clear(self) -> None:
        """Remove all requests."""
        self._by_id.clear()

    def discard(self, ended: Callable[[Purpose], bool]) -> None:
        """Remove the requests whose purpose has ended."""
        self._by_id = {one: request for one, request in self._by_id.items() if not ended(request.purpose)}

    def next_timeout(self) -> float | None:
        """Return when the next request is due; None if none is in progress."""
        return min((request.due for request in self._by_id.values()), default=None)

    def handle_timeout(self, now: float) -> tuple[list[Request[Purpose]], list[Request[Purpose]]]:
        """Return the requests to send again, and those that were given up and are removed."""
        again: list[Request[Purpose]] = []
        given_up: list[Request[Purpose]] = []
        for transaction_id, request in list(self._by_id.items()):
            if request.due > now:
                continue
            if self._reliable or request.attempts >= _ATTEMPTS:
                del self._by_id[transaction_id]
                given_up.append(request)
                continue
            request.attempts += 1
            request.interval *= 2
            last = request.attempts == _ATTEMPTS
            request.due = now + (_LAST_WAIT * self._interval if last else request.interval)
            again.append(request)
        return again, given_up
