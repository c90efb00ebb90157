"""Re-configuration of streams: resetting and adding them, at our request and the peer's (RFC 6525, section 5).

`records/reconfiguration` keeps the sequence numbers and the outstanding request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from datachan.sctp.core import Core
from datachan.sctp.errors import InvalidState, InvalidStream
from datachan.sctp.events import (
    AssociationReset,
    IncomingStreamsReset,
    OutgoingStreamsReset,
    ReconfigurationFailed,
    ReconfigurationKind,
    StreamResetFailed,
    StreamsAdded,
)
from datachan.sctp.records.init import streams_per_reset
from datachan.sctp.records.reconfiguration import (
    ALREADY_IN_PROGRESS,
    DENIED,
    MAX_WAITING,
    NOTHING_TO_DO,
    PERFORMED,
    ReconfigurationResult,
    Request,
)
from datachan.sctp.serial import unwrap
from datachan.sctp.states import MAY_HEARTBEAT, SHUTTING_DOWN
from datachan.sctp.tcb import Tcb
from datachan.sctp.wire import causes
from datachan.sctp.wire.chunks import ErrorChunk
from datachan.sctp.wire.extensions import ReconfigChunk
from datachan.sctp.wire.parameters import (
    AddIncomingStreamsRequest,
    AddOutgoingStreamsRequest,
    IncomingSsnResetRequest,
    OutgoingSsnResetRequest,
    ReconfigResponse,
    SsnTsnResetRequest,
    UnknownParameter,
)

from . import paths

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
"""Combinations of parameters allowed in one chunk (section 3.1), each sorted by type, without unknown parameters."""

_KINDS: Final = {
    IncomingSsnResetRequest.type: ReconfigurationKind.INCOMING_RESET,
    SsnTsnResetRequest.type: ReconfigurationKind.TSN_RESET,
    AddOutgoingStreamsRequest.type: ReconfigurationKind.ADD_OUTGOING_STREAMS,
    AddIncomingStreamsRequest.type: ReconfigurationKind.ADD_INCOMING_STREAMS,
}
"""The names of requests in events."""


# -- the application's requests ----------------------------------------------------------------------------------------


def request_outgoing_reset(core: Core, stream_ids: Sequence[int]) -> None:
    """Reset streams we send on, after everything queued on them was sent."""
    tcb = _reconfigurable(core)
    for stream_id in stream_ids:
        if not 0 <= stream_id < tcb.outbound_streams:
            raise InvalidStream(f"stream {stream_id} is not one of the {tcb.outbound_streams} outbound streams")
    if not tcb.capabilities.stream_reset:
        core.events.append(StreamResetFailed(tuple(stream_ids), "the peer does not support stream reset"))
        return
    tcb.reconfig.add_reset(stream_ids)


def request_incoming_reset(core: Core, stream_ids: Sequence[int]) -> None:
    """Request the reset of incoming streams."""
    tcb = _reconfigurable(core)
    for stream_id in stream_ids:
        if not 0 <= stream_id < tcb.inbound_streams:
            raise InvalidStream(f"stream {stream_id} is not one of the {tcb.inbound_streams} inbound streams")
    _request(core, tcb, IncomingSsnResetRequest(0, tuple(stream_ids)))


def request_tsn_reset(core: Core) -> None:
    """Restart all SSNs and TSNs."""
    _request(core, _reconfigurable(core), SsnTsnResetRequest(0))


def request_streams(core: Core, outgoing: int, incoming: int) -> None:
    """Add outgoing streams, or request incoming ones."""
    tcb = _reconfigurable(core)
    limit = core.options.max_streams
    if tcb.outbound_streams + outgoing > limit or tcb.inbound_streams + incoming > limit:
        raise InvalidStream(f"a direction may have {limit} streams at most")
    if outgoing > 0:
        _request(core, tcb, AddOutgoingStreamsRequest(0, outgoing))
    if incoming > 0:
        _request(core, tcb, AddIncomingStreamsRequest(0, incoming))


def _reconfigurable(core: Core) -> Tcb:
    if core.tcb is None or core.state in SHUTTING_DOWN:
        raise InvalidState(f"the association is {core.state.value}; streams can change while it is established")
    return core.tcb


def _request(core: Core, tcb: Tcb, request: Request) -> None:
    kind = _KINDS[request.type]
    if not tcb.capabilities.stream_reset:
        core.events.append(ReconfigurationFailed(kind, "the peer does not support re-configuration"))
    elif len(tcb.reconfig.waiting) >= MAX_WAITING:
        core.events.append(ReconfigurationFailed(kind, f"{MAX_WAITING} requests are waiting already"))
    else:
        tcb.reconfig.waiting.append(request)


def handle_timeout(core: Core, tcb: Tcb, now: float) -> None:
    """Retransmit a request that went unanswered, or that the peer reported as in progress (RFC 6525, section 5.1.1)."""
    path = tcb.path
    path.back_off()
    if tcb.reconfig.handle_timeout():
        paths.count_error(core, tcb, path)
    if core.tcb is tcb:
        paths.measure_round_trip(core, path, now)


# -- the next of our requests ------------------------------------------------------------------------------------------


def start_next_request(core: Core, tcb: Tcb) -> None:
    """Send the next of our requests, if none is outstanding and its conditions are met."""
    reconfig = tcb.reconfig
    if reconfig.request is not None or core.state not in MAY_HEARTBEAT:
        return
    if reconfig.to_reset:
        queue = core.queue
        ready = [stream_id for stream_id in reconfig.to_reset if queue.is_idle(stream_id)]
        if ready:
            ready = ready[: streams_per_reset(core.options)]
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


def handle_chunk(core: Core, tcb: Tcb, chunk: ReconfigChunk, now: float) -> None:
    """Perform or refuse the requests in a RE-CONFIG chunk, and conclude ours that it answers."""
    parameters = [parameter for parameter in chunk.parameters if not isinstance(parameter, UnknownParameter)]
    if sorted(parameter.type for parameter in parameters) not in _COMBINATIONS:
        # RFC 6525, 3.1: "If a sender transmits an unsupported combination, the receiver SHOULD send an ERROR chunk with
        # a Protocol Violation cause".
        error = ErrorChunk([causes.protocol_violation("RE-CONFIG with parameters that do not go together")])
        core.reply(error.serialize())
        return
    for parameter in parameters:
        if isinstance(parameter, ReconfigResponse):
            outcome = tcb.reconfig.handle_response(parameter, now, tcb.path.rto)
            if outcome is not None:
                paths.clear_errors(core, tcb, tcb.path)
                _conclude(core, tcb, outcome)
            continue
        # RFC 6525, 5.2.1: "a selective acknowledgment (SACK) chunk SHOULD be sent back".
        tcb.tracker.request_sack()
        if isinstance(parameter, OutgoingSsnResetRequest):
            _handle_outgoing_reset(core, tcb, parameter)
        elif isinstance(parameter, IncomingSsnResetRequest):
            _handle_incoming_reset(core, tcb, parameter)
        elif isinstance(parameter, SsnTsnResetRequest):
            _handle_tsn_reset(core, tcb, parameter)
        elif isinstance(parameter, AddOutgoingStreamsRequest):
            _handle_add_outgoing(core, tcb, parameter)
        elif isinstance(parameter, AddIncomingStreamsRequest):
            _handle_add_incoming(core, tcb, parameter)
        if core.tcb is not tcb:
            return


def perform_deferred(core: Core, tcb: Tcb) -> None:
    """Perform the peer's reset that waited for DATA, if all of it has arrived."""
    deferred = tcb.reconfig.deferred
    if deferred is None:
        return
    cumulative_tsn = tcb.tracker.cumulative_tsn
    if unwrap(deferred.last_assigned_tsn, cumulative_tsn) <= cumulative_tsn:
        request = tcb.reconfig.take_deferred()
        if request is not None:
            _reset_incoming(core, tcb, request)


# -- the peer's requests -----------------------------------------------------------------------------------------------


def _handle_outgoing_reset(core: Core, tcb: Tcb, request: OutgoingSsnResetRequest) -> None:
    reconfig = tcb.reconfig
    outcome = reconfig.answered_by_request(request.response_sequence_number)
    if outcome is not None:
        paths.clear_errors(core, tcb, tcb.path)
    if not reconfig.accept(request.request_sequence_number):
        return
    invited = outcome is not None or reconfig.invited_reset
    reconfig.invited_reset = False
    if not core.options.allow_stream_reset and not invited:
        reconfig.answer(request.request_sequence_number, DENIED)
        return
    cumulative_tsn = tcb.tracker.cumulative_tsn
    if unwrap(request.last_assigned_tsn, cumulative_tsn) > cumulative_tsn:
        reconfig.defer(request)
        return
    reconfig.answer(request.request_sequence_number, PERFORMED)
    _reset_incoming(core, tcb, request)


def _reset_incoming(core: Core, tcb: Tcb, request: OutgoingSsnResetRequest) -> None:
    """Reset the peer's streams.

    RFC 6525, 5.2.2, E3: "If no stream numbers are listed in the parameter, then all incoming streams MUST be reset to 0
    as the next expected SSN."
    """
    tcb.reassembly.reset_streams(request.stream_ids or None)
    core.events.append(IncomingStreamsReset(request.stream_ids))


def _handle_incoming_reset(core: Core, tcb: Tcb, request: IncomingSsnResetRequest) -> None:
    """Reset streams we send on at the peer's request (section 5.2.3)."""
    reconfig = tcb.reconfig
    number = request.request_sequence_number
    if not reconfig.accept(number):
        return
    requested = request.stream_ids or tuple(core.queue.used_streams())
    if core.state not in MAY_HEARTBEAT:
        # During the handshake and the shutdown no request of ours is sent that could be the answer.
        reconfig.answer(number, DENIED)
        return
    if not core.options.allow_stream_reset or any(stream_id >= tcb.outbound_streams for stream_id in requested):
        reconfig.answer(number, DENIED)
        return
    own = reconfig.request
    if isinstance(own, OutgoingSsnResetRequest) and (not own.stream_ids or set(own.stream_ids) >= set(requested)):
        # "If the Outgoing SSN Reset Request Parameter that was just sent completely overlaps the received Incoming SSN
        # Reset Request Parameter, respond to the peer with an acknowledgment indicating that there was "Nothing to
        # do"."
        reconfig.answer(number, NOTHING_TO_DO)
        return
    if all(core.queue.is_unused(stream_id) for stream_id in requested):
        reconfig.answer(number, NOTHING_TO_DO)
        return
    reconfig.add_reset(requested)
    if own is None and not reconfig.waiting and all(core.queue.is_idle(stream_id) for stream_id in requested):
        # F1: our Outgoing SSN Reset Request is the answer.
        reconfig.answer_with_reset(number)
    else:
        reconfig.answer(number, PERFORMED)


def _handle_tsn_reset(core: Core, tcb: Tcb, request: SsnTsnResetRequest) -> None:
    """Restart TSNs and SSNs at the peer's request (section 5.2.4, G1 to G7)."""
    reconfig = tcb.reconfig
    if not reconfig.accept(request.request_sequence_number):
        return
    if not core.options.allow_tsn_reset:
        reconfig.answer(request.request_sequence_number, DENIED)
        return
    if isinstance(reconfig.request, SsnTsnResetRequest):
        # Two resets that cross would each move the TSNs that the other has just set.
        reconfig.answer(request.request_sequence_number, ALREADY_IN_PROGRESS)
        return
    # G1: "The value SHOULD be the smallest TSN not acknowledged by the receiver of the request plus 2^31."
    receiver_next = tcb.tracker.cumulative_tsn + 1 + (1 << 31)
    sender_next = tcb.sender.outstanding.next_tsn
    reconfig.answer_with_tsns(request.request_sequence_number, sender_next, receiver_next)
    _restart(core, tcb, sender_next, receiver_next)


def _handle_add_outgoing(core: Core, tcb: Tcb, request: AddOutgoingStreamsRequest) -> None:
    """Accept or refuse outgoing streams that the peer adds (section 5.2.5)."""
    reconfig = tcb.reconfig
    if not reconfig.accept(request.request_sequence_number):
        return
    invited = request.new_streams <= reconfig.invited_streams
    if not _may_add(core, tcb.inbound_streams, request.new_streams, invited=invited):
        reconfig.answer(request.request_sequence_number, DENIED)
        return
    reconfig.answer(request.request_sequence_number, PERFORMED)
    reconfig.invited_streams = max(reconfig.invited_streams - request.new_streams, 0)
    tcb.inbound_streams += request.new_streams
    core.events.append(StreamsAdded(tcb.inbound_streams, tcb.outbound_streams))


def _may_add(core: Core, present: int, more: int, *, invited: bool) -> bool:
    """Return whether `more` streams may be added to `present`; `invited` means that we requested them."""
    options = core.options
    return more > 0 and present + more <= options.max_streams and (invited or options.allow_added_streams)


def _handle_add_incoming(core: Core, tcb: Tcb, request: AddIncomingStreamsRequest) -> None:
    """Grant the peer's request that we send on more streams, by requesting them (section 5.2.6)."""
    reconfig = tcb.reconfig
    if not reconfig.accept(request.request_sequence_number):
        return
    if not _may_add(core, tcb.outbound_streams, request.new_streams, invited=False):
        reconfig.answer(request.request_sequence_number, DENIED)
        return
    reconfig.answer(request.request_sequence_number, PERFORMED)
    reconfig.waiting.append(AddOutgoingStreamsRequest(0, request.new_streams))


# -- the results of our requests ---------------------------------------------------------------------------------------


def _conclude(core: Core, tcb: Tcb, outcome: ReconfigurationResult) -> None:
    request = outcome.request
    if isinstance(request, OutgoingSsnResetRequest):
        core.queue.resume(request.stream_ids, reset=outcome.success)
        if outcome.success:
            core.events.append(OutgoingStreamsReset(request.stream_ids))
        else:
            core.events.append(StreamResetFailed(request.stream_ids, outcome.reason))
    elif isinstance(request, SsnTsnResetRequest):
        _conclude_tsn_reset(core, tcb, outcome)
    elif not outcome.success:
        core.events.append(ReconfigurationFailed(_KINDS[request.type], outcome.reason))
    elif isinstance(request, IncomingSsnResetRequest):
        tcb.reconfig.invited_reset = outcome.response is not None and outcome.result == PERFORMED
    elif isinstance(request, AddIncomingStreamsRequest):
        tcb.reconfig.invited_streams += request.new_streams
    elif isinstance(request, AddOutgoingStreamsRequest):
        # RFC 6525, 5.2.7, H6: the streams may be used "until the peer has responded with a positive acknowledgment."
        tcb.outbound_streams += request.new_streams
        core.events.append(StreamsAdded(tcb.inbound_streams, tcb.outbound_streams))


def _conclude_tsn_reset(core: Core, tcb: Tcb, outcome: ReconfigurationResult) -> None:
    tcb.sender.suspended = False
    response = outcome.response
    if (
        not outcome.success
        or response is None
        or response.sender_next_tsn is None
        or response.receiver_next_tsn is None
    ):
        core.events.append(ReconfigurationFailed(ReconfigurationKind.TSN_RESET, outcome.reason))
        return
    # H5: "new data MUST be sent from the Receiver's Next TSN, beginning with SSN 0 for all outgoing streams."
    own = tcb.sender.outstanding.next_tsn
    expected = tcb.tracker.cumulative_tsn + 1
    local_tsn = own + (response.receiver_next_tsn - own & _MASK)
    peer_tsn = expected + (response.sender_next_tsn - expected & _MASK)
    _restart(core, tcb, local_tsn, peer_tsn)


def _restart(core: Core, tcb: Tcb, local_tsn: int, peer_tsn: int) -> None:
    """Restart all streams of both directions with SSN 0, and TSNs with `local_tsn` and `peer_tsn` (unwrapped)."""
    core.queue.restart()
    tcb.sender.restart_at(local_tsn)
    tcb.restart_receiving_at(core.options, peer_tsn)
    core.events.append(AssociationReset(local_tsn & _MASK, peer_tsn & _MASK))
