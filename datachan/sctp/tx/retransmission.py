"""The data sender: it decides which DATA may be sent now, and on which path.

The rules are those of RFC 9260, sections 6.1 to 6.4 and 7.2, and of RFC 8985. The class joins the send queue, the
outstanding chunks and the paths. It returns chunks one by one and never builds a packet. It reports facts and never
ends the association.
"""

from __future__ import annotations

from typing import Final

from datachan.sctp.options import AssociationOptions
from datachan.sctp.records.path import Path
from datachan.sctp.serial import unwrap
from datachan.sctp.timers import earliest
from datachan.sctp.wire.chunks import DATA_HEADER_LENGTH, SackChunk
from datachan.sctp.wire.extensions import I_DATA_HEADER_LENGTH, ForwardTsnChunk, IForwardTsnChunk

from .abandonment import Abandonment
from .flight import OutstandingChunk
from .outstanding import AckInfo, Interval, OutstandingData
from .path_sender import PathSender
from .policies import LIFETIME, PRIORITY, RETRANSMISSIONS
from .send_queue import OutgoingMessage, SendQueue

MAX_OUTSTANDING: Final = 65535
"""The largest number of chunks between the Cumulative TSN Ack Point and the next TSN. RFC 9260, 6.1: "For each stream,
the data sender MUST NOT have more than 2^16 - 1 ordered user messages in the current send window." A message is at
least one chunk."""

LEAST_FILLING: Final = 256
"""Bytes from which the rest of a packet is filled with a fragment of a message that needs several packets anyway.
Packets of one size are sent and received together (UDP_SEGMENT, UDP_GRO)."""


class RetransmissionQueue:
    """The data sender of one association.

    Attributes:
        outstanding: the chunks sent and not acknowledged.
        packet_key: the Shared Key Identifier of the DATA in the packet being built, if DATA is authenticated.
        current: the path that new data is sent on.
        directed: whether the application ever chose the path of a message itself.
        senders: all paths.
        writing: the path whose packets are being built.
        abandonment: partial reliability.
        retransmissions: the number of chunks retransmitted, for statistics.
        spurious_recoveries: the number of loss episodes undone because nothing had been lost, for statistics.
        packet: the number of the packet being built.
        suspended: whether no new TSNs are assigned (RFC 6525, section 5.1.4).
    """

    __slots__ = (
        "_a_rwnd",
        "_by_packets",
        "_delay_small",
        "_header_length",
        "_max_fragment",
        "_options",
        "_packet_room",
        "_probing",
        "_queue",
        "_reserved",
        "_sack_since_t3",
        "_signing",
        "abandonment",
        "current",
        "directed",
        "outstanding",
        "packet",
        "packet_key",
        "retransmissions",
        "senders",
        "spurious_recoveries",
        "suspended",
        "writing",
    )

    def __init__(
        self,
        options: AssociationOptions,
        path: Path,
        queue: SendQueue,
        initial_tsn: int,
        peer_a_rwnd: int,
        can_abandon: bool,
        interleaving: bool = False,
    ) -> None:
        self.outstanding = OutstandingData(initial_tsn, interleaving)
        self.abandonment = Abandonment(self.outstanding, queue, can_abandon)
        self.retransmissions = 0
        self.spurious_recoveries = 0
        self.packet = 0
        self.suspended = False
        self._options = options
        self._queue = queue
        self._a_rwnd = peer_a_rwnd
        self._header_length = I_DATA_HEADER_LENGTH if interleaving else DATA_HEADER_LENGTH
        self._packet_room = 0  # bytes for chunks in a packet that fits every path
        self._max_fragment = 0
        self._reserved = 0  # bytes of every packet kept free for other chunks
        self._signing = False
        self.packet_key = 0
        self.directed = False
        self._by_packets = options.scheduler == "round-robin-per-packet"
        self._delay_small = options.delay_small_packets
        self._probing = False
        self._sack_since_t3 = False
        self.senders: list[PathSender] = []
        self.current = self.writing = self.add_path(path)

    @property
    def max_fragment(self) -> int:
        """The largest number of user bytes of a message that go into one packet."""
        return self._max_fragment

    def change_options(self, options: AssociationOptions) -> None:
        """Apply changed options."""
        self._options = options
        self._by_packets = options.scheduler == "round-robin-per-packet"
        self._delay_small = options.delay_small_packets
        for sender in self.senders:
            sender.change_options(options)
        self._fit_fragments()

    def add_path(self, path: Path) -> PathSender:
        """Add a destination, on which nothing is sent yet; return its sender."""
        sender = PathSender(self._options, path, self.outstanding.next_tsn)
        self.senders.append(sender)
        self.outstanding.add_flight(sender.flight)
        self._fit_fragments()
        return sender

    def _fit_fragments(self) -> None:
        """Fit the fragment size to the smallest packet of all paths.

        RFC 9260, 7.3: "The sender SHOULD track an AMDCS that will be the smallest PMDCS discovered for all of the
        peer's destination addresses.  When fragmenting messages into multiple parts, this AMDCS SHOULD be used to
        calculate the size of each DATA chunk."
        """
        self._packet_room = min([sender.max_packet for sender in self.senders]) - self._reserved
        size = self._packet_room - self._header_length
        limit = self._options.max_fragment
        self._max_fragment = min(size, limit) if limit else size

    def reserve(self, size: int, signing: bool) -> None:
        """Leave `size` bytes of every packet free; if `signing`, put DATA of one key only into a packet."""
        self._reserved = size
        self._signing = signing
        self._fit_fragments()

    def packet_size_changed(self, sender: PathSender) -> None:
        """Adopt the new packet size of a path."""
        sender.packet_size_changed(self.outstanding.highest_tsn if self.outstanding else -1)
        self._fit_fragments()

    def start_path_mtu_search(self, now: float) -> None:
        """Start the path MTU search on all paths, because the peer searches and so supports the probes."""
        for sender in self.senders:
            sender.path.pmtu.peer_searches(now)

    def sender_on(self, path: Path) -> PathSender | None:
        """Return the sender of a path, if it has one."""
        for sender in self.senders:
            if sender.path is path:
                return sender
        return None

    def set_current(self, path: Path) -> None:
        """Send new data on this path from now on."""
        sender = self.sender_on(path)
        if sender is not None:
            self.current = self.writing = sender

    def remove_path(self, path: Path) -> None:
        """Remove a destination other than the current one; retransmit its outstanding chunks on the current one."""
        sender = self.sender_on(path)
        if sender is None or sender is self.current:
            return
        self.abandonment.give_up(self.outstanding.mark_all_lost(sender.flight), RETRANSMISSIONS)
        self.move_lost(sender, self.current)
        self.outstanding.remove_flight(sender.flight, self.current.flight)
        path.t3_rtx.stop()
        self.senders.remove(sender)

    def restart_at(self, tsn: int) -> None:
        """Restart TSNs with this one; outstanding chunks count as acknowledged (RFC 6525, 5.2.4, G2 and G3)."""
        self.outstanding = OutstandingData(tsn, self.outstanding.interleaving)
        for sender in self.senders:
            sender.restart_at(tsn)
            self.outstanding.add_flight(sender.flight)
        self.abandonment.restart(self.outstanding)
        self._probing = False

    def path_changed(self, options: AssociationOptions, now: float, *, lost: bool) -> None:
        """Discard the measurements of the current path because its packets take another route.

        The back-off of T3-rtx belongs to the old route: data that waits for it is retransmitted at once, as is data
        that was `lost` with the old route.
        """
        current = self.current
        waiting = current.path.backed_off or lost
        current.path_changed(options)
        current.path.unanswered = waiting
        if waiting:
            self.resume(current)
            # The new path may begin to work later: its first sign of life counts, too.
            current.path.t3_rtx.hastened = False
        if current.path.t3_rtx.running:
            current.path.t3_rtx.start(now, current.path.rto)

    # -- state ---------------------------------------------------------------------------------------------------------

    @property
    def peer_rwnd(self) -> int:
        """The bytes the peer can still receive (rwnd of section 6.2.1)."""
        return max(self._a_rwnd - self.outstanding.flight_payload, 0)

    @property
    def all_acknowledged(self) -> bool:
        """Whether nothing is outstanding."""
        return not self.outstanding

    def next_timeout(self) -> float | None:
        """Return when a timer of the sender other than T3-rtx expires, or the next paced packet is due."""
        moment = self._queue.next_expiry()
        for sender in self.senders:
            moment = earliest(moment, sender.next_timeout())
        return moment

    def handle_timeout(self, now: float) -> None:
        """Act on the sender's own timers that have expired."""
        for sender in self.senders:
            sender.path.pmtu.handle_timeout(now)
            if sender.reordering_timer.expire(now):
                self._reordering_timeout(sender, now)
            if sender.probe.timer.expire(now):
                self._send_loss_probe(sender, now)

    def _reordering_timeout(self, sender: PathSender, now: float) -> None:
        exhausted: list[OutgoingMessage] = []
        lost = self._detect_losses(sender, now, exhausted)
        if lost:
            sender.enter_recovery(self.outstanding.highest_tsn, sender.flight.size + lost, now)
        self.abandonment.give_up(exhausted, RETRANSMISSIONS)
        self.outstanding.advance_peer_ack_point()
        self._schedule_forward_tsn(now)

    def expire(self, now: float) -> None:
        """Abandon the messages whose lifetime has ended: queued ones, and those next in turn to be retransmitted."""
        for message in self._queue.expire(now):
            self.abandonment.abandon(message, LIFETIME)
        for sender in self.senders:
            if sender.flight.lost:
                self._next_lost(sender, now)

    # -- SACK ----------------------------------------------------------------------------------------------------------

    def handle_sack(self, cumulative_tsn_ack: int, sack: SackChunk, now: float) -> AckInfo | None:
        """Process a SACK.

        Args:
            cumulative_tsn_ack: the Cumulative TSN Ack of the SACK, unwrapped.
            sack: the chunk.
            now: monotonic seconds.

        Returns:
            The effect of the SACK; None when it is old or acknowledges a TSN that was never sent.
        """
        outstanding = self.outstanding
        # RFC 9260, 6.2.1, D i: "If Cumulative TSN Ack is less than the Cumulative TSN Ack Point, then drop the SACK
        # chunk."
        if cumulative_tsn_ack < outstanding.cumulative_tsn_ack or not outstanding.is_valid_sack(
            cumulative_tsn_ack, sack.gap_ack_blocks
        ):
            return None
        duplicates = [unwrap(tsn, cumulative_tsn_ack) for tsn in sack.duplicate_tsns]
        return self._acknowledge(cumulative_tsn_ack, sack.gap_ack_blocks, sack.a_rwnd, duplicates, now)

    def handle_cumulative_ack(self, cumulative_tsn_ack: int, now: float) -> AckInfo | None:
        """Process the Cumulative TSN Ack of a SHUTDOWN chunk, which has no Gap Ack Blocks and no window.

        Args:
            cumulative_tsn_ack: the Cumulative TSN Ack of the chunk, unwrapped.
            now: monotonic seconds.

        Returns:
            The effect; None when the chunk is old or acknowledges a TSN that was never sent.
        """
        outstanding = self.outstanding
        if cumulative_tsn_ack < outstanding.cumulative_tsn_ack or not outstanding.is_valid_sack(cumulative_tsn_ack, []):
            return None
        if cumulative_tsn_ack == outstanding.cumulative_tsn_ack:
            return AckInfo()
        return self._acknowledge(cumulative_tsn_ack, None, self._a_rwnd, [], now)

    def _acknowledge(
        self, cumulative_tsn_ack: int, gaps: list[Interval] | None, a_rwnd: int, duplicates: list[int], now: float
    ) -> AckInfo:
        outstanding = self.outstanding
        for sender in self.senders:
            sender.flight_before = sender.flight.size
        info = outstanding.acknowledge(cumulative_tsn_ack, gaps, now)
        self._a_rwnd = a_rwnd
        self._sack_since_t3 = True
        if info.bytes_acked:
            self._probing = False
        if duplicates:
            self._handle_duplicates(duplicates, cumulative_tsn_ack)
        exhausted: list[OutgoingMessage] = []
        for sender in self.senders:
            self._acknowledge_on(sender, cumulative_tsn_ack, duplicates, exhausted, now)
        if exhausted:
            self.abandonment.give_up(exhausted, RETRANSMISSIONS)
        outstanding.advance_peer_ack_point()
        self._schedule_forward_tsn(now)
        for sender in self.senders:
            sender.open_burst(now)
            self._manage_timers(sender, info, now)
        return info

    def _acknowledge_on(
        self,
        sender: PathSender,
        cumulative_tsn_ack: int,
        duplicates: list[int],
        exhausted: list[OutgoingMessage],
        now: float,
    ) -> None:
        """Apply a SACK to one path: round trip, losses, congestion window."""
        flight, recovery = sender.flight, sender.recovery
        if flight.round_trip is not None:
            sender.path.observe_round_trip(flight.round_trip)
            sender.probe.round_trip_measured()
        if flight.bytes_acked:
            sender.record_acknowledgment(cumulative_tsn_ack)
        repaired = sender.probe.detect_repaired_loss(cumulative_tsn_ack, duplicates)
        in_fast_recovery = recovery.fast
        if recovery.end_if_acknowledged(cumulative_tsn_ack):
            flight.rack.record_recovery_end()
        lost = self._detect_losses(sender, now, exhausted)
        if flight.bytes_acked:
            sample = sender.sample(in_fast_recovery, now)
            sender.path.congestion.on_acknowledged(sample)
            sender.resume.on_acknowledged(sample, sender.path.congestion)
        if lost or repaired:
            sender.enter_recovery(self.outstanding.highest_tsn, sender.flight_before, now)
        if recovery.active and not flight.bytes_acked and flight.has_lost:
            # A SACK has room for a few hundred Gap Ack Blocks. With more gaps it reports nothing new although a packet
            # has left the network. Allow one packet for it; otherwise flight_size would never shrink.
            sender.one_packet_now = True

    def _detect_losses(self, sender: PathSender, now: float, exhausted: list[OutgoingMessage]) -> int:
        """Return the bytes newly found lost; run the reordering timer while more chunks are suspected."""
        if not sender.flight.size:
            sender.reordering_timer.stop()
            return 0
        lost, wait = self.outstanding.detect_losses(sender.flight, sender.reordering_window(), now, exhausted)
        sender.bytes_lost += lost
        if wait > 0:
            sender.reordering_timer.start(now, wait)
        else:
            sender.reordering_timer.stop()
        return lost

    def _handle_duplicates(self, duplicates: list[int], cumulative_tsn_ack: int) -> None:
        """Undo the loss episodes whose retransmissions the peer reports as duplicates."""
        for sender in self.senders:
            flight = sender.flight
            flight.rack.note_duplicates(self.outstanding.next_tsn, cumulative_tsn_ack)
            sender.probe.note_duplicates(duplicates)
            saved = sender.recovery.undo_if_duplicates(duplicates, flight.has_lost)
            if saved is not None:
                sender.path.congestion.on_spurious(*saved)
                self.spurious_recoveries += 1

    def _manage_timers(self, sender: PathSender, info: AckInfo, now: float) -> None:
        path = sender.path
        t3 = path.t3_rtx
        if self.all_acknowledged:
            sender.probe.cancel()
            # RFC 9260, 6.3.2, R2: "Whenever all outstanding data sent to an address have been acknowledged, turn off
            # the T3-rtx timer of that address."
            if sender is not self.current or not self._blocked_by_window():
                t3.stop()
            elif info.cumulative_advanced or not t3.running:
                t3.start(now, path.rto)
            path.congestion.on_all_acknowledged()
            return
        advanced = info.cumulative_advanced
        if len(self.senders) > 1:
            advanced = sender.flight.progress
            if not sender.has_outstanding and not (sender is self.current and self.abandonment.can_forward):
                sender.probe.cancel()
                t3.stop()
                return
        if advanced or not t3.running:
            # R3: "Whenever a SACK chunk is received that acknowledges the DATA chunk with the earliest outstanding TSN
            # for that address, restart the T3-rtx timer for that address with its current RTO"
            t3.start(now, path.rto)
            sender.schedule_probe(now)

    # -- T3-rtx and the loss probe -------------------------------------------------------------------------------------

    def handle_t3_expired(self, sender: PathSender, alternate: PathSender | None, now: float) -> bool:
        """Retransmit after T3-rtx of a path has expired (section 6.3.3).

        Args:
            sender: the sender of that path.
            alternate: the path to retransmit on, if it is another one.
            now: monotonic seconds.

        Returns:
            Whether the timeout counts as an error of the path and the association.
        """
        path = sender.path
        path.back_off()
        sender.probe.cancel()
        sender.reordering_timer.stop()
        if self.all_acknowledged:
            # The timer ran for the zero-window probe, which may be sent now.
            self._probing = self._blocked_by_window()
            return False
        # RFC 9260, 6.1: "If the sender continues to receive SACK chunks from the peer while doing zero window probing,
        # the unacknowledged window probes SHOULD NOT increment the error counter".
        window_closed = self._probing or self._a_rwnd < self._max_fragment
        counts = not (window_closed and self._sack_since_t3)
        self._sack_since_t3 = False
        if not window_closed:
            # "Zero window probing does not affect the calculation of cwnd."
            sender.reduce_after_timeout(self.outstanding.highest_tsn, now)
        self._retransmit_all(sender)
        if alternate is None:
            path.t3_rtx.start(now, path.rto)
        else:
            self.move_lost(sender, alternate)
        return counts

    def resume(self, sender: PathSender) -> bool:
        """Retransmit one packet on a path at once, because the peer has shown that it is reachable again.

        The data in flight was sent while the path did not work. As after T3-rtx, one packet is sent first, and the
        rest after its acknowledgment. This happens once between two expirations of T3-rtx, so that T3-rtx still
        detects a peer that does not answer.

        Returns:
            False when nothing waits for the timer, or when it waits for the peer's window.
        """
        t3 = sender.path.t3_rtx
        if t3.hastened or self.all_acknowledged or self._probing or self._a_rwnd < self._max_fragment:
            return False
        t3.hastened = True
        self._retransmit_all(sender)
        return True

    def _retransmit_all(self, sender: PathSender) -> None:
        """Retransmit what is in flight on a path: one packet at once, and the rest after its acknowledgment."""
        self.abandonment.give_up(self.outstanding.mark_all_lost(sender.flight), RETRANSMISSIONS)
        self.outstanding.advance_peer_ack_point()
        self.abandonment.forward_now()
        sender.resume_after_timeout()

    def move_lost(self, sender: PathSender, alternate: PathSender) -> None:
        """Retransmit the lost chunks of a path on another one, the first packet of them at once.

        RFC 9260, 6.4: "when its peer is multi-homed, an endpoint SHOULD try to retransmit a chunk that timed out to an
        active destination transport address that is different from the last destination address to which the chunk was
        sent."
        """
        sender.flight.move_lost(alternate.flight)
        alternate.one_packet_now = alternate.flight.has_lost

    def mark_all_lost_for_handshake(self) -> None:
        """Retransmit the DATA bundled with a COOKIE ECHO that is retransmitted; this is no sign of congestion."""
        for sender in self.senders:
            self.abandonment.give_up(self.outstanding.mark_all_lost(sender.flight), RETRANSMISSIONS)

    def wait_for_cookie_ack(self) -> None:
        """Stop the timers of DATA bundled with a COOKIE ECHO; T1-cookie covers both until COOKIE ACK arrives."""
        for sender in self.senders:
            sender.path.t3_rtx.stop()
            sender.probe.timer.stop()

    def start_timers_after_handshake(self, now: float) -> None:
        """Start the timers of DATA that was bundled with the COOKIE ECHO."""
        for sender in self.senders:
            if sender.has_outstanding and not sender.path.t3_rtx.running:
                sender.path.t3_rtx.start(now, sender.path.rto)
                sender.schedule_probe(now)

    def _send_loss_probe(self, sender: PathSender, now: float) -> None:
        """Send a tail loss probe: new data if there is any, otherwise the last chunk again (RFC 8985, 7.3)."""
        outstanding = self.outstanding
        recovery = sender.recovery
        if not sender.flight.size or sender.flight.has_lost or (recovery.active and not recovery.fast):
            return
        if self._probing or self._a_rwnd < self._max_fragment:
            # The peer has no room, so missing acknowledgments are no sign of loss.
            return
        message = self._queue.next_message() if sender is self.next_target() else None
        if message is not None and min(message.remaining, self._max_fragment) <= self.peer_rwnd:
            sender.probe.record_sent(outstanding.next_tsn, may_repair=False)
        elif outstanding.mark_last_lost(sender.flight):
            # A recovery in progress has reduced the window.
            sender.probe.record_sent(outstanding.highest_tsn, may_repair=not recovery.active)
        else:
            return
        sender.one_packet_now = True
        # RFC 8985, 7.3: the RTO timer is re-armed after the probe.
        sender.path.t3_rtx.start(now, sender.path.rto)

    # -- handing out chunks --------------------------------------------------------------------------------------------

    def start_batch(self, now: float) -> None:
        """Prepare for a series of packets: abandon expired messages and decay an idle window."""
        for sender in self.senders:
            sender.start_batch()
        if self._by_packets:
            self._queue.start_packet()
        self.expire(now)
        if self.all_acknowledged and self._queue.sendable:
            self.current.restart_after_idle(now)
        if self.current.resume.ready and self._queue.sendable:
            self.current.jump(self._queue.buffered, now)

    def next_chunk(self, room: int, packet_empty: bool, closing: bool, now: float) -> OutstandingChunk | None:
        """Return the next chunk for the packet being built, or None when none fits or none may be sent.

        Args:
            room: bytes left in the packet.
            packet_empty: whether the packet has no DATA yet.
            closing: whether nothing more will be queued (SHUTDOWN-PENDING); the last chunk then asks for a SACK at
                once.
            now: monotonic seconds.

        Returns:
            The chunk, which is in flight from now on.
        """
        writing = self.writing
        # RFC 9260, 6.1, C: "before sending new DATA chunks, the sender MUST first transmit any DATA chunks that are
        # marked for retransmission (limited by the current cwnd)."
        if writing.flight.lost and writing.flight.has_lost:
            return self._next_retransmission(room, packet_empty, now)
        if self.suspended or not self._queue.sendable or (writing is not self.current and not self.directed):
            writing.one_packet_now = False
            writing.note_app_limited()
            return None
        return self._next_new(room, packet_empty, closing, now)

    def can_send_now(self, now: float) -> bool:
        """Return whether there is DATA that the congestion window and the pacer allow now on the path being written."""
        writing = self.writing
        new = self._queue.sendable and not self.suspended and writing is self.next_target()
        if not new and not writing.flight.has_lost:
            return False
        return writing.one_packet_now or writing.window_allows(now)

    def finish_packet(self, length: int, now: float) -> None:
        """Finish a packet with DATA that contains `length` bytes of chunks."""
        self.packet += 1
        if self._by_packets:
            self._queue.start_packet()
        self.writing.charge_packet(length)
        if length >= self._packet_room - (self._packet_room >> 3):
            # The packet is full, so a larger path MTU would reduce the number of packets.
            for sender in self.senders:
                if sender.path.pmtu.waiting:
                    sender.path.pmtu.start_search(now)

    def schedule_probe(self, now: float) -> None:
        """Schedule the tail loss probe of the path being written, after its packets with DATA are finished."""
        self.writing.schedule_probe(now)

    def _next_lost(self, sender: PathSender, now: float) -> OutstandingChunk | None:
        """Return the next chunk to retransmit on a path, after abandoning those before it whose lifetime has ended."""
        chunk = sender.flight.next_lost()
        while chunk is not None:
            expires_at = self.outstanding.message_of(chunk).expires_at
            if not self.abandonment.supported or expires_at is None or now < expires_at:
                break
            self.abandonment.give_up([self.outstanding.message_of(chunk)], LIFETIME)
            self._schedule_forward_tsn(now)
            chunk = sender.flight.next_lost()
        return chunk

    def _next_retransmission(self, room: int, packet_empty: bool, now: float) -> OutstandingChunk | None:
        writing = self.writing
        chunk = self._next_lost(writing, now)
        if chunk is None:
            return None
        if chunk.length > room and room < writing.max_packet - self._reserved:
            # The packet holds other chunks. One that was sent before the path's packet size fell may be longer than a
            # whole packet: it travels alone, since what is bundled with it could exceed the limit of the lower layer.
            return None
        if self._signing and not self._fits_key(self.outstanding.message_of(chunk), packet_empty):
            return None
        if packet_empty and not writing.one_packet_now and not writing.window_allows(now):
            return None
        self.outstanding.retransmit(chunk, now, self.packet)
        writing.recovery.record_retransmission(chunk.tsn)
        writing.record_retransmission(chunk.length, chunk.transmissions, now)
        self.retransmissions += 1
        path = writing.path
        # RFC 9260, 6.1: "the sender MUST restart the timer if the earliest (i.e., lowest TSN) outstanding DATA chunk
        # sent to that address is being retransmitted."
        if not path.t3_rtx.running or chunk.tsn == self.outstanding.lowest_outstanding_tsn():
            path.t3_rtx.start(now, path.rto)
        return chunk

    def _next_new(self, room: int, packet_empty: bool, closing: bool, now: float) -> OutstandingChunk | None:
        message = self._queue.next_message()
        if message is None:
            return None
        size = min(message.remaining, self._max_fragment) if packet_empty else self._size_of_filling(message, room)
        target = self._target_of(message) if self.directed else self.current
        if size + self._header_length > room or target is not self.writing:
            return None
        if packet_empty:
            if self._delay_small and not closing and self._waits_for_more():
                return None
            if not target.one_packet_now and not target.window_allows(now):
                return None
        outstanding = self.outstanding
        if outstanding.next_tsn - outstanding.cumulative_tsn_ack > MAX_OUTSTANDING:
            return None
        if self._signing and not self._fits_key(message, packet_empty):
            return None
        peer_rwnd = self._a_rwnd - outstanding.flight_payload
        if size > peer_rwnd and not self._may_probe(now):
            # The peer's window limits the rate, not the path.
            target.note_app_limited()
            return None
        fragment = self._queue.take(message, size)
        immediate = self._wants_sack_now(target, size, closing, peer_rwnd)
        chunk = outstanding.send_new(message, fragment, immediate, now, self.packet, target.flight)
        path = target.path
        path.last_sent = now
        if not path.t3_rtx.running:
            path.t3_rtx.start(now, path.rto)
        return chunk

    def _size_of_filling(self, message: OutgoingMessage, room: int) -> int:
        """Return the user bytes of a message that go behind others; too many if it starts another packet."""
        left = room - self._header_length
        if message.remaining > self._max_fragment > left >= LEAST_FILLING:
            return left
        size = min(message.remaining, self._max_fragment)
        return room if size == self._max_fragment else size

    def next_target(self) -> PathSender:
        """Return the path that new data is sent on next."""
        message = self._queue.next_message() if self.directed else None
        return self.current if message is None else self._target_of(message)

    def _target_of(self, message: OutgoingMessage) -> PathSender:
        """Return the path of a message: the application's choice if that path is active, else the current path.

        RFC 9260, 6.4.1: "where the SCTP user explicitly requests to send data to an inactive destination transport
        address before reporting an error to its ULP, the SCTP endpoint SHOULD try to send the data to an alternate
        active destination transport address if one exists."
        """
        wanted = None if message.path is None else self.sender_on(message.path)
        return wanted if wanted is not None and wanted.path.rank == 0 else self.current

    def _waits_for_more(self) -> bool:
        """Return whether Nagle's algorithm delays a packet that is not full until it is full or all is acknowledged."""
        # Abandoned messages are not in flight: a FORWARD TSN without an answer does not hold new data back.
        in_flight = any(sender.flight.size > 0 for sender in self.senders)
        return in_flight and self._queue.buffered < self._max_fragment

    def _fits_key(self, message: OutgoingMessage, packet_empty: bool) -> bool:
        """Return whether a message is authenticated with the packet's key, which the first message determines."""
        if packet_empty:
            self.packet_key = message.key_id
        return message.key_id == self.packet_key

    def keys_in_use(self) -> set[int]:
        """Return the keys of the messages that are not yet acknowledged."""
        messages = [*self.outstanding.unacknowledged_messages(), *self._queue.messages()]
        return {message.key_id for message in messages}

    def _may_probe(self, now: float) -> bool:
        """Return whether a zero window probe may be sent (section 6.1, A); if not, run T3-rtx until one may."""
        if self.all_acknowledged and self._probing:
            return True
        path = self.current.path
        if self.all_acknowledged and not path.t3_rtx.running:
            path.t3_rtx.start(now, path.rto)
        return False

    def _blocked_by_window(self) -> bool:
        message = self._queue.next_message()
        return message is not None and min(message.remaining, self._max_fragment) > self.peer_rwnd

    def _wants_sack_now(self, target: PathSender, size: int, closing: bool, peer_rwnd: int) -> bool:
        """Return whether a chunk gets the I bit: in SHUTDOWN-PENDING, or when it fills a window.

        RFC 9260, 6.1: "Reasons for setting the I bit include"
        """
        if closing and not self._queue.buffered:
            return True
        flight = target.flight.size + size + self._header_length
        return flight >= target.path.congestion.cwnd or peer_rwnd < size + self._max_fragment

    # -- partial reliability -------------------------------------------------------------------------------------------

    def forward_tsn(self, max_size: int, now: float) -> ForwardTsnChunk | IForwardTsnChunk | None:
        """Return the FORWARD TSN or I-FORWARD-TSN to send now, or None (RFC 3758, section 3.5)."""
        chunk = self.abandonment.forward_tsn(max_size, now)
        if chunk is not None:
            # RFC 3758, 3.5, C5: "If a FORWARD TSN is sent, the sender MUST assure that at least one T3-rtx timer is
            # running."
            path = self.current.path
            if not path.t3_rtx.running:
                path.t3_rtx.start(now, path.rto)
        return chunk

    def _schedule_forward_tsn(self, now: float) -> None:
        """Schedule a FORWARD TSN if there is something to forward."""
        self.abandonment.schedule(self.current.path.srtt or 0.0, now)

    def make_room(self, messages: list[OutgoingMessage]) -> None:
        """Abandon these messages for one of higher priority (RFC 7496, section 3.2)."""
        for message in messages:
            self.abandonment.abandon(message, PRIORITY)
