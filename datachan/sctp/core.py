"""What the procedures of one association share: options, state, TCB, writer, send queue, keys, timers and events.

It changes the state, ends the association and reports failures. It knows no procedure and no chunk handler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .addresses import TransportAddress
from .errors import InvalidState
from .events import AssociationLost, Event, MessageReceived, SendFailed
from .options import AssociationOptions
from .records.capabilities import OPTIONAL
from .records.cookie import CookieSealer
from .records.keys import RANDOM_LENGTH, KeyRing
from .records.paths import VerificationRate
from .rx.base import OVERHEAD
from .states import TRANSITIONS, AssociationState
from .tcb import Tcb
from .timers import Timer
from .tx.policies import REASONS, AbandonmentCounter
from .tx.retransmission import RetransmissionQueue
from .tx.scheduler import make_scheduler
from .tx.send_queue import OutgoingMessage, SendQueue
from .wire import causes
from .wire.causes import ErrorCause
from .wire.chunks import AbortChunk
from .writer import DueChunks, PacketWriter

MAX_ENDED: Final = 8
"""Ended associations of which the peer's Verification Tag is remembered."""


class Core:
    """The shared state of one association.

    Attributes:
        options: the protocol parameters.
        entropy: returns the requested number of random bytes.
        state: the association's state.
        tcb: the TCB, or None while the peer is unknown.
        writer: builds every packet.
        due: the control chunks that the next packets must carry.
        queue: messages given to `Association.send` and not yet sent.
        keys: the shared keys that chunks are signed with (RFC 4895).
        sealer: seals State Cookies and opens them.
        events: the events that the application has not read yet.
        source: the address that the packets being read came from; None when there is only one path.
        reply_to: the same address if replies may be sent there; None for the path that data is sent on.
        init_addresses: the addresses an INIT may be sent to.
        local_addresses: our IP addresses that the peer knows, if there are several.
        local_tag: our Verification Tag.
        local_initial_tsn: our Initial TSN, 32 bits.
        local_random: our Random Number, if chunks are to be authenticated.
        init_types: the types of optional parameters that our INIT has.
        unconfirmed: signaling set the association up, and no packet of the peer has arrived yet.
        negotiated_init: the tag and TSN of the peer's INIT that signaling carried, or None.
        cookie_to_echo: the State Cookie to echo while the association is unconfirmed.
        cookie_preservative: seconds of additional cookie life that our INIT requests.
        handshake_sent_at: when INIT or COOKIE ECHO was sent; None after a retransmission, which cannot be measured.
        shutdown_requested: the application called `shutdown` during the handshake.
        kept_sender: the data sender of an attempt that a stale cookie ended.
        t1: T1-init and T1-cookie.
        t2: T2-shutdown.
        t5_shutdown_guard: T5-shutdown-guard.
        error_count: consecutive unanswered retransmissions and heartbeats (RFC 9260, section 8.1).
        last_received: when the last packet of the peer with the right tag arrived.
        ended_peer_tags: the peer's tags in associations that ended: valid State Cookies of them may still arrive.
        verification_rate: limits the probes of unverified addresses.
        was_dry: `SenderDry` was reported and nothing was sent since.
        abandoned: counts abandoned messages.
        held: bytes of incomplete messages that `options.receive_budget` counts.
        packets_received: for statistics.
        bytes_received: for statistics.
        packets_discarded: for statistics.
    """

    __slots__ = (
        "abandoned",
        "bytes_received",
        "cookie_preservative",
        "cookie_to_echo",
        "due",
        "ended_peer_tags",
        "entropy",
        "error_count",
        "events",
        "handshake_sent_at",
        "held",
        "init_addresses",
        "init_types",
        "kept_sender",
        "keys",
        "last_received",
        "local_addresses",
        "local_initial_tsn",
        "local_random",
        "local_tag",
        "negotiated_init",
        "options",
        "packets_discarded",
        "packets_received",
        "queue",
        "reply_to",
        "sealer",
        "shutdown_requested",
        "source",
        "state",
        "t1",
        "t2",
        "t5_shutdown_guard",
        "tcb",
        "unconfirmed",
        "verification_rate",
        "was_dry",
        "writer",
    )

    def __init__(
        self, options: AssociationOptions, entropy: Callable[[int], bytes], sealer: CookieSealer | None = None
    ) -> None:
        self.options = options
        self.entropy = entropy
        self.state = AssociationState.CLOSED
        self.tcb: Tcb | None = None
        self.writer = PacketWriter(options)
        self.due = DueChunks()
        self.queue = SendQueue(make_scheduler(options.scheduler))
        self.keys = KeyRing(options.shared_keys, options.active_key)
        self.sealer = CookieSealer(entropy(32)) if sealer is None else sealer
        self.events: list[Event] = []
        self.source: TransportAddress | None = None
        self.reply_to: TransportAddress | None = None
        self.init_addresses: list[TransportAddress] = []
        self.local_addresses = list(options.local_addresses)
        self.local_tag = 0
        self.local_initial_tsn = 0
        self.local_random = b""
        self.init_types = OPTIONAL
        self.unconfirmed = False
        self.negotiated_init: tuple[int, int] | None = None
        self.cookie_to_echo = b""
        self.cookie_preservative = 0.0
        self.handshake_sent_at: float | None = None
        self.shutdown_requested = False
        self.kept_sender: RetransmissionQueue | None = None
        self.t1 = Timer()
        self.t2 = Timer()
        self.t5_shutdown_guard = Timer()
        self.error_count = 0
        self.last_received = 0.0
        self.ended_peer_tags: list[int] = []
        self.verification_rate = VerificationRate(options.heartbeat_max_burst)
        self.was_dry = True
        self.abandoned = AbandonmentCounter()
        self.held = self.packets_received = self.bytes_received = 0
        self.packets_discarded = 0

    # -- identity ------------------------------------------------------------------------------------------------------

    def new_tag(self) -> int:
        """Return a random Verification Tag, 1 to 4294967295."""
        tag = 0
        while tag == 0:
            tag = int.from_bytes(self.entropy(4), "big")
        return tag

    def new_initial_tsn(self) -> int:
        """Return a random Initial TSN."""
        return int.from_bytes(self.entropy(4), "big")

    def new_random(self) -> bytes:
        """Return a Random Number for keys, or nothing if chunks are not to be authenticated."""
        return self.entropy(RANDOM_LENGTH) if self.options.authentication else b""

    # -- state ---------------------------------------------------------------------------------------------------------

    def enter(self, state: AssociationState) -> None:
        """Change the state along the table in `states`."""
        if state is not self.state and state not in TRANSITIONS[self.state]:
            raise InvalidState(f"no transition leads from {self.state.value} to {state.value}")
        self.state = state

    def abort(self, cause: ErrorCause, reason: str) -> None:
        """Send an ABORT with this cause and end the association."""
        tcb = self.tcb
        if tcb is not None:
            self.writer.add_packet(tcb.peer_tag, AbortChunk([cause]).serialize(), tcb.path.address, tcb.auth)
        self.close(AssociationLost(reason, by_peer=False, cause_code=cause.code))

    def give_up(self, reason: str) -> None:
        """Send an ABORT, if the peer's tag is known, and end the association because the peer does not answer.

        The peer may have been cut off only in one direction: without the ABORT it would keep its side for minutes.
        """
        tcb = self.tcb
        if tcb is not None:
            self.writer.add_packet(tcb.peer_tag, AbortChunk([]).serialize(), tcb.path.address, tcb.auth)
        self.close(AssociationLost(reason, by_peer=False, cause_code=0))

    def abort_for_violation(self, words: str) -> None:
        """Abort the association because of a protocol violation that `words` describe."""
        self.abort(causes.protocol_violation(words), f"the peer broke the protocol: {words}")

    def close(self, event: Event) -> None:
        """Remove the TCB, report every undelivered message, and report `event` last."""
        tcb = self.tcb
        lost = [] if tcb is None else tcb.sender.outstanding.unacknowledged_messages()
        undelivered = {id(message): message for message in [*lost, *self.queue.clear()]}
        for message in undelivered.values():
            self.report_failed(message, "the association ended")
        if tcb is not None:
            tcb.sender.outstanding.release()
            self.remember_ended(tcb)
        self.count_held(0)
        self.state = AssociationState.CLOSED
        self.tcb = None
        self.unconfirmed = False
        self.negotiated_init = None
        self.cookie_to_echo = b""
        self.t1.stop()
        self.t2.stop()
        self.t5_shutdown_guard.stop()
        self.shutdown_requested = False
        self.kept_sender = None
        self.discard_pending_chunks()
        self.events.append(event)

    def remember_ended(self, tcb: Tcb) -> None:
        """Remember the peer's tag of an association that ended, so that its cookie sets up nothing again."""
        self.ended_peer_tags = [*self.ended_peer_tags[1 - MAX_ENDED :], tcb.peer_tag]

    # -- chunks to send ------------------------------------------------------------------------------------------------

    def prepare_replies(self) -> None:
        """Prepare for the replies to another packet."""
        self.reply_to = None
        self.writer.allow_replies()

    def reply(self, chunk: bytes, destination: TransportAddress | None = None) -> None:
        """Send a chunk that answers one of the packet being read, to `destination` or to `reply_to`.

        RFC 9260, 6.4: "An endpoint SHOULD transmit reply chunks (e.g., INIT ACK, COOKIE ACK, and HEARTBEAT ACK) in
        response to control chunks to the same destination transport address from which it received the control chunk to
        which it is replying."
        """
        self.writer.add_reply(chunk, destination or self.reply_to)

    def discard_pending_chunks(self) -> None:
        """Discard the chunks not yet sent of an association that is over; only complete packets are still sent."""
        self.due.clear()
        self.writer.discard_control()

    def count_held(self, size: int) -> bool:
        """Count the bytes of incomplete messages; return whether the budget allows them."""
        before, self.held = self.held, size
        budget = self.options.receive_budget
        return budget is None or budget.change(before, size)

    # -- messages ------------------------------------------------------------------------------------------------------

    def count_delivered(self, tcb: Tcb, first: int) -> None:
        """Charge the messages among the events from index `first` on to the receiver window."""
        for event in self.events[first:]:
            if isinstance(event, MessageReceived):
                tcb.unconsumed += len(event.data) + OVERHEAD
                tcb.unconsumed_messages += 1

    def report_abandoned(self, message: OutgoingMessage) -> None:
        """Count and report a message that its policy of partial reliability abandoned."""
        self.abandoned.count(message.policy, sent=message.first_tsn >= 0)
        self.report_failed(message, REASONS[message.policy])

    def report_failed(self, message: OutgoingMessage, reason: str) -> None:
        """Report that a message was not delivered completely."""
        self.events.append(
            SendFailed(message.stream_id, message.ppid, message.size, message.first_tsn >= 0, message.context, reason)
        )
