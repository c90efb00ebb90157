"""What comes in: whether a packet is ours (Verification Tags, RFC 9260, section 8.5), and each chunk to its handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import address_changes, fault_management, out_of_the_blue, reconfigure, setup, teardown
from .addresses import WILDCARDS, ip_of
from .auth import HMAC_IDENTIFIERS, Authenticator
from .events import (
    AssociationClosed,
    AssociationLost,
    AuthenticationChanged,
    AuthenticationIndication,
    RemoteError,
)
from .rx.base import PeerViolation
from .serial import unwrap
from .states import MAY_ANSWER_HEARTBEAT, MAY_RECEIVE_DATA, MAY_RECEIVE_SACK, AssociationState
from .tcb import Tcb
from .wire import causes
from .wire.chunks import (
    ABORT,
    COOKIE_ECHO,
    INIT,
    INIT_ACK,
    SHUTDOWN_COMPLETE,
    AbortChunk,
    Chunk,
    CookieAckChunk,
    CookieEchoChunk,
    ErrorChunk,
    HeartbeatAckChunk,
    HeartbeatChunk,
    InitAckChunk,
    InitChunk,
    SackChunk,
    ShutdownAckChunk,
    ShutdownChunk,
    ShutdownCompleteChunk,
    UserDataChunk,
)
from .wire.extensions import (
    ASCONF,
    AsconfAckChunk,
    AsconfChunk,
    AuthChunk,
    ForwardTsnChunk,
    IForwardTsnChunk,
    PadChunk,
    ReconfigChunk,
)
from .wire.packet import Packet

if TYPE_CHECKING:
    from .association import Association

_S = AssociationState

_ASCONF_TYPE: Final = bytes([ASCONF])

HARD_LIMIT: Final = 3
"""Memory, overhead included, that the peer may ever fill, as a multiple of the receiver window. A peer that sends tiny
messages fills memory faster than its window; what it may send by its window is still not dropped before this."""


def handle_packet(association: Association, packet: Packet, now: float) -> bool:
    """Take in one packet; False when it was discarded."""
    chunks = packet.chunks
    signed = isinstance(chunks[0], AuthChunk)
    if signed:
        # RFC 4895, 6.3: what a packet is, is told by what follows: it "MUST use the chunks after the AUTH chunk to look
        # up an existing association."
        if len(chunks) == 1:
            return False
        chunks = chunks[1:]
    first = chunks[0]
    if packet.verification_tag == 0 or first.type == INIT:
        # RFC 9260, 8.5.1, A: "When an endpoint receives an SCTP packet with the Verification Tag set to 0, it SHOULD
        # verify that the packet contains only an INIT chunk.  Otherwise, the receiver MUST silently discard the
        # packet."
        if packet.verification_tag != 0 or len(packet.chunks) != 1 or not isinstance(first, InitChunk):
            return False
        return first.type == INIT and setup.handle_init(association, packet, first, now)
    if isinstance(first, CookieEchoChunk):
        return _handle_cookie_echo(association, packet, first, now)
    if association.state is _S.CLOSED:
        answer = out_of_the_blue.respond(packet)
        if answer is not None:
            association.writer.add_packet(packet.verification_tag, answer.serialize(), association.source)
        return False
    if not _tag_matches(association, packet.verification_tag, first):
        return False
    tcb = association.tcb
    if signed and (tcb is None or tcb.auth is None):
        # RFC 4895, 5: "the AUTH-chunk format requires the receiver to ignore the chunk if it is not understood and
        # silently discard all chunks that follow."
        return False
    if tcb is None:
        return _handle_before_tcb(association, packet, first, now)
    if tcb.auth is not None:
        chunks = _admit(association, tcb.auth, packet.chunks)
    return bool(chunks) and _handle_admitted(association, tcb, packet, chunks, now)


def _handle_cookie_echo(association: Association, packet: Packet, echo: CookieEchoChunk, now: float) -> bool:
    """A packet that begins with COOKIE ECHO, AUTH aside."""
    chunks = _admit(association, setup.authenticator_for(association, echo), packet.chunks)
    if not chunks or chunks[0] is not echo or not setup.handle_cookie_echo(association, packet, echo, now):
        return False
    tcb = association.tcb
    return tcb is not None and _handle_admitted(association, tcb, packet, chunks[1:], now)


def _handle_admitted(association: Association, tcb: Tcb, packet: Packet, chunks: list[Chunk], now: float) -> bool:
    if association.source is not None:
        # A packet from an address that the peer does not have belongs to no association of ours.
        path = tcb.paths.heard_from(association.source)
        if path is None and not _names_known_address(tcb, chunks):
            return False
        # RFC 9260, 6.4 wants answers to go where the question came from. Where nothing arrives, they would be lost.
        association.writer.answer_to = path.address if path is not None and path.rank == 0 else None
    if association.t2.running:
        teardown.heard_of_peer(association, tcb, now)
    _handle_chunks(association, tcb, packet, chunks, now)
    if tcb.asconf.answers and association.tcb is tcb:
        address_changes.send_answers(association, tcb)
    return True


def _names_known_address(tcb: Tcb, chunks: list[Chunk]) -> bool:
    """Whether a packet comes from a new address of the peer, and says so.

    RFC 5061, 5.2, D2: "If the association is not found, use the address found in the Address Parameter TLV combined
    with the port number found in the SCTP common header."
    """
    return tcb.capabilities.dynamic_addresses and any(
        isinstance(chunk, AsconfChunk)
        and (tcb.paths.at((ip_of(chunk.address), 0)) is not None or ip_of(chunk.address) in WILDCARDS)
        for chunk in chunks
    )


def _admit(association: Association, auth: Authenticator | None, chunks: list[Chunk]) -> list[Chunk]:
    """The chunks of a packet that may be looked at, where chunks are authenticated."""
    if auth is None:
        return chunks
    for chunk in chunks:
        if isinstance(chunk, AuthChunk) and chunk.hmac_id not in HMAC_IDENTIFIERS:
            # RFC 4895, 6.3: "the AUTH chunk and all the chunks after it MUST be discarded and an ERROR chunk SHOULD be
            # sent with the error cause defined in Section 4.1."
            error = ErrorChunk([causes.unsupported_hmac_identifier(chunk.hmac_id)])
            association.writer.add_answer(error.serialize())
            break
    before = auth.peer_key
    admitted = auth.admit(chunks)
    if auth.peer_key != before:
        association.pending.append(AuthenticationChanged(auth.peer_key, AuthenticationIndication.NEW_KEY))
    return admitted


def _tag_matches(association: Association, tag: int, first: Chunk) -> bool:
    """Sections 8.5 and 8.5.1, B and C."""
    if first.type in (ABORT, SHUTDOWN_COMPLETE) and isinstance(first, AbortChunk | ShutdownCompleteChunk):
        if first.tag_reflected:
            return association.tcb is not None and tag == association.tcb.peer_tag
        return tag == association.local_tag
    return tag == association.local_tag


def _handle_before_tcb(association: Association, packet: Packet, first: Chunk, now: float) -> bool:
    """In COOKIE-WAIT only the answer to our INIT, or its refusal, means anything."""
    if isinstance(first, InitAckChunk) and len(packet.chunks) == 1:
        setup.handle_init_ack(association, first, now)
    elif isinstance(first, AbortChunk):
        _handle_abort(association, first)
    elif isinstance(first, ShutdownAckChunk):
        teardown.handle_shutdown_ack(association, packet)
    else:
        return False
    return True


def _handle_chunks(association: Association, tcb: Tcb, packet: Packet, chunks: list[Chunk], now: float) -> None:
    """The hot path: DATA here, everything else by its handler."""
    has_data = new_data = immediate = False
    may_receive_data = association.state in MAY_RECEIVE_DATA
    for chunk in chunks:
        if isinstance(chunk, UserDataChunk):
            if not may_receive_data:
                continue
            if tcb.sender.suspended and tcb.reconfig.resetting_tsns:
                tcb.reconfig.hold(chunk)
                continue
            has_data = True
            immediate = immediate or chunk.immediate
            new_data = _handle_data(association, tcb, chunk) or new_data
        elif _handle_control(association, tcb, packet, chunk, now):
            # RFC 9260, 5.1, D: "A COOKIE ACK chunk MAY be bundled with any pending DATA chunks", and lets us take them.
            may_receive_data = association.state in MAY_RECEIVE_DATA
        else:
            break
        if association.tcb is not tcb:
            return
    if has_data:
        note_sack_path(association, tcb, new_data)
        tcb.tracker.packet_done(immediate, not new_data, association.options.sack_frequency)
        if association.state is _S.SHUTDOWN_SENT:
            teardown.data_arrived(association, now)


def note_sack_path(association: Association, tcb: Tcb, new_data: bool) -> None:
    """DATA came: remember whither to acknowledge it.

    RFC 9260, 6.7: "When its peer is multi-homed, the SCTP endpoint SHOULD always try to send the SACK chunk to the same
    destination address from which the last DATA chunk was received."

    RFC 9260, 6.4: "receiving a duplicate from a multi-homed endpoint might indicate that the return path (as specified
    in the source address of the DATA chunk) for the SACK chunk is broken." Then it is the next path's turn.
    """
    if tcb.paths.single:
        return
    path = tcb.paths.at(association.source)
    if path is not None and not new_data:
        path = tcb.paths.alternate(tcb.sack_path or path)
    tcb.sack_path = path if path is not None and path.rank == 0 else None


def batch_done(association: Association, now: float) -> None:
    """All packets that came at once have been read: decide, once, about the SACK, and do what waited for DATA."""
    tcb = association.tcb
    if tcb is None:
        return
    reconfigure.perform_deferred(association, tcb)
    tracker = tcb.tracker
    if tracker.packets_unacknowledged > 0 and not tracker.sack_now and not tracker.sack_timer.running:
        tracker.sack_timer.start(now, association.options.sack_delay)


# -- DATA -----------------------------------------------------------------------------------------------------


def _handle_data(association: Association, tcb: Tcb, chunk: UserDataChunk) -> bool:
    """One DATA or I-DATA chunk; True when it was new and kept."""
    if chunk.type != tcb.data_type:
        # RFC 8260, 2.2.3: "If I-DATA support has been negotiated for an association, the reception of a DATA chunk is a
        # violation of the above rules and therefore the receiver of the DATA chunk MUST abort the association by
        # sending an ABORT chunk."
        _abort_for_violation(association, "one of DATA and I-DATA came, and the other was agreed on")
        return False
    tracker = tcb.tracker
    tsn = unwrap(chunk.tsn, tracker.cumulative_tsn)
    if not chunk.data:
        # RFC 9260, 6.2: "it SHOULD send an ABORT chunk with a "No User Data" error cause."
        association.abort_with(causes.no_user_data(chunk.tsn), "the peer sent a DATA chunk without data", by_peer=False)
        return False
    if not tracker.is_new(tsn):
        return False
    reassembly = tcb.reassembly
    if reassembly.buffered + tcb.unconsumed >= tcb.window.size and not _has_room(association, tcb, tsn):
        _drop(association, tcb, tsn)
        return False
    contiguous = tsn == tracker.cumulative_tsn + 1
    tracker.record(tsn)
    if chunk.stream_id >= tcb.inbound_streams:
        # RFC 9260, 6.5: "it SHOULD acknowledge the reception of the DATA chunk following the normal procedure,
        # immediately send an ERROR chunk with cause set to "Invalid Stream Identifier" (see Section 3.3.10), and
        # discard the DATA chunk."
        error = ErrorChunk([causes.invalid_stream_identifier(chunk.stream_id)])
        association.writer.add_answer(error.serialize())
        return True
    pending = association.pending
    before = len(pending)
    try:
        reassembly.add(chunk, tsn, contiguous, pending)
    except PeerViolation as violation:
        _abort_for_violation(association, str(violation))
        return False
    if len(pending) != before:
        association.deliver(tcb, before)
    return True


def _handle_reconfig(association: Association, tcb: Tcb, chunk: ReconfigChunk, now: float) -> None:
    """A RE-CONFIG chunk; if it answers our SSN/TSN reset, what was held till then is taken in, old before new."""
    reconfig = tcb.reconfig
    if reconfig.held:
        boundary = reconfig.tsn_boundary(chunk.parameters)
        if boundary is not None:
            _take_in(association, tcb, reconfig.take_held(boundary))
            if association.tcb is not tcb:
                return
    reconfigure.handle_chunk(association, tcb, chunk, now)
    if reconfig.held and not reconfig.resetting_tsns:
        _take_in(association, tcb, reconfig.take_held())


def _take_in(association: Association, tcb: Tcb, held: list[UserDataChunk]) -> None:
    for chunk in held:
        if association.tcb is not tcb:
            return
        _handle_data(association, tcb, chunk)
    tcb.tracker.sack_now = True


def _has_room(association: Association, tcb: Tcb, tsn: int) -> bool:
    """Whether a chunk may be kept although the window is (nearly) used up.

    RFC 9260, 6.2: "When the receiver's advertised window is 0, the receiver MUST drop any new incoming DATA chunk with
    a TSN larger than the largest TSN received so far." One that fills a gap is kept, up to twice the window.
    """
    window = tcb.window.size
    if tcb.held() >= HARD_LIMIT * window:
        return False
    held = tcb.held_payload()
    return held < window or (tsn < tcb.tracker.highest_tsn and held < 2 * window)


def _drop(association: Association, tcb: Tcb, tsn: int) -> None:
    """There is no room for a chunk; with I-DATA, maybe there never will be.

    So it is when all that fills the window are begun messages, none of which may have its next fragment. It takes a
    sender that interleaves more messages than the window has room for.
    """
    tcb.tracker.note_dropped()
    next_in_order = tsn == tcb.tracker.cumulative_tsn + 1 and not tcb.tracker.has_gaps
    if tcb.capabilities.interleaving and tcb.unconsumed == 0 and next_in_order:
        words = "messages that cannot be finished fill the receiver window"
        association.abort_with(causes.out_of_resource(), words, by_peer=False)


def _abort_for_violation(association: Association, words: str) -> None:
    association.abort_with(causes.protocol_violation(words), f"the peer broke the protocol: {words}", by_peer=False)


def _handle_any_forward_tsn(association: Association, tcb: Tcb, chunk: ForwardTsnChunk | IForwardTsnChunk) -> bool:
    """FORWARD TSN goes with DATA, I-FORWARD-TSN with I-DATA; False when the rest of the packet is not processed."""
    capabilities = tcb.capabilities
    if isinstance(chunk, IForwardTsnChunk):
        if capabilities.interleaving and capabilities.partial_reliability:
            _handle_forward_tsn(association, tcb, chunk.new_cumulative_tsn, chunk.streams)
            return True
    elif not capabilities.interleaving:
        if not capabilities.partial_reliability:
            return _handle_other(association, chunk)
        streams = [(stream_id, False, ssn) for stream_id, ssn in chunk.streams]
        _handle_forward_tsn(association, tcb, chunk.new_cumulative_tsn, streams)
        return True
    # RFC 8260, 2.3.1: "If I-FORWARD-TSN support has been negotiated for an association, the reception of a FORWARD-TSN
    # chunk is a violation of the above rules and therefore the receiver of the FORWARD-TSN chunk MUST abort the
    # association by sending an ABORT chunk." And the other way round.
    _abort_for_violation(association, "a FORWARD TSN came that does not go with the DATA agreed on")
    return False


def _handle_forward_tsn(
    association: Association, tcb: Tcb, new_cumulative_tsn_32: int, streams: list[tuple[int, bool, int]]
) -> None:
    tracker = tcb.tracker
    new_cumulative_tsn = unwrap(new_cumulative_tsn_32, tracker.cumulative_tsn)
    if not tracker.forward(new_cumulative_tsn):
        # RFC 3758, 3.6: "The receiver SHOULD send a SACK to its peer (the sender of the FORWARD TSN) since such a
        # duplicate may indicate the previous SACK was lost in the network."
        tracker.sack_now = True
        return
    before = len(association.pending)
    skipped = [entry for entry in streams if entry[0] < tcb.inbound_streams]
    tcb.reassembly.forward(new_cumulative_tsn, skipped, association.pending)
    association.deliver(tcb, before)
    tracker.packet_done(False, False, association.options.sack_frequency)


# -- control --------------------------------------------------------------------------------------------------


def _handle_control(association: Association, tcb: Tcb, packet: Packet, chunk: Chunk, now: float) -> bool:
    """Everything but DATA; False when the rest of the packet must not be processed."""
    if isinstance(chunk, SackChunk):
        if association.state in MAY_RECEIVE_SACK:
            _handle_sack(association, tcb, chunk, now)
    elif isinstance(chunk, HeartbeatAckChunk):
        fault_management.heartbeat_acknowledged(association, tcb, chunk, now)
    elif isinstance(chunk, HeartbeatChunk):
        if association.state in MAY_ANSWER_HEARTBEAT:
            answer = HeartbeatAckChunk(chunk.info, chunk.others).serialize()
            association.writer.add_answer(answer, association.source)
    elif isinstance(chunk, ForwardTsnChunk | IForwardTsnChunk):
        if association.state in MAY_RECEIVE_DATA and not tcb.reconfig.resetting_tsns:
            return _handle_any_forward_tsn(association, tcb, chunk)
    elif isinstance(chunk, PadChunk):
        tcb.sender.peer_searches(now)
    elif isinstance(chunk, ReconfigChunk) and tcb.capabilities.stream_reset:
        _handle_reconfig(association, tcb, chunk, now)
    elif isinstance(chunk, AsconfChunk) and tcb.capabilities.dynamic_addresses:
        address_changes.handle_asconf(association, tcb, chunk, now)
    elif isinstance(chunk, AsconfAckChunk) and tcb.capabilities.dynamic_addresses:
        address_changes.handle_ack(association, tcb, chunk)
    else:
        return _handle_life_cycle(association, tcb, packet, chunk, now)
    return True


def _handle_life_cycle(association: Association, tcb: Tcb, packet: Packet, chunk: Chunk, now: float) -> bool:
    """The chunks that begin, end or complain."""
    if isinstance(chunk, CookieAckChunk):
        setup.handle_cookie_ack(association, now)
    elif isinstance(chunk, ErrorChunk):
        _handle_error(association, chunk, now)
    elif isinstance(chunk, AbortChunk):
        _handle_abort(association, chunk)
    elif isinstance(chunk, ShutdownChunk):
        teardown.handle_shutdown(association, tcb, chunk, now)
    elif isinstance(chunk, ShutdownAckChunk):
        teardown.handle_shutdown_ack(association, packet)
    elif isinstance(chunk, ShutdownCompleteChunk):
        teardown.handle_shutdown_complete(association)
    else:
        return _handle_other(association, chunk)
    return True


_IGNORED: Final = frozenset({INIT_ACK, COOKIE_ECHO, 12, 13})
"""Known types that mean nothing here: set-up chunks out of place (section 5.2), ECNE, CWR."""


def _handle_other(association: Association, chunk: Chunk) -> bool:
    """A chunk we do not know, or did not agree on (section 3.2: the two highest bits of its type)."""
    if chunk.type == INIT:
        # RFC 9260, 12.3: "The receiver of an INIT chunk MUST silently discard the INIT chunk and all further chunks if
        # the INIT chunk is bundled with other chunks or the packet has a non-zero Verification Tag."
        return False
    if chunk.type in _IGNORED:
        return True
    if chunk.type & 0x40:
        cause = causes.unrecognized_chunk_type(chunk.serialize())
        association.writer.add_answer(ErrorChunk([cause]).serialize())
    return bool(chunk.type & 0x80)


def _handle_sack(association: Association, tcb: Tcb, sack: SackChunk, now: float) -> None:
    cumulative_tsn_ack = unwrap(sack.cumulative_tsn_ack, tcb.sender.outstanding.cumulative_tsn_ack)
    if tcb.sender.outstanding.never_sent(cumulative_tsn_ack, sack.gap_ack_blocks):
        # RFC 9260, 12.4: "An SCTP implementation MUST abort the association if it receives a SACK chunk acknowledging a
        # TSN that has not been sent."
        _abort_for_violation(association, "a SACK acknowledges a TSN that was not sent")
        return
    info = tcb.sender.handle_sack(cumulative_tsn_ack, sack, now)
    if info is not None and (info.bytes_acked or info.cumulative_advanced):
        # Also when all that is acknowledged was given up: the peer is there.
        fault_management.data_acknowledged(association, tcb, now)


def _handle_error(association: Association, chunk: ErrorChunk, now: float) -> None:
    for cause in chunk.causes[:8]:
        if cause.code == causes.STALE_COOKIE:
            setup.handle_stale_cookie(association, now)
            continue
        tcb = association.tcb
        if tcb is not None and cause.code == causes.UNRECOGNIZED_CHUNK_TYPE and cause.info[:1] == _ASCONF_TYPE:
            address_changes.not_understood(association, tcb)
        else:
            association.pending.append(RemoteError(cause.code, causes.describe(cause), by_peer=True))


def _handle_abort(association: Association, chunk: AbortChunk) -> None:
    """RFC 9260, 9.1: the association is removed; "the Upper Layer Abort Reason SHOULD be made available to the upper
    layer.".
    """
    if association.state is _S.SHUTDOWN_ACK_SENT and chunk.tag_reflected:
        # The peer has sent its SHUTDOWN COMPLETE, which got lost, and then met a late packet of ours as one out of the
        # blue. Both sides had everything before we sent SHUTDOWN ACK: it is the graceful end.
        association.close(AssociationClosed())
        return
    if chunk.tag_reflected and association.tcb is not None and association.tcb.asconf.deleting:
        # RFC 5061, 5.3.1: "during the deletion of an IP address, an Abort MUST be ignored if the destination address of
        # the Abort message is that of a destination being deleted." It answers a packet that the peer no longer knew
        # the source of, and so reflects the tag.
        return
    if chunk.causes:
        cause = chunk.causes[0]
        reason, code = f"the peer aborted: {causes.describe(cause)}", cause.code
    else:
        reason, code = "the peer aborted without giving a cause", 0
    association.close(AssociationLost(reason, by_peer=True, cause_code=code))
