"""Re-configuring streams (RFC 6525): our one request under way, those that wait for it, and the peer's last.

It knows request sequence numbers and parameters. It says what to send and what was decided; queues, SSNs and TSNs
belong to others, and `reconfigure` carries out what is decided here.
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
"""Requests that may wait for the one under way, besides resets of outgoing streams."""

_MASK: Final = 0xFFFFFFFF

MAX_HELD: Final = 64
"""DATA chunks held while TSNs are reset."""

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
        request: as it was sent.
        result: the number of RFC 6525, table 3.
        response: the response, or None when a request of the peer's was the answer.
    """

    __slots__ = ("request", "response", "result")

    def __init__(self, request: Request, result: int, response: ReconfigResponse | None) -> None:
        self.request = request
        self.result = result
        self.response = response

    @property
    def success(self) -> bool:
        """Whether the peer has done it."""
        return self.result in (NOTHING_TO_DO, PERFORMED)

    @property
    def reason(self) -> str:
        """The result in words."""
        return f"the peer answered: {RESULTS.get(self.result, f'result {self.result}')}"


class Reconfiguration:
    """Both directions of re-configuration for one association.

    Attributes:
        timer: the Re-configuration Timer.
        to_reset: streams we send on that are to be reset and are in no request yet.
        waiting: our requests of other kinds that wait for the one under way; their sequence numbers are given later.
        deferred: the peer's reset of its streams that waits for DATA still under way, or None.
        invited_reset: the peer agreed to reset streams it sends on, because we asked for it.
        invited_streams: how many streams it agreed to add, likewise.
        held: DATA that came while we reset TSNs: only the response tells which of it is from before.
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

    # -- our requests -----------------------------------------------------------------------------------------

    @property
    def request(self) -> Request | None:
        """Our request under way."""
        return self._request

    def add_reset(self, stream_ids: Sequence[int]) -> None:
        """Note streams to reset as soon as that is possible."""
        request = self._request
        pending = request.stream_ids if isinstance(request, OutgoingSsnResetRequest) else ()
        for stream_id in stream_ids:
            if stream_id not in pending:
                self.to_reset[stream_id] = None

    def start_reset(self, stream_ids: Sequence[int], last_assigned_tsn: int) -> None:
        """Make the request to reset these streams, taken out of `wanted` (section 5.1.2)."""
        for stream_id in stream_ids:
            self.to_reset.pop(stream_id, None)
        # A4: "The Re-configuration Response Sequence Number is the next expected Re-configuration Request Sequence
        # Number of the peer minus 1."
        answered = (self._peer_next_request - 1) & _MASK if self._in_reply_to < 0 else self._in_reply_to
        self._in_reply_to = -1
        self._start(OutgoingSsnResetRequest(self._next_request, answered, last_assigned_tsn & _MASK, tuple(stream_ids)))

    def start_waiting(self) -> Request:
        """Make the request that waits longest the one under way."""
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
        """The Re-configuration Timer has expired: send the request again. Returns whether it counts as an error."""
        if self._request is None:
            return False
        self._request_due = True
        counts = not self._uncounted
        self._uncounted = False
        return counts

    def handle_response(self, response: ReconfigResponse, now: float, rto: float) -> ReconfigurationResult | None:
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
        self._request_done()
        return ReconfigurationResult(request, response.result, response)

    @property
    def resetting_tsns(self) -> bool:
        """Whether our SSN/TSN reset waits for its response."""
        return isinstance(self._request, SsnTsnResetRequest)

    def tsn_boundary(self, parameters: Sequence[Parameter]) -> int | None:
        """The peer's first TSN after our SSN/TSN reset, if these parameters hold its success."""
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
        """Keep DATA until it is known what it belongs to; what is too much is not acknowledged and comes again."""
        if len(self.held) < MAX_HELD:
            self.held.append(chunk)

    def take_held(self, before: int | None = None) -> list[UserDataChunk]:
        """Take out what was held, or only what has a TSN before this one (32 bits)."""
        if before is None:
            taken, self.held = self.held, []
            return taken
        taken = [chunk for chunk in self.held if (chunk.tsn - before) & _MASK >= 1 << 31]
        self.held = [chunk for chunk in self.held if (chunk.tsn - before) & _MASK < 1 << 31]
        return taken

    def answered_by_request(self, response_sequence_number: int) -> ReconfigurationResult | None:
        """The peer's Outgoing SSN Reset Request answers our Incoming one (section 5.2.2, E1)."""
        request = self._request
        if not isinstance(request, IncomingSsnResetRequest):
            return None
        if response_sequence_number != request.request_sequence_number:
            return None
        self._request_done()
        return ReconfigurationResult(request, PERFORMED, None)

    def _request_done(self) -> None:
        self._request = None
        self._request_due = False
        self.timer.stop()

    # -- the peer's requests ----------------------------------------------------------------------------------

    def accept(self, number: int) -> bool:
        """Whether a request of the peer is new; an old one is answered as before, a wrong one refused."""
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
        """Respond to a request of the peer, now and whenever it is sent again."""
        self._finish(ReconfigResponse(number, result))

    def answer_with_tsns(self, number: int, sender_next_tsn: int, receiver_next_tsn: int) -> None:
        """Respond to an SSN/TSN reset (section 5.1.7, D3 and D4)."""
        self._finish(ReconfigResponse(number, PERFORMED, sender_next_tsn & _MASK, receiver_next_tsn & _MASK))

    def answer_with_reset(self, number: int) -> None:
        """Our next reset answers this Incoming SSN Reset Request."""
        self._in_reply_to = number

    def defer(self, request: OutgoingSsnResetRequest) -> None:
        """The peer's reset waits for DATA still under way (section 5.2.2, E2)."""
        self.deferred = request
        self.answer(request.request_sequence_number, IN_PROGRESS)

    def take_deferred(self) -> OutgoingSsnResetRequest | None:
        """What it waited for has arrived: the request to perform, answered without being asked again."""
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

    # -- for the writer ---------------------------------------------------------------------------------------

    @property
    def due(self) -> bool:
        """Whether `chunks_to_send` has something."""
        return bool(self._responses) or self._request_due

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
