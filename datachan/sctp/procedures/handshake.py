"""The four-way handshake: INIT, INIT ACK, COOKIE ECHO and COOKIE ACK, collisions and restarts (RFC 9260, 5.1 and 5.2).

`records/init` has the contents of the chunks, `records/cookie` those of the cookies.
"""

from __future__ import annotations

from typing import Final

from datachan.sctp import admission
from datachan.sctp.addresses import TransportAddress, address_parameter, usable_addresses
from datachan.sctp.core import Core
from datachan.sctp.events import (
    AdaptationIndicated,
    AssociationEstablished,
    AssociationLost,
    AssociationRestarted,
    AuthenticationChanged,
    AuthenticationIndication,
    RemoteError,
    StreamsNegotiated,
)
from datachan.sctp.records import init as rules
from datachan.sctp.records.capabilities import OPTIONAL, offered, optional_types, to_report
from datachan.sctp.records.cookie import CookieAction, StateCookieContent, judge_cookie
from datachan.sctp.records.keys import Authenticator
from datachan.sctp.records.path import Path
from datachan.sctp.states import AssociationState
from datachan.sctp.tcb import Tcb, authenticator_of
from datachan.sctp.wire import causes
from datachan.sctp.wire.chunks import AbortChunk, ErrorChunk, InitAckChunk, InitChunk
from datachan.sctp.wire.packet import Packet
from datachan.sctp.wire.parameters import ADAPTATION_INDICATION, STATE_COOKIE

from . import confirmation, paths, shutdown

_S = AssociationState

MAX_ADDED: Final = 16
"""Added addresses that the ABORT for a restart with new addresses names."""

COOKIE_PRESERVATIVE: Final = 1.0
"""Seconds of cookie life that are asked for in addition after a stale cookie: RFC 9260, 5.2.6 allows "no more than 1
second beyond the measured RTT"."""


def send_init(core: Core, now: float) -> None:
    """Send our INIT, for the first time or again, and start T1-init."""
    init = rules.build_init(
        core.options,
        core.local_tag,
        core.local_initial_tsn,
        core.local_random,
        core.cookie_preservative,
        core.init_types,
    )
    # RFC 9260, 8.5.1, A: "The sender MUST set the Verification Tag of the packet to 0."
    core.writer.add_packet(0, init.serialize(), _init_destination(core))
    sent_before = core.t1.expirations > 0 or core.cookie_preservative > 0
    core.handshake_sent_at = None if sent_before else now
    _start_t1(core, now)


def _init_destination(core: Core) -> TransportAddress | None:
    """Return the address for this INIT: all the known addresses are used in turn."""
    addresses = core.init_addresses
    return addresses[core.t1.expirations % len(addresses)] if addresses else None


def make_tcb(core: Core, content: StateCookieContent, cookie: bytes = b"") -> Tcb:
    """Build the TCB for the peer that `content` describes; `cookie` is the State Cookie to echo."""
    if core.tcb is not None:
        core.remember_ended(core.tcb)
    core.local_tag = content.local_tag
    core.local_initial_tsn = content.local_initial_tsn
    # RFC 9260, 5.4: "Any addresses passed to the sender of the INIT chunk by its upper layer in the request to
    # initialize an association are automatically considered to be CONFIRMED." "For the receiver of the COOKIE ECHO
    # chunk, the only CONFIRMED address is the address to which the packet containing the INIT ACK chunk was sent."
    confirmed = [ip for ip, _ in content.peer_addresses[:1]]
    if cookie and core.init_addresses:
        confirmed = [ip for ip, _ in core.init_addresses]
    ties = (core.new_tag(), core.new_tag())
    tcb = Tcb(core.options, content, core.queue, core.keys, ties, cookie, confirmed)
    core.tcb = tcb
    if core.kept_sender is not None:
        tcb.adopt_sender(core.kept_sender)
        core.kept_sender = None
    core.error_count = 0
    for message in core.queue.drop_beyond(tcb.outbound_streams):
        core.report_failed(message, "the peer accepts fewer streams")
    return tcb


def _start_t1(core: Core, now: float) -> None:
    options = core.options
    longest = options.max_init_timeout or options.rto_max
    core.t1.start(now, min(options.rto_initial * 2.0**core.t1.expirations, longest))


def handle_t1_timeout(core: Core, now: float) -> None:
    """Retransmit an unanswered INIT or COOKIE ECHO, or give up.

    RFC 9260, 5.1.6: "This is repeated 'Max.Init.Retransmits' times before "A" considers "Z" unreachable and reports the
    failure to its upper layer".
    """
    if core.unconfirmed and core.tcb is not None:
        confirmation.handle_timeout(core, core.tcb, now)
    elif core.t1.expirations > core.options.max_init_retransmits:
        core.give_up("the peer did not answer the handshake")
    elif core.state is _S.COOKIE_WAIT:
        _leave_out_optional(core)
        send_init(core, now)
    elif core.state is _S.COOKIE_ECHOED and core.tcb is not None:
        tcb = core.tcb
        tcb.echo_path = tcb.paths.alternate(tcb.echo_path) or tcb.echo_path
        send_again(core, now)


def send_again(core: Core, now: float) -> None:
    """Send the unanswered INIT or COOKIE ECHO again, and wait as long as after the last one."""
    if core.state is _S.COOKIE_WAIT:
        send_init(core, now)
    elif core.state is _S.COOKIE_ECHOED and core.tcb is not None:
        core.tcb.sender.mark_all_lost_for_handshake()
        core.due.cookie_echo = True
        core.handshake_sent_at = None
        _start_t1(core, now)


def _leave_out_optional(core: Core) -> None:
    """Leave the optional parameters out of an INIT that stayed without an answer.

    RFC 9260, 3.2.1 has the peer "Skip this parameter and continue processing" or "Stop processing this parameter", but
    SCTP in pion up to 1.8.6 discards the whole packet. A lost INIT must not turn off authentication, which protects
    against that very attacker.
    """
    if core.init_types == OPTIONAL and not core.options.authentication:
        core.init_types = frozenset()


def _offer_again(core: Core, init_ack: InitAckChunk, now: float) -> bool:
    """Offer the extensions that our INIT left out and the INIT ACK announces; return False if there are none.

    The full INIT was lost in this case, and the association still gets its extensions. The Initiate Tag is new, so that
    a late answer to an earlier INIT is not mistaken for the answer to this one.
    """
    known = optional_types(init_ack.parameters) - {ADAPTATION_INDICATION}
    if known <= core.init_types:
        return False
    core.init_types |= known
    core.local_tag = core.new_tag()
    core.t1.stop()
    send_init(core, now)
    return True


def handle_init(core: Core, packet: Packet, init: InitChunk, now: float) -> bool:
    """Answer an INIT with INIT ACK or ABORT; return False when it is discarded."""
    if core.state is _S.SHUTDOWN_ACK_SENT:
        # RFC 9260, 9.2: "it SHOULD discard the INIT chunk and retransmit the SHUTDOWN ACK chunk."
        core.due.shutdown_ack = True
        return True
    destination = core.source
    if core.state is _S.COOKIE_WAIT and core.init_addresses:
        destination = _collision_destination(core, init)
        if destination is None:
            return False
    added = _added_addresses(core, init)[:MAX_ADDED]
    if added:
        # RFC 9260, 5.2.2: "If new addresses are added to the association, the endpoint MUST respond with an ABORT
        # chunk, copying the 'Initiate Tag' of the unexpected INIT chunk into the 'Verification Tag' of the outbound
        # packet carrying the ABORT chunk."
        restart = causes.restart_with_new_addresses([address_parameter(ip) for ip in added])
        core.writer.add_packet(init.initiate_tag, AbortChunk([restart]).serialize(), core.source)
        return True
    local_tag, initial_tsn, tie_tags = _answer_parameters(core, init)
    # RFC 4895, 6.1: "In case of INIT collision, the rules governing the handling of this Random Number follow the same
    # pattern as those for the Verification Tag".
    collision = core.state in (_S.COOKIE_WAIT, _S.COOKIE_ECHOED)
    local_random = core.local_random if collision else core.new_random()
    answer = admission.answer_init(
        core.options,
        core.sealer,
        init,
        local_tag=local_tag,
        local_initial_tsn=initial_tsn,
        tie_tags=tie_tags,
        ports=(packet.source_port, packet.destination_port),
        now=now,
        source=core.source,
        local_random=local_random,
    )
    # RFC 9260, 5.1.2: "The packet containing the INIT ACK chunk MUST be sent to the source address of the packet
    # containing the INIT chunk."
    core.writer.add_packet(init.initiate_tag, answer.serialize(), destination)
    return True


def _collision_destination(core: Core, init: InitChunk) -> TransportAddress | None:
    """Return the address for the INIT ACK when both sides sent INIT, or None when the INIT is not answered.

    RFC 9260, 5.2.1: "The packet containing the INIT ACK chunk MUST only be sent to an address passed by the upper layer
    in the request to initialize the association." "The packet containing the INIT ACK chunk MUST only be sent to an
    address reported in the incoming INIT chunk."
    """
    requested = {ip for ip, _ in core.init_addresses}
    for address in usable_addresses(init.parameters, core.source, core.options.local_addresses):
        if address[0] in requested:
            return address
    return None


def _added_addresses(core: Core, init: InitChunk) -> list[str]:
    """Return the addresses in an INIT that the existing TCB does not have."""
    tcb = core.tcb
    if tcb is None:
        return []
    return tcb.paths.unknown(usable_addresses(init.parameters, core.source, core.options.local_addresses))


def _answer_parameters(core: Core, init: InitChunk) -> tuple[int, int, tuple[int, int]]:
    """Return (Initiate Tag, Initial TSN, Tie-Tags) for an INIT ACK in the current state."""
    tcb = core.tcb
    if core.state in (_S.COOKIE_WAIT, _S.COOKIE_ECHOED):
        # RFC 9260, 5.2.1: "an endpoint MUST respond with an INIT ACK chunk using the same parameters it sent in its
        # original INIT chunk (including its Initiate Tag, unchanged)."
        ties = (0, 0) if tcb is None else (tcb.local_tie_tag, tcb.peer_tie_tag)
        return core.local_tag, core.local_initial_tsn, ties
    if tcb is None:
        return core.new_tag(), core.new_initial_tsn(), (0, 0)
    if core.negotiated_init is not None and confirmation.repeats_negotiated(core, init):
        return core.local_tag, core.local_initial_tsn, (0, 0)
    # RFC 9260, 5.2.2: "the INIT ACK chunk MUST contain a new Initiate Tag (randomly generated; see Section 5.3.1)."
    return core.new_tag(), core.new_initial_tsn(), (tcb.local_tie_tag, tcb.peer_tie_tag)


def handle_init_ack(core: Core, init_ack: InitAckChunk, now: float) -> None:
    """Answer INIT ACK with COOKIE ECHO (section 5.1, C), or end the attempt when it is unacceptable."""
    if core.state is not _S.COOKIE_WAIT:
        # RFC 9260, 5.2.3: "the endpoint SHOULD discard the INIT ACK chunk."
        return
    cookie = rules.state_cookie(init_ack)
    if _refuse_init_ack(core, init_ack, cookie) or cookie is None:
        return
    if _offer_again(core, init_ack, now):
        return
    content = rules.content_of_init_ack(
        offered(core.options, core.init_types),
        init_ack,
        core.local_tag,
        core.local_initial_tsn,
        now,
        core.source,
        core.local_random,
    )
    tcb = make_tcb(core, content, cookie)
    _measure_handshake(core, _source_path(core, tcb), now)
    core.handshake_sent_at = now
    core.enter(_S.COOKIE_ECHOED)
    core.events.append(StreamsNegotiated(tcb.inbound_streams, tcb.outbound_streams))
    if not tcb.path.confirmed:
        # RFC 9260, 5.4: "A COOKIE ECHO chunk MAY be sent to an UNCONFIRMED address, but it MUST be bundled with a
        # HEARTBEAT chunk including a nonce".
        paths.send_heartbeat(core, tcb.path, now)
    unknown = to_report(core.options, init_ack.parameters)
    if unknown:
        core.reply(ErrorChunk([causes.unrecognized_parameters(unknown)]).serialize())
    core.t1.stop()
    core.due.cookie_echo = True
    _start_t1(core, now)


def _refuse_init_ack(core: Core, init_ack: InitAckChunk, cookie: bytes | None) -> bool:
    """Answer an unacceptable INIT ACK with ABORT; return False when it is acceptable."""
    if init_ack.initiate_tag == 0:
        # RFC 9260, 3.3.3: "it MUST destroy the TCB and SHOULD send an ABORT chunk with the T bit set."
        cause = causes.invalid_mandatory_parameter()
        abort = AbortChunk([cause], tag_reflected=True)
        core.writer.add_packet(core.local_tag, abort.serialize(), core.source)
        reason = "the peer's INIT ACK has an Initiate Tag of 0"
        core.close(AssociationLost(reason, by_peer=False, cause_code=cause.code))
        return True
    if init_ack.a_rwnd < rules.MIN_A_RWND:
        # RFC 9260, 3.3.3: "A receiver of an INIT ACK chunk with the a_rwnd value set to a value smaller than 1500 MUST
        # discard the packet, SHOULD send a packet in response containing an ABORT chunk and using the Initiate Tag as
        # the Verification Tag, and MUST NOT change the state of any existing association."
        abort = AbortChunk([causes.invalid_mandatory_parameter()])
        core.writer.add_packet(init_ack.initiate_tag, abort.serialize(), core.source)
        return True
    refusal = (
        causes.missing_mandatory_parameter([STATE_COOKIE]) if cookie is None else rules.refuse(core.options, init_ack)
    )
    if refusal is None:
        return False
    core.writer.add_packet(init_ack.initiate_tag, AbortChunk([refusal]).serialize(), core.source)
    reason = f"the peer's INIT ACK cannot be accepted: {causes.describe(refusal)}"
    core.close(AssociationLost(reason, by_peer=False, cause_code=refusal.code))
    return True


def _measure_handshake(core: Core, path: Path, now: float) -> None:
    """Measure the round trip of our INIT or COOKIE ECHO, which was just answered.

    RFC 9260, 8.3 lists what "can be used for updating path RTT (usually including first transmission DATA, INIT, COOKIE
    ECHO, or HEARTBEAT chunks, etc.)". An endpoint that only receives has no other measurement for its window.
    """
    sent_at = core.handshake_sent_at
    if sent_at is not None and now > sent_at:
        path.observe_round_trip(now - sent_at)


def _measure_cookie(core: Core, content: StateCookieContent, now: float) -> None:
    """Measure the round trip from our INIT ACK to the COOKIE ECHO.

    A retransmitted COOKIE ECHO looks the same, but arrives only after the peer's T1-cookie timer.
    """
    round_trip = now - content.created_at
    if core.tcb is not None and 0 < round_trip < core.options.rto_initial:
        _source_path(core, core.tcb).observe_round_trip(round_trip)


def _source_path(core: Core, tcb: Tcb) -> Path:
    """Return the path of the packet being processed."""
    return tcb.paths.at(core.source) or tcb.path


def authenticator_for(core: Core, content: StateCookieContent | None) -> Authenticator | None:
    """Return the authenticator for a COOKIE ECHO with this content, or None without authentication.

    RFC 4895, 6.3: "the receiver MUST authenticate the chunks in the packet by using the RANDOM parameters, CHUNKS
    parameters and HMAC_ALGO parameters obtained from the COOKIE-ECHO chunk, and possibly a local shared secret". "If
    the receiver has an STCB, it MUST process the AUTH chunk as described above using the STCB from the existing
    association".
    """
    if core.tcb is not None:
        return core.tcb.auth
    if content is None or not core.options.authentication:
        return None
    return authenticator_of(core.options, content, core.keys)


def handle_cookie_echo(core: Core, packet: Packet, content: StateCookieContent | None, now: float) -> bool:
    """Establish the association by a State Cookie, if it is authentic (sections 5.1.5 and 5.2.4).

    Args:
        core: the association.
        packet: the packet with the COOKIE ECHO.
        content: the content of the cookie, or None if we did not issue it.
        now: monotonic seconds.

    Returns:
        False when the rest of the packet must be discarded.
    """
    if content is None or not admission.cookie_fits(content, packet):
        return False
    tcb = core.tcb
    same_tags = tcb is not None and content.local_tag == tcb.local_tag and content.peer_tag == tcb.peer_tag
    stale = None if same_tags else admission.stale_cookie_error(content, now)
    if stale is not None:
        core.writer.add_packet(content.peer_tag, stale.serialize(), core.source)
        return False
    if core.state is _S.CLOSED:
        if content.peer_tag in core.ended_peer_tags:
            # A late copy of the COOKIE ECHO of an association that is over. It would set that association up again and
            # deliver its first DATA twice.
            return False
        make_tcb(core, content)
        _measure_cookie(core, content, now)
        establish(core, now)
        return True
    return _handle_unexpected_cookie(core, content, now)


def _handle_unexpected_cookie(core: Core, content: StateCookieContent, now: float) -> bool:
    """Apply Table 12 of section 5.2.4 to a cookie that arrives in any state but CLOSED."""
    tcb = core.tcb
    action = judge_cookie(
        content,
        core.local_tag,
        0 if tcb is None else tcb.peer_tag,
        0 if tcb is None else tcb.local_tie_tag,
        0 if tcb is None else tcb.peer_tie_tag,
    )
    if action is CookieAction.RESTART and tcb is not None:
        return _restart(core, tcb, content, now)
    if action is CookieAction.COLLISION:
        if tcb is None:
            make_tcb(core, content)
        elif core.unconfirmed:
            if not confirmation.follow_peer(core, tcb, content):
                return False
        else:
            tcb.take_peer_tag(core.options, content.peer_tag)
            tcb.authenticate(core.options, content, core.keys)
            if core.state is _S.COOKIE_ECHOED:
                tcb.start_receiving_at(core.options, content.peer_initial_tsn)
        if core.state is not _S.ESTABLISHED:
            _measure_cookie(core, content, now)
        confirmation.confirm_if_waiting(core)
        establish(core, now)
        return True
    if action is CookieAction.DUPLICATE:
        confirmation.confirm_if_waiting(core)
        establish(core, now)
        return True
    return False


def establish(core: Core, now: float) -> None:
    """Send COOKIE ACK, and enter ESTABLISHED unless that is the state already."""
    _send_cookie_ack(core, now)
    _enter_established(core, now)


def establish_negotiated(core: Core, local: bytes, remote: bytes, now: float) -> None:
    """Enter ESTABLISHED with the parameters of both INIT chunks (draft-hancke-tsvwg-snap).

    Raises:
        BadPacket: one of them is not an INIT chunk.
    """
    ours, theirs = rules.read_init_untrusted(local), rules.read_init_untrusted(remote)
    content = rules.content_of_init_ack(core.options, theirs, ours.initiate_tag, ours.initial_tsn, now)
    make_tcb(core, content)
    _enter_established(core, now)
    confirmation.start(core, theirs, now)


def _send_cookie_ack(core: Core, now: float) -> None:
    """Send COOKIE ACK to the source of COOKIE ECHO.

    RFC 9260, 5.4: "A COOKIE ACK chunk MAY be sent to an UNCONFIRMED address, but it MUST be bundled with a HEARTBEAT
    chunk including a nonce."
    """
    core.due.cookie_ack = True
    core.due.cookie_ack_to = core.source
    path = None if core.tcb is None else core.tcb.paths.at(core.source)
    if path is not None and not path.confirmed:
        paths.send_heartbeat(core, path, now)


def handle_cookie_ack(core: Core, now: float) -> None:
    """Enter ESTABLISHED when the peer has acknowledged our COOKIE ECHO (section 5.1, E)."""
    tcb = core.tcb
    if core.state is _S.COOKIE_ECHOED and tcb is not None:
        _measure_handshake(core, tcb.echo_path, now)
        _enter_established(core, now)


def _enter_established(core: Core, now: float) -> None:
    """Enter ESTABLISHED from a state of the handshake and report it."""
    tcb = core.tcb
    if tcb is None or core.state not in (_S.CLOSED, _S.COOKIE_WAIT, _S.COOKIE_ECHOED):
        return
    core.enter(_S.ESTABLISHED)
    core.t1.stop()
    core.due.cookie_echo = False
    tcb.sender.start_timers_after_handshake(now)
    # RFC 3758, 3.3.3: "the local endpoint SHOULD inform its upper layer of the remote endpoint's inability to support
    # partially reliable data transfer."
    partial = tcb.capabilities.partial_reliability
    if core.options.authentication and tcb.auth is None:
        core.events.append(AuthenticationChanged(0, AuthenticationIndication.NO_AUTH))
    core.events.append(AssociationEstablished(tcb.inbound_streams, tcb.outbound_streams, partial))
    if tcb.adaptation >= 0:
        core.events.append(AdaptationIndicated(tcb.adaptation))
    paths.start_monitoring(core, tcb, now)
    if core.shutdown_requested:
        core.shutdown_requested = False
        shutdown.start_shutdown(core, now)


def _restart(core: Core, tcb: Tcb, content: StateCookieContent, now: float) -> bool:
    """Set the association up again for a peer that lost its state (section 5.2.4, action A)."""
    if core.state is _S.SHUTDOWN_ACK_SENT:
        # "it MUST NOT set up a new association but instead resend the SHUTDOWN ACK chunk and send an ERROR chunk with a
        # "Cookie Received While Shutting Down" error cause to its peer."
        core.due.shutdown_ack = True
        error = ErrorChunk([causes.cookie_received_while_shutting_down()])
        core.writer.add_packet(content.peer_tag, error.serialize(), core.source)
        return False
    for message in tcb.sender.outstanding.unacknowledged_messages():
        core.queue.drop(message)
        core.report_failed(message, "the peer restarted the association")
    core.queue.restart()
    core.t2.stop()
    core.t5_shutdown_guard.stop()
    core.discard_pending_chunks()
    new = make_tcb(core, content)
    # Messages that the application has not consumed are still in memory.
    new.unconsumed, new.unconsumed_messages = tcb.unconsumed, tcb.unconsumed_messages
    _measure_cookie(core, content, now)
    core.enter(_S.ESTABLISHED)
    _send_cookie_ack(core, now)
    partial = new.capabilities.partial_reliability
    core.events.append(AssociationRestarted(new.inbound_streams, new.outbound_streams, partial))
    if new.adaptation >= 0:
        core.events.append(AdaptationIndicated(new.adaptation))
    paths.start_monitoring(core, new, now)
    return True


def handle_stale_cookie(core: Core, now: float) -> None:
    """Send INIT again after a stale cookie, and request a longer cookie life (section 5.2.6)."""
    tcb = core.tcb
    if core.state is not _S.COOKIE_ECHOED or tcb is None:
        return
    if core.cookie_preservative > 0:
        reason = "the peer reports its own cookies as stale repeatedly"
        core.close(AssociationLost(reason, by_peer=True, cause_code=causes.STALE_COOKIE))
        return
    # DATA bundled with COOKIE ECHO keeps its TSNs: our Initial TSN stays as it is.
    tcb.sender.mark_all_lost_for_handshake()
    tcb.path.t3_rtx.stop()
    core.kept_sender = tcb.sender
    core.tcb = None
    core.discard_pending_chunks()
    core.cookie_preservative = COOKIE_PRESERVATIVE
    core.enter(_S.COOKIE_WAIT)
    core.t1.stop()
    core.events.append(RemoteError(causes.STALE_COOKIE, "the State Cookie was stale; INIT is sent again", by_peer=True))
    send_init(core, now)
