"""Carrying out re-configurations: what the association does when streams are reset or added (RFC 6525, section 5).

The sequence numbers and the request under way are kept in `reconfig`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from . import fault_management, handshake
from .errors import InvalidState, InvalidStream
from .events import (
    AssociationReset,
    IncomingStreamsReset,
    OutgoingStreamsReset,
    ReconfigurationFailed,
    StreamResetFailed,
    StreamsAdded,
)
from .reconfig import ALREADY_IN_PROGRESS, DENIED, MAX_WAITING, NOTHING_TO_DO, PERFORMED, Outcome, Request
from .serial import unwrap
from .states import MAY_HEARTBEAT, SHUTTING_DOWN
from .tcb import Tcb
from .wire import causes
from .wire.chunks import ErrorChunk
from .wire.extensions import ReconfigChunk
from .wire.parameters import (
    AddIncomingStreamsRequest,
    AddOutgoingStreamsRequest,
    IncomingSsnResetRequest,
    OutgoingSsnResetRequest,
    ReconfigResponse,
    SsnTsnResetRequest,
    UnknownParameter,
)

if TYPE_CHECKING:
    from .association import Association

_MASK: Final = 0xFFFFFFFF

_COMBINATIONS: Final[tuple[list[int], ...]] = (
    [OutgoingSsnResetRequest.type],
    [IncomingSsnResetRequest.type],
    [OutgoingSsnResetRequest.type, IncomingSsnResetRequest.type],
    [SsnTsnResetRequest.type],
    [AddOutgoingStreamsRequest.type],
    [AddIncomingStreamsRequest.type],
    [AddOutgoingStreamsRequest.type, AddIncomingStreamsRequest.type],
    [ReconfigResponse.type],
    [OutgoingSsnResetRequest.type, ReconfigResponse.type],
    [ReconfigResponse.type, ReconfigResponse.type],
    [],
)
"""What may stand together (section 3.1), each sorted by type; nothing is left of parameters that we do not know."""


# -- what the user wants --------------------------------------------------------------------------------------


def want_reset(association: Association, stream_ids: Sequence[int]) -> None:
    """Reset streams we send on, once what is queued on them has been sent."""
    tcb = _reconfigurable(association)
    for stream_id in stream_ids:
        if not 0 <= stream_id < tcb.outbound_streams:
            raise InvalidStream(f"stream {stream_id} is not one of the {tcb.outbound_streams} outbound streams")
    if not tcb.capabilities.stream_reset:
        association.pending.append(StreamResetFailed(tuple(stream_ids), "the peer does not support stream reset"))
        return
    tcb.reconfig.want(stream_ids)


def want_incoming_reset(association: Association, stream_ids: Sequence[int]) -> None:
    """Ask the peer to reset streams it sends on."""
    tcb = _reconfigurable(association)
    for stream_id in stream_ids:
        if not 0 <= stream_id < tcb.inbound_streams:
            raise InvalidStream(f"stream {stream_id} is not one of the {tcb.inbound_streams} inbound streams")
    _request(association, tcb, IncomingSsnResetRequest(0, tuple(stream_ids)))


def want_tsn_reset(association: Association) -> None:
    """Begin all SSNs and TSNs anew."""
    _request(association, _reconfigurable(association), SsnTsnResetRequest(0))


def want_streams(association: Association, outgoing: int, incoming: int) -> None:
    """Add streams we send on, or ask the peer to add some it sends on."""
    tcb = _reconfigurable(association)
    limit = association.options.max_streams
    if tcb.outbound_streams + outgoing > limit or tcb.inbound_streams + incoming > limit:
        raise InvalidStream(f"a direction may have {limit} streams at most")
    if outgoing > 0:
        _request(association, tcb, AddOutgoingStreamsRequest(0, outgoing))
    if incoming > 0:
        _request(association, tcb, AddIncomingStreamsRequest(0, incoming))


def _reconfigurable(association: Association) -> Tcb:
    if association.tcb is None or association.state in SHUTTING_DOWN:
        raise InvalidState(f"the association is {association.state.value}; streams can change while it is established")
    return association.tcb


def _request(association: Association, tcb: Tcb, request: Request) -> None:
    name = type(request).__name__
    if not tcb.capabilities.stream_reset:
        association.pending.append(ReconfigurationFailed(name, "the peer does not support re-configuration"))
    elif len(tcb.reconfig.waiting) >= MAX_WAITING:
        association.pending.append(ReconfigurationFailed(name, f"{MAX_WAITING} requests are waiting already"))
    else:
        tcb.reconfig.waiting.append(request)


def timer_expired(association: Association, tcb: Tcb, now: float) -> None:
    """Our request went unanswered, or the peer asked for time and it is over (RFC 6525, section 5.1.1)."""
    path = tcb.path
    path.back_off()
    if tcb.reconfig.handle_timeout():
        fault_management.count_error(association, tcb, path)
    if association.tcb is tcb:
        fault_management.ask_round_trip(association, path, now)


# -- the next of our requests ---------------------------------------------------------------------------------


def start_next_request(association: Association, tcb: Tcb) -> None:
    """Begin the next of our requests, if none is under way and what it needs is given."""
    reconfig = tcb.reconfig
    if reconfig.request is not None or association.state not in MAY_HEARTBEAT:
        return
    if reconfig.wanted:
        queue = association.queue
        ready = [stream_id for stream_id in reconfig.wanted if queue.idle(stream_id)]
        if ready:
            ready = ready[: handshake.streams_per_reset(association.options)]
            # RFC 6525, 5.1.2, A1: "The sender MUST stop assigning new SSNs to new user data provided by the upper
            # layer for the affected streams and queue it."
            queue.pause(ready)
            reconfig.start_reset(ready, tcb.sender.outstanding.highest_tsn)
            return
    if not reconfig.waiting:
        return
    if isinstance(reconfig.waiting[0], SsnTsnResetRequest):
        # C2: "The sender MUST queue any user data, suspending any new transmissions and TSN assignment until the reset
        # procedure is finished".
        tcb.sender.suspended = True
        if not tcb.sender.all_acknowledged:
            return
    reconfig.start_waiting()


def handle_chunk(association: Association, tcb: Tcb, chunk: ReconfigChunk, now: float) -> None:
    """A RE-CONFIG chunk came."""
    parameters = [parameter for parameter in chunk.parameters if not isinstance(parameter, UnknownParameter)]
    if sorted(parameter.type for parameter in parameters) not in _COMBINATIONS:
        # RFC 6525, 3.1: "If a sender transmits an unsupported combination, the receiver SHOULD send an ERROR chunk with
        # a Protocol Violation cause".
        error = ErrorChunk([causes.protocol_violation("RE-CONFIG with parameters that do not go together")])
        association.writer.add_answer(error.serialize())
        return
    for parameter in parameters:
        if isinstance(parameter, ReconfigResponse):
            outcome = tcb.reconfig.handle_response(parameter, now, tcb.path.rto)
            if outcome is not None:
                fault_management.heard(association, tcb, tcb.path)
                _conclude(association, tcb, outcome)
            continue
        # RFC 6525, 5.2.1: "a selective acknowledgment (SACK) chunk SHOULD be sent back".
        tcb.tracker.sack_now = True
        if isinstance(parameter, OutgoingSsnResetRequest):
            _handle_outgoing_reset(association, tcb, parameter)
        elif isinstance(parameter, IncomingSsnResetRequest):
            _handle_incoming_reset(association, tcb, parameter)
        elif isinstance(parameter, SsnTsnResetRequest):
            _handle_tsn_reset(association, tcb, parameter)
        elif isinstance(parameter, AddOutgoingStreamsRequest):
            _handle_add_outgoing(association, tcb, parameter)
        elif isinstance(parameter, AddIncomingStreamsRequest):
            _handle_add_incoming(association, tcb, parameter)
        if association.tcb is not tcb:
            return


def perform_deferred(association: Association, tcb: Tcb) -> None:
    """Perform the peer's reset that waited for DATA, if that is there now."""
    deferred = tcb.reconfig.deferred
    if deferred is None:
        return
    cumulative_tsn = tcb.tracker.cumulative_tsn
    if unwrap(deferred.last_assigned_tsn, cumulative_tsn) <= cumulative_tsn:
        request = tcb.reconfig.take_deferred()
        if request is not None:
            _reset_incoming(association, tcb, request)


# -- the peer's requests --------------------------------------------------------------------------------------


def _handle_outgoing_reset(association: Association, tcb: Tcb, request: OutgoingSsnResetRequest) -> None:
    reconfig = tcb.reconfig
    outcome = reconfig.answered_by_request(request.response_sequence_number)
    if outcome is not None:
        fault_management.heard(association, tcb, tcb.path)
    if not reconfig.accept(request.request_sequence_number):
        return
    invited = outcome is not None or reconfig.invited_reset
    reconfig.invited_reset = False
    if not association.options.allow_stream_reset and not invited:
        reconfig.answer(request.request_sequence_number, DENIED)
        return
    cumulative_tsn = tcb.tracker.cumulative_tsn
    if unwrap(request.last_assigned_tsn, cumulative_tsn) > cumulative_tsn:
        reconfig.defer(request)
        return
    reconfig.answer(request.request_sequence_number, PERFORMED)
    _reset_incoming(association, tcb, request)


def _reset_incoming(association: Association, tcb: Tcb, request: OutgoingSsnResetRequest) -> None:
    """RFC 6525, 5.2.2, E3: "If no stream numbers are listed in the parameter, then all incoming streams MUST be reset
    to 0 as the next expected SSN."
    """
    tcb.reassembly.reset_streams(request.stream_ids or None)
    association.pending.append(IncomingStreamsReset(request.stream_ids))


def _handle_incoming_reset(association: Association, tcb: Tcb, request: IncomingSsnResetRequest) -> None:
    """The peer wants us to reset streams we send on (section 5.2.3)."""
    reconfig = tcb.reconfig
    number = request.request_sequence_number
    if not reconfig.accept(number):
        return
    wanted = request.stream_ids or tuple(association.queue.used_streams())
    if not association.options.allow_stream_reset or any(stream_id >= tcb.outbound_streams for stream_id in wanted):
        reconfig.answer(number, DENIED)
        return
    own = reconfig.request
    if isinstance(own, OutgoingSsnResetRequest) and (not own.stream_ids or set(own.stream_ids) >= set(wanted)):
        # "If the Outgoing SSN Reset Request Parameter that was just sent completely overlaps the received Incoming SSN
        # Reset Request Parameter, respond to the peer with an acknowledgment indicating that there was "Nothing to
        # do"."
        reconfig.answer(number, NOTHING_TO_DO)
        return
    if all(association.queue.fresh(stream_id) for stream_id in wanted):
        reconfig.answer(number, NOTHING_TO_DO)
        return
    reconfig.want(wanted)
    if own is None and not reconfig.waiting and all(association.queue.idle(stream_id) for stream_id in wanted):
        # F1: our Outgoing SSN Reset Request is the answer.
        reconfig.answer_with_reset(number)
    else:
        reconfig.answer(number, PERFORMED)


def _handle_tsn_reset(association: Association, tcb: Tcb, request: SsnTsnResetRequest) -> None:
    """The peer begins TSNs and SSNs anew (section 5.2.4, G1 to G7)."""
    reconfig = tcb.reconfig
    if not reconfig.accept(request.request_sequence_number):
        return
    if not association.options.allow_tsn_reset:
        reconfig.answer(request.request_sequence_number, DENIED)
        return
    if isinstance(reconfig.request, SsnTsnResetRequest):
        # Two that cross would each move TSNs the other has just fixed, and never meet again.
        reconfig.answer(request.request_sequence_number, ALREADY_IN_PROGRESS)
        return
    # G1: "The value SHOULD be the smallest TSN not acknowledged by the receiver of the request plus 2^31."
    receiver_next = tcb.tracker.cumulative_tsn + 1 + (1 << 31)
    sender_next = tcb.sender.outstanding.next_tsn
    reconfig.answer_with_tsns(request.request_sequence_number, sender_next, receiver_next)
    _begin_anew(association, tcb, sender_next, receiver_next)


def _handle_add_outgoing(association: Association, tcb: Tcb, request: AddOutgoingStreamsRequest) -> None:
    """The peer wants to send on more streams (section 5.2.5)."""
    reconfig = tcb.reconfig
    if not reconfig.accept(request.request_sequence_number):
        return
    invited = request.new_streams <= reconfig.invited_streams
    if not _may_add(association, tcb.inbound_streams, request.new_streams, invited=invited):
        reconfig.answer(request.request_sequence_number, DENIED)
        return
    reconfig.answer(request.request_sequence_number, PERFORMED)
    reconfig.invited_streams = max(reconfig.invited_streams - request.new_streams, 0)
    tcb.inbound_streams += request.new_streams
    association.pending.append(StreamsAdded(tcb.inbound_streams, tcb.outbound_streams))


def _may_add(association: Association, present: int, more: int, *, invited: bool) -> bool:
    """Whether so many streams may be added to so many; `invited`: we asked the peer to."""
    options = association.options
    return more > 0 and present + more <= options.max_streams and (invited or options.allow_added_streams)


def _handle_add_incoming(association: Association, tcb: Tcb, request: AddIncomingStreamsRequest) -> None:
    """The peer wants us to send on more streams: granted by asking for them (section 5.2.6)."""
    reconfig = tcb.reconfig
    if not reconfig.accept(request.request_sequence_number):
        return
    if not _may_add(association, tcb.outbound_streams, request.new_streams, invited=False):
        reconfig.answer(request.request_sequence_number, DENIED)
        return
    reconfig.answer(request.request_sequence_number, PERFORMED)
    reconfig.waiting.append(AddOutgoingStreamsRequest(0, request.new_streams))


# -- what became of ours --------------------------------------------------------------------------------------


def _conclude(association: Association, tcb: Tcb, outcome: Outcome) -> None:
    request = outcome.request
    if isinstance(request, OutgoingSsnResetRequest):
        association.queue.resume(request.stream_ids, reset=outcome.success)
        if outcome.success:
            association.pending.append(OutgoingStreamsReset(request.stream_ids))
        else:
            association.pending.append(StreamResetFailed(request.stream_ids, outcome.reason))
    elif isinstance(request, SsnTsnResetRequest):
        _conclude_tsn_reset(association, tcb, outcome)
    elif not outcome.success:
        association.pending.append(ReconfigurationFailed(type(request).__name__, outcome.reason))
    elif isinstance(request, IncomingSsnResetRequest):
        tcb.reconfig.invited_reset = outcome.response is not None and outcome.result == PERFORMED
    elif isinstance(request, AddIncomingStreamsRequest):
        tcb.reconfig.invited_streams += request.new_streams
    elif isinstance(request, AddOutgoingStreamsRequest):
        # RFC 6525, 5.2.7, H6: the streams may be used "until the peer has responded with a positive acknowledgment."
        tcb.outbound_streams += request.new_streams
        association.pending.append(StreamsAdded(tcb.inbound_streams, tcb.outbound_streams))


def _conclude_tsn_reset(association: Association, tcb: Tcb, outcome: Outcome) -> None:
    tcb.sender.suspended = False
    response = outcome.response
    if (
        not outcome.success
        or response is None
        or response.sender_next_tsn is None
        or response.receiver_next_tsn is None
    ):
        association.pending.append(ReconfigurationFailed("SsnTsnResetRequest", outcome.reason))
        return
    # H5: "new data MUST be sent from the Receiver's Next TSN, beginning with SSN 0 for all outgoing streams."
    own = tcb.sender.outstanding.next_tsn
    expected = tcb.tracker.cumulative_tsn + 1
    local_tsn = own + (response.receiver_next_tsn - own & _MASK)
    peer_tsn = expected + (response.sender_next_tsn - expected & _MASK)
    _begin_anew(association, tcb, local_tsn, peer_tsn)


def _begin_anew(association: Association, tcb: Tcb, local_tsn: int, peer_tsn: int) -> None:
    """All streams of both directions begin with SSN 0, our TSNs and the peer's with these (unwrapped)."""
    association.queue.restart()
    tcb.sender.restart_at(local_tsn)
    tcb.expect_from(association.options, peer_tsn)
    association.pending.append(AssociationReset(local_tsn & _MASK, peer_tsn & _MASK))
