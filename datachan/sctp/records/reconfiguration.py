"""The state of stream re-configuration (RFC 6525): our outstanding request, waiting requests, and the peer's last ones.

It knows request sequence numbers and parameters, but no queues, SSNs or TSNs. `procedures/reconfiguration` acts on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from datachan.sctp.timers import Timer
from datachan.sctp.wire.chunks import UserDataChunk
from datachan.sctp.wire.parameters import (
    AddIncomingStreamsRequest,
    AddOutgoingStreamsRequest,
    IncomingSsnResetRequest,
    OutgoingSsnResetRequest,
    Parameter,
    ReconfigResponse,
    SsnTsnResetRequest,
)

NOTHING_TO_DO: Final = 0
PERFORMED: Final = 1
DENIED: Final = 2
WRONG_SSN: Final = 3
ALREADY_IN_PROGRESS: Final = 4
BAD_SEQUENCE_NUMBER: Final = 5
IN_PROGRESS: Final = 6

RESULTS: Final = {
    NOTHING_TO_DO: "Success - Nothing to do",
    PERFORMED: "Success - Performed",
    DENIED: "Denied",
    WRONG_SSN: "Error - Wrong SSN",
    ALREADY_IN_PROGRESS: "Error - Request already in progress",
    BAD_SEQUENCE_NUMBER: "Error - Bad Sequence Number",
    IN_PROGRESS: "In progress",
}

MAX_WAITING: Final = 64
"""The most requests that wait for the outstanding one, besides resets of outgoing streams."""

_MASK: Final = 0xFFFFFFFF

MAX_HELD: Final = 64
"""The most DATA chunks held while TSNs are reset."""

Request = (
    OutgoingSsnResetRequest
    | IncomingSsnResetRequest
    | SsnTsnResetRequest
    | AddOutgoingStreamsRequest
    | AddIncomingStreamsRequest
)


class ReconfigurationResult:
    """The peer's answer to our request.

    Attributes:
        request: the request as it was sent.
        result: a result number of RFC 6525, table 3.
        response: the response, or None when the peer answered with a request.
    """

    __slots__ = ("request", "response", "result")

    def __init__(self, request: Request, result: int, response: ReconfigResponse | None) -> None:
        self.request = request
        self.result = result
        self.response = response

    @property
    def success(self) -> bool:
        """Whether the peer performed the request."""
        return self.result in (NOTHING_TO_DO, PERFORMED)

    @property
    def reason(self) -> str:
        """The result in words."""
        return f"the peer answered: {RESULTS.get(self.result, f'result {self.result}')}"


class Reconfiguration:
    """The re-configuration of one association, in both directions.

    Attributes:
        timer: the Re-configuration Timer.
        to_reset: streams we send on that are to be reset and are not in a request yet.
        waiting: our requests of other kinds that wait for the outstanding one; they have no sequence numbers yet.
        deferred: the peer's reset of its streams that waits for DATA still in flight, or None.
        invited_reset: the peer agreed to our request to reset streams it sends on.
        invited_streams: the number of streams that the peer agreed to add at our request.
        held: DATA received while we reset TSNs: only the response shows which of it was sent before the reset.
    """

    __slots__ = (
        "_answers",
        "_in_reply_to",
        "_next_request",
        "_peer_next_request",
        "_request",
        "_request_due",
        "_responses",
        "_uncounted",
        "deferred",
        "held",
        "invited_reset",
        "invited_streams",
        "timer",
        "to_reset",
        "waiting",
    )

    def __init__(self, local_initial_tsn: int, peer_initial_tsn: int) -> None:
        # RFC 6525, 4.1: "It is a monotonically increasing number that is initialized to the same value as the initial
        # TSN."
        self._next_request = local_initial_tsn & _MASK
        self._peer_next_request = peer_initial_tsn & _MASK
        self.timer = Timer()
        self.to_reset: dict[int, None] = {}
        self.waiting: list[Request] = []
        self.deferred: OutgoingSsnResetRequest | None = None
        self.held: list[UserDataChunk] = []
        self.invited_reset = False
        self.invited_streams = 0
        self._request: Request | None = None
        self._request_due = False
        self._uncounted = False
        self._responses: list[ReconfigResponse] = []
        self._answers: dict[int, ReconfigResponse] = {}  # to the last two requests, as a chunk may hold two
        self._in_reply_to = -1  # the peer's Incoming SSN Reset Request that our next reset answers

    # -- our requests --------------------------------------------------------------------------------------------------

    def expect_peer_requests_from(self, initial_tsn: int) -> None:
        """Expect the peer's first request to have this number."""
        self._peer_next_request = initial_tsn & _MASK

    @property
    def request(self) -> Request | None:
        """Our outstanding request."""
        return self._request

    def add_reset(self, stream_ids: Sequence[int]) -> None:
        """Add streams to those that are reset as soon as possible."""
        request = self._request
        pending = request.stream_ids if isinstance(request, OutgoingSsnResetRequest) else ()
        for stream_id in stream_ids:
            if stream_id not in pending:
                self.to_reset[stream_id] = None

    def start_reset(self, stream_ids: Sequence[int], last_assigned_tsn: int) -> None:
        """Start the request to reset these streams and remove them from `to_reset` (section 5.1.2)."""
        for stream_id in stream_ids:
            self.to_reset.pop(stream_id, None)
        # A4: "The Re-configuration Response Sequence Number is the next expected Re-configuration Request Sequence
        # Number of the peer minus 1."
        answered = (self._peer_next_request - 1) & _MASK if self._in_reply_to < 0 else self._in_reply_to
        self._in_reply_to = -1
        self._start(OutgoingSsnResetRequest(self._next_request, answered, last_assigned_tsn & _MASK, tuple(stream_ids)))

    def start_waiting(self) -> Request:
        """Start the request that has waited longest."""
        waiting = self.waiting.pop(0)
        number = self._next_request
        request: Request
        if isinstance(waiting, IncomingSsnResetRequest):
            request = IncomingSsnResetRequest(number, waiting.stream_ids)
        elif isinstance(waiting, AddOutgoingStreamsRequest):
            request = AddOutgoingStreamsRequest(number, waiting.new_streams)
        elif isinstance(waiting, AddIncomingStreamsRequest):
            request = AddIncomingStreamsRequest(number, waiting.new_streams)
        else:
            request = SsnTsnResetRequest(number)
        self._start(request)
        return request

    def _start(self, request: Request) -> None:
        self._next_request = (self._next_request + 1) & _MASK
        self._request = request
        self._request_due = True
        self._uncounted = False

    def handle_timeout(self) -> bool:
        """Retransmit the request when the Re-configuration Timer has expired; return whether that is an error."""
        if self._request is None:
            return False
        self._request_due = True
        counts = not self._uncounted
        self._uncounted = False
        return counts

    def handle_response(self, response: ReconfigResponse, now: float, rto: float) -> ReconfigurationResult | None:
        """Return the result of our request from the peer's response, or None when it is not final (section 5.2.7)."""
        request = self._request
        if request is None or response.response_sequence_number != request.request_sequence_number:
            return None
        if response.result == IN_PROGRESS:
            # H2: "If the timer runs out, the RE-CONFIG chunk MUST be retransmitted but the corresponding error
            # counters MUST NOT be incremented."
            self._uncounted = True
            self.timer.start(now, rto)
            return None
        self._request_done()
        return ReconfigurationResult(request, response.result, response)

    @property
    def resetting_tsns(self) -> bool:
        """Whether our SSN/TSN reset waits for its response."""
        return isinstance(self._request, SsnTsnResetRequest)

    def tsn_boundary(self, parameters: Sequence[Parameter]) -> int | None:
        """Return the peer's first TSN after our SSN/TSN reset, if these parameters report its success."""
        request = self._request
        for parameter in parameters:
            if (
                isinstance(request, SsnTsnResetRequest)
                and isinstance(parameter, ReconfigResponse)
                and parameter.response_sequence_number == request.request_sequence_number
                and parameter.result in (NOTHING_TO_DO, PERFORMED)
            ):
                return parameter.sender_next_tsn
        return None

    def hold(self, chunk: UserDataChunk) -> None:
        """Hold DATA until the response to our reset arrives; DATA beyond the limit is retransmitted by the peer."""
        if len(self.held) < MAX_HELD:
            self.held.append(chunk)

    def take_held(self, before: int | None = None) -> list[UserDataChunk]:
        """Remove and return the DATA held, or only that with a TSN before `before` (32 bits)."""
        if before is None:
            taken, self.held = self.held, []
            return taken
        taken = [chunk for chunk in self.held if (chunk.tsn - before) & _MASK >= 1 << 31]
        self.held = [chunk for chunk in self.held if (chunk.tsn - before) & _MASK < 1 << 31]
        return taken

    def answered_by_request(self, response_sequence_number: int) -> ReconfigurationResult | None:
        """Return the result of our Incoming SSN Reset Request if the peer's Outgoing one answers it (5.2.2, E1)."""
        request = self._request
        if not isinstance(request, IncomingSsnResetRequest):
            return None
        if response_sequence_number != request.request_sequence_number:
            return None
        self._request_done()
        return ReconfigurationResult(request, PERFORMED, None)

    def send_again(self) -> None:
        """Have the outstanding request sent again; the timer goes on."""
        self._request_due = self._request is not None

    def _request_done(self) -> None:
        self._request = None
        self._request_due = False
        self.timer.stop()

    # -- the peer's requests -------------------------------------------------------------------------------------------

    def accept(self, number: int) -> bool:
        """Return whether a request of the peer is new; an old one is answered as before, a wrong one refused."""
        if number == self._peer_next_request:
            if self.deferred is not None:
                self._respond(ReconfigResponse(number, ALREADY_IN_PROGRESS))
                return False
            self._peer_next_request = (number + 1) & _MASK
            self._answers.pop((number - 2) & _MASK, None)
            return True
        answer = self._answers.get(number)
        if answer is not None:
            # RFC 6525, 5.2.1: "the same RE-CONFIG chunk MUST to be sent back in response, as it was earlier."
            self._respond(answer)
        elif number != (self._peer_next_request - 1) & _MASK:
            self._respond(ReconfigResponse(number, BAD_SEQUENCE_NUMBER))
        elif self._request is not None:
            self._request_due = True
        return False

    def answer(self, number: int, result: int) -> None:
        """Respond to a request of the peer, now and after every retransmission of it."""
        self._finish(ReconfigResponse(number, result))

    def answer_with_tsns(self, number: int, sender_next_tsn: int, receiver_next_tsn: int) -> None:
        """Respond to an SSN/TSN reset (section 5.1.7, D3 and D4)."""
        self._finish(ReconfigResponse(number, PERFORMED, sender_next_tsn & _MASK, receiver_next_tsn & _MASK))

    def answer_with_reset(self, number: int) -> None:
        """Answer this Incoming SSN Reset Request with our next reset."""
        self._in_reply_to = number

    def defer(self, request: OutgoingSsnResetRequest) -> None:
        """Defer the peer's reset until DATA still in flight has arrived (section 5.2.2, E2)."""
        self.deferred = request
        self.answer(request.request_sequence_number, IN_PROGRESS)

    def take_deferred(self) -> OutgoingSsnResetRequest | None:
        """Return the deferred request to perform it now, and respond to it."""
        request, self.deferred = self.deferred, None
        if request is not None:
            self.answer(request.request_sequence_number, PERFORMED)
        return request

    def _finish(self, response: ReconfigResponse) -> None:
        self._answers[response.response_sequence_number] = response
        self._respond(response)

    def _respond(self, response: ReconfigResponse) -> None:
        if len(self._responses) < 2:
            self._responses.append(response)

    # -- for the writer ------------------------------------------------------------------------------------------------

    @property
    def due(self) -> bool:
        """Whether there are chunks to send."""
        return bool(self._responses) or self._request_due

    def chunks_to_send(self, now: float, rto: float) -> list[list[Parameter]]:
        """Return the parameters of each RE-CONFIG chunk due now."""
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
