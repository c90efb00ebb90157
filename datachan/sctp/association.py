"""One SCTP association as a sans-IO machine: datagrams and time in, datagrams and events out (RFC 9260).

This is the front of the machine: the calls of the application, one batch of packets in, the timers, one batch out. The
steps in between are in `procedures`, their shared state in `core`. One writer builds all packets. While
CLOSED it keeps no state of an INIT: all of it travels in the State Cookie.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Final

from .addresses import TransportAddress
from .core import Core
from .errors import BadPacket, InvalidState, InvalidStream
from .events import AuthenticationChanged, AuthenticationIndication, Event, SenderDry, StreamProgress
from .options import AssociationOptions
from .path_history import PathName
from .procedures import address_changes, dispatch, handshake, path_mtu, paths, reconfiguration, revival, shutdown
from .procedures.data import make_room
from .records.capabilities import OPTIONAL, Capabilities
from .records.cookie import CookieSealer, StateCookieContent
from .records.keys import Authenticator, KeyRing
from .rx.base import OVERHEAD
from .states import SHUTTING_DOWN, AssociationState
from .stats import AssociationStats, collect_stats
from .tcb import Tcb
from .timers import earliest
from .tx.scheduler import MAX_PRIORITY, make_scheduler
from .tx.send_queue import OutgoingMessage
from .wire import causes
from .wire.chunks import DATA_HEADER_LENGTH, SackChunk, UserDataChunk
from .wire.extensions import I_DATA_HEADER_LENGTH
from .wire.packet import (
    COMMON_HEADER_LENGTH,
    SHORTEST_PACKET,
    Packet,
    parse_chunks_untrusted,
    parse_packet_untrusted,
)
from .wire.parameters import ADD_IP_ADDRESS, DELETE_IP_ADDRESS, SET_PRIMARY_ADDRESS
from .writer import Run, available_window

__all__ = ["Association", "AssociationState", "AssociationStats"]

_S = AssociationState
_MASK: Final = 0xFFFFFFFF


class Association:
    """One SCTP association with one peer, at one or several of its addresses.

    After any call drain `packets_to_send` and `events`, then arm one timer with `next_timeout`.

    Args:
        options: the protocol parameters.
        entropy: returns the requested number of random bytes. Tags, Initial TSNs and the cookie's secret come from
            it.
        sealer: seals the State Cookies, where several associations share a secret.
    """

    __slots__ = ("_core",)

    def __init__(
        self, options: AssociationOptions, entropy: Callable[[int], bytes], sealer: CookieSealer | None = None
    ) -> None:
        self._core = Core(options, entropy, sealer)

    # -- what is known -------------------------------------------------------------------------------------------------

    @property
    def state(self) -> AssociationState:
        """The state of the association."""
        return self._core.state

    @property
    def options(self) -> AssociationOptions:
        """The current protocol parameters."""
        return self._core.options

    @property
    def keys(self) -> KeyRing:
        """The shared keys that chunks are signed with (RFC 4895)."""
        return self._core.keys

    @property
    def local_tag(self) -> int:
        """Our Verification Tag, 0 before there is one."""
        return self._core.local_tag

    @property
    def peer_tag(self) -> int:
        """The peer's Verification Tag, 0 while there is no association."""
        tcb = self._core.tcb
        return 0 if tcb is None else tcb.peer_tag

    @property
    def local_initial_tsn(self) -> int:
        """Our Initial TSN, 32 bits."""
        return self._core.local_initial_tsn

    @property
    def local_addresses(self) -> list[str]:
        """Our IP addresses that the peer knows, if there are several."""
        return self._core.local_addresses

    @property
    def extensions(self) -> Capabilities | None:
        """The extensions negotiated with the peer; None before the handshake and after the end."""
        tcb = self._core.tcb
        return None if tcb is None else tcb.capabilities

    @property
    def authenticator(self) -> Authenticator | None:
        """Signs and checks chunks; None without authentication (RFC 4895)."""
        tcb = self._core.tcb
        return None if tcb is None else tcb.auth

    @property
    def peer_authenticated_chunks(self) -> tuple[int, ...]:
        """The chunk types that the peer accepts only when they are signed."""
        auth = self.authenticator
        return () if auth is None else tuple(sorted(auth.peer_chunks))

    @property
    def inbound_streams(self) -> int:
        """The number of streams the peer may send on; before the handshake, the number we accept."""
        tcb = self._core.tcb
        return self._core.options.inbound_streams if tcb is None else tcb.inbound_streams

    @property
    def outbound_streams(self) -> int:
        """The number of outgoing streams; before the handshake, the number to request."""
        tcb = self._core.tcb
        return self._core.options.outbound_streams if tcb is None else tcb.outbound_streams

    @property
    def max_fragment(self) -> int:
        """The largest number of user bytes of a message in one packet."""
        if self._core.tcb is not None:
            return self._core.tcb.sender.max_fragment
        options = self._core.options
        header = I_DATA_HEADER_LENGTH if options.interleaving else DATA_HEADER_LENGTH
        size = (options.first_packet_size - COMMON_HEADER_LENGTH & ~3) - header
        return min(size, options.max_fragment) if options.max_fragment else size

    @property
    def closing(self) -> bool:
        """Whether `send` raises InvalidState because either side requested a graceful shutdown."""
        return self._core.shutdown_requested or self._core.state in SHUTTING_DOWN

    @property
    def cumulative_tsn(self) -> int:
        """The Cumulative TSN of the data received so far, as on the wire; 0 without an association."""
        tcb = self._core.tcb
        return 0 if tcb is None else tcb.tracker.cumulative_tsn & _MASK

    @property
    def all_acknowledged(self) -> bool:
        """Whether nothing is queued and the peer has acknowledged everything sent."""
        tcb = self._core.tcb
        return self._core.queue.empty and (tcb is None or tcb.sender.all_acknowledged)

    @property
    def user_data_moved(self) -> int:
        """A number that grows with each DATA chunk received or sent for the first time."""
        tcb = self._core.tcb
        return 0 if tcb is None else tcb.tracker.highest_tsn + tcb.sender.outstanding.next_tsn

    def peer_addresses(self) -> list[TransportAddress]:
        """Return the known addresses of the peer; before it has answered, those passed to `connect`."""
        tcb = self._core.tcb
        if tcb is None:
            return self._core.init_addresses
        return [path.address for path in tcb.paths.all if path.address is not None]

    def buffered_amount(self, stream_id: int) -> int:
        """Return the user bytes of a stream that are queued and not yet sent."""
        return self._core.queue.buffered_amount(stream_id)

    def stats(self) -> AssociationStats:
        """Return the counters and the state of the association and its paths."""
        return collect_stats(self._core)

    def losses(self) -> tuple[int, int, int]:
        """Return retransmitted DATA chunks, and messages abandoned by lifetime and by the limit of retransmissions.

        They are part of `stats`, which costs much more when thousands of associations are asked.
        """
        core = self._core
        abandoned = core.abandoned.total()
        return (
            0 if core.tcb is None else core.tcb.sender.retransmissions,
            abandoned.lifetime_unsent + abandoned.lifetime_sent,
            abandoned.retransmissions_unsent + abandoned.retransmissions_sent,
        )

    def check_invariants(self) -> None:
        """Raise AssertionError if the counters of the sender or the receiver are inconsistent; for tests."""
        self._core.queue.check_invariants()
        tcb = self._core.tcb
        if tcb is not None:
            tcb.check_invariants()

    # -- the application's calls ---------------------------------------------------------------------------------------

    def connect(self, now: float, addresses: Sequence[TransportAddress] = ()) -> None:
        """Start the four-way handshake (ASSOCIATE, section 11.1.2). Both sides may.

        Args:
            now: monotonic seconds.
            addresses: the addresses to send INIT to, in this order; none when there is only one path. The peer's INIT
                ACK says which addresses it has.

        Raises:
            InvalidState: the association is not CLOSED.
        """
        core = self._core
        self._check_closed()
        core.local_tag = core.new_tag()
        core.local_initial_tsn = core.new_initial_tsn()
        core.init_types = OPTIONAL
        core.cookie_preservative = 0.0
        core.local_random = core.new_random()
        core.init_addresses = list(addresses)
        core.enter(_S.COOKIE_WAIT)
        handshake.send_init(core, now)

    def connect_negotiated(self, local_init: bytes, remote_init: bytes, now: float) -> None:
        """Establish the association without packets, from INITs exchanged by signaling (draft-hancke-tsvwg-snap).

        Use this only over a lower layer that has authenticated the peer. The peer must do the same.

        Args:
            local_init: our INIT, from `make_init` with the options of this association.
            remote_init: the peer's INIT.
            now: monotonic seconds.

        Raises:
            InvalidState: the association is not CLOSED.
            BadPacket: the bytes are not an INIT chunk; `read_init_untrusted` checks them beforehand.
        """
        self._check_closed()
        handshake.establish_negotiated(self._core, local_init, remote_init, now)

    def _check_closed(self) -> None:
        if self._core.state is not _S.CLOSED:
            raise InvalidState(f"the association is {self._core.state.value}; only a closed one can connect")

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
            data: the message, not empty. The engine sets no limit to its length.
            ppid: payload protocol identifier.
            now: monotonic seconds.
            unordered: deliver it as soon as it is complete.
            lifetime: seconds after which the message is abandoned (RFC 3758), or None.
            max_retransmissions: retransmissions of a fragment after which the message is abandoned (RFC 7496), or None.
            drop_priority: the message may be abandoned while it is queued, to make room in the send buffer for one with
                a smaller number or none (RFC 7496, section 3.2); 0 is the highest priority.
            auth_key: the Shared Key Identifier to sign it with, if DATA is signed (RFC 4895); None for the active key.
            destination: the peer's address to send it to while that is reachable; None for the primary one. While it
                waits for its path, messages queued before it are not overtaken.
            context: returned in `SendFailed`.

        Raises:
            InvalidState: the association is shutting down.
            InvalidStream: the stream does not exist.
            SendBufferFull: the option `send_buffer` leaves no room.
            UnknownKey: the shared key does not exist or was deactivated.
            InvalidAddress: `destination` is not an address of the peer.
            ValueError: `data` is empty.
        """
        core = self._core
        if self.closing:
            raise InvalidState(f"the association is {core.state.value}; nothing new can be sent")
        self._check_outbound(stream_id)
        if not data:
            # RFC 9260, 6.2: "An endpoint SHOULD NOT send a DATA chunk with no user data part."
            raise ValueError("an SCTP message holds at least one byte")
        if core.options.send_buffer:
            make_room(core, len(data), drop_priority)
        expires_at = None if lifetime is None else now + lifetime
        message = OutgoingMessage(
            stream_id, ppid, data, unordered, expires_at, max_retransmissions, context, drop_priority
        )
        if auth_key is not None or core.keys.active:
            message.key_id = core.keys.usable(core.keys.active if auth_key is None else auth_key)
        if destination is not None:
            paths.direct_message(core, message, destination)
        core.queue.add(message)
        core.was_dry = False

    def _check_outbound(self, stream_id: int) -> None:
        if not 0 <= stream_id < self.outbound_streams:
            raise InvalidStream(f"stream {stream_id} is not one of the {self.outbound_streams} outbound streams")

    def message_consumed(self, size: int, now: float, messages: int = 1) -> None:
        """Open the receiver window again for messages whose `MessageReceived` was handled.

        Args:
            size: the length of their data, together.
            now: monotonic seconds.
            messages: the number of messages.
        """
        tcb = self._core.tcb
        if tcb is None:
            return
        tcb.unconsumed = max(tcb.unconsumed - size - OVERHEAD * messages, 0)
        tcb.unconsumed_messages = max(tcb.unconsumed_messages - messages, 0)
        tcb.window.record_read(size, tcb.path.srtt, now)
        # RFC 9260, 6.2: "send a window update only if the window can be increased by at least a quarter of the receive
        # buffer size of the association."
        if available_window(self._core.options, tcb) >= tcb.advertised_a_rwnd + tcb.window.size // 4:
            tcb.tracker.request_sack()

    def set_stream_priority(self, stream_id: int, priority: int) -> None:
        """Set the priority of a stream for schedulers that use it (RFC 8260, section 3).

        Args:
            stream_id: the stream.
            priority: 1 to 65535, the default is 256. A higher number is more important; with "wfq" it is the weight.

        Raises:
            InvalidStream: the stream does not exist.
            ValueError: the priority is out of range.
        """
        self._check_outbound(stream_id)
        if not 0 < priority <= MAX_PRIORITY:
            raise ValueError(f"the priority is {priority}; it may be 1 to {MAX_PRIORITY}")
        self._core.queue.set_priority(stream_id, priority)

    def change_options(self, options: AssociationOptions) -> None:
        """Change parameters of a live association: RTO bounds, retransmission limits, SACK delay, scheduler and so on.

        The results of the handshake stay unchanged: ports, addresses, streams and extensions. So do the congestion
        control, the packet size, and the values that `set_path_parameters` set for single paths.

        Args:
            options: a changed copy of the current ones.
        """
        core = self._core
        if options.scheduler != core.options.scheduler:
            core.queue.change_scheduler(make_scheduler(options.scheduler))
        core.options = options
        core.writer.change_options(options)
        if core.tcb is not None:
            core.tcb.change_options(options)

    def shutdown(self, now: float) -> None:
        """End gracefully: everything queued on both sides is delivered first (SHUTDOWN, section 9.2)."""
        shutdown.start_shutdown(self._core, now)

    def abort(self, now: float, reason: str = "") -> None:
        """End at once and drop queued messages (ABORT, section 9.1). The peer receives the reason."""
        if self._core.state is not _S.CLOSED:
            self._core.abort(causes.user_initiated_abort(reason), reason or "aborted by the user")

    # -- streams (RFC 6525) --------------------------------------------------------------------------------------------

    def reset_streams(self, stream_ids: Sequence[int], now: float) -> None:
        """Reset outgoing streams (RFC 6525, section 5.1.2). Messages queued on them are sent first.

        Raises:
            InvalidState: there is no association.
            InvalidStream: a stream does not exist.
        """
        reconfiguration.request_outgoing_reset(self._core, stream_ids)

    def request_stream_resets(self, stream_ids: Sequence[int], now: float) -> None:
        """Request the reset of incoming streams; all of them if none is given (RFC 6525, section 5.1.3).

        `IncomingStreamsReset` reports that it has, `ReconfigurationFailed` that it will not.

        Raises:
            InvalidState: there is no association.
            InvalidStream: a stream does not exist.
        """
        reconfiguration.request_incoming_reset(self._core, stream_ids)

    def reset_tsns(self, now: float) -> None:
        """Restart the SSNs and TSNs of both directions, once everything sent is acknowledged (RFC 6525, 5.1.4).

        Raises:
            InvalidState: there is no association.
        """
        reconfiguration.request_tsn_reset(self._core)

    def add_streams(self, now: float, *, outgoing: int = 0, incoming: int = 0) -> None:
        """Add outgoing streams, or request incoming ones (RFC 6525, sections 5.1.5 and 5.1.6).

        Raises:
            InvalidState: there is no association.
            InvalidStream: there would be more than `max_streams`.
        """
        reconfiguration.request_streams(self._core, outgoing, incoming)

    # -- several addresses ---------------------------------------------------------------------------------------------

    @property
    def primary_address(self) -> TransportAddress | None:
        """The address that data is sent to while it is reachable; None when there is only one path."""
        tcb = self._core.tcb
        return None if tcb is None else tcb.paths.primary.address

    def set_primary(self, address: TransportAddress) -> None:
        """Send data to this address of the peer while it is reachable (SETPRIMARY, section 11.1.6).

        Raises:
            InvalidState: there is no association.
            InvalidAddress: it is not an address of the peer, or not verified yet (section 5.4).
        """
        paths.set_primary(self._core, address)

    def set_path_parameters(
        self,
        address: TransportAddress | None,
        now: float,
        *,
        heartbeat_interval: float | None = None,
        max_retrans: int | None = None,
    ) -> None:
        """Change the failure detection of one address of the peer, or of all (CHANGEHEARTBEAT, SETFAILURETHRESHOLD).

        Args:
            address: the address; None for all of them.
            now: monotonic seconds.
            heartbeat_interval: seconds between heartbeats while the path is idle, the RTO aside; 0 turns them off.
            max_retrans: unanswered retransmissions and heartbeats that make it inactive.

        Raises:
            InvalidState: there is no association.
            InvalidAddress: it is not an address of the peer.
        """
        paths.set_path_parameters(self._core, address, now, heartbeat_interval, max_retrans)

    def request_heartbeat(self, address: TransportAddress, now: float) -> None:
        """Send a HEARTBEAT to an address of the peer at once (REQUESTHEARTBEAT, section 11.1.9).

        Raises:
            InvalidState: there is no association, or it is ending.
            InvalidAddress: it is not an address of the peer.
        """
        paths.request_heartbeat(self._core, address, now)

    def add_address(self, ip: str) -> None:
        """Request that the peer accepts another address of ours (RFC 5061, section 4.2.1).

        `LocalAddressChanged` reports the result. No packet may be sent from the address until the peer has accepted it.

        Args:
            ip: the address; 0.0.0.0 or :: for the source address of the request.

        Raises:
            InvalidState: there is no association, or the peer does not support it.
            InvalidAddress: it is not a unicast address.
        """
        address_changes.request_change(self._core, ADD_IP_ADDRESS, ip)

    def delete_address(self, ip: str) -> None:
        """Give up an address of ours (RFC 5061, section 4.2.2).

        No packet may be sent from there any more. `LocalAddressChanged` reports when the peer stops sending to it.

        Args:
            ip: the address; 0.0.0.0 or :: for all but the source address of the request.

        Raises:
            InvalidState: there is no association, or the peer does not support it.
            InvalidAddress: the peer does not know the address, or knows no other.
        """
        address_changes.request_change(self._core, DELETE_IP_ADDRESS, ip)

    def request_peer_primary(self, ip: str) -> None:
        """Request that the peer sends to this address of ours (RFC 5061, section 4.2.4).

        Raises:
            InvalidState: there is no association, or the peer does not support it.
            InvalidAddress: the peer does not know the address.
        """
        address_changes.request_change(self._core, SET_PRIMARY_ADDRESS, ip)

    def source_addresses(self) -> list[str]:
        """Return our addresses that packets may be sent from now; none when the options list none."""
        return address_changes.source_addresses(self._core)

    # -- the lower layer -----------------------------------------------------------------------------------------------

    def path_changed(
        self,
        now: float,
        max_packet_size: int = 0,
        packet_overhead: int = 0,
        *,
        lost: bool = False,
        name: PathName | None = None,
    ) -> None:
        """Start with the initial window and no round trip: the lower layer moved to another path (another ICE pair).

        What is in flight stays in flight, and the timers find what is lost with the old path. If nothing came through
        on the old path, because T3-rtx has expired or the lower layer says so, the retransmission starts at once.

        RFC 8261, 6.1: "If the SCTP layer is notified about a path change by its lower layers, SCTP SHOULD retest the
        path MTU and reset the congestion state to the initial state."

        Args:
            now: monotonic seconds.
            max_packet_size: as the option; 0 for the same as before. Without path MTU discovery it does not change.
            packet_overhead: as the option; 0 for the same as before. Without path MTU discovery it does not change.
            lost: whether the old path was silent, so that what is in flight is probably lost.
            name: the option `path_name` of the new path.
        """
        core = self._core
        core.options = options = dataclasses.replace(core.options, path_name=name)
        if options.path_mtu_discovery:
            core.options = options = dataclasses.replace(
                options,
                max_packet_size=max_packet_size or options.max_packet_size,
                packet_overhead=packet_overhead or options.packet_overhead,
            )
        if core.tcb is not None:
            core.tcb.sender.path_changed(options, now, lost=lost)

    def path_alive(self, now: float) -> None:
        """Report that the lower layer received a packet of the peer, such as the answer to a consent check of ICE.

        What waits for a timer that an outage has backed off is sent again at once; of data, one packet.

        Args:
            now: monotonic seconds.
        """
        revival.revive(self._core, None, now)

    @property
    def dont_fragment(self) -> bool:
        """Whether the lower layer must deliver packets in one piece or drop them; else it may also fragment them."""
        return self.dont_fragment_to(None)

    def dont_fragment_to(self, address: TransportAddress | None) -> bool:
        """Return `dont_fragment` for packets to one of the peer's addresses."""
        return path_mtu.dont_fragment(self._core, address)

    def packet_too_long(self, length: int, now: float, address: TransportAddress | None = None, link: int = 0) -> None:
        """Report that a packet was not sent because it is too long for the first link of the path.

        Args:
            length: the length of the packet in bytes.
            now: monotonic seconds.
            address: its destination; None where there is only one path.
            link: the longest packet that the link carries, in bytes; 0 if unknown.
        """
        path_mtu.handle_packet_too_long(self._core, length, now, address, link)

    # -- the machine ---------------------------------------------------------------------------------------------------

    def receive_datagrams(self, datagrams: Sequence[bytes], now: float, source: TransportAddress | None = None) -> None:
        """Process packets from the network. No content of theirs raises an exception.

        Args:
            datagrams: the packets received together.
            now: monotonic seconds.
            source: the address they came from; None when there is only one path.
        """
        core = self._core
        core.source = source
        options = core.options
        for datagram in datagrams:
            core.packets_received += 1
            core.bytes_received += len(datagram)
            try:
                if self._receive_usual_untrusted(datagram, now):
                    continue
                packet = parse_packet_untrusted(datagram, zero_checksum_acceptable=options.zero_checksum)
            except BadPacket:
                core.packets_discarded += 1
                continue
            self._receive(packet, now, None)
        dispatch.finish_batch(core, now)

    def receive_packet(
        self,
        packet: Packet,
        size: int,
        now: float,
        source: TransportAddress | None = None,
        cookie: StateCookieContent | None = None,
    ) -> None:
        """Process one packet that the caller has parsed.

        Args:
            packet: the packet.
            size: its length in bytes.
            now: monotonic seconds.
            source: the address it came from; None when there is only one path.
            cookie: the content of its State Cookie, if the caller has opened it.
        """
        core = self._core
        core.source = source
        core.packets_received += 1
        core.bytes_received += size
        self._receive(packet, now, cookie)
        dispatch.finish_batch(core, now)

    def _receive_usual_untrusted(self, datagram: bytes, now: float) -> bool:
        """Process a packet with DATA or a SACK as most packets are; return False if it is another one: the hot path.

        Ports, tag and checksum are those of all packets of the peer, so that one comparison checks them.

        Raises:
            BadPacket: as `parse_packet_untrusted`.
        """
        core = self._core
        tcb = core.tcb
        if (
            tcb is None
            or not tcb.peer_header
            or not datagram.startswith(tcb.peer_header)
            or len(datagram) < SHORTEST_PACKET
            or tcb.auth is not None
            or core.unconfirmed
        ):
            return False
        chunks = parse_chunks_untrusted(datagram)
        if not isinstance(chunks[0], (UserDataChunk, SackChunk)):
            return False
        core.prepare_replies()
        if not dispatch.handle_admitted(core, tcb, chunks, now):
            core.packets_discarded += 1
        return True

    def _receive(self, packet: Packet, now: float, cookie: StateCookieContent | None) -> None:
        core = self._core
        options = core.options
        if packet.source_port != options.remote_port or packet.destination_port != options.local_port:
            core.packets_discarded += 1
            return
        core.prepare_replies()
        if not dispatch.handle_packet(core, packet, now, cookie):
            core.packets_discarded += 1

    def handle_timeout(self, now: float) -> None:
        """Handle the timeouts that are due by `now`."""
        core = self._core
        if core.t1.expire(now):
            handshake.handle_t1_timeout(core, now)
        if core.t5_shutdown_guard.expire(now):
            shutdown.handle_guard_timeout(core)
        if core.t2.expire(now):
            shutdown.handle_t2_timeout(core, now)
        tcb = core.tcb
        if tcb is None:
            return
        tcb.sender.handle_timeout(now)
        paths.handle_t3_timeouts(core, tcb, now)
        if core.tcb is tcb and tcb.reconfig.timer.expire(now):
            reconfiguration.handle_timeout(core, tcb, now)
        if core.tcb is tcb and tcb.asconf.t4.expire(now):
            address_changes.handle_t4_timeout(core, tcb, now)
        if core.tcb is tcb:
            paths.handle_heartbeat_timeouts(core, tcb, now)
        tcb.tracker.handle_timeout(now)
        tcb.sender.expire(now)

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` should be called, in monotonic seconds, or None."""
        core = self._core
        moment = earliest(earliest(core.t1.expires_at, core.t2.expires_at), core.t5_shutdown_guard.expires_at)
        return moment if core.tcb is None else earliest(moment, core.tcb.next_timeout())

    def datagrams_to_send(self, now: float) -> list[bytes]:
        """Return the packets that may leave now, for a lower layer with only one path."""
        runs = self.packets_to_send(now)
        if len(runs) == 1:
            return runs[0][1]
        return [packet for _, packets in runs for packet in packets]

    def packets_to_send(self, now: float) -> list[Run]:
        """Return the packets that may leave now, in order, each run with its destination.

        The destination is None for an association that has no addresses.
        """
        core = self._core
        tcb = core.tcb
        if tcb is not None:
            reconfiguration.start_next_request(core, tcb)
            address_changes.start_next_request(core, tcb, now)
            path_mtu.search(core, tcb, now)
        runs = core.writer.write(core.state, tcb, core.due, now)
        if tcb is not None:
            self._finish_writing(tcb, now)
            reconfiguration.start_next_request(core, tcb)
            if core.due.shutdown or core.due.shutdown_ack or tcb.reconfig.due:
                runs.extend(core.writer.write(core.state, tcb, core.due, now))
        return runs

    def events(self) -> list[Event]:
        """Return the events since the last call."""
        core = self._core
        for stream_id, bytes_left in core.queue.drain_progress():
            core.events.append(StreamProgress(stream_id, bytes_left))
        events = core.events
        core.events = []
        return events

    def _finish_writing(self, tcb: Tcb, now: float) -> None:
        """Report the results of writing: abandoned messages, released keys, a dry sender; advance a shutdown."""
        core = self._core
        for message in tcb.sender.abandonment.messages:
            core.report_abandoned(message)
        tcb.sender.abandonment.messages.clear()
        if core.keys.retiring:
            for key_id in core.keys.release(tcb.sender.keys_in_use()):
                core.events.append(AuthenticationChanged(key_id, AuthenticationIndication.FREE_KEY))
        if core.state in SHUTTING_DOWN:
            shutdown.advance(core, tcb, now)
        elif not core.was_dry and tcb.sender.all_acknowledged and core.queue.empty:
            core.was_dry = True
            core.events.append(SenderDry())
