"""Confirms that the peer accepted the INIT that signaling carried, or else runs the four-way handshake.

With draft-hancke-tsvwg-snap both sides are ESTABLISHED without a packet. A peer that only copied the attribute discards
our packets. So if no packet of the peer arrives within an RTO, we send the INIT of our description, with the same tag
and TSN. The association stays ESTABLISHED meanwhile, and keeps its messages:

- A peer of this package that accepted SNAP answers with the tag and the TSN of its description, which confirms both.
- After any other answer we use the peer's new tag: COOKIE ECHO is sent first, then DATA again.

libwebrtc answers an INIT of an association that it has with a new tag, and would restart at the COOKIE ECHO. For this
reason a HEARTBEAT is sent before the INIT: its answer arrives first, and the INIT ACK is then ignored.
"""

from __future__ import annotations

from typing import Final

from datachan.sctp.core import Core
from datachan.sctp.records import init as rules
from datachan.sctp.records.capabilities import Capabilities
from datachan.sctp.records.cookie import StateCookieContent
from datachan.sctp.tcb import Tcb
from datachan.sctp.wire import causes
from datachan.sctp.wire.chunks import Chunk, CookieEchoChunk, HeartbeatChunk, InitAckChunk, InitChunk

_NONCE_LENGTH: Final = 8


def start(core: Core, theirs: InitChunk, now: float) -> None:
    """Wait for a packet of the peer, whose INIT arrived by signaling."""
    core.negotiated_init = (theirs.initiate_tag, theirs.initial_tsn)
    core.unconfirmed = True
    core.t1.start(now, core.options.rto_initial)


def confirm_if_waiting(core: Core) -> None:
    """Stop waiting, if we still do: the peer has sent a packet of this association."""
    if not core.unconfirmed:
        return
    core.unconfirmed = False
    core.cookie_to_echo = b""
    core.t1.stop()


def handle_timeout(core: Core, tcb: Tcb, now: float) -> None:
    """Send INIT, or COOKIE ECHO once the peer has answered, and wait longer for the next time."""
    options = core.options
    if core.t1.expirations > options.max_init_retransmits:
        return
    send_again(core, tcb)
    core.t1.start(now, min(options.rto_initial * 2.0**core.t1.expirations, options.rto_max))


def send_again(core: Core, tcb: Tcb) -> None:
    """Send INIT, or COOKIE ECHO once the peer has answered."""
    options = core.options
    if core.cookie_to_echo:
        core.writer.add_packet(tcb.peer_tag, CookieEchoChunk(core.cookie_to_echo).serialize(), core.source)
    else:
        # A peer that took SNAP answers the HEARTBEAT first, so that its answer to the INIT is not needed.
        heartbeat = HeartbeatChunk(core.entropy(_NONCE_LENGTH))
        core.writer.add_packet(tcb.peer_tag, heartbeat.serialize(), None)
        init = rules.build_init(options, core.local_tag, core.local_initial_tsn, core.local_random)
        core.writer.add_packet(0, init.serialize(), None)


def repeats_negotiated(core: Core, init: InitChunk) -> bool:
    """Return whether an INIT is the one that the peer's description carried, or ours is still unconfirmed.

    By RFC 9260, 5.2.2, other INITs are answered with a new tag, because they announce a restart. Here both sides set up
    the same association: the answer keeps our tag and TSN.
    """
    return core.unconfirmed or (init.initiate_tag, init.initial_tsn) == core.negotiated_init


def handle_first_packet(core: Core, tcb: Tcb, first: Chunk, now: float) -> bool:
    """Apply the first chunk of the peer's first packet; return whether the packet needs no further processing."""
    if isinstance(first, InitAckChunk):
        _handle_init_ack(core, tcb, first, now)
        return True
    confirm_if_waiting(core)
    return False


def _handle_init_ack(core: Core, tcb: Tcb, init_ack: InitAckChunk, now: float) -> None:
    """Apply the answer to the INIT of an unconfirmed association."""
    if (init_ack.initiate_tag, init_ack.initial_tsn) == core.negotiated_init:
        confirm_if_waiting(core)
        return
    cookie = rules.state_cookie(init_ack)
    if core.cookie_to_echo or cookie is None or not init_ack.initiate_tag or rules.refuse(core.options, init_ack):
        return
    content = rules.content_of_init_ack(core.options, init_ack, core.local_tag, core.local_initial_tsn, now)
    if follow_peer(core, tcb, content):
        core.cookie_to_echo = cookie
        core.writer.add_packet(tcb.peer_tag, CookieEchoChunk(cookie).serialize(), core.source)


def follow_peer(core: Core, tcb: Tcb, content: StateCookieContent) -> bool:
    """Use the tag and the TSN of the peer's handshake in place of its description's.

    Returns:
        False when they cannot be used, and the association has ended.
    """
    if Capabilities.from_bits(content.capabilities).interleaving != tcb.capabilities.interleaving:
        # Outstanding chunks are encoded as DATA or I-DATA already.
        core.abort(causes.protocol_violation("other extensions"), "the peer's INIT contradicts its description")
        return False
    tcb.follow_peer(core.options, content)
    return True
