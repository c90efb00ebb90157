"""The graceful end of an association: SHUTDOWN, SHUTDOWN ACK, SHUTDOWN COMPLETE (RFC 9260, section 9.2)."""

from __future__ import annotations

from typing import Final

from datachan.sctp.core import Core
from datachan.sctp.events import AssociationClosed, ShutdownReceived
from datachan.sctp.records.path import Path
from datachan.sctp.serial import unwrap
from datachan.sctp.states import AssociationState
from datachan.sctp.tcb import Tcb
from datachan.sctp.wire import causes
from datachan.sctp.wire.chunks import ShutdownChunk, ShutdownCompleteChunk

from . import paths

_S = AssociationState

T5_SHUTDOWN_GUARD: Final = 5.0
"""RFC 9260, 9.2: the T5-shutdown-guard timer "SHOULD be set to the RECOMMENDED value of 5 times 'RTO.Max'."."""


def start_shutdown(core: Core, now: float) -> None:
    """Start the application's graceful end; during the handshake, note that it is requested."""
    state = core.state
    if state in (_S.COOKIE_WAIT, _S.COOKIE_ECHOED):
        core.shutdown_requested = True
    elif state is _S.ESTABLISHED:
        core.enter(_S.SHUTDOWN_PENDING)
        if core.tcb is not None:
            advance(core, core.tcb, now)


def advance(core: Core, tcb: Tcb, now: float) -> None:
    """Send SHUTDOWN or SHUTDOWN ACK once everything we sent is acknowledged."""
    if not tcb.sender.all_acknowledged or not core.queue.empty:
        return
    if core.state is _S.SHUTDOWN_PENDING:
        core.enter(_S.SHUTDOWN_SENT)
        core.due.shutdown = True
        core.t2.start(now, tcb.path.rto)
        _start_guard(core, now)
    elif core.state is _S.SHUTDOWN_RECEIVED:
        _send_shutdown_ack(core, tcb, now)


def _start_guard(core: Core, now: float) -> None:
    core.t5_shutdown_guard.start(now, T5_SHUTDOWN_GUARD * core.options.rto_max)


def _send_shutdown_ack(core: Core, tcb: Tcb, now: float) -> None:
    core.enter(_S.SHUTDOWN_ACK_SENT)
    core.due.shutdown = False
    core.due.shutdown_ack = True
    core.t2.stop()
    core.t2.start(now, tcb.path.rto)


def handle_t2_timeout(core: Core, now: float) -> None:
    """Retransmit an unanswered SHUTDOWN or SHUTDOWN ACK, or give up."""
    tcb = core.tcb
    if tcb is None:
        return
    if core.t2.expirations > core.options.association_max_retrans:
        # RFC 9260, 9.2: "If this threshold is exceeded, the endpoint SHOULD destroy the TCB and SHOULD report the peer
        # endpoint unreachable to the upper layer".
        core.give_up("the peer did not answer the shutdown")
        return
    path = tcb.shutdown_path or tcb.path
    path.back_off()
    send_again(core, tcb, tcb.paths.alternate(path) or path)
    core.t2.start(now, tcb.path.rto)


def send_again(core: Core, tcb: Tcb, path: Path) -> None:
    """Send the unanswered SHUTDOWN or SHUTDOWN ACK again, on this path."""
    tcb.shutdown_path = path
    core.due.shutdown = core.state is _S.SHUTDOWN_SENT
    core.due.shutdown_ack = core.state is _S.SHUTDOWN_ACK_SENT


def handle_guard_timeout(core: Core) -> None:
    """Abort a shutdown that takes too long.

    RFC 9260, 9.2: "At the expiration of this timer, the sender SHOULD abort the association by sending an ABORT chunk."
    """
    core.abort(causes.protocol_violation("shutdown takes too long"), "the shutdown took too long")


def packet_received(core: Core, tcb: Tcb, now: float) -> None:
    """Restart T2-shutdown and clear its retransmission count after any packet from the peer.

    RFC 9260, 9.2: "The reception of any packet from its peer (i.e., as the peer sends all of its queued DATA chunks)
    SHOULD clear the endpoint's retransmission count and restart the T2-shutdown timer". This applies to the sender of
    SHUTDOWN. The sender of SHUTDOWN ACK expects no more packets and does not restart its timer. It clears the count,
    too, because the peer is reachable.
    """
    if core.state is _S.SHUTDOWN_SENT:
        core.t2.start(now, tcb.path.rto)
    core.t2.expirations = 0


def data_received(core: Core, now: float) -> None:
    """Send SHUTDOWN again in answer to DATA.

    RFC 9260, 9.2: "While in the SHUTDOWN-SENT state, the SHUTDOWN chunk sender MUST immediately respond to each
    received packet containing one or more DATA chunks with a SHUTDOWN chunk and restart the T2-shutdown timer."
    """
    core.due.shutdown = True
    # The guard ends a shutdown that makes no progress. A peer that still delivers queued data must not lose it.
    _start_guard(core, now)


def handle_shutdown(core: Core, tcb: Tcb, shutdown: ShutdownChunk, now: float) -> None:
    """Apply the peer's SHUTDOWN."""
    state = core.state
    if state in (_S.COOKIE_WAIT, _S.COOKIE_ECHOED):
        # "If a SHUTDOWN chunk is received in the COOKIE-WAIT or COOKIE ECHOED state, the SHUTDOWN chunk SHOULD be
        # silently discarded."
        return
    _acknowledge(core, tcb, shutdown.cumulative_tsn_ack, now)
    if state in (_S.ESTABLISHED, _S.SHUTDOWN_PENDING):
        core.enter(_S.SHUTDOWN_RECEIVED)
        core.events.append(ShutdownReceived())
        advance(core, tcb, now)
    elif state is _S.SHUTDOWN_SENT:
        # "the endpoint SHOULD respond immediately with a SHUTDOWN ACK chunk to its peer and move into the
        # SHUTDOWN-ACK-SENT state, restarting its T2-shutdown timer."
        _send_shutdown_ack(core, tcb, now)
    elif state is _S.SHUTDOWN_ACK_SENT:
        core.due.shutdown_ack = True
    else:
        advance(core, tcb, now)


def _acknowledge(core: Core, tcb: Tcb, cumulative_tsn_ack: int, now: float) -> None:
    """Apply the Cumulative TSN Ack of a SHUTDOWN chunk."""
    tsn = unwrap(cumulative_tsn_ack, tcb.sender.outstanding.cumulative_tsn_ack)
    info = tcb.sender.handle_cumulative_ack(tsn, now)
    if info is not None and (info.bytes_acked or info.cumulative_advanced):
        paths.data_acknowledged(core, tcb, now)


def handle_shutdown_ack(core: Core) -> None:
    """Answer the peer's SHUTDOWN ACK with SHUTDOWN COMPLETE, and end the association."""
    state, tcb = core.state, core.tcb
    if state in (_S.COOKIE_WAIT, _S.COOKIE_ECHOED):
        # RFC 9260, 8.5.1, E: "it is treated as an OOTB packet." Its Verification Tag, which is reflected, is ours.
        reflected = ShutdownCompleteChunk(tag_reflected=True)
        core.writer.add_packet(core.local_tag, reflected.serialize(), core.source)
    elif tcb is not None and state in (_S.SHUTDOWN_SENT, _S.SHUTDOWN_ACK_SENT):
        destination = core.reply_to or tcb.path.address
        core.writer.add_packet(tcb.peer_tag, ShutdownCompleteChunk().serialize(), destination)
        core.close(AssociationClosed())


def handle_shutdown_complete(core: Core) -> None:
    """End the association in SHUTDOWN-ACK-SENT.

    RFC 9260, 8.5.1, C: "An endpoint MUST ignore the SHUTDOWN COMPLETE chunk if it is not in the SHUTDOWN-ACK-SENT
    state.".
    """
    if core.state is _S.SHUTDOWN_ACK_SENT:
        core.close(AssociationClosed())
