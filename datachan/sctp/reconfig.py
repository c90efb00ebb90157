"""Resetting streams (RFC 6525): our one request under way, and the peer's last.

It knows request sequence numbers and stream identifiers. It says what to send and what was decided; queues, SSNs and
TSNs belong to others.
"""

from __future__ import annotations

from collections.abc import Sequence

from .timers import Timer
from .wire.parameters import OutgoingSsnResetRequest, Parameter, ReconfigResponse

NOTHING_TO_DO = 0
PERFORMED = 1
DENIED = 2
WRONG_SSN = 3
ALREADY_IN_PROGRESS = 4
BAD_SEQUENCE_NUMBER = 5
IN_PROGRESS = 6

RESULTS = {
    NOTHING_TO_DO: "Success - Nothing to do",
    PERFORMED: "Success - Performed",
    DENIED: "Denied",
    WRONG_SSN: "Error - Wrong SSN",
    ALREADY_IN_PROGRESS: "Error - Request already in progress",
    BAD_SEQUENCE_NUMBER: "Error - Bad Sequence Number",
    IN_PROGRESS: "In progress",
}

_MASK = 0xFFFFFFFF


class Outcome:
    """What became of our request."""

    __slots__ = ("result", "stream_ids")

    def __init__(self, result: int, stream_ids: tuple[int, ...]) -> None:
        self.result = result
        self.stream_ids = stream_ids

    @property
    def success(self) -> bool:
        """Whether the streams are reset."""
        return self.result in (NOTHING_TO_DO, PERFORMED)


class Reconfiguration:
    """Both directions of stream reset for one association.

    Attributes:
        timer: the Re-configuration Timer.
        wanted: streams the user wants reset and that are in no request yet.
    """

    __slots__ = (
        "_deferred",
        "_last_result",
        "_next_request",
        "_peer_next_request",
        "_request",
        "_request_due",
        "_responses",
        "_uncounted",
        "timer",
        "wanted",
    )

    def __init__(self, local_initial_tsn: int, peer_initial_tsn: int) -> None:
        # RFC 6525, 4.1: "It is a monotonically increasing number that is initialized to the same value as the initial
        # TSN."
        self._next_request = local_initial_tsn & _MASK
        self._peer_next_request = peer_initial_tsn & _MASK
        self.timer = Timer()
        self.wanted: list[int] = []
        self._request: OutgoingSsnResetRequest | None = None
        self._request_due = False
        self._uncounted = False
        self._responses: list[ReconfigResponse] = []
        self._deferred: OutgoingSsnResetRequest | None = None
        self._last_result = -1

    @property
    def request_outstanding(self) -> bool:
        """Whether a request of ours waits for its response."""
        return self._request is not None

    def want(self, stream_ids: Sequence[int]) -> None:
        """Note streams to reset as soon as that is possible."""
        pending = self._request.stream_ids if self._request is not None else ()
        for stream_id in stream_ids:
            if stream_id not in self.wanted and stream_id not in pending:
                self.wanted.append(stream_id)

    def start_request(self, stream_ids: Sequence[int], last_assigned_tsn: int) -> None:
        """Make the request for these streams, taken out of `wanted` (section 5.1.2)."""
        self.wanted = [stream_id for stream_id in self.wanted if stream_id not in stream_ids]
        # A4: "The Re-configuration Response Sequence Number is the next expected Re-configuration Request Sequence
        # Number of the peer minus 1."
        self._request = OutgoingSsnResetRequest(
            self._next_request,
            (self._peer_next_request - 1) & _MASK,
            last_assigned_tsn & _MASK,
            tuple(stream_ids),
        )
        self._next_request = (self._next_request + 1) & _MASK
        self._request_due = True
        self._uncounted = False

    def handle_timeout(self) -> bool:
        """The Re-configuration Timer has expired: send the request again. Returns whether it counts as an error."""
        if self._request is None:
            return False
        self._request_due = True
        counts = not self._uncounted
        self._uncounted = False
        return counts

    def handle_response(self, response: ReconfigResponse, now: float, rto: float) -> Outcome | None:
        """The peer answered (section 5.2.7); None while the answer is not final."""
        request = self._request
        if request is None or response.response_sequence_number != request.request_sequence_number:
            return None
        if response.result == IN_PROGRESS:
            # H2: "If the timer runs out, the RE-CONFIG chunk MUST be retransmitted but the corresponding error
            # counters MUST NOT be incremented."
            self._uncounted = True
            self.timer.start(now, rto)
            return None
        self._request = None
        self._request_due = False
        self.timer.stop()
        return Outcome(response.result, request.stream_ids)

    def handle_outgoing_reset(
        self, request: OutgoingSsnResetRequest, last_assigned_tsn: int, cumulative_tsn: int
    ) -> OutgoingSsnResetRequest | None:
        """The peer resets streams it sends on (section 5.2.2).

        Args:
            request: the parameter.
            last_assigned_tsn: its Sender's Last Assigned TSN, unwrapped.
            cumulative_tsn: our Cumulative TSN, unwrapped.

        Returns:
            The request to perform now, or None.
        """
        number = request.request_sequence_number
        if number == (self._peer_next_request - 1) & _MASK and self._last_result >= 0:
            # Section 5.2.1: a retransmission is answered as before.
            self._respond(number, self._last_result)
            return None
        if number != self._peer_next_request:
            self._respond(number, BAD_SEQUENCE_NUMBER)
            return None
        if self._deferred is not None:
            self._respond(number, ALREADY_IN_PROGRESS)
            return None
        self._peer_next_request = (number + 1) & _MASK
        if last_assigned_tsn > cumulative_tsn:
            self._deferred = request
            self._finish(number, IN_PROGRESS)
            return None
        self._finish(number, PERFORMED)
        return request

    def deferred_reset_due(self, last_assigned_tsn: int, cumulative_tsn: int) -> OutgoingSsnResetRequest | None:
        """The deferred request, once everything it waits for has arrived; answered without being asked again."""
        request = self._deferred
        if request is None or last_assigned_tsn > cumulative_tsn:
            return None
        self._deferred = None
        self._finish(request.request_sequence_number, PERFORMED)
        return request

    @property
    def deferred(self) -> OutgoingSsnResetRequest | None:
        """A request of the peer that waits for DATA still under way."""
        return self._deferred

    def deny(self, request_sequence_number: int) -> None:
        """Answer a request of a kind we do not perform."""
        if request_sequence_number == self._peer_next_request:
            self._peer_next_request = (request_sequence_number + 1) & _MASK
            self._finish(request_sequence_number, DENIED)
        elif request_sequence_number == (self._peer_next_request - 1) & _MASK and self._last_result >= 0:
            self._respond(request_sequence_number, self._last_result)
        else:
            self._respond(request_sequence_number, BAD_SEQUENCE_NUMBER)

    def _finish(self, number: int, result: int) -> None:
        self._last_result = result
        self._respond(number, result)

    def _respond(self, number: int, result: int) -> None:
        if len(self._responses) < 2:
            self._responses.append(ReconfigResponse(number, result))

    def chunks_to_send(self, now: float, rto: float) -> list[list[Parameter]]:
        """The parameters of each RE-CONFIG chunk due now."""
        chunks: list[list[Parameter]] = []
        if self._responses:
            chunks.append(list(self._responses))
            self._responses.clear()
        if self._request_due and self._request is not None:
            self._request_due = False
            chunks.append([self._request])
            if not self.timer.running:
                self.timer.start(now, rto)
        return chunks

    @property
    def due(self) -> bool:
        """Whether `chunks_to_send` has something."""
        return bool(self._responses) or self._request_due
