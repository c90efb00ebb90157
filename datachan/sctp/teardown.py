"""Ending an association gracefully: SHUTDOWN, SHUTDOWN ACK, SHUTDOWN COMPLETE (RFC 9260, section 9.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import fault_management
from .events import AssociationClosed, AssociationLost, ShutdownReceived
from .serial import unwrap
from .states import AssociationState
from .tcb import Tcb
from .wire.chunks import ShutdownChunk, ShutdownCompleteChunk
from .wire.packet import Packet

if TYPE_CHECKING:
    from .association import Association

_S = AssociationState

T5_SHUTDOWN_GUARD: Final = 5.0
"""RFC 9260, 9.2: the T5-shutdown-guard timer "SHOULD be set to the RECOMMENDED value of 5 times 'RTO.Max'."."""


def start_shutdown(association: Association, now: float) -> None:
    """The user wants a graceful end; during the handshake it waits for its end."""
    state = association.state
    if state in (_S.COOKIE_WAIT, _S.COOKIE_ECHOED):
        association.shutdown_wanted = True
    elif state is _S.ESTABLISHED:
        association.enter(_S.SHUTDOWN_PENDING)
        if association.tcb is not None:
            advance(association, association.tcb, now)


def advance(association: Association, tcb: Tcb, now: float) -> None:
    """Take the next step once everything of ours is acknowledged."""
    if not tcb.sender.all_acknowledged or not association.queue.empty:
        return
    if association.state is _S.SHUTDOWN_PENDING:
        association.enter(_S.SHUTDOWN_SENT)
        association.writer.shutdown_due = True
        association.t2.start(now, tcb.path.rto)
        association.t5_shutdown_guard.start(now, T5_SHUTDOWN_GUARD * association.options.rto_max)
    elif association.state is _S.SHUTDOWN_RECEIVED:
        _send_shutdown_ack(association, tcb, now)


def _send_shutdown_ack(association: Association, tcb: Tcb, now: float) -> None:
    association.enter(_S.SHUTDOWN_ACK_SENT)
    association.writer.shutdown_due = False
    association.writer.shutdown_ack_due = True
    association.t2.stop()
    association.t2.start(now, tcb.path.rto)


def handle_t2_expired(association: Association, now: float) -> None:
    """SHUTDOWN or SHUTDOWN ACK went unanswered."""
    tcb = association.tcb
    if tcb is None:
        return
    if association.t2.expirations > association.options.association_max_retrans:
        # RFC 9260, 9.2: "If this threshold is exceeded, the endpoint SHOULD destroy the TCB and SHOULD report the peer
        # endpoint unreachable to the upper layer".
        association.close(AssociationLost("the peer did not answer the shutdown", by_peer=False, cause_code=0))
        return
    path = tcb.shutdown_path or tcb.path
    path.back_off()
    tcb.shutdown_path = tcb.paths.alternate(path) or path
    association.writer.shutdown_due = association.state is _S.SHUTDOWN_SENT
    association.writer.shutdown_ack_due = association.state is _S.SHUTDOWN_ACK_SENT
    association.t2.start(now, tcb.path.rto)


def heard_of_peer(association: Association, tcb: Tcb, now: float) -> None:
    """RFC 9260, 9.2: "The reception of any packet from its peer (i.e., as the peer sends all of its queued DATA chunks)
    SHOULD clear the endpoint's retransmission count and restart the T2-shutdown timer".

    That is said of the sender of SHUTDOWN. The sender of SHUTDOWN ACK, for which the peer has nothing more, keeps to
    its timer and likewise does not give up a peer that is there.
    """
    if association.state is _S.SHUTDOWN_SENT:
        association.t2.start(now, tcb.path.rto)
    association.t2.expirations = 0


def data_arrived(association: Association, now: float) -> None:
    """RFC 9260, 9.2: "While in the SHUTDOWN-SENT state, the SHUTDOWN chunk sender MUST immediately respond to each
    received packet containing one or more DATA chunks with a SHUTDOWN chunk and restart the T2-shutdown timer."
    """
    association.writer.shutdown_due = True
    # The guard is for a shutdown that gets nowhere; a peer that still delivers what it had queued is not to lose it.
    association.t5_shutdown_guard.start(now, T5_SHUTDOWN_GUARD * association.options.rto_max)


def handle_shutdown(association: Association, tcb: Tcb, shutdown: ShutdownChunk, now: float) -> None:
    """The peer wants a graceful end."""
    state = association.state
    if state in (_S.COOKIE_WAIT, _S.COOKIE_ECHOED):
        # "If a SHUTDOWN chunk is received in the COOKIE-WAIT or COOKIE ECHOED state, the SHUTDOWN chunk SHOULD be
        # silently discarded."
        return
    _acknowledge(association, tcb, shutdown.cumulative_tsn_ack, now)
    if state in (_S.ESTABLISHED, _S.SHUTDOWN_PENDING):
        association.enter(_S.SHUTDOWN_RECEIVED)
        association.pending.append(ShutdownReceived())
        advance(association, tcb, now)
    elif state is _S.SHUTDOWN_SENT:
        # "the endpoint SHOULD respond immediately with a SHUTDOWN ACK chunk to its peer and move into the
        # SHUTDOWN-ACK-SENT state, restarting its T2-shutdown timer."
        _send_shutdown_ack(association, tcb, now)
    elif state is _S.SHUTDOWN_ACK_SENT:
        association.writer.shutdown_ack_due = True
    else:
        advance(association, tcb, now)


def _acknowledge(association: Association, tcb: Tcb, cumulative_tsn_ack: int, now: float) -> None:
    """Take in the Cumulative TSN Ack of a SHUTDOWN chunk."""
    tsn = unwrap(cumulative_tsn_ack, tcb.sender.outstanding.cumulative_tsn_ack)
    info = tcb.sender.handle_cumulative_ack(tsn, now)
    if info is not None and (info.bytes_acked or info.cumulative_advanced):
        fault_management.data_acknowledged(association, tcb, now)


def handle_shutdown_ack(association: Association, packet: Packet) -> None:
    """The peer has nothing more to send."""
    state, tcb = association.state, association.tcb
    if state in (_S.COOKIE_WAIT, _S.COOKIE_ECHOED):
        # RFC 9260, 8.5.1, E: "it is treated as an OOTB packet."
        reflected = ShutdownCompleteChunk(tag_reflected=True)
        association.writer.add_packet(packet.verification_tag, reflected.serialize(), association.source)
    elif tcb is not None and state in (_S.SHUTDOWN_SENT, _S.SHUTDOWN_ACK_SENT):
        destination = association.writer.answer_to or tcb.path.address
        association.writer.add_packet(tcb.peer_tag, ShutdownCompleteChunk().serialize(), destination)
        association.close(AssociationClosed())


def handle_shutdown_complete(association: Association) -> None:
    """RFC 9260, 8.5.1, C: "An endpoint MUST ignore the SHUTDOWN COMPLETE chunk if it is not in the SHUTDOWN-ACK-SENT
    state.".
    """
    if association.state is _S.SHUTDOWN_ACK_SENT:
        association.close(AssociationClosed())
