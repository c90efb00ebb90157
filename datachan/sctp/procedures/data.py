"""DATA and acknowledgments: DATA, I-DATA, FORWARD TSN and SACK received (RFC 9260, section 6), and the send buffer."""

from __future__ import annotations

from typing import Final

from datachan.sctp.core import Core
from datachan.sctp.errors import SendBufferFull
from datachan.sctp.rx.base import PeerViolation
from datachan.sctp.serial import unwrap
from datachan.sctp.tcb import Tcb
from datachan.sctp.tx.policies import PRIORITY
from datachan.sctp.wire import causes
from datachan.sctp.wire.chunks import ErrorChunk, SackChunk, UserDataChunk
from datachan.sctp.wire.extensions import ForwardTsnChunk, IForwardTsnChunk

from . import paths

HARD_LIMIT: Final = 3
"""The multiple of the receiver window that the peer's data, overhead included, may fill in memory. A peer that sends
tiny messages fills memory faster than its window. What it may send by its window is not dropped before this limit."""


# -- DATA --------------------------------------------------------------------------------------------------------------


def handle_data(core: Core, tcb: Tcb, chunk: UserDataChunk) -> bool:
    """Record and reassemble one DATA or I-DATA chunk.

    Returns:
        True when the chunk was new and was kept.
    """
    if chunk.type != tcb.data_type:
        # RFC 8260, 2.2.3: "If I-DATA support has been negotiated for an association, the reception of a DATA chunk is a
        # violation of the above rules and therefore the receiver of the DATA chunk MUST abort the association by
        # sending an ABORT chunk."
        core.abort_for_violation("the type of a data chunk, DATA or I-DATA, is not the negotiated one")
        return False
    tracker = tcb.tracker
    tsn = unwrap(chunk.tsn, tracker.cumulative_tsn)
    if not chunk.data:
        # RFC 9260, 6.2: "it SHOULD send an ABORT chunk with a "No User Data" error cause."
        core.abort(causes.no_user_data(chunk.tsn), "the peer sent a DATA chunk without data")
        return False
    if not tracker.is_new(tsn):
        return False
    reassembly = tcb.reassembly
    if reassembly.buffered + tcb.unconsumed >= tcb.window.size and not _has_room(tcb, tsn):
        _drop(core, tcb, tsn)
        return False
    contiguous = tsn == tracker.cumulative_tsn + 1
    tracker.record(tsn)
    if chunk.stream_id >= tcb.inbound_streams:
        # RFC 9260, 6.5: "it SHOULD acknowledge the reception of the DATA chunk following the normal procedure,
        # immediately send an ERROR chunk with cause set to "Invalid Stream Identifier" (see Section 3.3.10), and
        # discard the DATA chunk."
        core.reply(ErrorChunk([causes.invalid_stream_identifier(chunk.stream_id)]).serialize())
        return True
    events = core.events
    before = len(events)
    try:
        reassembly.add(chunk, tsn, contiguous, events)
    except PeerViolation as violation:
        core.abort_for_violation(str(violation))
        return False
    if len(events) != before:
        core.count_delivered(tcb, before)
    return True


def take_held(core: Core, tcb: Tcb, held: list[UserDataChunk]) -> None:
    """Record and reassemble DATA that was held while TSNs were reset, and acknowledge it at once."""
    for chunk in held:
        if core.tcb is not tcb:
            return
        handle_data(core, tcb, chunk)
    tcb.tracker.request_sack()


def choose_sack_path(core: Core, tcb: Tcb, new_data: bool) -> None:
    """Choose the path that DATA of the packet being read is acknowledged on.

    RFC 9260, 6.7: "When its peer is multi-homed, the SCTP endpoint SHOULD always try to send the SACK chunk to the same
    destination address from which the last DATA chunk was received."

    RFC 9260, 6.4: "receiving a duplicate from a multi-homed endpoint might indicate that the return path (as specified
    in the source address of the DATA chunk) for the SACK chunk is broken." Then the next path is used.
    """
    if tcb.paths.single:
        return
    path = tcb.paths.at(core.source)
    if path is not None and not new_data:
        path = tcb.paths.alternate(tcb.sack_path or path)
    tcb.sack_path = path if path is not None and path.rank == 0 else None


def _has_room(tcb: Tcb, tsn: int) -> bool:
    """Return whether a chunk may be kept although the window is (nearly) used up.

    RFC 9260, 6.2: "When the receiver's advertised window is 0, the receiver MUST drop any new incoming DATA chunk with
    a TSN larger than the largest TSN received so far." A chunk that fills a gap is kept, up to twice the window.
    """
    window = tcb.window.size
    if tcb.held() >= HARD_LIMIT * window:
        return False
    held = tcb.held_payload()
    return held < window or (tsn < tcb.tracker.highest_tsn and held < 2 * window)


def _drop(core: Core, tcb: Tcb, tsn: int) -> None:
    """Drop a chunk for lack of room; abort the association when there can never be room for it.

    With I-DATA the window may be full of unfinished messages, none of which has room for its next fragment. This
    happens if the sender interleaves more messages than the window can hold.
    """
    # RFC 9260, 6.2: if a DATA chunk is dropped for lack of room, "the receiver MUST immediately send back a SACK".
    tcb.tracker.request_sack()
    next_in_order = tsn == tcb.tracker.cumulative_tsn + 1 and not tcb.tracker.has_gaps
    if tcb.capabilities.interleaving and tcb.unconsumed == 0 and next_in_order:
        core.abort(causes.out_of_resource(), "messages that cannot be finished fill the receiver window")


# -- FORWARD TSN -------------------------------------------------------------------------------------------------------


def handle_forward_tsn(core: Core, tcb: Tcb, chunk: ForwardTsnChunk) -> None:
    """Skip the messages that the peer abandoned, if DATA is used."""
    if tcb.capabilities.interleaving:
        # RFC 8260, 2.3.1: "If I-FORWARD-TSN support has been negotiated for an association, the reception of a
        # FORWARD-TSN chunk is a violation of the above rules and therefore the receiver of the FORWARD-TSN chunk MUST
        # abort the association by sending an ABORT chunk."
        core.abort_for_violation("FORWARD TSN was received although I-DATA was negotiated")
        return
    _forward(core, tcb, chunk.new_cumulative_tsn, [(stream_id, False, ssn) for stream_id, ssn in chunk.streams])


def handle_i_forward_tsn(core: Core, tcb: Tcb, chunk: IForwardTsnChunk) -> None:
    """Skip the messages that the peer abandoned, if I-DATA is used."""
    if not (tcb.capabilities.interleaving and tcb.capabilities.partial_reliability):
        core.abort_for_violation("I-FORWARD-TSN was received although it was not negotiated")
        return
    _forward(core, tcb, chunk.new_cumulative_tsn, chunk.streams)


def _forward(core: Core, tcb: Tcb, new_cumulative_tsn_32: int, streams: list[tuple[int, bool, int]]) -> None:
    tracker = tcb.tracker
    new_cumulative_tsn = unwrap(new_cumulative_tsn_32, tracker.cumulative_tsn)
    if not tracker.forward(new_cumulative_tsn):
        # RFC 3758, 3.6: "The receiver SHOULD send a SACK to its peer (the sender of the FORWARD TSN) since such a
        # duplicate may indicate the previous SACK was lost in the network."
        tracker.request_sack()
        return
    before = len(core.events)
    skipped = [entry for entry in streams if entry[0] < tcb.inbound_streams]
    tcb.reassembly.forward(new_cumulative_tsn, skipped, core.events)
    core.count_delivered(tcb, before)
    tracker.packet_received(False, False, core.options.sack_frequency)


# -- SACK --------------------------------------------------------------------------------------------------------------


def handle_sack(core: Core, tcb: Tcb, sack: SackChunk, now: float) -> None:
    """Give a SACK to the data sender, and clear error counters if it acknowledged anything."""
    outstanding = tcb.sender.outstanding
    cumulative_tsn_ack = unwrap(sack.cumulative_tsn_ack, outstanding.cumulative_tsn_ack)
    if outstanding.acknowledges_unsent(cumulative_tsn_ack, sack.gap_ack_blocks):
        # RFC 9260, 12.4: "An SCTP implementation MUST abort the association if it receives a SACK chunk acknowledging a
        # TSN that has not been sent."
        core.abort_for_violation("a SACK acknowledges a TSN that was not sent")
        return
    info = tcb.sender.handle_sack(cumulative_tsn_ack, sack, now)
    if outstanding.renege_budget < 0:
        core.abort_for_violation("SACKs renege on acknowledged chunks without end")
        return
    if info is not None and (info.bytes_acked or info.cumulative_advanced):
        # Also when everything acknowledged was abandoned: the peer is reachable.
        paths.data_acknowledged(core, tcb, now)


# -- the send buffer ---------------------------------------------------------------------------------------------------


def make_room(core: Core, size: int, drop_priority: int | None) -> None:
    """Make room in the send buffer, if necessary by abandoning messages of lower priority (RFC 7496, section 3.2).

    Args:
        core: the association.
        size: bytes of the message to be queued.
        drop_priority: the priority of that message.

    Raises:
        SendBufferFull: there would not be enough room even if all lower priorities were abandoned.
    """
    limit, tcb = core.options.send_buffer, core.tcb
    excess = core.queue.buffered + size - limit
    if excess <= 0:
        return
    started_too = tcb is not None and tcb.sender.abandonment.supported
    victims = None if size > limit else core.queue.choose_to_abandon(excess, drop_priority, started_too=started_too)
    if victims is None:
        raise SendBufferFull(f"{core.queue.buffered} of {limit} bytes are queued; there is no room for {size}")
    if tcb is not None:
        tcb.sender.make_room(victims)
        return
    for message in victims:
        message.policy = PRIORITY
        core.queue.drop(message)
        core.report_abandoned(message)
