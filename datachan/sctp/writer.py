"""The one writer: it builds every packet of an association, with the chunks in a fixed order.

The order is COOKIE ECHO or COOKIE ACK, SACK, other control chunks, FORWARD TSN, retransmitted DATA, new DATA.
RFC 9260, 6.10: "When bundling control chunks with DATA chunks, an endpoint MUST place control chunks first in the
outbound SCTP packet.  The transmitter MUST transmit DATA chunks within an SCTP packet in increasing order of TSN."
"""

from __future__ import annotations

from typing import Final

from .addresses import TransportAddress
from .options import AssociationOptions
from .records.keys import Authenticator
from .records.path import Path
from .states import MAY_SEND_DATA, AssociationState
from .tcb import Tcb
from .tx.path_sender import PathSender
from .wire.chunks import (
    DATA_HEADER_LENGTH,
    HEARTBEAT_HEADER_LENGTH,
    CookieEchoChunk,
    HeartbeatChunk,
    SackChunk,
    ShutdownAckChunk,
    ShutdownChunk,
)
from .wire.extensions import PadChunk, ReconfigChunk
from .wire.packet import COMMON_HEADER_LENGTH, serialize_packet

_MASK: Final = 0xFFFFFFFF
_LONGEST_FILLING: Final = 800
"""Bytes of one HEARTBEAT chunk that fills a probe."""
_SACK_HEADER_LENGTH: Final = 16
_LEAST_ROOM: Final = DATA_HEADER_LENGTH + 4
"""Bytes left in a packet from which another chunk with user data may fit."""
_OTHER_REPLIES: Final = 56
"""Bytes reserved for other answers to the same packet: COOKIE ACK, two responses to re-configurations, and SHUTDOWN or
SHUTDOWN ACK."""

MAX_REPLIES: Final = 16
"""The most chunks that wait as replies, and the most complete packets that wait to be sent."""

Run = tuple[TransportAddress | None, list[bytes]]
"""Packets for one destination, in order; None when there is only one path."""


class DueChunks:
    """The control chunks that the next packets must carry: procedures set them, the writer clears those it has sent.

    Attributes:
        cookie_echo: COOKIE ECHO.
        cookie_ack: COOKIE ACK.
        cookie_ack_to: the address that COOKIE ACK is sent to.
        shutdown: SHUTDOWN.
        shutdown_ack: SHUTDOWN ACK.
    """

    __slots__ = ("cookie_ack", "cookie_ack_to", "cookie_echo", "shutdown", "shutdown_ack")

    def __init__(self) -> None:
        self.cookie_ack_to: TransportAddress | None = None
        self.clear()

    def clear(self) -> None:
        """Send none of them."""
        self.cookie_echo = self.cookie_ack = self.shutdown = self.shutdown_ack = False


class PacketWriter:
    """Builds packets from the chunks that are due.

    Attributes:
        reply_room: bytes of chunks that may still be sent in reply to the packet being read.
        packets_sent: for statistics.
        bytes_sent: for statistics.
        data_chunks_sent: for statistics; retransmissions count too.
    """

    __slots__ = (
        "_auth",
        "_chunks",
        "_complete",
        "_control",
        "_due",
        "_has_data",
        "_is_signed",
        "_options",
        "_packets_at_once",
        "_probes",
        "_reserved",
        "_room",
        "_size",
        "bytes_sent",
        "data_chunks_sent",
        "packets_sent",
        "reply_room",
    )

    def __init__(self, options: AssociationOptions) -> None:
        self._options = options
        self._size = options.first_packet_size - COMMON_HEADER_LENGTH  # bytes for chunks in a packet
        self._complete: list[tuple[TransportAddress | None, bytes]] = []  # complete packets
        # Chunks that may be bundled, with their destinations; None for the path of new data.
        self._control: list[tuple[TransportAddress | None, bytes]] = []
        self._auth: Authenticator | None = None
        self._reserved = 0  # bytes of each packet kept for an AUTH chunk
        self._is_signed = False  # the packet being built gets an AUTH chunk
        self._chunks: list[bytes] = []  # the packet being built
        self._room = self._size
        self._packets_at_once = 0
        self._probes: list[tuple[TransportAddress | None, bytes]] = []
        self._has_data = False
        self._due = DueChunks()
        self.reply_room = 0
        self.packets_sent = 0
        self.bytes_sent = 0
        self.data_chunks_sent = 0

    def change_options(self, options: AssociationOptions) -> None:
        """Apply changed parameters."""
        self._options = options

    def add_packet(
        self,
        verification_tag: int,
        chunk: bytes,
        destination: TransportAddress | None,
        auth: Authenticator | None = None,
    ) -> None:
        """Send INIT, INIT ACK, ABORT, SHUTDOWN COMPLETE or ERROR in a packet of its own, with a checksum.

        It is signed if the peer requires that according to `auth`.
        """
        if len(self._complete) < MAX_REPLIES:
            options = self._options
            chunks = [chunk]
            if auth is not None and auth.signs(chunk[0]):
                chunks = [auth.sign(chunks, auth.active_key), chunk]
            packet = serialize_packet(options.local_port, options.remote_port, verification_tag, chunks)
            # The same chunk twice in one packet is answered once.
            if (destination, packet) not in self._complete:
                self._complete.append((destination, packet))

    def add_probe(self, tcb: Tcb, nonce: bytes, size: int, destination: TransportAddress | None) -> None:
        """Send a probe of `size` bytes with the Heartbeat Information `nonce`.

        RFC 8899, 6.2.1.2: "Probe packets consist of an SCTP common header followed by a HEARTBEAT chunk and a PAD
        chunk." A peer that has not announced PAD may discard the whole packet (pion) or end its process (werift). For
        such a peer further HEARTBEAT chunks fill the packet. Chromium answers none that is longer than its own packets
        of 1191 bytes, so the filling is split.
        """
        options = self._options
        heartbeat = HeartbeatChunk(nonce).serialize()
        left = size - COMMON_HEADER_LENGTH - len(heartbeat)
        filling = [PadChunk(left).serialize()] if tcb.capabilities.padding else _filling(left)
        packet = serialize_packet(options.local_port, options.remote_port, tcb.peer_tag, [heartbeat, *filling])
        self._probes.append((destination, packet))

    def add_control(self, chunk: bytes, destination: TransportAddress | None = None) -> None:
        """Send a chunk, bundled as it fits, to `destination` or on the path of new data."""
        self._control.append((destination, chunk))

    def allow_replies(self) -> None:
        """Allow a packet of chunks in reply to another packet received."""
        self.reply_room = self._size

    def exceeds_packet(self, chunk: bytes) -> bool:
        """Return whether the only reply to the packet being read is longer than a packet may be now."""
        return self.reply_room == self._size < len(chunk)

    def add_reply(self, chunk: bytes, destination: TransportAddress | None) -> None:
        """Send a chunk that answers one of the packet being read, unless too many answers are waiting.

        RFC 9260, 12.4: "When an SCTP implementation receives a packet containing multiple control or DATA chunks and
        the processing of the packet would result in sending multiple chunks in response, the sender of the response
        chunk(s) MUST NOT send more than one packet containing chunks other than DATA chunks."
        """
        if len(self._control) < MAX_REPLIES and len(chunk) <= self.reply_room:
            # The answer to a HEARTBEAT may fill the packet alone. Behind other replies, room is left for those above.
            self.reply_room = min(self.reply_room, self._size - _OTHER_REPLIES) - len(chunk)
            self._control.append((destination, chunk))

    def discard_control(self) -> None:
        """Discard the chunks waiting to be bundled; complete packets are still sent."""
        self._control.clear()

    def write(self, state: AssociationState, tcb: Tcb | None, due: DueChunks, now: float) -> list[Run]:
        """Return all packets to send now, in order and grouped by destination.

        Args:
            state: the association's state.
            tcb: its TCB, if the peer is known.
            due: the control chunks to send; those sent are cleared.
            now: monotonic seconds.
        """
        self._due = due
        runs: list[Run] = []
        for destination, packet in self._complete:
            _run_to(destination, runs).append(packet)
        self._complete.clear()
        if tcb is not None:
            self._auth = tcb.auth
            self._reserved = 0 if tcb.auth is None else tcb.auth.reserve
            if state is AssociationState.COOKIE_ECHOED:
                self._write_cookie_echo(tcb, runs, now)
            elif tcb.paths.single:
                out: list[bytes] = []
                self._write_established(state, tcb, tcb.path, out, True, now)
                if out:
                    runs.append((tcb.path.address, out))
            else:
                self._write_paths(state, tcb, runs, now)
        # Probes are last: a shorter packet behind one could leave in the same UDP_SEGMENT buffer, and be lost with it.
        for destination, packet in self._probes:
            _run_to(destination, runs).append(packet)
        self._probes.clear()
        for _, packets in runs:
            self.packets_sent += len(packets)
            for packet in packets:
                self.bytes_sent += len(packet)
        return runs

    def _write_paths(self, state: AssociationState, tcb: Tcb, runs: list[Run], now: float) -> None:
        """Write the packets for each of several paths, the path of new data last."""
        sender = tcb.sender
        current = sender.current
        turns = [turn for turn in sender.senders if turn is not current and self._has_work(tcb, turn)]
        first = True
        for turn in (*turns, current):
            sender.writing = turn
            out: list[bytes] = []
            self._write_established(state, tcb, turn.path, out, first, now)
            first = False
            if out:
                runs.append((turn.path.address, out))
        if sender.directed:
            self._write_directed(state, tcb, runs, now)

    def _write_directed(self, state: AssociationState, tcb: Tcb, runs: list[Run], now: float) -> None:
        """Write messages that the application directed to other paths, in the scheduler's order."""
        sender = tcb.sender
        packet = -1
        while packet != sender.packet:
            packet = sender.packet
            sender.writing = sender.next_target()
            out: list[bytes] = []
            self._write_established(state, tcb, sender.writing.path, out, False, now)
            if out:
                runs.append((sender.writing.path.address, out))
        sender.writing = sender.current

    def _has_work(self, tcb: Tcb, turn: PathSender) -> bool:
        path = turn.path
        if turn.flight.has_lost or (path is tcb.sack_path and tcb.tracker.due()):
            return True
        if path is tcb.shutdown_path and (self._due.shutdown or self._due.shutdown_ack):
            return True
        if self._due.cookie_ack and path is tcb.paths.at(self._due.cookie_ack_to):
            return True
        return any(tcb.paths.at(destination) is path for destination, _ in self._control)

    def _take_control(self, tcb: Tcb, path: Path) -> list[bytes]:
        """Return the waiting chunks for this path; chunks without a valid destination go on the path of new data."""
        if tcb.paths.single:
            chunks = [chunk for _, chunk in self._control]
            self._control.clear()
            return chunks
        chunks = []
        others: list[tuple[TransportAddress | None, bytes]] = []
        for destination, chunk in self._control:
            if (tcb.paths.at(destination) or tcb.path) is path:
                chunks.append(chunk)
            else:
                others.append((destination, chunk))
        self._control = others
        return chunks

    def _write_cookie_echo(self, tcb: Tcb, runs: list[Run], now: float) -> None:
        """Write COOKIE ECHO, with DATA if it fits.

        RFC 9260, 5.1, C: COOKIE ECHO "MUST be the first chunk in the packet and, until the COOKIE ACK chunk is
        returned, the sender MUST NOT send any other packets to the peer."
        """
        if self._due.cookie_ack:
            # A collision: our COOKIE ECHO is not answered yet while we answer the peer's.
            path = tcb.paths.at(self._due.cookie_ack_to) or tcb.path
            answers: list[bytes] = []
            self._start_packet()
            self._write_control(tcb, path, answers, now)
            self._finish(tcb, answers, now)
            runs.append((path.address, answers))
        if not self._due.cookie_echo:
            return
        self._due.cookie_echo = False
        self._size = tcb.echo_path.pmtu.size - COMMON_HEADER_LENGTH - self._reserved
        self._start_packet()
        self._put(CookieEchoChunk(tcb.cookie).serialize())
        for _, chunk in self._control:
            if len(chunk) <= self._room:
                self._put(chunk)
        self._control.clear()
        tcb.sender.start_batch(now)
        out: list[bytes] = []
        if tcb.echo_path is tcb.path and tcb.path.confirmed:
            self._write_data(tcb, out, False, now, single_packet=True)
        # RFC 9653: a zero checksum never goes with INIT or COOKIE ECHO.
        self._finish(tcb, out, now, has_checksum=True)
        runs.append((tcb.echo_path.address, out))
        tcb.sender.wait_for_cookie_ack()

    def _write_established(
        self, state: AssociationState, tcb: Tcb, path: Path, out: list[bytes], first: bool, now: float
    ) -> None:
        """Write all packets for one path; `first` is True for the first path of this call."""
        packet_size = path.pmtu.size
        self._size = packet_size - COMMON_HEADER_LENGTH - self._reserved
        at_once = self._options.bytes_at_once
        self._packets_at_once = max(1, at_once // packet_size) if at_once else 0
        self._start_packet()
        self._write_control(tcb, path, out, now)
        if state in MAY_SEND_DATA:
            if first:
                tcb.sender.start_batch(now)
            # RFC 9260, 5.4: "An endpoint MUST NOT send any chunks to an UNCONFIRMED address".
            if path.confirmed:
                self._write_data_of(state, tcb, path, out, now)
        if path is (tcb.shutdown_path or tcb.path):
            self._write_shutdown(tcb, out, now)
        self._finish(tcb, out, now)

    def _write_data_of(self, state: AssociationState, tcb: Tcb, path: Path, out: list[bytes], now: float) -> None:
        """Write FORWARD TSN, on the path of new data, and DATA.

        RFC 3758, 3.5, F2: "The data sender SHOULD always attempt to bundle an outgoing FORWARD TSN with outbound DATA
        chunks for efficiency." Control chunks come first, so what has expired is abandoned before DATA is chosen.
        """
        before = tcb.sender.packet
        tcb.sender.expire(now)
        forward_tsn = tcb.sender.forward_tsn(self._size, now) if path is tcb.path else None
        if forward_tsn is not None:
            self._put_or_flush(forward_tsn.serialize(), tcb, out, now)
        self._write_data(tcb, out, state is AssociationState.SHUTDOWN_PENDING, now)
        self._finish(tcb, out, now)
        if tcb.sender.packet != before:
            tcb.sender.schedule_probe(now)
        # FORWARD TSN may have become due while chunks were taken, without a packet to carry it.
        late = tcb.sender.forward_tsn(self._size, now) if path is tcb.path else None
        if late is not None:
            self._start_packet()
            self._put(late.serialize())

    def _write_control(self, tcb: Tcb, path: Path, out: list[bytes], now: float) -> None:
        if self._due.cookie_ack and (tcb.paths.at(self._due.cookie_ack_to) or tcb.path) is path:
            self._due.cookie_ack = False
            self._put(_COOKIE_ACK)
        tracker = tcb.tracker
        # Only a delayed SACK depends on whether DATA is sent. The check costs time and records why DATA waits.
        if (tcb.sack_path or tcb.path) is path and (
            tracker.due() or (tracker.is_delaying and tracker.due(with_data=tcb.sender.can_send_now(now)))
        ):
            self._put_sack(tcb)
        for chunk in self._take_control(tcb, path):
            self._put_or_flush(chunk, tcb, out, now)
        if tcb.reconfig.due and path is tcb.path:
            for parameters in tcb.reconfig.chunks_to_send(now, tcb.path.rto):
                self._put_or_flush(ReconfigChunk(parameters).serialize(), tcb, out, now)

    def _write_data(
        self, tcb: Tcb, out: list[bytes], closing: bool, now: float, *, single_packet: bool = False
    ) -> None:
        """Fill packets with DATA until nothing more may be sent. This is the hot path."""
        sender = tcb.sender
        while True:
            chunk = None
            if self._room >= _LEAST_ROOM or not self._has_data:
                chunk = sender.next_chunk(self._room, not self._has_data, closing, now)
            if chunk is not None:
                if self._auth is None:
                    self._chunks.append(chunk.header)
                    self._room -= chunk.length
                else:
                    self._put(chunk.header)
                    self._room -= len(chunk.data)
                self._chunks.append(chunk.data)
                self._has_data = True
                self.data_chunks_sent += 1
                continue
            if not self._chunks or single_packet:
                return
            had_data = self._has_data
            self._finish(tcb, out, now)
            if len(out) == self._packets_at_once or (not had_data and not sender.can_send_now(now)):
                return

    def _write_shutdown(self, tcb: Tcb, out: list[bytes], now: float) -> None:
        """Write SHUTDOWN and SHUTDOWN ACK, never with DATA (section 6.10)."""
        if self._due.shutdown:
            self._due.shutdown = False
            self._put_or_flush(ShutdownChunk(tcb.tracker.cumulative_tsn & _MASK).serialize(), tcb, out, now)
        if self._due.shutdown_ack:
            self._due.shutdown_ack = False
            self._put_or_flush(ShutdownAckChunk().serialize(), tcb, out, now)
        self._finish(tcb, out, now)

    def _put_sack(self, tcb: Tcb) -> None:
        tracker = tcb.tracker
        room = (self._room - _SACK_HEADER_LENGTH) // 4
        gaps = tracker.gap_ack_blocks(room)
        duplicates = tracker.duplicate_tsns(room - len(gaps))
        a_rwnd = available_window(self._options, tcb)
        tcb.advertised_a_rwnd = a_rwnd
        self._put(SackChunk(tracker.cumulative_tsn & _MASK, a_rwnd, gaps, duplicates).serialize())
        tracker.sack_sent()

    def _start_packet(self) -> None:
        self._chunks = []
        self._room = self._size
        self._has_data = False
        self._is_signed = False

    def _put(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._room -= len(chunk)
        if self._auth is not None and not self._is_signed and self._auth.signs(chunk[0]):
            self._is_signed = True
            self._room -= self._auth.overhead - self._reserved

    def _put_or_flush(self, chunk: bytes, tcb: Tcb, out: list[bytes], now: float) -> None:
        needed = len(chunk)
        if self._auth is not None and not self._is_signed and self._auth.signs(chunk[0]):
            needed += self._auth.overhead - self._reserved
        if needed > self._room:
            self._finish(tcb, out, now)
        self._put(chunk)

    def _sign(self, auth: Authenticator, tcb: Tcb) -> None:
        """Put an AUTH chunk before all chunks of the packet.

        RFC 4895, 6.2: "To send chunks in an authenticated way, the sender MUST include these chunks after an AUTH
        chunk."
        """
        key_id = tcb.sender.packet_key if self._has_data and auth.signs(tcb.data_type) else auth.active_key
        self._chunks.insert(0, auth.sign(self._chunks, key_id))

    def _finish(self, tcb: Tcb, out: list[bytes], now: float, *, has_checksum: bool = False) -> None:
        """Finish the packet being built, if it has chunks, and start the next one."""
        if not self._chunks:
            return
        if self._is_signed and self._auth is not None:
            self._sign(self._auth, tcb)
        if tcb.header and not has_checksum:
            out.append(b"".join([tcb.header, *self._chunks]))
        else:
            options = self._options
            out.append(serialize_packet(options.local_port, options.remote_port, tcb.peer_tag, self._chunks))
        if self._has_data:
            tcb.sender.finish_packet(self._size - self._room, now)
        self._start_packet()


def _run_to(destination: TransportAddress | None, runs: list[Run]) -> list[bytes]:
    """Return the packets of the last run, if it has this destination, or of a new run."""
    if not runs or runs[-1][0] != destination:
        runs.append((destination, []))
    return runs[-1][1]


def _filling(length: int) -> list[bytes]:
    """Return HEARTBEAT chunks with `length` bytes together, none much longer than `_LONGEST_FILLING`."""
    count = -(-length // _LONGEST_FILLING)
    lengths = [length // count & ~3] * (count - 1)
    lengths.append(length - sum(lengths))
    return [HeartbeatChunk(bytes(part - HEARTBEAT_HEADER_LENGTH)).serialize() for part in lengths]


def available_window(options: AssociationOptions, tcb: Tcb) -> int:
    """Return the a_rwnd to advertise: the free bytes, or 0 when they are less than a packet.

    RFC 9260, 6.2: "The receiver MUST also have an algorithm for advertising its receive window to avoid receiver silly
    window syndrome (SWS), as described in [RFC1122]."
    """
    available = tcb.window.size - tcb.held()
    # The property is computed in Python. Nearly always, the first comparison suffices.
    return available if available >= options.max_packet_size or available >= options.first_packet_size else 0


_COOKIE_ACK: Final = b"\x0b\x00\x00\x04"
