"""Every packet received: the checks of Verification Tags and AUTH (RFC 9260, section 8.5), then each chunk's handler.

One table maps chunk types to handlers. Only DATA, the hot path, does not go through it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from datachan.sctp import admission
from datachan.sctp.addresses import WILDCARDS, ip_of
from datachan.sctp.core import Core
from datachan.sctp.events import (
    AssociationClosed,
    AssociationLost,
    AuthenticationChanged,
    AuthenticationIndication,
    RemoteError,
)
from datachan.sctp.records.cookie import StateCookieContent
from datachan.sctp.records.keys import HMAC_IDENTIFIERS, Authenticator
from datachan.sctp.serial import unwrap
from datachan.sctp.states import MAY_ANSWER_HEARTBEAT, MAY_RECEIVE_DATA, MAY_RECEIVE_SACK, AssociationState
from datachan.sctp.tcb import Tcb
from datachan.sctp.wire import causes, extensions
from datachan.sctp.wire import chunks as wire
from datachan.sctp.wire.chunks import (
    AbortChunk,
    Chunk,
    CookieAckChunk,
    CookieEchoChunk,
    ErrorChunk,
    HeartbeatAckChunk,
    HeartbeatChunk,
    InitAckChunk,
    SackChunk,
    ShutdownAckChunk,
    ShutdownChunk,
    ShutdownCompleteChunk,
    UserDataChunk,
)
from datachan.sctp.wire.extensions import (
    AsconfAckChunk,
    AsconfChunk,
    AuthChunk,
    ForwardTsnChunk,
    IForwardTsnChunk,
    PadChunk,
    ReconfigChunk,
)
from datachan.sctp.wire.packet import Packet

from . import address_changes, confirmation, data, handshake, path_mtu, paths, reconfiguration, revival, shutdown

_S = AssociationState
_SHUTDOWN_SENT: Final = AssociationState.SHUTDOWN_SENT  # looked up for each packet

_ASCONF_TYPE: Final = bytes([extensions.ASCONF])

SHORTEST_SILENCE: Final = 0.05
"""Seconds without a packet before the one that ends the silence may end a back-off, too."""

MAX_CAUSES: Final = 8
"""Error causes of one ERROR chunk that are reported."""


# -- packets -----------------------------------------------------------------------------------------------------------


def handle_packet(core: Core, packet: Packet, now: float, cookie: StateCookieContent | None = None) -> bool:
    """Process one packet.

    Args:
        core: the association.
        packet: the packet, with our ports.
        now: monotonic seconds.
        cookie: the content of its COOKIE ECHO, if the caller has opened it already.

    Returns:
        False when the packet was discarded.
    """
    chunks = packet.chunks
    signed = isinstance(chunks[0], AuthChunk)
    if signed:
        # RFC 4895, 6.3: the chunks behind AUTH decide what the packet is: it "MUST use the chunks after the AUTH chunk
        # to look up an existing association."
        if len(chunks) == 1:
            return False
        chunks = chunks[1:]
    first = chunks[0]
    if packet.verification_tag == 0 or first.type == wire.INIT:
        init = admission.lone_init(packet)
        return init is not None and handshake.handle_init(core, packet, init, now)
    if isinstance(first, CookieEchoChunk):
        return _handle_cookie_echo(core, packet, first, cookie, now)
    if core.state is _S.CLOSED:
        answer = admission.answer_out_of_the_blue(packet)
        if answer is not None:
            core.writer.add_packet(packet.verification_tag, answer.serialize(), core.source)
        return False
    if not _tag_matches(core, packet.verification_tag, first):
        return False
    tcb = core.tcb
    if signed and (tcb is None or tcb.auth is None):
        # RFC 4895, 5: "the AUTH-chunk format requires the receiver to ignore the chunk if it is not understood and
        # silently discard all chunks that follow."
        return False
    if tcb is None:
        return _handle_before_tcb(core, packet, first, now)
    if tcb.auth is not None:
        chunks = _authenticated(core, tcb.auth, packet.chunks)
    if core.unconfirmed and confirmation.handle_first_packet(core, tcb, first, now):
        return True
    return bool(chunks) and handle_admitted(core, tcb, chunks, now)


def _handle_cookie_echo(
    core: Core, packet: Packet, echo: CookieEchoChunk, cookie: StateCookieContent | None, now: float
) -> bool:
    """Process a packet that begins with COOKIE ECHO, AUTH aside."""
    content = cookie if cookie is not None else core.sealer.open(echo.cookie)
    chunks = _authenticated(core, handshake.authenticator_for(core, content), packet.chunks)
    if not chunks or chunks[0] is not echo or not handshake.handle_cookie_echo(core, packet, content, now):
        return False
    tcb = core.tcb
    return tcb is not None and handle_admitted(core, tcb, chunks[1:], now)


def _handle_before_tcb(core: Core, packet: Packet, first: Chunk, now: float) -> bool:
    """Process a packet in COOKIE-WAIT, where only the answer to our INIT, or its refusal, is expected."""
    if isinstance(first, InitAckChunk) and len(packet.chunks) == 1:
        handshake.handle_init_ack(core, first, now)
    elif isinstance(first, AbortChunk):
        _end_by_abort(core, first)
    elif isinstance(first, ShutdownAckChunk):
        shutdown.handle_shutdown_ack(core)
    else:
        return False
    return True


def handle_admitted(core: Core, tcb: Tcb, chunks: list[Chunk], now: float) -> bool:
    """Process the chunks of a packet with the right tag, unless its source is not an address of the peer."""
    if core.source is not None:
        path = tcb.paths.follow_source(core.source)
        if path is None and not _names_known_address(tcb, chunks):
            return False
        if path is not None and not path.confirmed:
            paths.probe_again(core, path, now)
        # RFC 9260, 6.4 has replies go to the source of the request. On a path that does not work they would be lost.
        core.reply_to = path.address if path is not None and path.rank == 0 else None
    if core.t2.running:
        shutdown.packet_received(core, tcb, now)
    silence = now - core.last_received
    core.last_received = now
    _handle_chunks(core, tcb, chunks, now)
    if core.tcb is tcb and (silence > SHORTEST_SILENCE or not tcb.paths.single):
        path = tcb.paths.at(core.source) or tcb.path
        # Of several paths one may have failed while packets arrive on the others.
        if silence > path.measured_rto or (path.error_count and not tcb.paths.single):
            revival.revive(core, path, now)
    if tcb.asconf.answers and core.tcb is tcb:
        address_changes.send_answers(core, tcb)
    return True


def _names_known_address(tcb: Tcb, chunks: list[Chunk]) -> bool:
    """Return whether an ASCONF in the packet shows that its source is a new address of the peer.

    RFC 5061, 5.2, D2: "If the association is not found, use the address found in the Address Parameter TLV combined
    with the port number found in the SCTP common header."
    """
    return tcb.capabilities.dynamic_addresses and any(
        isinstance(chunk, AsconfChunk)
        and (tcb.paths.at((ip_of(chunk.address), 0)) is not None or ip_of(chunk.address) in WILDCARDS)
        for chunk in chunks
    )


def _authenticated(core: Core, auth: Authenticator | None, chunks: list[Chunk]) -> list[Chunk]:
    """Return the chunks of a packet that may be processed, where chunks are authenticated."""
    if auth is None:
        return chunks
    for chunk in chunks:
        if isinstance(chunk, AuthChunk) and chunk.hmac_id not in HMAC_IDENTIFIERS:
            # RFC 4895, 6.3: "the AUTH chunk and all the chunks after it MUST be discarded and an ERROR chunk SHOULD be
            # sent with the error cause defined in Section 4.1."
            core.reply(ErrorChunk([causes.unsupported_hmac_identifier(chunk.hmac_id)]).serialize())
            break
    before = auth.peer_key
    admitted = auth.admit(chunks)
    if auth.peer_key != before:
        core.events.append(AuthenticationChanged(auth.peer_key, AuthenticationIndication.NEW_KEY))
    return admitted


def _tag_matches(core: Core, tag: int, first: Chunk) -> bool:
    """Return whether a packet has the right Verification Tag (sections 8.5 and 8.5.1, B and C)."""
    if isinstance(first, (AbortChunk, ShutdownCompleteChunk)) and first.tag_reflected:
        # A peer that did not take the INITs of signaling reflects a tag that it does not know.
        return core.tcb is not None and tag == core.tcb.peer_tag and not core.unconfirmed
    return tag == core.local_tag


def finish_batch(core: Core, now: float) -> None:
    """Decide about the SACK once for all packets of a batch, then perform what waited for their DATA."""
    tcb = core.tcb
    if tcb is None:
        return
    reconfiguration.perform_deferred(core, tcb)
    tcb.tracker.finish_batch(now, core.options.sack_delay)
    if tcb.reassembly.buffered != core.held and not core.count_held(tcb.reassembly.buffered):
        core.abort(causes.out_of_resource(), "the incomplete messages of all associations take too much memory")


# -- chunks ------------------------------------------------------------------------------------------------------------


def _handle_chunks(core: Core, tcb: Tcb, chunks: list[Chunk], now: float) -> None:
    """Process the chunks of a packet in order. This is the hot path: DATA directly, everything else by the table."""
    has_data = new_data = immediate = False
    may_receive_data = core.state in MAY_RECEIVE_DATA
    newest_sack: Chunk | None = None
    for chunk in chunks:
        if isinstance(chunk, UserDataChunk):
            if not may_receive_data:
                continue
            if tcb.sender.suspended and tcb.reconfig.resetting_tsns:
                tcb.reconfig.hold(chunk)
                continue
            has_data = True
            immediate = immediate or chunk.immediate
            new_data = data.handle_data(core, tcb, chunk) or new_data
        else:
            if isinstance(chunk, SackChunk) and len(chunks) > 1:
                newest_sack = newest_sack or _newest_sack(chunk, chunks)
                if chunk is not newest_sack:
                    continue
            handler = _HANDLERS.get(chunk.type)
            if not (_handle_unsupported(core, chunk) if handler is None else handler(core, tcb, chunk, now)):
                break
            # RFC 9260, 5.1, D: "A COOKIE ACK chunk MAY be bundled with any pending DATA chunks"; after it they count.
            may_receive_data = core.state in MAY_RECEIVE_DATA
        if core.tcb is not tcb:
            return
    if has_data:
        data.choose_sack_path(core, tcb, new_data)
        tcb.tracker.packet_received(immediate, not new_data, core.options.sack_frequency)
        if core.state is _SHUTDOWN_SENT:
            shutdown.data_received(core, now)


def _newest_sack(first: SackChunk, chunks: list[Chunk]) -> Chunk:
    """Return the SACK of a packet that acknowledges most; the last of several with the same Cumulative TSN Ack.

    RFC 9260, 6.2: "An SCTP receiver MUST NOT generate more than one SACK chunk for every incoming packet, other than to
    update the offered window". So a packet of several older ones is made to cause work.
    """
    sacks = [chunk for chunk in chunks if isinstance(chunk, SackChunk)]
    sacks.reverse()
    return max(sacks, key=lambda sack: unwrap(sack.cumulative_tsn_ack, first.cumulative_tsn_ack))


def _handle_unsupported(core: Core, chunk: Chunk) -> bool:
    """Skip a chunk that is unknown or was not negotiated; report it if its type requires that (section 3.2).

    Returns:
        False when the rest of the packet must not be processed.
    """
    if chunk.type & 0x40:
        cause = causes.unrecognized_chunk_type(chunk.serialize())
        core.reply(ErrorChunk([cause]).serialize())
    return bool(chunk.type & 0x80)


def _stop_at_init(core: Core, tcb: Tcb, chunk: Chunk, now: float) -> bool:
    """Discard the rest of a packet.

    RFC 9260, 12.3: "The receiver of an INIT chunk MUST silently discard the INIT chunk and all further chunks if the
    INIT chunk is bundled with other chunks or the packet has a non-zero Verification Tag."
    """
    return False


def _ignore(core: Core, tcb: Tcb, chunk: Chunk, now: float) -> bool:
    """Skip a known chunk that has no effect."""
    return True


def _handle_sack(core: Core, tcb: Tcb, chunk: SackChunk, now: float) -> bool:
    if core.state in MAY_RECEIVE_SACK:
        data.handle_sack(core, tcb, chunk, now)
    return True


def _handle_forward_tsn(core: Core, tcb: Tcb, chunk: ForwardTsnChunk, now: float) -> bool:
    if core.state in MAY_RECEIVE_DATA and not tcb.reconfig.resetting_tsns:
        if not tcb.capabilities.interleaving and not tcb.capabilities.partial_reliability:
            return _handle_unsupported(core, chunk)
        data.handle_forward_tsn(core, tcb, chunk)
    return True


def _handle_i_forward_tsn(core: Core, tcb: Tcb, chunk: IForwardTsnChunk, now: float) -> bool:
    if core.state in MAY_RECEIVE_DATA and not tcb.reconfig.resetting_tsns:
        data.handle_i_forward_tsn(core, tcb, chunk)
    return True


def _handle_heartbeat(core: Core, tcb: Tcb, chunk: HeartbeatChunk, now: float) -> bool:
    if core.state in MAY_ANSWER_HEARTBEAT:
        wire_ack = HeartbeatAckChunk(chunk.info, chunk.others).serialize()
        if core.writer.exceeds_packet(wire_ack):
            # It is as long as the HEARTBEAT, whose packet came through although it is longer than ours may be now.
            core.writer.add_packet(tcb.peer_tag, wire_ack, core.source, tcb.auth)
        else:
            core.reply(wire_ack, core.source)
    return True


def _handle_heartbeat_ack(core: Core, tcb: Tcb, chunk: HeartbeatAckChunk, now: float) -> bool:
    if not path_mtu.handle_probe_ack(core, tcb, chunk.info, now):
        paths.handle_heartbeat_ack(core, tcb, chunk, now)
    return True


def _handle_pad(core: Core, tcb: Tcb, chunk: PadChunk, now: float) -> bool:
    tcb.sender.start_path_mtu_search(now)
    return True


def _handle_cookie_ack(core: Core, tcb: Tcb, chunk: CookieAckChunk, now: float) -> bool:
    handshake.handle_cookie_ack(core, now)
    return True


def _handle_error(core: Core, tcb: Tcb, chunk: ErrorChunk, now: float) -> bool:
    for cause in chunk.causes[:MAX_CAUSES]:
        if cause.code == causes.STALE_COOKIE:
            handshake.handle_stale_cookie(core, now)
            continue
        present = core.tcb
        if present is not None and cause.code == causes.UNRECOGNIZED_CHUNK_TYPE and cause.info[:1] == _ASCONF_TYPE:
            address_changes.handle_unsupported(core, present)
        else:
            core.events.append(RemoteError(cause.code, causes.describe(cause), by_peer=True))
    return True


def _handle_abort(core: Core, tcb: Tcb, chunk: AbortChunk, now: float) -> bool:
    _end_by_abort(core, chunk)
    return True


def _handle_shutdown(core: Core, tcb: Tcb, chunk: ShutdownChunk, now: float) -> bool:
    shutdown.handle_shutdown(core, tcb, chunk, now)
    return True


def _handle_shutdown_ack(core: Core, tcb: Tcb, chunk: ShutdownAckChunk, now: float) -> bool:
    shutdown.handle_shutdown_ack(core)
    return True


def _handle_shutdown_complete(core: Core, tcb: Tcb, chunk: ShutdownCompleteChunk, now: float) -> bool:
    shutdown.handle_shutdown_complete(core)
    return True


def _handle_reconfig(core: Core, tcb: Tcb, chunk: ReconfigChunk, now: float) -> bool:
    """Process a RE-CONFIG chunk, and the DATA held until it came: DATA from before an SSN/TSN reset first."""
    if not tcb.capabilities.stream_reset:
        return _handle_unsupported(core, chunk)
    reconfig = tcb.reconfig
    if reconfig.held:
        boundary = reconfig.tsn_boundary(chunk.parameters)
        if boundary is not None:
            data.take_held(core, tcb, reconfig.take_held(boundary))
            if core.tcb is not tcb:
                return True
    reconfiguration.handle_chunk(core, tcb, chunk, now)
    if reconfig.held and not reconfig.resetting_tsns:
        data.take_held(core, tcb, reconfig.take_held())
    return True


def _handle_asconf(core: Core, tcb: Tcb, chunk: AsconfChunk, now: float) -> bool:
    if not tcb.capabilities.dynamic_addresses:
        return _handle_unsupported(core, chunk)
    address_changes.handle_asconf(core, tcb, chunk, now)
    return True


def _handle_asconf_ack(core: Core, tcb: Tcb, chunk: AsconfAckChunk, now: float) -> bool:
    if not tcb.capabilities.dynamic_addresses:
        return _handle_unsupported(core, chunk)
    address_changes.handle_asconf_ack(core, tcb, chunk)
    return True


def _end_by_abort(core: Core, chunk: AbortChunk) -> None:
    """End the association because the peer sent ABORT.

    RFC 9260, 9.1: the association is removed; "the Upper Layer Abort Reason SHOULD be made available to the upper
    layer.".
    """
    if core.state is _S.SHUTDOWN_ACK_SENT and chunk.tag_reflected:
        # The peer's SHUTDOWN COMPLETE was lost, and a late packet of ours then reached it out of the blue. Both sides
        # had everything before we sent SHUTDOWN ACK, so the shutdown was graceful.
        core.close(AssociationClosed())
        return
    if chunk.tag_reflected and core.tcb is not None and core.tcb.asconf.deleting:
        # RFC 5061, 5.3.1: "during the deletion of an IP address, an Abort MUST be ignored if the destination address of
        # the Abort message is that of a destination being deleted." Such an ABORT answers a packet whose source address
        # the peer no longer knew, and so reflects the tag.
        return
    if chunk.causes:
        cause = chunk.causes[0]
        reason, code = f"the peer aborted: {causes.describe(cause)}", cause.code
    else:
        reason, code = "the peer aborted without giving a cause", 0
    core.close(AssociationLost(reason, by_peer=True, cause_code=code))


Handler = Callable[[Core, Tcb, Any, float], bool]
"""Processes one chunk; False when the rest of the packet must not be processed."""

_HANDLERS: Final[dict[int, Handler]] = {
    wire.INIT: _stop_at_init,
    wire.INIT_ACK: _ignore,
    wire.SACK: _handle_sack,
    wire.HEARTBEAT: _handle_heartbeat,
    wire.HEARTBEAT_ACK: _handle_heartbeat_ack,
    wire.ABORT: _handle_abort,
    wire.SHUTDOWN: _handle_shutdown,
    wire.SHUTDOWN_ACK: _handle_shutdown_ack,
    wire.ERROR: _handle_error,
    wire.COOKIE_ECHO: _ignore,
    wire.COOKIE_ACK: _handle_cookie_ack,
    wire.ECNE: _ignore,
    wire.CWR: _ignore,
    wire.SHUTDOWN_COMPLETE: _handle_shutdown_complete,
    extensions.PAD: _handle_pad,
    extensions.FORWARD_TSN: _handle_forward_tsn,
    extensions.I_FORWARD_TSN: _handle_i_forward_tsn,
    extensions.RE_CONFIG: _handle_reconfig,
    extensions.ASCONF: _handle_asconf,
    extensions.ASCONF_ACK: _handle_asconf_ack,
}
"""The handler of each chunk type except DATA and I-DATA. INIT ACK and COOKIE ECHO are out of place in an association
(section 5.2); ECNE and CWR are not used; AUTH is removed before. A type that is missing here is unsupported."""
