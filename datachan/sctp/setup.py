"""Setting up, colliding and restarting: the association's handling of INIT, INIT ACK, COOKIE ECHO and COOKIE ACK.

The rules are in `handshake`; here they are carried out (RFC 9260, sections 5.1 and 5.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import fault_management, handshake, teardown
from .addresses import TransportAddress, address_parameter, usable_addresses
from .auth import Authenticator
from .capabilities import to_report
from .cookie import StateCookieContent
from .events import (
    AdaptationIndicated,
    AssociationEstablished,
    AssociationLost,
    AssociationRestarted,
    AuthenticationChanged,
    AuthenticationIndication,
    RemoteError,
)
from .handshake import CookieAction
from .path import Path
from .send_buffer import report_failed
from .states import AssociationState
from .tcb import Tcb, authenticator_of
from .wire import causes
from .wire.chunks import (
    AbortChunk,
    CookieEchoChunk,
    ErrorChunk,
    InitAckChunk,
    InitChunk,
)
from .wire.packet import Packet
from .wire.parameters import STATE_COOKIE

if TYPE_CHECKING:
    from .association import Association

_S = AssociationState

COOKIE_PRESERVATIVE: Final = 1.0
"""Seconds asked for on top of a cookie's life when one was stale: RFC 9260, 5.2.6 wants "no more than 1 second beyond
the measured RTT"."""


def send_init(association: Association, now: float) -> None:
    """Send our INIT, for the first time or again, and start T1-init."""
    init = handshake.build_init(
        association.options,
        association.local_tag,
        association.local_initial_tsn,
        association.local_random,
        association.preservative,
    )
    # RFC 9260, 8.5.1, A: "The sender MUST set the Verification Tag of the packet to 0."
    association.writer.add_packet(0, init.serialize(), _init_destination(association))
    sent_before = association.t1.expirations > 0 or association.preservative > 0
    association.handshake_sent_at = None if sent_before else now
    _start_t1(association, now)


def _init_destination(association: Association) -> TransportAddress | None:
    """Where the INIT goes this time: to the addresses there are in turn."""
    addresses = association.init_addresses
    return addresses[association.t1.expirations % len(addresses)] if addresses else None


def make_tcb(association: Association, content: StateCookieContent, cookie: bytes = b"") -> Tcb:
    """Build the TCB for a peer now known."""
    if association.tcb is not None:
        association.remember(association.tcb)
    association.local_tag = content.local_tag
    association.local_initial_tsn = content.local_initial_tsn
    # RFC 9260, 5.4: "Any addresses passed to the sender of the INIT chunk by its upper layer in the request to
    # initialize an association are automatically considered to be CONFIRMED." "For the receiver of the COOKIE ECHO
    # chunk, the only CONFIRMED address is the address to which the packet containing the INIT ACK chunk was sent."
    confirmed = [ip for ip, _ in content.peer_addresses[:1]]
    if cookie and association.init_addresses:
        confirmed = [ip for ip, _ in association.init_addresses]
    ties = (association.new_tag(), association.new_tag())
    tcb = Tcb(association.options, content, association.queue, association.keys, ties, cookie, confirmed)
    association.tcb = tcb
    if association.unfinished_sender is not None:
        tcb.adopt_sender(association.unfinished_sender)
        association.unfinished_sender = None
    association.error_count = 0
    for message in association.queue.beyond(tcb.outbound_streams):
        report_failed(association, message, "the peer accepts fewer streams")
    return tcb


def _start_t1(association: Association, now: float) -> None:
    options = association.options
    longest = options.max_init_timeout or options.rto_max
    association.t1.start(now, min(options.rto_initial * 2.0**association.t1.expirations, longest))


def handle_t1_expired(association: Association, now: float) -> None:
    """INIT or COOKIE ECHO went unanswered: send it again or give up.

    RFC 9260, 5.1.6: "This is repeated 'Max.Init.Retransmits' times before "A" considers "Z" unreachable and reports the
    failure to its upper layer".
    """
    if association.t1.expirations > association.options.max_init_retransmits:
        association.close(AssociationLost("the peer did not answer the handshake", by_peer=False, cause_code=0))
    elif association.state is _S.COOKIE_WAIT:
        send_init(association, now)
    elif association.state is _S.COOKIE_ECHOED and association.tcb is not None:
        association.tcb.sender.lose_all_for_handshake()
        tcb = association.tcb
        tcb.echo_path = tcb.paths.alternate(tcb.echo_path) or tcb.echo_path
        association.writer.cookie_echo_due = True
        association.handshake_sent_at = None
        _start_t1(association, now)


def handle_init(association: Association, packet: Packet, init: InitChunk, now: float) -> bool:
    """An INIT came; whether it was acceptable."""
    if init.initiate_tag == 0:
        # RFC 9260, 3.3.2: "If the value of the Initiate Tag in a received INIT chunk is found to be 0, the receiver
        # MUST silently discard the packet."
        return False
    state = association.state
    if state is _S.SHUTDOWN_ACK_SENT:
        # RFC 9260, 9.2: "it SHOULD discard the INIT chunk and retransmit the SHUTDOWN ACK chunk."
        association.writer.shutdown_ack_due = True
        return True
    destination = association.source
    if association.state is _S.COOKIE_WAIT and association.init_addresses:
        destination = _collision_destination(association, init)
        if destination is None:
            return False
    added = _added_addresses(association, init)
    if added:
        # RFC 9260, 5.2.2: "If new addresses are added to the association, the endpoint MUST respond with an ABORT
        # chunk, copying the 'Initiate Tag' of the unexpected INIT chunk into the 'Verification Tag' of the outbound
        # packet carrying the ABORT chunk."
        restart = causes.restart_with_new_addresses([address_parameter(ip) for ip in added])
        association.writer.add_packet(init.initiate_tag, AbortChunk([restart]).serialize(), association.source)
        return True
    local_tag, initial_tsn, tie_tags = _answer_parameters(association)
    # RFC 4895, 6.1: "In case of INIT collision, the rules governing the handling of this Random Number follow the same
    # pattern as those for the Verification Tag".
    collision = association.state in (_S.COOKIE_WAIT, _S.COOKIE_ECHOED)
    local_random = association.local_random if collision else association.new_random()
    answer = handshake.answer_init(
        association.options,
        association.sealer,
        init,
        local_tag=local_tag,
        local_initial_tsn=initial_tsn,
        tie_tags=tie_tags,
        ports=(packet.source_port, packet.destination_port),
        now=now,
        source=association.source,
        local_random=local_random,
    )
    # RFC 9260, 5.1.2: "The packet containing the INIT ACK chunk MUST be sent to the source address of the packet
    # containing the INIT chunk."
    association.writer.add_packet(init.initiate_tag, answer.serialize(), destination)
    return True


def _collision_destination(association: Association, init: InitChunk) -> TransportAddress | None:
    """Where to answer an INIT that meets ours under way, or None when it is to be left unanswered.

    RFC 9260, 5.2.1: "The packet containing the INIT ACK chunk MUST only be sent to an address passed by the upper layer
    in the request to initialize the association." "The packet containing the INIT ACK chunk MUST only be sent to an
    address reported in the incoming INIT chunk."
    """
    wanted = {ip for ip, _ in association.init_addresses}
    for address in usable_addresses(init.parameters, association.source, association.options.local_addresses):
        if address[0] in wanted:
            return address
    return None


def _added_addresses(association: Association, init: InitChunk) -> list[str]:
    """The addresses that an INIT adds to an association that exists, or is being set up, with another peer's state."""
    tcb = association.tcb
    if tcb is None:
        return []
    return tcb.paths.unknown(usable_addresses(init.parameters, association.source, association.options.local_addresses))


def _answer_parameters(association: Association) -> tuple[int, int, tuple[int, int]]:
    """(Initiate Tag, Initial TSN, Tie-Tags) for an INIT ACK in the present state."""
    tcb = association.tcb
    if association.state in (_S.COOKIE_WAIT, _S.COOKIE_ECHOED):
        # RFC 9260, 5.2.1: "an endpoint MUST respond with an INIT ACK chunk using the same parameters it sent in its
        # original INIT chunk (including its Initiate Tag, unchanged)."
        ties = (0, 0) if tcb is None else (tcb.local_tie_tag, tcb.peer_tie_tag)
        return association.local_tag, association.local_initial_tsn, ties
    if tcb is None:
        return association.new_tag(), association.new_initial_tsn(), (0, 0)
    # RFC 9260, 5.2.2: "the INIT ACK chunk MUST contain a new Initiate Tag (randomly generated; see Section 5.3.1)."
    return association.new_tag(), association.new_initial_tsn(), (tcb.local_tie_tag, tcb.peer_tie_tag)


def handle_init_ack(association: Association, init_ack: InitAckChunk, now: float) -> None:
    """The answer to our INIT came (section 5.1, C)."""
    if association.state is not _S.COOKIE_WAIT:
        # RFC 9260, 5.2.3: "the endpoint SHOULD discard the INIT ACK chunk."
        return
    if init_ack.initiate_tag == 0:
        # RFC 9260, 3.3.3: "it MUST destroy the TCB and SHOULD send an ABORT chunk with the T bit set."
        abort = AbortChunk([], tag_reflected=True)
        association.writer.add_packet(association.local_tag, abort.serialize(), association.source)
        association.close(AssociationLost("the peer's INIT ACK has an Initiate Tag of 0", by_peer=False, cause_code=0))
        return
    if init_ack.a_rwnd < handshake.MIN_A_RWND:
        # RFC 9260, 3.3.3: "A receiver of an INIT ACK chunk with the a_rwnd value set to a value smaller than 1500 MUST
        # discard the packet, SHOULD send a packet in response containing an ABORT chunk and using the Initiate Tag as
        # the Verification Tag, and MUST NOT change the state of any existing association."
        abort = AbortChunk([causes.invalid_mandatory_parameter()])
        association.writer.add_packet(init_ack.initiate_tag, abort.serialize(), association.source)
        return
    cookie = handshake.state_cookie(init_ack)
    refusal = (
        causes.missing_mandatory_parameter([STATE_COOKIE])
        if cookie is None
        else handshake.refuse(association.options, init_ack)
    )
    if refusal is not None or cookie is None:
        cause = refusal if refusal is not None else causes.invalid_mandatory_parameter()
        association.writer.add_packet(init_ack.initiate_tag, AbortChunk([cause]).serialize(), association.source)
        reason = f"the peer's INIT ACK cannot be accepted: {causes.describe(cause)}"
        association.close(AssociationLost(reason, by_peer=False, cause_code=cause.code))
        return
    content = handshake.content_of_init_ack(
        association.options,
        init_ack,
        association.local_tag,
        association.local_initial_tsn,
        now,
        association.source,
        association.local_random,
    )
    tcb = make_tcb(association, content, cookie)
    _measure(association, _answered_path(association, tcb), now)
    association.handshake_sent_at = now
    association.enter(_S.COOKIE_ECHOED)
    if not tcb.path.confirmed:
        # RFC 9260, 5.4: "A COOKIE ECHO chunk MAY be sent to an UNCONFIRMED address, but it MUST be bundled with a
        # HEARTBEAT chunk including a nonce".
        fault_management.send_heartbeat(association, tcb.path, now)
    unknown = to_report(init_ack.parameters)
    if unknown:
        association.writer.add_answer(ErrorChunk([causes.unrecognized_parameters(unknown)]).serialize())
    association.t1.stop()
    association.writer.cookie_echo_due = True
    _start_t1(association, now)


def _measure(association: Association, path: Path, now: float) -> None:
    """The answer to our INIT or COOKIE ECHO came: the first round trips there are.

    RFC 9260, 8.3 counts what "can be used for updating path RTT (usually including first transmission DATA, INIT,
    COOKIE ECHO, or HEARTBEAT chunks, etc.)". Who only receives has no others, and its window could not grow.
    """
    sent_at = association.handshake_sent_at
    if sent_at is not None and now > sent_at:
        path.observe_round_trip(now - sent_at)


def _measure_cookie(association: Association, content: StateCookieContent, now: float) -> None:
    """The cookie of our INIT ACK came back, which likewise took a round trip.

    Of the COOKIE ECHO we cannot know whether it is the first, except that a second one comes after the peer's T1-cookie
    timer.
    """
    round_trip = now - content.created_at
    if association.tcb is not None and 0 < round_trip < association.options.rto_initial:
        _answered_path(association, association.tcb).observe_round_trip(round_trip)


def _answered_path(association: Association, tcb: Tcb) -> Path:
    """The path the packet being read came by."""
    return tcb.paths.at(association.source) or tcb.path


def authenticator_for(association: Association, echo: CookieEchoChunk) -> Authenticator | None:
    """What judges the packet of a COOKIE ECHO, or None when nothing does.

    RFC 4895, 6.3: "the receiver MUST authenticate the chunks in the packet by using the RANDOM parameters, CHUNKS
    parameters and HMAC_ALGO parameters obtained from the COOKIE-ECHO chunk, and possibly a local shared secret". "If
    the receiver has an STCB, it MUST process the AUTH chunk as described above using the STCB from the existing
    association".
    """
    if association.tcb is not None:
        return association.tcb.auth
    if not association.options.authentication:
        return None
    content = association.sealer.open(echo.cookie)
    return None if content is None else authenticator_of(association.options, content, association.keys)


def handle_cookie_echo(association: Association, packet: Packet, echo: CookieEchoChunk, now: float) -> bool:
    """A COOKIE ECHO came; False when the rest of its packet must be discarded (sections 5.1.5 and 5.2.4)."""
    content = association.sealer.open(echo.cookie)
    if content is None or (content.source_port, content.destination_port) != (
        packet.source_port,
        packet.destination_port,
    ):
        return False
    if content.local_tag != packet.verification_tag:
        return False
    tcb = association.tcb
    same_tags = tcb is not None and content.local_tag == tcb.local_tag and content.peer_tag == tcb.peer_tag
    staleness = content.staleness(now)
    if staleness > 0 and not same_tags:
        # RFC 9260, 5.1.5: "the endpoint MUST transmit an ERROR chunk with a "Stale Cookie" error cause to the peer
        # endpoint."
        stale = ErrorChunk([causes.stale_cookie(int(staleness * 1_000_000))])
        association.writer.add_packet(content.peer_tag, stale.serialize(), association.source)
        return False
    if association.state is _S.CLOSED:
        if content.peer_tag in association.ended:
            # A late copy of the COOKIE ECHO of an association that is over. It would set up a ghost of it and deliver
            # its first DATA again.
            return False
        make_tcb(association, content)
        _measure_cookie(association, content, now)
        establish(association, now)
        return True
    return _handle_unexpected_cookie(association, content, now)


def _handle_unexpected_cookie(association: Association, content: StateCookieContent, now: float) -> bool:
    """Table 12: an association exists or is being set up."""
    tcb = association.tcb
    action = handshake.judge_cookie(
        content,
        association.local_tag,
        0 if tcb is None else tcb.peer_tag,
        0 if tcb is None else tcb.local_tie_tag,
        0 if tcb is None else tcb.peer_tie_tag,
    )
    if action is CookieAction.RESTART and tcb is not None:
        return _restart(association, tcb, content, now)
    if action is CookieAction.COLLISION:
        if tcb is None:
            make_tcb(association, content)
        else:
            tcb.peer_tag = content.peer_tag
            tcb.authenticate(association.options, content, association.keys)
            if association.state is _S.COOKIE_ECHOED:
                tcb.begin_receiving(association.options, content.peer_initial_tsn)
        if association.state is not _S.ESTABLISHED:
            _measure_cookie(association, content, now)
        establish(association, now)
        return True
    if action is CookieAction.DUPLICATE:
        establish(association, now)
        return True
    return False


def establish(association: Association, now: float) -> None:
    """Enter ESTABLISHED from the handshake's states, and answer with COOKIE ACK."""
    answer_cookie(association, now)
    established(association, now)


def answer_cookie(association: Association, now: float) -> None:
    """Send COOKIE ACK to where COOKIE ECHO came from.

    RFC 9260, 5.4: "A COOKIE ACK chunk MAY be sent to an UNCONFIRMED address, but it MUST be bundled with a HEARTBEAT
    chunk including a nonce."
    """
    association.writer.cookie_ack_due = True
    association.writer.cookie_ack_to = association.source
    path = None if association.tcb is None else association.tcb.paths.at(association.source)
    if path is not None and not path.confirmed:
        fault_management.send_heartbeat(association, path, now)


def handle_cookie_ack(association: Association, now: float) -> None:
    """The peer has the cookie (section 5.1, E)."""
    tcb = association.tcb
    if association.state is _S.COOKIE_ECHOED and tcb is not None:
        _measure(association, tcb.echo_path, now)
        established(association, now)


def established(association: Association, now: float) -> None:
    """Enter ESTABLISHED and tell, unless that is done."""
    tcb = association.tcb
    if tcb is None or association.state not in (_S.CLOSED, _S.COOKIE_WAIT, _S.COOKIE_ECHOED):
        return
    association.enter(_S.ESTABLISHED)
    association.t1.stop()
    association.writer.cookie_echo_due = False
    tcb.sender.cookie_acknowledged(now)
    # RFC 3758, 3.3.3: "the local endpoint SHOULD inform its upper layer of the remote endpoint's inability to support
    # partially reliable data transfer."
    partial = tcb.capabilities.partial_reliability
    _tell_of_peer(association, tcb)
    association.pending.append(AssociationEstablished(tcb.inbound_streams, tcb.outbound_streams, partial))
    if tcb.adaptation >= 0:
        association.pending.append(AdaptationIndicated(tcb.adaptation))
    fault_management.begin(association, tcb, now)
    if association.shutdown_wanted:
        association.shutdown_wanted = False
        teardown.start_shutdown(association, now)


def _tell_of_peer(association: Association, tcb: Tcb) -> None:
    """What the peer's INIT or INIT ACK said to our user."""
    if association.options.authentication and tcb.auth is None:
        association.pending.append(AuthenticationChanged(0, AuthenticationIndication.NO_AUTH))


def _restart(association: Association, tcb: Tcb, content: StateCookieContent, now: float) -> bool:
    """The peer lost its state and began again (section 5.2.4, action A)."""
    if association.state is _S.SHUTDOWN_ACK_SENT:
        # "it MUST NOT set up a new association but instead resend the SHUTDOWN ACK chunk and send an ERROR chunk with a
        # "Cookie Received While Shutting Down" error cause to its peer."
        association.writer.shutdown_ack_due = True
        error = ErrorChunk([causes.cookie_received_while_shutting_down()])
        association.writer.add_packet(content.peer_tag, error.serialize(), association.source)
        return False
    for message in tcb.sender.outstanding.unacknowledged_messages():
        association.queue.drop(message)
        report_failed(association, message, "the peer restarted the association")
    association.queue.restart()
    association.t2.stop()
    association.t5_shutdown_guard.stop()
    association.writer.forget()
    new = make_tcb(association, content)
    # What the user has not taken is in memory still, whatever the peer has forgotten.
    new.unconsumed, new.unconsumed_messages = tcb.unconsumed, tcb.unconsumed_messages
    _measure_cookie(association, content, now)
    association.enter(_S.ESTABLISHED)
    answer_cookie(association, now)
    partial = new.capabilities.partial_reliability
    association.pending.append(AssociationRestarted(new.inbound_streams, new.outbound_streams, partial))
    if new.adaptation >= 0:
        association.pending.append(AdaptationIndicated(new.adaptation))
    fault_management.begin(association, new, now)
    return True


def handle_stale_cookie(association: Association, now: float) -> None:
    """The peer found our cookie stale (section 5.2.6): ask again, once, for a cookie that lives longer."""
    tcb = association.tcb
    if association.state is not _S.COOKIE_ECHOED or tcb is None:
        return
    if association.preservative > 0:
        reason = "the peer finds its own cookies stale again and again"
        association.close(AssociationLost(reason, by_peer=True, cause_code=causes.STALE_COOKIE))
        return
    # DATA bundled with COOKIE ECHO keeps its TSNs: our Initial TSN stays as it is.
    tcb.sender.lose_all_for_handshake()
    tcb.path.t3_rtx.stop()
    association.unfinished_sender = tcb.sender
    association.tcb = None
    association.writer.forget()
    association.preservative = COOKIE_PRESERVATIVE
    association.enter(_S.COOKIE_WAIT)
    association.t1.stop()
    association.pending.append(
        RemoteError(causes.STALE_COOKIE, "the State Cookie was stale; asking again", by_peer=True)
    )
    send_init(association, now)
