"""One SCTP association as a sans-IO machine: datagrams and time in, datagrams and events out (RFC 9260).

This is where decisions are taken: chunks are dispatched here, states change here, and every timer is read here. What it
decides from is kept elsewhere: the data sender in `tx`, the data receiver in `rx`, each destination in `path`, the
handshake's rules in `handshake`. Everything leaves through the one writer. While CLOSED it keeps no state of an INIT:
all of it travels in the State Cookie.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Final

from . import address_changes, fault_management, inbound, reconfigure, setup, snap, teardown
from .addresses import TransportAddress
from .auth import RANDOM_LENGTH, KeyRing
from .capabilities import Capabilities
from .cookie import CookieSealer
from .errors import BadPacket, InvalidState, InvalidStream
from .events import (
    AssociationLost,
    AuthenticationChanged,
    AuthenticationIndication,
    Event,
    MessageReceived,
    SenderDry,
    StreamProgress,
)
from .options import AssociationOptions
from .rx.base import OVERHEAD
from .send_buffer import make_room, report_abandoned, report_failed
from .states import SHUTTING_DOWN, TRANSITIONS, AssociationState
from .stats import AssociationStats, look_at
from .tcb import Tcb
from .timers import Timer, earliest
from .tx.policies import AbandonmentCounter
from .tx.retransmission import RetransmissionQueue
from .tx.scheduler import MAX_PRIORITY, make_scheduler
from .tx.send_queue import OutgoingMessage, SendQueue
from .wire import causes
from .wire.causes import ErrorCause
from .wire.chunks import DATA_HEADER_LENGTH, AbortChunk
from .wire.extensions import I_DATA_HEADER_LENGTH
from .wire.packet import COMMON_HEADER_LENGTH, parse_packet_untrusted
from .wire.parameters import ADD_IP_ADDRESS, DELETE_IP_ADDRESS, SET_PRIMARY_ADDRESS
from .writer import PacketWriter, Run, available_window

__all__ = ["Association", "AssociationState", "AssociationStats"]

MAX_ENDED: Final = 8
"""Associations that ended, of which the peer's Verification Tag is remembered."""

_S = AssociationState
_MASK: Final = 0xFFFFFFFF


class Association:
    """One SCTP association with one peer, by one or several of its addresses.

    After any call drain `packets_to_send` and `events`, then arm one timer with `next_timeout`.

    Attributes:
        local_addresses: our IP addresses that the peer knows, if there are several.
        keys: the shared keys that chunks are signed with (RFC 4895).

    Args:
        options: the protocol parameters.
        entropy: returns that many random bytes; tags, Initial TSNs and the cookie's secret come from it.
        sealer: what State Cookies are sealed with, where several associations share that.
    """

    __slots__ = (
        "_was_dry",
        "abandoned",
        "bytes_received",
        "ended",
        "entropy",
        "error_count",
        "handshake_sent_at",
        "init_addresses",
        "keys",
        "local_addresses",
        "local_initial_tsn",
        "local_random",
        "local_tag",
        "options",
        "packets_discarded",
        "packets_received",
        "pending",
        "preservative",
        "probes",
        "queue",
        "sealer",
        "shutdown_wanted",
        "source",
        "state",
        "t1",
        "t2",
        "t5_shutdown_guard",
        "tcb",
        "unfinished_sender",
        "writer",
    )

    def __init__(
        self, options: AssociationOptions, entropy: Callable[[int], bytes], sealer: CookieSealer | None = None
    ) -> None:
        self.options = options
        self.state = _S.CLOSED
        self.entropy = entropy
        self.queue = SendQueue(make_scheduler(options.scheduler))
        self.writer = PacketWriter(options)
        self.sealer = CookieSealer(entropy(32)) if sealer is None else sealer
        self.tcb: Tcb | None = None
        # The peer's tags in associations that ended: State Cookies made for them, still fresh, may come late.
        self.ended: list[int] = []
        self.local_tag = 0
        self.local_initial_tsn = 0
        self.local_random = b""
        self.local_addresses = list(options.local_addresses)
        self.keys = KeyRing(options.shared_keys, options.active_key)
        self.preservative = 0.0
        # When INIT or COOKIE ECHO was sent; None when it was sent more than once and its answer measures nothing.
        self.handshake_sent_at: float | None = None
        self.shutdown_wanted = False
        self.unfinished_sender: RetransmissionQueue | None = None
        self.t1 = Timer()
        self.t2 = Timer()
        self.t5_shutdown_guard = Timer()
        self.error_count = 0
        self.pending: list[Event] = []
        # Where the packets being read came from, and where an INIT may go.
        self.source: TransportAddress | None = None
        self.init_addresses: list[TransportAddress] = []
        self.probes = fault_management.VerificationRate(options.heartbeat_max_burst)
        self._was_dry = True
        self.abandoned = AbandonmentCounter()
        self.packets_received = 0
        self.bytes_received = 0
        self.packets_discarded = 0

    # -- what the user asks for -------------------------------------------------------------------------------

    @property
    def inbound_streams(self) -> int:
        """Streams the peer may send on, once known; before, those we accept."""
        return self.options.inbound_streams if self.tcb is None else self.tcb.inbound_streams

    @property
    def outbound_streams(self) -> int:
        """Streams we may send on, once known; before, those we ask for."""
        return self.options.outbound_streams if self.tcb is None else self.tcb.outbound_streams

    @property
    def max_fragment(self) -> int:
        """Most user bytes of a message that go into one packet."""
        if self.tcb is not None:
            return self.tcb.sender.max_fragment
        options = self.options
        header = I_DATA_HEADER_LENGTH if options.interleaving else DATA_HEADER_LENGTH
        size = (options.first_packet_size - COMMON_HEADER_LENGTH & ~3) - header
        return min(size, options.max_fragment) if options.max_fragment else size

    @property
    def all_acknowledged(self) -> bool:
        """Whether nothing is queued, and the peer has acknowledged everything sent."""
        return self.queue.empty and (self.tcb is None or self.tcb.sender.all_acknowledged)

    @property
    def user_data_moved(self) -> int:
        """A number that grows with each DATA chunk that comes or is sent for the first time."""
        tcb = self.tcb
        return 0 if tcb is None else tcb.tracker.highest_tsn + tcb.sender.outstanding.next_tsn

    @property
    def extensions(self) -> Capabilities | None:
        """The extensions agreed on with the peer; None before the handshake and after the end."""
        return None if self.tcb is None else self.tcb.capabilities

    @property
    def cumulative_tsn(self) -> int:
        """The Cumulative TSN of the data received so far, as on the wire; 0 without an association."""
        return 0 if self.tcb is None else self.tcb.tracker.cumulative_tsn & _MASK

    @property
    def closing(self) -> bool:
        """Whether `send` raises InvalidState: a graceful shutdown was asked for by either side."""
        return self.shutdown_wanted or self.state in SHUTTING_DOWN

    def peer_addresses(self) -> list[TransportAddress]:
        """Where the peer is, as far as it is known; before it answered, where it may be."""
        tcb = self.tcb
        if tcb is None:
            return self.init_addresses
        return [path.address for path in tcb.paths.all if path.address is not None]

    def connect(self, now: float, addresses: Sequence[TransportAddress] = ()) -> None:
        """Start the four-way handshake (ASSOCIATE, section 11.1.2). Both sides may.

        Args:
            now: monotonic seconds.
            addresses: where the peer may be, the first to be tried first; none when there is only one way to go. Which
                addresses the peer has is what its INIT ACK says.

        Raises:
            InvalidState: the association is not CLOSED.
        """
        if self.state is not _S.CLOSED:
            raise InvalidState(f"the association is {self.state.value}; only a closed one can connect")
        self.local_tag = self.new_tag()
        self.local_initial_tsn = self.new_initial_tsn()
        self.preservative = 0.0
        self.local_random = self.new_random()
        self.init_addresses = list(addresses)
        self.enter(_S.COOKIE_WAIT)
        setup.send_init(self, now)

    def connect_negotiated(self, local_init: bytes, remote_init: bytes, now: float) -> None:
        """Be established at once: both sides have each other's INIT already (draft-hancke-tsvwg-snap).

        Only over a lower layer that has proved who the peer is. The peer must do the same.

        Args:
            local_init: ours, from `snap.make_init` with the options of this association.
            remote_init: the peer's.
            now: monotonic seconds.

        Raises:
            InvalidState: the association is not CLOSED.
            BadPacket: an INIT is none; `snap.read_init_untrusted` says so beforehand.
        """
        if self.state is not _S.CLOSED:
            raise InvalidState(f"the association is {self.state.value}; only a closed one can connect")
        snap.establish(self, local_init, remote_init, now)

    def send(
        self,
        stream_id: int,
        data: bytes,
        *,
        ppid: int,
        now: float,
        unordered: bool = False,
        lifetime: float | None = None,
        max_retransmissions: int | None = None,
        drop_priority: int | None = None,
        auth_key: int | None = None,
        destination: TransportAddress | None = None,
        context: object = None,
    ) -> None:
        """Queue a message (SEND, section 11.1.5).

        Args:
            stream_id: the stream; 0 to `outbound_streams` - 1.
            data: the message, not empty. No length is too long for the engine.
            ppid: payload protocol identifier.
            now: monotonic seconds.
            unordered: deliver it as soon as it is whole.
            lifetime: seconds after which it is given up (RFC 3758), or None.
            max_retransmissions: retransmissions of a fragment after which it is given up (RFC 7496), or None.
            drop_priority: it may be given up, while it is queued, to make room in the send buffer for a message with a
                smaller number or without one (RFC 7496, section 3.2); 0 is the highest.
            auth_key: the Shared Key Identifier to sign it with, if DATA is signed (RFC 4895); None for the active one.
            destination: the address of the peer it is to go to while that can be reached; None for the primary one.
                What was given to send before and waits for its path holds it up.
            context: given back in `SendFailed`.

        Raises:
            InvalidState: the association is shutting down.
            InvalidStream: there is no such stream.
            SendBufferFull: the option `send_buffer` leaves no room.
            UnknownKey: there is no such shared key, or it was deactivated.
            InvalidAddress: `destination` is not an address of the peer.
            ValueError: `data` is empty.
        """
        if self.closing:
            raise InvalidState(f"the association is {self.state.value}; nothing new can be sent")
        self._check_outbound(stream_id)
        if not data:
            # RFC 9260, 6.2: "An endpoint SHOULD NOT send a DATA chunk with no user data part."
            raise ValueError("an SCTP message holds at least one byte")
        if self.options.send_buffer:
            make_room(self, len(data), drop_priority)
        expires_at = None if lifetime is None else now + lifetime
        message = OutgoingMessage(
            stream_id, ppid, data, unordered, expires_at, max_retransmissions, context, drop_priority
        )
        if auth_key is not None or self.keys.active:
            message.key_id = self.keys.usable(self.keys.active if auth_key is None else auth_key)
        if destination is not None:
            fault_management.direct(self, message, destination)
        self.queue.add(message)
        self._was_dry = False

    def _check_outbound(self, stream_id: int) -> None:
        if not 0 <= stream_id < self.outbound_streams:
            raise InvalidStream(f"stream {stream_id} is not one of the {self.outbound_streams} outbound streams")

    def set_stream_priority(self, stream_id: int, priority: int) -> None:
        """Say how important a stream is compared with others, to a scheduler that looks at it (RFC 8260, section 3).

        Args:
            stream_id: the stream.
            priority: 1 to 65535, more is more; 256 to begin with. With "wfq" it is the weight.

        Raises:
            InvalidStream: there is no such stream.
            ValueError: there is no such priority.
        """
        self._check_outbound(stream_id)
        if not 0 < priority <= MAX_PRIORITY:
            raise ValueError(f"the priority is {priority}; it may be 1 to {MAX_PRIORITY}")
        self.queue.set_priority(stream_id, priority)

    def change_options(self, options: AssociationOptions) -> None:
        """Go on with other parameters: RTO bounds, retransmission limits, SACK delay, bursts, scheduler and so on.

        What the handshake settled stays as it is: ports and addresses, streams, extensions; likewise the congestion
        control, the packet size, and what each path was told of its own (`set_path_parameters`).

        Args:
            options: a changed copy of the present ones.
        """
        if options.scheduler != self.options.scheduler:
            self.queue.change_scheduler(make_scheduler(options.scheduler))
        self.options = options
        self.writer.change_options(options)
        if self.tcb is not None:
            self.tcb.change_options(options)

    def buffered_amount(self, stream_id: int) -> int:
        """User bytes of a stream that are queued and not yet sent once."""
        return self.queue.buffered_amount(stream_id)

    def reset_streams(self, stream_ids: Sequence[int], now: float) -> None:
        """Reset streams we send on (RFC 6525, section 5.1.2). What is queued on them is sent first.

        Raises:
            InvalidState: there is no association.
            InvalidStream: there is no such stream.
        """
        reconfigure.want_reset(self, stream_ids)

    def request_stream_resets(self, stream_ids: Sequence[int], now: float) -> None:
        """Ask the peer to reset streams it sends on; all of them if none is given (RFC 6525, section 5.1.3).

        `IncomingStreamsReset` tells when it has, `ReconfigurationFailed` that it will not.

        Raises:
            InvalidState: there is no association.
            InvalidStream: there is no such stream.
        """
        reconfigure.want_incoming_reset(self, stream_ids)

    def reset_tsns(self, now: float) -> None:
        """Begin all SSNs, and the TSNs, of both directions anew, once everything sent is acknowledged (RFC 6525,
        5.1.4).

        Raises:
            InvalidState: there is no association.
        """
        reconfigure.want_tsn_reset(self)

    def add_streams(self, now: float, *, outgoing: int = 0, incoming: int = 0) -> None:
        """Add streams we send on, or ask the peer to add some it sends on (RFC 6525, sections 5.1.5 and 5.1.6).

        Raises:
            InvalidState: there is no association.
            InvalidStream: there would be more than `max_streams`.
        """
        reconfigure.want_streams(self, outgoing, incoming)

    def message_consumed(self, size: int, now: float, messages: int = 1) -> None:
        """Give back the window of messages whose `MessageReceived` was handled.

        Args:
            size: the length of their data, together.
            now: monotonic seconds.
            messages: how many they are.
        """
        tcb = self.tcb
        if tcb is None:
            return
        tcb.unconsumed = max(tcb.unconsumed - size - OVERHEAD * messages, 0)
        tcb.unconsumed_messages = max(tcb.unconsumed_messages - messages, 0)
        tcb.window.consumed(size, tcb.path.srtt, now)
        # RFC 9260, 6.2: "send a window update only if the window can be increased by at least a quarter of the receive
        # buffer size of the association."
        if available_window(self.options, tcb) >= tcb.advertised_a_rwnd + tcb.window.size // 4:
            tcb.tracker.sack_now = True

    @property
    def peer_authenticated_chunks(self) -> tuple[int, ...]:
        """The chunk types the peer accepts only if they are signed."""
        auth = None if self.tcb is None else self.tcb.auth
        return () if auth is None else tuple(sorted(auth.peer_chunks))

    # -- several addresses -----------------------------------------------------------------------------------

    @property
    def primary_address(self) -> TransportAddress | None:
        """The address data goes to while it can be reached; None when there is only one way."""
        return None if self.tcb is None else self.tcb.paths.primary.address

    def set_primary(self, address: TransportAddress) -> None:
        """Have data go to this address of the peer while it can be reached (SETPRIMARY, section 11.1.6).

        Raises:
            InvalidState: there is no association.
            InvalidAddress: it is not an address of the peer, or not yet known to be (section 5.4).
        """
        fault_management.set_primary(self, address)

    def set_path_parameters(
        self,
        address: TransportAddress | None,
        now: float,
        *,
        heartbeat_interval: float | None = None,
        max_retrans: int | None = None,
    ) -> None:
        """Change how one address of the peer is watched, or every one (CHANGEHEARTBEAT, SETFAILURETHRESHOLD).

        Args:
            address: which; None for all of them.
            now: monotonic seconds.
            heartbeat_interval: seconds between heartbeats while it is idle, the RTO aside; 0 turns them off.
            max_retrans: unanswered retransmissions and heartbeats that make it inactive.

        Raises:
            InvalidState: there is no association.
            InvalidAddress: it is not an address of the peer.
        """
        fault_management.set_parameters(self, address, now, heartbeat_interval, max_retrans)

    def request_heartbeat(self, address: TransportAddress, now: float) -> None:
        """Send a HEARTBEAT to an address of the peer at once (REQUESTHEARTBEAT, section 11.1.9).

        Raises:
            InvalidState: there is no association, or it ends.
            InvalidAddress: it is not an address of the peer.
        """
        fault_management.request_heartbeat(self, address, now)

    def add_address(self, ip: str) -> None:
        """Tell the peer of one more address of ours (RFC 5061, section 4.2.1). `LocalAddressChanged` says what came of
        it; before it was accepted no packet may come from there.

        Args:
            ip: the address; 0.0.0.0 or :: for the one the request will come from.

        Raises:
            InvalidState: there is no association, or the peer does not support it.
            InvalidAddress: it is no address of one host.
        """
        address_changes.want(self, ADD_IP_ADDRESS, ip)

    def delete_address(self, ip: str) -> None:
        """Give an address of ours up (RFC 5061, section 4.2.2). From now on no packet may come from there;
        `LocalAddressChanged` says when none will go there any more.

        Args:
            ip: the address; 0.0.0.0 or :: for all but the one the request will come from.

        Raises:
            InvalidState: there is no association, or the peer does not support it.
            InvalidAddress: the peer does not know it, or knows no other.
        """
        address_changes.want(self, DELETE_IP_ADDRESS, ip)

    def request_peer_primary(self, ip: str) -> None:
        """Ask the peer to send to this address of ours (RFC 5061, section 4.2.4).

        Raises:
            InvalidState: there is no association, or the peer does not support it.
            InvalidAddress: the peer does not know it.
        """
        address_changes.want(self, SET_PRIMARY_ADDRESS, ip)

    def source_addresses(self) -> list[str]:
        """Our addresses that packets may come from now; none when there is but one, which nobody named."""
        return address_changes.source_addresses(self)

    def path_changed(self, max_packet_size: int = 0, packet_overhead: int = 0) -> None:
        """The lower layer moved to another path (another ICE pair): begin with the initial window and no round trip.

        What is in flight stays so; that of it which is lost with the old path is found by the timers.

        RFC 8261, 6.1: "If the SCTP layer is notified about a path change by its lower layers, SCTP SHOULD retest the
        path MTU and reset the congestion state to the initial state."

        Args:
            max_packet_size: as the option; 0 for the same as before. Without path MTU discovery it stays as it was.
            packet_overhead: likewise.
        """
        options = self.options
        if options.path_mtu_discovery:
            self.options = options = dataclasses.replace(
                options,
                max_packet_size=max_packet_size or options.max_packet_size,
                packet_overhead=packet_overhead or options.packet_overhead,
            )
        if self.tcb is not None:
            self.tcb.sender.path_changed(options)

    @property
    def dont_fragment(self) -> bool:
        """Whether the lower layer must carry packets in one piece or drop them; else it may also fragment them."""
        return self.dont_fragment_to(None)

    def dont_fragment_to(self, address: TransportAddress | None) -> bool:
        """`dont_fragment` for packets to one of the peer's addresses."""
        path = fault_management.path_to(self, address)
        return path is not None and path.pmtu.dont_fragment

    def packet_too_long(self, length: int, now: float, address: TransportAddress | None = None, link: int = 0) -> None:
        """The lower layer could not send a packet of so many bytes, for it is longer than the path's first link takes.

        With path MTU discovery that is an answer like any other.

        Args:
            length: bytes.
            now: monotonic seconds.
            address: where it was to go; None where there is only one way.
            link: bytes of the longest packet it takes, 0 if that is not known.
        """
        path = fault_management.path_to(self, address)
        if path is not None:
            path.pmtu.too_long(length, now, link)

    def shutdown(self, now: float) -> None:
        """End gracefully: all that is queued on both sides is delivered first (SHUTDOWN, section 9.2)."""
        teardown.start_shutdown(self, now)

    def abort(self, now: float, reason: str = "") -> None:
        """End at once; what is queued is dropped (ABORT, section 9.1). The peer is told the reason."""
        if self.state is _S.CLOSED:
            return
        self.abort_with(causes.user_initiated_abort(reason), reason or "aborted by the user", by_peer=False)

    # -- the machine ------------------------------------------------------------------------------------------

    def receive_datagrams(self, datagrams: Sequence[bytes], now: float, source: TransportAddress | None = None) -> None:
        """Take in packets from the network. Whatever they hold, nothing is raised.

        Args:
            datagrams: the packets that came at once.
            now: monotonic seconds.
            source: where they came from; None when there is only one way.
        """
        self.source = source
        for datagram in datagrams:
            self.packets_received += 1
            self.bytes_received += len(datagram)
            try:
                packet = parse_packet_untrusted(datagram, zero_checksum_acceptable=self.options.zero_checksum)
            except BadPacket:
                self.packets_discarded += 1
                continue
            if packet.source_port != self.options.remote_port or packet.destination_port != self.options.local_port:
                self.packets_discarded += 1
                continue
            self.writer.packet_received()
            if not inbound.handle_packet(self, packet, now):
                self.packets_discarded += 1
        inbound.batch_done(self, now)

    def handle_timeout(self, now: float) -> None:
        """Do what is due by `now`."""
        if self.t1.expire(now):
            setup.handle_t1_expired(self, now)
        if self.t5_shutdown_guard.expire(now):
            # RFC 9260, 9.2: "At the expiration of this timer, the sender SHOULD abort the association by sending an
            # ABORT chunk."
            self.abort_with(causes.protocol_violation("shutdown takes too long"), "the shutdown took too long", False)
        if self.t2.expire(now):
            teardown.handle_t2_expired(self, now)
        tcb = self.tcb
        if tcb is None:
            return
        tcb.sender.handle_timeout(now)
        fault_management.t3_expired(self, tcb, now)
        if self.tcb is tcb and tcb.reconfig.timer.expire(now):
            reconfigure.timer_expired(self, tcb, now)
        if self.tcb is tcb and tcb.asconf.t4.expire(now):
            address_changes.t4_expired(self, tcb, now)
        if self.tcb is tcb:
            fault_management.heartbeats_expired(self, tcb, now)
        if tcb.tracker.sack_timer.expire(now):
            tcb.tracker.sack_now = True
        tcb.sender.expire(now)

    def next_timeout(self) -> float | None:
        """When `handle_timeout` should be called, in monotonic seconds, or None."""
        moment = earliest(earliest(self.t1.expires_at, self.t2.expires_at), self.t5_shutdown_guard.expires_at)
        return moment if self.tcb is None else earliest(moment, self.tcb.next_timeout())

    def datagrams_to_send(self, now: float) -> list[bytes]:
        """The packets that may leave now, for who has only one way to send them; an empty list means nothing."""
        runs = self.packets_to_send(now)
        if len(runs) == 1:
            return runs[0][1]
        return [packet for _, packets in runs for packet in packets]

    def packets_to_send(self, now: float) -> list[Run]:
        """The packets that may leave now, each run with the address it goes to, in order.

        The address is None for an association that was never told any.
        """
        tcb = self.tcb
        if tcb is not None:
            reconfigure.start_next_request(self, tcb)
            address_changes.start_next(self, tcb, now)
            fault_management.search_paths(self, tcb, now)
        runs = self.writer.write(self.state, tcb, now)
        if tcb is not None:
            self._after_writing(tcb, now)
            reconfigure.start_next_request(self, tcb)
            if self.writer.shutdown_due or self.writer.shutdown_ack_due or tcb.reconfig.due:
                runs.extend(self.writer.write(self.state, tcb, now))
        return runs

    def events(self) -> list[Event]:
        """What happened since the last call."""
        for stream_id, bytes_left in self.queue.drain_progress():
            self.pending.append(StreamProgress(stream_id, bytes_left))
        events = self.pending
        self.pending = []
        return events

    def stats(self) -> AssociationStats:
        """Counters, and the state of the association and its paths."""
        return look_at(self)

    # -- used by setup, inbound and teardown ------------------------------------------------------------------

    def enter(self, state: AssociationState) -> None:
        """Change the state along the table in `states`."""
        if state is not self.state and state not in TRANSITIONS[self.state]:
            raise InvalidState(f"no way leads from {self.state.value} to {state.value}")
        self.state = state

    def new_tag(self) -> int:
        """A random Verification Tag, 1 to 4294967295."""
        tag = 0
        while tag == 0:
            tag = int.from_bytes(self.entropy(4), "big")
        return tag

    def new_random(self) -> bytes:
        """A Random Number for keys, if chunks are to be authenticated."""
        return self.entropy(RANDOM_LENGTH) if self.options.authentication else b""

    def new_initial_tsn(self) -> int:
        """A random Initial TSN."""
        return int.from_bytes(self.entropy(4), "big")

    def remember(self, tcb: Tcb) -> None:
        """This one is over, and its cookie is to set up nothing again."""
        self.ended = [*self.ended[1 - MAX_ENDED :], tcb.peer_tag]

    def deliver(self, tcb: Tcb, first: int) -> None:
        """Account for the messages appended to `pending` from index `first` on."""
        for event in self.pending[first:]:
            if isinstance(event, MessageReceived):
                tcb.unconsumed += len(event.data) + OVERHEAD
                tcb.unconsumed_messages += 1

    def abort_with(self, cause: ErrorCause, reason: str, by_peer: bool) -> None:
        """Send an ABORT and end the association."""
        if self.tcb is not None:
            self.writer.add_packet(
                self.tcb.peer_tag, AbortChunk([cause]).serialize(), self.tcb.path.address, self.tcb.auth
            )
        self.close(AssociationLost(reason, by_peer=by_peer, cause_code=cause.code))

    def close(self, event: Event) -> None:
        """Remove all record of the association; what was not delivered is reported."""
        tcb = self.tcb
        lost = [] if tcb is None else tcb.sender.outstanding.unacknowledged_messages()
        undelivered = {id(message): message for message in [*lost, *self.queue.clear()]}
        for message in undelivered.values():
            report_failed(self, message, "the association ended")
        if tcb is not None:
            self.remember(tcb)
        self.state = _S.CLOSED
        self.tcb = None
        self.t1.stop()
        self.t2.stop()
        self.t5_shutdown_guard.stop()
        self.shutdown_wanted = False
        self.unfinished_sender = None
        self.writer.forget()
        self.pending.append(event)

    # -- details ----------------------------------------------------------------------------------------------

    def _after_writing(self, tcb: Tcb, now: float) -> None:
        for message in tcb.sender.abandoned:
            report_abandoned(self, message)
        tcb.sender.abandoned.clear()
        if self.keys.retiring:
            for key_id in self.keys.release(tcb.sender.keys_in_use()):
                self.pending.append(AuthenticationChanged(key_id, AuthenticationIndication.FREE_KEY))
        if self.state in SHUTTING_DOWN:
            teardown.advance(self, tcb, now)
        elif not self._was_dry and tcb.sender.all_acknowledged and self.queue.empty:
            self._was_dry = True
            self.pending.append(SenderDry())
