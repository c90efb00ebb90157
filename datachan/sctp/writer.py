"""The one writer: everything an association sends leaves through here, in a fixed order of chunks.

In a packet: COOKIE ECHO or COOKIE ACK, SACK, other control chunks, FORWARD TSN, DATA sent again, new DATA.
RFC 9260, 6.10: "When bundling control chunks with DATA chunks, an endpoint MUST place control chunks first in the
outbound SCTP packet.  The transmitter MUST transmit DATA chunks within an SCTP packet in increasing order of TSN."
"""

from __future__ import annotations

from typing import Final

from .addresses import TransportAddress
from .auth import Authenticator
from .options import AssociationOptions
from .path import Path
from .states import MAY_SEND_DATA, AssociationState
from .tcb import Tcb
from .tx.path_sender import PathSender
from .wire.chunks import CookieEchoChunk, HeartbeatChunk, SackChunk, ShutdownAckChunk, ShutdownChunk
from .wire.extensions import PadChunk, ReconfigChunk
from .wire.packet import COMMON_HEADER_LENGTH, serialize_packet

_MASK: Final = 0xFFFFFFFF
_SACK_HEADER_LENGTH: Final = 16
_OTHER_ANSWERS: Final = 56
"""Room for what else may answer a packet of several chunks: COOKIE ACK, two responses to re-configurations, and
SHUTDOWN or SHUTDOWN ACK."""


Run = tuple[TransportAddress | None, list[bytes]]
"""Packets for one destination, in order; None when there is only one way to go."""


class PacketWriter:
    """Turns what is due into packets.

    Attributes:
        answer_to: where the packet being read came from, if answers may go there.
        answers_room: bytes of chunks the packet being read may still cause to be sent.
        cookie_ack_to: where COOKIE ACK goes.
        packets_sent: for statistics.
        bytes_sent: likewise.
        data_chunks_sent: likewise, those sent again included.
    """

    __slots__ = (
        "_auth",
        "_chunks",
        "_complete",
        "_control",
        "_has_data",
        "_is_signed",
        "_options",
        "_packets_at_once",
        "_probes",
        "_reserved",
        "_room",
        "_size",
        "answer_to",
        "answers_room",
        "bytes_sent",
        "cookie_ack_due",
        "cookie_ack_to",
        "cookie_echo_due",
        "data_chunks_sent",
        "packets_sent",
        "shutdown_ack_due",
        "shutdown_due",
    )

    def __init__(self, options: AssociationOptions) -> None:
        self._options = options
        self._size = options.first_packet_size - COMMON_HEADER_LENGTH  # what chunks have of a packet
        self._complete: list[tuple[TransportAddress | None, bytes]] = []  # packets that stand alone
        # Chunks that may be bundled, and where they go; None for where data goes.
        self._control: list[tuple[TransportAddress | None, bytes]] = []
        self._auth: Authenticator | None = None
        self._reserved = 0  # bytes of each packet kept for an AUTH chunk
        self._is_signed = False  # the packet being built gets one
        self._chunks: list[bytes] = []  # the packet being built
        self._room = self._size
        self._packets_at_once = 0
        self._probes: list[tuple[TransportAddress | None, bytes]] = []
        self._has_data = False
        self.answers_room = 0
        self.answer_to: TransportAddress | None = None
        self.cookie_echo_due = False
        self.cookie_ack_due = False
        self.cookie_ack_to: TransportAddress | None = None
        self.shutdown_due = False
        self.shutdown_ack_due = False
        self.packets_sent = 0
        self.bytes_sent = 0
        self.data_chunks_sent = 0

    def change_options(self, options: AssociationOptions) -> None:
        """Go on with other parameters."""
        self._options = options

    def add_packet(
        self,
        verification_tag: int,
        chunk: bytes,
        destination: TransportAddress | None,
        auth: Authenticator | None = None,
    ) -> None:
        """Send a chunk in a packet of its own, with a checksum: INIT, INIT ACK, ABORT, SHUTDOWN COMPLETE, ERROR; signed
        if `auth` says that the peer wants it so.
        """
        if len(self._complete) < 16:
            options = self._options
            chunks = [chunk]
            if auth is not None and auth.signs(chunk[0]):
                chunks = [auth.sign(chunks, auth.active_key), chunk]
            packet = serialize_packet(options.local_port, options.remote_port, verification_tag, chunks)
            # The same chunk twice in a packet is no reason to answer twice.
            if (destination, packet) not in self._complete:
                self._complete.append((destination, packet))

    def add_probe(self, verification_tag: int, nonce: bytes, size: int, destination: TransportAddress | None) -> None:
        """Send a packet of that size, to see whether it arrives.

        RFC 8899, 6.2.1.2: "Probe packets consist of an SCTP common header followed by a HEARTBEAT chunk and a PAD
        chunk."
        """
        options = self._options
        heartbeat = HeartbeatChunk(nonce).serialize()
        padding = PadChunk(size - COMMON_HEADER_LENGTH - len(heartbeat)).serialize()
        packet = serialize_packet(options.local_port, options.remote_port, verification_tag, [heartbeat, padding])
        self._probes.append((destination, packet))

    def add_control(self, chunk: bytes, destination: TransportAddress | None = None) -> None:
        """Send a chunk, bundled as it fits, to that address or where data goes."""
        self._control.append((destination, chunk))

    def packet_received(self) -> None:
        """What is answered from now on answers another packet."""
        self.answers_room = self._size
        self.answer_to = None

    def add_answer(self, chunk: bytes, destination: TransportAddress | None = None) -> None:
        """Send a chunk that answers one of the packet being read. More than a few to one batch are not owed to anybody.

        RFC 9260, 12.4: "When an SCTP implementation receives a packet containing multiple control or DATA chunks and
        the processing of the packet would result in sending multiple chunks in response, the sender of the response
        chunk(s) MUST NOT send more than one packet containing chunks other than DATA chunks."
        """
        if len(self._control) < 16 and len(chunk) <= self.answers_room:
            # A HEARTBEAT may fill its packet, and then comes alone; behind others something is left for what is below.
            self.answers_room = min(self.answers_room, self._size - _OTHER_ANSWERS) - len(chunk)
            # RFC 9260, 6.4: "An endpoint SHOULD transmit reply chunks (e.g., INIT ACK, COOKIE ACK, and HEARTBEAT ACK)
            # in response to control chunks to the same destination transport address from which it received the control
            # chunk to which it is replying."
            self._control.append((destination or self.answer_to, chunk))

    def forget(self) -> None:
        """The association is gone: of what is pending, only complete packets are still sent."""
        self._control.clear()
        self.cookie_echo_due = self.cookie_ack_due = self.shutdown_due = self.shutdown_ack_due = False

    def write(self, state: AssociationState, tcb: Tcb | None, now: float) -> list[Run]:
        """All packets that may leave now, in order, those for one destination together."""
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
        # Last: a shorter packet behind a probe could leave in one piece with it (UDP_SEGMENT), and be lost with it.
        for destination, packet in self._probes:
            _run_to(destination, runs).append(packet)
        self._probes.clear()
        for _, packets in runs:
            self.packets_sent += len(packets)
            for packet in packets:
                self.bytes_sent += len(packet)
        return runs

    def _write_paths(self, state: AssociationState, tcb: Tcb, runs: list[Run], now: float) -> None:
        """What goes to each of several addresses; last the one to which new data goes."""
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
        """Messages whose users want them on other paths, in the order of their turns."""
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
        if turn.flight.has_lost or (tcb.tracker.sack_now and path is tcb.sack_path):
            return True
        if path is tcb.shutdown_path and (self.shutdown_due or self.shutdown_ack_due):
            return True
        if self.cookie_ack_due and path is tcb.paths.at(self.cookie_ack_to):
            return True
        return any(tcb.paths.at(destination) is path for destination, _ in self._control)

    def _take_control(self, tcb: Tcb, path: Path) -> list[bytes]:
        """The chunks waiting that go on this path; what has no destination, or one that is no more, goes with data."""
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
        """RFC 9260, 5.1, C: COOKIE ECHO "MUST be the first chunk in the packet and, until the COOKIE ACK chunk is
        returned, the sender MUST NOT send any other packets to the peer."
        """
        if self.cookie_ack_due:
            # A collision: our COOKIE ECHO is under way while we answer the peer's.
            path = tcb.paths.at(self.cookie_ack_to) or tcb.path
            answers: list[bytes] = []
            self._begin()
            self._write_control(tcb, path, answers, now)
            self._finish(tcb, answers, now)
            runs.append((path.address, answers))
        if not self.cookie_echo_due:
            return
        self.cookie_echo_due = False
        self._size = tcb.echo_path.pmtu.size - COMMON_HEADER_LENGTH - self._reserved
        self._begin()
        self._put(CookieEchoChunk(tcb.cookie).serialize())
        for _, chunk in self._control:
            if len(chunk) <= self._room:
                self._put(chunk)
        self._control.clear()
        tcb.sender.begin_batch(now)
        out: list[bytes] = []
        if tcb.echo_path is tcb.path and tcb.path.confirmed:
            self._write_data(tcb, out, False, now, single_packet=True)
        # RFC 9653: a zero checksum never goes with INIT or COOKIE ECHO.
        self._finish(tcb, out, now, zero_checksum=False)
        runs.append((tcb.echo_path.address, out))
        tcb.sender.wait_for_cookie_ack()

    def _write_established(
        self, state: AssociationState, tcb: Tcb, path: Path, out: list[bytes], first: bool, now: float
    ) -> None:
        """All that goes on one path; `first` of those written now."""
        packet_size = path.pmtu.size
        self._size = packet_size - COMMON_HEADER_LENGTH - self._reserved
        at_once = self._options.bytes_at_once
        self._packets_at_once = max(1, at_once // packet_size) if at_once else 0
        self._begin()
        self._write_control(tcb, path, out, now)
        if state in MAY_SEND_DATA:
            if first:
                tcb.sender.begin_batch(now)
            # RFC 9260, 5.4: "An endpoint MUST NOT send any chunks to an UNCONFIRMED address".
            if path.confirmed:
                self._write_data_of(state, tcb, path, out, now)
        if path is (tcb.shutdown_path or tcb.path):
            self._write_shutdown(tcb, out, now)
        self._finish(tcb, out, now)

    def _write_data_of(self, state: AssociationState, tcb: Tcb, path: Path, out: list[bytes], now: float) -> None:
        """FORWARD TSN, which goes where new data goes, and DATA."""
        forward_tsn = tcb.sender.forward_tsn(self._size, now) if path is tcb.path else None
        if forward_tsn is not None:
            self._put_or_flush(forward_tsn.serialize(), tcb, out, now)
        self._write_data(tcb, out, state is AssociationState.SHUTDOWN_PENDING, now)
        self._finish(tcb, out, now)
        # Nothing could be sent although FORWARD TSN became due while chunks were handed out.
        late = tcb.sender.forward_tsn(self._size, now) if path is tcb.path else None
        if late is not None:
            self._begin()
            self._put(late.serialize())

    def _write_control(self, tcb: Tcb, path: Path, out: list[bytes], now: float) -> None:
        if self.cookie_ack_due and (tcb.paths.at(self.cookie_ack_to) or tcb.path) is path:
            self.cookie_ack_due = False
            self._put(_COOKIE_ACK)
        tracker = tcb.tracker
        if (tcb.sack_path or tcb.path) is path and (
            tracker.sack_now or (tracker.sack_timer.running and tcb.sender.sends_soon(now))
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
        """The hot path: fill packets with DATA until nothing more may be sent."""
        sender = tcb.sender
        while True:
            chunk = sender.next_chunk(self._room, not self._has_data, closing, now)
            if chunk is not None:
                self._put(chunk.wire)
                self._has_data = True
                self.data_chunks_sent += 1
                continue
            if not self._chunks or single_packet:
                return
            had_data = self._has_data
            self._finish(tcb, out, now, zero_checksum=not single_packet and tcb.capabilities.zero_checksum)
            if len(out) == self._packets_at_once or (not had_data and not sender.sends_soon(now)):
                return

    def _write_shutdown(self, tcb: Tcb, out: list[bytes], now: float) -> None:
        """SHUTDOWN and SHUTDOWN ACK, never with DATA (section 6.10)."""
        if self.shutdown_due:
            self.shutdown_due = False
            self._put_or_flush(ShutdownChunk(tcb.tracker.cumulative_tsn & _MASK).serialize(), tcb, out, now)
        if self.shutdown_ack_due:
            self.shutdown_ack_due = False
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

    def _begin(self) -> None:
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
        """RFC 4895, 6.2: "To send chunks in an authenticated way, the sender MUST include these chunks after an AUTH
        chunk." Here that is all of the packet.
        """
        key_id = tcb.sender.packet_key if self._has_data and auth.signs(tcb.data_type) else auth.active_key
        self._chunks.insert(0, auth.sign(self._chunks, key_id))

    def _finish(self, tcb: Tcb, out: list[bytes], now: float, zero_checksum: bool | None = None) -> None:
        """Close the packet being built, if it has anything, and begin the next."""
        if not self._chunks:
            return
        options = self._options
        if self._is_signed and self._auth is not None:
            self._sign(self._auth, tcb)
        if zero_checksum is None:
            zero_checksum = tcb.capabilities.zero_checksum
        out.append(
            serialize_packet(
                options.local_port, options.remote_port, tcb.peer_tag, self._chunks, zero_checksum=zero_checksum
            )
        )
        if self._has_data:
            tcb.sender.packet_done(self._size - self._room, now)
        self._begin()


def _run_to(destination: TransportAddress | None, runs: list[Run]) -> list[bytes]:
    """The packets of the last run, if it goes there, or of a new one."""
    if not runs or runs[-1][0] != destination:
        runs.append((destination, []))
    return runs[-1][1]


def available_window(options: AssociationOptions, tcb: Tcb) -> int:
    """The a_rwnd to advertise: what is free, or 0 when that is less than a packet.

    RFC 9260, 6.2: "The receiver MUST also have an algorithm for advertising its receive window to avoid receiver silly
    window syndrome (SWS), as described in [RFC1122]."
    """
    available = tcb.window.size - tcb.held()
    return available if available >= options.first_packet_size else 0


_COOKIE_ACK: Final = b"\x0b\x00\x00\x04"
